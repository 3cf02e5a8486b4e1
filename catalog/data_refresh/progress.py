"""The row that records the progress of a temporary table, and the lock of its writers."""

import time

import msgspec
import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from catalog.core.errors import Retry
from catalog.core.session import Connection
from catalog.data_refresh.columns import Copied, progress_name, public
from catalog.data_refresh.shape import Shape


class Progress(msgspec.Struct):
    """run_id: of whose refresh; copied: how far; shape: of the live table when the copy began."""

    run_id: str
    copied: Copied
    shape: Shape


def begin(api: Connection, copied: Copied, run_id: str, shape: Shape) -> None:
    """Insert the row. Changes of the live table by current and later transactions are carried over."""
    # With a key, because a publication of all tables lets nothing be updated that has none.
    api.execute(
        sql.SQL("""
            create table {progress} (
                run_id text primary key, began xid8 not null default pg_snapshot_xmin(pg_current_snapshot()), state jsonb not null,
                shape jsonb not null, rejects jsonb not null default '[]'
            )
        """).format(progress=_name(copied.table))
    )
    api.execute(
        sql.SQL("insert into {progress} (run_id, state, shape) values (%s, %s, %s)").format(
            progress=_name(copied.table)
        ),
        [run_id, Jsonb(msgspec.to_builtins(copied)), Jsonb(shape)],
    )


def read(api: Connection, table: str) -> Progress | None:
    """None when nothing was copied, or by another version of this package."""
    if not exists(api, progress_name(table)):
        return None
    try:
        row = api.execute(
            sql.SQL("select run_id, state, shape from {progress}").format(progress=_name(table))
        ).fetchone()
        return Progress(row[0], msgspec.convert(row[1], Copied), row[2]) if row else None
    except (psycopg.errors.UndefinedColumn, msgspec.ValidationError):
        return None


def note(api: Connection, copied: Copied) -> None:
    api.execute(
        sql.SQL("update {progress} set state = %s").format(progress=_name(copied.table)),
        [Jsonb(msgspec.to_builtins(copied))],
    )


def list_rejects(api: Connection, table: str, rejects: list[tuple[str, str]]) -> None:
    """Add records that are left out, each with its identifier and the reason."""
    api.execute(
        sql.SQL("update {progress} set rejects = rejects || %s").format(progress=_name(table)),
        [Jsonb(rejects)],
    )


def rejects(api: Connection, table: str) -> list[tuple[str, str]]:
    """Records that were left out of a copy, identifier and reason: the first thousand."""
    query = sql.SQL("select rejects from {progress}").format(progress=_name(table))
    row = api.execute(query).fetchone() if exists(api, progress_name(table)) else None
    return [(identifier, reason) for identifier, reason in row[0]] if row else []


def claim(api: Connection, table: str, patience: float = 60) -> None:
    """Be the only session that works on a table's copy, until the connection is closed.

    Args:
        api: To the API database.
        table: Name of the live table.
        patience: Seconds; the try before this one may not be quite dead.

    Raises:
        Retry: Another session is at work.
    """
    deadline = time.monotonic() + patience
    free = "select 1 where pg_try_advisory_lock(hashtext(%s))"
    while not api.execute(free, [f"copy {table}"]).fetchone():
        if time.monotonic() > deadline:
            raise Retry(f"another copy of {table} is at work.")
        time.sleep(0.5)


def exists(api: Connection, name: str) -> bool:
    return bool(api.execute("select 1 where to_regclass(%s) is not null", [public(name)]).fetchone())


def _name(table: str) -> sql.Identifier:
    return sql.Identifier("public", progress_name(table))
