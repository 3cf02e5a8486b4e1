"""Malformed Variables, through the real scheduler: they fail no run, and one alert names each."""

import re

import pytest

from catalog.ingestion.registry import FOLDER
from catalog.tests.values import present

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]
READ = ("INGESTION_LIMIT", "SKIPPED_INGESTION_ERRORS", "PRIVATE_HOSTS", "CONFIGURATION_OVERRIDES")
HELD = "HELD_SCHEDULES"
SLACKS = "SILENCED_SLACK_NOTIFICATIONS"
CONF = {"replay": str(FOLDER), "accept_shortfall": True}


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left(bench):
    """Delete what was loaded: other tests count what their own pulls insert."""
    yield
    with bench.catalog() as connection:
        connection.execute("delete from image where provider = 'stocksnap'")


@pytest.mark.parametrize(
    "text",
    [
        "True,",
        '[{"timeout": "1s"}, 5]',
        '"text"',
        "1e999",
        "-1",
        '{"stocksnap_workflow": [{"task_id_pattern": "("}]}',
    ],
)
def test_a_run_goes_on_and_one_alert_names_each(bench, text):
    bench.slack.clear()
    changed = [*READ, SLACKS, HELD]
    before = {name: value(bench, name) for name in changed}
    try:
        for name in changed:
            write(bench, name, text)
        for _ in range(2):
            run_id, state = bench.run("stocksnap_workflow", CONF)
            assert state == "success", bench.tasks("stocksnap_workflow", run_id)
    finally:
        for name, old in before.items():
            write(bench, name, old)
    alerts = [m["text"] for m in bench.slack if m["username"] == "Malformed Setting"]
    named = [present(re.search(r"\*: (\w+) is malformed", alert))[1] for alert in alerts]
    # Read by several tasks of two runs, and named once. A scheduled run that begins meanwhile reads one more.
    assert sorted({*named} - {HELD}) == sorted(READ)
    assert len(named) == len({*named})
    reports = [m["text"] for m in bench.slack if m["username"] == "Airflow DAG Load Data Complete"]
    assert len(reports) == 2
    assert all(f":warning: {SLACKS} is malformed" in report for report in reports)


def value(bench, name):
    found = bench.api.call("GET", "/api/v2/variables", limit=1000)["variables"]
    return next((v["value"] for v in found if v["key"] == name), None)


def write(bench, name, text):
    there = value(bench, name) is not None
    path = f"/api/v2/variables/{name}"
    if text is None:
        bench.api.call("DELETE", path) if there else None
    elif there:
        bench.api.call("PATCH", path, {"key": name, "value": text})
    else:
        bench.api.call("POST", "/api/v2/variables", {"key": name, "value": text})
