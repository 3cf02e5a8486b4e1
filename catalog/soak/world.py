"""The soak's stack in a folder of its own, and connections to all of it that bear with the faults it injects."""

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import requests
from elastic_transport import ApiError as EngineError
from elastic_transport import TransportError
from psycopg.rows import dict_row

from catalog.core.errors import Retry
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.client import connect
from catalog.data_refresh.search import Indexes
from catalog.local.airflow_api import AirflowApi, ApiError
from catalog.local.lifecycle import down, reset, up
from catalog.local.stack import ROOT, Stack
from catalog.soak import certificates, made_up
from catalog.soak.apis import Apis

T = TypeVar("T")
CANARY = "soakcanary/Key+0f&tests=9"  # a key that must stand in no text
START = 600.0  # seconds that the stack may take to start, on a busy machine as well
PATIENCE = 120.0  # seconds that a part may be away
AIRFLOW_PATIENCE = 40.0  # of Airflow's API: what was not done is done later
PASSING = (psycopg.OperationalError, requests.RequestException, TransportError, Retry)


def passing(error: BaseException) -> bool:
    """Whether an error may come from a part that is away for a while."""
    if isinstance(error, ApiError):
        return str(error)[:1] == "5"
    if isinstance(error, EngineError):
        return error.meta.status >= 429
    return isinstance(error, PASSING)


def persist(call: Callable[[], T], seconds: float = PATIENCE) -> T:
    """The result of a call, repeated while what it needs is away.

    Raises:
        Exception: What the call raised when the time was up, or what no fault of ours explains.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except Exception as error:
            if not passing(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


class World:
    """The stack, the made-up APIs, and ways to them."""

    def __init__(self, folder: Path) -> None:
        """folder: of everything the soak writes; may be empty."""
        self.folder = folder
        self._certificates = certificates.make(folder, made_up.HOSTS)
        self.apis = Apis(self._certificates.server)
        self.stack = Stack(folder / "stack")
        self.stack.folder.mkdir(exist_ok=True)
        self.stack.folder.chmod(0o755)

    def start(self, say: Callable[[str], None]) -> float:
        """Start the stack, or start it again. Returns the seconds it took."""
        return up(self.stack, say, self._environment(), START, tied=True)

    def stop(self, keep: bool) -> None:
        """Stop everything. keep: leave what it wrote."""
        try:
            if keep:
                down(self.stack)
            else:
                reset(self.stack)
        finally:
            self.apis.close()

    def _environment(self) -> dict[str, str]:
        jobs = "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT"
        return {
            f"{jobs}_TIMEOUT": "8",
            f"{jobs}_TIMEOUT_DETECTION_INTERVAL": "1",
            f"{jobs}_SEC": "1",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            # A killed scheduler's tasks count as running until another one takes them for orphans: 5 minutes as it is.
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
            "DEFAULT_RETRY_DELAY": "1",
            "DATA_REFRESH_POKE_INTERVAL": "3",
            "AIRFLOW_CONN_SLACK_ALERTS": self.apis.webhook,
            "AIRFLOW_CONN_SLACK_NOTIFICATIONS": self.apis.webhook,
            "AIRFLOW_VAR_SLACK_MESSAGE_OVERRIDE": "true",
            "AIRFLOW_VAR_API_KEY_JAMENDO": CANARY,
            "AIRFLOW_VAR_PROBE_HTTPS": "false",
            "AIRFLOW_VAR_PRIVATE_HOSTS": json.dumps(made_up.HOSTS),
            "HTTPS_PROXY": self.apis.proxy,
            "NO_PROXY": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": str(self._certificates.authority),
        }

    # ways in

    @property
    def api(self) -> AirflowApi:
        """A session of the caller's own."""
        return AirflowApi(self.stack.ui)

    def connect(self, database: str = "catalog") -> Connection:
        """In autocommit, without statements that the server prepares."""
        return psycopg.connect(
            self.stack.dsn(database),
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=5,
            application_name="soak",
        )

    def query(self, text: str, values: Any = None, database: str = "catalog") -> list[dict[str, Any]]:
        """Rows of one statement, which is repeated while the database is away."""

        def once() -> list[dict[str, Any]]:
            with self.connect(database) as connection, connection.cursor(row_factory=dict_row) as cursor:
                cursor.execute(text.encode(), values)
                return cursor.fetchall() if cursor.description else []

        return persist(once)

    def search(self) -> Indexes:
        """The engine's indexes, with one try for each request."""
        settings = self.stack.settings()
        return Indexes(connect(self.stack.search(settings).url, engine="opensearch"), patience=0)

    def restore(self, media_type: MediaType, where: str) -> list[str]:
        """The command that brings deleted records back; its database is in the environment."""
        import sys

        return [sys.executable, "-m", "catalog.cli", "db", "restore", "--table", media_type, "--where", where]

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """Airflow's REST API, asked again while it is away."""
        return persist(lambda: self.api.call(method, path, body, **params), AIRFLOW_PATIENCE)

    @property
    def root(self) -> Path:
        """Of the repository."""
        return ROOT


def relations(connection: Connection) -> set[str]:
    """Tables, views and sequences of the public schema."""
    query = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'S', 'm', 'p')"
    return {name for (name,) in connection.execute(query)}


def identifiers_in(names: Iterable[str]) -> str:
    """Names in a message, at most ten."""
    listed = sorted(names)
    more = f" and {len(listed) - 10:,} more" if len(listed) > 10 else ""
    return ", ".join(listed[:10]) + more
