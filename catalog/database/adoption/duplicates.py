"""Rows of one table that should be unique and are not: found, and moved aside, all but the newest of each group.

Where a row goes depends on what it is. A second copy of a record that stays (the same identifier, or the same provider and foreign
identifier) goes to a table of its own, `<table>_duplicates`: `deleted_<media>` holds records that are gone, one row each, and the record is
not gone. Another record that has the URL of one that stays is deleted as a record is, so it goes to `deleted_<media>`, with the reason
`duplicate`, and the loader does not bring it back; if that table holds one like it already, it goes to the table of duplicates, too.
"""

from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql

from catalog.database.adoption.inventory import MEDIA, METRICS
from catalog.database.adoption.uniqueness import URL

Connection = psycopg.Connection[Any]
BATCH = 5_000  # rows
REASON = "duplicate"
_SHOWN = 3  # examples


class Doubled(msgspec.Struct, frozen=True):
    """What one table holds more than once. rows: that are too many, in all groups."""

    table: str
    keys: tuple[str, ...]
    groups: int
    rows: int
    examples: tuple[str, ...]


def aside_name(table: str) -> str:
    return f"{table}_duplicates"


def find(connection: Connection, table: str, keys: tuple[str, ...]) -> Doubled:
    """Rows with the same keys; reads the whole table. Rows that lack a key are never the same."""
    names = _names(table, keys)
    counted = connection.execute(
        sql.SQL("select count(*), coalesce(sum(n - 1), 0)::bigint from {groups} g").format(**names)
    ).fetchone()
    assert counted
    examples: list[str] = []
    if counted[0]:
        shown = sql.SQL(
            "select {texts} from {table} t where ({keys}) in (select {names} from {groups} g limit {few})"
        )
        found = connection.execute(
            sql.SQL(
                "select string_agg(text, ', ') from ({rows}) r (key, text) group by key order by 1"
            ).format(rows=shown.format(**names, few=sql.Literal(_SHOWN)))
        )
        examples = [text for (text,) in found]
    return Doubled(table, keys, counted[0], counted[1], tuple(examples))


class Removal:
    """Moves all but the newest row of each group out of a table, batch by batch, each in one transaction.

    Each call finds the rows that are left, so it goes on wherever it was stopped.

    Args:
        connection: In autocommit.
        table: A media table, or one of deleted media.
        keys: Columns and expressions that should be unique.
    """

    def __init__(self, connection: Connection, table: str, keys: tuple[str, ...]) -> None:
        self._connection = connection
        self._names = _names(table, keys)
        self._deletes = table in MEDIA and keys == URL
        newest: LiteralString = "updated_on desc" if table in MEDIA else "deleted_on desc"
        self._names |= {
            "newest": sql.SQL(newest),
            "aside": sql.Identifier("public", aside_name(table)),
            "deleted": sql.Identifier("public", f"deleted_{table}"),
            "reason": sql.Literal(REASON),
        }

    def find(self) -> int:
        """Note the rows to move in a temporary table, and make the table they go to. Their number."""
        self._execute("drop table if exists pg_temp.doubled")
        self._execute(
            "create table if not exists {aside} (like {table}, duplicate_of uuid, moved_on timestamptz not null default now())"
        )
        self._execute("""
            create temporary table doubled as
            select row_number() over (order by tid) as n, tid, identifier, kept from (
                select t.ctid as tid, t.identifier, first_value(t.identifier) over same as kept, row_number() over same as place
                  from {table} t join {groups} g on ({keys}) = ({qualified})
                window same as (partition by {keys} order by {newest} nulls last, t.ctid desc)
            ) ranked where place > 1
        """)
        self._execute("create index on pg_temp.doubled (n)")
        self._names["columns"] = self._columns("t.")
        self._names["bare_columns"] = self._columns("")
        row = self._execute("select count(*) from pg_temp.doubled").fetchone()
        return int(row[0]) if row else 0

    def move(self, first: int) -> int:
        """Move the rows numbered `first` and the following ones, one batch; to be called in a transaction. Returns the next number."""
        last = first + BATCH
        gone: LiteralString = """
            with batch as (select tid, identifier as known, kept from pg_temp.doubled where n >= {first} and n < {last}),
            gone as (
                delete from {table} t using batch b where t.ctid = b.tid and t.identifier is not distinct from b.known
                returning {columns}, b.kept as duplicate_of
            )
        """
        aside: LiteralString = (
            "insert into {aside} ({bare_columns}, duplicate_of) select {bare_columns}, duplicate_of from gone"
        )
        if self._deletes:
            gone += """, kept as (
                insert into {deleted} ({bare_columns}, deleted_on, deleted_reason) select {bare_columns}, now(), {reason} from gone
                on conflict do nothing returning identifier
            )
            """
            aside += " where not exists (select from kept where kept.identifier = gone.identifier)"
        self._execute(gone + aside, first=sql.Literal(first), last=sql.Literal(last))
        return last

    def drop_if_empty(self) -> None:
        """The table of duplicates goes again when nothing went there."""
        row = self._execute("select exists (select from {aside})").fetchone()
        if row and not row[0]:
            self._execute("drop table {aside}")

    def _columns(self, prefix: LiteralString) -> sql.Composed:
        found = self._execute(
            "select attname from pg_attribute where attrelid = {of}::regclass and attnum > 0 and not attisdropped and attgenerated = '' "
            "order by attnum",
            of=sql.Literal(self._names["table"].as_string(None)),
        )
        return sql.SQL(", ").join(sql.SQL(prefix) + sql.Identifier(name) for (name,) in found)

    def _execute(self, statement: LiteralString, **more: sql.Composable) -> psycopg.Cursor[Any]:
        return self._connection.execute(sql.SQL(statement).format(**self._names, **more))


def _names(table: str, keys: tuple[str, ...]) -> dict[str, sql.Composable]:
    """Keys are our own expressions, such as `md5(foreign_identifier)`; in a group they are called k1, k2, …"""
    comma = sql.SQL(", ")
    written = [sql.SQL(key) for key in keys]
    called = [sql.Identifier(f"k{n}") for n, _ in enumerate(keys, 1)]
    present = sql.SQL(" and ").join(sql.SQL("{} is not null").format(key) for key in written)
    groups = sql.SQL("(select {calls}, count(*) as n from {table} where {present} group by {keys} having count(*) > 1)").format(
        calls=comma.join(sql.SQL("{} as {}").format(key, name) for key, name in zip(written, called, strict=True)),
        table=sql.Identifier("public", table), present=present, keys=comma.join(written),
    )  # fmt: skip
    return {
        "table": sql.Identifier("public", table),
        "keys": comma.join(written),
        "names": comma.join(called),
        "qualified": comma.join(sql.SQL("g.{}").format(name) for name in called),
        "groups": groups,
        "texts": sql.SQL("md5(concat_ws(' ', {keys})), {shown}::text").format(
            keys=comma.join(written), shown=sql.Identifier("provider" if table in METRICS else "identifier")
        ),
    }
