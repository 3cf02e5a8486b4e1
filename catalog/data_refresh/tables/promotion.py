"""Promotion of the new tables: all tables of a media type in one transaction."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec
import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import relation_exists
from catalog.core.session import Connection, settle
from catalog.data_refresh.tables import locks, progress
from catalog.data_refresh.tables.catch_up import catch_up, leave_out_deleted
from catalog.data_refresh.tables.columns import temp_name, temporary_names
from catalog.data_refresh.tables.exchange import exchange
from catalog.data_refresh.tables.locks import lock_live_tables, retry_while_held
from catalog.data_refresh.tables.marks import create_marks, mark, set_mark
from catalog.data_refresh.tables.shape import Shape, check_shape, shape
from catalog.data_refresh.tables.shrinkage import refuse_shrinkage, shrinkage
from catalog.database.locks import set_lock_timeout, wait_without_deadlock
from catalog.database.refusals import Judge, refuse_all

log = logging.getLogger(__name__)


class Promoted(msgspec.Struct):
    """Result of an exchange.

    Attributes:
        orphans: Number of deleted rows by foreign key; they referred to missing media.
        carried: Number of rows by table whose API-only columns, such as view counts, had changed since the
            copy began.
    """

    orphans: dict[str, int] = {}
    carried: dict[str, int] = {}


def promote(
    api: Connection,
    tables: Iterable[str],
    run_id: str,
    *,
    number: int,
    expected: Mapping[str, Shape] | None = None,
    judge: Judge = refuse_all,
    pause: Callable[[float], None] = time.sleep,
) -> Promoted:
    """Exchange all tables of a media type in one transaction.

    For a run that is promoted, it does nothing, and returns the result of the attempt that has done it.

    Args:
        api: Connection to the API database, in autocommit.
        tables: Names of the live tables.
        run_id: Identity of the refresh that copied the new tables.
        number: Number of the refresh, with which the tables are marked.
        expected: Definition of each table when the refresh began; by default, when the copy began.
        judge: Says whether it is accepted that the new tables lack suspiciously many live records.
        pause: Called with the seconds to wait before the next attempt.

    Raises:
        Retry: Other sessions held a table for minutes.
        Fatal: A table was changed meanwhile, a new table lacks many live records, a copy is incomplete or of
            another refresh, or a refresh cannot recreate something that is attached to a table. The message
            says which; nothing was changed.
    """
    settle(api)
    create_marks(api)
    tables = list(tables)
    began = {table: state for table in tables if (state := _copy_of(api, table, run_id, number))}
    wanted = list(began)
    if not wanted:
        return msgspec.convert(progress.result(api, tables[0]) or {}, Promoted)
    shapes = {table: (expected or {}).get(table, state.shape) for table, state in began.items()}
    check_shape(api, wanted, shapes)
    refuse_shrinkage(shrinkage(api, wanted), judge)
    # Most of the work is done before the exchange, because a reader with a snapshot from before the exchange
    # still sees the rows that the exchange itself deletes.
    promoted = Promoted(carried={table: catch_up(api, table) for table in wanted})
    for table in wanted:
        leave_out_deleted(api, table)

    def exchange_once() -> Promoted:
        check_shape(api, wanted, shapes)
        _pass_readers(api, wanted)
        _exchange_all(api, wanted, shapes, promoted, number)
        return promoted

    return retry_while_held(
        exchange_once,
        " or ".join(wanted),
        pause=pause,
        refusal=_refusal,
        state="The old tables are still live.",
    )


def _refusal(error: psycopg.Error) -> str:
    """Return the server's error and the remedy."""
    said = ": ".join(
        part.rstrip(".")
        for part in (error.diag.message_primary or str(error), error.diag.message_detail)
        if part
    )
    if isinstance(error, psycopg.errors.ForeignKeyViolation):
        key = f"key {error.diag.constraint_name} of {error.diag.table_name}"
        remedy = f"Correct the rows that violate {key}, or drop the key"
    elif isinstance(error, psycopg.errors.RaiseException):
        where = (error.diag.context or "").partition("\n")[0]
        remedy = (
            f"The error comes from a function of the API database ({where}): disable the trigger that calls "
            "it until the refresh is done"
        )
    else:
        remedy = "Remove the cause"
    return f"{said}. Nothing was changed, and the old tables are live. {remedy}, then clear this task."


def _copy_of(api: Connection, table: str, run_id: str, number: int) -> progress.CopyRecord | None:
    """Return the copy to promote; None if it is promoted, which the mark of the live table says.

    Raises:
        Fatal: It is incomplete, lost, or another run's.
    """
    progress.claim(api, table)
    state = progress.read(api, table)
    if state is None:
        raise Fatal(f"nothing was copied for {table}; clear copy_tables and all tasks after it.")
    if state.run_id != run_id:
        raise Fatal(f"the copy of {table} is another run's; clear copy_tables and all tasks after it.")
    if not relation_exists(api, temp_name(table)):
        promoted = mark(api, table)
        if promoted is None or promoted.number != number:
            raise Fatal(
                f"the copy of {table} is gone, and the live table is not the one that this refresh has made; "
                "clear copy_tables and all tasks after it."
            )
        return None
    if not state.copied.done:
        raise Fatal(f"the copy of {table} is not complete; clear copy_tables and all tasks after it.")
    if lost := progress.lost_rows(api, table):
        raise Fatal(f"{lost}; clear copy_tables and all tasks after it.")
    return state


def _pass_readers(api: Connection, tables: list[str]) -> None:
    """Wait, for a short time, until nobody reads the tables. New readers queue meanwhile."""
    with api.transaction():
        lock_live_tables(api, tables, "access exclusive", locks.LOCK_SECONDS)


def _exchange_all(
    api: Connection, tables: list[str], expected: Mapping[str, Shape], promoted: Promoted, number: int
) -> None:
    with api.transaction():
        seconds = locks.LOCK_SECONDS
        lock_live_tables(api, tables, "exclusive", seconds)  # excludes writers, but not readers
        carried = {table: catch_up(api, table) for table in tables}
        # A session that has read and now wants to write waits for us while we wait for it.
        lock_live_tables(api, tables, "access exclusive", min(seconds, wait_without_deadlock(api)))
        check_shape(api, tables, expected, locked=True)
        set_lock_timeout(api, seconds, in_transaction=True)
        orphans: dict[str, int] = {}
        for table in tables:
            orphans |= exchange(api, table, shape(api, table))
            set_mark(api, table, number)
        result = Promoted(orphans, {table: promoted.carried[table] + rows for table, rows in carried.items()})
        for table in tables:
            progress.note_result(api, table, result)
    promoted.orphans, promoted.carried = result.orphans, result.carried


def leftovers(api: Connection, tables: Iterable[str], run_id: str) -> list[str]:
    """Return the tables whose copy is of another run."""
    found = []
    for table in tables:
        state = progress.read(api, table)
        if state is None or state.run_id != run_id:
            found.append(table)
    return found


def drop_leftovers(api: Connection, tables: Iterable[str]) -> None:
    """Drop the temporary tables of a refresh. Raises Retry if a session still works on one."""
    settle(api)
    for table in tables:
        progress.claim(api, table)
        names = sql.SQL(", ").join(sql.Identifier("public", name) for name in temporary_names(table))
        api.execute(sql.SQL("drop table if exists {}").format(names))
