"""Pulls that end without an error and are incomplete, through the real scheduler."""

import json
from datetime import UTC, datetime

import pytest

from catalog.ingestion.rate import Quota
from catalog.monitoring import loads
from catalog.monitoring.sources import Source
from catalog.providers.jamendo.provider import Jamendo
from catalog.tests.e2e.conftest import snap_recording
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]
STOCKSNAP, JAMENDO = "stocksnap_workflow", "jamendo_workflow"
REPORT = "report_load_completion"
PULL, LOAD = "ingest_data.pull_image_data", "ingest_data.load_image_data"


@pytest.fixture
def counted_as_real(bench):
    """A function that makes the report of a replay count as a real one; undone at the end."""
    known = []

    def mark(run_id):
        known.append(run_id)
        with bench.catalog() as connection:
            connection.execute("update ingestion_report set replayed = false where run_id = %s", [run_id])

    yield mark
    with bench.catalog() as connection:
        connection.execute("update ingestion_report set replayed = true where run_id = any(%s)", [known])


def stocksnap(bench):
    with bench.catalog() as connection:
        source = Source("stocksnap", "image", "stocksnap")
        return loads.freshness(connection, [source], datetime.now(UTC))[source]


def test_a_pull_that_shrinks_is_loaded_but_fails_and_is_not_fresh_until_it_is_accepted(
    bench, tmp_path, counted_as_real
):
    whole = snap_recording(tmp_path / "whole", "SHRINK", pages=10)
    run_id, state = bench.run(STOCKSNAP, {"replay": str(whole)})
    assert state == "success"
    counted_as_real(run_id)
    assert stocksnap(bench).state == "fresh"
    loaded = stocksnap(bench).last

    smaller = snap_recording(tmp_path / "smaller", "LESS", pages=4)
    run_id, state = bench.run(STOCKSNAP, {"replay": str(smaller)})
    assert state == "failed"
    assert (bench.tasks(STOCKSNAP, run_id)[PULL], bench.tasks(STOCKSNAP, run_id)[LOAD]) == (
        "success",
        "failed",
    )
    assert len(bench.photos("LESS")) == 20  # loaded nevertheless
    (report,) = bench.reports(run_id)
    assert (report["complete"], report["whole"], report["inserted"]) == (True, False, 20)
    text = (
        f"20 items came, 50 in the last whole pull ({loaded:%Y-%m-%d}): "
        "60% fewer, where at most 50% fewer is usual"
    )
    assert report["shortfalls"] == [text]
    alert = next(m["text"] for m in bench.slack if "stocksnap image is NOT WHOLE" in m["text"])
    assert text in alert
    assert "Look at the provider's API" in alert
    assert json.dumps({"replay": str(smaller), "accept_shortfall": True}) in alert
    completion = [m["text"] for m in bench.slack if m["username"] == "Airflow DAG Load Data Complete"][-1]
    assert "*Not whole*, and not counted as fresh" in completion
    assert text in completion
    counted_as_real(run_id)
    assert stocksnap(bench).last == loaded  # even a real pull like it would not make the provider fresh

    run_id, state = bench.run(STOCKSNAP, {"replay": str(smaller), "accept_shortfall": True})
    assert state == "success"
    (report,) = bench.reports(run_id)
    assert (report["whole"], report["accepted"], report["shortfalls"]) == (True, True, [text])
    counted_as_real(run_id)
    assert stocksnap(bench).last > loaded


def test_a_pull_that_is_marked_as_success_does_not_end_its_run_well(bench, tmp_path):
    """What it had read is loaded, but the run is green only when the pull has read the rest."""
    folder = snap_recording(tmp_path / "marked", "MARKED", pages=4, missing=3)
    run_id, state = bench.run(STOCKSNAP, {"replay": str(folder)})
    assert (state, bench.tasks(STOCKSNAP, run_id)[PULL]) == ("failed", "failed")
    path = f"/api/v2/dags/{STOCKSNAP}/dagRuns/{run_id}/taskInstances/{PULL}"
    bench.api.call("PATCH", path, {"new_state": "success"})
    # Airflow asks no task, and calls the run successful.
    until(lambda: bench.api.run(STOCKSNAP, run_id)["state"] == "success")
    bench.api.clear(STOCKSNAP, run_id, [LOAD])
    until(lambda: bench.api.run(STOCKSNAP, run_id)["state"] != "success")
    state, tasks = bench.api.wait(STOCKSNAP, run_id, 300), bench.tasks(STOCKSNAP, run_id)
    assert (state, tasks) == (
        "failed",
        {PULL: "success", LOAD: "skipped", REPORT: "failed", "watcher": "failed"},
    )
    (last,) = [t for t in bench.api.tasks(STOCKSNAP, run_id) if t["task_id"] == REPORT]
    assert f"marked as success by hand before its end: {PULL}" in bench.api.last_error(last)

    snap_recording(folder, "MARKED", pages=4)
    bench.api.clear(STOCKSNAP, run_id, [PULL])
    until(lambda: bench.api.run(STOCKSNAP, run_id)["state"] != "failed")
    assert bench.api.wait(STOCKSNAP, run_id, 300) == "success"
    assert len(bench.photos("MARKED")) == 20


def test_a_limited_run_and_a_replay_are_not_fresh(bench, tmp_path, counted_as_real):
    folder = snap_recording(tmp_path / "limited", "LIMITED", pages=4)
    before = stocksnap(bench).last
    run_id, state = bench.run(STOCKSNAP, {"replay": str(folder), "limit": 7})
    assert state == "success"
    counted_as_real(run_id)
    (report,) = bench.reports(run_id)
    assert (report["complete"], report["whole"], report["inserted"]) == (True, False, 7)
    assert stocksnap(bench).last == before
    texts = [m["text"] for m in bench.slack if m["username"] == "Airflow DAG Load Data Complete"]
    assert "*Limited*: this run asked for a part only" in texts[-1]


def test_a_pull_with_a_used_up_quota_resumes_when_the_quota_does(bench):
    """Nothing is requested: the quota is checked before the first request is sent."""
    now = datetime.now(UTC)
    quota = Jamendo.quota or Quota(1)
    with bench.catalog() as connection:
        connection.execute("delete from rate_quota")  # of other tests
        connection.execute(
            "insert into rate_quota values ('API_KEY_JAMENDO', %s, %s)", [quota.starts(now), quota.requests]
        )
    try:
        with bench.variable("API_KEY_JAMENDO", "a-key-for-tests"):
            run_id = bench.api.trigger(JAMENDO, {})
            task = "ingest_data.pull_audio_data"
            until(lambda: bench.tasks(JAMENDO, run_id)[task] == "up_for_reschedule")
            # Airflow fails a task that is queued again before it has noticed the end of its process.
            until(lambda: has_noticed_the_end(bench, run_id))
            assert bench.api.run(JAMENDO, run_id)["state"] == "running"
            with bench.database("airflow") as connection:
                query = """
                    select r.reschedule_date from task_reschedule r join task_instance t on t.id = r.ti_id
                     where t.run_id = %s order by r.id desc limit 1
                """
                (date,) = connection.execute(query, [run_id]).fetchone()
                assert date == quota.resumes(now)
                connection.execute(  # let that moment come
                    "update task_reschedule r set reschedule_date = now() from task_instance t "
                    "where t.id = r.ti_id and t.run_id = %s",
                    [run_id],
                )
            until(lambda: rescheduled(bench, run_id) == 2)  # it has resumed, and met the quota again
            bench.api.call("PATCH", f"/api/v2/dags/{JAMENDO}/dagRuns/{run_id}", {"state": "failed"})
    finally:
        with bench.catalog() as connection:
            connection.execute("delete from rate_quota")


def has_noticed_the_end(bench, run_id):
    """Return whether the scheduler has processed the end of the run's first task process."""
    log = (bench.stack.logs / "scheduler.log").read_text(errors="replace")
    return any("Received executor event" in line and run_id in line for line in log.splitlines())


def rescheduled(bench, run_id):
    with bench.database("airflow") as connection:
        query = """
            select count(*) from task_reschedule r join task_instance t on t.id = r.ti_id where t.run_id = %s
        """
        return connection.execute(query, [run_id]).fetchone()[0]
