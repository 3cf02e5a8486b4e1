"""Snapshots of a database that several sessions share, so that they read the same state."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from psycopg import sql

from catalog.core.session import Connection

BEGIN = "begin isolation level repeatable read, read only"
_GONE = (  # the session that exported the snapshot has ended its transaction
    psycopg.errors.InvalidParameterValue,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.UndefinedObject,
)


class Snapshot(NamedTuple):
    """The snapshot of a session.

    Attributes:
        exported: The name under which others can import it while this session keeps its transaction.
        contents: What it contains. Sessions for which this is the same see the same rows.
        imported: Whether another session had exported it.
    """

    exported: str
    contents: str
    imported: bool


@contextmanager
def snapshot(connection: Connection, candidates: Sequence[str]) -> Iterator[Snapshot]:
    """Read in the snapshot of another session, or in a new one if none of them is left.

    Args:
        connection: Connection to the database, in autocommit.
        candidates: Names under which sessions have exported the snapshot, oldest first.

    Yields:
        The snapshot; it lasts until the context is left.
    """
    imported = False
    connection.execute(BEGIN)
    try:
        for exported in reversed(candidates):
            try:
                connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(exported)))
                imported = True
                break
            except _GONE:
                connection.execute("rollback")
                connection.execute(BEGIN)
        query = "select pg_export_snapshot(), pg_current_snapshot()::text"
        [(exported, current)] = connection.execute(query).fetchall()
        yield Snapshot(exported, current, imported)
    finally:
        if not connection.closed:
            connection.execute("rollback")
