"""Settings of every database session, independent of the defaults of the database and the role."""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import psycopg
from psycopg import sql

from catalog.core.errors import Interrupted

log = logging.getLogger(__name__)

# `Any`: rows are read by position or by name, as a cursor's row factory says.
Connection = psycopg.Connection[Any]

_ASKED, _CANCELLED = 1.0, 0.1  # seconds between two questions whether to stop, and between two cancellations
SETTINGS = {
    # Our tables take precedence over temporary ones and over a schema named like the user.
    "search_path": "public, pg_temp",
    # Definitions are read and compared as strings, and rows are copied as bytes.
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "client_encoding": "UTF8",
    # The driver reads times in this form only.
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    # A query fails if row security would hide rows from it.
    "row_security": "off",
    # A query that follows a lock must see what was committed before the lock was granted.
    "default_transaction_isolation": "read committed",
    # New tables are created in the tablespace that their statement names.
    "default_tablespace": "",
    # Work may take hours and wait for another database. Statements that must be short set their own limits.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    # A statement of a client that is gone, such as a killed task, ends: others may wait for its locks.
    "client_connection_check_interval": "5000",  # milliseconds
}


def settings_statement(settings: Mapping[str, str]) -> sql.Composed:
    """Return the statement that applies settings to a session, except those that the server does not know."""
    return sql.SQL(
        "select pg_catalog.set_config(name, value, false)"
        " from unnest({}::text[], {}::text[]) as ours (name, value)"
        " where pg_catalog.current_setting(name, true) is not null"
    ).format(sql.Literal(list(settings)), sql.Literal(list(settings.values())))


def settle(connection: Connection) -> None:
    """Apply the settings that the catalog's statements rely on.

    Args:
        connection: To the catalog or the API database. If its current transaction is rolled back, so are
            the settings.
    """
    connection.execute(settings_statement(SETTINGS))


def is_same_database(one: Connection, other: Connection) -> bool:
    """Return whether two connections lead to the same database, whatever the names of its host are.

    One session takes an advisory lock, which the other can take only in another database.

    Args:
        one: In autocommit.
        other: In autocommit.
    """
    key = secrets.randbits(63)
    one.execute("select pg_advisory_lock(%s)", [key])
    try:
        [(is_free,)] = other.execute("select pg_try_advisory_lock(%s)", [key]).fetchall()
        if is_free:
            other.execute("select pg_advisory_unlock(%s)", [key])
        return not is_free
    finally:
        one.execute("select pg_advisory_unlock(%s)", [key])


def limit_statements(connection: Connection, seconds: float) -> None:
    """Set the `statement_timeout` of the current transaction."""
    connection.execute("select set_config('statement_timeout', %s, true)", [str(int(seconds * 1000))])


def raise_memory(
    connection: Connection,
    setting: Literal["work_mem", "maintenance_work_mem"],
    least: str,
    *,
    transaction_only: bool = True,
) -> None:
    """Raise a memory setting to at least a size; a larger setting of the server stays.

    Args:
        connection: Connection to a database.
        setting: Name of the setting.
        least: Size with its unit, such as `256MB`.
        transaction_only: Until the current transaction ends; otherwise for the session.
    """
    connection.execute(
        "select pg_catalog.set_config(%(name)s, greatest("
        "    pg_size_bytes(pg_catalog.current_setting(%(name)s)), pg_size_bytes(%(least)s)"
        ") / 1024 || 'kB', %(local)s)",
        {"name": setting, "least": least, "local": transaction_only},
    )


@contextmanager
def interruptible(connection: Connection, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Cancel what a connection executes as soon as somebody asks to stop.

    The driver returns from a statement only when the server has answered, whatever signals have come.

    Args:
        connection: Connection to a database.
        should_stop: Asked again and again, by another thread.

    Raises:
        Interrupted: A statement was cancelled because `should_stop` returned True.
    """
    ended, cancelled = threading.Event(), threading.Event()

    def watch() -> None:
        # Several statements may follow each other, and a cancellation may come between two of them.
        while not ended.wait(_CANCELLED if cancelled.is_set() else _ASKED):
            if should_stop():
                cancelled.set()
                try:
                    connection.cancel_safe(timeout=5)
                except psycopg.Error as error:
                    log.warning("The statement could not be cancelled: %s", type(error).__name__)

    watcher = threading.Thread(target=watch, name="cancel statements", daemon=True)
    watcher.start()
    try:
        yield
    except Exception as error:
        if not cancelled.is_set():
            raise
        raise Interrupted("stopped on request; the statement was cancelled.") from error
    finally:
        ended.set()
        watcher.join()
