"""Row versions that were written since a moment, recognized by the transaction that wrote them.

A row version stores the lower 32 bits of its transaction's number (`xmin`). This costs writers nothing and
misses nothing, whatever program changes a row; deleted rows leave no version.
"""

from psycopg import sql

from catalog.core.queries import value
from catalog.core.session import Connection

HALF = 1 << 31  # transactions; the order of two row versions that are further apart is unknown


def horizon(connection: Connection) -> int:
    """Return the oldest running transaction, or the next one if none is running.

    A row version that is visible later, but not now, is of this transaction or of a later one.
    """
    return int(value(connection, "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint"))


def written_since(connection: Connection, began: int) -> sql.Composable:
    """Return the condition that a row version was written by transaction `began` or a later one.

    A very old version may be taken for a new one, which is harmless, but never the other way round. If too
    many transactions have passed, the condition is true for all.

    Args:
        connection: Connection to the database of the rows.
        began: Result of `horizon`.
    """
    following = value(connection, "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    if not 0 <= following - began < HALF:
        return sql.SQL("true")
    return sql.SQL("((xmin::text::bigint - {began}) & 4294967295) < {half}").format(
        began=sql.Literal(began & 0xFFFFFFFF), half=sql.Literal(HALF)
    )
