"""Maintenance DAGs, through the real scheduler, with a fake GitHub and AWS; and the dashboard."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import boto3
import pytest
import requests
from pytest_httpserver import HTTPServer

from catalog.local.airflow_api import ApiError
from catalog.local.schedules import unpaused
from catalog.local.variables import stored_variables
from catalog.providers.flickr.audit import ENDPOINT
from catalog.tests.e2e.conftest import snap_recording
from catalog.tests.maintenance.github_server import FakeGitHub
from catalog.tests.values import present

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]
MAINTENANCE = ["airflow_log_cleanup", "check_silenced_dags", "pr_review_reminders", "rotate_db_snapshots"]
PULL = "2024-01-02T00:00:00Z"


@pytest.fixture(scope="module", autouse=True)
def ready(bench):
    with unpaused(bench.stack, MAINTENANCE, print):
        yield


@pytest.fixture
def github(bench):
    fake = FakeGitHub()
    with HTTPServer() as server, bench.variable("GITHUB_API_URL", server.url_for("").rstrip("/")):
        server.expect_request(re.compile("/repos/.*")).respond_with_handler(fake)
        yield fake


def test_log_cleanup(bench):
    """A dry run first; then old logs are deleted, but never those of the run itself, even with -1."""
    logs = bench.stack.airflow_home / "logs"
    old = logs / "dag_id=missing" / "run_id=long ago" / "task_id=t" / "attempt=1.log"
    old.parent.mkdir(parents=True)
    old.write_text("x" * 3_000_000)
    for path in (old, *list(old.parents)[:3]):
        os.utime(path, (time.time() - 30 * 86_400,) * 2)
    run_id, state = bench.run("airflow_log_cleanup", {"maxLogAgeInDays": "7", "enableDelete": "False"})
    assert state == "success"
    log = bench.api.log("airflow_log_cleanup", run_id, "log_cleaner_operator")
    assert "DRY RUN: 1 folders, 2.86 MB, would be deleted." in log
    assert old.exists()
    run_id, state = bench.run("airflow_log_cleanup", {"maxLogAgeInDays": -1})
    assert state == "success"
    assert not (logs / "dag_id=missing").exists()
    assert "folders deleted" in bench.api.log("airflow_log_cleanup", run_id, "log_cleaner_operator")
    for conf in ({"maxLogAgeInDays": -2}, {"maxLogAgeInDays": "soon"}, {"enableDelete": "perhaps"}):
        with pytest.raises(ApiError, match=next(iter(conf))):
            bench.api.trigger("airflow_log_cleanup", conf)


def test_institutions_are_suggested(bench, tmp_path):
    """Members of the Flickr Commons with many openly licensed photos; the responses are recorded."""

    def answer(name, body, **params):
        (tmp_path / f"{name}.json").write_text(json.dumps({"stat": "ok", **body}))
        request = {"method": "GET", "url": ENDPOINT, "params": params}
        response = {
            "status": 200,
            "headers": {"content-type": "application/json"},
            "body_file": f"{name}.json",
        }
        return {"request": request, "response": response}

    members = [
        {"nsid": "1@N00", "name": {"_content": "Made-up <Archive>"}},
        {"nsid": "2@N00", "name": {"_content": "Few"}},
    ]
    interactions = [
        answer(
            "members", {"institutions": {"institution": members}}, method="flickr.commons.getInstitutions"
        ),
        answer("many", {"photos": {"total": 50}}, user_id="1@N00"),
        answer("few", {"photos": {"total": 1}}, user_id="2@N00"),
    ]
    (tmp_path / "recording.json").write_text(
        json.dumps({"provider": "flickr", "date": None, "interactions": interactions})
    )
    bench.slack.clear()
    dag_id = "flickr_audit_sub_provider_workflow"
    _, state = bench.run(dag_id, {"replay": str(tmp_path)})
    assert state == "success"
    [text] = [m["text"] for m in bench.slack if m["username"] == "Flickr SubProvider Suggestions"]
    assert "Made-up &lt;Archive&gt;: 1@N00 _(700 CC-licensed images)_" in text
    assert "Few" not in text
    run_id, state = bench.run(dag_id, {"replay": str(tmp_path), "dat": 1})
    assert state == "failed"
    assert "unknown key 'dat'" in bench.api.log(dag_id, run_id, "audit_flickr_sub_providers")


def test_silenced_entries_are_checked(bench, github):
    github.issues = {("owner", 1): "open", ("owner/name", 1): "open", ("owner/name", 2): "closed"}
    entries = {
        "no_dag": [
            {"issue": f"https://localhost/owner/name/issues/{n}", "predicate": f"p{n}"} for n in (1, 2, 3)
        ]
    }
    bench.slack.clear()
    with bench.variable("SKIPPED_INGESTION_ERRORS", json.dumps(entries)):
        run_id, state = bench.run("check_silenced_dags", {})
    assert state == "success"
    tasks = bench.tasks("check_silenced_dags", run_id)
    assert (tasks["check_silenced_slack_notifications"], tasks["check_skipped_ingestion_errors"]) == (
        "skipped",
        "success",
    )
    [message] = [m for m in bench.slack if m["username"] == "Silenced DAG Check"]
    assert "issues/2|no_dag: 'p2'>" in message["text"]
    assert "(no such issue, or the token may not see it)" in message["text"]
    assert "p1" not in message["text"]


def test_review_reminders(bench, github):
    """Skipped without configuration, logged in a dry run, posted otherwise."""
    github.pulls["owner/name"] = [
        {
            "number": 5,
            "draft": False,
            "labels": [{"name": "priority: critical"}],
            "requested_reviewers": [{"login": "ada"}],
            "user": {"login": "grace"},
            "created_at": PULL,
            "updated_at": PULL,
            "base": {"ref": "main"},
        }
    ]
    run_id, state = bench.run("pr_review_reminders", {})
    assert (state, bench.tasks("pr_review_reminders", run_id)) == (
        "success",
        {"pr_review_reminder_operator": "skipped"},
    )
    with bench.variable("PR_REVIEW_REPOSITORIES", '{"repositories": ["owner/name"], "bot": "the-bot"}'):
        run_id, state = bench.run("pr_review_reminders", {})
        assert state == "success"
        assert "owner/name#5, critical" in bench.api.log(
            "pr_review_reminders", run_id, "pr_review_reminder_operator"
        )
        assert github.comments == {5: []}
        with bench.variable("PR_REVIEW_REMINDER_DRY_RUN", "false"):
            _, state = bench.run("pr_review_reminders", {})
        assert state == "success"
        assert "@ada" in github.comments[5][0]["body"]
    with bench.variable("PR_REVIEW_REPOSITORIES", '{"repositories": ["no slash"], "bot": "b"}'):
        run_id, state = bench.run("pr_review_reminders", {})
        assert state == "failed"
        assert "PR_REVIEW_REPOSITORIES" in bench.api.log(
            "pr_review_reminders", run_id, "pr_review_reminder_operator"
        )


def test_snapshots(bench, aws):
    requests.post(f"{aws}/moto-api/reset", timeout=10)
    rds = boto3.client(
        "rds",
        endpoint_url=aws,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    rds.create_db_instance(
        DBInstanceIdentifier="catalog", DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=20
    )
    rds.create_db_snapshot(DBInstanceIdentifier="catalog", DBSnapshotIdentifier="by-hand")
    with (
        bench.variable("CATALOG_RDS_DB_IDENTIFIER", "catalog"),
        bench.variable("CATALOG_RDS_SNAPSHOTS_TO_RETAIN", "2"),
    ):
        for _ in range(3):
            run_id, state = bench.run("rotate_db_snapshots", {})
            assert state == "success", bench.tasks("rotate_db_snapshots", run_id)
    pages = rds.describe_db_snapshots(DBInstanceIdentifier="catalog", SnapshotType="manual")["DBSnapshots"]
    names = [s["DBSnapshotIdentifier"] for s in pages]
    assert len([n for n in names if n.startswith("airflow-managed-")]) == 2
    assert "by-hand" in names
    run_id, state = bench.run("rotate_db_snapshots", {})
    assert state == "failed"
    assert "CATALOG_RDS_DB_IDENTIFIER is not set" in bench.api.log(
        "rotate_db_snapshots", run_id, "create_snapshot"
    )


def test_the_dashboard(bench):
    """Every part is shown, from the real databases, the real search engine and Airflow's Variables."""
    for page in ("", "providers", "providers/stocksnap", "explore", "refresh", "refresh?media=audio"):
        response = requests.get(
            f"{bench.stack.ui}/catalog/{page}", timeout=30
        )  # this stack requires no login
        assert response.status_code == 200
        assert "Not shown" not in response.text


COMMAND = """
import sys
from pathlib import Path
from catalog.local import __main__ as command
from catalog.local.stack import Stack
stack = Stack(Path(sys.argv.pop(1)))
command.Stack = lambda: stack
command.main()
"""


def test_a_trigger_prints_numbers_and_errors_and_refuses_unknown_keys(bench, tmp_path):
    def trigger(dag_id, conf):
        arguments = [str(bench.stack.folder), "trigger", dag_id, json.dumps(conf)]
        found = subprocess.run([sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True)
        return found.returncode, found.stdout + found.stderr

    recording = snap_recording(tmp_path / "recording", "said", pages=2)
    status, said = trigger("stocksnap_workflow", {"replay": str(recording), "accept_shortfall": True})
    assert status == 0, said
    assert "ingest_data" not in said  # the report has the numbers of all tasks
    assert re.search(r"stocksnap_workflow +│ success +│ +[\d.]+ │ image │ +10 ", said)

    status, said = trigger("stocksnap_workflow", {"replay": str(tmp_path)})
    assert status == 1
    assert re.search(
        r"failed +ingest_data\.pull_image_data: .*replay: no recording\.json for stocksnap", said
    )

    runs = bench.api.call("GET", "/api/v2/dags/stocksnap_workflow/dagRuns")["total_entries"]
    status, said = trigger("stocksnap_workflow", {"limt": 5})
    assert status == 1
    assert "unknown key 'limt'; did you mean 'limit'? stocksnap_workflow knows accept_shortfall, " in said
    assert bench.api.call("GET", "/api/v2/dags/stocksnap_workflow/dagRuns")["total_entries"] == runs


KILLED = """
import os
import sys
from pathlib import Path
from catalog.local.schedules import unpaused
from catalog.local.stack import Stack
with unpaused(Stack(Path(sys.argv[1])), [sys.argv[2]], print):
    os._exit(0)
"""


def test_a_trigger_that_is_ended_pauses_its_dag_again(bench):
    """By SIGTERM, as by Ctrl-C: the DAG is paused, and its schedule is no longer held.

    Of two commands, the last one does so, and one that was killed does not count: otherwise a run would wait
    for ever in a paused DAG.
    """
    dag_id = "image_popularity_refresh"

    def is_unpaused():
        held = bench.api.call("GET", "/api/v2/variables/HELD_SCHEDULES")["value"]
        assert (dag_id in held) == (not bench.api.dags()[dag_id]["is_paused"])
        return dag_id in held

    assert not is_unpaused()
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(bench.stack.folder), "trigger", dag_id],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert any("triggered" in line for line in present(process.stdout))
        assert is_unpaused()
        with unpaused(bench.stack, [dag_id], print):
            process.terminate()
            assert process.wait(120) == 128 + signal.SIGTERM
            assert is_unpaused()
    assert not is_unpaused()

    subprocess.run([sys.executable, "-c", KILLED, str(bench.stack.folder), dag_id], check=True)
    assert is_unpaused()
    # Another process has its id by now.
    file = bench.stack.folder / "unpaused.json"
    uses = json.loads(file.read_bytes())
    uses[dag_id]["processes"][0][0] = os.getppid()
    file.write_text(json.dumps(uses))
    with unpaused(bench.stack, [dag_id], print):
        pass
    assert not is_unpaused()


def test_the_schedule_of_a_dag_whose_entry_cannot_be_read_is_released(bench):
    """Airflow's API shows no value of a key with `token` in its name."""
    dag_id, path = "oauth2_token_refresh", "/api/v2/variables/HELD_SCHEDULES"
    was_paused = bench.api.dags()[dag_id]["is_paused"]
    bench.api.pause(dag_id, True)
    try:
        with unpaused(bench.stack, [dag_id], print):
            assert json.loads(bench.api.call("GET", path)["value"])[dag_id] == "***"
        assert dag_id not in json.loads(bench.api.call("GET", path)["value"])
        assert bench.api.dags()[dag_id]["is_paused"]
    finally:
        bench.api.pause(dag_id, was_paused)


@pytest.mark.parametrize("triggered", ["oauth2_token_refresh", "image_popularity_refresh"])
def test_a_trigger_keeps_a_reason_that_airflow_hides(bench, triggered):
    hidden, path = "oauth2_token_refresh", "/api/v2/variables/HELD_SCHEDULES"
    before, was_paused = (
        stored_variables(bench.stack)["HELD_SCHEDULES"],
        bench.api.dags()[triggered]["is_paused"],
    )
    held = {**json.loads(before), hidden: "waiting for new keys (Ann)"}
    bench.api.call("PATCH", path, {"key": "HELD_SCHEDULES", "value": json.dumps(held)})
    bench.api.pause(triggered, True)
    try:
        with unpaused(bench.stack, [triggered], print):
            assert json.loads(bench.api.call("GET", path)["value"])[hidden] == "***"
        assert json.loads(stored_variables(bench.stack)["HELD_SCHEDULES"]) == held
    finally:
        bench.api.call("PATCH", path, {"key": "HELD_SCHEDULES", "value": before})
        bench.api.pause(triggered, was_paused)


def test_a_trigger_keeps_the_reason_for_which_a_person_holds_a_schedule(bench):
    dag_id, path = "image_popularity_refresh", "/api/v2/variables/HELD_SCHEDULES"
    before = bench.api.call("GET", path)["value"]
    held = {**json.loads(before), dag_id: "its API is broken"}
    bench.api.call("PATCH", path, {"key": "HELD_SCHEDULES", "value": json.dumps(held)})
    try:
        with unpaused(bench.stack, [dag_id], print), unpaused(bench.stack, [dag_id], print):
            assert json.loads(bench.api.call("GET", path)["value"]) == held
        assert bench.api.dags()[dag_id]["is_paused"]
        assert json.loads(bench.api.call("GET", path)["value"]) == held
    finally:
        bench.api.call("PATCH", path, {"key": "HELD_SCHEDULES", "value": before})
