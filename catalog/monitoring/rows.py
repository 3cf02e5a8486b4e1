"""Rows of a query as dictionaries."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.datetime import TimestamptzLoader

from catalog.core.session import Connection

EARLIEST, LATEST = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))


class _AnyTimestamp(TimestamptzLoader):
    """Reads also what Python's dates cannot hold, such as `infinity`, as the nearest date that they can."""

    def load(self, data: Any) -> datetime:
        with suppress(psycopg.DataError, OverflowError):
            return super().load(data)
        text = bytes(data)
        return EARLIEST if text.startswith(b"-") or text.endswith(b"BC") else LATEST


def rows(
    connection: Connection, query: Any, values: Sequence[Any] | Mapping[str, Any] = ()
) -> list[dict[str, Any]]:
    """Run a query and return its rows, as column name → value."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.adapters.register_loader("timestamptz", _AnyTimestamp)
        return cursor.execute(query, values).fetchall()


def numbers(value: Any) -> dict[str, int]:
    """Return the entries of a JSON object whose values are integers; nothing of other JSON.

    Such columns are written by the catalog, but a page that shows a history must not fail on one odd row.
    """
    entries = value.items() if isinstance(value, dict) else ()
    return {key: number for key, number in entries if type(number) is int}


def texts(value: Any) -> list[str]:
    """Return the elements of a JSON array as strings; other JSON, except null, counts as one element."""
    elements = value if isinstance(value, list) else [] if value is None else [value]
    return [element if isinstance(element, str) else json.dumps(element) for element in elements]
