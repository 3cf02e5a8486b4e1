"""Checks of a conf before a run is triggered, and what is shown of a run."""

import json

import pytest
from werkzeug import Response

from catalog.core.errors import Refused
from catalog.local.airflow_api import AirflowApi, ApiError
from catalog.local.runs import Run, check_conf, readable, watch


@pytest.mark.parametrize(
    ("conf", "known", "problem"),
    [
        ({"limt": 5}, ["limit", "date"], r"unknown key 'limt'; did you mean 'limit'\? x knows date, limit\."),
        ({"moon": 5}, ["limit"], r"unknown key 'moon'; x knows limit\."),
        ({"limit": [float("inf")]}, ["limit"], "a number is NaN or infinite"),
        ({"moon": 5}, [], r"unknown key 'moon'; x takes none\."),
        ([5], ["limit"], r"should be a JSON object, such as \{\}"),
        (None, ["limit"], "should be a JSON object"),
    ],
)
def test_a_wrong_conf_is_refused(conf, known, problem):
    with pytest.raises(Refused, match=problem):
        check_conf("x", conf, known)


def test_a_good_conf_is_accepted():
    check_conf("x", {"limit": 5}, ["limit", "date"])
    check_conf("x", {}, [])


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, ""),
        ({}, ""),
        (
            "*3 rows* of `image` were changed, see <https://example.org/a|the log>",
            "3 rows of image were changed, see the log (https://example.org/a)",
        ),
        ("*Limited*: a_b_c * 2, `x` &amp; _all_ &lt;b&gt;", "Limited: a_b_c * 2, x & all <b>"),
        (
            {"total": 1234, "updated": 0, "skipped": {}, "dry_run": True},
            "total 1,234, updated 0, dry_run yes",
        ),
        ({"written": {"image": 3}}, "written image 3"),
        (["a", "b"], "a, b"),
        ([{"before": 1}, {"before": 2}], "2 items"),
    ],
)
def test_what_a_task_returned_is_readable(result, text):
    assert readable(result) == text


FAILED = {
    "level": "error",
    "event": "Task failed",
    "error_detail": [{"exc_type": "Fatal", "exc_value": "no"}, {"exc_type": "KeyError", "exc_value": "'a'"}],
}
LIBRARY = {"level": "error", "event": "metrics could not be exported"}


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([{"level": "info", "event": "begun"}, FAILED, LIBRARY], "Fatal: no"),
        ([LIBRARY, {"level": "info", "event": "ended", "error_detail": None}], LIBRARY["event"]),
        ([{"event": "begun"}], ""),
    ],
)
def test_why_a_task_failed_is_its_exception_not_what_libraries_log_afterwards(httpserver, lines, why):
    path = "/api/v2/dags/d/dagRuns/r/taskInstances/t/logs/1"
    httpserver.expect_request(path).respond_with_json({"content": lines})
    task = {"dag_id": "d", "dag_run_id": "r", "task_id": "t", "try_number": 1, "map_index": -1}
    assert AirflowApi(httpserver.url_for("/")).last_error(task) == why


@pytest.mark.enable_socket
def test_a_run_is_watched_while_the_api_is_away_for_a_moment(httpserver, monkeypatch):
    """Its database may be starting again. An answer that will not change ends the watch."""
    monkeypatch.setattr("catalog.local.runs.time.sleep", lambda _: None)
    away = {"detail": {"reason": "Database error", "statement": "hidden"}}
    run, tasks = "/api/v2/dags/d/dagRuns/r", "/api/v2/dags/~/dagRuns/~/taskInstances/list"
    for _ in range(3):
        httpserver.expect_ordered_request(run).respond_with_json(away, status=500)
    httpserver.expect_ordered_request(run).respond_with_json({"state": "success"})
    httpserver.expect_ordered_request(tasks).respond_with_json({"task_instances": [], "total_entries": 0})
    api = AirflowApi(httpserver.url_for("/"))
    assert watch(api, [Run("d", "r")], lambda _: None)[0].state == "success"
    httpserver.clear()
    httpserver.expect_request(run).respond_with_json(away, status=500)
    monkeypatch.setattr("catalog.local.runs.MAX_OUTAGE", 0)
    with pytest.raises(ApiError, match=r"^500: Database error$"):
        watch(api, [Run("d", "r")], lambda _: None)
    httpserver.clear()
    httpserver.expect_request(run).respond_with_json({"detail": "no such run"}, status=404)
    monkeypatch.setattr("catalog.local.runs.MAX_OUTAGE", 120)
    with pytest.raises(ApiError, match="404: no such run"):
        watch(api, [Run("d", "r")], lambda _: None)


@pytest.mark.enable_socket
def test_all_items_of_a_list_are_read(httpserver):
    """Airflow gives 100 at most at a time, whatever is asked for."""
    dags = [{"dag_id": f"d{number}"} for number in range(250)]

    def answer(request):
        first = int(request.args["offset"])
        assert request.args["exclude_stale"] == "True"
        page = dags[first : first + min(100, int(request.args["limit"]))]
        return Response(json.dumps({"dags": page, "total_entries": 250}), content_type="application/json")

    httpserver.expect_request("/api/v2/dags").respond_with_handler(answer)
    assert len(AirflowApi(httpserver.url_for("/")).dags()) == 250


@pytest.mark.enable_socket
def test_the_tasks_of_all_runs_are_asked_for_at_once(httpserver):
    """Runs of different DAGs may have the same id; a task of a third DAG's run of that id is left out."""
    for dag_id in ("a", "b"):
        httpserver.expect_request(f"/api/v2/dags/{dag_id}/dagRuns/r").respond_with_json({"state": "success"})
    tasks = [
        {
            "dag_id": dag_id,
            "dag_run_id": run_id,
            "task_id": f"{dag_id}_{run_id}",
            "map_index": -1,
            "state": "success",
        }
        for dag_id, run_id in (("a", "r"), ("b", "r"), ("b", "s"))
    ]
    path = "/api/v2/dags/~/dagRuns/~/taskInstances/list"
    for offset, page in ((0, tasks[:2]), (2, tasks[2:])):
        body = {"dag_ids": ["a", "b"], "dag_run_ids": ["r"], "order_by": "map_index"}
        httpserver.expect_oneshot_request(
            path, "POST", json={**body, "page_limit": 100, "page_offset": offset}
        ).respond_with_json({"task_instances": page, "total_entries": len(tasks)})
    runs = watch(AirflowApi(httpserver.url_for("/")), [Run("a", "r"), Run("b", "r")], lambda _: None)
    assert [run.tasks for run in runs] == [{"a_r": "success"}, {"b_r": "success"}]
    assert [request.path for request, _ in httpserver.log].count(path) == 2
