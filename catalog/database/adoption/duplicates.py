"""Rows of one table that should be unique and are not: found, and moved aside, so that the newest stay.

A row stays unless it has a key of a newer row that stays. So no row makes way for one that is moved itself,
and each key is still there.

Where a row goes depends on what it is. A second copy of a record that stays (the same identifier, or the same
provider and foreign identifier) goes to a table of its own, `<table>_duplicates`: `deleted_<media>` holds
records that are gone, one row each, and the record is not gone. Another record that has the URL of one that
stays is deleted as a record is, so it goes to `deleted_<media>`, with the reason `duplicate`, and the loader
does not bring it back; if that table holds one like it already, it goes to the table of duplicates, too.
"""

from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql

from catalog.core.session import Connection
from catalog.database.adoption.hazards import ASIDE, aside_name
from catalog.database.adoption.inventory import MEDIA, METRICS
from catalog.database.adoption.uniqueness import KEY, URL

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
    """Moves rows out of a table, in batches of one transaction each, until each of several keys is unique.

    Each `find` looks at the rows that are left, so a removal goes on wherever it was stopped.

    Args:
        connection: In autocommit.
        table: A media table, or one of deleted media.
        keys: Sets of columns and expressions; each set should be unique.
    """

    def __init__(self, connection: Connection, table: str, keys: tuple[tuple[str, ...], ...]) -> None:
        self._connection, self._table = connection, table
        # URLs last: a row that shares its record and its URL with rows that stay is a copy of its record.
        self._keys = sorted(keys, key=lambda key: key == URL)
        self._places = [f"k{n}" for n in range(len(keys))]
        self._names: dict[str, sql.Composable] = {
            "table": sql.Identifier("public", table),
            "newest": sql.Identifier("updated_on" if table in MEDIA else "deleted_on"),
            "aside": sql.Identifier("public", aside_name(table)),
            "deleted": sql.Identifier("public", f"deleted_{table}"),
            "reason": sql.Literal(REASON),
        }

    def find(self) -> int:
        """Note the rows to move in a temporary table, and make the table they go to. Their number."""
        self._make_aside()
        self._names["columns"] = self._columns("t.")
        self._names["bare_columns"] = self._columns("")
        self._candidates()
        while self._settle_newest():
            pass
        number = self._note_moved()
        self._execute("create index on pg_temp.doubled (n)")
        self._execute("drop table pg_temp.candidates")
        return number

    def _make_aside(self) -> None:
        """In one transaction with the comment by which it is known to be ours."""
        with self._connection.transaction():
            row = self._execute("select to_regclass({of}) is null", of=self._text("aside")).fetchone()
            if not (row and row[0]):
                return
            self._execute(
                "create table {aside} (like {table}, duplicate_of uuid, moved_on timestamptz not null default now())"
            )
            self._execute("comment on table {aside} is {comment}", comment=sql.Literal(ASIDE))
            for name in self._names_of(generated=True):  # LIKE makes plain columns of them
                self._execute("alter table {aside} drop column {name}", name=sql.Identifier(name))

    def _note_moved(self) -> int:
        """Number the rows to move, with the row that stays in place of each; copies of a record come first."""
        stay = [sql.Identifier(f"s{n}") for n, _ in enumerate(self._keys)]
        copies = [name for name, key in zip(stay, self._keys, strict=True) if key != URL]
        self._execute("drop table if exists pg_temp.doubled")
        # Of several records with one identifier, or one key, one can be a deleted one.
        return self._execute(
            """
            create temporary table doubled as
            select row_number() over (order by age) as n, tid, identifier, kept,
                   by_url and row_number() over (partition by by_url, identifier order by age) = 1
                   and row_number() over (partition by by_url, record order by age) = 1 as deletes
              from (
                select c.tid, c.identifier, c.record, c.age, coalesce({stay}) as kept, {is_media} and {no_copy} as by_url
                  from pg_temp.candidates c {joins} where not c.stays
              ) moved
            """,
            stay=sql.SQL(", ").join(sql.SQL("{}.identifier").format(name) for name in stay),
            is_media=sql.Literal(self._table in MEDIA),
            no_copy=sql.SQL(" and ").join(
                [sql.SQL("true"), *(sql.SQL("{}.tid is null").format(name) for name in copies)]
            ),
            joins=sql.SQL(" ").join(
                sql.SQL("left join pg_temp.candidates {s} on {s}.stays and {s}.{p} = c.{p}").format(
                    s=name, p=sql.Identifier(place)
                )
                for name, place in zip(stay, self._places, strict=True)
            ),
        ).rowcount

    def _candidates(self) -> None:
        """All rows that share a key with another one, newest first; whether they stay is open."""
        of_key = []
        for key in self._keys:
            names = _names(self._table, key)
            of_key.append(
                sql.SQL("""
                select t.ctid as tid, t.identifier, t.{newest} as moment, {places},
                       coalesce({record}, t.ctid::text) as record
                  from {table} t join {groups} g on ({keys}) = ({qualified})
                """).format(
                    **names,
                    newest=self._names["newest"],
                    record=_as_text(KEY),
                    places=sql.SQL(", ").join(
                        sql.SQL("{} as {}").format(_as_text(k), sql.Identifier(place))
                        for k, place in zip(self._keys, self._places, strict=True)
                    ),
                )
            )
        self._execute("drop table if exists pg_temp.candidates")
        self._execute(
            "create temporary table candidates as select *, row_number() over (order by moment desc nulls last, tid desc) as age, "
            "null::boolean as stays from ({rows}) r",
            rows=sql.SQL(" union ").join(of_key),
        )
        for place in self._places:
            self._execute("create index on pg_temp.candidates ({place})", place=sql.Identifier(place))
        self._execute("analyze pg_temp.candidates")

    def _settle_newest(self) -> bool:
        """Decide on open rows: the newest of all their keys stay; rows that share a key with one that stays go.

        Returns:
            Whether any row was settled.
        """
        places = [sql.Identifier(place) for place in self._places]
        newer = sql.SQL(" and ").join(
            sql.SQL(
                "not exists (select from pg_temp.candidates o where o.{p} = c.{p} and o.age < c.age and o.stays is null)"
            ).format(p=place)
            for place in places
        )
        settled = self._execute(
            "update pg_temp.candidates c set stays = true where stays is null and {newer}", newer=newer
        ).rowcount
        for place in places:
            self._execute(
                "update pg_temp.candidates c set stays = false from pg_temp.candidates o "
                "where c.stays is null and o.stays and o.{p} = c.{p}",
                p=place,
            )
        return settled > 0

    def move(self, first: int) -> int:
        """Move one batch from row `first` on, in a transaction; return the next number."""
        last = first + BATCH
        gone: LiteralString = """
            with batch as (
                select tid, identifier as known, kept, deletes from pg_temp.doubled where n >= {first} and n < {last}
            ), gone as (
                delete from {table} t using batch b where t.ctid = b.tid and t.identifier is not distinct from b.known
                returning {columns}, b.kept as duplicate_of, b.deletes
            )
        """
        aside: LiteralString = (
            "insert into {aside} ({bare_columns}, duplicate_of) select {bare_columns}, duplicate_of from gone"
        )
        if self._table in MEDIA:
            gone += """, kept as (
                insert into {deleted} ({bare_columns}, deleted_on, deleted_reason)
                select {bare_columns}, now(), {reason} from gone where deletes
                on conflict do nothing returning identifier
            )
            """
            aside += (
                " where not (deletes and exists (select from kept where kept.identifier = gone.identifier))"
            )
        self._execute(gone + aside, first=sql.Literal(first), last=sql.Literal(last))
        return last

    def drop_if_empty(self) -> None:
        """The table of duplicates goes again when nothing went there."""
        row = self._execute("select exists (select from {aside})").fetchone()
        if row and not row[0]:
            self._execute("drop table {aside}")

    def _columns(self, prefix: LiteralString) -> sql.Composed:
        return sql.SQL(", ").join(sql.SQL(prefix) + sql.Identifier(name) for name in self._names_of())

    def _names_of(self, *, generated: bool = False) -> list[str]:
        """Columns of the table: the ones that are written, or those that are generated."""
        found = self._execute(
            "select attname from pg_attribute where attrelid = {of}::regclass and attnum > 0 and not attisdropped "
            "and (attgenerated <> '') = {generated} order by attnum",
            of=self._text("table"),
            generated=sql.Literal(generated),
        )
        return [name for (name,) in found]

    def _text(self, name: str) -> sql.Literal:
        return sql.Literal(self._names[name].as_string(None))

    def _execute(self, statement: LiteralString, **more: sql.Composable) -> psycopg.Cursor[Any]:
        return self._connection.execute(sql.SQL(statement).format(**self._names, **more))


def different_records(connection: Connection, table: str) -> int:
    """Return the number of identifiers that different records of a media table share."""
    row = connection.execute(
        sql.SQL("""
            select count(*) from (
                select from {table} where identifier is not null group by identifier
                having count(distinct (provider, md5(foreign_identifier))) > 1 and count(distinct url) > 1
            ) as found
        """).format(table=sql.Identifier("public", table))
    ).fetchone()
    return int(row[0]) if row else 0


def _as_text(key: tuple[str, ...]) -> sql.Composed:
    """A key as one text, NULL when a part of it is."""
    comma, parts = sql.SQL(", "), [sql.SQL(part) for part in key]
    return sql.SQL("case when num_nulls({parts}) = 0 then md5(row({parts})::text) end").format(
        parts=comma.join(parts)
    )


def _names(table: str, keys: tuple[str, ...]) -> dict[str, sql.Composable]:
    """Keys are expressions such as `md5(foreign_identifier)`; in a group they are called k1, k2 and so on."""
    comma = sql.SQL(", ")
    written = [sql.SQL(key) for key in keys]
    called = [sql.Identifier(f"k{n}") for n, _ in enumerate(keys, 1)]
    present = sql.SQL(" and ").join(sql.SQL("{} is not null").format(key) for key in written)
    groups = sql.SQL(
        "(select {calls}, count(*) as n from {table} where {present} group by {keys} having count(*) > 1)"
    ).format(
        calls=comma.join(
            sql.SQL("{} as {}").format(key, name) for key, name in zip(written, called, strict=True)
        ),
        table=sql.Identifier("public", table),
        present=present,
        keys=comma.join(written),
    )
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
