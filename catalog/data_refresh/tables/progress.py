"""Progress of a temporary table, recorded in a table beside it, and the lock of its writers."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, LiteralString
from uuid import UUID

import msgspec
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from catalog.core.errors import Retry
from catalog.core.jsontypes import JsonObject
from catalog.core.queries import relation_exists, value
from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import progress_name, temp_name
from catalog.data_refresh.tables.shape import Shape

log = logging.getLogger(__name__)
_SAY = 60  # seconds between two lines of the log


class TableProgress(msgspec.Struct):
    """How far a copy is.

    Attributes:
        table: Name of the live table.
        rows: Copied rows.
        new: Copied rows that the API did not have.
        deleted: Rows left out because moderators deleted them.
        rejected: Rejected rows by reason.
        own: Columns that only the API has.
        horizon: Horizon of the catalog database before the first row was read.
        file: File of the catalog's table, which changes if all rows are moved; None for a view.
        snapshots: Contents of each snapshot in which rows were read.
        after: Identifier of the last changed record that was copied; None at the start.
        done: True when all rows are copied.
    """

    table: str
    rows: int = 0
    new: int = 0
    deleted: int = 0
    rejected: dict[str, int] = {}
    own: list[str] = []
    horizon: int = 0
    file: int | None = None
    snapshots: list[str] = []
    after: UUID | None = None
    done: bool = False


class CopyRecord(msgspec.Struct):
    """Record of a copy, in its progress table.

    Attributes:
        run_id: Identity of the refresh.
        copied: How far the copy is.
        shape: Definition of the live table when the copy began.
    """

    run_id: str
    copied: TableProgress
    shape: Shape


def begin(api: Connection, copied: TableProgress, run_id: str, shape: Shape) -> None:
    """Create the progress table. Changes of the live table from now on are carried over (`catch_up`)."""
    # Tables of a publication can only be updated if they have a key.
    api.execute(
        sql.SQL("""
            create table {progress} (
                run_id text primary key,
                began xid8 not null default pg_snapshot_xmin(pg_current_snapshot()),
                state jsonb not null,
                shape jsonb not null,
                rejects jsonb not null default '[]',
                snapshots text[] not null default '{{}}'
            )
        """).format(progress=_name(copied.table))
    )
    api.execute(
        sql.SQL("insert into {progress} (run_id, state, shape) values (%s, %s, %s)").format(
            progress=_name(copied.table)
        ),
        [run_id, Jsonb(msgspec.to_builtins(copied)), Jsonb(shape)],
    )


def read(api: Connection, table: str, *, lock: bool = False) -> CopyRecord | None:
    """Return the progress; None if there is none, or if another version of this package wrote it.

    Args:
        api: Connection to the API database.
        table: Name of the live table.
        lock: Keep other sessions from changing it until the transaction ends.
    """
    if not relation_exists(api, progress_name(table)):
        return None
    try:
        row = api.execute(
            sql.SQL("select run_id, state, shape from {progress} {lock}").format(
                progress=_name(table), lock=sql.SQL("for update" if lock else "")
            )
        ).fetchone()
        return CopyRecord(row[0], msgspec.convert(row[1], TableProgress), row[2]) if row else None
    except (psycopg.errors.UndefinedColumn, msgspec.ValidationError):
        return None


def began(api: Connection, table: str) -> int:
    """Return the horizon of the API database when the copy began."""
    return int(value(api, sql.SQL("select began::text::bigint from {}").format(_name(table))))


def own_columns(api: Connection, table: str) -> list[str]:
    """Return the columns that only the API has, from the progress of a copy."""
    state = read(api, table)
    return state.copied.own if state else []


def note(api: Connection, copied: TableProgress) -> None:
    api.execute(
        sql.SQL("update {progress} set state = %s").format(progress=_name(copied.table)),
        [Jsonb(msgspec.to_builtins(copied))],
    )


def lost_rows(api: Connection, table: str) -> str | None:
    """Return a sentence if the new table lacks rows that were copied.

    A new table is unlogged if the live one is; PostgreSQL empties it when it recovers from a crash. The
    progress is logged, and whatever deletes rows of the new table corrects its number.

    Args:
        api: Connection to the API database.
        table: Name of the live table, whose copy has begun.
    """
    query = sql.SQL(
        "select (select count(*) from {temp}), (state ->> 'rows')::bigint from {progress}"
    ).format(temp=sql.Identifier("public", temp_name(table)), progress=_name(table))
    [(found, copied)] = api.execute(query).fetchall()
    if found >= copied:
        return None
    return (
        f"the copy of {table} holds {found:,} of {copied:,} rows that were copied (if it is unlogged, as the "
        "live table, a crash of the server has emptied it)"
    )


def list_rejects(api: Connection, table: str, rejects: list[tuple[str, str]]) -> None:
    """Add rejected records, each with identifier and reason."""
    api.execute(
        sql.SQL("update {progress} set rejects = rejects || %s").format(progress=_name(table)),
        [Jsonb(rejects)],
    )


def replace_rejects(api: Connection, table: str, rejects: list[tuple[str, str]]) -> None:
    """Replace the list of rejected records, each with identifier and reason."""
    api.execute(sql.SQL("update {progress} set rejects = %s").format(progress=_name(table)), [Jsonb(rejects)])


def rejects(api: Connection, table: str) -> list[tuple[str, str]]:
    """Return identifier and reason of the first thousand rejected records of a copy."""
    if not relation_exists(api, progress_name(table)):
        return []
    found = value(api, sql.SQL("select rejects from {}").format(_name(table)))
    return [(identifier, reason) for identifier, reason in found]


def note_result(api: Connection, table: str, result: object) -> None:
    """Record what a refresh has done to the live table, in the transaction that does it.

    An attempt that was ended before it could report would leave the next one nothing to report.

    Args:
        api: Connection to the API database, in a transaction.
        table: Name of the live table.
        result: Anything that JSON can represent.
    """
    api.execute(
        sql.SQL("update {progress} set state = state || jsonb_build_object('result', %s)").format(
            progress=_name(table)
        ),
        [Jsonb(msgspec.to_builtins(result))],
    )


def result(api: Connection, table: str) -> JsonObject | None:
    """Return what `note_result` has recorded; None if an earlier release has changed the table."""
    if not relation_exists(api, progress_name(table)):
        return None
    found: JsonObject | None = value(api, sql.SQL("select state -> 'result' from {}").format(_name(table)))
    return found


def snapshots(api: Connection, table: str) -> list[str]:
    """Return the names under which sessions of a copy have exported their snapshots, oldest first."""
    return list(value(api, sql.SQL("select snapshots from {}").format(_name(table))))


def add_snapshot(api: Connection, table: str, name: str) -> None:
    api.execute(
        sql.SQL("update {progress} set snapshots = snapshots || %s::text").format(progress=_name(table)),
        [name],
    )


def claim(api: Connection, table: str, patience: float = 60) -> None:
    """Take the lock of a table's copy for this session, until the connection is closed.

    Args:
        api: Connection to the API database.
        table: Name of the live table.
        patience: Seconds to wait, because the session of a killed attempt may still be ending.

    Raises:
        Retry: Another session holds the lock.
    """
    _lock(api, table, "pg_try_advisory_lock", patience)


@contextmanager
def claimed(
    api: Connection,
    table: str,
    work: Literal["begin", "copy"] = "copy",
    *,
    shared: bool = False,
    patience: float = 12 * 3600,
) -> Iterator[None]:
    """Hold a lock of a table's copy.

    Sessions that copy rows share the lock `copy`. One that creates or completes the new table holds it alone.

    Args:
        api: Connection to the API database, in autocommit.
        table: Name of the live table.
        work: `copy`, or `begin` for sessions that may have to begin the copy.
        shared: Share the lock.
        patience: Seconds to wait for other sessions.

    Raises:
        Retry: Another session held the lock all the time.
    """
    lock: LiteralString = "pg_try_advisory_lock_shared" if shared else "pg_try_advisory_lock"
    _lock(api, table, lock, patience, work)
    try:
        yield
    finally:
        if not api.closed:
            unlock = "pg_advisory_unlock_shared" if shared else "pg_advisory_unlock"
            api.execute(sql.SQL("select {}(hashtext(%s))").format(sql.SQL(unlock)), [f"{work} {table}"])


def _lock(api: Connection, table: str, function: LiteralString, patience: float, work: str = "copy") -> None:
    began = said = time.monotonic()
    free = sql.SQL("select 1 where {}(hashtext(%s))").format(sql.SQL(function))
    while not api.execute(free, [f"{work} {table}"]).fetchone():
        now = time.monotonic()
        if now - began > patience:
            raise Retry(f"another session is copying {table}.")
        if now - said > _SAY:
            said = now
            log.info("waiting for another session that copies %s", table)
        time.sleep(0.5)


def _name(table: str) -> sql.Identifier:
    return sql.Identifier("public", progress_name(table))
