"""Batched updates of a media table: resumable, without blocking ingestion, each row once.

The rows are selected first (`selections.py`). They are then changed group by group, and each group in
stripes: a page can reuse the room of a dead row version only after the transaction that left it has ended, so
the same few pages are walked several times, another part of their rows each time, with a commit between (see
ARCHITECTURE.md, Batched updates).

A stripe never waits for a lock: when a row is locked, the whole stripe passes over such rows, and they are
taken in later passes. A row that somebody changes after the selection is changed all the same: it was
selected.
"""

from typing import Any, LiteralString

import msgspec
from psycopg import errors, sql

from catalog.core.errors import Retry
from catalog.core.session import Connection, settle
from catalog.database.selections import PASSES, QUERY_ID, Progress, Selection
from catalog.database.statements import SELECT, UPDATE, Update, plain, row_errors

__all__ = ["PASSES", "QUERY_ID", "BatchedUpdate", "Preview", "Progress", "preview"]
STRIPES = 8


class Preview(msgspec.Struct, frozen=True):
    """What an update would do: its text, how many rows, and of a few the changed columns before and after."""

    statement: str
    rows: int
    sample: list[dict[str, Any]]


def preview(connection: Connection, update: Update, rows: int = 5) -> Preview:
    """Return the statement, the number of rows, and a sample that is updated and rolled back."""
    settle(connection)
    table, where = sql.Identifier(update.table), plain(update.condition)
    with row_errors(SELECT):
        counted = connection.execute(
            sql.SQL("select count(*) from {} where {}").format(table, where)
        ).fetchone()
    assert counted
    columns = sql.SQL(", ").join(map(sql.Identifier, update.columns))
    chosen = sql.SQL("select identifier from {} where {} limit {}").format(table, where, sql.Literal(rows))
    with connection.transaction(force_rollback=True), row_errors(UPDATE):
        connection.execute("set local lock_timeout = '2s'")
        names = [i for (i,) in connection.execute(chosen)]
        these = sql.SQL("identifier = any({}::uuid[])").format(sql.Literal([str(n) for n in names]))
        select = sql.SQL(
            "select identifier, to_jsonb(s) - 'identifier' from (select identifier, {} from {} where {}) s"
        ).format(columns, table, these)
        before = dict(connection.execute(select).fetchall())
        connection.execute(
            sql.SQL("update {} set {} where {}").format(table, plain(update.assignments), these)
        )
        after = dict(connection.execute(select).fetchall())
    sample = [
        {"identifier": str(i), "before": before[i], "after": after.get(i)} for i in names if i in before
    ]
    return Preview(update.text, counted[0], sample)


class BatchedUpdate(Selection):
    """One update of one query_id; see `Selection`. Each stripe's transaction records where the next one begins.

    Args:
        connection: To the catalog database, in autocommit, used by nothing else.
        query_id: Names the selection.
        run_id: Of the DAG run.
        update: As `parse_update` made it.
        stripes: Parts of a group.
        options: Of Selection; timeout is that of a stripe.
    """

    too_long = "raise update_timeout or lower batch_size"

    def __init__(
        self,
        connection: Connection,
        query_id: str,
        run_id: str,
        update: Update,
        *,
        stripes: int = STRIPES,
        **options: Any,
    ) -> None:
        super().__init__(connection, query_id, run_id, update.table, update.text, update.condition, **options)
        self._stripes = stripes
        self._group = (0, "", "")  # first row of the group at hand, where its rows begin and end on disk
        self._names["set"] = plain(update.assignments)
        # The SET of an update stands beside these, so they are named as no table of anybody is.
        self._names |= {name: sql.Identifier(f"{query_id}_rows_{name}") for name in ("free", "changed")}

    # the work

    def run(self, progress: Progress) -> Progress:
        """Run to the end. Raises Interrupted (stopped), Retry (rows stayed locked), Fatal (timeout)."""
        if self.finished(progress):
            return progress
        advice = "What was changed stays changed. Correct it, then trigger with the same query_id and resume_update."
        with row_errors(UPDATE, advice):
            while not progress.done:
                self._stripe(progress)
                self._report(progress)
                self._stop_if_asked(progress)
            self._again(progress, self._left_overs)
        return progress

    def _stripe(self, progress: Progress) -> None:
        """One stripe of one group, in one transaction; where the next one is stands in it."""
        if (
            progress.stripe == 0
        ):  # a group that is begun keeps its shape, also when it is resumed with another conf
            progress.batch_size, progress.stripes = self._batch_size, min(self._stripes, self._batch_size)
        first, stripe, stripes = progress.next_row, progress.stripe, progress.stripes
        last = min(first + progress.batch_size, progress.total + 1)
        these = sql.SQL("row_id >= {} and row_id < {} and row_id % {} = {}").format(
            sql.Literal(first), sql.Literal(last), sql.Literal(stripes), sql.Literal(stripe)
        )
        wanted = len(range(first + (stripe - first) % stripes, last, stripes))
        following = (first, stripe + 1) if stripe + 1 < stripes else (last, 0)
        change = [self._plainly, self._passing_over]
        while True:
            try:
                with (
                    self._connection.transaction(),
                    self._explained(f"a part of the batch at row {first:,}", self._timeout),
                ):
                    self._limits(self._timeout)
                    updated, gone, left = change.pop(0)(these, wanted, first, last)
                    after = msgspec.structs.replace(progress, next_row=following[0], stripe=following[1])
                    self._note(after, updated, gone)
            except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
                if change:
                    continue
                raise Retry(
                    f"{self._table} is locked by others ({error.diag.message_primary}); the batch at row {first:,} is tried again later."
                ) from None
            break
        progress.next_row, progress.stripe = following
        progress.updated, progress.gone, progress.waiting = (
            progress.updated + updated,
            progress.gone + gone,
            progress.waiting + left,
        )

    def _bounds(self, first: int, last: int) -> tuple[str, str]:
        """The first and the last place on disk of a group's rows; the same for its stripes."""
        if self._group[0] != first:
            ends: LiteralString = (
                "select min(tid)::text, max(tid)::text from {rows} where row_id >= {a} and row_id < {b}"
            )
            found = self._execute(ends, a=first, b=last).fetchone()
            assert found
            self._group = (first, found[0], found[1])
        return self._group[1], self._group[2]

    def _plainly(self, these: sql.Composable, wanted: int, first: int, last: int) -> tuple[int, int, int]:
        """(updated, gone, left). Raises LockNotAvailable as soon as a row is locked."""
        if not wanted:
            return 0, 0, 0
        low, high = self._bounds(first, last)
        self._execute("set local lock_timeout = '1ms'")
        pages = _page(high) - _page(low) + 1
        dense = pages <= 2 * wanted * self._stripes and self._connection.info.server_version >= 140_000
        near: sql.Composable = sql.SQL("")
        if dense:  # a range of pages, read in order; otherwise by the identifier's index
            self._execute("set local enable_nestloop = off")
            self._execute("set local enable_mergejoin = off")
            near = sql.SQL("and {table}.ctid >= {low}::tid and {table}.ctid < {high}::tid").format(
                table=self._names["table"],
                low=sql.Literal(f"({_page(low)},0)"),
                high=sql.Literal(f"({_page(high) + 1},0)"),
            )
        change: LiteralString = "update {table} set {set} from {rows} where {table}.identifier = {rows}.row_identifier and {these} "
        updated = self._execute(change + "{near}", these=these, near=near).rowcount
        if updated < wanted:  # some have moved since they were selected, or were deleted
            self._execute("set local enable_nestloop = on")
            updated += self._execute(
                change + "and {table}.xmin <> pg_current_xact_id()::xid", these=these
            ).rowcount
        return updated, wanted - updated, 0

    def _passing_over(
        self, these: sql.Composable, wanted: int, _first: int, _last: int
    ) -> tuple[int, int, int]:
        """The same, without the rows that somebody has locked: those are noted for a later pass."""
        self._wait_for_the_table()
        updated = self._execute(
            """
            with {free} as (
                select {table}.identifier as free_identifier from {table} join {rows} on {table}.identifier = {rows}.row_identifier
                 where {these} for no key update of {table} skip locked
            )
            update {table} set {set} from {free} where {table}.identifier = free_identifier
        """,
            these=these,
        ).rowcount
        left = self._execute(
            """
            insert into {left} select row_identifier from {rows} join {table} on {table}.identifier = row_identifier
             where {these} and {table}.xmin <> pg_current_xact_id()::xid on conflict do nothing
        """,
            these=these,
        ).rowcount
        return updated, wanted - updated - left, left

    def _left_overs(self) -> tuple[int, int]:
        updated = self._execute("""
            with {free} as (
                select {table}.identifier as free_identifier from {table} join {left} on identifier = left_identifier
                   for no key update of {table} skip locked
            ), {changed} as (
                update {table} set {set} from {free} where {table}.identifier = free_identifier returning free_identifier
            )
            delete from {left} using {changed} where left_identifier = free_identifier
        """).rowcount
        gone = self._execute("""
            delete from {left} where not exists (select from {table} where identifier = left_identifier)
        """).rowcount
        return updated, gone


def _page(tid: str) -> int:
    """`(1234,5)` → 1234."""
    return int(str(tid)[1:].partition(",")[0])
