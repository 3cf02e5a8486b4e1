"""Move of duplicates to other tables, so that only the newest rows stay.

A row stays unless it has a key of a newer row that stays. So no row is moved because of a row that is moved
itself, and each key still exists.

A copy of a record that stays (the same identifier, or the same provider and foreign identifier) is moved to
`<table>_duplicates`: `deleted_<media>` has one row for each deleted record, and the record is not deleted.
Another record with the URL of one that stays is moved to `deleted_<media>` with the reason `duplicate`, so
that it is not loaded again; if that table has such a record already, it is moved to `<table>_duplicates` too.
"""

from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from catalog.core.session import Connection
from catalog.database.adoption.duplicates import grouping
from catalog.database.adoption.hazards import ASIDE, duplicates_table
from catalog.database.adoption.inventory import MEDIA
from catalog.database.adoption.uniqueness import KEY, URL
from catalog.database.sql_files import sql_file

BATCH = 5_000  # rows
REASON = "duplicate"


class Removal:
    """Moves rows out of a table, in batches of one transaction each, until each of several keys is unique.

    Each `find` reads the remaining rows, so an interrupted removal resumes where it stopped.

    Args:
        connection: Connection to the database, in autocommit.
        table: A media table, or a table of deleted media.
        keys: Sets of columns and expressions; each set should be unique.
    """

    def __init__(self, connection: Connection, table: str, keys: tuple[tuple[str, ...], ...]) -> None:
        self._connection, self._table = connection, table
        # URLs are last: a row that shares its record and its URL with rows that stay is a copy of its record.
        self._keys = sorted(keys, key=lambda key: key == URL)
        self._places = [f"k{n}" for n in range(len(keys))]
        self._names: dict[str, sql.Composable] = {
            "table": sql.Identifier("public", table),
            "newest": sql.Identifier("updated_on" if table in MEDIA else "deleted_on"),
            "duplicates": sql.Identifier("public", duplicates_table(table)),
            "deleted": sql.Identifier("public", f"deleted_{table}"),
            "reason": sql.Literal(REASON),
        }

    def find(self) -> int:
        """Store the rows to move in a temporary table, and create the table of duplicates.

        Returns:
            The number of rows to move.
        """
        self._create_duplicates_table()
        self._names["columns"] = self._columns("t.")
        self._names["bare_columns"] = self._columns("")
        self._create_candidates()
        while self._settle_newest():
            pass
        number = self._number_duplicates()
        self._execute("create index on pg_temp.duplicates (n)")
        self._execute("drop table pg_temp.candidates")
        return number

    def move(self, first: int) -> int:
        """Move one batch in one statement.

        Args:
            first: Number of the first row to move, from 1.

        Returns:
            The first number of the next batch.
        """
        last = first + BATCH
        query = sql_file("adoption/move_duplicates" if self._table in MEDIA else "adoption/move_copies")
        self._execute(query, first=sql.Literal(first), last=sql.Literal(last))
        return last

    def drop_if_empty(self) -> None:
        """Drop the table of duplicates if no row was moved there."""
        [(has_rows,)] = self._execute("select exists (select from {duplicates})").fetchall()
        if not has_rows:
            self._execute("drop table {duplicates}")

    def _create_duplicates_table(self) -> None:
        """Create the table of duplicates, in one transaction with the comment that identifies it."""
        with self._connection.transaction():
            query: LiteralString = "select to_regclass({of}) is null"
            [(is_missing,)] = self._execute(query, of=self._text("duplicates")).fetchall()
            if not is_missing:
                return
            self._execute(
                "create table {duplicates} "
                "(like {table}, duplicate_of uuid, moved_on timestamptz not null default now())"
            )
            self._execute("comment on table {duplicates} is {comment}", comment=sql.Literal(ASIDE))
            for name in self._column_names(generated=True):  # LIKE turns them into plain columns
                self._execute("alter table {duplicates} drop column {name}", name=sql.Identifier(name))

    def _create_candidates(self) -> None:
        """Store all rows that share a key with another row, newest first."""
        of_keys = []
        for key in self._keys:
            of_keys.append(
                sql.SQL(sql_file("adoption/candidates_of_key")).format(
                    **grouping(self._table, key),
                    newest=self._names["newest"],
                    record=_as_text(KEY),
                    places=sql.SQL(", ").join(
                        sql.SQL("{} as {}").format(_as_text(k), sql.Identifier(place))
                        for k, place in zip(self._keys, self._places, strict=True)
                    ),
                )
            )
        self._execute("drop table if exists pg_temp.candidates")
        self._execute(sql_file("adoption/candidates"), rows=sql.SQL(" union ").join(of_keys))
        for place in self._places:
            self._execute("create index on pg_temp.candidates ({place})", place=sql.Identifier(place))
        self._execute("analyze pg_temp.candidates")

    def _settle_newest(self) -> bool:
        """Settle rows: the newest of all their keys stay; those that share a key with one of them do not.

        Returns:
            Whether any row was settled.
        """
        places = [sql.Identifier(place) for place in self._places]
        is_newest = sql.SQL(" and ").join(
            sql.SQL(
                "not exists (select from pg_temp.candidates o "
                "where o.{p} = c.{p} and o.age < c.age and o.stays is null)"
            ).format(p=place)
            for place in places
        )
        settled = self._execute(
            "update pg_temp.candidates c set stays = true where stays is null and {is_newest}",
            is_newest=is_newest,
        ).rowcount
        for place in places:
            self._execute(
                "update pg_temp.candidates c set stays = false from pg_temp.candidates o "
                "where c.stays is null and o.stays and o.{p} = c.{p}",
                p=place,
            )
        return settled > 0

    def _number_duplicates(self) -> int:
        """Number the rows to move, each with the row that stays in its place.

        Returns:
            The number of rows to move.
        """
        stay = [sql.Identifier(f"s{n}") for n, _ in enumerate(self._keys)]
        same_record = [name for name, key in zip(stay, self._keys, strict=True) if key != URL]
        self._execute("drop table if exists pg_temp.duplicates")
        return self._execute(
            sql_file("adoption/number_duplicates"),
            kept=sql.SQL(", ").join(sql.SQL("{}.identifier").format(name) for name in stay),
            is_media=sql.Literal(self._table in MEDIA),
            no_copy=sql.SQL(" and ").join(
                [sql.SQL("true"), *(sql.SQL("{}.tid is null").format(name) for name in same_record)]
            ),
            joins=sql.SQL(" ").join(
                sql.SQL("left join pg_temp.candidates {s} on {s}.stays and {s}.{p} = c.{p}").format(
                    s=name, p=sql.Identifier(place)
                )
                for name, place in zip(stay, self._places, strict=True)
            ),
        ).rowcount

    def _columns(self, prefix: LiteralString) -> sql.Composed:
        return sql.SQL(", ").join(sql.SQL(prefix) + sql.Identifier(name) for name in self._column_names())

    def _column_names(self, *, generated: bool = False) -> list[str]:
        """Return the columns of the table that are generated, or the other ones."""
        found = self._execute(
            "select attname from pg_attribute "
            "where attrelid = {of}::regclass and attnum > 0 and not attisdropped "
            "and (attgenerated <> '') = {generated} order by attnum",
            of=self._text("table"),
            generated=sql.Literal(generated),
        )
        return [name for (name,) in found]

    def _text(self, name: str) -> sql.Literal:
        return sql.Literal(self._names[name].as_string(None))

    def _execute(self, query: LiteralString, **more: sql.Composable) -> psycopg.Cursor[TupleRow]:
        return self._connection.execute(sql.SQL(query).format(**self._names, **more))


def _as_text(key: tuple[str, ...]) -> sql.Composed:
    """Return an expression that is a key as one text, or NULL if a part of the key is NULL."""
    parts = sql.SQL(", ").join(sql.SQL(part) for part in key)
    return sql.SQL("case when num_nulls({parts}) = 0 then md5(row({parts})::text) end").format(parts=parts)
