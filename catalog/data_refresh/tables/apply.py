"""Application of changed records to the live tables, in one transaction that readers do not notice."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import LiteralString

import msgspec
import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import execute, relation_exists, value
from catalog.core.session import Connection, settle
from catalog.data_refresh.tables import locks, progress
from catalog.data_refresh.tables.catch_up import leave_out_deleted
from catalog.data_refresh.tables.columns import (
    KEYS,
    changes_name,
    equal_columns,
    key_of,
    names,
    qualified_name,
    set_to_null,
    temp_name,
)
from catalog.data_refresh.tables.locks import lock_live_tables, retry_while_held
from catalog.data_refresh.tables.marks import create_marks, mark, set_mark
from catalog.data_refresh.tables.shape import Facts, Shape, check_shape, shape
from catalog.data_refresh.tables.shrinkage import (
    references_to,
    refuse_shrinkage,
    rows_of,
    shown,
    shrunken_sources,
    source_of,
    too_many_orphans,
)
from catalog.database.refusals import Finding, Judge, refuse_all
from catalog.moderation.tables import moderated_name

_SHORTEST = 40  # characters that a temporary value of a unique column may have
COPIED_COMPLETELY = frozenset(KEYS)  # tables that are small and copied as a whole


class Applied(msgspec.Struct):
    """Numbers of changed rows of a live table.

    Attributes:
        inserted: New rows.
        updated: Rows with other values.
        deleted: Rows that are not in the catalog any more, or that moderators deleted.
        orphans: Number of deleted or cleared references to deleted rows, by foreign key.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    orphans: dict[str, int] = {}


def obstacles(api: Connection, tables: Sequence[str]) -> list[str]:
    """Return the objects of live tables that changes of rows would trigger, one sentence each."""
    problems = []
    for table in tables:
        definition = shape(api, table)
        problems += [
            f"the API's table {table} has the {kind} {name}, which changes of rows would run"
            for kind in ("trigger", "rule")
            for name, facts in definition.get(kind, {}).items()
            if facts["enabled"] != "D"
        ]
        problems += [
            f"the API's table {table} has the exclusion constraint {name}"
            for name, facts in definition.get("constraint", {}).items()
            if facts["type"] == "x"
        ]
    return problems


def apply_changes(
    api: Connection,
    tables: Sequence[str],
    number: int,
    own: Mapping[str, Sequence[str]],
    *,
    expected: Mapping[str, Shape],
    judge: Judge = refuse_all,
    why: Callable[[], str] = str,
) -> dict[str, Applied]:
    """Make the live tables equal to the catalog, where their records have changed.

    If an earlier attempt has applied the changes, it does nothing, and returns what that one has changed.

    Args:
        api: Connection to the API database, in autocommit.
        tables: Names of the live tables whose changes were copied; referenced tables first.
        number: Number of the refresh.
        own: Columns that only the API has, by table.
        expected: Definition of each table when the refresh began.
        judge: Says whether it is accepted that suspiciously many rows would be deleted.
        why: Returns a sentence about why records may be missing, for the refusal.

    Raises:
        Retry: Other sessions held a table for minutes.
        Fatal: A table was changed meanwhile, rejects a record, or would lose suspiciously many. Nothing
            was changed.
    """
    settle(api)
    create_marks(api)
    for table in tables:
        progress.claim(api, table)

    def apply_once() -> dict[str, Applied]:
        # No savepoints: the rows that this transaction writes are recognized by its number.
        with api.transaction():
            # Excludes writers, but not readers.
            lock_live_tables(api, tables, "share row exclusive", locks.LOCK_SECONDS)
            check_shape(api, tables, expected, locked=True)
            if all((found := mark(api, table)) and found.number == number for table in tables):
                return _applied_before(api, tables)
            return _apply(api, tables, number, own, judge, why)

    return retry_while_held(apply_once, ", ".join(tables), refusal=_refusal, state="Nothing was changed.")


def _refusal(error: psycopg.DatabaseError) -> str:
    """Return the server's error and the remedy."""
    message = (error.diag.message_primary or str(error)).rstrip(".")
    return (
        f"{message}. Nothing was changed. Correct the cause, then clear this task, or trigger a run "
        'with the conf {"mode": "full"}.'
    )


def _apply(
    api: Connection,
    tables: Sequence[str],
    number: int,
    own: Mapping[str, Sequence[str]],
    judge: Judge,
    why: Callable[[], str],
) -> dict[str, Applied]:
    for table in tables:  # of a copy that a crash has emptied, all changed rows would be deleted
        if lost := progress.lost_rows(api, table):
            raise Fatal(f"{lost}. Nothing was changed; trigger a new run.")
    changed = {table: _Table(api, table, own[table]) for table in tables}
    for changes in changed.values():
        changes.find_deleted()
    refuse_shrinkage({rows_of(table): changes.shrinkage() for table, changes in changed.items()}, judge, why)
    for table, changes in changed.items():
        if table not in KEYS:  # a deleted row must not keep the unique values of a new one
            changes.delete()
        changes.release_unique_values()
        changes.upsert()
    for table, changes in changed.items():
        if table in KEYS:  # audio files that refer to a deleted set have been updated
            changes.delete()
    # Only what is found: references to other rows are not looked at, so earlier reports of them stay.
    orphaned = {references_to(table): changes.orphaned for table, changes in changed.items()}
    refuse_shrinkage({kind: found for kind, found in orphaned.items() if found}, judge)
    for table in tables:
        set_mark(api, table, number, progress.began(api, table))
        progress.note_result(api, table, changed[table].applied)
    return {table: changes.applied for table, changes in changed.items()}


def _applied_before(api: Connection, tables: Sequence[str]) -> dict[str, Applied]:
    """Return the numbers of an earlier attempt, which may have been ended before it could report them."""
    noted = {table: progress.result(api, table) for table in tables}
    return {table: msgspec.convert(found, Applied) for table, found in noted.items() if found}


def _unique_columns(api: Connection, table: str) -> list[list[str]]:
    """Return the columns of each unique index of a table that has no expressions."""
    query = """
        select array_agg(attname::text order by attnum)
          from pg_index
          join pg_attribute on attrelid = indrelid and attnum = any((indkey::int2[])[0:indnkeyatts - 1])
         where indrelid = to_regclass(%s) and indisunique and indexprs is null
         group by indexrelid order by 1
    """
    return [columns for (columns,) in api.execute(query, [qualified_name(table)])]


class _Table:
    """Changes of one live table.

    Args:
        api: Connection to the API database, in a transaction.
        table: Name of the live table.
        own: Columns that only the API has.
    """

    def __init__(self, api: Connection, table: str, own: Sequence[str]) -> None:
        self._api, self._table = api, table
        self.applied = Applied()
        self.orphaned: list[Finding] = []  # findings about references to deleted rows
        self._shape = shape(api, table)
        self._key = key_of(table)
        columns = [
            name
            for name, facts in self._shape["column"].items()
            if name not in ("id", *own) and not facts["generated"]
        ]
        identifier = self._shape["column"]["id"]
        given = [] if identifier["default"] or identifier["identity"] else ["id"]
        given += [name for name in own if not self._shape["column"][name]["identity"]]
        self._values = [name for name in columns if name not in self._key]
        self._unique = [
            place
            for place in _unique_columns(api, table)
            if set(place) <= {*self._key, *self._values} and not set(place) <= {*self._key}
        ]
        self._parts: dict[str, sql.Composable] = {
            "live": sql.Identifier("public", table),
            "temp": sql.Identifier("public", temp_name(table)),
            "changes": sql.Identifier("public", changes_name(table)),
            "deleted": sql.Identifier("pg_temp", f"deleted_{table}"),
            "same": equal_columns("l", self._key, "t", self._key),
            "values": names(self._values),
            "old": names(self._values, "l"),
            "new": names(self._values, "t"),
            "columns": names([*given, *columns]),
            "inserted": names([*given, *columns], "t"),
        }

    def find_deleted(self) -> None:
        """List the live rows that are to be deleted."""
        leave_out_deleted(self._api, self._table)
        # The copy of audio sets is complete, that of media holds only the changed ones.
        among: LiteralString = "" if self._table in KEYS else "join {changes} c using (identifier)"
        self._do("create temporary table {deleted} (id bigint primary key) on commit drop")
        self._do(
            """
            insert into {deleted}
            select l.id from {live} l {among} where not exists (select from {temp} t where {same})
            """,
            among=sql.SQL(among).format(**self._parts),
        )
        if self._table not in KEYS and relation_exists(self._api, moderated_name("deleted", self._table)):
            # Moderators may have listed more since the changes were found.
            moderated = sql.Identifier("public", moderated_name("deleted", self._table))
            listed: LiteralString = "from {live} l join {moderated} m using (identifier)"
            rows = sql.SQL(listed).format(**self._parts, moderated=moderated)
            self._do("insert into {deleted} select l.id {rows} on conflict do nothing", rows=rows)
            self._do("insert into {changes} select identifier {rows} on conflict do nothing", rows=rows)
        self._do("analyze {deleted}")
        # Statistics of the wide columns would take as long as the update itself.
        narrow = sorted({*self._key, *(name for columns in self._unique for name in columns)})
        self._do("analyze {temp} ({narrow})", narrow=names(narrow))

    def shrinkage(self) -> list[Finding]:
        """Find records that the changes would remove beyond the usual; see `shrinkage.shrinkage`.

        A record that gets another source, or that is marked as removed from its source, is lost like a
        deleted one: searches do not find it there any more.
        """
        statement = """
            select source, count(*), count(*) filter (where moved) from (
                select {old_source} as source, false as moved
                  from {live} l join {deleted} d using (id) where {was_shown}
                union all
                select {old_source}, {is_shown} from {live} l join {temp} t on {same}
                 where {was_shown} and not ({is_shown} and {new_source} = {old_source})
            ) lost group by 1
        """
        parts = {
            "old_source": source_of(self._shape, "l"),
            "new_source": source_of(self._shape, "t"),
            "was_shown": shown(self._shape, "l"),
            "is_shown": shown(self._shape, "t"),
        }
        changed = self._api.execute(sql.SQL(statement).format(**self._parts, **parts)).fetchall()
        findings = shrunken_sources(self._api, self._table, self._shape, changed)
        if findings:
            counted = """
                select (select count(*) from {live} l join {deleted} d using (id) where {was_shown}),
                       count(*) filter (where {was_shown} and not ({is_shown}))
                  from {live} l join {temp} t on {same}
            """
            [numbers] = self._api.execute(sql.SQL(counted).format(**self._parts, **parts)).fetchall()
            reasons = zip(("deleted", "marked as removed from their source"), numbers, strict=True)
            said = [f"{self._table}: {number:,} records are {what}" for what, number in reasons if number]
            # Not at the end: of many sources, not all are named.
            text = "; ".join([findings[0].text, *said])
            findings[0] = msgspec.structs.replace(findings[0], text=text)
        return findings

    def release_unique_values(self) -> None:
        """Replace values that pass from one record to another: they must be unique after each updated row.

        The temporary value begins like the old one, to satisfy constraints on the form of addresses.
        """
        for columns in self._unique:
            if (name := self._changeable(columns)) is None:
                continue  # the update fails if two records exchange such values
            parts = {
                "name": sql.Identifier(name),
                "moving": sql.SQL("left(l.{}, {}) || '#' || l.id").format(
                    sql.Identifier(name), sql.Literal(_SHORTEST - 20)
                ),
                "theirs": names(columns, "l"),
                "ours": names(columns, "t"),
                "others": names(columns, "o"),
            }
            self._do(
                """
                update {live} l set {name} = {moving} from {temp} t
                 where {same} and row({theirs}) is distinct from row({ours})
                   and exists (select from {temp} o where row({others}) = row({theirs}))
                """,
                **parts,
            )
            self._do(
                """
                update {live} l set {name} = {moving} from {deleted} d
                 where l.id = d.id and exists (select from {temp} o where row({others}) = row({theirs}))
                """,
                **parts,
            )

    def _changeable(self, columns: Sequence[str]) -> str | None:
        """Return the column that can take a temporary value; None if no column holds any text."""
        types = {name: str(self._shape["column"][name]["type"]) for name in columns if name in self._values}
        widths = {
            name: int(width[1]) if (width := re.fullmatch(r"character varying\((\d+)\)", kind)) else 0
            for name, kind in types.items()
            if kind == "text" or kind.startswith("character varying")
        }
        wide = [name for name, width in widths.items() if width == 0 or width >= _SHORTEST]
        return max(
            wide, key=lambda name: (name == "foreign_identifier", widths[name] or 1 << 30), default=None
        )

    def upsert(self) -> None:
        """Update the rows with other values, and insert the new ones."""
        # *<> compares the bytes: some types (json, point) have no equality.
        self.applied.updated = self._do("""
            update {live} l set ({values}) = row({new}) from {temp} t
             where {same} and row({old})::record *<> row({new})::record
        """)
        self.applied.inserted = self._do("""
            insert into {live} ({columns}) overriding system value
            select {inserted} from {temp} t where not exists (select from {live} l where {same})
        """)

    def delete(self) -> None:
        """Delete rows, and what refers to them, as a full refresh does."""
        for key in self._shape.get("reference", {}).values():
            if number := self._release(key):
                self.applied.orphans[key["name"]] = number
                child = sql.Identifier(key["schema"], key["child"])
                remaining = value(self._api, sql.SQL("select count(*) from {child}").format(child=child))
                rows = remaining + (0 if key["on delete"] == "n" else number)
                self.orphaned += too_many_orphans(key["child"], number, rows)
        self.applied.deleted = self._do("delete from {live} l using {deleted} d where l.id = d.id")

    def _release(self, key: Facts) -> int:
        """Delete rows that refer to deleted ones, or clear the reference (SET NULL); return their number."""
        parts: dict[str, sql.Composable] = {
            "child": sql.Identifier(key["schema"], key["child"]),
            "refers": equal_columns("c", key["columns"], "l", key["parents"]),
            "nulls": set_to_null(key["columns"]),
        }
        parts["rows"] = sql.SQL("{live} l, {deleted} d where l.id = d.id and {refers}").format(
            **self._parts, **parts
        )
        if key["on delete"] == "n":
            return self._do("update {child} c set {nulls} from {rows}", **parts)
        return self._do("delete from {child} c using {rows}", **parts)

    def _do(self, statement: LiteralString, **parts: sql.Composable) -> int:
        return execute(self._api, statement, **self._parts, **parts)
