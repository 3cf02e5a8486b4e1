"""The upkeep of the search engine, through the real scheduler."""

import json

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]
HEALTHCHECK = "staging_elasticsearch_cluster_healthcheck"
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
