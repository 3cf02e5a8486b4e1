"""The upkeep of the search engine, through the real scheduler."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from catalog.data_refresh.search.proportions import proportional, share_of
from catalog.local.airflow_api import ApiError
from catalog.local.schedules import unpaused
from catalog.tests.data_refresh.indexes import make

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.timeout(900)]
HEALTHCHECK = "staging_elasticsearch_cluster_healthcheck"
POINT = "point_staging_es_alias"
CREATE = "create_new_staging_es_index"
PROPORTIONAL = "create_proportional_by_source_staging_index"
NODES = "SEARCH_ENGINE_NODES"


def alerts(bench):
    return [m["text"].splitlines()[0] for m in bench.slack if m["username"] == "Search Engine Health"]


def test_an_engine_that_changes_is_reported_once(bench):
    """Later runs, a clear, and an attempt after a kill report nothing more; the way back is reported, too."""

    def check():
        run_id, state = bench.run(HEALTHCHECK, {})
        assert state == "success", bench.tasks(HEALTHCHECK, run_id)
        return run_id

    def reported():
        return json.loads(bench.api.call("GET", f"/api/v2/variables/{marker}")["value"])["state"]

    marker = "search_engine_health_staging"
    with unpaused(bench.stack, [HEALTHCHECK], print), bench.variable(marker, '{"state": "well"}'):
        with bench.variable(NODES, json.dumps({"staging": 1})):
            check()  # of an engine of which other tests have left anything
            bench.slack.clear()
            usual = reported()
        with bench.variable(NODES, json.dumps({"staging": 7})):
            with bench.failing(HEALTHCHECK, "check_cluster", "after", "kill", once=True):
                run_id = check()
            check()
            bench.api.clear(HEALTHCHECK, run_id, ["check_cluster"])
            assert bench.api.wait(HEALTHCHECK, run_id, 60) == "success"
        assert len(alerts(bench)) == 1
        assert "1 node is in the cluster, 7 expected" in bench.slack[-1]["text"]
        check()
        check()
        assert len(alerts(bench)) == 2
        assert reported() == usual


@pytest.fixture
def full_index(bench):
    """The full staging index, and a function that makes another one, to which its alias moves."""

    def another():
        dag_id = "recreate_full_staging_index"
        run_id, state = bench.run(dag_id, {"media_type": "image"})
        assert state == "success", bench.tasks(dag_id, run_id)
        return bench.search().resolve_alias("image-full")

    with bench.made_up_media(api_staging=400):
        yield another
    with bench.database("api_staging") as staging:
        staging.execute("delete from api_deletedimage")


def point(bench, index, alias="image-full", **conf):
    """Run the DAG that moves an alias of staging; return the run and its state."""
    return bench.run(POINT, {"alias": alias, "index": index, **conf})


def delete_as_a_moderator(bench, but=""):
    """Delete an image of staging, and return its identifier; the API deletes it from the live index only."""
    with bench.database("api_staging") as staging:
        query = """
            select identifier::text from image i where not removed_from_source and provider <> %s
               and not exists (select from imagelist_images l where l.image_id = i.id) order by id limit 1
        """
        [key] = staging.execute(query, [but]).fetchone()
        staging.execute("delete from image where identifier = %s", [key])
        query = "insert into api_deletedimage (identifier, created_on, updated_on) values (%s, now(), now())"
        staging.execute(query, [key])
    bench.search().client.delete(index="image-full", id=key, refresh=True)
    return key


def test_an_alias_is_moved_to_another_index_and_back(bench, full_index):
    """A killed task is retried; a second run does nothing; the old index is deleted only if asked to."""
    search, first, second = bench.search(), full_index(), full_index()
    key = delete_as_a_moderator(bench)
    assert search.matching(first, [key]) == [key]
    with bench.failing(POINT, "point_alias", "before", "kill", once=True):
        run_id, state = point(bench, first)
    assert state == "success", bench.tasks(POINT, run_id)
    assert search.resolve_alias("image-full") == first
    assert search.matching("image-full", [key]) == []
    assert search.exists(second)
    again, state = point(bench, first, delete_old_index=True)
    assert (state, bench.tasks(POINT, again)["check_target"]) == ("success", "skipped")
    hiding = {"term": {"mature": False}}
    search.client.indices.put_alias(index=first, name="image-full", filter=hiding)
    run_id, state = point(bench, first)
    assert state == "failed"
    assert "but has a filter of its own" in bench.api.log(POINT, run_id, "check_target")
    search.client.indices.put_alias(index=first, name="image-full")
    with bench.failing(POINT, "delete_old_index", "before", "fail"):
        run_id, state = point(bench, second, delete_old_index=True)
    assert (state, search.resolve_alias("image-full"), search.exists(first)) == ("failed", second, True)
    bench.api.clear(POINT, run_id, ["delete_old_index"])
    assert bench.api.wait(POINT, run_id, 60) == "success"
    assert not search.exists(first)
    assert search.count("image-full") == 399 - count_removed(bench)


def count_removed(bench):
    with bench.database("api_staging") as staging:
        return staging.execute("select count(*) from image where removed_from_source").fetchone()[0]


def test_an_alias_that_must_not_be_moved(bench, full_index):
    search, live = bench.search(), full_index()
    make(search, "image-empty")
    make(search, "audio-other", "audio")
    for alias, index, reason in (
        ("image-full", "image-empty", "documents of image-full: 0 instead of"),
        ("image-full", "audio-other", "its documents are of audio, the alias is one of image"),
        ("image-filtered", live, "it has sensitive media, which image-filtered must not show"),
        ("image-full", "image-none", "there is no index image-none"),
    ):
        run_id, state = point(bench, index, alias)
        assert state == "failed"
        assert reason in bench.api.log(POINT, run_id, "check_target")
    assert search.resolve_alias("image-full") == live
    make(search, "image-live")
    search.client.indices.put_alias(index="image-live", name="image")
    run_id, state = point(bench, live, "image", accept_shrinkage=True)
    assert state == "failed"
    assert "image belongs to production, which has the same engine" in bench.api.log(
        POINT, run_id, "check_target"
    )
    for conf in ({"alias": "images", "index": live}, {"alias": "image", "index": "x"}, {"alias": "image"}):
        with pytest.raises(ApiError, match=r"alias|index"):
            bench.api.trigger(POINT, conf)


def delete_some(search, index, number):
    hits = search.client.search(index=index, size=number, source=False)["hits"]["hits"]
    for hit in hits:
        search.client.delete(index=index, id=hit["_id"], refresh=True)


def test_an_index_that_has_lost_documents_since_it_was_counted(bench, full_index):
    """Fewer than a tenth: they are noticed where the index is used, and where its making is cleared."""
    search, first, second = bench.search(), full_index(), full_index()
    total = search.count(first)
    delete_some(search, first, 10)
    lost = f"{first} holds {total - 10:,} documents, but {total:,} when it was counted"
    run_id, state = point(bench, first)
    assert state == "failed"
    log = bench.api.log(POINT, run_id, "check_target")
    assert f"index: {lost}" in log
    advice = "Choose or make another one. If this loss is right, trigger point_staging_es_alias with the conf"
    assert advice in log
    conf = {"media_type": "image", "index_suffix": "lossy"}
    run_id, state = bench.run(CREATE, {**conf, "origin": first})
    assert state == "failed"
    assert f"origin: {lost}" in bench.api.log(CREATE, run_id, "plan_index")
    assert search.resolve_alias("image-full") == second
    # Nobody has seen what it loses now; the run accepts that once it has said so.
    delete_some(search, first, 10)
    run_id, state = point(bench, first, accept_shrinkage=True)
    assert state == "failed"
    log = bench.api.log(POINT, run_id, "check_target")
    assert f"index: {first} holds {total - 20:,} documents, but {total:,} when it was counted" in log
    assert f"(but {total - 10:,} when it was reported on" in log
    bench.slack.clear()
    bench.api.clear(POINT, run_id, ["check_target"])
    assert bench.api.wait(POINT, run_id, 120) == "success", bench.tasks(POINT, run_id)
    assert any(f"accepted, as it was reported before: {first} holds" in m["text"] for m in bench.slack)
    with bench.failing(CREATE, "finish_index", "before", "fail"):
        run_id, state = bench.run(CREATE, {**conf, "origin": first})  # accepted above
    assert state == "failed"
    delete_some(search, "image-lossy", 5)
    bench.api.clear(CREATE, run_id, ["finish_index"], downstream=True)
    assert bench.api.wait(CREATE, run_id, 120) == "failed"
    said = f"image-lossy holds {total - 25:,} documents, and {total - 20:,} were copied"
    assert said in error(bench, run_id, "finish_index")
    bench.api.clear(CREATE, run_id, ["copy_documents"], downstream=True)
    assert bench.api.wait(CREATE, run_id, 120) == "success"
    delete_some(search, "image-lossy", 20)  # more than moderators have deleted
    for task in ("finish_index", "copy_documents"):
        bench.api.clear(CREATE, run_id, [task], downstream=True)
        assert bench.api.wait(CREATE, run_id, 120) == "failed"
        said = f"image-lossy holds {total - 40:,} documents, but {total - 20:,} when it was counted"
        assert said in error(bench, run_id, task)


def error(bench, run_id, task_id):
    """Return why the last attempt of a task of `CREATE` has failed."""
    path = f"/api/v2/dags/{CREATE}/dagRuns/{quote(run_id)}/taskInstances/{task_id}"
    return bench.api.last_error(bench.api.call("GET", path))


def test_a_new_index_is_made_from_another_and_pointed_at(bench, full_index):
    """Killed and cleared at any task, it is made once; moderators decide meanwhile; then it is promoted."""
    search, live = bench.search(), full_index()
    conf = {
        "media_type": "image",
        "origin": "image-full",
        "index_suffix": "bm25",
        "query": {"bool": {"must_not": {"term": {"provider": "flickr"}}}},
        "settings": {"index": {"max_result_window": 20_000}},
        "mapping": {"properties": {"title": {"similarity": "BM25"}}},
    }
    wanted = search.count(live, conf["query"])
    with bench.failing(CREATE, "finish_index", "before", "fail"):
        run_id, state = bench.run(CREATE, conf)
    assert (state, search.count("image-bm25")) == ("failed", wanted)
    delete_as_a_moderator(bench, but="flickr")
    bench.api.clear(CREATE, run_id, ["finish_index"], downstream=True)
    assert bench.api.wait(CREATE, run_id, 120) == "success"
    assert search.count("image-bm25") == wanted - 1
    uuid = search.require("image-bm25").uuid
    for task in ("plan_index", "copy_documents", "finish_index"):
        bench.api.clear(CREATE, run_id, [task], downstream=True)
        assert bench.api.wait(CREATE, run_id, 120) == "success"
        assert search.require("image-bm25").uuid == uuid
    assert search.resolve_alias("image-full") == live
    again, state = bench.run(CREATE, conf)
    assert state == "failed"
    assert "image-bm25 exists already; delete it, or choose" in bench.api.log(CREATE, again, "plan_index")
    run_id, state = bench.accept(POINT, {"alias": "image-full", "index": "image-bm25"})
    assert state == "success", bench.tasks(POINT, run_id)
    assert search.resolve_alias("image-full") == "image-bm25"
    assert full_index() != "image-bm25"  # the next full index takes its place, and leaves it
    assert search.exists("image-bm25")


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"origin": "image-none"}, "origin: there is no index or alias image-none"),
    ({"query": {"nonsense": {}}}, "query: the search engine answered 400"),
    ({"query": {"term": {"source": "nobody"}}}, "query: it matches none of the"),
    ({"settings": {"number_of_replicas": 3}}, "settings: index.number_of_replicas comes from"),
    ({"mapping": {"properties": {"x": {"type": "nonsense"}}}}, "settings, mapping: the search engine"),
    ({"index_suffix": "x-filtered"}, "index_suffix: leave out filtered"),
    ({"index_suffix": "filtered"}, "index_suffix: leave out filtered"),
    ({"index_suffix": "preflight-a"}, "begin with preflight-"),
)


def test_an_index_that_cannot_be_made(bench, full_index):
    """Whatever is wrong, nothing is created."""
    full_index()
    before = names(bench)
    for conf, reason in REFUSED:
        run_id, state = bench.run(CREATE, {"media_type": "image", "origin": "image-full", **conf})
        assert state == "failed"
        log = bench.api.log(CREATE, run_id, "plan_index")
        assert reason in log
        assert "Nothing was created." in log
        assert names(bench) == before


def names(bench):
    return set(bench.search().client.indices.get(index="image-*", expand_wildcards="all").body)


def test_what_a_failed_run_leaves_is_deleted_by_the_next(bench, full_index):
    full_index()
    conf = {"media_type": "image", "origin": "image-full", "index_suffix": "left"}
    with bench.failing(CREATE, "copy_documents", "after", "fail"):
        assert bench.run(CREATE, conf)[1] == "failed"
    assert bench.search().exists("image-left")
    run_id, state = bench.run(CREATE, {**conf, "index_suffix": "next"})
    assert state == "success", bench.tasks(CREATE, run_id)
    assert not bench.search().exists("image-left")


def test_a_proportional_index(bench, full_index):
    """Production's proportions by source; a kill and a second run choose the same documents."""
    search, live = bench.search(), full_index()
    search.swap_aliases({"image": live})  # production's engine is the same in the local stack
    sources = search.sources("image")
    conf = {"media_type": "image", "documents": 100, "each_source": True, "index_suffix": "small"}
    with bench.failing(PROPORTIONAL, "copy_documents", "before", "kill", once=True):
        run_id, state = bench.run(PROPORTIONAL, conf)
    assert state == "success", bench.tasks(PROPORTIONAL, run_id)
    made = search.sources("image-small")
    assert made == proportional(sources, 100, each=True)
    keys = {hit["_id"] for hit in search.client.search(index="image-small", size=200)["hits"]["hits"]}
    assert len(keys) == 100
    larger = {"media_type": "image", "percentage": 40.5, "index_suffix": "larger"}
    run_id, state = bench.run(PROPORTIONAL, larger)
    assert state == "success", bench.tasks(PROPORTIONAL, run_id)
    assert search.sources("image-larger") == {
        source: number for source, number in proportional(sources, share_of(sources, 40.5)).items() if number
    }
    assert search.resolve_alias("image-full") == live
    for wrong in ({}, {"percentage": 5, "documents": 5}):
        run_id, state = bench.run(PROPORTIONAL, {"media_type": "image", **wrong})
        assert state == "failed"
        log = bench.api.log(PROPORTIONAL, run_id, "plan_proportions")
        assert "percentage, documents: give exactly one of them" in log


def test_a_filtered_index_is_not_made_from_a_copy(bench, full_index):
    """A copy may have a mapping in which sensitive terms are not found, so that they would hide nothing."""
    bench.search().swap_aliases({"image": full_index()})
    dag_id = "create_new_production_es_index"
    run_id, state = bench.run(dag_id, {"media_type": "image", "index_suffix": "copy"})
    assert state == "success", bench.tasks(dag_id, run_id)
    run_id, state = bench.run("create_filtered_image_index", {"origin_index_suffix": "copy"})
    assert state == "failed"
    log = bench.api.log("create_filtered_image_index", run_id, "plan_filtered_index")
    assert "maybe with a mapping in which sensitive terms are not found" in log
