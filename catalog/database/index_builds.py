"""Builds of indexes beside readers and writers (CREATE INDEX CONCURRENTLY), outside a transaction.

https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY
"""

from collections.abc import Callable, Sequence

import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection, raise_memory
from catalog.database import locks

Notify = Callable[[str], None]
Progress = Callable[[str, int, int], None]
_INTERVAL = 0.5  # seconds between two looks at the progress of a build


def build_concurrently(
    connection: Connection,
    connect: Callable[[], Connection],
    title: str,
    statements: Sequence[str],
    *,
    notify: Notify,
    progress: Progress = lambda what, done, total: None,
    max_wait: float = locks.MAX_WAIT,
) -> None:
    """Build an index, and report the progress and the sessions that the build waits for.

    Args:
        connection: Connection to the database, in autocommit. Its `lock_timeout` is changed.
        connect: Opens another connection to the same database.
        title: The build, for messages.
        statements: Drop of an invalid index, if there is one, and creation of the index.
        notify: Called with a sentence for each session that the build waits for.
        progress: Called with the title, and the blocks or rows done and in all.
        max_wait: Seconds to wait for a lock.

    Raises:
        Fatal: A lock was not obtained in time. An invalid index is left, which the next call drops.
    """
    locks.set_lock_timeout(connection, max_wait)
    raise_memory(connection, "maintenance_work_mem", "1GB", transaction_only=False)
    pid = connection.info.backend_pid
    watch = locks.HolderWatch(connect, pid, _reporter(pid, title, notify, progress), _INTERVAL)
    try:
        with watch:
            for statement in statements:
                connection.execute(sql.SQL(statement))
    except psycopg.errors.LockNotAvailable:
        others = "; ".join(map(str, watch.holders)) or "a session that has ended meanwhile"
        raise Fatal(
            f"{title} has waited {max_wait:,.0f} s for {others}. What was done before this step stays. "
            "Repeat the command when that has ended: it drops the incomplete index and builds it again."
        ) from None


def statements_for(connection: Connection, name: str, create: str) -> list[str]:
    """Return what is left to do to build an index: nothing if it is valid.

    Args:
        connection: Connection to the database.
        name: Name of the index, in the schema `public`.
        create: The statement that creates it.
    """
    row = connection.execute(
        "select indisvalid from pg_catalog.pg_index where indexrelid = to_regclass(%s)", [f'public."{name}"']
    ).fetchone()
    if row is None:
        return [create]
    return [] if row[0] else [f'drop index concurrently public."{name}"', create]


def _reporter(
    pid: int, title: str, notify: Notify, progress: Progress
) -> Callable[[Connection, list[locks.LockHolder]], None]:
    """Return a function that reports the progress of a build, and each session that it waits for once."""
    notified: set[int] = set()

    def report(connection: Connection, holders: list[locks.LockHolder]) -> None:
        row = connection.execute(
            "select greatest(blocks_done, tuples_done), greatest(blocks_total, tuples_total) "
            "from pg_stat_progress_create_index where pid = %s",
            [pid],
        ).fetchone()
        if row and row[1]:
            progress(title, *row)
        for holder in holders:
            if holder.pid not in notified:
                notified.add(holder.pid)
                notify(f"{title} waits for {holder}")

    return report
