"""Batched updates of a media table: resumable, each row exactly once, without blocking ingestion.

The rows are selected first (`selections.py`), then updated group by group. A group is updated in several
stripes, each with a commit and each with other rows of the same few pages: PostgreSQL can reuse the space of
a dead row version only after the transaction that left it has ended (see ARCHITECTURE.md, Batched updates).

A stripe never waits for a row lock: it skips locked rows, which are updated in later passes. A row that
changes after the selection is updated all the same.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, LiteralString, NamedTuple, Unpack

import msgspec
from psycopg import sql

from catalog.core.queries import value
from catalog.core.session import Connection, limit_statements, settle
from catalog.core.sql_files import trusted
from catalog.database.batch_job import BatchJob, BatchOptions, Done
from catalog.database.pages import reads_ranges
from catalog.database.selection_progress import Progress
from catalog.database.sql_files import sql_file
from catalog.database.statements import SELECT, UPDATE, Update, row_errors
from catalog.database.suppression import suppressors
from catalog.database.update_trial import changed_columns, require_effect

STRIPES = 8
_DIGITS = 40  # of a number that a preview shows


class Stripe(NamedTuple):
    """Rows of a group that are updated in one transaction.

    Attributes:
        condition: The condition that selects them.
        wanted: Their number.
        first: First row of the group.
        last: First row of the next group.
    """

    condition: sql.Composable
    wanted: int
    first: int
    last: int


Attempt = Callable[[Stripe], Done]
"""Updates the rows of a stripe that are there and not locked."""


def _number(text: str) -> int | float | str:
    """Return a number of a row for people; one with very many digits is the beginning of its text."""
    if len(text) > _DIGITS:
        return f"{text[:_DIGITS]}…"
    return int(text) if text.lstrip("-").isdigit() else float(text)


# PostgreSQL's numbers have up to 131,072 digits before the point; Python refuses those with more than 4,300.
_SHOWN = json.JSONDecoder(parse_int=_number, parse_float=_number)


class Preview(msgspec.Struct, frozen=True):
    """Result of a dry run.

    Attributes:
        statement: The whole statement.
        rows: Number of rows that it would update.
        sample: The changed columns of a few rows, `before` and `after`, with their `identifier`.
    """

    statement: str
    rows: int
    sample: list[dict[str, Any]]


def preview(connection: Connection, update: Update, rows: int = 5) -> Preview:
    """Return what an update would do; the sample rows are updated and rolled back.

    Args:
        connection: Connection to the catalog database, in autocommit.
        update: The update.
        rows: Number of rows in the sample.
    """
    settle(connection)
    table, where = sql.Identifier(update.table), trusted(update.condition)
    with row_errors(SELECT):
        number = value(connection, sql.SQL("select count(*) from {} where {}").format(table, where))
    columns = sql.SQL(", ").join(map(sql.Identifier, update.columns))
    chosen = sql.SQL("select identifier from {} where {} limit {}").format(table, where, sql.Literal(rows))
    with connection.transaction(force_rollback=True), row_errors(UPDATE):
        connection.execute("set local lock_timeout = '2s'")
        names = [i for (i,) in connection.execute(chosen)]
        these = sql.SQL("identifier = any({}::uuid[])").format(sql.Literal([str(n) for n in names]))
        select = sql.SQL(
            "select identifier, (to_jsonb(s) - 'identifier')::text from"
            " (select identifier, {} from {} where {}) s"
        ).format(columns, table, these)

        def shown() -> dict[Any, Any]:
            return {i: _SHOWN.decode(row) for i, row in connection.execute(select)}

        before = shown()
        connection.execute(
            sql.SQL("update {} set {} where {}").format(table, trusted(update.assignments), these)
        )
        after = shown()
    sample = [
        {"identifier": str(i), "before": before[i], "after": after.get(i)} for i in names if i in before
    ]
    return Preview(update.text, number, sample)


class StripedUpdate(BatchJob, ABC):
    """An update in stripes, each of which stores its progress in its own transaction; see `BatchJob`.

    Args:
        connection: Connection to the catalog database, in autocommit, used by nothing else.
        query_id: Name of the selection.
        run_id: The DAG run.
        table: The media table.
        statement: See `Selection`.
        condition: Result of `parse_condition`.
        stripes: Number of stripes per group.
        options: See `BatchJob`; `timeout` limits a stripe.
    """

    timeout_advice = "raise update_timeout or lower batch_size"
    assignments_field = UPDATE  # where the user gave the assignments
    row_advice = "Correct it, then trigger with the same query_id and resume_update."  # when a row fails

    def __init__(
        self,
        connection: Connection,
        query_id: str,
        run_id: str,
        table: str,
        statement: str,
        condition: str,
        *,
        stripes: int = STRIPES,
        **options: Unpack[BatchOptions],
    ) -> None:
        super().__init__(connection, query_id, run_id, table, statement, condition, **options)
        self._stripes = stripes

    def run(self, progress: Progress) -> Progress:
        """Update the rows that are left.

        Args:
            progress: Result of `claim` or `select`; updated in place.

        Returns:
            The progress, with totals over all attempts.

        Raises:
            Interrupted: `should_stop` returned True; the next attempt resumes.
            Retry: Rows stayed locked.
            Fatal: A row cannot be updated, a stripe took too long or was cancelled, or a trigger changes all
                values back.
        """
        if self.finished(progress):
            return progress
        with row_errors(self.assignments_field, f"Rows that were changed stay changed. {self.row_advice}"):
            if not progress.begun:
                self._try(progress)
            while not progress.done:
                self._stripe(progress)
                self._report(progress)
                self._stop_if_asked(progress)
            self._retry_postponed(progress, self._update_postponed)
        return progress

    def _try(self, progress: Progress) -> None:
        """Try the update before anything is changed; nothing by default."""

    def _stripe(self, progress: Progress) -> None:
        """Update one stripe and store the progress, in one transaction."""
        if progress.stripe == 0:  # a group that has begun keeps its size, even if the conf has changed
            progress.batch_size, progress.stripes = self._batch_size, min(self._stripes, self._batch_size)
        first, stripe, stripes = progress.next_row, progress.stripe, progress.stripes
        last = min(first + progress.batch_size, progress.total + 1)
        condition = sql.SQL("row_id >= {} and row_id < {} and row_id % {} = {}").format(
            sql.Literal(first), sql.Literal(last), sql.Literal(stripes), sql.Literal(stripe)
        )
        rows = Stripe(condition, len(range(first + (stripe - first) % stripes, last, stripes)), first, last)
        following = (first, stripe + 1) if stripe + 1 < stripes else (last, 0)
        self._commit(
            progress,
            [partial(attempt, rows) for attempt in self._attempts()],
            f"part of the batch at row {first:,}",
            *following,
        )

    @abstractmethod
    def _attempts(self) -> tuple[Attempt, ...]:
        """Return the ways to update a stripe; the next one is tried if a lock prevents one."""

    @abstractmethod
    def _update_postponed(self) -> tuple[int, int]:
        """Update the rows of `left` that are free; return the numbers of updated and of missing rows."""


class BatchedUpdate(StripedUpdate):
    """The update of one query_id by one statement; see `StripedUpdate`.

    Args:
        connection: Connection to the catalog database, in autocommit, used by nothing else.
        query_id: Name of the selection.
        run_id: The DAG run.
        update: Result of `parse_update`.
        stripes: Number of stripes per group.
        options: See `StripedUpdate`.
    """

    def __init__(
        self,
        connection: Connection,
        query_id: str,
        run_id: str,
        update: Update,
        *,
        stripes: int = STRIPES,
        **options: Unpack[BatchOptions],
    ) -> None:
        super().__init__(
            connection,
            query_id,
            run_id,
            update.table,
            update.text,
            update.condition,
            stripes=stripes,
            **options,
        )
        self._update = update
        self._group = (0, "", "")  # first row of the current group, its first and last place on disk
        self._names["set"] = trusted(update.assignments)
        # A user-written SET is in the same statement, so these names must not be those of a table.
        self._names |= {name: sql.Identifier(f"{query_id}_rows_{name}") for name in ("free", "changed")}

    def _try(self, progress: Progress) -> None:
        names = suppressors(self._connection, self._table, "update")
        if not (names and changed_columns(self._update) and progress.total):
            return
        trial = "the trial of the update on a few rows"
        consequence = (
            f", so the update could not be tried on a few rows, as it has {names}; it will be retried later."
        )
        with (
            self._explain_lock(consequence),
            self._connection.transaction(force_rollback=True),
            self._explain_timeout(trial, "raise update_timeout"),
        ):
            limit_statements(self._connection, self._timeout)
            self._allow_table_lock_wait()
            require_effect(self._connection, self._update, names, self._names["rows"], progress.total)

    def _attempts(self) -> tuple[Attempt, ...]:
        return self._update_stripe, self._update_unlocked

    def _bounds(self, first: int, last: int) -> tuple[str, str]:
        """Return the first and the last place on disk (ctid) of a group's rows; cached for its stripes."""
        if self._group[0] != first:
            ends: LiteralString = (
                "select min(tid)::text, max(tid)::text from {rows} where row_id >= {a} and row_id < {b}"
            )
            [(low, high)] = self._execute(ends, a=first, b=last).fetchall()
            self._group = (first, low, high)
        return self._group[1], self._group[2]

    def _update_stripe(self, stripe: Stripe) -> Done:
        """Update all rows of a stripe. Raises LockNotAvailable as soon as a row is locked."""
        these, wanted = stripe.condition, stripe.wanted
        if not wanted:
            return Done(0, 0, 0)
        low, high = self._bounds(stripe.first, stripe.last)
        self._execute("set local lock_timeout = '1ms'")
        pages = _page(high) - _page(low) + 1
        dense = pages <= 2 * wanted * self._stripes and reads_ranges(self._connection)
        near: sql.Composable = sql.SQL("")
        if dense:  # read a range of pages in order; otherwise use the index on the identifier
            self._execute("set local enable_nestloop = off")
            self._execute("set local enable_mergejoin = off")
            near = sql.SQL("and {table}.ctid >= {low}::tid and {table}.ctid < {high}::tid").format(
                table=self._names["table"],
                low=sql.Literal(f"({_page(low)},0)"),
                high=sql.Literal(f"({_page(high) + 1},0)"),
            )
        change: LiteralString = (
            "update {table} set {set} from {rows}"
            " where {table}.identifier = {rows}.row_identifier and {these} "
        )
        updated = self._execute(change + "{near}", these=these, near=near).rowcount
        if updated < wanted:  # some rows have moved or were deleted since they were selected
            self._execute("set local enable_nestloop = on")
            updated += self._execute(
                change + "and {table}.xmin <> pg_current_xact_id()::xid", these=these
            ).rowcount
        left = 0
        if updated < wanted:  # a trigger may have suppressed the change of some; the others were deleted
            left = self._execute(sql_file("postpone_locked"), these=these).rowcount
        return Done(updated, wanted - updated - left, left)

    def _update_unlocked(self, stripe: Stripe) -> Done:
        """Do the same, but postpone the rows that are locked."""
        self._allow_table_lock_wait()
        updated = self._execute(sql_file("update_unlocked"), these=stripe.condition).rowcount
        left = self._execute(sql_file("postpone_locked"), these=stripe.condition).rowcount
        return Done(updated, stripe.wanted - updated - left, left)

    def _update_postponed(self) -> tuple[int, int]:
        updated = self._execute(sql_file("update_left")).rowcount
        missing = self._execute(
            "delete from {left} where not exists (select from {table} where identifier = left_identifier)"
        ).rowcount
        return updated, missing


def _page(tid: str) -> int:
    """Return the page of a ctid: 1234 for `(1234,5)`."""
    return int(str(tid)[1:].partition(",")[0])
