"""Work on selected rows in batches, each with a commit; what updates, deletions and restorations share.

The transaction of a batch stores where the next one starts. A batch never waits long for a locked row: such
rows are postponed to later passes. If rows stay as they are although nobody has locked them, the job says
what suppresses the change.
"""

import logging
import time
from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, TypedDict

import msgspec
from psycopg import errors, sql

from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.core.session import Connection, limit_statements
from catalog.database.locks import set_lock_timeout
from catalog.database.selection_progress import Progress
from catalog.database.selections import Selection
from catalog.database.suppression import Change, lock_free_rows, suppressors
from catalog.database.timeouts import explain_timeout, require_timeout

log = logging.getLogger(__name__)
LOCK_TIMEOUT = 60  # seconds to wait for a table lock
PASSES = 30  # passes over rows that were locked, one per second
PATIENCE = 3  # passes before anything but locks is suspected; most locks are short
LOCKED = (errors.LockNotAvailable, errors.DeadlockDetected)


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


class BatchOptions(TypedDict, total=False):
    """Options of all batch jobs; see `BatchJob`."""

    batch_size: int
    timeout: float
    progress: Callable[[Progress], None]
    should_stop: Callable[[], bool]
    pause: float


class BatchJob(Selection, ABC):
    """A selection whose rows are processed in batches.

    Args:
        connection: Connection to the catalog database, in autocommit, used by nothing else.
        query_id: See `Selection`, as the following ones.
        run_id: The run.
        table: The media table.
        statement: Statement that is applied to the rows.
        condition: Result of `parse_condition`.
        batch_size: Rows per batch.
        timeout: Maximum seconds of a statement of a batch.
        progress: Called after each batch or stripe.
        should_stop: Called after each batch or stripe; True ends the work there.
        pause: Seconds between two passes over rows that were locked.
        exclusive: See `Selection`.

    Raises:
        Refused: The timeout is out of PostgreSQL's range.
    """

    timeout_advice = "lower batch_size"
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
        require_timeout(timeout)
        super().__init__(connection, query_id, run_id, table, statement, condition, exclusive=exclusive)
        self._selected_table = table
        self._batch_size, self._timeout, self._pause = max(1, batch_size), timeout, pause
        self._report, self._should_stop = progress, should_stop

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
                    with self._connection.transaction(), self._explain_timeout(what):
                        limit_statements(self._connection, self._timeout)
                        done = attempt()
                        after = msgspec.structs.replace(progress, next_row=next_row, stripe=stripe)
                        self._progress_row.save(after, done.updated, done.missing)
                except LOCKED:
                    if number == len(attempts):
                        raise
                else:
                    break
        progress.next_row, progress.stripe = next_row, stripe
        progress.updated += done.updated
        progress.missing += done.missing
        progress.waiting += done.postponed

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
            with self._connection.transaction(), self._explain_timeout("a pass over locked rows"):
                limit_statements(self._connection, self._timeout)
                self._allow_table_lock_wait()
                if least:
                    left = sql.SQL("select left_identifier from {}").format(self._names["left"])
                    free = lock_free_rows(self._connection, self._selected_table, left)
                if free is None or free >= least:
                    updated, missing = work()
                    self._progress_row.save(progress, updated, missing)
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

    @contextmanager
    def _explain_lock(self, consequence: str) -> Iterator[None]:
        """Convert a lock that another session holds to Retry."""
        try:
            yield
        except LOCKED as error:
            cause = error.diag.message_primary
            raise Retry(f"{self._table} is locked by other sessions ({cause}){consequence}") from None

    def _explain_timeout(self, what: str, advice: str = "") -> AbstractContextManager[None]:
        """Convert the cancellation of a statement of this job to Fatal; see `explain_timeout`."""
        return explain_timeout(what, self._timeout, advice or self.timeout_advice)

    def _allow_table_lock_wait(self) -> None:
        """Set the `lock_timeout` for table locks. Row locks are never waited for."""
        set_lock_timeout(self._connection, LOCK_TIMEOUT, in_transaction=True)
