"""Deletion of records, which moves them to `deleted_<media>` in batches, and their restoration.

The records are selected once, in one statement (`selections.py`), so that exactly those records are moved
that a single DELETE would have deleted at that moment. A record that changes afterwards is moved as it is
then. A locked record is moved in a later pass.

The loader does not bring back records that `deleted_<media>` holds. If a record is deleted twice, that table
has it as it was the last time, with that date and reason. If it had another URL before, that one stays
deleted, too: `deleted_before` has it until the record is restored.

What left one table is compared with what has arrived in the other one: a trigger of an adopted table could
otherwise lose records, or leave them in both. Then the batch is rolled back.
"""

import logging
from abc import ABC, abstractmethod
from functools import partial
from typing import Any, LiteralString, Unpack
from uuid import UUID

import msgspec
from psycopg import errors, sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection, settle
from catalog.core.sql_files import trusted
from catalog.database.batch_job import PASSES, BatchJob, BatchOptions, Done
from catalog.database.selection_progress import Progress
from catalog.database.selections import key_of
from catalog.database.sql_files import sql_file
from catalog.database.statements import SELECT, row_errors
from catalog.database.suppression import refusing_indexes, suppressors

log = logging.getLogger(__name__)
SCORE = "standardized_popularity"


class DeletionPreview(msgspec.Struct, frozen=True):
    """Result of a dry run.

    Attributes:
        rows: Number of rows that would be deleted.
        providers: Number of rows by provider.
        sample: Identifier, provider, title and URL of a few rows.
    """

    rows: int
    providers: dict[str, int]
    sample: list[dict[str, Any]]


def preview(connection: Connection, table: str, condition: str, rows: int = 5) -> DeletionPreview:
    """Return what a deletion would do; changes nothing.

    Args:
        connection: Connection to the catalog database, in autocommit.
        table: The media table.
        condition: Result of `parse_condition`.
        rows: Number of rows in the sample.

    Raises:
        Fatal: The table of deleted media lacks columns.
    """
    settle(connection)
    require_same_columns(connection, table)
    with connection.transaction(force_rollback=True), row_errors(SELECT):
        connection.execute("set transaction isolation level repeatable read, read only")
        found = sql.SQL("(select identifier, provider, title, url from {} where {})").format(
            sql.Identifier(table), trusted(condition)
        )
        return _preview(connection, found, rows)


def require_same_columns(connection: Connection, table: str) -> None:
    """Check that the table of deleted media has every column of the media table, so that no value is lost.

    Args:
        connection: Connection to the catalog database.
        table: The media table.

    Raises:
        Fatal: Columns are missing; the message holds the statement that adds them.
    """
    rows = connection.execute(
        sql_file("missing_columns"), {"media": f"public.{table}", "deleted": f"public.deleted_{table}"}
    ).fetchall()
    if rows:
        missing = ", ".join(column for (column,) in rows)
        raise Fatal(
            f"deleted_{table} lacks columns of {table}, so deleted records would lose their values: "
            f"alter table deleted_{table} {missing}; then clear this task, or repeat the command."
        )


def _preview(connection: Connection, found: sql.Composable, rows: int) -> DeletionPreview:
    counted = connection.execute(
        sql.SQL("select provider, count(*) from {} found group by 1 order by 1").format(found)
    ).fetchall()
    sample = connection.execute(
        sql.SQL("select to_jsonb(few) from (select * from {} found limit {}) few").format(found, rows)
    ).fetchall()
    return DeletionPreview(sum(n for _, n in counted), dict(counted), [row for (row,) in sample])


class _Move(BatchJob, ABC):
    """Moves the selected rows from one table to another."""

    busy_message = "the same deletion or restoration is running ({}); wait for it."
    freed = 0  # URLs of earlier deletions that a restoration has made free for other records
    _MOVE: str  # file of the statement that moves the rows of `source` that are not locked
    _MISPLACED: LiteralString  # counts the rows of `gone` (column `id`) that are lost, or in both tables
    _STILL: LiteralString  # condition that a row of `source` (column `id`) has not been moved

    def run(self, progress: Progress) -> Progress:
        """Move the rows that are left.

        Args:
            progress: Result of `claim` or `select`; updated in place.

        Returns:
            The progress, with totals over all attempts.

        Raises:
            Interrupted: `should_stop` returned True; the next attempt resumes.
            Retry: Rows stayed locked.
            Fatal: A batch took too long or was cancelled.
        """
        if self.finished(progress):
            return progress
        found = self._connection.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"
            " and not attisdropped and attgenerated = '' order by attnum",
            [f"public.{self._table}"],
        )
        columns = [name for (name,) in found]
        require_same_columns(self._connection, self._table)
        self._names["columns"] = sql.SQL(", ").join(map(sql.Identifier, columns))
        self._names["values"] = sql.SQL(", ").join(map(self._value, columns))
        self._names["still"] = sql.SQL(self._STILL).format(**self._names)
        while not progress.done:
            self._batch(progress)
            self._report(progress)
            self._stop_if_asked(progress)
        self._retry_postponed(progress, self._move_postponed)
        return progress

    def _value(self, column: str) -> sql.Composable:
        """Return the value of a column in the moved row."""
        return sql.Identifier(column)

    def _batch(self, progress: Progress) -> None:
        progress.batch_size = self._batch_size
        first = progress.next_row
        last = min(first + self._batch_size, progress.total + 1)
        rows = sql.SQL("(select row_identifier as id from {} where row_id >= {} and row_id < {})").format(
            self._names["rows"], first, last
        )
        attempts = [partial(self._move_batch, rows, last - first)] * PASSES
        self._commit(progress, attempts, f"the batch at row {first:,}", next_row=last)

    def _move_batch(self, source: sql.Composable, wanted: int) -> Done:
        self._allow_table_lock_wait()
        moved = self._move(source)
        left = self._execute(
            "insert into {left} select id from {source} source where {still} on conflict do nothing",
            source=source,
        ).rowcount
        return Done(moved, wanted - moved - left, left)

    def _move_postponed(self) -> tuple[int, int]:
        moved = self._move(sql.SQL("(select left_identifier as id from {})").format(self._names["left"]))
        ended = self._execute(
            "delete from {left}"
            " where not exists (select from (select left_identifier as id) source where {still})"
        ).rowcount
        return moved, ended - moved

    def _move(self, source: sql.Composable) -> int:
        """Move the rows of `source` that are not locked; return their number."""
        [(moved, doubtful, *freed)] = self._execute(sql_file(self._MOVE), source=source).fetchall()
        if doubtful and (misplaced := self._number(self._MISPLACED, gone=_identifiers(doubtful))):
            raise Fatal(self._misplaced(misplaced))
        self.freed += sum(freed)
        return int(moved)

    @abstractmethod
    def _misplaced(self, number: int) -> str:
        """Return the message for rows that would be lost, or in both tables."""


def _identifiers(found: list[UUID]) -> sql.Composable:
    """Return identifiers as rows with the column `id`."""
    return sql.SQL("(select unnest({}::uuid[]) as id)").format(sql.Literal([str(name) for name in found]))


class Deletion(_Move):
    """The deletion of one run.

    Args:
        connection: Connection to the catalog database, in autocommit, used by nothing else.
        run_id: The run; clearing it does not delete other records than it selected.
        table: The media table.
        condition: Result of `parse_condition`.
        reason: Stored with each record; cut to 80 characters.
        options: See `BatchJob`.
    """

    exists_message = (
        "an earlier run with this id has selected rows by another condition, and did not finish: they are "
        "in the table {table}. Give up those that are left: DROP TABLE {table}; then clear this task. If "
        "they are to be deleted, too, trigger a run of its own with the earlier condition."
    )
    _change = "delete"
    _MOVE = "delete"
    _MISPLACED = (
        "select count(*) from {gone} gone"
        " where not exists (select from {deleted} d where d.identifier = gone.id)"
    )
    _STILL = "exists (select from {table} there where there.identifier = source.id)"

    def __init__(
        self,
        connection: Connection,
        run_id: str,
        table: str,
        condition: str,
        reason: str,
        **options: Unpack[BatchOptions],
    ) -> None:
        text = f"DELETE FROM {table} WHERE {condition}"  # noqa: S608 - written from a parse tree, and only shown
        super().__init__(connection, f"delete_{key_of(run_id)}", run_id, table, text, condition, **options)
        self._names |= {
            "deleted": sql.Identifier(f"deleted_{table}"),
            "media": sql.Literal(table),
            "reason": sql.Literal(reason[:80]),
        }

    def _move(self, source: sql.Composable) -> int:
        """Replace what is kept of earlier deletions of these rows, if there is anything."""
        try:
            with self._connection.transaction():
                return super()._move(source)
        except errors.UniqueViolation:
            log.info("Some of these records were deleted before; what is kept of them is replaced.")
        free = [name for (name,) in self._execute(sql_file("pick_free"), source=source)]
        others = self._execute(sql_file("forget_deleted"), source=_identifiers(free)).rowcount
        if others:
            log.info("%s had another URL then, which stays deleted; see deleted_before.", f"{others:,}")
        try:
            return super()._move(_identifiers(free))
        except errors.UniqueViolation as error:
            raise Fatal(
                f"deleted_{self._table} cannot keep a record: the index {error.diag.constraint_name}, which "
                f"is not the catalog's, allows no second one ({error.diag.message_detail}). Nothing of this "
                "batch is deleted. Drop the index, then clear this task."
            ) from None

    def _misplaced(self, number: int) -> str:
        names = suppressors(self._connection, f"deleted_{self._table}", "insert")
        return (
            f"{number:,} records would be lost: {names or 'something'} keeps them out of "
            f"deleted_{self._table}. Nothing of this batch is deleted. Drop or disable it, then clear this "
            "task."
        )

    def selected(self, rows: int = 5) -> DeletionPreview:
        """Return the selected rows that have not been deleted yet.

        Args:
            rows: Number of rows in the sample.

        Raises:
            Fatal: The table of deleted media lacks columns.
        """
        require_same_columns(self._connection, self._table)
        found = sql.SQL(
            "(select identifier, provider, title, url from {} join {} on identifier = row_identifier)"
        ).format(self._names["table"], self._names["rows"])
        return _preview(self._connection, found, rows)


def value_of_old_record(table: str, column: str) -> sql.Composable:
    """Return the value with which a record comes back that was away for a while.

    Its score is a new one, of the current constant: a refresh skips unchanged constants.

    Args:
        table: The media table.
        column: Name of the column.
    """
    if column != SCORE:
        return sql.Identifier(column)
    return sql.SQL("{}(provider, meta_data)").format(sql.Identifier(f"standardized_{table}_popularity"))


class Restoration(_Move):
    """Restores the records that a condition selects from `deleted_<media>`, with a new popularity score.

    URLs of earlier deletions of these records stay deleted no longer, so that other records may have them.
    A record whose key or URL is taken by now stays deleted and counts as missing. One that `check_links` had
    removed is still removed, and its file is checked again. A command that was stopped resumes when it is
    repeated.

    Args:
        connection: Connection to the catalog database, in autocommit, used by nothing else.
        table: The media table; the condition names `deleted_<media>` by this name.
        condition: Result of `parse_condition`.
        options: See `BatchJob`.
    """

    condition_field = "--where"
    selects_again = True  # a command has no new run
    _STILL = "exists (select from {deleted} d where d.identifier = source.id and {free})"
    _MOVE = "restore"
    _MISPLACED = (
        "select count(*) from {gone} gone where exists (select from {deleted} d where d.identifier = gone.id)"
    )

    def __init__(
        self, connection: Connection, table: str, condition: str, **options: Unpack[BatchOptions]
    ) -> None:
        deleted = f"deleted_{table}"
        text = f"RESTORE FROM {deleted} WHERE {condition}"
        super().__init__(
            connection,
            f"restore_{key_of(text)}",
            "catalog db restore",
            table,
            text,
            condition,
            exclusive=False,
            **options,
        )
        self._selected_table = deleted
        self._names |= {
            "deleted": sql.Identifier(deleted),
            "from": sql.SQL("{} as {}").format(sql.Identifier(deleted), sql.Identifier(table)),
            "media": sql.Literal(table),
        }
        self._names["free"] = sql.SQL(sql_file("place_is_free")).format(**self._names)

    def _suppressors(self) -> str:
        names = suppressors(self._connection, self._table, "insert")
        return names or refusing_indexes(self._connection, self._table)

    def _misplaced(self, number: int) -> str:
        names = suppressors(self._connection, self._selected_table, "delete")
        return (
            f"{number:,} records would be in {self._table} and in {self._selected_table}: "
            f"{names or 'something'} suppresses their deletion there. Nothing of this batch is restored. "
            "Drop or disable it, then repeat the command."
        )

    def _value(self, column: str) -> sql.Composable:
        return value_of_old_record(self._table, column)

    def count(self) -> int:
        """Return the number of records that the condition selects now."""
        with row_errors(self.condition_field):
            return self._number("select count(*) from {from} where {where}")


def restore(connection: Connection, table: str, condition: str, **options: Unpack[BatchOptions]) -> Progress:
    """Restore deleted records, or resume a restoration that was stopped. See `Restoration`."""
    job = Restoration(connection, table, condition, **options)
    progress = job.claim()
    if progress:
        log.info("Resuming a restoration of %s records that was stopped.", f"{progress.total:,}")
    progress = job.run(progress or job.select())
    job.finish(forget=True)
    progress.freed = job.freed
    return progress
