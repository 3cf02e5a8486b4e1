"""Queries in files, and rows of a query as dictionaries."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.datetime import TimestamptzLoader
from psycopg.types.json import JsonbLoader

from catalog.core.session import Connection
from catalog.core.sql_files import read_sql

MAX_NUMBER = 2**63 - 1  # of a number of things, as in the database
EARLIEST, LATEST = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))


class _AnyTimestamp(TimestamptzLoader):
    """Reads also what Python's dates cannot hold, such as `infinity`, as the nearest date that they can."""

    def load(self, data: Any) -> datetime:
        with suppress(psycopg.DataError, OverflowError):
            return super().load(data)
        text = bytes(data)
        return EARLIEST if text.startswith(b"-") or text.endswith(b"BC") else LATEST


class _AnyJson(JsonbLoader):
    """Reads also what Python's decoder refuses, such as very large integers or deep nesting, as text."""

    def load(self, data: Any) -> Any:
        with suppress(ValueError, RecursionError):
            return super().load(data)
        return bytes(data).removeprefix(b"\x01").decode()  # the version of the binary format


def statement(name: str, **parts: sql.Composable) -> sql.Composed:
    """Return the query in the file `sql/<name>.sql`, with these parts in place of its placeholders."""
    return sql.SQL(read_sql(Path(__file__).parent / "sql" / f"{name}.sql")).format(**parts)


def rows(
    connection: Connection, query: Any, values: Sequence[Any] | Mapping[str, Any] = ()
) -> list[dict[str, Any]]:
    """Run a query and return its rows, as column name → value."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.adapters.register_loader("timestamptz", _AnyTimestamp)
        cursor.adapters.register_loader("jsonb", _AnyJson)
        return cursor.execute(query, values).fetchall()


def numbers(value: Any) -> dict[str, int]:
    """Return the entries of a JSON object whose values are numbers of things; nothing of other JSON.

    Such columns are written by the catalog, but a page that shows a history must not fail on one odd row.
    """
    entries = value.items() if isinstance(value, dict) else ()
    return {key: int(number) for key, number in entries if _is_count(number)}


def _is_count(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= MAX_NUMBER and value == int(value)


def texts(value: Any) -> list[str]:
    """Return the elements of a JSON array as strings; other JSON, except null, counts as one element."""
    elements = value if isinstance(value, list) else [] if value is None else [value]
    return [element if isinstance(element, str) else json.dumps(element) for element in elements]
