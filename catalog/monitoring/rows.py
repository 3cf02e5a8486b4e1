"""Rows of a query as dictionaries."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg.rows import dict_row

from catalog.core.session import Connection


def rows(
    connection: Connection, query: Any, values: Sequence[Any] | Mapping[str, Any] = ()
) -> list[dict[str, Any]]:
    """Run a query and return its rows, as column name → value."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, values).fetchall()
