"""Stack of the end-to-end tests: all servers, a real scheduler, quick retries, a fake Slack, no internet."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import psutil
import psycopg
import pytest
from psycopg.rows import dict_row
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection
from catalog.data_refresh.search.client import connect
from catalog.data_refresh.search.indexes import Indexes
from catalog.database import sample_data
from catalog.local import search
from catalog.local.airflow_api import FINISHED, AirflowApi, JsonObject
from catalog.local.lifecycle import down, up
from catalog.local.schedules import unpaused
from catalog.local.stack import Stack
from catalog.tests.aws_server import aws_server
from catalog.tests.dag_runs import RUNS
from catalog.tests.folders import folder_for_servers
from catalog.tests.values import present
from catalog.tests.waiting import until

# DAGs with a schedule that many tests trigger. Others, such as those that run every quarter of an hour, are
# unpaused by the tests that trigger them, so that no scheduled run begins in the middle of another test.
USED = re.compile("^(?!.*reingestion).*_workflow$|_data_refresh$|^staging_database|^oauth2")
CANARY = "canary/Key+0f&tests=9"
PAGE = "https://stocksnap.io/api/load-photos/date/desc/"


class _Api(AirflowApi):
    """Waits for the end of a run by asking the database, which costs much less than asking Airflow."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack.ui)
        self._stack = stack

    def wait(
        self, dag_id: str, run_id: str, timeout: float = 600, *options: Any, **named_options: Any
    ) -> str:
        query = "select from dag_run where dag_id = %s and run_id = %s and state <> all(%s)"
        values = [dag_id, run_id, list(FINISHED)]
        with (
            psycopg.connect(self._stack.dsn("airflow"), autocommit=True) as connection,
            suppress(AssertionError),  # the request says what the state is
        ):
            until(lambda: not connection.execute(query, values).rowcount, timeout)
        return super().wait(dag_id, run_id, 0, *options, **named_options)


class Bench:
    """A running stack, and helpers of tests."""

    def __init__(self, stack: Stack, slack: list[JsonObject]) -> None:
        self.stack, self.slack, self.api = stack, slack, _Api(stack)

    def run(
        self, dag_id: str, conf: JsonObject, timeout: float = 120, logical_date: str | None = None
    ) -> tuple[str, str]:
        """Trigger a DAG and wait for its end; return the run id and the state."""
        run_id = self.api.trigger(dag_id, conf, logical_date)
        return run_id, self.api.wait(dag_id, run_id, timeout)

    def accept(self, dag_id: str, conf: JsonObject, timeout: float = 400) -> tuple[str, str]:
        """Trigger a DAG that accepts losses, and clear each task that reports one, until all are accepted."""
        run_id, state = self.run(dag_id, {**conf, "accept_shrinkage": True}, timeout)
        while state == "failed":
            failed = [task for task in self.api.tasks(dag_id, run_id) if task["state"] == "failed"]
            errors = {task["task_id"]: self.api.last_error(task) for task in failed}
            reported = [name for name, error in errors.items() if "Nobody can have accepted" in error]
            if not reported:
                break
            self.api.clear(dag_id, run_id, reported)
            state = self.api.wait(dag_id, run_id, timeout)
        return run_id, state

    def make_again(self, dag_id: str, run_id: str, conf: JsonObject, timeout: float = 120) -> str:
        """Delete a run in Airflow, make one with the same id, wait for its end, and return its state."""
        path = f"/api/v2/dags/{dag_id}/dagRuns"
        self.api.call("DELETE", f"{path}/{quote(run_id)}")
        self.api.call("POST", path, {"dag_run_id": run_id, "logical_date": None, "conf": conf})
        return self.api.wait(dag_id, run_id, timeout)

    def tasks(self, dag_id: str, run_id: str) -> dict[str, str]:
        return {
            t["task_id"] + (f"[{t['map_index']}]" if t["map_index"] >= 0 else ""): t["state"]
            for t in self.api.tasks(dag_id, run_id)
        }

    def reports(self, run_id: str) -> list[JsonObject]:
        with self.catalog() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(
                "select * from ingestion_report where run_id = %s order by day_shift, media_type", [run_id]
            ).fetchall()

    def search(self) -> Indexes:
        return Indexes(connect(self.stack.search(self.stack.settings()).url, engine="opensearch"))

    def database(self, name: str = "catalog") -> Connection:
        return psycopg.connect(self.stack.dsn(name), autocommit=True)

    @contextmanager
    def failing(self, dag_id: str, task_id: str, when: str, how: str, once: bool = False) -> Iterator[None]:
        """Make a task fail, or be killed, before or after its work; see airflow_local_settings.py."""
        file = self.stack.airflow_home / "failpoint.json"
        wanted = {"dag_id": dag_id, "task_id": task_id, "when": when, "how": how, "once": once}
        file.with_suffix(".new").write_bytes(orjson.dumps(wanted))
        file.with_suffix(".new").replace(file)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    @contextmanager
    def ranges_of(self, pages: int) -> Iterator[None]:
        """Split tables into ranges of this number of pages, so that several tasks copy a small one."""
        file = self.stack.airflow_home / "pages"
        file.write_text(str(pages))
        try:
            yield
        finally:
            file.unlink()

    @contextmanager
    def metrics(self, environment: dict[str, str]) -> Iterator[None]:
        """Let tasks send metrics, as environment variables say."""
        file = self.stack.airflow_home / "metrics.json"
        file.write_bytes(orjson.dumps(environment))
        try:
            yield
        finally:
            file.unlink()

    @contextmanager
    def variable(self, name: str, value: str) -> Iterator[None]:
        """Set a Variable, and delete it at the end."""
        self.api.call("POST", "/api/v2/variables", {"key": name, "value": value})
        try:
            yield
        finally:
            self.api.call("DELETE", f"/api/v2/variables/{name}")

    def finished(self) -> list[JsonObject]:
        """Return for every DAG its number of runs and of successful runs, and the longest duration."""
        query = """
            select d.dag_id, count(r.id) runs, count(*) filter (where r.state = 'success') succeeded,
              max(extract(epoch from r.end_date - r.start_date)) filter (where r.state = 'success') seconds
            from dag d left join dag_run r on r.dag_id = d.dag_id and r.run_type <> 'scheduled'
            where not d.is_stale group by 1 order by 1"""
        with self.database("airflow") as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query).fetchall()

    def catalog(self) -> Connection:
        return self.database()

    @contextmanager
    def made_up_media(self, **rows: int) -> Iterator[None]:
        """Fill databases with made-up media; at the end, remove what was made of them, indexes included.

        Args:
            **rows: Database → number of images.
        """
        for name, number in rows.items():
            with self.database(name) as connection:
                sample_data.fill(connection, "catalog" if name == "catalog" else "api", number, seed=7)
        yield
        with self.catalog() as connection:
            for media_type in MEDIA_TYPES:
                connection.execute(f"delete from {media_type} where url like 'https://%.example.org/%'")
        for name in set(rows) - {"catalog"}:
            with self.database(name) as connection:
                connection.execute("truncate image, audio cascade")
        self.search().client.indices.delete(
            index="image-*,audio-*", expand_wildcards="all", ignore_unavailable=True
        )

    def photos(self, prefix: str) -> set[str]:
        with self.catalog() as connection:
            query = "select foreign_identifier from image where foreign_identifier like %s"
            return {r[0] for r in connection.execute(query, [prefix + "%"])}

    def manifest(self, run_id: str) -> JsonObject | None:
        for path in self.stack.storage.rglob("manifest.json"):
            found: JsonObject = orjson.loads(path.read_bytes())
            if found["run_id"] == run_id:
                return found
        return None

    def process_behind(self, condition: str, several: bool = False) -> psutil.Process:
        """Wait until the database session of a task meets a condition, and return the process of a task.

        Tasks are leaders of process groups below the scheduler's workers. Only root could see which process a
        session belongs to, so there must be one task, unless any of several will do.

        Args:
            condition: SQL condition on pg_stat_activity.
            several: Return one of several tasks.
        """
        query = f"select 1 from pg_stat_activity where application_name = 'catalog' and {condition}"
        with self.catalog() as connection:
            until(lambda: connection.execute(query).fetchone())
        scheduler = psutil.Process(self.stack.state()["parts"]["scheduler"])

        def alone() -> psutil.Process | None:
            """Return None while processes of a run that has just ended are still there."""
            found = [p for worker in scheduler.children() for p in worker.children() if _is_group_leader(p)]
            return found[0] if found and (several or len(found) == 1) else None

        return present(until(alone))


def _is_group_leader(process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == process.pid and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def snap_recording(
    folder: Path, prefix: str, pages: int, per_page: int = 5, missing: int | None = None
) -> Path:
    """Write a StockSnap recording of many pages, without the page numbered `missing`."""
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


def _finished_scheduled(stack: Stack) -> int:
    query = "select count(*) from dag_run where run_type = 'scheduled' and state = any(%s)"
    with psycopg.connect(stack.dsn("airflow")) as connection:
        return int(present(connection.execute(query, [list(FINISHED)]).fetchone())[0])


@pytest.fixture(scope="session")
def slack_server() -> Iterator[tuple[HTTPServer, list[JsonObject]]]:
    received: list[JsonObject] = []

    def take(request: Request) -> Response:
        received.append({"path": request.path, **orjson.loads(request.get_data())})
        return Response("ok")

    with HTTPServer() as server:
        server.expect_request("/services/T/B/hook-for-tests").respond_with_handler(take)
        yield server, received


@pytest.fixture(scope="session")
def aws() -> Iterator[str]:
    """Address of Moto's server."""
    with aws_server() as address:
        yield address


@contextmanager
def stack_for_tests(webhook: str, aws: str) -> Iterator[Stack]:
    """Run a stack with settings for tests, which are also set in the environment of the tests.

    Args:
        webhook: Address of the Slack webhook.
        aws: Address of the AWS services.
    """
    folder = folder_for_servers("catalog-e2e-")
    environment = {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "8",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "1",
        # DAG files do not change here, and parsing all of them takes a good part of a core.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        # So a file must not fail because the machine is busy: it would be parsed again in an hour.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
        # While a task runs, the scheduler looks for other work; five times a second, that takes a fifth of
        # the processor time of these tests.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.6",
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
        "HTTPS_PROXY": "http://127.0.0.1:9",  # nothing listens there: no request reaches a provider
        "NO_PROXY": "127.0.0.1,localhost",
    }
    search.download()  # the stack has no proxy that works
    before = dict(os.environ)
    os.environ.update(environment)
    stack = Stack(folder)
    made = stack.settings()
    made.quick_search = True
    stack.save(made)
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
def webhook(slack_server: tuple[HTTPServer, list[JsonObject]]) -> str:
    return f"http://127.0.0.1:{slack_server[0].port}/services/T/B/hook-for-tests"


@pytest.fixture(scope="package")  # other tests of the process do not see the environment of the stack
def bench(
    slack_server: tuple[HTTPServer, list[JsonObject]], webhook: str, aws: str, pytestconfig: pytest.Config
) -> Iterator[Bench]:
    with stack_for_tests(webhook, aws) as stack:
        bench = Bench(stack, slack_server[1])
        due = [d for d, dag in bench.api.dags().items() if dag["is_paused"] and USED.search(d)]
        with unpaused(bench.stack, due, print):
            # Unpausing starts each schedule's last run, which is held and skips its tasks.
            until(lambda: _finished_scheduled(stack) >= len(due), 400)
            yield bench
        pytestconfig.stash[RUNS] = bench.finished()
