"""Facts that only the rows can tell: their number, duplicates, missing audio sets, unexpected values."""

from collections.abc import Callable
from typing import LiteralString

import msgspec
from psycopg import sql

from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.database.adoption.duplicates import Duplicates, different_records, find_duplicates
from catalog.database.adoption.inventory import DELETED, MEDIA, METRICS, SET_KEY, Inventory
from catalog.database.adoption.uniqueness import IDENTIFIER, UNIQUE, URL, column_of
from catalog.database.estimates import planned_rows

LONGEST_ENTRY = 2_684  # bytes: a third of a page (2,704), without the headers of an entry
SAMPLE = 50_000  # rows that are searched for unexpected values

TO_FILL: LiteralString = """
    {key} is null
    and identifier is not null
    and jsonb_typeof(audio_set) = 'object'
    and jsonb_typeof(audio_set -> 'foreign_identifier') in ('string', 'number')
    and length(audio_set ->> 'foreign_identifier') between 1 and {width}
"""
"""Condition for a record whose audio set is known, but whose key of the set is not filled."""

UNEXPECTED: dict[str, LiteralString] = {
    "identifier IS NULL": "identifier is null",
    "provider IS NULL": "provider is null",
    "foreign_identifier IS NULL": "foreign_identifier is null",
    "foreign_landing_url IS NULL": "foreign_landing_url is null",
    "a license that is empty or has capitals": "license = '' or license <> lower(license)",
    "license_version IS NULL": "license_version is null",
    "meta_data that is not an object": "jsonb_typeof(meta_data) <> 'object'",
    "meta_data without license_url": "meta_data ->> 'license_url' is null",
    "tags that are not an array": "jsonb_typeof(tags) <> 'array'",
    "a filetype with capitals": "filetype <> lower(filetype)",
    "a score outside 0 to 1": (
        "standardized_popularity is not null and not (standardized_popularity between 0 and 1)"
    ),
    "an infinite date": "not isfinite(created_on) or not isfinite(updated_on)",
    "audio_set that is not an object": "jsonb_typeof(audio_set) <> 'object'",
    "alt_files that are not an array": "jsonb_typeof(alt_files) <> 'array'",
}
"""Description → condition. The first column of a condition is the one that it requires."""


class Counts(msgspec.Struct, frozen=True):
    """Facts about the rows of the catalog's tables.

    Attributes:
        rows: Table → the planner's estimate of its rows.
        unfilled: Table → records whose audio set is known, but whose key of the set is not filled.
        duplicates: Duplicates of each key that lacks a unique index.
        shared: Media table → identifiers that different records share.
        too_long: Media table → rows whose URL does not fit into an index.
    """

    rows: dict[str, int] = {}
    unfilled: dict[str, int] = {}
    duplicates: list[Duplicates] = []
    shared: dict[str, int] = {}
    too_long: dict[str, int] = {}


class Unexpected(msgspec.Struct, frozen=True):
    """Unexpected values of a table.

    Attributes:
        table: Name of the table.
        description: Description of the values, for people.
        rows: Number of rows with such a value.
        exact: Whether all rows were read; otherwise the number is an estimate from a sample.
    """

    table: str
    description: str
    rows: int
    exact: bool


def count_rows(connection: Connection, inventory: Inventory, notify: Callable[[str], None]) -> Counts:
    """Return facts about the rows. Whole tables are read only to find duplicates, and those of audio.

    Args:
        connection: Connection to the database.
        inventory: Inventory of the database, which must not be `unreadable`.
        notify: Called with a sentence for each table that is read completely.
    """
    rows = {
        table: planned_rows(connection, table)
        for table in (*MEDIA, *DELETED, *METRICS)
        if inventory.columns.get(table)
    }
    unfilled = {t: n for t in ("audio", "deleted_audio") if (n := _unfilled(connection, inventory, t))}
    duplicates = _duplicates(connection, inventory, rows, notify)
    shared = {d.table for d in duplicates if d.rows and d.keys == IDENTIFIER and d.table in MEDIA}
    return Counts(
        rows,
        unfilled,
        duplicates,
        {table: different_records(connection, table) for table in sorted(shared)},
        {
            table: n
            for table in MEDIA
            if inventory.columns.get(table)
            and inventory.lacks_unique(table, URL)
            and (n := _too_long(connection, table))
        },
    )


def find_unexpected(connection: Connection, inventory: Inventory, rows: dict[str, int]) -> list[Unexpected]:
    """Return values that operations of the catalog skip, keep unchanged, or count as missing.

    Args:
        connection: Connection to the database.
        inventory: Inventory of the database.
        rows: Table → estimate of its rows.
    """
    found = []
    for table in MEDIA:
        columns = inventory.columns.get(table)
        if not columns:
            continue
        wanted = {text: test for text, test in UNEXPECTED.items() if _first_column(test) in columns}
        share = min(100.0, 100 * SAMPLE / max(1, rows.get(table, 0)))
        query = sql.SQL("select count(*), {} from {} tablesample system ({})").format(
            sql.SQL(", ").join(
                sql.SQL("count(*) filter (where {})").format(sql.SQL(test)) for test in wanted.values()
            ),
            sql.Identifier("public", table),
            sql.Literal(share),
        )
        [(sampled, *numbers)] = connection.execute(query).fetchall()
        exact = share >= 100
        factor = 1 if exact else rows[table] / max(1, sampled)
        found += [
            Unexpected(table, text, round(n * factor), exact)
            for text, n in zip(wanted, numbers, strict=True)
            if n
        ]
    return found


def _first_column(test: str) -> str:
    words = test.replace("(", " ").replace(")", " ").split()
    return next(word for word in words if word not in ("not", "jsonb_typeof", "isfinite"))


def _too_long(connection: Connection, table: str) -> int:
    """Return the number of rows whose URL, compressed as in an index, exceeds the size of an entry."""
    query = sql.SQL(
        "select count(*) from {} where octet_length(url) > {most} and pg_column_size(url) > {most}"
    ).format(sql.Identifier("public", table), most=sql.Literal(LONGEST_ENTRY))
    return int(value(connection, query))


def _unfilled(connection: Connection, inventory: Inventory, table: str) -> int:
    columns = inventory.columns.get(table, {})
    if "audio_set" not in columns:
        return 0
    column = columns.get(SET_KEY)
    key: sql.Composable = sql.Identifier(SET_KEY) if column else sql.SQL("null")
    width = column.width if column and column.width else 1_000_000
    condition = sql.SQL(TO_FILL).format(key=key, width=sql.Literal(width))
    query = sql.SQL("select count(*) from {} where {}").format(sql.Identifier("public", table), condition)
    return int(value(connection, query))


def _duplicates(
    connection: Connection, inventory: Inventory, rows: dict[str, int], notify: Callable[[str], None]
) -> list[Duplicates]:
    """Search for duplicates of each key that should be unique and lacks a unique index."""
    found = []
    for table, wanted in UNIQUE.items():
        columns = inventory.columns.get(table)
        if not columns:
            continue
        for _, keys in wanted:
            if inventory.lacks_unique(table, keys) and all(column_of(key) in columns for key in keys):
                if rows[table]:
                    notify(
                        f"searching {table} (about {rows[table]:,} rows) for rows with the same "
                        f"{', '.join(keys)}"
                    )
                found.append(find_duplicates(connection, table, keys))
    return found
