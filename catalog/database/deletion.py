"""Deleting records: out of a media table into its `deleted_<media>`, batch by batch, each in one transaction; and bringing them back.

A record is deleted once: the loader does not bring back what `deleted_<media>` holds, and a second deletion keeps the first row.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql

from catalog.database.statements import plain
from catalog.ingestion.errors import Interrupted, Retry

log = logging.getLogger(__name__)
Connection = psycopg.Connection[Any]
BATCH = 10_000
PASSES = 30


class DeletionPreview(msgspec.Struct, frozen=True):
    """What a deletion would do: how many rows, of which providers, and a few of them."""

    rows: int
    providers: dict[str, int]
    sample: list[dict[str, Any]]


def preview(connection: Connection, table: str, condition: str, rows: int = 5) -> DeletionPreview:
    """Changes nothing. condition: as `parse_condition` wrote it. connection: in autocommit."""
    by_provider: LiteralString = "select provider, count(*) from {table} where {where} group by 1 order by 1"
    few: LiteralString = "select to_jsonb(s) from (select identifier, provider, title, url from {table} where {where} limit {n}) s"
    counted = _execute(connection, table, condition, by_provider).fetchall()
    sample = _execute(connection, table, condition, few, n=rows).fetchall()
    return DeletionPreview(sum(n for _, n in counted), dict(counted), [row for (row,) in sample])


def delete(
    connection: Connection, table: str, condition: str, reason: str, *, batch: int = BATCH, timeout: float = 3600, pause: float = 1.0,
    progress: Callable[[int], None] = lambda _: None, should_stop: Callable[[], bool] = lambda: False,
) -> int:  # fmt: skip
    """Number of rows moved by this call. connection: in autocommit. May be stopped or killed at any moment and called again.

    Rows that somebody has locked are passed over and taken in a later pass; raises Retry when some stay locked, Interrupted when asked
    to stop.
    """
    moved, passes, after = 0, 0, "(0,0)"
    while True:
        with connection.transaction():
            connection.execute("select set_config('statement_timeout', %s, true)", [str(int(timeout * 1000))])
            now, last = _one_batch(connection, table, condition, reason, batch, after)
        moved += now
        if now:
            progress(moved)
        if should_stop():
            raise Interrupted(f"asked to stop after {moved:,} rows; the next try goes on.")
        if now:
            after = last
            continue
        left = _execute(connection, table, condition, "select count(*) from {table} where {where}").fetchone()
        if not left or not left[0]:
            return moved
        if after != "(0,0)":  # rows that moved on disk, or were locked: once more from the start
            after = "(0,0)"
            continue
        passes += 1
        if passes >= PASSES:
            raise Retry(
                f"{left[0]:,} rows stayed locked by others in {PASSES} passes; {moved:,} were deleted. Clear this task to go on."
            )
        log.info("%s rows are locked by others; pass %d of %d.", f"{left[0]:,}", passes, PASSES)
        time.sleep(pause)


def _one_batch(
    connection: Connection, table: str, condition: str, reason: str, batch: int, after: str
) -> tuple[int, str]:
    """(rows moved, where the last of them lay). Copied and deleted in one statement, so that what is deleted is exactly what is kept.

    after: begin behind this place, so that what earlier batches left dead is not walked again.
    """
    row = _execute(
        connection, table, condition,
        """
        with picked as (
            select ctid as tid from {table} where ({where}) and ctid > {after}::tid limit {batch} for update skip locked
        ), gone as (
            delete from {table} using picked where {table}.ctid = picked.tid returning picked.tid, {table}.*
        ), kept as (
            insert into {deleted} ({columns}, deleted_on, deleted_reason) select {columns}, now(), {reason} from gone on conflict do nothing
        )
        select count(*), coalesce(max(tid)::text, {after}) from gone
        """,
        batch=batch, after=after, reason=reason[:80], columns=_columns(connection, table),
    ).fetchone()  # fmt: skip
    assert row
    return row[0], row[1]


def restore(connection: Connection, table: str, condition: str, *, batch: int = BATCH) -> int:
    """Bring records back from `deleted_<media>`: number of rows. Their fields are those of the day they were deleted.

    A record whose place was taken meanwhile (the same key or URL) stays deleted. Beside an ingestion of the same records it may have to
    try again.
    """
    moved, deadlocks = 0, 0
    while True:
        try:
            now = _restore_batch(connection, table, condition, batch)
        except psycopg.errors.DeadlockDetected:
            deadlocks += 1
            if deadlocks > PASSES:
                raise
            continue
        moved += now
        if not now:
            return moved


def _restore_batch(connection: Connection, table: str, condition: str, batch: int) -> int:
    with connection.transaction():
        row = _execute(
                connection, table, condition,
                """
                with picked as (
                    select d.ctid as tid, d.identifier as id from {deleted} d
                     where d.identifier in (select identifier from {deleted} {table} where {where})
                       and not exists (select from {table} m where m.url = d.url or m.identifier = d.identifier
                                          or (m.provider = d.provider and md5(m.foreign_identifier) = md5(d.foreign_identifier)))
                     limit {batch} for update skip locked
                ), back as (
                    insert into {table} ({columns}) select {columns} from {deleted} join picked on {deleted}.ctid = picked.tid
                    on conflict do nothing returning identifier
                ), gone as (
                    delete from {deleted} using back where {deleted}.identifier = back.identifier returning 1
                )
                select count(*) from gone
                """,
                batch=batch, columns=_columns(connection, table),
            ).fetchone()  # fmt: skip
    return row[0] if row else 0


def _columns(connection: Connection, table: str) -> sql.Composed:
    """All columns of the media table, by name: the deleted table has them, too."""
    found = connection.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
        [table],
    )
    return sql.SQL(", ").join(sql.Identifier(name) for (name,) in found)


def _execute(
    connection: Connection, table: str, condition: str, statement: LiteralString, **values: Any
) -> psycopg.Cursor[Any]:
    parts = {
        key: value if isinstance(value, sql.Composable) else sql.Literal(value)
        for key, value in values.items()
    }
    names = {
        "table": sql.Identifier(table),
        "deleted": sql.Identifier(f"deleted_{table}"),
        "where": plain(condition),
    }
    return connection.execute(sql.SQL(statement).format(**names, **parts))
