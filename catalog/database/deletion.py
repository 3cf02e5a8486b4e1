"""Deletion of records into `deleted_<media>`, in batches of one transaction each, and their restoration.

The records are selected once, in one statement, before anything is moved (`selections.py`), so what is moved
is what one plain DELETE would have deleted at that moment. A record that somebody changes afterwards is moved
all the same, as it is then: it was selected. One that somebody has locked is taken in a later pass.

A record is deleted once: the loader does not bring back what `deleted_<media>` holds, and a second deletion
keeps the first row.
"""

import logging
from typing import Any, LiteralString

import msgspec
from psycopg import errors, sql

from catalog.core.errors import Fatal, Retry
from catalog.core.session import Connection, settle
from catalog.database.selections import PASSES, Progress, Selection, key_of
from catalog.database.statements import SELECT, plain, row_errors

log = logging.getLogger(__name__)
SCORE = "standardized_popularity"


class DeletionPreview(msgspec.Struct, frozen=True):
    """What a deletion would do: how many rows, of which providers, and a few of them."""

    rows: int
    providers: dict[str, int]
    sample: list[dict[str, Any]]


def preview(connection: Connection, table: str, condition: str, rows: int = 5) -> DeletionPreview:
    """What a deletion would do now; changes nothing.

    Args:
        connection: To the catalog database, in autocommit.
        table: The media table.
        condition: As `parse_condition` wrote it.
        rows: In the sample.
    """
    settle(connection)
    require_same_columns(connection, table)
    with connection.transaction(force_rollback=True), row_errors(SELECT):
        connection.execute("set transaction isolation level repeatable read, read only")
        found = sql.SQL("(select identifier, provider, title, url from {} where {})").format(
            sql.Identifier(table), plain(condition)
        )
        return _shown(connection, found, rows)


def require_same_columns(connection: Connection, table: str) -> None:
    """Check that the table of deleted media has every column of a media table, or a value would be lost.

    Raises:
        Fatal: It lacks some; says how they are added.
    """
    rows = connection.execute(
        """
        select format('add column %%I %%s', a.attname, format_type(a.atttypid, a.atttypmod)) from pg_attribute a
         where a.attrelid = %(media)s::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
           and not exists (select from pg_attribute d where d.attrelid = %(deleted)s::regclass
                              and d.attname = a.attname and not d.attisdropped)
         order by a.attnum
        """,
        {"media": f"public.{table}", "deleted": f"public.deleted_{table}"},
    ).fetchall()
    if rows:
        missing = ", ".join(column for (column,) in rows)
        raise Fatal(
            f"deleted_{table} lacks columns of {table}, so deleted records would lose their values: "
            f"alter table deleted_{table} {missing}; then clear this task, or repeat the command."
        )


def _shown(connection: Connection, found: sql.Composable, rows: int) -> DeletionPreview:
    counted = connection.execute(
        sql.SQL("select provider, count(*) from {} found group by 1 order by 1").format(found)
    ).fetchall()
    sample = connection.execute(
        sql.SQL("select to_jsonb(few) from (select * from {} found limit {}) few").format(found, rows)
    ).fetchall()
    return DeletionPreview(sum(n for _, n in counted), dict(counted), [row for (row,) in sample])


class _Move(Selection):
    """Rows that go from one table to another, once each."""

    busy = "the same deletion or restoration is at work already ({}); wait for it."
    _MOVE: LiteralString  # those of `source` that are free; selects their number
    _STILL: LiteralString  # the condition under which one of `source` (its column `id`) is still to be moved

    def run(self, progress: Progress) -> Progress:
        """From where it stands to the end.

        Raises:
            Interrupted: When asked to stop; the next try goes on.
            Retry: When rows stayed locked.
            Fatal: When a batch took too long, or was cancelled by somebody.
        """
        if self.finished(progress):
            return progress
        found = self._connection.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = '' "
            "order by attnum",
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
        self._again(progress, self._left_overs)
        return progress

    def _value(self, column: str) -> sql.Composable:
        """What the row that is moved has in a column afterwards."""
        return sql.Identifier(column)

    def _batch(self, progress: Progress) -> None:
        progress.batch_size = self._batch_size
        first = progress.next_row
        last = min(first + self._batch_size, progress.total + 1)
        for attempt in range(PASSES):
            try:
                with (
                    self._connection.transaction(),
                    self._explained(f"the batch at row {first:,}", self._timeout),
                ):
                    self._limits(self._timeout)
                    self._wait_for_the_table()
                    self._names["source"] = sql.SQL(
                        "(select row_identifier as id from {} where row_id >= {} and row_id < {})"
                    ).format(self._names["rows"], first, last)
                    moved = self._number(self._MOVE)
                    left = self._execute(
                        "insert into {left} select id from {source} source where {still} on conflict do nothing"
                    ).rowcount
                    gone = last - first - moved - left
                    self._note(msgspec.structs.replace(progress, next_row=last), moved, gone)
            except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
                if attempt + 1 < PASSES:
                    continue
                raise Retry(
                    f"{self._table} is locked by others ({error.diag.message_primary}); the batch at row {first:,} is tried again later."
                ) from None
            break
        progress.next_row, progress.updated, progress.gone = (
            last,
            progress.updated + moved,
            progress.gone + gone,
        )
        progress.waiting += left

    def _left_overs(self) -> tuple[int, int]:
        self._names["source"] = sql.SQL("(select left_identifier as id from {})").format(self._names["left"])
        moved = self._number(self._MOVE)
        ended = self._execute("""
            delete from {left} where not exists (select from (select left_identifier as id) source where {still})
        """).rowcount
        return moved, ended - moved

    def _number(self, statement: LiteralString) -> int:
        row = self._execute(statement).fetchone()
        assert row
        return int(row[0])


class Deletion(_Move):
    """The deletion of one run.

    Args:
        connection: To the catalog database, in autocommit, used by nothing else.
        run_id: Of the run; it deletes its selection once, whatever is cleared.
        table: The media table.
        condition: As `parse_condition` wrote it.
        reason: Stored with each record, 80 characters of it.
        options: Of Selection.
    """

    # Copied and deleted in one statement, so that what is deleted is exactly what is kept.
    _MOVE = """
        with picked as (
            select {table}.identifier as picked_identifier from {table} join {source} source on {table}.identifier = source.id
               for update of {table} skip locked
        ), gone as (
            delete from {table} using picked where {table}.identifier = picked_identifier returning {table}.*
        ), kept as (
            insert into {deleted} ({columns}, deleted_on, deleted_reason) select {columns}, now(), {reason} from gone on conflict do nothing
        )
        select count(*) from gone
    """
    _STILL = "exists (select from {table} there where there.identifier = source.id)"

    def __init__(
        self, connection: Connection, run_id: str, table: str, condition: str, reason: str, **options: Any
    ) -> None:
        statement = f"DELETE FROM {table} WHERE {condition}"  # noqa: S608 - written from a parse tree, and only shown
        super().__init__(
            connection, f"delete_{key_of(run_id)}", run_id, table, statement, condition, **options
        )
        self._names |= {"deleted": sql.Identifier(f"deleted_{table}"), "reason": sql.Literal(reason[:80])}

    def selected(self, rows: int = 5) -> DeletionPreview:
        """Return the selected rows that are still to be deleted. Raises Fatal if they cannot be kept."""
        require_same_columns(self._connection, self._table)
        found = sql.SQL(
            "(select identifier, provider, title, url from {} join {} on identifier = row_identifier)"
        ).format(self._names["table"], self._names["rows"])
        return _shown(self._connection, found, rows)


class Restoration(_Move):
    """Restores the records that a condition selects from `deleted_<media>`, except for their scores.

    A record whose place was taken meanwhile (the same key or URL) stays deleted; it counts as gone. The same
    command goes on where one that was stopped stands.

    Args:
        connection: To the catalog database, in autocommit, used by nothing else.
        table: The media table; the condition names `deleted_<media>` by this name.
        condition: As `parse_condition` wrote it.
        options: Of Selection.
    """

    selects = "--where"
    _FREE: LiteralString = """
        not exists (select from {table} taken where taken.url = d.url or taken.identifier = d.identifier
                       or (taken.provider = d.provider and md5(taken.foreign_identifier) = md5(d.foreign_identifier)))
    """
    _STILL = "exists (select from {deleted} d where d.identifier = source.id and {free})"
    _MOVE = """
        with picked as (
            select d.identifier as picked_identifier from {deleted} d join {source} source on d.identifier = source.id
             where {free} for update of d skip locked
        ), back as (
            insert into {table} ({columns}) overriding system value
            select {values} from {deleted} join picked on {deleted}.identifier = picked_identifier
            on conflict do nothing returning identifier
        ), gone as (
            delete from {deleted} using back where {deleted}.identifier = back.identifier returning 1
        )
        select count(*) from gone
    """

    def __init__(self, connection: Connection, table: str, condition: str, **options: Any) -> None:
        deleted = f"deleted_{table}"
        statement = f"RESTORE FROM {deleted} WHERE {condition}"
        super().__init__(
            connection,
            f"restore_{key_of(statement)}",
            "catalog db restore",
            table,
            statement,
            condition,
            exclusive=False,
            **options,
        )
        self._names |= {
            "deleted": sql.Identifier(deleted),
            "from": sql.SQL("{} as {}").format(sql.Identifier(deleted), sql.Identifier(table)),
        }
        self._names["free"] = sql.SQL(self._FREE).format(**self._names)

    def _value(self, column: str) -> sql.Composable:
        """The score is that of today's constant, or nobody would look at it before the constant changes."""
        if column != SCORE:
            return sql.Identifier(column)
        return sql.SQL("{}(provider, meta_data)").format(
            sql.Identifier(f"standardized_{self._table}_popularity")
        )

    def count(self) -> int:
        """How many records the condition selects now."""
        with row_errors(self.selects):
            return self._number("select count(*) from {from} where {where}")


def restore(connection: Connection, table: str, condition: str, **options: Any) -> Progress:
    """Bring records back; what came of it. See Restoration."""
    job = Restoration(connection, table, condition, **options)
    progress = job.claim()
    if progress:
        log.info("Goes on with a restoration that was stopped, of %s records.", f"{progress.total:,}")
    progress = job.run(progress or job.select())
    job.finish(forget=True)
    return progress
