"""Rows that are selected once, in one statement, and then updated, deleted or restored in batches.

The selection is a table, `<query_id>_rows_to_update`, ordered as the rows are stored on disk. The progress is
a row of `batched_update`, which the transaction of each batch updates. So after a kill or a clear, the work
resumes with exactly the rows that one snapshot found, and no row is processed twice.

A run applies its statement once: clearing a finished run does nothing. A new run with the id of a finished
one applies it again. `abandoned_selections` drops the rows of runs that nobody resumes.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, NamedTuple, TypedDict

import msgspec
import psycopg
from psycopg import errors, sql

from catalog.core.errors import Fatal, Interrupted, Refused, Retry
from catalog.core.queries import relation_exists
from catalog.core.session import Connection, limit_statements, raise_memory, settle
from catalog.core.sql_files import trusted
from catalog.database.abandoned_selections import drop_given_up
from catalog.database.earlier_runs import rename_selections
from catalog.database.estimates import correct_estimate
from catalog.database.locks import set_lock_timeout
from catalog.database.selection_lock import SelectionLock
from catalog.database.sql_files import sql_file
from catalog.database.statements import SELECT, row_errors
from catalog.database.suppression import Change, lock_free_rows, suppressors

log = logging.getLogger(__name__)
LOCK_TIMEOUT = 60  # seconds to wait for a table lock
PASSES = 30  # passes over rows that were locked, one per second
PATIENCE = 3  # passes before anything but locks is suspected; most locks are short
LONGEST = 2_147_483  # seconds; PostgreSQL stores a timeout in milliseconds, as an int4
SELECTION_TIMEOUT = 24 * 3600.0  # seconds
LOCKED = (errors.LockNotAvailable, errors.DeadlockDetected)


class Progress(msgspec.Struct):
    """Progress of the work on a selection, over all attempts.

    Attributes:
        query_id: Name of the selection.
        total: Number of selected rows.
        next_row: First row of the current batch.
        stripe: Next stripe of the current batch.
        batch_size: Rows of the current batch.
        stripes: Stripes of the current batch.
        updated: Rows that were updated, deleted or restored.
        missing: Rows that no longer exist.
        waiting: Locked rows, postponed to a later pass.
        freed: URLs of earlier deletions that this attempt of a restoration has made free for other records.
    """

    query_id: str
    total: int
    next_row: int = 1
    stripe: int = 0
    batch_size: int = 0
    stripes: int = 0
    updated: int = 0
    missing: int = 0
    waiting: int = 0
    freed: int = 0

    @property
    def done(self) -> bool:
        return self.next_row > self.total

    @property
    def begun(self) -> bool:
        return self.next_row > 1 or self.stripe > 0

    def looked_at(self) -> int:
        """Return the number of rows that were dealt with, also those that need no change.

        >>> Progress("q", 90, next_row=41, stripe=2, batch_size=20, stripes=4, updated=9).looked_at()
        50
        """
        within = self.batch_size * self.stripe // self.stripes if self.stripe else 0
        reached = min(self.next_row - 1 + within, self.total) - self.waiting
        return max(reached, self.updated + self.missing)


class State(msgspec.Struct, frozen=True):
    """A row of `batched_update`: run, table, statement and progress of a selection."""

    run_id: str
    table: str
    statement: str
    progress: Progress


class Done(NamedTuple):
    """What was done with some rows.

    Attributes:
        updated: Number of rows that were updated, deleted or restored.
        missing: Number of rows that no longer exist.
        postponed: Number of locked rows, for a later pass.
    """

    updated: int
    missing: int
    postponed: int


class SelectionOptions(TypedDict, total=False):
    """Options of the jobs on a selection; see `Selection`."""

    batch_size: int
    timeout: float
    progress: Callable[[Progress], None]
    should_stop: Callable[[], bool]
    pause: float


class Selection:
    """The selected rows of one query_id.

    Args:
        connection: Connection to the catalog database, in autocommit, used by nothing else.
        query_id: Prefix of the tables' names; see QUERY_ID.
        run_id: The run that works on the selection. Another run may continue it only with `resume`.
        table: The media table.
        statement: Statement that is applied to the rows, for display and to distinguish updates.
        condition: Result of `parse_condition`.
        batch_size: Rows per batch.
        timeout: Maximum seconds of a statement of a batch.
        progress: Called after each batch or stripe.
        should_stop: Called after each batch or stripe; True ends the work there.
        pause: Seconds between two passes over rows that were locked.
        exclusive: True if another session of this run can only be an earlier attempt of the same task, which
            may be ended.

    Raises:
        Refused: The timeout is out of PostgreSQL's range.
    """

    condition_field = SELECT  # where the user gave the condition
    timeout_advice = "lower batch_size"
    busy_message = "query_id: another run of {} is at work; wait for it, or choose another query_id."
    exists_message = (
        "query_id: the table {table} of an earlier run exists. Either continue with it (resume_update), "
        "or give it up: DROP TABLE {table}; then run again."
    )
    _change: Change = "update"  # what happens to the rows

    def __init__(
        self,
        connection: Connection,
        query_id: str,
        run_id: str,
        table: str,
        statement: str,
        condition: str,
        *,
        batch_size: int = 10_000,
        timeout: float = 3600,
        progress: Callable[[Progress], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
        pause: float = 1.0,
        exclusive: bool = True,
    ) -> None:
        if not 0.001 <= timeout <= LONGEST:
            raise Refused(f"update_timeout: {timeout:g} s; it must be between 0.001 and {LONGEST} s.")
        self._connection, self._query_id, self._run_id = connection, query_id, run_id
        self._table, self._statement = table, statement
        self._selected_table = table
        self._batch_size, self._timeout, self._pause = max(1, batch_size), timeout, pause
        self._report, self._should_stop = progress, should_stop
        self._lock = SelectionLock(
            connection, query_id, run_id, exclusive=exclusive, busy=self.busy_message.format(repr(query_id))
        )
        self._names: dict[str, sql.Composable] = {
            "table": sql.Identifier(table),
            "from": sql.Identifier(table),
            "rows": sql.Identifier(f"{query_id}_rows_to_update"),
            "left": sql.Identifier(f"{query_id}_rows_left"),
            "where": trusted(condition),
        }
        settle(connection)

    # ownership

    def claim(
        self, *, resume: bool = False, replace: bool = False, first: bool = False, max_wait: float = 10
    ) -> Progress | None:
        """Lock the query_id for this run.

        Args:
            resume: Continue with the rows of an earlier run.
            replace: Discard the rows of an earlier run; for statements that can be applied again.
            first: This run has not worked on the selection before, so what is finished under its id is of an
                earlier run. Rows that such a run has left are continued.
            max_wait: Seconds to wait for an earlier attempt of this run before its session is ended.

        Returns:
            The progress, also if this run has finished; None if nothing is selected yet.

        Raises:
            Refused: Another run works on the selection, rows of an earlier run exist, or this run's rows were
                dropped.
            Retry: The session of an earlier attempt does not end.
        """
        self._lock.take(max_wait)
        if first:
            self._rename_earlier_run()
        state, exists = self._state(self._query_id), self._has_rows()
        if state and self._is_own(state):
            if exists or state.progress.done:
                return state.progress
            if state.progress.begun:
                raise self._given_up(state, "were dropped")
            return None
        # A later run that uses the query_id keeps this run's row under a key that no query_id has.
        former = self._state(f"{self._query_id}, {self._run_id}")
        if former and self._is_own(former):
            if former.progress.done:
                return former.progress
            if former.progress.begun:
                raise self._given_up(former, "were taken over or given up by a later run")
        if not exists or replace:
            return None
        if not state or not resume:
            raise self._rows_exist()
        if state.table != self._table:
            raise Refused(
                f"table_name: the rows of {self._query_id!r} were selected from {state.table}; "
                "resume_update continues with that table."
            )
        with self._connection.transaction():
            self._keep_former()
            self._execute(
                "update batched_update set run_id = {run}, statement = {text}, renewed_on = now()"
                " where query_id = {id}",
                run=self._run_id,
                text=self._statement,
                id=self._query_id,
            )
        return state.progress

    def _rename_earlier_run(self) -> None:
        """Keep what an earlier run with this id has finished, or lost, under another name."""
        state = self._state(self._query_id)
        if state and state.run_id == self._run_id and not state.progress.done and self._has_rows():
            log.info("An earlier run with this id has left rows, which this run continues.")
            return
        with self._connection.transaction():
            if state and state.run_id == self._run_id:
                self._execute("drop table if exists {rows}, {left}")
            rename_selections(self._connection, self._query_id, self._run_id)

    def _is_own(self, state: State) -> bool:
        return (state.run_id, state.statement) == (self._run_id, self._statement)

    def _given_up(self, state: State, how: str) -> Refused:
        done = state.progress
        return Refused(
            f"query_id: the rows that this run had selected {how}; "
            f"{done.updated:,} of {done.total:,} were done. Trigger a new run, which selects the rows again."
        )

    def _rows_exist(self) -> Refused:
        table = f"{self._query_id}_rows_to_update"
        return Refused(self.exists_message.format(table=table))

    # progress

    def _state(self, query_id: str) -> State | None:
        row = self._execute(
            "select run_id, table_name, statement, total, next_row, stripe, batch_size, stripes,"
            " updated, gone from batched_update where query_id = {id}",
            id=query_id,
        ).fetchone()
        return State(row[0], row[1], row[2], Progress(self._query_id, *row[3:])) if row else None

    def _keep_former(self) -> None:
        """Keep the row of an earlier run, so that clearing that run does not repeat its work."""
        columns: LiteralString = (
            "run_id, table_name, statement, total, next_row, stripe, batch_size, stripes, updated, gone, "
            "started_on, renewed_on"
        )
        self._execute(
            "insert into batched_update (query_id, {columns})"
            " select query_id || ', ' || run_id, {columns} from batched_update"
            " where query_id = {id} and run_id <> {run}"
            " on conflict (query_id) do update set ({columns}) = (select {excluded})",
            columns=sql.SQL(columns),
            id=self._query_id,
            run=self._run_id,
            excluded=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in columns.split(", ")),
        )

    # selecting

    def select(self, timeout: float = SELECTION_TIMEOUT) -> Progress:
        """Select the rows into a table, in one statement, and drop abandoned selections.

        Args:
            timeout: Maximum seconds of the selection.

        Returns:
            The progress at the start.

        Raises:
            Fatal: The selection took too long or was cancelled, or the condition fails for a row.
        """
        drop_given_up(self._connection)
        correct_estimate(self._connection, self._table)
        with (
            self._connection.transaction(),
            row_errors(self.condition_field, "Nothing is selected."),
            self._explain_timeout("the selection", timeout, "narrow the condition"),
        ):
            limit_statements(self._connection, timeout)
            raise_memory(self._connection, "work_mem", "256MB")
            raise_memory(self._connection, "maintenance_work_mem", "256MB")
            self._execute("drop table if exists {rows}, {left}")
            self._execute(sql_file("select_rows"))
            self._execute("create table {left} (left_identifier uuid primary key)")
            self._execute("create index on {rows} (row_id)")
            progress = Progress(self._query_id, self._number("select count(*) from {rows}"))
            self._keep_former()
            self._execute(
                sql_file("begin_progress"),
                id=self._query_id,
                run=self._run_id,
                name=self._table,
                text=self._statement,
                total=progress.total,
            )
        self._execute("analyze {rows}")
        return progress

    def finish(self, *, forget: bool = False) -> None:
        """Drop the selected rows; the query_id can be used again.

        Args:
            forget: Delete the stored progress, too. Usually it stays, as a record, and for a run that is
                cleared.
        """
        with self._connection.transaction():
            self._execute("drop table if exists {rows}, {left}")
            self._execute(
                "delete from batched_update where query_id = {id}"
                if forget
                else "update batched_update set next_row = total + 1, renewed_on = now()"
                " where query_id = {id}",
                id=self._query_id,
            )

    def finished(self, progress: Progress) -> bool:
        """Return whether an earlier attempt has finished the work and dropped the rows."""
        return progress.done and not self._has_rows()

    # working

    def _commit(
        self,
        progress: Progress,
        attempts: Sequence[Callable[[], Done]],
        what: str,
        next_row: int,
        stripe: int = 0,
    ) -> None:
        """Process some rows and store the progress, in one transaction.

        Args:
            progress: Updated in place.
            attempts: Functions that process the rows; the next one is called if a lock prevents one.
            what: The rows, for messages.
            next_row: First row of the batch that follows.
            stripe: Its next stripe.

        Raises:
            Retry: A lock has prevented all attempts.
        """
        with self._explain_lock(f"; the batch at row {progress.next_row:,} will be retried later."):
            for number, attempt in enumerate(attempts, start=1):
                try:
                    with self._connection.transaction(), self._explain_timeout(what, self._timeout):
                        limit_statements(self._connection, self._timeout)
                        done = attempt()
                        after = msgspec.structs.replace(progress, next_row=next_row, stripe=stripe)
                        self._save_progress(after, done.updated, done.missing)
                except LOCKED:
                    if number == len(attempts):
                        raise
                else:
                    break
        progress.next_row, progress.stripe = next_row, stripe
        progress.updated += done.updated
        progress.missing += done.missing
        progress.waiting += done.postponed

    def _save_progress(self, progress: Progress, updated: int, missing: int) -> None:
        """Store the progress; to be called in the transaction that did the work."""
        self._execute(
            "update batched_update set next_row = {row}, stripe = {stripe}, batch_size = {size},"
            " stripes = {stripes}, updated = updated + {updated}, gone = gone + {missing},"
            " renewed_on = now() where query_id = {id}",
            row=progress.next_row,
            stripe=progress.stripe,
            size=progress.batch_size,
            stripes=progress.stripes,
            updated=updated,
            missing=missing,
            id=self._query_id,
        )

    def _retry_postponed(self, progress: Progress, work: Callable[[], tuple[int, int]]) -> None:
        """Process the rows that were locked, in several passes, until none is left.

        Args:
            progress: Updated in place.
            work: Processes the rows of `left` that are free now, and removes them; returns the numbers of
                processed rows and of rows that no longer exist.
        """
        for number in range(1, PASSES + 1):
            processed = self._pass(progress, work)
            if not progress.waiting:
                return
            self._report(progress)
            log.info(
                "%s rows are locked by other sessions; pass %d of %d.",
                f"{progress.waiting:,}",
                number,
                PASSES,
            )
            if self._should_stop():
                raise Interrupted(
                    f"stopped on request with {progress.waiting:,} locked rows left; "
                    "the next attempt resumes."
                )
            if (number >= PATIENCE and processed == 0) or number == PASSES:
                self._require_change(progress, work, least=1 if number == PASSES else progress.waiting)
                if not progress.waiting:
                    return
            if number < PASSES:
                time.sleep(self._pause)
        raise Retry(
            f"{progress.waiting:,} rows stayed locked by other sessions in {PASSES} passes; "
            "all other rows are done."
        )

    def _pass(self, progress: Progress, work: Callable[[], tuple[int, int]], least: int = 0) -> int | None:
        """Process the postponed rows that are free.

        Args:
            progress: Updated in place.
            work: See `_retry_postponed`.
            least: If at least this number of rows is free, one of them must be processed; 0 for any result.
                The rows are locked before, because otherwise another session may lock and release them while
                this one looks at them.

        Returns:
            The number of processed rows; None if a lock of a table has prevented the pass.
        """
        updated = missing = 0
        free = None
        try:
            with (
                self._connection.transaction(),
                self._explain_timeout("a pass over locked rows", self._timeout),
            ):
                limit_statements(self._connection, self._timeout)
                self._allow_table_lock_wait()
                if least:
                    left = sql.SQL("select left_identifier from {}").format(self._names["left"])
                    free = lock_free_rows(self._connection, self._selected_table, left)
                if free is None or free >= least:
                    updated, missing = work()
                    self._save_progress(progress, updated, missing)
        except LOCKED:
            return None
        progress.updated, progress.missing = progress.updated + updated, progress.missing + missing
        progress.waiting = self._number("select count(*) from {left}")
        if free and free >= least and not updated + missing:
            raise Fatal(
                f"{free:,} rows of {self._selected_table} are not locked, but they stay as they are: "
                f"{self._suppressors()} suppresses the change. All other rows are done. Exclude these rows, "
                "or change the table."
            )
        return updated + missing

    def _require_change(self, progress: Progress, work: Callable[[], tuple[int, int]], least: int) -> None:
        """Raise Fatal if at least this number of postponed rows are free, and something leaves them alone."""
        if self._suppressors():
            self._pass(progress, work, least)

    def _suppressors(self) -> str:
        """Name what may leave rows as they are; "" if there is nothing."""
        return suppressors(self._connection, self._table, self._change)

    def _stop_if_asked(self, progress: Progress) -> None:
        if self._should_stop():
            raise Interrupted(
                f"stopped on request at row {progress.next_row:,} of {progress.total:,}; "
                "the next attempt resumes there."
            )

    # statements

    @contextmanager
    def _explain_lock(self, consequence: str) -> Iterator[None]:
        """Convert a lock that another session holds to Retry."""
        try:
            yield
        except LOCKED as error:
            cause = error.diag.message_primary
            raise Retry(f"{self._table} is locked by other sessions ({cause}){consequence}") from None

    @contextmanager
    def _explain_timeout(self, what: str, seconds: float, advice: str = "") -> Iterator[None]:
        """Convert a cancelled statement to Fatal, and tell a timeout from a cancellation by its duration.

        The server's message is localized, so it cannot be used for that.
        """
        began = time.monotonic()
        try:
            yield
        except errors.QueryCanceled:
            kept = "Rows that were changed stay changed."
            if time.monotonic() - began < int(seconds * 1000) / 1000:
                raise Fatal(f"{what} was cancelled by another session (pg_cancel_backend). {kept}") from None
            raise Fatal(
                f"{what} took longer than {seconds:g} s; {advice or self.timeout_advice}. {kept}"
            ) from None

    def _allow_table_lock_wait(self) -> None:
        """Set the `lock_timeout` for table locks. Row locks are never waited for."""
        set_lock_timeout(self._connection, LOCK_TIMEOUT, in_transaction=True)

    def _has_rows(self) -> bool:
        return relation_exists(self._connection, f"{self._query_id}_rows_to_update")

    def _number(self, statement: LiteralString, **values: Any) -> int:
        """Return the number that a statement counts."""
        [(number,)] = self._execute(statement, **values).fetchall()
        return int(number)

    def _execute(self, statement: LiteralString, **values: Any) -> psycopg.Cursor[Any]:
        """Execute a statement with literals, because user-written parts may hold percent signs."""
        parts = {
            key: value if isinstance(value, sql.Composable) else sql.Literal(value)
            for key, value in values.items()
        }
        return self._connection.execute(sql.SQL(statement).format(**{**self._names, **parts}))


def key_of(*parts: str) -> str:
    """Return a digest of strings, as part of a query_id."""
    return hashlib.md5("\n".join(parts).encode(), usedforsecurity=False).hexdigest()[:20]
