"""Stack of the soak, and connections to its parts that tolerate the injected faults."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import requests
from elastic_transport import ApiError as EngineError
from elastic_transport import TransportError
from psycopg.rows import dict_row

from catalog.core.errors import Retry
from catalog.core.session import Connection
from catalog.data_refresh.search.client import connect
from catalog.data_refresh.search.indexes import Indexes
from catalog.local.airflow_api import AirflowApi, ApiError, JsonObject, may_pass
from catalog.local.lifecycle import down, reset, up
from catalog.local.stack import Stack
from catalog.soak import certificates, made_up
from catalog.soak.apis import Apis

T = TypeVar("T")
CANARY = "soakcanary/Key+0f&tests=9"  # an API key that must not occur anywhere
START_SECONDS = 600.0  # for the start of the stack on a busy machine
OUTAGE_SECONDS = 120.0  # for which a part may be unavailable
AIRFLOW_OUTAGE_SECONDS = 40.0  # for Airflow's API; a failed call is repeated later
_PASSING = (psycopg.OperationalError, requests.RequestException, TransportError, Retry)


def is_passing(error: BaseException) -> bool:
    """Return True if an error may be due to a part that is unavailable for a while."""
    if isinstance(error, ApiError):
        return may_pass(error)
    if isinstance(error, EngineError):
        return error.meta.status >= 429
    return isinstance(error, _PASSING)


def persist(call: Callable[[], T], timeout: float = OUTAGE_SECONDS) -> T:
    """Repeat a call while a part that it needs is unavailable, and return its result.

    Args:
        call: The call.
        timeout: Seconds.

    Raises:
        Exception: The call failed for another reason, or the time is up.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return call()
        except Exception as error:
            if not is_passing(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


class World:
    """The stack and the made-up APIs, with connections to all parts."""

    def __init__(self, folder: Path) -> None:
        """Start the made-up APIs; `start` starts the stack.

        Args:
            folder: Folder of everything that the soak writes.
        """
        self.folder = folder
        self._certificates = certificates.make(folder, made_up.HOSTS)
        self.apis = Apis(self._certificates.server)
        self.stack = Stack(folder / "stack")
        self.stack.folder.mkdir(exist_ok=True)
        self.stack.folder.chmod(0o755)

    def start(self, notify: Callable[[str], None]) -> float:
        """Start or restart the stack; return the seconds it took."""
        return up(self.stack, notify, self._environment(), START_SECONDS, tied=True)

    def stop(self, keep: bool) -> None:
        """Stop everything; with `keep`, leave what was written."""
        try:
            if keep:
                down(self.stack)
            else:
                reset(self.stack)
        finally:
            self.apis.close()

    def _environment(self) -> dict[str, str]:
        heartbeat = "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT"
        return {
            f"{heartbeat}_TIMEOUT": "8",
            f"{heartbeat}_TIMEOUT_DETECTION_INTERVAL": "1",
            f"{heartbeat}_SEC": "1",
            # Tasks of a killed scheduler count as running until another one adopts them; default: 5 minutes.
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

    # connections

    @property
    def api(self) -> AirflowApi:
        """Return a new client of Airflow's API."""
        return AirflowApi(self.stack.ui)

    def connect(self, database: str = "catalog") -> Connection:
        """Connect to a database, in autocommit mode and without prepared statements."""
        return psycopg.connect(
            self.stack.dsn(database),
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=5,
            application_name="soak",
        )

    def query(
        self,
        query: str,
        values: Sequence[object] | Mapping[str, object] | None = None,
        database: str = "catalog",
    ) -> list[dict[str, Any]]:
        """Execute a statement, repeatedly while the database is unavailable, and return its rows."""

        def once() -> list[dict[str, Any]]:
            with self.connect(database) as connection, connection.cursor(row_factory=dict_row) as cursor:
                cursor.execute(query.encode(), values)
                return cursor.fetchall() if cursor.description else []

        return persist(once)

    def search(self) -> Indexes:
        """Return the engine's indexes, with one attempt per request."""
        settings = self.stack.settings()
        return Indexes(connect(self.stack.search(settings).url, engine="opensearch"), patience=0)

    def call(self, method: str, path: str, body: object = None, **params: object) -> Any:
        """Call Airflow's REST API, repeatedly while it is unavailable, and return the decoded response."""
        return persist(lambda: self.api.call(method, path, body, **params), AIRFLOW_OUTAGE_SECONDS)

    def clear(self, dag_id: str, run_id: str, task_ids: Sequence[str | list[str | int]]) -> None:
        """Clear tasks of a run and all tasks after them, as `AirflowApi.clear`; repeated like `call`."""
        persist(lambda: self.api.clear(dag_id, run_id, task_ids), AIRFLOW_OUTAGE_SECONDS)

    def call_list(self, path: str, name: str) -> list[JsonObject]:
        """Return all items of a list of Airflow's REST API, asked for repeatedly while it is unavailable."""
        return persist(lambda: self.api.all(path, name), AIRFLOW_OUTAGE_SECONDS)


def relations(connection: Connection) -> set[str]:
    """Return the names of the tables, views and sequences of the public schema."""
    query = (
        "select relname from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'S', 'm', 'p')"
    )
    return {name for (name,) in connection.execute(query)}
