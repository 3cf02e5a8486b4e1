"""Pages of tables: how many there are, in which file, and whether a range of them can be read on its own."""

from catalog.core.queries import value
from catalog.core.session import Connection

_RANGES = 140_000  # the first server version that reads a range of pages without reading the others


def pages_of(connection: Connection, table: str) -> int:
    """Return the number of pages of a table; 0 if there is no such table."""
    query = "select coalesce(pg_relation_size(to_regclass(%s)) / current_setting('block_size')::int, 0)"
    return int(value(connection, query, [f"public.{table}"]))


def file_of(connection: Connection, table: str) -> int | None:
    """Return the number of a table's file, which changes if all rows are moved; None for a view."""
    node: int | None = value(connection, "select pg_relation_filenode(to_regclass(%s))", [f"public.{table}"])
    return node


def reads_ranges(connection: Connection) -> bool:
    """Return whether the server reads a range of pages (`ctid`) without reading the others."""
    return connection.info.server_version >= _RANGES
