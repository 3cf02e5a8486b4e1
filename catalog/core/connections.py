"""What an Airflow connection says about a PostgreSQL server, as the arguments of `psycopg.connect`."""

import logging
import time
from collections.abc import Callable
from typing import Any, LiteralString, Protocol

import psycopg
from psycopg import pq

from catalog.core.session import Connection

log = logging.getLogger(__name__)
KNOWN = frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())
# Extras of Airflow's own; see dags/common/iam.py for `iam`.
AIRFLOWS = frozenset(
    (
        "iam",
        "aws_conn_id",
        "azure_conn_id",
        "region_name",
        "redshift",
        "redshift-serverless",
        "cluster-identifier",
        "workgroup-name",
        "sqlalchemy_scheme",
        "sqlalchemy_query",
    )
)
# A firewall that forgets idle connections does so after minutes; a server that is gone is noticed within two.
ALIVE: dict[str, Any] = {
    "connect_timeout": 15,  # seconds
    "keepalives": 1,
    "keepalives_idle": 60,  # seconds
    "keepalives_interval": 15,  # seconds
    "keepalives_count": 4,
    "tcp_user_timeout": 120_000,  # milliseconds
}
FIELDS = frozenset(("host", "port", "user", "password", "dbname"))  # an extra does not replace these


class ConnectionFields(Protocol):
    """The fields of an Airflow connection, whichever of its classes it is of."""

    conn_id: str
    host: str | None
    port: int | None
    login: str | None
    password: str | None
    schema: str | None

    @property
    def extra_dejson(self) -> dict[str, Any]: ...


def arguments_of(found: ConnectionFields, **ours: Any) -> dict[str, Any]:
    """The arguments of `psycopg.connect` for an Airflow connection.

    Every extra that libpq knows (`sslmode`, `sslcert`, `keepalives_idle`, …) is passed on: one that is
    dropped in silence may be what makes the connection safe. One it does not know is named in the log.

    Args:
        found: The connection.
        ours: Defaults, beside those that keep the connection alive; an extra of the connection comes before
            them, except that both `options` count.
    """
    extra = {name: value for name, value in (found.extra_dejson or {}).items() if name not in FIELDS}
    if unknown := sorted(extra.keys() - KNOWN - AIRFLOWS):
        log.warning("Connection %s: libpq knows no %s; ignored.", found.conn_id, ", ".join(unknown))
    given = {name: value for name, value in extra.items() if name in KNOWN}
    if "options" in given and "options" in ours:
        given["options"] = f"{ours['options']} {given['options']}"
    return {
        **ALIVE,
        **ours,
        **given,
        "host": found.host,
        "port": found.port or 5432,
        "user": found.login,
        "password": found.password,
        "dbname": found.schema,
    }


class Reconnecting:
    """A connection in autocommit mode that is opened again when it is lost.

    For statements that may be executed twice: whether the one that met the loss was executed is not known.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        patience: float = 60,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Nothing is connected yet.

        Args:
            connect: Opens a connection in autocommit mode.
            patience: Seconds for which a lost connection is retried; a restart takes some.
            sleep: Waits between two attempts.
        """
        self._connect, self._patience, self._sleep = connect, patience, sleep
        self._connection: Connection | None = None

    def now(self) -> Connection:
        """The connection at hand; the first one is not waited for."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def execute(self, query: LiteralString, values: Any = None) -> psycopg.Cursor[Any]:
        """Execute a statement, once more on a new connection when the one at hand turns out to be lost."""
        connection = self._connection
        if connection is None:
            return self.now().execute(query, values)
        try:
            return connection.execute(query, values)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if not (connection.closed or connection.broken):
                raise
            log.warning(
                "The connection to the database was lost (%s); making a new one.", type(error).__name__
            )
        connection.close()
        self._connection = self._connect_again()
        return self._connection.execute(query, values)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _connect_again(self) -> Connection:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._connect()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                self._sleep(1)
