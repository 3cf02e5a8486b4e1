"""DAGs that change the catalog database, through the real scheduler."""

import json
import re
import signal
from urllib.parse import quote

import psycopg
import pytest

from catalog.local.airflow_api import ApiError
from catalog.local.schedules import unpaused
from catalog.tests.database.media import IMAGES, count_updates
from catalog.tests.database.test_statements import REFUSED
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]
UPDATE = {
    "query_id": "e2e",
    "table_name": "image",
    "select_query": "WHERE provider = 'made_up'",
    "update_query": "SET title = title || '!'",
}


@pytest.fixture
def images(bench):
    """A thousand images of a provider without a DAG."""
    with bench.catalog() as connection:
        connection.execute(IMAGES.format(rows=1000, providers="'made_up'"))
        yield connection
        connection.execute("delete from image where provider = 'made_up'")
        connection.execute("delete from deleted_image where provider = 'made_up'")


def titles(connection):
    return [t for (t,) in connection.execute("select title from image where provider = 'made_up'")]


def again(bench, dag_id, run_id, task_ids):
    """Clear tasks of a finished run; return its state when it has finished again."""
    bench.api.clear(dag_id, run_id, task_ids, downstream=False)
    return bench.api.wait(dag_id, run_id, 120)


def test_an_update_that_is_cleared_at_any_task_changes_its_rows_once(bench, images):
    """Each task alone and the whole run are cleared, at once and after another run with the same query_id."""
    tasks = ["check_update", "select_rows_to_update", "update_batches", "notify_updated_count"]
    conf = {**UPDATE, "query_id": "cleared", "dry_run": False}
    run_id, state = bench.run("batched_update", conf)
    assert state == "success"
    for which in (*([t] for t in tasks), tasks):
        assert again(bench, "batched_update", run_id, which) == "success"
    _, state = bench.run("batched_update", {**conf, "update_query": "SET title = title || '?'"})
    assert state == "success"
    for which in (*([t] for t in tasks), tasks):
        assert again(bench, "batched_update", run_id, which) == "success"
    assert {t[-2:] for t in titles(images)} == {"!?"}
    assert all(t.count("!") == t.count("?") == 1 for t in titles(images))


def test_a_deletion_with_a_limit_that_is_cleared_at_any_task_deletes_its_selection_once(bench, images):
    """A run deletes ten rows, whatever is cleared, as the dry run says and as one DELETE would."""
    tasks = ["check_deletion", "delete_records_from_media_table", "notify_slack"]
    ten = (
        "WHERE identifier IN (SELECT identifier FROM image WHERE provider = 'made_up'"
        " ORDER BY created_on, identifier LIMIT 10)"
    )
    conf = {"table_name": "image", "select_query": ten, "reason": "a test"}
    dry, state = bench.run("delete_records", {**conf, "dry_run": True})
    assert state == "success"
    assert "10 rows: made_up 10" in bench.api.log("delete_records", dry, "check_deletion")
    run_id, state = bench.run("delete_records", conf)
    assert (state, len(titles(images))) == ("success", 990)
    for which in (*([t] for t in tasks), tasks):
        assert again(bench, "delete_records", run_id, which) == "success"
    assert len(titles(images)) == 990
    assert bench.run("delete_records", conf)[1] == "success"
    assert again(bench, "delete_records", run_id, tasks) == "success"
    assert len(titles(images)) == 980


def test_a_dry_run_shows_and_changes_nothing(bench, images):
    run_id, state = bench.run("batched_update", UPDATE)
    assert state == "success"
    log = bench.api.log("batched_update", run_id, "check_update")
    assert "UPDATE image SET title = title || '!' WHERE provider = 'made_up'" in log
    assert "rows: 1,000" in log
    assert '{"before": {"title": "Title ' in log
    assert bench.tasks("batched_update", run_id)["update_batches"] == "skipped"
    assert again(bench, "batched_update", run_id, ["check_update"]) == "success"
    assert bench.tasks("batched_update", run_id)["update_batches"] == "skipped"
    task = f"/api/v2/dags/batched_update/dagRuns/{quote(run_id)}/taskInstances/select_rows_to_update"
    assert '"skipped"' in json.dumps(bench.api.call("GET", f"{task}/xcomEntries"))
    assert not any(t.endswith("!") for t in titles(images))


def test_what_a_run_that_was_marked_as_failed_has_skipped_is_done_when_it_is_cleared(bench, images):
    """Although only the task that failed is cleared."""
    with psycopg.connect(bench.stack.dsn()) as holder:
        holder.execute("lock table image in access exclusive mode")
        run_id = bench.api.trigger("batched_update", {**UPDATE, "query_id": "marked", "dry_run": False})
        until(lambda: bench.tasks("batched_update", run_id).get("check_update") == "running")
        path = f"/api/v2/dags/batched_update/dagRuns/{quote(run_id)}"
        bench.api.call("PATCH", path, {"state": "failed"})
    states = bench.tasks("batched_update", run_id)
    assert {states[name] for name in ("select_rows_to_update", "update_batches", "watcher")} == {"skipped"}
    assert again(bench, "batched_update", run_id, ["check_update"]) == "success"
    assert all(t.endswith("!") and not t.endswith("!!") for t in titles(images))


def test_an_update(bench, images):
    bench.slack.clear()
    _, state = bench.run("batched_update", {**UPDATE, "dry_run": False, "batch_size": 10})
    assert state == "success"
    assert all(t.endswith("!") and not t.endswith("!!") for t in titles(images))
    messages = [m["text"] for m in bench.slack if m["username"] == "Upstream Batched Update"]
    assert [text.splitlines()[0] for text in messages] == [
        "*Rows selected*: Preparing to update 1,000 rows of `image` (`e2e`).",
        "*Rows updated*: Updated 1,000 of 1,000 rows of `image` (`e2e`).",
    ]
    assert images.execute("select to_regclass('e2e_rows_to_update')").fetchone() == (None,)


def test_an_update_that_is_killed_goes_on(bench, images):
    """By SIGKILL, in the middle: the retry resumes, and each row is changed once."""
    slow = (
        "SET title = title || '!', creator = "
        "(SELECT count(*)::text FROM generate_series(1, 20000) g WHERE md5(g::text || title) LIKE '0%')"
    )
    run_id = bench.api.trigger(
        "batched_update",
        {**UPDATE, "query_id": "killed", "update_query": slow, "dry_run": False, "batch_size": 8},
    )

    def updated():
        row = images.execute("select updated from batched_update where query_id = 'killed'").fetchone()
        return row[0] if row else 0

    until(lambda: updated() > 50)
    process = bench.process_behind("query like 'update \"image\" set%'")
    process.send_signal(signal.SIGKILL)
    assert bench.api.wait("batched_update", run_id, 120) == "success"
    attempts = {t["task_id"]: t["try_number"] for t in bench.api.tasks("batched_update", run_id)}
    assert attempts["update_batches"] == 2
    assert all(t.endswith("!") and not t.endswith("!!") for t in titles(images))


SLOW = "(SELECT count(*) FROM generate_series(1, 4000) g WHERE md5(g::text || title) LIKE '0%') >= 0"
STAGES = {
    "select": "query like '%create table%_rows_to_update%'",
    "batches": "query like 'update \"image\" set%'",
    "leftovers": "query like '%for no key update%'",
}


@pytest.mark.fault_long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("stage", STAGES)
def test_an_update_is_stopped_at_a_stage(bench, images, stage, how):
    """At each stage: the run succeeds, and each row is updated once, as a trigger counts."""
    count_updates(images)
    try:
        conf = {**UPDATE, "query_id": "stopped", "dry_run": False, "batch_size": 50}
        conf["select_query"] = f"{UPDATE['select_query']} AND {SLOW}"
        conf["update_query"] = f"SET title = CASE WHEN {SLOW} THEN title || '!' END"
        with psycopg.connect(bench.stack.dsn()) as holder:
            if stage == "leftovers":
                holder.execute("select from image where provider = 'made_up' and title like '%7' for update")
            run_id = bench.api.trigger("batched_update", conf)
            process = bench.process_behind(STAGES[stage])
            process.send_signal(how)
            until(lambda: not process.is_running() or how == signal.SIGTERM)
        assert bench.api.wait("batched_update", run_id, 180) == "success", bench.tasks(
            "batched_update", run_id
        )
        assert all(t.endswith("!") and not t.endswith("!!") for t in titles(images))
        assert images.execute("select count(*), count(distinct identifier) from touched").fetchone() == (
            1000,
            1000,
        )
        assert images.execute(
            "select to_regclass('stopped_rows_to_update'), to_regclass('stopped_rows_left')"
        ).fetchone() == (None, None)
    finally:
        images.execute("drop table touched cascade; drop function note_update cascade")


@pytest.mark.fault_long
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_deletion_is_stopped(bench, images, how):
    """In the middle, with locked rows: the retry deletes the rest, and each deleted row is stored once."""
    with psycopg.connect(bench.stack.dsn()) as holder:
        holder.execute("select from image where provider = 'made_up' and title like '%7' for update")
        run_id = bench.api.trigger(
            "delete_records",
            {"table_name": "image", "select_query": "WHERE provider = 'made_up'", "reason": "a test"},
        )
        until(lambda: len(titles(images)) == 100)
        process = bench.process_behind("query like '%skip locked%' or query like '%count(*)%'")
        process.send_signal(how)
        until(
            lambda: (
                bench.tasks("delete_records", run_id)["delete_records_from_media_table"]
                in ("up_for_retry", "scheduled", "queued")
            )
        )
    assert bench.api.wait("delete_records", run_id, 120) == "success"
    assert titles(images) == []
    assert images.execute(
        "select count(*), count(distinct identifier) from deleted_image where provider = 'made_up'"
    ).fetchone() == (1000, 1000)
    assert "Deleted 1,000 records of `image`" in bench.slack[-1]["text"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_id": None}, "query_id"),
        ({"query_id": "Bad-Name"}, "query_id"),
        ({"query_id": "x" * 41}, "query_id"),
        ({"table_name": "api_image"}, "table_name"),
        ({"table_name": None}, "table_name"),
        ({"select_query": "provider = 'x'"}, "select_query"),
        ({"select_query": None}, "select_query"),
        ({"update_query": "UPDATE image SET title = 'x'"}, "update_query"),
        ({"update_query": None}, "update_query"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "many"}, "batch_size"),
        ({"batch_size": 10**9}, "batch_size"),
        ({"update_timeout": 0}, "update_timeout"),
        ({"update_timeout": 2_147_484}, "2147484 is greater than the maximum of 2147483"),
        ({"update_timeout": 0.0005}, "0.0005 is less than the minimum of 1"),
        ({"dry_run": "no"}, "dry_run"),
        ({"resume_update": 1}, "resume_update"),
    ],
)
def test_a_conf_that_the_form_refuses(bench, change, message):
    conf = {k: v for k, v in {**UPDATE, **change}.items() if v is not None}
    with pytest.raises(ApiError, match=message):
        bench.api.trigger("batched_update", conf)


def refused(bench, conf, reason):
    run_id, state = bench.run("batched_update", conf)
    assert state == "failed"
    log = bench.api.log("batched_update", run_id, "check_update")
    assert re.search(reason, log), log[-2000:]
    assert bench.tasks("batched_update", run_id)["update_batches"] in ("upstream_failed", "skipped", None)


def test_an_injection_is_refused_before_anything_is_created(bench, images):
    refused(
        bench,
        {**UPDATE, "update_query": "SET title = 'x'; DROP TABLE image", "dry_run": False},
        "statement|syntax error",
    )
    refused(
        bench,
        {**UPDATE, "update_query": "SET title = pg_read_file('/etc/passwd')", "dry_run": False},
        "pg_read_file is volatile",
    )
    refused(bench, {**UPDATE, "what": 1}, "unknown key 'what'")
    assert images.execute("select to_regclass('e2e_rows_to_update')").fetchone() == (None,)


@pytest.mark.fault_long
@pytest.mark.parametrize(
    ("update", "select", "reason"),
    [
        r
        for r in REFUSED
        if r[0].startswith("SET ") and r[1].startswith("WHERE ") and (r[0] + r[1]).isprintable()
    ],
)
def test_every_refused_statement_fails_the_run(bench, update, select, reason):
    refused(bench, {**UPDATE, "update_query": update, "select_query": select, "dry_run": False}, reason)


def test_deleting_records(bench, images):
    conf = {
        "table_name": "image",
        "select_query": "WHERE provider = 'made_up' AND title LIKE '%7'",
        "reason": "a test",
    }
    run_id, state = bench.run("delete_records", {**conf, "dry_run": True})
    assert state == "success"
    assert "100 rows: made_up 100" in bench.api.log("delete_records", run_id, "check_deletion")
    assert len(titles(images)) == 1000
    bench.slack.clear()
    run_id, state = bench.run("delete_records", conf)
    assert state == "success"
    assert len(titles(images)) == 900
    kept = images.execute(
        "select count(*), min(deleted_reason) from deleted_image where provider = 'made_up'"
    ).fetchone()
    assert kept == (100, "a test")
    assert [m["text"].splitlines()[0] for m in bench.slack] == [
        "*Records deleted*: Deleted 100 records of `image`: a test"
    ]


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"table_name": "image", "reason": "x"}, "select_query"),
        ({"table_name": "image", "select_query": "WHERE true"}, "reason"),
        ({"select_query": "WHERE true", "reason": "x"}, "table_name"),
        ({"table_name": "image", "select_query": "true", "reason": "x"}, "select_query"),
    ],
)
def test_a_deletion_that_the_form_refuses(bench, conf, message):
    with pytest.raises(ApiError, match=message):
        bench.api.trigger("delete_records", conf)


SCORED = "select identifier, standardized_popularity from image where provider = 'stocksnap' order by 1"
RENAMED = """
    update image set meta_data = meta_data - %s || jsonb_build_object(%s::text, meta_data -> %s)
     where provider = 'stocksnap'
"""


def test_popularity(bench):
    """A batched update scores each provider with values; at the second run none is due.

    Scores stay, also in a run for all providers, if the records of a provider have lost their metric.
    """
    with bench.catalog() as connection:
        connection.execute(
            IMAGES.format(rows=200, providers="'flickr', 'stocksnap'").replace(
                "'views'", "'views', n, 'downloads_raw'"
            )
        )
    with unpaused(bench.stack, ["image_popularity_refresh", "audio_popularity_refresh"], print):
        run_id, state = bench.run("image_popularity_refresh", {}, timeout=240)
        assert state == "success", bench.tasks("image_popularity_refresh", run_id)
        states = bench.tasks("image_popularity_refresh", run_id)
        assert states["refresh_popularity.trigger_batched_update[0]"] == "success"
        again, state = bench.run("image_popularity_refresh", {}, timeout=240)
        assert state == "success"
        assert bench.tasks("image_popularity_refresh", again)["get_providers_update_confs"] == "skipped"
        assert bench.run("audio_popularity_refresh", {}, timeout=240)[1] == "success"
        with bench.catalog() as connection:
            scored = connection.execute(SCORED).fetchall()
            connection.execute(RENAMED, ["downloads_raw", "hidden", "downloads_raw"])
        assert bench.run("image_popularity_refresh", {"force": True}, timeout=240)[1] == "failed"
        assert bench.run("image_popularity_refresh", {"accept_lost": ["nobody"]})[1] == "failed"
    [refused] = [m["text"] for m in bench.slack if "constant NOT determined" in m.get("text", "")]
    assert "stocksnap: constant NOT determined by this run; see its task refresh_constant" in refused
    with bench.catalog() as connection:
        assert connection.execute(SCORED).fetchall() == scored
        connection.execute(RENAMED, ["hidden", "downloads_raw", "hidden"])
        unscored = connection.execute("""
            select count(*) from image i join image_popularity_metrics m using (provider)
             where m.constant is not null
               and i.standardized_popularity
                   is distinct from standardized_image_popularity(i.provider, i.meta_data)
        """).fetchone()
        assert unscored == (0,)
        connection.execute(
            "delete from image"
            " where url like 'https://example.org/flickr%' or url like 'https://example.org/stocksnap%'"
        )
    [text] = [m["text"] for m in bench.slack if m["username"] == "Image Popularity Refresh"][-1:]
    assert "flickr: up to date" in text
    for media_type in ("image", "audio"):
        _, state = bench.run(f"recreate_{media_type}_popularity_calculation", {})
        assert state == "success"


def test_license_urls(bench, images):
    """Each image gets its license's URL, whatever its meta_data; images with an unknown license get none."""
    images.execute(
        "update image set meta_data = null, license = 'BY' where provider = 'made_up' and title like '%1'"
    )
    images.execute(
        'update image set meta_data = \'{"license_url": null, "a": "b"}\''
        " where provider = 'made_up' and title like '%2'"
    )
    images.execute(
        "update image set license = 'cc0', license_version = '1.0'"
        " where provider = 'made_up' and title like '%3'"
    )
    images.execute(
        "update image set license = 'terms', license_version = null"
        " where provider = 'made_up' and title like '%4'"
    )
    bench.slack.clear()
    run_id, state = bench.run("add_license_url", {"batch_size": 50}, timeout=240)
    assert state == "success", bench.tasks("add_license_url", run_id)
    found = images.execute("""
        select license, meta_data ->> 'license_url', count(*),
               count(meta_data ->> 'a'), count(meta_data ->> 'views')
          from image where provider = 'made_up' group by 1, 2 order by 1
    """).fetchall()
    assert found == [
        ("by", "https://creativecommons.org/licenses/by/4.0/", 800, 100, 600),
        ("cc0", "https://creativecommons.org/publicdomain/zero/1.0/", 100, 0, 100),
        ("terms", None, 100, 0, 100),
    ]
    texts = [m["text"] for m in bench.slack if "license_url" in m["username"]]
    assert "1,000 images of 3 licenses lack a license_url." in texts[0]
    assert any("license_url was added to 900 images; 100 still lack it." in t for t in texts)
    assert any("none of Creative Commons'" in t and "terms None: 100" in t for t in texts)
    again, state = bench.run("add_license_url", {}, timeout=120)
    assert state == "success"
    assert bench.tasks("add_license_url", again)["update_license_url[0]"] == "skipped"


def test_flickr_thumbnails(bench):
    with bench.catalog() as connection:
        connection.execute(IMAGES.format(rows=300, providers="'flickr'"))
        bench.slack.clear()
        _, state = bench.run("flickr_thumbnails_removal", {}, timeout=120)
        assert state == "success"
        assert connection.execute(
            "select count(*) from image where provider = 'flickr' and thumbnail is not null"
        ).fetchone() == (0,)
        connection.execute("delete from image where url like 'https://example.org/flickr%'")
    assert [m["text"].partition(". With")[0] for m in bench.slack] == [
        "*Thumbnails removed*: 300 of 300 Flickr thumbnails are removed, 0 are left"
    ]


def test_flickr_thumbnails_by_a_batched_update(bench):
    """The example of the DAG's documentation: set a provider's thumbnails to null, ten rows at a time."""
    with bench.catalog() as connection:
        connection.execute(IMAGES.format(rows=300, providers="'flickr'"))
        conf = {
            "query_id": "my_flickr_query",
            "table_name": "image",
            "select_query": "WHERE provider = 'flickr' AND thumbnail IS NOT NULL",
            "update_query": "SET updated_on = now(), thumbnail = NULL",
            "batch_size": 10,
            "dry_run": False,
        }
        _, state = bench.run("batched_update", conf)
        assert state == "success"
        assert connection.execute(
            "select count(*), count(thumbnail) from image where provider = 'flickr'"
        ).fetchone() == (300, 0)
        connection.execute("delete from image where url like 'https://example.org/flickr%'")


def test_reported_media(bench):
    """Without pending reports, a note; with some, in either version of the API's schema, an alert."""
    with (
        unpaused(bench.stack, ["report_pending_reported_media"], print),
        psycopg.connect(bench.stack.dsn("api"), autocommit=True) as api,
    ):
        api.execute("truncate nsfw_reports, nsfw_reports_audio")
        bench.slack.clear()
        _, state = bench.run("report_pending_reported_media", {})
        assert state == "success"
        for table, reason in (("nsfw_reports", "dmca"), ("nsfw_reports_audio", "mature")):
            api.execute(
                f"insert into {table} (created_at, identifier, reason) values (now(), gen_random_uuid(), %s)",
                [reason],
            )
        api.execute("alter table nsfw_reports_audio drop column status")
        _, state = bench.run("report_pending_reported_media", {})
        api.execute(
            "alter table nsfw_reports_audio add column status varchar(20) not null default 'pending_review'"
        )
        assert state == "success"
    assert [m["username"] for m in bench.slack] == [
        "Reported Media Check-In",
        "Reported Media Requires Review",
    ]
    assert "audio: 1>* _(1 mature)_" in bench.slack[-1]["text"]
    assert "image: 1>* _(1 dmca)_" in bench.slack[-1]["text"]


def test_no_variable_of_an_update_is_left(bench):
    names = [v["key"] for v in bench.api.call("GET", "/api/v2/variables", limit=200)["variables"]]
    assert not [n for n in names if n.startswith("batched_update_start_")], json.dumps(names)
