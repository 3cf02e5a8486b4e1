"""A snapshot of the catalog that all sessions of a copy share, so that no row is missed or read twice.

A row that is updated moves to another page. Sessions that read different pages at different moments might
therefore miss it, or copy it twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from catalog.core.session import Connection
from catalog.data_refresh import progress

_BEGIN = "begin isolation level repeatable read, read only"
_GONE = (  # the session that exported the snapshot has ended its transaction
    psycopg.errors.InvalidParameterValue,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.UndefinedObject,
)


@contextmanager
def shared_snapshot(upstream: Connection, api: Connection, table: str) -> Iterator[str]:
    """Read the catalog in the snapshot of another session of the copy, or in a new one if none is left.

    Args:
        upstream: Connection to the catalog database, in autocommit.
        api: Connection to the API database, in autocommit.
        table: Name of the live table.

    Yields:
        What the snapshot contains. Sessions for which this is the same see the same rows.
    """
    candidates = progress.snapshots(api, table)
    upstream.execute(_BEGIN)
    try:
        for exported in reversed(candidates):
            try:
                upstream.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(exported)))
                break
            except _GONE:
                upstream.execute("rollback")
                upstream.execute(_BEGIN)
        row = upstream.execute("select pg_export_snapshot(), pg_current_snapshot()::text").fetchone()
        assert row
        exported, contents = row
        progress.add_snapshot(api, table, exported)
        yield contents
    finally:
        if not upstream.closed:
            upstream.execute("rollback")
