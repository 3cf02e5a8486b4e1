"""The data refresh and related DAGs, with a real scheduler, real databases and a real search engine."""

import json
import signal
import threading
import time
from contextlib import suppress

import boto3
import psutil
import psycopg
import pytest
import requests
from pytest_httpserver import HTTPServer

from catalog.data_refresh.search.tag_policy import policy_from
from catalog.database import sample_data
from catalog.local.airflow_api import ApiError
from catalog.local.stack import ROOT
from catalog.tests.data_refresh.indexes import make
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.timeout(900)]
ROWS = 3000
FULL = {"mode": "full"}


class Media:
    """Made-up media; `current` once a test has left all images refreshed, so that the next one need not."""

    current = False


@pytest.fixture(scope="module")
def media(bench):
    """Made-up media in all three databases; the API has most of the catalog's."""
    with bench.made_up_media(catalog=ROWS, api=ROWS - 500, api_staging=1000):
        yield Media()


@pytest.fixture
def refreshed(bench, media):
    """The media after a refresh of all images: that of the test before, if it has passed."""
    if not media.current:
        assert bench.run("image_data_refresh", FULL, timeout=400)[1] == "success"
    media.current = False
    return media


def whole(bench, media_type="image"):
    """Check that documents match rows, each alias has one index, and nothing is left over."""
    search = bench.search()
    with bench.database("api") as api:
        rows = api.execute(f"select count(*) from {media_type} where not removed_from_source").fetchone()[0]
        left = api.execute("select relname from pg_class where relname like 'temp_import_%'").fetchall()
    index = search.resolve_alias(media_type)
    search.refresh(index)
    assert search.count(media_type) == rows
    assert search.resolve_alias(f"{media_type}-filtered").startswith(f"{media_type}-")
    there = set(search.client.indices.get(index=f"{media_type}-*", expand_wildcards="all").body)
    assert there == {
        index,
        search.resolve_alias(f"{media_type}-filtered"),
        *(n for n in there if "-full-" in n),
    }
    assert left == []
    return rows


class Reader(threading.Thread):
    """A thread that reads table and aliases twenty times a second, and records the counts."""

    def __init__(self, bench):
        super().__init__()
        self.bench, self.stopped = bench, threading.Event()
        self.seen: dict[str, set[int]] = {"table": set(), "alias": set(), "filtered": set()}
        self.errors: list[str] = []
        self.reads = 0

    def run(self):
        search = self.bench.search()
        with self.bench.database("api") as api:
            while not self.stopped.wait(0.05):
                try:
                    self.seen["table"].add(api.execute("select count(*) from image").fetchone()[0])
                    self.seen["alias"].add(search.count("image"))
                    self.seen["filtered"].add(search.count("image-filtered"))
                    self.reads += 1
                except Exception as problem:
                    self.errors.append(repr(problem))


def states(bench, dag_id, run_id):
    return {t: s for t, s in bench.tasks(dag_id, run_id).items() if s not in ("success", "skipped")}


def test_two_refreshes_at_once_and_readers_see_whole_states(bench, media):
    """Two refreshes at once run one after the other; readers see the old or the new state; lists stay."""
    for first, second in (("image", "audio"), ("audio", "image")):
        runs = [(f"{m}_data_refresh", bench.api.trigger(f"{m}_data_refresh", FULL)) for m in (first, second)]
        for dag_id, run_id in runs:
            assert bench.api.wait(dag_id, run_id, 400) == "success", states(bench, dag_id, run_id)
        times = [{t["task_id"]: t for t in bench.api.tasks(*run)} for run in runs]
        spans = sorted((t["wait_for_conflicting_dags"]["end_date"], t["watcher"]["end_date"]) for t in times)
        assert spans[0][1] <= spans[1][0]
    old = whole(bench), bench.search().count("image-filtered")
    listed = """
        select identifier, imagelist_id from imagelist_images join image on image.id = image_id order by 1, 2
    """
    with bench.database("api") as api, bench.catalog() as catalog:
        before, table = (
            api.execute(listed).fetchall(),
            api.execute("select count(*) from image").fetchone()[0],
        )
        catalog.execute(
            "update image set title = 'A fire brigade' where url like 'https://met.example.org/%'"
        )
        sample_data.fill(catalog, "catalog", 200, seed=8)
        reader = Reader(bench)
        reader.start()
        bench.slack.clear()
        run_id, state = bench.run("image_data_refresh", FULL, timeout=400)
        reader.stopped.set()
        reader.join()
        assert state == "success", states(bench, "image_data_refresh", run_id)
        assert reader.errors == []
        new = whole(bench), bench.search().count("image-filtered")
        assert reader.reads > 100
        assert reader.seen == {
            "table": {table, table + 200},
            "alias": {old[0], new[0]},
            "filtered": {old[1], new[1]},
        }
        assert new[1] < old[1]
        assert api.execute(listed).fetchall() == before
    [text] = [m["text"] for m in bench.slack if m["username"] == "Data refresh record difference"]
    assert f"{old[0]:,} → {new[0]:,} documents (+199, " in text
    assert "200 of them new" in text
    assert "Rows without a document: " in text
    assert " removed from their source" in text
    assert "policy 29382f7fac0f" in text
    media.current = True


def published(bench):
    """Return the documents of both indexes, and the rows of the table, by identifier."""
    search = bench.search()
    found = []
    for alias in ("image", "image-filtered"):
        search.refresh(search.resolve_alias(alias))
        hits = search.client.search(index=alias, size=10_000, query={"match_all": {}})["hits"]["hits"]
        found.append({hit["_id"]: hit["_source"] for hit in hits})
    with bench.database("api") as api:
        rows = api.execute("select identifier::text, to_jsonb(i) from image i").fetchall()
    return *found, dict(rows)


CHANGES = (
    "update image set title = 'A fire brigade' where identifier in (select identifier from image limit 40)",
    "update image set url = url || '?moved' where identifier in (select identifier from image limit 3)",
    "delete from image where identifier in (select identifier from image order by identifier desc limit 20)",
)


def change(bench, seed):
    """Change the catalog by SQL that sets no dates, and decide as moderators do."""
    with bench.catalog() as catalog:
        for statement in CHANGES:
            catalog.execute(statement)
        sample_data.fill(catalog, "catalog", 30, seed=seed)
    with bench.database("api") as api:
        api.execute("""
            with taken as (
                delete from image where id not in (select image_id from imagelist_images)
                   and identifier in (select identifier from image order by identifier limit 50)
                returning identifier
            )
            insert into api_deletedimage (created_on, updated_on, identifier)
            select now(), now(), identifier from taken on conflict do nothing
        """)
        api.execute("update image set view_count = view_count + 1 where id % 7 = 0")


def test_an_incremental_refresh_ends_as_a_full_one_would(bench, refreshed):
    """After a full refresh, the default mode applies what has changed to the live tables and indexes."""
    change(bench, 21)
    before, rows = bench.search().resolve_alias("image"), len(published(bench)[2])
    bench.slack.clear()
    reader = Reader(bench)
    reader.start()
    run_id, state = bench.run("image_data_refresh", {}, timeout=400)
    reader.stopped.set()
    reader.join()
    assert state == "success", states(bench, "image_data_refresh", run_id)
    assert reader.errors == []
    assert reader.seen["table"] == {rows, len(published(bench)[2])}
    tasks = bench.tasks("image_data_refresh", run_id)
    skipped = ("build_indexes[0]", "create_index", "check_index", "create_filtered_index", "open_indexes")
    assert {tasks[name] for name in skipped} == {"skipped"}
    assert bench.search().resolve_alias("image") == before
    [text] = [m["text"] for m in bench.slack if m["username"] == "Data refresh record difference"]
    assert "*Image data refresh complete, incremental*" in text
    assert "rows inserted" in text
    whole(bench)
    incremental = published(bench)
    run_id, state = bench.run("image_data_refresh", FULL, timeout=400)
    assert state == "success", states(bench, "image_data_refresh", run_id)
    assert published(bench) == incremental
    run_id, state = bench.run("image_data_refresh", {"mode": "incremental"}, timeout=400)
    assert state == "success", states(bench, "image_data_refresh", run_id)
    assert published(bench) == incremental
    refreshed.current = True


def test_several_tasks_share_a_copy(bench, refreshed):
    """One of them is killed; the records and their ids are the same as after a copy by one task."""
    before = published(bench)
    with (
        bench.ranges_of(20),
        bench.variable("DATA_REFRESH_COPY_TASKS", "3"),
        bench.failing("image_data_refresh", "copy_tables", "after", "kill", once=True),
    ):
        run_id, state = bench.run("image_data_refresh", FULL, timeout=400)
    assert state == "success", states(bench, "image_data_refresh", run_id)
    tasks = bench.tasks("image_data_refresh", run_id)
    for name in ("copy_tables", "build_indexes"):
        assert [tasks.get(f"{name}[{number}]") for number in range(4)] == [*["success"] * 3, None]
    whole(bench)
    assert published(bench) == before
    refreshed.current = True


def resume(bench, run_id, task):
    """Clear a failed task and those after it, and return the state in which the run ends."""
    bench.api.clear("image_data_refresh", run_id, [task], downstream=True)
    until(lambda: bench.api.run("image_data_refresh", run_id)["state"] not in ("success", "failed"))
    return bench.api.wait("image_data_refresh", run_id, 300)


def test_an_incremental_refresh_that_fails_is_cleared(bench, refreshed):
    """One run fails after four of its tasks, one after the other, and is cleared from each of them on."""
    change(bench, 30)
    run_id, before = "", ""
    for task in ("copy_tables", "promote_tables", "update_indexes", "promote_indexes"):
        with bench.failing("image_data_refresh", task, "after", "fail"):
            if before:
                assert resume(bench, run_id, before) == "failed"
            else:
                run_id, state = bench.run("image_data_refresh", {"mode": "incremental"}, timeout=400)
                assert state == "failed"
        assert "failed" in {
            s for name, s in bench.tasks("image_data_refresh", run_id).items() if task in name
        }
        before = task
    assert resume(bench, run_id, before) == "success", states(bench, "image_data_refresh", run_id)
    incremental = published(bench)
    assert bench.run("image_data_refresh", FULL, timeout=400)[1] == "success"
    assert published(bench) == incremental
    refreshed.current = True


def test_the_default_mode_is_full_where_an_incremental_refresh_is_impossible(bench, refreshed):
    reason = "the last refresh did not write the API's table image as it is now"
    with bench.database("api") as api:
        api.execute("delete from catalog_refresh where table_name = 'image'")
    run_id, state = bench.run("image_data_refresh", {"mode": "incremental"}, timeout=400)
    assert state == "failed"
    assert reason in bench.api.log("image_data_refresh", run_id, "begin_refresh")
    bench.slack.clear()
    assert bench.run("image_data_refresh", {}, timeout=400)[1] == "success"
    [text] = [m["text"] for m in bench.slack if m["username"] == "Data refresh record difference"]
    assert f"A full refresh, because {reason}." in text
    refreshed.current = True


def test_a_refresh_becomes_full_when_too_much_has_changed(bench, refreshed):
    before = bench.search().resolve_alias("image")
    change(bench, 41)
    bench.slack.clear()
    with (
        bench.ranges_of(20),
        bench.variable("DATA_REFRESH_COPY_TASKS", "3"),
        bench.variable("DATA_REFRESH_MOST_CHANGED", "0"),
    ):
        run_id, state = bench.run("image_data_refresh", {}, timeout=400)
        assert state == "success", states(bench, "image_data_refresh", run_id)
        [text] = [m["text"] for m in bench.slack if m["username"] == "Data refresh record difference"]
        assert "A full refresh, because more than 0 records have changed." in text
        assert bench.search().resolve_alias("image") != before
        whole(bench)
        refreshed = published(bench)
        with bench.database("catalog") as catalog:
            catalog.execute("update image set title = 'New' where url like '%7%'")
        run_id, state = bench.run("image_data_refresh", {"mode": "incremental"}, timeout=400)
    assert state == "failed"
    refusal = "more than 0 records have changed, and DATA_REFRESH_MOST_CHANGED allows no more"
    assert refusal in bench.api.log("image_data_refresh", run_id, "copy_tables", map_index=0)
    assert published(bench) == refreshed
    # Most of the titles that were sensitive are new.
    run_id, state = bench.accept("image_data_refresh", FULL)
    assert state == "success", states(bench, "image_data_refresh", run_id)
    whole(bench)


def test_a_policy_changes_and_only_the_index_is_rebuilt(bench, media):
    whole(bench)
    policy = {"excluded_providers": ["clarifai"], "denied": ["heron"]}
    with bench.database("api") as api:
        filenode = api.execute("select pg_relation_filenode('image')").fetchone()
        with bench.variable("TAG_POLICY", json.dumps(policy)):
            run_id, state = bench.run("image_data_refresh", {"index_only": True}, timeout=400)
        assert state == "success", states(bench, "image_data_refresh", run_id)
        tasks = bench.tasks("image_data_refresh", run_id)
        assert {tasks[t] for t in ("copy_tables[0]", "build_indexes", "promote_tables")} == {"skipped"}
        assert api.execute("select pg_relation_filenode('image')").fetchone() == filenode
        search = bench.search()
        assert search.meta("image")["tag_policy_digest"] == policy_from(policy).digest
        whole(bench)
        herons = search.count("image", {"term": {"tags.name.keyword": "heron"}})
        accurate = search.count("image", {"exists": {"field": "tags.accuracy"}})
        others = api.execute("""
            select count(*) from image
             where jsonb_path_exists(
                 tags, '$[*] ? (@.accuracy >= 0.9 && (@.provider != "clarifai" || !exists(@.provider)))')
        """).fetchone()[0]
        assert (herons, accurate) == (0, others)
        assert api.execute(
            'select count(*) > 100 from image where tags @> \'[{"name": "heron"}]\''
        ).fetchone() == (True,)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TAG_POLICY", '{"minimum_accuracy": 90}', "minimum_accuracy"),
        ("TAG_POLICY", "{", "TAG_POLICY is malformed"),
        ("DATA_REFRESH_LIMIT", "0", "unknown key 'what'"),
        ("DATA_REFRESH_LIMIT", "0", "mode: full cannot be combined with index_only"),
    ],
)
def test_a_wrong_setting_fails_the_first_task(bench, media, variable, value, message):
    with bench.variable(variable, value):
        confs = {"what": {"what": 1}, "index_only": {**FULL, "index_only": True}}
        conf = next((conf for word, conf in confs.items() if word in message), {})
        run_id, state = bench.run("image_data_refresh", conf)
    assert state == "failed"
    assert message in bench.api.log("image_data_refresh", run_id, "check_configuration")
    assert bench.tasks("image_data_refresh", run_id)["wait_for_conflicting_dags"] == "upstream_failed"


def test_a_filtered_index_is_refused_while_a_refresh_runs(bench, media):
    """The refresh waits with its exchange for a reader of the table; then it continues."""
    whole(bench)
    with psycopg.connect(bench.stack.dsn("api")) as holder:
        holder.execute("select 1 from image limit 1")
        run_id = bench.api.trigger("image_data_refresh", FULL)
        until(lambda: bench.tasks("image_data_refresh", run_id).get("promote_tables") == "running", 120)
        refused, state = bench.run("create_filtered_image_index", {})
        assert state == "failed"
        log = bench.api.log("create_filtered_image_index", refused, "prevent_conflicting_dags")
        assert (
            f"refused: image_data_refresh (run {run_id}) is running. Wait for it; nothing was changed." in log
        )
    assert bench.api.wait("image_data_refresh", run_id, 120) == "success"
    whole(bench)


def test_a_filtered_audio_index(bench, media):
    """It is made from the live index and promoted; no other one is left."""
    if bench.search().resolve_alias("audio-filtered") is None:  # unless other tests have refreshed them
        assert bench.run("audio_data_refresh", FULL, timeout=400)[1] == "success"
    before = bench.search().resolve_alias("audio-filtered")
    _, state = bench.run("create_filtered_audio_index", {"destination_index_suffix": "by-hand"})
    assert (state, bench.search().resolve_alias("audio-filtered")) == ("success", "audio-by-hand-filtered")
    assert before != "audio-by-hand-filtered"
    whole(bench, "audio")


def test_a_refresh_waits_for_a_filtered_index(bench, media):
    whole(bench)
    with bench.variable("ES_INDEX_THROTTLING_RATE", "100"):
        filtered = bench.api.trigger("create_filtered_image_index", {"destination_index_suffix": "by-hand"})
        until(
            lambda: (
                bench.tasks("create_filtered_image_index", filtered).get("create_filtered_index") == "running"
            )
        )
        run_id = bench.api.trigger("image_data_refresh", FULL)
        until(
            lambda: (
                bench.tasks("image_data_refresh", run_id).get("wait_for_conflicting_dags")
                == "up_for_reschedule"
            )
        )
        assert bench.api.wait("create_filtered_image_index", filtered, 120) == "success"
    waited = "waiting for create_filtered_image_index"
    assert bench.api.wait("image_data_refresh", run_id, 180) == "success"
    assert waited in bench.api.log("image_data_refresh", run_id, "wait_for_conflicting_dags")
    whole(bench)
    assert bench.search().resolve_alias("image-filtered") != "image-by-hand-filtered"


@pytest.fixture
def another_list(bench):
    """Return a function that gives the sensitive terms by a server, with one more than in the file."""
    terms = (ROOT / "catalog/containers/sensitive_terms.txt").read_text(encoding="utf-8")
    with HTTPServer() as server:
        server.expect_request("/terms").respond_with_data(f"{terms}\nzzqqxx\n")
        connection = {
            "connection_id": "sensitive_terms",
            "conn_type": "http",
            "host": f"http://127.0.0.1:{server.port}",
            "schema": "terms",
        }
        yield lambda: bench.api.call("POST", "/api/v2/connections", connection)
        with suppress(ApiError):  # the test has not come so far
            bench.api.call("DELETE", "/api/v2/connections/sensitive_terms")


def test_what_a_refresh_has_deleted_stays_deleted_whatever_is_made_live(bench, refreshed, another_list):
    """An old index that is still there, a copy of it, a filtered index of it: none is live. New ones are."""

    def ran(dag_id, conf, wanted="success"):
        run_id, state = bench.run(dag_id, conf, timeout=400)
        assert state == wanted, bench.tasks(dag_id, run_id)
        return run_id

    def refused(dag_id, conf, task, reason):
        assert reason in bench.api.log(dag_id, ran(dag_id, conf, "failed"), task)

    def named(*suffixes):
        return [f"image-{suffix}" for suffix in suffixes]

    create, point, create_filtered = (
        "create_new_production_es_index",
        "point_production_es_alias",
        "create_filtered_image_index",
    )
    search = bench.search()
    old = search.resolve_alias("image")
    shown = search.client.search(index="image-filtered", size=1, query={"match_all": {}})
    [key] = [hit["_id"] for hit in shown["hits"]["hits"]]
    ran(point, {"alias": "image-before", "index": old})  # so the next refresh does not delete it
    with bench.catalog() as catalog:
        assert catalog.execute("delete from image where identifier = %s", [key]).rowcount == 1
    ran("image_data_refresh", FULL)
    assert [search.matching(name, [key]) for name in (old, "image")] == [[key], []]
    live, before = search.resolve_alias("image"), f"{old} was made before the data refresh of"

    suffix = old.removeprefix("image-")
    refused(create_filtered, {"origin_index_suffix": suffix}, "plan_filtered_index", f"suffix: {before}")
    refused(point, {"alias": "image", "index": old}, "check_target", f"index: {before}")
    bench.slack.clear()
    ran(create, {"media_type": "image", "origin": old, "index_suffix": "of-old"})
    assert "no alias of production is pointed at a copy of it" in bench.slack[-1]["text"]
    target = {"alias": "image", "index": "image-of-old"}
    refused(point, target, "check_target", "index: image-of-old was made before the data refresh of")
    ran(create, {"media_type": "image", "index_suffix": "of-live"})  # as the refusal says
    ran(point, {"alias": "image", "index": "image-of-live"})
    assert search.matching("image", [key]) == []
    ran(point, {"alias": "image", "index": live})
    ran(create_filtered, {"destination_index_suffix": "new"})
    assert search.matching("image-filtered", [key]) == []

    ran(create, {"media_type": "image", "origin": "image-filtered", "index_suffix": "spare"})
    search.client.indices.delete_alias(index="image-new-filtered", name="image-filtered")
    another_list()
    target = {"alias": "image-filtered", "index": "image-spare-filtered"}
    refused(point, target, "check_target", "was made with another list of sensitive terms; 0 of its")
    bench.slack.clear()
    ran(point, {"alias": "image-filtered", "index": "image-new-filtered"})
    assert search.resolve_alias("image-filtered") == "image-new-filtered"
    assert "create_filtered_image_index replaces it by one with today's list" in bench.slack[-1]["text"]
    ran(create_filtered, {"destination_index_suffix": "newer"})
    assert search.resolve_alias("image-filtered") == "image-newer-filtered"

    for name in (old, *named("of-old", "of-live", "spare-filtered")):
        search.client.indices.delete(index=name)


def test_the_full_staging_index(bench, media):
    """The old one is kept unless it is to be deleted; leftovers of failed runs are deleted."""
    search, kept = bench.search(), []
    make(search, "image-full-0-failed", dag_id="recreate_full_staging_index")
    for delete_old in (False, False, True):
        before = search.resolve_alias("image-full")
        run_id, state = bench.run(
            "recreate_full_staging_index", {"media_type": "image", "delete_old_index": delete_old}
        )
        assert state == "success", states(bench, "recreate_full_staging_index", run_id)
        assert search.count("image-full") == 999
        assert search.resolve_alias("image-full") != before
        assert before is None or search.exists(before) is not delete_old
        kept += [before] if before and not delete_old else []
        assert all(search.exists(name) for name in kept)
        assert not search.exists("image-full-0-failed")
    with pytest.raises(ApiError, match="media_type"):
        bench.api.trigger("recreate_full_staging_index", {})


@pytest.fixture
def rds(aws):
    requests.post(f"{aws}/moto-api/reset", timeout=10)
    client = boto3.client(
        "rds",
        endpoint_url=aws,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    for name in ("prod-openverse-db", "dev-openverse-db"):
        client.create_db_instance(
            DBInstanceIdentifier=name, DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=20
        )
    return client


def instances(rds):
    return {i["DBInstanceIdentifier"] for i in rds.describe_db_instances()["DBInstances"]}


def test_a_restoration_of_staging_and_the_full_index_exclude_each_other(bench, media, rds):
    """During a restore the full index is refused; while the full index is built, a restore waits."""
    index = {"media_type": "image"}
    with bench.database("api_staging") as staging:
        sample_data.fill(staging, "api", 20)
        with psycopg.connect(bench.stack.dsn("api_staging")) as holder:
            holder.execute("lock table api_throttledapplication in share mode")
            run_id = bench.api.trigger("staging_database_restore", {})
            until(
                lambda: (
                    bench.tasks("staging_database_restore", run_id).get("truncate_applications") == "running"
                ),
                120,
            )
            refused, state = bench.run("recreate_full_staging_index", index)
            assert state == "failed"
            assert "refused: staging_database_restore" in bench.api.log(
                "recreate_full_staging_index", refused, "prevent_conflicting_dags"
            )
        assert bench.api.wait("staging_database_restore", run_id, 120) == "success", states(
            bench, "staging_database_restore", run_id
        )
        assert staging.execute("select count(*) from api_throttledapplication").fetchone() == (0,)
    tasks = bench.tasks("staging_database_restore", run_id)
    assert (tasks["deploy_staging"], tasks["roll_back"]) == ("skipped", "skipped")
    assert instances(rds) == {"prod-openverse-db", "dev-openverse-db"}
    with psycopg.connect(bench.stack.dsn("api_staging")) as holder:
        holder.execute("lock table image in access exclusive mode")
        held = bench.api.trigger("recreate_full_staging_index", index)
        until(
            lambda: (
                bench.tasks("recreate_full_staging_index", held).get("prevent_conflicting_dags") == "success"
            )
        )
        run_id = bench.api.trigger("staging_database_restore", {})
        until(
            lambda: (
                bench.tasks("staging_database_restore", run_id).get("wait_for_conflicting_dags")
                == "up_for_reschedule"
            )
        )
    assert bench.api.wait("recreate_full_staging_index", held, 120) == "success"
    assert bench.api.wait("staging_database_restore", run_id, 120) == "success"


def test_staging_comes_back_when_its_exchange_fails(bench, rds):
    stop = threading.Event()

    def sabotage():
        while not stop.wait(0.05):
            if "dev-old-openverse-db" in instances(rds) and "dev-next-openverse-db" in instances(rds):
                rds.delete_db_instance(DBInstanceIdentifier="dev-next-openverse-db", SkipFinalSnapshot=True)
                return

    saboteur = threading.Thread(target=sabotage)
    saboteur.start()
    bench.slack.clear()
    run_id, state = bench.run("staging_database_restore", {}, timeout=180)
    stop.set()
    saboteur.join()
    assert state == "failed"
    assert bench.tasks("staging_database_restore", run_id)["roll_back"] == "success"
    assert instances(rds) == {"prod-openverse-db", "dev-openverse-db"}
    text = "The exchange failed; the old staging database is back under its name."
    assert [m for m in bench.slack if text in m["text"]]


def test_a_skipped_restoration(bench, rds):
    with bench.variable("SKIP_STAGING_DATABASE_RESTORE", "true"):
        run_id, state = bench.run("staging_database_restore", {})
    assert state == "success"
    assert bench.tasks("staging_database_restore", run_id)["rename_staging_to_old"] == "skipped"
    assert "Skipped: `SKIP_STAGING_DATABASE_RESTORE` is set." in bench.slack[-1]["text"]


KILLED = {
    "copy": ("query like 'copy%temp_import_image%'", False),
    "indexes": ("query like 'create%index%temp_import%'", False),
    "documents": ("query like '%api_matureimage%'", True),
    "exchange": ("query like 'lock table%'", False),
}


@pytest.mark.fault_long
@pytest.mark.parametrize("what", KILLED)
def test_a_task_is_killed(bench, media, what):
    """By SIGKILL: the retry resumes, with the same result."""
    with bench.catalog() as catalog:
        sample_data.fill(catalog, "catalog", 60_000, seed=9)
    condition, several = KILLED[what]
    holder = psycopg.connect(bench.stack.dsn("api"))
    if what == "exchange":
        holder.execute("select 1 from image limit 1")
    run_id = bench.api.trigger("image_data_refresh", FULL)
    process = bench.process_behind(condition, several)
    process.send_signal(signal.SIGKILL)
    until(lambda: not process.is_running())
    holder.close()
    assert bench.api.wait("image_data_refresh", run_id, 300) == "success", states(
        bench, "image_data_refresh", run_id
    )
    assert max(t["try_number"] for t in bench.api.tasks("image_data_refresh", run_id)) == 2
    whole(bench)
    with bench.database("api") as api, bench.catalog() as catalog:
        query = """
            select count(*), sum(hashtextextended(identifier::text || url || coalesce(title, ''), 0))
              from image
        """
        assert api.execute(query).fetchone() == catalog.execute(query).fetchone()


@pytest.mark.fault_long
@pytest.mark.parametrize("how", ["a task is killed", "the run is marked as failed"])
def test_the_first_of_two_is_killed(bench, media, how):
    """The second run waits while the first one is retried, and begins when that has been given up."""
    with psycopg.connect(bench.stack.dsn("api")) as holder:
        holder.execute("select 1 from image limit 1")  # holds the first one before its exchange
        first = bench.api.trigger("image_data_refresh", FULL)
        until(lambda: bench.tasks("image_data_refresh", first).get("promote_tables") == "running", 120)
        second = bench.api.trigger("audio_data_refresh", FULL)
        until(
            lambda: (
                bench.tasks("audio_data_refresh", second).get("wait_for_conflicting_dags")
                == "up_for_reschedule"
            )
        )
        if how == "a task is killed":
            process = bench.process_behind("query like 'lock table%'", several=True)
            process.send_signal(signal.SIGKILL)
            until(lambda: not process.is_running())
        else:
            bench.api.call("PATCH", f"/api/v2/dags/image_data_refresh/dagRuns/{first}", {"state": "failed"})
    wanted = "success" if how == "a task is killed" else "failed"
    assert bench.api.wait("image_data_refresh", first, 180) == wanted
    assert bench.api.wait("audio_data_refresh", second, 180) == "success", states(
        bench, "audio_data_refresh", second
    )
    if wanted == "success":
        ended = {t["task_id"]: t["end_date"] for t in bench.api.tasks("image_data_refresh", first)}
        turns = {t["task_id"]: t["end_date"] for t in bench.api.tasks("audio_data_refresh", second)}
        assert ended["watcher"] <= turns["wait_for_conflicting_dags"]
    else:
        assert bench.run("image_data_refresh", FULL, timeout=400)[1] == "success"  # which cleans up
    whole(bench)
    whole(bench, "audio")


@pytest.mark.fault_long
@pytest.mark.parametrize("when", ["index_range[0]", "create_filtered_index"])
def test_the_engine_is_killed(bench, media, when):
    """By SIGKILL: the supervisor restarts it, and the tasks retry."""
    run_id = bench.api.trigger("image_data_refresh", FULL)
    until(lambda: bench.tasks("image_data_refresh", run_id).get(when) == "running", 120)
    psutil.Process(bench.stack.state()["search"]).kill()
    assert bench.api.wait("image_data_refresh", run_id, 400) == "success", states(
        bench, "image_data_refresh", run_id
    )
    whole(bench)


@pytest.mark.fault_long
@pytest.mark.parametrize(
    "condition", ["query like 'copy%temp_import_image%'", "query like '%api_matureimage%'"]
)
def test_the_database_crashes(bench, media, condition):
    """After SIGKILL of a session's process, PostgreSQL ends all sessions and recovers; tasks are retried."""
    with bench.catalog() as catalog:
        sample_data.fill(catalog, "catalog", 60_000, seed=9)
    run_id = bench.api.trigger("image_data_refresh", FULL)
    query = f"select pid from pg_stat_activity where application_name = 'catalog' and {condition}"
    with bench.catalog() as connection:
        pid = until(lambda: connection.execute(query).fetchone(), 120)[0]
    psutil.Process(pid).kill()
    time.sleep(1)
    until(lambda: bench.api.healthy(), 120)
    assert bench.api.wait("image_data_refresh", run_id, 300) == "success", states(
        bench, "image_data_refresh", run_id
    )
    whole(bench)
