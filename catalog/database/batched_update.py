"""Changing many rows of a media table in batches: resumable at any moment, never in the way of ingestion, each row once.

The rows are selected first, into a table of their own in the order they lie on disk. They are then changed group by group, and each group
in stripes: a page can reuse the room of a dead row version only after the transaction that left it has ended, so the same few pages are
walked several times, another part of their rows each time, with a commit between (see ARCHITECTURE.md, Batched updates). Where the next
stripe is stands in the row of `batched_update` that the stripe's own transaction writes.

A stripe never waits for a lock: when a row is locked, the whole stripe passes over such rows, and they are taken in later passes.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import sql

from catalog.database.statements import Update, plain
from catalog.ingestion.errors import Fatal, Interrupted, Refused, Retry

log = logging.getLogger(__name__)
Connection = psycopg.Connection[Any]
STRIPES = 8
PASSES = 30  # over rows that were locked; a second between two of them
QUERY_ID = r"^[a-z][a-z0-9_]{0,39}$"


class Progress(msgspec.Struct):
    """Where an update stands; counts are of all tries together."""

    query_id: str
    total: int
    next_row: int = 1
    stripe: int = 0
    batch_size: int = 0  # of the group at hand,
    stripes: int = 0  # and how many it is taken in
    updated: int = 0
    gone: int = 0
    waiting: int = 0  # rows that were locked, for a later pass

    @property
    def done(self) -> bool:
        return self.next_row > self.total


class State(msgspec.Struct, frozen=True):
    """Whose an update is, of which table, and where it stands."""

    run_id: str
    table: str
    progress: Progress


class Preview(msgspec.Struct, frozen=True):
    """What an update would do: its text, how many rows, and of a few the changed columns before and after."""

    statement: str
    rows: int
    sample: list[dict[str, Any]]


def preview(connection: Connection, update: Update, rows: int = 5) -> Preview:
    """Changes nothing: the sample is updated in a transaction that is rolled back. connection: in autocommit."""
    table, where = sql.Identifier(update.table), plain(update.condition)
    counted = connection.execute(sql.SQL("select count(*) from {} where {}").format(table, where)).fetchone()
    assert counted
    columns = sql.SQL(", ").join(map(sql.Identifier, update.columns))
    chosen = sql.SQL("select identifier from {} where {} limit {}").format(table, where, sql.Literal(rows))
    with connection.transaction(force_rollback=True):
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


class BatchedUpdate:
    """One update of one query_id. connection: to the catalog database, in autocommit, used by nothing else.

    run_id: of the DAG run; another run may go on only with `resume`. timeout: seconds that a stripe may take. progress: called after each
    stripe. should_stop: asked after each stripe.
    """

    def __init__(
        self, connection: Connection, query_id: str, run_id: str, update: Update, *, batch_size: int = 10_000, timeout: float = 3600,
        stripes: int = STRIPES, progress: Callable[[Progress], None] = lambda _: None, should_stop: Callable[[], bool] = lambda: False,
        pause: float = 1.0,
    ) -> None:  # fmt: skip
        self._connection, self._query_id, self._run_id, self._update = connection, query_id, run_id, update
        self._batch_size, self._timeout, self._stripes = max(1, batch_size), timeout, stripes
        self._report, self._should_stop, self._pause = progress, should_stop, pause
        self._group = (0, "", "")  # first row of the group at hand, where its rows begin and end on disk
        self._names: dict[str, sql.Composable] = {
            "table": sql.Identifier(update.table),
            "rows": sql.Identifier(f"{query_id}_rows_to_update"),
            "left": sql.Identifier(f"{query_id}_rows_left"),
            "set": plain(update.assignments),
            "where": plain(update.condition),
        }

    # before

    def claim(self, *, resume: bool, patience: float = 60) -> Progress | None:
        """Make this query_id ours; where it stands (also when this run has finished it), or None when nothing is selected yet.

        Raises Refused when another run works on it, or when rows of an earlier run are there and `resume` was not asked for.
        """
        ours = self._state()
        held = ours is not None and ours.run_id == self._run_id
        deadline = time.monotonic() + (
            patience if held else 0
        )  # the try before this one may not be quite dead
        while not self._lock():
            if time.monotonic() >= deadline:
                raise Refused(
                    f"query_id: another run of {self._query_id!r} is at work; wait for it, or choose another query_id."
                )
            time.sleep(0.5)
        state, there = self._state(), self._exists("rows")
        mine = state is not None and state.run_id == self._run_id
        if state and mine and not there and state.progress.done:
            return state.progress
        if not there:
            return None
        if not state or not (mine or resume):
            raise self._in_the_way()
        if state.table != self._update.table:
            raise Refused(
                f"table_name: the rows of {self._query_id!r} were selected from {state.table}; resume_update goes on with that."
            )
        self._execute(
            "update batched_update set run_id = {run}, statement = {text}, renewed_on = now() where query_id = {id}",
            run=self._run_id, text=self._update.text, id=self._query_id,
        )  # fmt: skip
        return state.progress

    def _in_the_way(self) -> Refused:
        table = f"{self._query_id}_rows_to_update"
        return Refused(
            f"query_id: the table {table} of an earlier run is there. Either go on with it (resume_update), or give it up: "
            f"DROP TABLE {table}; then run again."
        )

    def _lock(self) -> bool:
        row = self._execute(
            "select pg_try_advisory_lock(hashtext({key}))", key=f"batched update {self._query_id}"
        ).fetchone()
        return bool(row and row[0])

    def _state(self) -> State | None:
        row = self._execute(
            "select run_id, table_name, query_id, total, next_row, stripe, batch_size, stripes, updated, gone "
            "from batched_update where query_id = {id}",
            id=self._query_id,
        ).fetchone()
        return State(row[0], row[1], Progress(*row[2:])) if row else None

    def select(self, timeout: float = 24 * 3600) -> Progress:
        """The rows to change, into a table of their own; their number."""
        with self._connection.transaction():
            self._limits(timeout)
            self._execute("set local work_mem = '256MB'")
            self._execute("set local maintenance_work_mem = '256MB'")
            self._execute("drop table if exists {rows}, {left}")
            self._execute("""
                create table {rows} as
                select row_number() over (order by tid) as row_id, tid, row_identifier
                  from (select ctid as tid, identifier as row_identifier from {table} where {where}) selected
            """)
            self._execute("create table {left} (left_identifier uuid primary key)")
            self._execute("create index on {rows} (row_id)")
            counted = self._execute("select count(*) from {rows}").fetchone()
            assert counted
            progress = Progress(self._query_id, counted[0])
            self._execute(
                """
                insert into batched_update (query_id, run_id, table_name, statement, total, next_row, stripe, batch_size, stripes)
                values ({id}, {run}, {name}, {text}, {total}, 1, 0, 0, 0)
                on conflict (query_id) do update set run_id = excluded.run_id, table_name = excluded.table_name,
                    statement = excluded.statement, total = excluded.total, next_row = 1, stripe = 0, updated = 0, gone = 0,
                    started_on = now(), renewed_on = now()
                """,
                id=self._query_id, run=self._run_id, name=self._update.table, text=self._update.text, total=progress.total,
            )  # fmt: skip
        self._execute("analyze {rows}")
        return progress

    # the work

    def run(self, progress: Progress) -> Progress:
        """From where it stands to the end. Raises Interrupted when asked to stop, Retry when rows stayed locked, Fatal after a time-out."""
        if progress.done and not self._exists("rows"):  # finished by an earlier try
            return progress
        while not progress.done:
            self._stripe(progress)
            self._report(progress)
            if self._should_stop():
                raise Interrupted(
                    f"asked to stop at row {progress.next_row:,} of {progress.total:,}; the next try goes on there."
                )
        self._left_overs(progress)
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
        for patient in (False, True):
            try:
                with self._connection.transaction():
                    self._limits(self._timeout)
                    counted = (
                        self._passing_over(these, wanted)
                        if patient
                        else self._plainly(these, wanted, self._bounds(first, last))
                    )
                    updated, gone, left = counted
                    self._execute(
                        "update batched_update set next_row = {row}, stripe = {stripe}, batch_size = {size}, stripes = {stripes}, "
                        "updated = updated + {u}, gone = gone + {g}, renewed_on = now() where query_id = {id}",
                        row=following[0], stripe=following[1], size=progress.batch_size, stripes=stripes, u=updated, g=gone,
                        id=self._query_id,
                    )  # fmt: skip
            except psycopg.errors.LockNotAvailable:
                continue
            except psycopg.errors.QueryCanceled:
                raise Fatal(
                    f"a part of the batch at row {first:,} took longer than {self._timeout:g} s; raise update_timeout or lower batch_size. "
                    f"What was changed stays changed."
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

    def _plainly(self, these: sql.Composable, wanted: int, bounds: tuple[str, str]) -> tuple[int, int, int]:
        """(updated, gone, left). Raises LockNotAvailable as soon as a row is locked."""
        if not wanted:
            return 0, 0, 0
        low, high = bounds
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

    def _passing_over(self, these: sql.Composable, wanted: int) -> tuple[int, int, int]:
        """The same, without the rows that somebody has locked: those are noted for a later pass."""
        updated = self._execute("""
            with free as (
                select {table}.identifier as free_identifier from {table} join {rows} on {table}.identifier = {rows}.row_identifier
                 where {these} for no key update of {table} skip locked
            )
            update {table} set {set} from free where {table}.identifier = free_identifier
        """, these=these).rowcount  # fmt: skip
        left = self._execute("""
            insert into {left} select row_identifier from {rows} join {table} on {table}.identifier = row_identifier
             where {these} and {table}.xmin <> pg_current_xact_id()::xid on conflict do nothing
        """, these=these).rowcount  # fmt: skip
        return updated, wanted - updated - left, left

    def _left_overs(self, progress: Progress) -> None:
        """Rows that were locked, again and again, until none is left."""
        for number in range(PASSES):
            with self._connection.transaction():
                self._limits(self._timeout)
                updated = self._execute("""
                    with free as (
                        select {table}.identifier as free_identifier from {table} join {left} on identifier = left_identifier
                           for no key update of {table} skip locked
                    ), changed as (
                        update {table} set {set} from free where {table}.identifier = free_identifier returning free_identifier
                    )
                    delete from {left} using changed where left_identifier = free_identifier
                """).rowcount
                gone = self._execute("""
                    delete from {left} where not exists (select from {table} where identifier = left_identifier)
                """).rowcount
                self._execute(
                    "update batched_update set updated = updated + {u}, gone = gone + {g}, renewed_on = now() where query_id = {id}",
                    u=updated, g=gone, id=self._query_id,
                )  # fmt: skip
            counted = self._execute("select count(*) from {left}").fetchone()
            assert counted
            progress.updated, progress.gone, progress.waiting = (
                progress.updated + updated,
                progress.gone + gone,
                counted[0],
            )
            if not progress.waiting:
                return
            self._report(progress)
            log.info(
                "%s rows are locked by others; pass %d of %d.", f"{progress.waiting:,}", number + 1, PASSES
            )
            if self._should_stop():
                raise Interrupted(
                    f"asked to stop with {progress.waiting:,} locked rows to go; the next try goes on there."
                )
            time.sleep(self._pause)
        raise Retry(
            f"{progress.waiting:,} rows stayed locked by others in {PASSES} passes; all others are done. Clear this task to go on."
        )

    def finish(self) -> None:
        """Drop the selected rows; the query_id is free again. Its row stays, for people, and for a task that dies right after this."""
        with self._connection.transaction():
            self._execute("drop table if exists {rows}, {left}")
            self._execute(
                "update batched_update set next_row = total + 1, renewed_on = now() where query_id = {id}",
                id=self._query_id,
            )

    # statements

    def _limits(self, seconds: float) -> None:
        self._execute("select set_config('statement_timeout', {ms}, true)", ms=str(int(seconds * 1000)))

    def _exists(self, name: str) -> bool:
        found = self._execute(
            "select to_regclass({name})", name=f'public."{self._query_id}_{name}_to_update"'
        ).fetchone()
        return bool(found and found[0])

    def _execute(self, statement: LiteralString, **values: Any) -> psycopg.Cursor[Any]:
        """Runs a statement of this module. Values become literals, because the parts that people gave may hold percent signs."""
        parts = {
            key: value if isinstance(value, sql.Composable) else sql.Literal(value)
            for key, value in values.items()
        }
        return self._connection.execute(sql.SQL(statement).format(**self._names, **parts))


def _page(tid: str) -> int:
    """`(1234,5)` → 1234."""
    return int(str(tid)[1:].partition(",")[0])
