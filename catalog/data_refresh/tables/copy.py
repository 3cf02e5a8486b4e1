"""Copy of a table of the catalog to `temp_import_<table>` of the API database, beside the live table.

Rows stream from one database to the other as binary COPY, in ranges of pages. Several sessions share the
work: each takes one range after the other, and writes its rows and the progress in one transaction, so a
killed session loses one range. All read the same snapshot of the catalog.
"""

import logging
from collections.abc import Callable

from psycopg import sql

from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.core.media import MediaType
from catalog.core.queries import relation_exists
from catalog.core.session import Connection, settle
from catalog.data_refresh.tables import progress, ranges
from catalog.data_refresh.tables.audio_sets import copy_sets
from catalog.data_refresh.tables.building import make_table
from catalog.data_refresh.tables.changes import NONE, TooManyChanges, batch, find_written
from catalog.data_refresh.tables.columns import Column, api_columns, own_name, qualified_name, temp_name
from catalog.data_refresh.tables.key_groups import KeyComparison
from catalog.data_refresh.tables.own_columns import record_own_columns
from catalog.data_refresh.tables.progress import TableProgress
from catalog.data_refresh.tables.record_copy import RecordCopy
from catalog.data_refresh.tables.references import check_restricted, detach_sets, leave_out_unreferenced
from catalog.data_refresh.tables.rejects import REFUSED, RejectedRecords, check_rejects, take_back
from catalog.data_refresh.tables.sequences import advance
from catalog.data_refresh.tables.shape import Shape, check_shape, shape
from catalog.data_refresh.tables.snapshots import shared_snapshot
from catalog.database.pages import file_of
from catalog.database.row_versions import horizon

log = logging.getLogger(__name__)
MAX_MOVED_SHARE = 0.1  # share of the records that an interrupted copy copies again, instead of all
TABLES: dict[MediaType, tuple[str, ...]] = {"image": ("image",), "audio": ("audioset", "audio")}


class TableCopy(RecordCopy):
    """Copies one table of a refresh.

    Args:
        upstream: Connection to the catalog database, in autocommit.
        api: Connection to the API database, in autocommit, for exclusive use.
        table: Name of the live table.
        run_id: Identity of the refresh; the copy of another refresh is dropped.
        limit: Maximum number of rows to copy, for a small staging database; 0 for all.
        report: Called after each range.
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
        report: Callable[[TableProgress], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
        expected: Shape | None = None,
    ) -> None:
        super().__init__(upstream, api, table)
        self._run_id, self._limit = run_id, limit
        self._report, self._should_stop = report, should_stop
        self._expected = expected or {}  # otherwise the definition when the copy begins

    def run(self) -> TableProgress:
        """Copy the remaining rows, together with other sessions that call this for the same refresh.

        Returns:
            Progress of the copy; it is not done if other sessions are still copying.

        Raises:
            Interrupted: `should_stop` returned True; the next call resumes.
            Fatal: Too many records are rejected, or the live table has changed.
            Retry: Many of the catalog's rows have moved, so that the copy has to start over.
        """
        settle(self._upstream)
        settle(self._api)
        copied = self._start()
        if not copied.done:
            # While this session shares the lock, no other one can complete the copy, which drops the ranges.
            with progress.claimed(self._api, self._table, shared=True):
                copied = self._current()
                if not copied.done:
                    self._copy_ranges()
                    if ranges.left(self._api, self._table):
                        return self._current()
            with progress.claimed(self._api, self._table):
                try:
                    copied = self._finish()
                except TooManyChanges as error:
                    self._do("drop table {temp}, {progress}, {ranges}, {own}")
                    raise Retry(f"{error} since the copy began; it starts over.") from None
        check_rejects(copied)
        check_restricted(self._api, self._table)
        return copied

    def _start(self) -> TableProgress:
        """Return the progress of this run's copy, which another session may begin at the same moment.

        Raises:
            Retry: A session of another run still works on the table.
        """
        with progress.claimed(self._api, self._table, "begin"):
            if copied := self._resume():
                return copied
            with progress.claimed(self._api, self._table, patience=60):
                return self._begin()

    def _delete(self, condition: sql.Composable, copied: TableProgress) -> None:
        """Delete copied records."""
        query = """
            delete from {temp} t where {condition}
            returning not exists (select from {live} l where l.identifier = t.identifier)
        """
        deleted = self._api.execute(sql.SQL(query).format(condition=condition, **self._names)).fetchall()
        copied.rows -= len(deleted)
        copied.new -= sum(new for (new,) in deleted)

    def _resume(self) -> TableProgress | None:
        """Return the progress of this run's copy; None if there is none that can be continued."""
        state = progress.read(self._api, self._table)
        ours = (
            state is not None
            and state.run_id == self._run_id
            and relation_exists(self._api, temp_name(self._table))
        )
        if not ours or state is None:
            return None
        if not state.copied.done and state.copied.file not in (None, file_of(self._upstream, self._source)):
            return None
        may_lack = state.copied.done or state.shape["table"][""]["persistence"] == "u"
        if may_lack and (lost := progress.lost_rows(self._api, self._table)):
            log.warning("%s; the copy starts over", lost)
            return None
        self._expected = self._expected or state.shape
        self._hold()
        return state.copied

    def _begin(self) -> TableProgress:
        """Create an empty table like the live one, without indexes, and split the work into ranges.

        The tables of an earlier run are dropped. Audio sets are copied at once.
        """
        with self._api.transaction():
            self._hold()
            self._expected = shape(self._api, self._table)
            columns = api_columns(self._upstream, self._api, self._table)
            own = [column.name for column in columns if not column.upstream]
            copied = TableProgress(self._table, own=own, horizon=horizon(self._upstream))
            self._do("drop table if exists {temp}, {progress}, {ranges}, {own}, {changes}")
            make_table(self._api, self._table, temp_name(self._table), self._expected)
            progress.begin(self._api, copied, self._run_id, self._expected)
            self._give_ids()
            self._prepare(columns, copied)
        return copied

    def _prepare(self, columns: list[Column], copied: TableProgress) -> None:
        if self._table == "audioset":
            copy_sets(self._upstream, self._api, columns, copied)
            self._complete(copied)
            progress.note(self._api, copied)
        else:
            copied.file = file_of(self._upstream, self._source)
            parts = ranges.split(self._upstream, self._source, self._limit)
            if parts[0].by != "ctid":
                copied.file = None
            ranges.record(self._api, self._table, parts)
            record_own_columns(self._api, self._table, ["id", *copied.own])
            progress.note(self._api, copied)

    def _hold(self) -> None:
        """Lock the definition of the live table in this transaction. Raises Fatal if it has changed."""
        if relation_exists(self._api, self._table) and self._api.info.transaction_status:
            self._do("lock table {live} in access share mode")
        if self._expected:
            check_shape(self._api, [self._table], {self._table: self._expected})

    def _give_ids(self) -> None:
        """Set the default of `id`, so that new rows get ids that no live row has."""
        row = self._api.execute(
            "select attidentity, atthasdef from pg_attribute "
            "where attrelid = %s::regclass and attname = 'id'",
            [qualified_name(temp_name(self._table))],
        ).fetchone()
        if row is None:
            raise Fatal(f"the API's table {self._table} has no column id.")
        identity, has_default = row
        if not identity and not has_default:
            sequence = sql.Identifier("public", f"{temp_name(self._table)}_id_seq")
            self._do("create sequence {sequence} owned by {temp}.id", sequence=sequence)
            self._do(
                "alter table {temp} alter id set default nextval({name})",
                name=sql.Literal(sequence.as_string(self._api)),
            )
        advance(self._api, self._table)

    def _copy_ranges(self) -> None:
        """Copy one range after the other, until none is left."""
        columns = api_columns(self._upstream, self._api, self._table)
        with shared_snapshot(self._upstream, self._api, self._table) as snapshot:
            query = sql.SQL("lock table {} in access share mode").format(self._names["source"])
            self._upstream.execute(query)
            while copied := self._copy_range(columns, snapshot):
                self._report(copied)
                if self._should_stop():
                    raise Interrupted(
                        f"asked to stop after {copied.rows:,} rows; the next attempt resumes there."
                    )

    def _copy_range(self, columns: list[Column], snapshot: str) -> TableProgress | None:
        """Copy the next range in one transaction, in parts if some of its records cannot be stored."""
        with self._api.transaction():
            self._hold()
            copied = self._current()
            if (part := ranges.take(self._api, self._table)) is None:
                return None
            if copied.file not in (None, file_of(self._upstream, self._source)):
                raise Retry(f"the catalog's table {self._source} was rewritten; the copy starts over.")
            rejects = RejectedRecords()
            try:
                with self._api.transaction(), self._upstream.transaction():
                    merges = [self._copy_within(columns, part.condition, own_name(self._table))]
            except REFUSED:
                keys = self._streams.keys(part.condition)
                merges = self._copy_keys(columns, keys, own_name(self._table), copied, rejects)
            copied = self._current(lock=True)
            if snapshot not in copied.snapshots:
                copied.snapshots.append(snapshot)
            for merge in merges:
                self._count(copied, merge, rejects)
            rejects.note(self._api, copied)
            progress.note(self._api, copied)
        return copied

    def _current(self, *, lock: bool = False) -> TableProgress:
        """Return the progress of this run's copy. Raises Retry if another run has taken over."""
        state = progress.read(self._api, self._table, lock=lock)
        if state is None or state.run_id != self._run_id:
            raise Retry(f"another run has begun to copy {self._table}.")
        return state.copied

    def _complete(self, copied: TableProgress) -> None:
        """Apply the checks that need all records, in the transaction that marks the copy as complete."""
        leave_out_unreferenced(self._api, copied)
        if self._table == "audio":
            detach_sets(self._api)

    def _finish(self) -> TableProgress:
        """Complete the copy, unless another session has done so."""
        with self._api.transaction():
            self._hold()
            copied = self._current()
            if not copied.done:
                if len(copied.snapshots) > 1:
                    self._copy_moved(copied)
                self._complete(copied)
                copied.done = True
                self._do("drop table {ranges}, {own}")
                progress.note(self._api, copied)
        return copied

    def _copy_moved(self, copied: TableProgress) -> None:
        """Copy the records again that were written since the copy began, in one snapshot.

        The copy was interrupted, so its rows come from several snapshots. A record that moved to another page
        in between has been copied twice or not at all, and two records may have the same URL.
        """
        repeated = sql.SQL(
            "identifier in (select identifier from {temp} group by identifier having count(*) > 1)"
        ).format(**self._names)
        rejects = RejectedRecords()
        with self._upstream.transaction():
            self._upstream.execute("set transaction isolation level repeatable read, read only")
            most = int(MAX_MOVED_SHARE * copied.rows)
            moved = find_written(self._upstream, self._api, self._table, copied.horizon, most)
            log.info("%s records of %s are copied again, because they may have moved", moved, self._table)
            if self._limit:
                self._do(
                    "delete from {changes} c where not exists "
                    "(select from {temp} t where t.identifier = c.identifier)"
                )
            self._delete(
                sql.SQL("identifier in (select identifier from {changes})").format(**self._names), copied
            )
            self._delete(repeated, copied)  # and have been deleted from the catalog since
            columns = api_columns(self._upstream, self._api, self._table)
            last = None
            while keys := batch(self._api, self._table, last):
                take_back(self._api, copied, set(map(str, keys)))
                for merge in self._copy_keys(columns, keys, self._table, copied, rejects):
                    self._count(copied, merge, rejects)
                last = keys[-1]
            if not self._limit:
                self._delete_gone(copied)
        rejects.note(self._api, copied)

    def _delete_gone(self, copied: TableProgress) -> None:
        """Delete copied records that have been deleted from the catalog since.

        Their values may meanwhile belong to new records, which would be rejected otherwise.
        """
        self._do("truncate {changes}")
        comparison = KeyComparison(
            self._upstream,
            self._api,
            self._table,
            self._names["changes"],
            known="known",
            edited=NONE,
            here=self._names["temp"],
        )
        comparison.read_catalog(NONE)
        comparison.run()
        self._delete(
            sql.SQL("identifier in (select identifier from {changes})").format(**self._names), copied
        )
