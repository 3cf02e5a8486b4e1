"""The upkeep of the search engine, through the real scheduler."""

import json

import pytest

from catalog.local.airflow_api import ApiError
from catalog.tests.data_refresh.indexes import make

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]
HEALTHCHECK = "staging_elasticsearch_cluster_healthcheck"
POINT = "point_staging_es_alias"
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
    bench.api.call("POST", "/api/v2/variables", {"key": marker, "value": '{"state": "well"}'})
    try:
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
        assert "1 nodes are in the cluster, 7 are expected" in bench.slack[-1]["text"]
        check()
        check()
        assert len(alerts(bench)) == 2
        assert reported() == usual
    finally:
        bench.api.call("DELETE", f"/api/v2/variables/{marker}")


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


def delete_as_a_moderator(bench):
    """Delete an image of staging, and return its identifier; the API deletes it from the live index only."""
    with bench.database("api_staging") as staging:
        query = """
            select identifier::text from image i where not removed_from_source
               and not exists (select from imagelist_images l where l.image_id = i.id) order by id limit 1
        """
        [key] = staging.execute(query).fetchone()
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
    for conf in ({"alias": "images", "index": live}, {"alias": "image", "index": "x"}, {"alias": "image"}):
        with pytest.raises(ApiError, match=r"alias|index"):
            bench.api.trigger(POINT, conf)
