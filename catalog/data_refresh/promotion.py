"""Promotion of the new tables: all tables of a media type in one transaction."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec
import psycopg
from psycopg import sql

from catalog.core.errors import Fatal, Retry
from catalog.core.session import Connection, settle
from catalog.data_refresh import progress
from catalog.data_refresh.building import build_indexes
from catalog.data_refresh.catch_up import catch_up, leave_out_deleted
from catalog.data_refresh.columns import progress_name, temp_name
from catalog.data_refresh.exchange import exchange
from catalog.data_refresh.shape import Shape, check_shape, shape
from catalog.data_refresh.shrinkage import refuse_shrinkage, shrinkage

__all__ = ["Promoted", "build_indexes", "catch_up", "drop_left_overs", "left_overs", "promote"]

log = logging.getLogger(__name__)
LOCK_SECONDS, LOCK_TRIES = 5.0, 60  # an exchange waits so long for the table, then lets others pass


class Promoted(msgspec.Struct):
    """What an exchange did.

    Attributes:
        orphans: Foreign key → rows that named media which are gone.
        carried: Table → rows whose view counts (or whatever only the API knows) had changed since the copy
            began.
    """

    orphans: dict[str, int] = {}
    carried: dict[str, int] = {}


def promote(
    api: Connection,
    tables: Iterable[str],
    run_id: str,
    pause: Callable[[float], None] = time.sleep,
    *,
    expected: Mapping[str, Shape] | None = None,
    accept_shrinkage: bool = False,
) -> Promoted:
    """Exchange all tables of a medium at once. A call for a run that has been promoted changes nothing.

    Args:
        api: To the API database, in autocommit.
        tables: Names of the live tables.
        run_id: Of the refresh whose copy it is.
        pause: Called with seconds to wait before the next try.
        expected: Table → its shape when the refresh began; when the copy began if it is not given.
        accept_shrinkage: Exchange even when the new tables are suspiciously small.

    Raises:
        Retry: Somebody holds a table for minutes.
        Fatal: A table was changed meanwhile, the new one is suspiciously small, the copy is another refresh's
            or not complete, or something is attached to a table that a refresh cannot recreate. The message
            says what; nothing was changed.
    """
    settle(api)
    began = {table: state for table in tables if (state := _copy_of(api, table, run_id))}
    wanted = list(began)
    if not wanted:
        return Promoted()
    shapes = {table: (expected or {}).get(table, state.shape) for table, state in began.items()}
    check_shape(api, wanted, shapes)
    if not accept_shrinkage:
        refuse_shrinkage(shrinkage(api, wanted))
    # Most of it while everybody works. A reader whose snapshot is older than the exchange sees what the exchange itself deletes.
    promoted = Promoted(carried={table: catch_up(api, table) for table in wanted})
    for table in wanted:
        leave_out_deleted(api, table)
    for attempt in range(LOCK_TRIES):
        try:
            check_shape(api, wanted, shapes)
            _pass_readers(api, wanted)
            _exchange_all(api, wanted, shapes, promoted)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            log.info("somebody holds %s; try %d of %d.", " or ".join(wanted), attempt + 1, LOCK_TRIES)
            pause(2)
        except psycopg.OperationalError:
            raise
        except psycopg.DatabaseError as error:
            raise Fatal(_refusal(error)) from None
        else:
            return promoted
    raise Retry(
        f"{' or '.join(wanted)} could not be locked; end the sessions that hold it. The old tables are still live."
    )


def _refusal(error: psycopg.Error) -> str:
    """What the server has against an exchange, and the way out."""
    said = ": ".join(
        part.rstrip(".")
        for part in (error.diag.message_primary or str(error), error.diag.message_detail)
        if part
    )
    if isinstance(error, psycopg.errors.ForeignKeyViolation):
        way_out = f"Correct the rows that key {error.diag.constraint_name} of {error.diag.table_name} is about, or drop the key"
    elif isinstance(error, psycopg.errors.RaiseException):
        where = (error.diag.context or "").partition("\n")[0]
        way_out = f"It comes from a function of the API database ({where}): disable the trigger that calls it until the refresh is done"
    else:
        way_out = "Remove the cause"
    return f"{said}. Nothing was changed, and the old tables are live. {way_out}, then clear this task."


def _copy_of(api: Connection, table: str, run_id: str) -> progress.Progress | None:
    """Return the copy to promote; None if it was. Raises Fatal if it is another run's, or incomplete."""
    progress.claim(api, table)
    state = progress.read(api, table)
    if state is None:
        raise Fatal(f"nothing was copied for {table}; clear the tasks that copy.")
    if state.run_id != run_id:
        raise Fatal(f"what was copied for {table} is another run's; clear the tasks that copy.")
    if not progress.exists(api, temp_name(table)):
        return None
    if not state.copied.done:
        raise Fatal(f"the copy of {table} is not complete; clear the tasks that copy.")
    return state


def _pass_readers(api: Connection, tables: list[str]) -> None:
    """Wait until nobody reads the tables: those who come meanwhile queue, so not for long."""
    with api.transaction():
        _lock(api, tables, "access exclusive", LOCK_SECONDS)


def _exchange_all(
    api: Connection, tables: list[str], expected: Mapping[str, Shape], promoted: Promoted
) -> None:
    with api.transaction():
        _lock(api, tables, "exclusive", LOCK_SECONDS)  # nobody writes, everybody reads
        carried = {table: catch_up(api, table) for table in tables}
        # A session that reads and then wants to write waits for us while we wait for it. It is ours to give way: before the server
        # looks for such a circle and ends one of the two.
        patience = api.execute(
            "select setting::float / 1000 from pg_settings where name = 'deadlock_timeout'"
        ).fetchone()
        _lock(
            api,
            tables,
            "access exclusive",
            min(LOCK_SECONDS, 0.8 * patience[0] if patience else LOCK_SECONDS),
        )
        check_shape(api, tables, expected, locked=True)
        api.execute("select set_config('lock_timeout', %s, true)", [f"{int(LOCK_SECONDS * 1000)}ms"])
        orphans: dict[str, int] = {}
        for table in tables:
            orphans |= exchange(api, table, shape(api, table))
    promoted.orphans = orphans
    promoted.carried = {table: promoted.carried[table] + rows for table, rows in carried.items()}


def _lock(api: Connection, tables: list[str], mode: str, seconds: float) -> None:
    api.execute("select set_config('lock_timeout', %s, true)", [f"{max(1, int(seconds * 1000))}ms"])
    names = sql.SQL(", ").join(sql.Identifier("public", table) for table in tables)
    api.execute(sql.SQL("lock table {} in {} mode").format(names, sql.SQL(mode)))


def left_overs(api: Connection, tables: Iterable[str], run_id: str) -> list[str]:
    """Those of the tables that another run than this one has begun to copy."""
    found = []
    for table in tables:
        state = progress.read(api, table)
        if state is None or state.run_id != run_id:
            found.append(table)
    return found


def drop_left_overs(api: Connection, tables: Iterable[str]) -> None:
    """Drop temporary tables of a refresh. Raises Retry if a session still works on one."""
    settle(api)
    for table in tables:
        progress.claim(api, table)
        names = sql.SQL(", ").join(
            sql.Identifier("public", name) for name in (temp_name(table), progress_name(table))
        )
        api.execute(sql.SQL("drop table if exists {}").format(names))
