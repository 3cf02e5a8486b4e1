"""A stack of the tests' own: PostgreSQL, Airflow with a real scheduler, quick retries, a Slack to look into, no way out."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import psutil
import psycopg
import pytest
from moto.server import ThreadedMotoServer
from psycopg.rows import dict_row
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from catalog.data_refresh.client import connect
from catalog.data_refresh.search import Indexes
from catalog.local.airflow_api import FINISHED, AirflowApi
from catalog.local.lifecycle import down, up
from catalog.local.runs import unpaused
from catalog.local.stack import Stack

USED = re.compile(
    "^(?!.*reingestion).*_workflow$|_data_refresh$|^staging|^oauth2"
)  # DAGs with a schedule that many tests trigger
CANARY = "canary/Key+0f&tests=9"
PAGE = "https://stocksnap.io/api/load-photos/date/desc/"


class Bench:
    """The stack and what tests do with it."""

    def __init__(self, stack: Stack, slack: list[dict[str, Any]]) -> None:
        self.stack, self.slack, self.api = stack, slack, AirflowApi(stack.ui)

    def run(self, dag_id: str, conf: dict[str, Any], timeout: float = 120, **more: Any) -> tuple[str, str]:
        """Trigger and wait: (run id, state)."""
        run_id = self.api.trigger(dag_id, conf, **more)
        return run_id, self.api.wait(dag_id, run_id, timeout)

    def tasks(self, dag_id: str, run_id: str) -> dict[str, str]:
        return {
            t["task_id"] + (f"[{t['map_index']}]" if t["map_index"] >= 0 else ""): t["state"]
            for t in self.api.tasks(dag_id, run_id)
        }

    def reports(self, run_id: str) -> list[dict[str, Any]]:
        with self.catalog() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(
                "select * from ingestion_report where run_id = %s order by day_shift, media_type", [run_id]
            ).fetchall()

    def search(self) -> Indexes:
        return Indexes(connect(self.stack.search(self.stack.settings()).url, engine="opensearch"))

    def database(self, name: str = "catalog") -> psycopg.Connection[Any]:
        return psycopg.connect(self.stack.dsn(name), autocommit=True)

    @contextmanager
    def failing(self, dag_id: str, task_id: str, when: str, how: str, once: bool = False) -> Iterator[None]:
        """Meanwhile a task fails before or after its work, or its process is killed there (see airflow_local_settings.py)."""
        file = self.stack.airflow_home / "failpoint.json"
        wanted = {"dag_id": dag_id, "task_id": task_id, "when": when, "how": how, "once": once}
        file.with_suffix(".new").write_bytes(orjson.dumps(wanted))
        file.with_suffix(".new").replace(file)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    @contextmanager
    def variable(self, name: str, value: str) -> Iterator[None]:
        """A Variable for a while."""
        self.api.call("POST", "/api/v2/variables", {"key": name, "value": value})
        try:
            yield
        finally:
            self.api.call("DELETE", f"/api/v2/variables/{name}")

    def finished(self) -> list[dict[str, Any]]:
        """dag_id, runs, succeeded, and the seconds of the longest that did: of every DAG, from Airflow's own database."""
        query = """
            select d.dag_id, count(r.id) runs, count(*) filter (where r.state = 'success') succeeded,
              max(extract(epoch from r.end_date - r.start_date)) filter (where r.state = 'success') seconds
            from dag d left join dag_run r on r.dag_id = d.dag_id and r.run_type <> 'scheduled'
            where not d.is_stale group by 1 order by 1"""
        with self.database("airflow") as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query).fetchall()

    def catalog(self) -> psycopg.Connection[Any]:
        return self.database()

    def photos(self, prefix: str) -> set[str]:
        with self.catalog() as connection:
            query = "select foreign_identifier from image where foreign_identifier like %s"
            return {r[0] for r in connection.execute(query, [prefix + "%"])}

    def manifest(self, run_id: str) -> dict[str, Any] | None:
        for path in self.stack.storage.rglob("manifest.json"):
            found = orjson.loads(path.read_bytes())
            if found["run_id"] == run_id:
                return found  # type: ignore[no-any-return]
        return None

    def process_behind(self, condition: str, several: bool = False) -> psutil.Process:
        """The one task process there is, or one of several, as soon as a database session of a task meets a condition on pg_stat_activity.

        Tasks lead a group of their own below the scheduler's workers. (Whose socket it is, only root may see.)
        """
        query = f"select 1 from pg_stat_activity where application_name = 'catalog' and {condition}"
        with self.catalog() as connection:
            until(lambda: connection.execute(query).fetchone())
        scheduler = psutil.Process(self.stack.state()["parts"]["scheduler"])

        def alone() -> psutil.Process | None:
            """Tasks of a run that has just ended may linger for a moment; the one we look for stays."""
            found = [p for worker in scheduler.children() for p in worker.children() if _leads_a_group(p)]
            return found[0] if found and (several or len(found) == 1) else None

        found: psutil.Process = until(alone)
        return found


def _leads_a_group(process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == process.pid and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The condition's value as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def snap_recording(
    folder: Path, prefix: str, pages: int, per_page: int = 5, missing: int | None = None
) -> Path:
    """A StockSnap recording of many pages; the one numbered `missing` is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    interactions = []

    def answer(method: str, url: str, headers: dict[str, str], body_file: str | None) -> None:
        request = {"method": method, "url": url, "params": {}}
        interactions.append(
            {"request": request, "response": {"status": 200, "headers": headers, "body_file": body_file}}
        )

    for page in range(1, pages + 1):
        if page == missing:
            continue
        photos = [
            {"img_id": f"{prefix}{page:04}{n:03}", "keywords": ["made", "up"], "downloads_raw": page}
            for n in range(per_page)
        ]
        (folder / f"{page}.json").write_bytes(
            orjson.dumps({"results": photos, "nextPage": page + 1 if page < pages else False})
        )
        answer("GET", f"{PAGE}{page}", {"content-type": "application/json"}, f"{page}.json")
        for photo in photos:
            answer(
                "HEAD",
                f"https://cdn.stocksnap.io/img-thumbs/960w/{photo['img_id']}.jpg",
                {"content-length": "7"},
                None,
            )
    document = {
        "provider": "stocksnap",
        "date": None,
        "about": "made by a test",
        "interactions": interactions,
    }
    (folder / "recording.json").write_bytes(orjson.dumps(document))
    return folder


def _active(api: AirflowApi, due: int) -> bool:
    runs = api.call("GET", "/api/v2/dags/~/dagRuns", limit=100)["dag_runs"]
    held = [r for r in runs if r["run_type"] == "scheduled"]
    return len(held) < due or any(r["state"] not in FINISHED for r in held)


RUNS = pytest.StashKey[list[dict[str, Any]]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Which DAGs the tests have run; with -v, each of them. Scheduled runs, which are held, do not count."""
    if not (found := config.stash.get(RUNS, [])):
        return
    missing = [row["dag_id"] for row in found if not row["succeeded"]]
    terminalreporter.section("DAGs run through the scheduler")
    if config.get_verbosity() > 0:
        for row in found:
            terminalreporter.line(
                f"{row['dag_id']:45}{row['succeeded']:4} of {row['runs']:3} green, longest {row['seconds'] or 0:6.1f} s"
            )
    named = f" Not: {', '.join(missing)}." if 0 < len(missing) < 10 else ""
    terminalreporter.line(f"{len(found) - len(missing)} of {len(found)} ended green at least once.{named}")


@pytest.fixture(scope="session")
def slack_server() -> Iterator[tuple[HTTPServer, list[dict[str, Any]]]]:
    received: list[dict[str, Any]] = []

    def take(request: Request) -> Response:
        received.append({"path": request.path, **orjson.loads(request.get_data())})
        return Response("ok")

    with HTTPServer() as server:
        server.expect_request("/services/T/B/hook-for-tests").respond_with_handler(take)
        yield server, received


@pytest.fixture(scope="session")
def aws() -> Iterator[str]:
    """Moto's server: where it listens."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@contextmanager
def stack_for_tests(webhook: str, aws: str) -> Iterator[Stack]:
    """A stack with settings for tests, which the environment has meanwhile, too. webhook: of Slack; aws: address of its services."""
    folder = Path(tempfile.mkdtemp(prefix="catalog-e2e-", dir="/var/tmp"))
    folder.chmod(0o755)
    environment = {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "8",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "1",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "DEFAULT_RETRY_DELAY": "1",
        "DATA_REFRESH_POKE_INTERVAL": "3",
        "AWS_RDS_POKE_INTERVAL": "3",
        "AIRFLOW_CONN_AWS_DEFAULT": orjson.dumps(
            {
                "conn_type": "aws",
                "login": "testing",
                "password": "testing",
                "extra": {"endpoint_url": aws, "region_name": "us-east-1"},
            }
        ).decode(),
        "AIRFLOW_CONN_SLACK_ALERTS": webhook,
        "AIRFLOW_CONN_SLACK_NOTIFICATIONS": webhook,
        "AIRFLOW_VAR_SLACK_MESSAGE_OVERRIDE": "true",
        "AIRFLOW_VAR_API_KEY_JAMENDO": CANARY,
        "AIRFLOW_VAR_PROBE_HTTPS": "false",
        "HTTPS_PROXY": "http://127.0.0.1:9",  # a port nobody listens on: nothing here reaches a provider
        "NO_PROXY": "127.0.0.1,localhost",
    }
    before = dict(os.environ)
    os.environ.update(environment)
    stack = Stack(folder)
    settings = stack.airflow_home / "config" / "airflow_local_settings.py"
    settings.parent.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name(settings.name), settings)
    try:
        up(stack, print, tied=True, timeout=600)
        yield stack
    finally:
        down(stack)
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def webhook(slack_server: tuple[HTTPServer, list[dict[str, Any]]]) -> str:
    return f"http://127.0.0.1:{slack_server[0].port}/services/T/B/hook-for-tests"


@pytest.fixture(scope="session")
def bench(
    slack_server: tuple[HTTPServer, list[dict[str, Any]]], webhook: str, aws: str, pytestconfig: pytest.Config
) -> Iterator[Bench]:
    with stack_for_tests(webhook, aws) as stack:
        bench = Bench(stack, slack_server[1])
        due = [d for d, dag in bench.api.dags().items() if dag["is_paused"] and USED.search(d)]
        with unpaused(bench.api, due, print):
            until(
                lambda: not _active(bench.api, len(due)), 180
            )  # unpausing starts each schedule's last run, which is held and skips
            yield bench
        pytestconfig.stash[RUNS] = bench.finished()
