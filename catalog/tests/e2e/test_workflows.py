"""Provider DAGs through the real scheduler."""

import json
import os
import shlex
import shutil
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, quote_plus

import orjson
import psutil
import psycopg
import pytest
import requests
from psycopg import sql

from catalog.ingestion.registry import FOLDER, provider_class, provider_names
from catalog.local import __main__ as local
from catalog.local import demo, keys
from catalog.local.airflow_api import ApiError
from catalog.local.schedules import unpaused
from catalog.provider_api import ApiKey, Counted, Provider
from catalog.scaffold.rows import expected_file
from catalog.tests.e2e.conftest import CANARY, snap_recording
from catalog.tests.oauth2_server import Registered, oauth2_provider
from catalog.tests.test_tour import commands
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]
STOCKSNAP, FLICKR, JAMENDO = "stocksnap_workflow", "flickr_workflow", "jamendo_workflow"
PULL, LOAD = "ingest_data.pull_image_data", "ingest_data.load_image_data"
LOCKED = "wait_event_type = 'Lock'"


@pytest.mark.timeout(900)
def test_the_demo(bench):
    """Every provider on its recording: all rows are inserted."""
    dags = demo.provider_dags(provider_names(), live=False)
    runs = demo.run_dags(bench.stack, dags, notify=print, show=lambda _: None)
    assert {r.dag_id: r.state for r in runs} == {f"{n}_workflow": "success" for n in provider_names()}
    for name, reports in zip(provider_names(), demo.reports(bench.stack, runs).values(), strict=True):
        rows = len(expected_file(name).read_text().splitlines())
        assert sum(r["inserted"] for r in reports if isinstance(r["inserted"], int)) == rows
        assert [r["media_type"] for r in reports] == sorted(provider_class(name).catalog_names, reverse=True)
        assert all(r["replayed"] and r["complete"] for r in reports)
    assert {row["provider"] for row in demo.samples(bench.stack)} >= {"wikimedia_audio", "flickr"}


@pytest.fixture
def just(bench, monkeypatch):
    """Return a function that runs a recipe of the local stack, and returns its exit status."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["just", *words])
        with pytest.raises(SystemExit) as ended:
            local.main()
        return ended.value.code

    monkeypatch.setattr(local, "Stack", lambda: bench.stack)
    return run


@pytest.fixture(scope="module")  # two tests that follow each other
def searchable(bench):
    """What the DAGs of the demo load and publish; other tests may have published more, which is given up."""
    for dag_id, run, conf in (
        ("wordpress_workflow", bench.run, demo.conf_for("wordpress", live=False)),
        ("image_data_refresh", bench.accept, {"mode": "full"}),
    ):
        run_id, state = run(dag_id, conf, timeout=400)
        assert state == "success", bench.tasks(dag_id, run_id)


@pytest.mark.timeout(900)
def test_the_addresses_at_the_end_of_the_demo_answer(bench, just, searchable):
    """They hold what the demo has loaded: none of the pages says that a part of it cannot be shown."""
    addresses = [step.address for step in demo.next_steps(bench.stack.ui)]
    explore, provider, dag = addresses
    pages = {a: requests.get(a, headers={"Accept": "text/html"}, timeout=60) for a in addresses}
    assert {page.status_code for page in pages.values()} == {200}
    assert "A bridge &amp; its river" in pages[explore].text
    assert "Not shown" not in pages[explore].text + pages[provider].text
    assert dag.rpartition("/")[2] in bench.api.dags()  # Airflow's UI answers 200 whatever its address is
    assert not just(*shlex.split(demo.example_command(live=False).removeprefix("./just ")))


@pytest.mark.timeout(900)
def test_the_commands_of_the_tour(just, searchable, capfd):
    ran = [words for words in commands("stack") if words[1] != "demo"]
    assert {words[1] for words in ran} == {"catalog", "trigger"}
    for words in ran:
        # `status` exits with 1 if other tests have left something that needs a person.
        assert not just(*words[1:]) or "status" in words, capfd.readouterr().err
    assert "A bridge & its river" in capfd.readouterr().out


def test_the_doctor_tries_the_keys_that_airflow_stores(bench, just, httpserver, monkeypatch, capsys):
    """Their values come from its command line, as its REST API shows them as `***`."""

    class Museum(Provider):
        name = "museum"
        catalog_names = {"image": "museum"}
        key = ApiKey("API_KEY_MUSEUM", "key", "https://museum.example.org/keys", header=True)
        pages = Counted(httpserver.url_for("/api"), items="items")

    secret = 'stored/Key+0f&"tests"=9'
    monkeypatch.setattr(keys, "provider_classes", lambda: [Museum])
    httpserver.expect_request("/api", headers={"key": secret}).respond_with_json({"items": [{"id": 1}]})
    with bench.variable("API_KEY_MUSEUM", secret), bench.variable("PRIVATE_HOSTS", '["localhost"]'):
        assert bench.api.call("GET", "/api/v2/variables/API_KEY_MUSEUM")["value"] == "***"
        just("doctor", "--keys")
    shown = capsys.readouterr().out
    assert "accepted by museum" in shown
    assert secret not in shown


@pytest.mark.parametrize(
    ("conf", "field"),
    [
        ({"date": "2024-13-01"}, "date"),
        ({"limit": -1}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"replay": 5}, "replay"),
    ],
)
def test_a_wrong_conf_is_refused_at_trigger(bench, conf, field):
    with pytest.raises(ApiError, match=f"400: Invalid input for param {field}"):
        bench.api.trigger(FLICKR, conf)


def test_an_unknown_key_fails_the_first_task(bench):
    began = time.monotonic()
    run_id, state = bench.run(STOCKSNAP, {"replay": str(FOLDER), "limt": 5})
    assert state == "failed"
    print(f"failed after {time.monotonic() - began:.1f} s")
    tasks = {t["task_id"]: t for t in bench.api.tasks(STOCKSNAP, run_id)}
    assert (tasks[PULL]["state"], tasks[PULL]["try_number"]) == ("failed", 1)
    log = bench.api.log(STOCKSNAP, run_id, PULL)
    assert "unknown key 'limt'" in log
    assert "additional_query_params, include_deleted, initial_query_params, limit" in log


@pytest.mark.parametrize("logical", [None, "2024-05-06T00:00:00+00:00"])
def test_manual_runs_with_and_without_a_logical_date(bench, logical):
    """Triggered as by the API and as by the form: the run covers the conf's date, else the recording's."""
    for conf, day in (({}, 10), ({"date": "2024-02-09"}, 9)):
        run_id, state = bench.run(FLICKR, {"replay": str(FOLDER), **conf}, logical_date=logical)
        assert state == "success"
        window = (datetime(2024, 2, day, tzinfo=UTC), datetime(2024, 2, day + 1, tzinfo=UTC))
        assert [(r["window_start"], r["window_end"]) for r in bench.reports(run_id)] == [window]
        # The next run may have the same logical date.
        bench.api.call("DELETE", f"/api/v2/dags/{FLICKR}/dagRuns/{quote(run_id)}")


def test_a_held_schedule(bench):
    """Unpausing has started the schedule's last run, which is marked as success and does nothing."""
    (run,) = bench.api.call("GET", f"/api/v2/dags/{STOCKSNAP}/dagRuns", run_type="scheduled")["dag_runs"]
    assert run["state"] == "success"
    assert bench.reports(run["dag_run_id"]) == []


def backfill(bench, dag_id, day, reprocess="none"):
    """Begin a backfill of a day on the recording; return its number and the id of its run."""
    body = {
        "dag_id": dag_id,
        "from_date": day.isoformat(),
        "to_date": day.isoformat(),
        "run_on_latest_version": True,
        "dag_run_conf": {"replay": str(FOLDER)},
        "reprocess_behavior": reprocess,
        "max_active_runs": 1,
        "run_backwards": False,
    }
    number = bench.api.call("POST", "/api/v2/backfills", body)["id"]
    [run] = bench.api.call("GET", f"/api/v2/dags/{dag_id}/dagRuns", run_type="backfill")["dag_runs"]
    return number, run["dag_run_id"]


def days_ago(number):
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=number)


def test_a_backfilled_run_covers_its_interval(bench):
    """It has a conf, and a data interval as scheduled runs have."""
    day, dag_id = days_ago(3), "wikimedia_commons_workflow"
    _, run_id = backfill(bench, dag_id, day)
    assert bench.api.wait(dag_id, run_id, 120) == "success"
    assert {(r["media_type"], r["window_start"]) for r in bench.reports(run_id)} == {
        ("image", day),
        ("audio", day),
    }


def test_a_day_that_a_restored_catalog_lacks(bench):
    """A backfill repeats a day that has run before, for providers without a reingestion DAG.

    Both are backfilled at once, because Airflow looks only every half a minute whether a backfill has ended.
    """
    day, names = days_ago(4), {}
    for provider in ("europeana", "finnish_museums"):
        [names[f"{provider}_workflow"]] = provider_class(provider).catalog_names.values()

    def filled(reprocess):
        """Backfill the day; return backfill, run and inserted rows of each DAG."""
        begun = {dag_id: backfill(bench, dag_id, day, reprocess) for dag_id in names}
        found = {}
        for dag_id, (number, run_id) in begun.items():
            assert bench.api.wait(dag_id, run_id, 120) == "success"
            [report] = [r for r in bench.reports(run_id) if r["dag_id"] == dag_id]
            assert report["window_start"] == day
            found[dag_id] = (number, run_id, report["inserted"])
        return found

    with bench.catalog() as catalog:  # rows of other tests
        catalog.execute("delete from image where provider = any(%s)", [[*names.values()]])
    first = filled("none")
    open_ones = "select from backfill where completed_at is null and id = any(%s)"
    numbers = [number for number, _, _ in first.values()]
    with bench.database("airflow") as airflow:  # which accepts one backfill of a DAG at a time
        until(lambda: not airflow.execute(open_ones, [numbers]).rowcount, 120)
    rows = {}
    with bench.catalog() as catalog:  # as a restore of an earlier backup does
        for dag_id, name in names.items():
            rows[dag_id] = catalog.execute("delete from image where provider = %s", [name]).rowcount
        catalog.execute("delete from ingestion_report where dag_id = any(%s)", [[*names]])
    again = filled("completed")
    assert 0 not in rows.values()
    assert [(run_id, inserted) for _, run_id, inserted in again.values()] == [
        (run_id, rows[dag_id]) for dag_id, (_, run_id, _) in first.items()
    ]


def test_a_killed_pull_goes_on(bench, tmp_path):
    """By SIGKILL, in the middle: the retry resumes at the checkpoint, and repeats at most one page."""
    folder = snap_recording(tmp_path / "killed", "KILL", pages=400)
    run_id = bench.api.trigger(STOCKSNAP, {"replay": str(folder)})
    process = bench.process_behind("query like '%pull_lease%'")
    until(lambda: (m := bench.manifest(run_id)) and m["pages"] >= 30)
    process.kill()
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    at_kill = bench.manifest(run_id)["pages"]
    assert at_kill < 400, "the pull was over before it could be killed"
    assert bench.api.wait(STOCKSNAP, run_id, 120) == "success"
    assert len(bench.photos("KILL")) == 400 * 5
    (report,) = bench.reports(run_id)
    assert (report["fetched"], report["inserted"]) == (2000, 2000)
    log = bench.api.log(STOCKSNAP, run_id, PULL, try_number=2)
    resumed = int(log.split("Resuming after page ")[1].split(",")[0])
    assert at_kill - 1 <= resumed <= at_kill


def test_a_pull_that_is_killed_after_its_end(bench, tmp_path):
    """Before it has reported its success: the retry has nothing to do. Clearing it then reads all again."""
    folder = snap_recording(tmp_path / "ended", "ENDED", pages=7)
    with bench.failing(STOCKSNAP, PULL, "after", "kill", once=True):
        run_id, state = bench.run(STOCKSNAP, {"replay": str(folder)})
    assert state == "success"
    (report,) = bench.reports(run_id)
    assert (report["fetched"], report["inserted"], report["whole"]) == (35, 35, True)
    assert "Resuming after page 7" in bench.api.log(STOCKSNAP, run_id, PULL, try_number=2)
    bench.api.clear(STOCKSNAP, run_id, [PULL])
    assert bench.api.wait(STOCKSNAP, run_id, 120) == "success"
    log = bench.api.log(STOCKSNAP, run_id, PULL, try_number=3)
    assert "Resuming after page" not in log
    assert "'pages': 7" in log
    (report,) = bench.reports(run_id)
    assert (report["fetched"], report["unchanged"]) == (35, 35)


@pytest.mark.parametrize("table", ["ingestion_report", "deleted_image"], ids=["before COPY", "after COPY"])
def test_a_killed_load_goes_on(bench, tmp_path, table):
    """By SIGKILL, while the load waits for a lock of the test: before it copies, and after that."""
    prefix = f"LOAD{table[:2].upper()}"
    folder = snap_recording(tmp_path / table, prefix, pages=3)
    with psycopg.connect(bench.stack.dsn()) as blocking:
        blocking.execute(f"lock table {table} in access exclusive mode")
        run_id = bench.api.trigger(STOCKSNAP, {"replay": str(folder)})
        bench.process_behind(LOCKED).kill()
        # The session of the killed client still waits and has the lock of loads; the retry waits for it.
    assert bench.api.wait(STOCKSNAP, run_id, 120) == "success"
    assert len(bench.photos(prefix)) == 15
    (report,) = bench.reports(run_id)
    assert (report["fetched"], report["inserted"]) == (15, 15)
    attempts = {t["task_id"]: t["try_number"] for t in bench.api.tasks(STOCKSNAP, run_id)}
    assert (attempts[PULL], attempts[LOAD]) == (1, 2)
    with bench.catalog() as connection:
        assert connection.execute(
            "select count(*) from pg_class where relname like 'load\\_%'"
        ).fetchone() == (0,)


def test_a_load_killed_during_the_upsert_goes_on(bench, tmp_path):
    """By SIGKILL, while the insert waits for another session with one of the new keys."""
    folder = snap_recording(tmp_path / "upsert", "UPS", pages=3)
    with psycopg.connect(bench.stack.dsn()) as blocking:
        blocking.execute(
            "insert into image (created_on, updated_on, removed_from_source, license, url, provider,"
            " foreign_identifier)"
            " values (now(), now(), false, 'cc0', 'https://example.org/held', 'stocksnap', 'UPS0002001')"
        )
        run_id = bench.api.trigger(STOCKSNAP, {"replay": str(folder)})
        bench.process_behind(f"{LOCKED} and query ilike '%insert into \"image\"%'").kill()
        blocking.rollback()
    assert bench.api.wait(STOCKSNAP, run_id, 120) == "success"
    assert len(bench.photos("UPS")) == 15
    assert {t["task_id"]: t["try_number"] for t in bench.api.tasks(STOCKSNAP, run_id)}[LOAD] == 2


def test_a_pull_that_fails_permanently(bench, tmp_path):
    """Its pages are loaded. Clearing the failed pull resumes it; clearing a finished one restarts."""
    folder = snap_recording(tmp_path / "failing", "FAIL", pages=6, missing=4)
    run_id, state = bench.run(STOCKSNAP, {"replay": str(folder)})
    assert state == "failed"
    assert bench.tasks(STOCKSNAP, run_id) == {
        PULL: "failed",
        LOAD: "success",
        "report_load_completion": "success",
        "watcher": "failed",
    }
    assert len(bench.photos("FAIL")) == 15
    (report,) = bench.reports(run_id)
    assert (report["complete"], report["inserted"]) == (False, 15)
    texts = [m["text"] for m in bench.slack if STOCKSNAP in m["text"]]
    assert any("*Partial*" in t for t in texts)
    assert any(
        m["username"] == "Airflow DAG Failure" and "no answer to GET" in m["text"] for m in bench.slack
    )
    assert not any("Upstream task(s) failed" in t for t in texts)

    snap_recording(folder, "FAIL", pages=6)
    bench.api.clear(STOCKSNAP, run_id, [PULL])
    until(lambda: bench.api.run(STOCKSNAP, run_id)["state"] != "failed")
    assert bench.api.wait(STOCKSNAP, run_id, 120) == "success"
    (report,) = bench.reports(run_id)
    assert (report["complete"], report["fetched"], report["inserted"], report["unchanged"]) == (
        True,
        30,
        15,
        15,
    )
    assert "Resuming after page 3" in bench.api.log(STOCKSNAP, run_id, PULL, try_number=2)

    first = bench.manifest(run_id)["token"]
    bench.api.clear(STOCKSNAP, run_id, [PULL])
    until(lambda: bench.api.run(STOCKSNAP, run_id)["state"] != "success")
    assert bench.api.wait(STOCKSNAP, run_id, 120) == "success"
    assert bench.manifest(run_id)["token"] != first
    assert bench.reports(run_id)[0]["unchanged"] == 30


def test_a_reingestion_with_an_unknown_key_pulls_nothing(bench):
    dag_id = "wikimedia_reingestion_workflow"
    with unpaused(bench.stack, [dag_id], print):
        run_id, state = bench.run(dag_id, {"replay": str(FOLDER), "unknown": 1}, timeout=120)
    assert state == "failed"
    states = bench.tasks(dag_id, run_id)
    assert states["check_configuration"] == "failed"
    assert not [
        t for t, s in states.items() if (".pull_" in t or ".load_" in t) and s in ("success", "failed")
    ]


def test_a_reingestion_of_everything(bench):
    """PhyloPic has no days, so its reingestion reads everything once."""
    with unpaused(bench.stack, ["phylopic_reingestion_workflow"], print):
        run_id, state = bench.run("phylopic_reingestion_workflow", {"replay": str(FOLDER)})
    assert state == "success"
    (report,) = bench.reports(run_id)
    assert (report["complete"], report["whole"], report["window_start"]) == (True, True, None)


@pytest.mark.fault_long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("name", "number", "last"),
    [("wikimedia", 64, 7296), ("metropolitan_museum", 64, 7296), ("flickr", 128, 10_471)],
)
def test_a_whole_reingestion(bench, name, number, last):
    """It reads all its days, on the recording."""
    dag_id = f"{name}_reingestion_workflow"
    with unpaused(bench.stack, [dag_id], print):
        run_id, state = bench.run(dag_id, {"replay": str(FOLDER), "date": "2024-02-10"}, timeout=1100)
    assert state == "success"
    days = sorted({r["window_start"] for r in bench.reports(run_id)}, reverse=True)
    assert len(days) == number
    assert (days[0] - days[1], days[0] - days[-1]) == (timedelta(days=1), timedelta(days=last))


@pytest.mark.fault_long
def test_fifty_runs_in_a_row(bench):
    """The demo's DAGs, ten times, with and without logical dates: all succeed, with the right windows."""
    for number in range(10):
        logical = None if number % 2 else f"2023-03-{number + 1:02}T00:00:00+00:00"
        for name in demo.SHOWN:
            day = f"2024-03-{number + 1:02}"
            expected = day if provider_class(name).dated else None
            conf = {"replay": str(FOLDER), **({"date": expected} if expected else {})}
            run_id, state = bench.run(f"{name}_workflow", conf, logical_date=logical)
            assert state == "success", (name, number)
            windows = {r["window_start"] and f"{r['window_start']:%Y-%m-%d}" for r in bench.reports(run_id)}
            assert windows == {expected}


def everything_written(bench, dag_id, run_id):
    """Return all that could contain a secret: files, XComs, task instances, rows, Slack messages."""
    haystacks = [m["text"] for m in bench.slack]
    written = [
        p
        for p in bench.stack.folder.rglob("*")
        if p.suffix in (".log", ".json", ".jsonl", ".tsv") and p.is_file()
    ]
    haystacks += [p.read_text(errors="replace") for p in written]
    for task in bench.api.tasks(dag_id, run_id):
        base = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task['task_id']}"
        haystacks += [str(task), str(bench.api.call("GET", f"{base}/xcomEntries"))]
    server = bench.stack.postgres(bench.stack.settings())
    for dsn in (server.dsn("catalog"), server.dsn("airflow")):
        with psycopg.connect(dsn) as connection:
            tables = connection.execute(
                "select tablename from pg_tables where schemaname = 'public' and tablename <> 'variable'"
            )
            for (table,) in tables.fetchall():
                statement = sql.SQL("select t::text from {} t").format(sql.Identifier(table))
                haystacks += [str(r[0]) for r in connection.execute(statement)]
    assert len(haystacks) > 100
    return haystacks


def appears_nowhere(haystacks, secrets):
    forms = {form for s in secrets for form in (s, quote(s, safe=""), quote(s), quote_plus(s))}
    for haystack in haystacks:
        for form in forms:
            around = haystack.find(form)
            assert around < 0, haystack[max(0, around - 200) : around + 200]


def test_the_key_appears_nowhere(bench):
    """A pull that cannot reach its API names the host; all outputs are searched for the key in its URL."""
    run_id, state = bench.run(JAMENDO, {}, timeout=200)
    assert state == "failed"
    log = bench.api.log(JAMENDO, run_id, "ingest_data.pull_audio_data")
    assert "api.jamendo.com" in log
    appears_nowhere(everything_written(bench, JAMENDO, run_id), [CANARY, "canary"])
    assert any(
        m["username"] == "Airflow DAG Failure" and JAMENDO in m["text"] and "api.jamendo.com" in m["text"]
        for m in bench.slack
    )


def test_tokens(bench):
    """A code is exchanged for tokens, tokens are refreshed, and secrets of Variables appear nowhere else."""

    def variable(key, value=None):
        if value is None:
            return json.loads(bench.api.call("GET", f"/api/v2/variables/{key}")["value"])
        return bench.api.call("POST", "/api/v2/variables", {"key": key, "value": json.dumps(value)})

    with oauth2_provider() as (provider, oauth2, _):
        provider.codes.add("canary-code/&1")
        client = {
            "client_id": Registered.client_id,
            "client_secret": Registered.secret,
            "token_url": oauth2.token_url,
        }
        variable("OAUTH2_PROVIDER_SECRETS", {"freesound": client})
        skipped, state = bench.run("oauth2_token_refresh", {})
        assert (state, bench.tasks("oauth2_token_refresh", skipped)["refresh__freesound"]) == (
            "success",
            "skipped",
        )
        variable("OAUTH2_AUTH_KEYS", {"freesound": "canary-code/&1", "other": None})
        run_id, state = bench.run("oauth2_authorization", {})
        assert state == "success", bench.api.log("oauth2_authorization", run_id, "authorize_providers")
        # Airflow's API redacts them.
        assert variable("OAUTH2_ACCESS_TOKENS")["freesound"] == {
            "access_token": "***",
            "refresh_token": "***",
        }
        issued = {*provider.access, *provider.refresh}
        assert len(issued) == 2
        assert variable("OAUTH2_AUTH_KEYS") == {"other": None}
        refreshed, state = bench.run("oauth2_token_refresh", {})
        assert state == "success"
        assert [r["grant_type"] for r in provider.requests] == ["authorization_code", "refresh_token"]
        assert provider.requests[1]["refresh_token"] in issued
        issued |= {*provider.access, *provider.refresh}
        assert len(issued) == 4
        provider.refresh.clear()  # as if the provider had revoked them
        failed, state = bench.run("oauth2_token_refresh", {})
        assert state == "failed"
        assert "invalid_grant" in bench.api.log("oauth2_token_refresh", failed, "refresh__freesound")
        secrets = [Registered.secret, "canary-code/&1", *issued]
        for dag_id, run in (
            ("oauth2_authorization", run_id),
            ("oauth2_token_refresh", refreshed),
            ("oauth2_token_refresh", failed),
        ):
            appears_nowhere(everything_written(bench, dag_id, run), secrets)


@pytest.mark.fault_long
def test_a_reingestion_with_three_days_that_fail(bench, tmp_path):
    """The other days are loaded, one alert names the three with links to their logs, and the run fails."""
    dag_id, bad = "wikimedia_reingestion_workflow", (date(2024, 2, 9), date(2024, 2, 4), date(2024, 1, 5))
    folder = tmp_path / "wikimedia_commons"
    shutil.copytree(FOLDER / "wikimedia_commons" / "recording", folder)
    document = orjson.loads((folder / "recording.json").read_bytes())
    for day in bad:
        start = f"{int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())}"
        request = {
            "method": "GET",
            "url": "https://commons.wikimedia.org/w/api.php",
            "params": {"gaistart": start},
        }
        response = {"status": 403, "headers": {"content-type": "text/plain"}, "body_file": None}
        document["interactions"].insert(0, {"request": request, "response": response})
    (folder / "recording.json").write_bytes(orjson.dumps(document))
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o755)
    bench.slack.clear()
    with unpaused(bench.stack, [dag_id], print):
        run_id, state = bench.run(dag_id, {"replay": str(tmp_path), "date": "2024-02-10"}, timeout=900)
    assert state == "failed"
    loaded = {r["window_start"].date() for r in bench.reports(run_id) if r["complete"]}
    assert len(loaded) == 64 - len(bad)
    assert not loaded & set(bad)
    [alert] = [m for m in bench.slack if m["username"] == "Aggregate Reingestion Error"]
    assert "*3 ingestion days failed*" in alert["text"]
    lines = [line for line in alert["text"].splitlines() if line.startswith("  - ")]
    assert [line.partition("|")[2] for line in lines] == [f"{day}>" for day in bad]
    assert all("/tasks/ingest_" in line and "/mapped/" in line for line in lines)
    assert not [m for m in bench.slack if m["username"] == "Airflow DAG Failure" and ".pull_" in m["text"]]
