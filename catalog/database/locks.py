"""Locks that others hold: requested in short attempts, naming the sessions that are waited for."""

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
from catalog.core.session import Connection

T = TypeVar("T")
ATTEMPT = 2.0  # seconds that a lock is waited for; who comes meanwhile queues behind us
PATIENCE = 900.0  # seconds of attempts
_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds between attempts, then the last again and again
_LOOKS = 0.2  # seconds between two looks at who is in the way


class Holder(msgspec.Struct, frozen=True):
    """A session that holds a lock which another one waits for.

    Attributes:
        pid: Of its server process.
        user: Its role.
        application: What it says it is; empty when it says nothing.
        since: When its transaction began; None when our role may not see that.
        query: What it executes or executed last, cut off; empty when our role may not see that.
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


def holders(connection: Connection, waiting: int) -> list[Holder]:
    """The sessions that a server process waits for.

    Args:
        connection: Another one than that of the process.
        waiting: The pid of the server process.
    """
    rows = connection.execute(
        """
        select pid, coalesce(usename, ''), coalesce(application_name, ''), xact_start,
               case when query <> '<insufficient privilege>' then regexp_replace(left(query, 80), '\\s+', ' ', 'g') else '' end
          from pg_catalog.pg_stat_activity where pid = any(pg_catalog.pg_blocking_pids(%s)) order by pid
        """,
        [waiting],
    ).fetchall()
    return [Holder(*row) for row in rows]


class Occupied(Exception):
    """The lock on a table was not to be had in time."""

    def __init__(self, table: str) -> None:
        super().__init__(f"the lock on {table} was not to be had")
        self.table = table


class Watch:
    """Watches which sessions block a server process, on a connection of its own."""

    def __init__(self, connect: Callable[[], Connection], waiting: int) -> None:
        self._connect, self._waiting = connect, waiting
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.found: list[Holder] = []  # those of the last look that found any

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        if self._over.wait(_LOOKS):
            return  # nobody was in the way
        try:
            with self._connect() as connection:
                connection.autocommit = True
                while not self._over.is_set():
                    self.found = holders(connection, self._waiting) or self.found
                    self._over.wait(_LOOKS)
        except psycopg.Error:
            return  # whom we wait for stays unknown; the attempt itself goes on


def attempts(
    connect: Callable[[], Connection],
    waiting: int,
    work: Callable[[], T],
    *,
    what: str,
    say: Callable[[str], None],
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Do work that needs locks, again and again while others hold them, with pauses for everybody else.

    Args:
        connect: Opens another connection to the same database.
        waiting: The server process that does the work; its `lock_timeout` is set, see `give_up_soon`.
        work: Does all of it in transactions of its own, and may be called again after a lock was not to be
            had.
        what: What is being done, for people.
        say: Told after each attempt who was in the way.
        patience: Seconds after which no further attempt is made.
        sleep: Waits this number of seconds.

    Raises:
        Fatal: There was no lock to be had for that long; names those who hold it.
    """
    until = time.monotonic() + patience
    for pause in _pauses():
        with Watch(connect, waiting) as watch:
            try:
                return work()
            except Exception as error:
                if not _in_the_way(error):
                    raise
        others = "; ".join(map(str, watch.found)) or "a session that has ended meanwhile"
        if time.monotonic() + pause > until:
            pids = ", ".join(f"pg_terminate_backend({holder.pid})" for holder in watch.found)
            ends = f" or end it: select {pids}" if pids else ""
            raise Fatal(
                f"{what} has waited {patience:,.0f} s for {others}. Nothing of this step is done. "
                f"Repeat it when that has ended{ends}."
            )
        say(f"{what} waits for {others}; next attempt in {pause:g} s")
        sleep(pause)
    raise AssertionError("attempts are without end")


def lock_schema(connection: Connection) -> None:
    """Keep other sessions from upgrading or adopting the database; waits up to `lock_timeout`."""
    connection.execute("select pg_advisory_lock(hashtext('catalog schema upgrade'))")


def unlock_schema(connection: Connection) -> None:
    """Let others upgrade or adopt it again."""
    connection.execute("select pg_advisory_unlock(hashtext('catalog schema upgrade'))")


def give_up_soon(connection: Connection) -> None:
    """From now on this session waits at most `ATTEMPT` seconds for a lock."""
    give_up_after(connection, ATTEMPT)


def give_up_after(connection: Connection, seconds: float, *, in_transaction: bool = False) -> None:
    """Limit how long this session waits for a lock; at least a moment, because 0 means no limit.

    Args:
        connection: The session.
        seconds: The limit.
        in_transaction: It counts until the transaction ends.
    """
    limit = f"{max(1, int(seconds * 1000))}ms"
    connection.execute("select set_config('lock_timeout', %s, %s)", [limit, in_transaction])


def lock_tables(connection: Connection, modes: Mapping[str, str]) -> None:
    """Lock several tables in a transaction without locks, without taking part in a deadlock.

    Only the first table is waited for as `give_up_soon` says. From then on others may wait for us, and
    PostgreSQL ends one of two sessions that wait for each other, which may be the other one. So the rest is
    given up before it looks for them.

    Args:
        connection: In a transaction.
        modes: Table in the schema `public` → lock mode, in the order to lock them. Those that are no table,
            or not there, are left out.

    Raises:
        Occupied: A lock was not to be had; names the table.
    """
    rows = connection.execute(
        "select relname, setting::float / 1000 from pg_catalog.pg_class cross join pg_catalog.pg_settings "
        "where relnamespace = 'public'::regnamespace and relkind = 'r' and relname = any(%s) and name = 'deadlock_timeout'",
        [list(modes)],
    ).fetchall()
    there = dict(rows)
    began = None
    for table in (table for table in modes if table in there):
        if began is not None:
            left = 0.8 * there[table] - (time.monotonic() - began)
            give_up_after(connection, left, in_transaction=True)
        try:
            connection.execute(
                sql.SQL("lock table {} in {} mode").format(
                    sql.Identifier("public", table), sql.SQL(modes[table].lower())
                )
            )
        except psycopg.errors.LockNotAvailable as error:
            raise Occupied(table) from error
        began = began or time.monotonic()
    give_up_after(connection, ATTEMPT, in_transaction=True)


def _pauses() -> Iterator[float]:
    return chain(_PAUSES, repeat(_PAUSES[-1]))


def _in_the_way(error: Exception) -> bool:
    """Was a lock not to be had? error: psycopg's own, or SQLAlchemy's around it."""
    found = getattr(error, "orig", error)
    return isinstance(found, (Occupied, psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected))
