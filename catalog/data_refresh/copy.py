"""Copy of a table of the catalog to `temp_import_<table>` of the API database, beside the live table.

Rows stream from one database to the other as binary COPY, in ranges of keys. Each range and the progress are
written in one transaction, so a killed copy resumes after the last range. Columns that only the API has, such
as the row id, come from the live table; new records get them from the table's defaults.
"""

import logging
from collections.abc import Callable
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from catalog.core.errors import Fatal, Interrupted
from catalog.core.media import MediaType
from catalog.core.session import Connection, settle
from catalog.data_refresh import progress
from catalog.data_refresh.audio_sets import copy_sets
from catalog.data_refresh.building import make_table
from catalog.data_refresh.columns import Column, Copied, progress_name, public, temp_name
from catalog.data_refresh.merge import Merge
from catalog.data_refresh.references import check_restricted, detach_sets, leave_out_unreferenced
from catalog.data_refresh.refusals import REFUSED, Refusals, allowed_rejects, check_rejects, reason_of
from catalog.data_refresh.row_streams import RowStreams, between
from catalog.data_refresh.sequences import advance, check_defaults
from catalog.data_refresh.shape import Shape, check_shape, shape

log = logging.getLogger(__name__)
RANGE = 250_000  # rows; the API's own columns of a range are held in memory
_RENAMED = {"audio_set_position": "set_position"}  # API column → catalog column
TABLES: dict[MediaType, tuple[str, ...]] = {"image": ("image",), "audio": ("audioset", "audio")}


def estimated_rows(connection: Connection, table: str) -> int:
    """Return the planner's estimate of the rows of a table; 0 if it has none."""
    query = "select reltuples::bigint from pg_class where oid = to_regclass(%s)"
    found = connection.execute(query, [f"public.{table}"]).fetchone()
    return max(found[0], 0) if found else 0


class TableCopy:
    """Copies one table of a refresh.

    Args:
        upstream: Connection to the catalog database, in autocommit.
        api: Connection to the API database, in autocommit, for exclusive use.
        table: Name of the live table.
        run_id: Identity of the refresh; the copy of another refresh is dropped.
        limit: Maximum number of rows to copy, for a small staging database; 0 for all.
        progress: Called after each range.
        should_stop: Called after each range.
        expected: Definition of the table when the refresh began; raises Fatal if it has changed.
    """

    def __init__(
        self,
        upstream: Connection,
        api: Connection,
        table: str,
        run_id: str,
        *,
        limit: int = 0,
        progress: Callable[[Copied], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
        expected: Shape | None = None,
    ) -> None:
        self._upstream, self._api, self._table, self._run_id = upstream, api, table, run_id
        self._limit, self._report, self._should_stop = limit, progress, should_stop
        self._expected = expected or {}  # otherwise the definition when the copy begins
        self.source = "audioset_view" if table == "audioset" else table
        self._streams = RowStreams(upstream, api, table, self.source)
        self._names: dict[str, sql.Composable] = {
            "live": sql.Identifier("public", table),
            "temp": sql.Identifier("public", temp_name(table)),
            "progress": sql.Identifier("public", progress_name(table)),
            "source": sql.Identifier("public", self.source),
        }

    def run(self) -> Copied:
        """Copy the remaining rows.

        Raises:
            Interrupted: `should_stop` returned True; the next call resumes.
            Fatal: Too many records are rejected, or the live table has changed.
        """
        settle(self._upstream)
        settle(self._api)
        progress.claim(self._api, self._table)
        copied = self._resume() or self._begin()
        columns = self.columns()
        if self._table == "audioset" and not copied.done:
            with self._api.transaction():
                self._hold()
                copy_sets(self._upstream, self._api, columns, copied)
                self._complete(copied)
                progress.note(self._api, copied)
        while not copied.done:
            self._copy_range(columns, copied)
            self._report(copied)
            if self._should_stop() and not copied.done:
                raise Interrupted(
                    f"asked to stop after {copied.rows:,} rows; the next attempt resumes there."
                )
        check_rejects(copied)
        check_restricted(self._api, self._table)
        return copied

    def again(self, keys: list[UUID]) -> None:
        """Copy records of a complete copy again, all of them in one snapshot."""
        settle(self._upstream)
        copied = self._resume()
        if copied is None:
            raise Fatal(
                f"the copy of {self._table} is another run's; clear copy_tables and all tasks after it."
            )
        refused = Refusals()
        with self._api.transaction():
            self._hold()
            query = """
                delete from {temp} t where identifier = any({keys})
                returning not exists (select from {live} l where l.identifier = t.identifier)
            """
            deleted = self._execute(self._api, query, keys=keys).fetchall()
            copied.rows -= len(deleted)
            copied.new -= sum(new for (new,) in deleted)
            self._copy_keys(self.columns(), keys, copied, refused)
            refused.note(self._api, copied)
            self._complete(copied)
            progress.note(self._api, copied)

    def _copy_keys(self, columns: list[Column], keys: list[UUID], copied: Copied, refused: Refusals) -> None:
        """Copy the records of these keys: all at once, or one by one if some of them cannot be stored."""
        parts = [keys]
        while parts:
            part = parts.pop()
            try:
                with self._api.transaction(), self._upstream.transaction():
                    condition = sql.SQL("identifier = any({})").format(sql.Literal(part))
                    merge = self._copy_within(columns, condition)
            except REFUSED as error:
                if len(part) > 1:
                    parts += [[key] for key in part]
                else:
                    refused.add(str(part[0]), self._reason(columns, part[0], error))
            else:
                self._count(copied, merge, refused)

    # before

    def columns(self) -> list[Column]:
        """Return the columns of the live table, without `id` and generated ones."""
        # The catalog does not have the API's own types: an enum is sent as text, a domain as its base type.
        query = """
            with recursive base as (
                select attnum, attname, atttypid as type, atttypmod as modifier
                  from pg_attribute
                 where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped and attgenerated = ''
                 union all
                select attnum, attname, typbasetype, typtypmod
                  from base join pg_type on oid = type where typtype = 'd'
            )
            select attname, case typtype when 'e' then 'text' else format_type(type, modifier) end,
                   case when type = 'varchar'::regtype and modifier > 4 then modifier - 4 end
              from base join pg_type on oid = type where typtype <> 'd' order by attnum
        """
        theirs = self._api.execute(query, [public(self._table)]).fetchall()
        if not theirs:
            raise Fatal(f"the API database has no table {self._table}; its migrations create it.")
        ours = {name for name, _, _ in self._upstream.execute(query, [public(self.source)])}
        sources = {name: source for name, _, _ in theirs if (source := _RENAMED.get(name, name)) in ours}
        return [Column(name, kind, sources.get(name), width) for name, kind, width in theirs if name != "id"]

    def _resume(self) -> Copied | None:
        """Return the progress of this run's copy; None if there is no copy of this run."""
        state = progress.read(self._api, self._table)
        ours = (
            state is not None
            and state.run_id == self._run_id
            and progress.exists(self._api, temp_name(self._table))
        )
        if not ours or state is None:
            return None
        self._expected = self._expected or state.shape
        self._hold()
        return state.copied

    def _begin(self) -> Copied:
        """Create an empty table like the live one, without indexes; that of an earlier run is dropped."""
        with self._api.transaction():
            self._hold()
            self._expected = shape(self._api, self._table)
            copied = Copied(self._table, own=[c.name for c in self.columns() if not c.upstream])
            self._execute(self._api, "drop table if exists {temp}, {progress}")
            make_table(self._api, self._table, temp_name(self._table), self._expected)
            progress.begin(self._api, copied, self._run_id, self._expected)
            self._give_ids()
        return copied

    def _hold(self) -> None:
        """Lock the definition of the live table in this transaction. Raises Fatal if it has changed."""
        if progress.exists(self._api, self._table) and self._api.info.transaction_status:
            self._execute(self._api, "lock table {live} in access share mode")
        if self._expected:
            check_shape(self._api, [self._table], {self._table: self._expected})

    def _give_ids(self) -> None:
        """Set the default of `id`, so that new rows get ids that no live row has."""
        row = self._api.execute(
            "select attidentity, atthasdef from pg_attribute "
            "where attrelid = %s::regclass and attname = 'id'",
            [public(temp_name(self._table))],
        ).fetchone()
        if row is None:
            raise Fatal(f"the API's table {self._table} has no column id.")
        identity, has_default = row
        if not identity and not has_default:
            sequence = sql.Identifier("public", f"{temp_name(self._table)}_id_seq")
            self._execute(self._api, "create sequence {sequence} owned by {temp}.id", sequence=sequence)
            self._execute(
                self._api,
                "alter table {temp} alter id set default nextval({name})",
                name=sequence.as_string(self._api),
            )
        advance(self._api, self._table)

    # media tables

    def _copy_range(self, columns: list[Column], copied: Copied) -> None:
        """Copy the next range in one transaction, in parts if some of its records cannot be stored."""
        size = min(RANGE, self._limit - copied.rows) if self._limit else RANGE
        last = self._streams.last_key(copied.after, size)
        with self._api.transaction():
            self._hold()
            try:
                with self._api.transaction():
                    merges, refused = [self._copy_part(columns, copied.after, last)], Refusals()
            except REFUSED:
                merges, refused = self._copy_carefully(columns, copied, last)
            for merge in merges:
                self._count(copied, merge, refused)
            refused.note(self._api, copied)
            copied.after, copied.done = last, last is None or bool(self._limit and copied.rows >= self._limit)
            if copied.done:
                self._complete(copied)
            progress.note(self._api, copied)

    def _count(self, copied: Copied, merge: Merge, refused: Refusals) -> None:
        copied.rows += merge.copied
        copied.new += merge.found_new
        copied.deleted += merge.deleted
        for reason, identifier in merge.too_wide:
            refused.add(identifier, reason)

    def _complete(self, copied: Copied) -> None:
        """Apply the checks that need all records, in the transaction that marks the copy as complete."""
        leave_out_unreferenced(self._api, copied)
        if self._table == "audio":
            detach_sets(self._api)

    def _copy_part(self, columns: list[Column], after: UUID | None, last: UUID | None) -> Merge:
        """Copy the records between two keys."""
        return self._copy_within(columns, between(after, last))

    def _copy_within(self, columns: list[Column], within: sql.Composable) -> Merge:
        """Copy the records that match a condition on their identifier, which both databases evaluate."""
        own = ["id", *(c.name for c in columns if c.upstream is None)]
        shared = [c for c in columns if c.upstream is not None and c.name != "identifier"]
        streams = self._streams
        known = streams.own_columns(own, within)
        merge = Merge(known, streams.moderated(within), len(own) + len(shared) + 1, len(shared) + 1)
        taken, rows = [c.name for c in shared], streams.catalog_rows(shared, within)
        while not merge.done:
            streams.write(["identifier", *(own if known else ()), *taken], merge.rows(rows))
            streams.write(["identifier", *taken], merge.take_new())
        return merge

    def _copy_carefully(
        self, columns: list[Column], copied: Copied, last: UUID | None
    ) -> tuple[list[Merge], Refusals]:
        """Copy a range without the records that a database rejects, which are found by bisection."""
        keys = self._streams.keys(between(copied.after, last))
        merges, refused = [], Refusals()
        estimate = estimated_rows(self._upstream, self.source)
        allowed = allowed_rejects(max(estimate, copied.rows + len(keys)))
        parts = [(0, len(keys))]
        while parts:
            begin, end = parts.pop()
            bounds = keys[begin - 1] if begin else copied.after, keys[end - 1] if end < len(keys) else last
            try:
                with self._api.transaction():
                    merges.append(self._copy_part(columns, *bounds))
            except REFUSED as error:
                if end - begin <= 1:
                    self._check_table(keys[begin])
                    refused.add(str(keys[begin]), self._reason(columns, keys[begin], error))
                    refused.check(copied, allowed)
                else:
                    middle = (begin + end) // 2
                    parts += [(middle, end), (begin, middle)]
        return merges, refused

    def _check_table(self, key: UUID) -> None:
        """Raise Fatal if the table cannot store any new record, so the record itself is not at fault."""
        query = sql.SQL("select 1 from {} where identifier = %s").format(self._names["live"])
        if not self._api.execute(query, [key]).fetchone():
            check_defaults(self._api, self._table)

    def _reason(self, columns: list[Column], key: UUID, error: psycopg.Error) -> str:
        """Return why a record is rejected. It names the column even if the server's error does not."""
        for column in columns:
            if column.upstream:
                query = sql.SQL("select {}::{} from {} where identifier = %s").format(
                    sql.Identifier(column.upstream), sql.SQL(column.type), self._names["source"]
                )
                try:
                    with self._upstream.transaction():
                        self._upstream.execute(query, [key])
                except REFUSED as named:
                    return reason_of(named, column.name)
        return reason_of(error)

    def _execute(
        self, connection: Connection, statement: LiteralString, **values: Any
    ) -> psycopg.Cursor[Any]:
        parts = {
            key: value if isinstance(value, sql.Composable) else sql.Literal(value)
            for key, value in values.items()
        }
        return connection.execute(sql.SQL(statement).format(**self._names, **parts))
