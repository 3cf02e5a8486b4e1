"""What only the rows can tell: their number, duplicates, missing audio sets, odd values."""

from collections.abc import Callable
from typing import LiteralString

import msgspec
from psycopg import sql

from catalog.core.session import Connection
from catalog.database.adoption.duplicates import Doubled, different_records, find
from catalog.database.adoption.inventory import DELETED, MEDIA, METRICS, SET_KEY, Inventory
from catalog.database.adoption.uniqueness import IDENTIFIER, UNIQUE, URL

LONGEST_ENTRY = 2_684  # bytes: a third of a page (2 704), without the headers of an entry
SAMPLE = 50_000  # rows that odd values are looked for in

TO_FILL: LiteralString = """
    {key} is null and jsonb_typeof(audio_set) = 'object' and jsonb_typeof(audio_set -> 'foreign_identifier') in ('string', 'number')
    and length(audio_set ->> 'foreign_identifier') between 1 and {width}
"""
"""The condition under which a record's set is known and not entered."""

ODD: dict[str, LiteralString] = {
    "provider IS NULL": "provider is null",
    "foreign_identifier IS NULL": "foreign_identifier is null",
    "foreign_landing_url IS NULL": "foreign_landing_url is null",
    "a license that is empty or has capitals": "license = '' or license <> lower(license)",
    "license_version IS NULL": "license_version is null",
    "meta_data that is no object": "jsonb_typeof(meta_data) <> 'object'",
    "meta_data without license_url": "meta_data ->> 'license_url' is null",
    "tags that are no array": "jsonb_typeof(tags) <> 'array'",
    "a filetype with capitals": "filetype <> lower(filetype)",
    "a score outside 0 to 1": "standardized_popularity is not null and not (standardized_popularity between 0 and 1)",
    "a date that is no date (infinity)": "not isfinite(created_on) or not isfinite(updated_on)",
    "audio_set that is no object": "jsonb_typeof(audio_set) <> 'object'",
    "alt_files that are no array": "jsonb_typeof(alt_files) <> 'array'",
}


class Counts(msgspec.Struct, frozen=True):
    """What only a look at the rows can tell.

    Attributes:
        rows: Of each table.
        unfilled: Records whose set is known and not entered, by table.
        doubled: What is there more than once.
        shared: Identifiers that different records have in common, by media table.
        too_long: Rows whose URL does not fit in an index, by media table.
    """

    rows: dict[str, int] = {}
    unfilled: dict[str, int] = {}
    doubled: list[Doubled] = []
    shared: dict[str, int] = {}
    too_long: dict[str, int] = {}


class Odd(msgspec.Struct, frozen=True):
    """Rows of one kind; `exact`: all rows were read, otherwise the number is an estimate from a sample."""

    table: str
    what: str
    rows: int
    exact: bool


def count(connection: Connection, there: Inventory, notify: Callable[[str], None]) -> Counts:
    """Examine the rows. Whole tables are read only where a unique index is missing, and of audio."""
    rows = {
        table: _estimate(connection, table)
        for table in (*MEDIA, *DELETED, *METRICS)
        if there.columns.get(table)
    }
    unfilled = {t: n for t in ("audio", "deleted_audio") if (n := _unfilled(connection, there, t))}
    doubled = _doubled(connection, there, rows, notify)
    shared = {d.table for d in doubled if d.rows and d.keys == IDENTIFIER and d.table in MEDIA}
    return Counts(
        rows,
        unfilled,
        doubled,
        {table: different_records(connection, table) for table in sorted(shared)},
        {
            t: n
            for t in MEDIA
            if there.columns.get(t) and there.missing_unique(t, URL) and (n := _too_long(connection, t))
        },
    )


def width_of_set(there: Inventory, table: str) -> int:
    """Characters that the identifier of an audio set may have in a table."""
    column = there.columns[table].get(SET_KEY)
    return column.width if column and column.width else 1_000_000


def odd(connection: Connection, there: Inventory, rows: dict[str, int]) -> list[Odd]:
    """Values that our operations pass over, leave as they are, or count as missing."""
    found = []
    for table in MEDIA:
        columns = there.columns.get(table)
        if not columns:
            continue
        wanted = {what: test for what, test in ODD.items() if _column_of(test) in columns}
        share = min(100.0, 100 * SAMPLE / max(1, rows.get(table, 0)))
        query = sql.SQL("select count(*), {} from {} tablesample system ({})").format(
            sql.SQL(", ").join(
                sql.SQL("count(*) filter (where {})").format(sql.SQL(test)) for test in wanted.values()
            ),
            sql.Identifier("public", table),
            sql.Literal(share),
        )
        looked_at, *numbers = connection.execute(query).fetchone() or (0,)
        exact = share >= 100
        factor = 1 if exact else rows[table] / max(1, looked_at)
        found += [
            Odd(table, what, round(n * factor), exact) for what, n in zip(wanted, numbers, strict=True) if n
        ]
    return found


def _column_of(test: str) -> str:
    words = test.replace("(", " ").replace(")", " ").split()
    return next(word for word in words if word not in ("not", "jsonb_typeof", "isfinite"))


def _estimate(connection: Connection, table: str) -> int:
    """The planner's number, which counts today's pages."""
    query = sql.SQL("explain (format json) select from {}").format(sql.Identifier("public", table))
    row = connection.execute(query).fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"]) if row else 0


def _too_long(connection: Connection, table: str) -> int:
    """Return rows with a URL that no index takes, compressed as an index compresses it."""
    query = sql.SQL(
        "select count(*) from {} where octet_length(url) > {most} and pg_column_size(url) > {most}"
    )
    row = connection.execute(
        query.format(sql.Identifier("public", table), most=sql.Literal(LONGEST_ENTRY))
    ).fetchone()
    return int(row[0]) if row else 0


def _unfilled(connection: Connection, there: Inventory, table: str) -> int:
    columns = there.columns.get(table, {})
    if "audio_set" not in columns:
        return 0
    key: sql.Composable = sql.Identifier(SET_KEY) if SET_KEY in columns else sql.SQL("null")
    condition = sql.SQL(TO_FILL).format(key=key, width=sql.Literal(width_of_set(there, table)))
    query = sql.SQL("select count(*) from {} where {}").format(sql.Identifier("public", table), condition)
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _doubled(
    connection: Connection, there: Inventory, rows: dict[str, int], notify: Callable[[str], None]
) -> list[Doubled]:
    found = []
    for table, wanted in UNIQUE.items():
        columns = there.columns.get(table)
        if not columns:
            continue
        for _, keys in wanted:
            if there.missing_unique(table, keys) and all(_key_column(key) in columns for key in keys):
                if rows[table]:
                    notify(
                        f"reads the about {rows[table]:,} rows of {table} for those with the same {', '.join(keys)}"
                    )
                found.append(find(connection, table, keys))
    return found


def _key_column(key: str) -> str:
    return key.removeprefix("md5(").removesuffix(")")
