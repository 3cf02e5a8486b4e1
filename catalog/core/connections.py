"""Connections to PostgreSQL: arguments of `psycopg.connect` from an Airflow connection, and reconnecting."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, LiteralString, Protocol

import psycopg
from psycopg import pq

from catalog.core.secrets import is_secret, remember
from catalog.core.session import Connection

log = logging.getLogger(__name__)
KNOWN = frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())
# Extras that Airflow itself reads; see dags/common/iam.py for `iam`.
AIRFLOW_EXTRAS = frozenset(
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
# Some firewalls drop idle connections after minutes. A server that is down is noticed within two minutes.
KEEPALIVE_OPTIONS: dict[str, Any] = {
    "connect_timeout": 15,  # seconds
    "keepalives": 1,
    "keepalives_idle": 60,  # seconds
    "keepalives_interval": 15,  # seconds
    "keepalives_count": 4,
    "tcp_user_timeout": 120_000,  # milliseconds
}
FIELDS = frozenset(("host", "port", "user", "password", "dbname"))  # extras do not override these


class SecretFields(Protocol):
    """The fields of Airflow's connection classes that may hold secrets."""

    @property
    def password(self) -> str | None: ...
    @property
    def extra_dejson(self) -> dict[str, Any]: ...


class ConnectionFields(Protocol):
    """The fields that Airflow's connection classes have in common."""

    conn_id: str
    host: str | None
    login: str | None
    password: str | None
    schema: str | None

    @property
    def port(self) -> Any: ...

    @property
    def extra_dejson(self) -> dict[str, Any]: ...


def secrets_of(connection: SecretFields) -> list[str]:
    """Return the password of an Airflow connection and the values of secret names in its extra.

    They do not appear in the messages of this process from now on.
    """
    extra = connection.extra_dejson or {}
    given = [connection.password, *(value for name, value in extra.items() if is_secret(name))]
    found = [value for value in given if value and isinstance(value, str)]
    for value in found:
        remember(value)
    return found


def arguments_of(connection: ConnectionFields, **ours: Any) -> dict[str, Any]:
    """Return the arguments of `psycopg.connect` for an Airflow connection.

    Every extra that libpq knows (`sslmode`, `sslcert`, `keepalives_idle`, …) is passed on, because the
    connection may not be safe without it. Unknown extras are named in the log.

    Args:
        connection: The Airflow connection.
        ours: Defaults in addition to the keepalive settings. Extras of the connection override them, except
            that `options` of both are joined.
    """
    secrets_of(connection)
    extra = {name: value for name, value in (connection.extra_dejson or {}).items() if name not in FIELDS}
    if unknown := sorted(extra.keys() - KNOWN - AIRFLOW_EXTRAS):
        log.warning("Connection %s: libpq knows no %s; ignored.", connection.conn_id, ", ".join(unknown))
    given = {name: value for name, value in extra.items() if name in KNOWN}
    if "options" in given and "options" in ours:
        given["options"] = f"{ours['options']} {given['options']}"
    return {
        **KEEPALIVE_OPTIONS,
        **ours,
        **given,
        "host": connection.host,
        "port": connection.port or 5432,
        "user": connection.login,
        "password": connection.password,
        "dbname": connection.schema,
    }


class Reconnecting:
    """A connection in autocommit mode that reconnects when it is lost.

    Use it only for statements that may be executed twice: after a loss, it is not known whether the last
    statement was executed.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        max_wait: float = 60,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare without connecting.

        Args:
            connect: Opens a connection in autocommit mode.
            max_wait: Seconds for which reconnecting is attempted; a restart of the server takes a while.
            sleep: Waits the given number of seconds between two attempts.
        """
        self._connect, self._max_wait, self._sleep = connect, max_wait, sleep
        self._connection: Connection | None = None

    def current(self) -> Connection:
        """Return the open connection; connect, in a single attempt, if there is none."""
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def execute(self, query: LiteralString, values: Any = None) -> psycopg.Cursor[Any]:
        """Execute a statement; if the connection was lost, execute it again on a new one."""
        connection = self._connection
        if connection is None:
            return self.current().execute(query, values)
        try:
            return connection.execute(query, values)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if not (connection.closed or connection.broken):
                raise
            log.warning("Lost the connection to the database (%s); reconnecting.", type(error).__name__)
        connection.close()
        self._connection = self._connect_again()
        return self._connection.execute(query, values)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _connect_again(self) -> Connection:
        deadline = time.monotonic() + self._max_wait
        while True:
            try:
                return self._connect()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                self._sleep(1)


class SharedConnection:
    """Returns a connection that several threads share; it is opened again when it was lost.

    Args:
        connect: Opens a connection in autocommit mode.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect, self._lock = connect, threading.Lock()
        self._connection: Connection | None = None

    def __call__(self) -> Connection:
        with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            return self._connection
