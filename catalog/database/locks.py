"""Table locks, requested in short attempts, so that other sessions do not queue behind a waiting one.

Messages name the sessions that hold a lock.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import chain, repeat
from types import TracebackType
from typing import TypeVar

import msgspec
import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import value
from catalog.core.session import Connection

T = TypeVar("T")
ATTEMPT = 2.0  # seconds to wait for a lock in one attempt; other sessions queue behind it meanwhile
MAX_WAIT = 900.0  # seconds of attempts
_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds between attempts; the last value repeats
_POLL = 0.2  # seconds between two queries for the lock holders


class LockHolder(msgspec.Struct, frozen=True):
    """A session that holds a lock for which another session waits.

    Attributes:
        pid: Process id of its server process.
        user: Its role.
        application: Its application_name; may be empty.
        since: Start of its transaction; None if our role may not see it.
        query: Its current or last query, truncated; empty if our role may not see it.
    """

    pid: int
    user: str
    application: str
    since: datetime | None
    query: str

    def __str__(self) -> str:
        parts = [f"process {self.pid} of {self.user}"]
        if self.application:
            parts.append(f"({self.application})")
        if self.since:
            parts.append(f"in a transaction since {self.since:%Y-%m-%d %H:%M:%S %Z}")
        if self.query:
            parts.append(f"at: {self.query}")
        return " ".join(parts)


def lock_holders(connection: Connection, waiting: int) -> list[LockHolder]:
    """Return the sessions that a server process waits for.

    Args:
        connection: A connection other than that of the waiting process.
        waiting: Process id of the waiting server process.
    """
    rows = connection.execute(
        """
        select pid, coalesce(usename, ''), coalesce(application_name, ''), xact_start,
               case when query <> '<insufficient privilege>'
                    then regexp_replace(left(query, 80), '\\s+', ' ', 'g') else '' end
          from pg_catalog.pg_stat_activity where pid = any(pg_catalog.pg_blocking_pids(%s)) order by pid
        """,
        [waiting],
    ).fetchall()
    return [LockHolder(*row) for row in rows]


class LockTimeout(Exception):
    """The lock on a table was not obtained in time."""

    def __init__(self, table: str) -> None:
        super().__init__(f"the lock on {table} was not obtained")
        self.table = table


class HolderWatch:
    """Watches in a thread which sessions a server process waits for, on a separate connection.

    Args:
        connect: Opens the connection.
        waiting: Process id of the server process.
        look: Called with the connection and the sessions each time.
        interval: Seconds between two times.

    Attributes:
        holders: The last sessions that were found.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        waiting: int,
        look: Callable[[Connection, list[LockHolder]], None] = lambda connection, holders: None,
        interval: float = _POLL,
    ) -> None:
        self._connect, self._waiting, self._look, self._interval = connect, waiting, look, interval
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.holders: list[LockHolder] = []

    def __enter__(self) -> "HolderWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        if self._over.wait(self._interval):
            return  # the work did not have to wait
        try:
            with self._connect() as connection:
                connection.autocommit = True
                while not self._over.is_set():
                    holders = lock_holders(connection, self._waiting)
                    self.holders = holders or self.holders
                    self._look(connection, holders)
                    self._over.wait(self._interval)
        except psycopg.Error:
            return  # the holders stay unknown; the attempt itself continues


def retry_while_locked(
    connect: Callable[[], Connection],
    waiting: int,
    work: Callable[[], T],
    *,
    what: str,
    notify: Callable[[str], None],
    max_wait: float = MAX_WAIT,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call a function that needs locks, and repeat it while other sessions hold them.

    Between the attempts there are pauses, in which the sessions queued behind us can continue.

    Args:
        connect: Opens another connection to the same database.
        waiting: Process id of the server process that does the work; see `limit_lock_wait` for its
            `lock_timeout`.
        work: Does the work in transactions of its own; can be repeated after it failed to get a lock.
        what: Name of the work, for messages.
        notify: Called after each failed attempt with a sentence that names the lock holders.
        max_wait: Seconds after which no further attempt is made.
        sleep: Sleeps for a number of seconds.

    Returns:
        The result of `work`.

    Raises:
        Fatal: A lock was not obtained within `max_wait`; names the lock holders.
    """
    until = time.monotonic() + max_wait
    for pause in _pauses():
        with HolderWatch(connect, waiting) as watch:
            try:
                return work()
            except Exception as error:
                if not _is_lock_error(error):
                    raise
        others = "; ".join(map(str, watch.holders)) or "a session that has ended since"
        if time.monotonic() + pause > until:
            pids = ", ".join(f"pg_terminate_backend({holder.pid})" for holder in watch.holders)
            ends = f" or end it: select {pids}" if pids else ""
            raise Fatal(
                f"{what} has waited {max_wait:,.0f} s for {others}. Nothing was changed by this step. "
                f"Repeat it when that has ended{ends}."
            )
        notify(f"{what} waits for {others}; next attempt in {pause:g} s")
        sleep(pause)
    raise AssertionError("the pauses never end")


def lock_schema(connection: Connection) -> None:
    """Lock the database against other upgrades and adoptions; waits up to `lock_timeout`."""
    connection.execute("select pg_advisory_lock(hashtext('catalog schema upgrade'))")


def unlock_schema(connection: Connection) -> None:
    """Release the lock of `lock_schema`."""
    connection.execute("select pg_advisory_unlock(hashtext('catalog schema upgrade'))")


def limit_lock_wait(connection: Connection) -> None:
    """Set the `lock_timeout` of a session to `ATTEMPT` seconds."""
    set_lock_timeout(connection, ATTEMPT)


def set_lock_timeout(connection: Connection, seconds: float, *, in_transaction: bool = False) -> None:
    """Set the `lock_timeout` of a session; at least 1 ms, because 0 means no limit.

    Args:
        connection: The session.
        seconds: The timeout.
        in_transaction: Set it for the current transaction only.
    """
    limit = f"{max(1, int(seconds * 1000))}ms"
    connection.execute("select set_config('lock_timeout', %s, %s)", [limit, in_transaction])


def wait_without_deadlock(connection: Connection) -> float:
    """Return for how many seconds a session that holds a lock may wait for another one.

    It then gives up before the server searches for a deadlock (`deadlock_timeout`), which PostgreSQL would
    resolve by cancelling either session.
    """
    query = "select setting::float / 1000 from pg_catalog.pg_settings where name = 'deadlock_timeout'"
    return 0.8 * float(value(connection, query))


def lock_tables(connection: Connection, modes: Mapping[str, str]) -> None:
    """Lock several tables at the start of a transaction, without causing a deadlock.

    For the first table, the session waits as long as `limit_lock_wait` set. From then on other sessions may
    wait for this one, so the wait for the other tables is that of `wait_without_deadlock`.

    Args:
        connection: In a transaction that holds no locks yet.
        modes: Table in the schema `public` → lock mode, in the order of locking. Names without a table are
            ignored.

    Raises:
        LockTimeout: A lock was not obtained; names the table.
    """
    rows = connection.execute(
        "select relname from pg_catalog.pg_class "
        "where relnamespace = 'public'::regnamespace and relkind = 'r' and relname = any(%s)",
        [list(modes)],
    ).fetchall()
    existing = {name for (name,) in rows}
    limit = wait_without_deadlock(connection) if len(existing) > 1 else 0.0
    began = None
    for table in (table for table in modes if table in existing):
        if began is not None:
            remaining = limit - (time.monotonic() - began)
            set_lock_timeout(connection, remaining, in_transaction=True)
        try:
            connection.execute(
                sql.SQL("lock table {} in {} mode").format(
                    sql.Identifier("public", table), sql.SQL(modes[table].lower())
                )
            )
        except psycopg.errors.LockNotAvailable as error:
            raise LockTimeout(table) from error
        began = began or time.monotonic()
    set_lock_timeout(connection, ATTEMPT, in_transaction=True)


def _pauses() -> Iterator[float]:
    return chain(_PAUSES, repeat(_PAUSES[-1]))


def _is_lock_error(error: Exception) -> bool:
    """Return whether a psycopg error, or the one that SQLAlchemy has wrapped, is a failure to get a lock."""
    original = getattr(error, "orig", error)
    return isinstance(
        original, (LockTimeout, psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
    )
