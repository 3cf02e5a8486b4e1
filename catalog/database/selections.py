"""Rows that are selected once, in one statement, and then updated, deleted or restored.

The selection is a table, `<query_id>_rows_to_update`, in the order the rows lie on disk. Where the work
stands is a row of `batched_update`, which the transaction that does a part of the work writes. So whatever is
killed or cleared, the work goes on with exactly the rows that one snapshot found, and none is taken twice.

A run applies its statement once. When it is cleared after it has finished, it finds that and does nothing.
Rows of runs that were given up are dropped after GIVEN_UP_AFTER days.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString, NamedTuple

import msgspec
import psycopg
from psycopg import errors, sql

from catalog.core.errors import Fatal, Interrupted, Refused, Retry
from catalog.core.session import Connection, settle
from catalog.database.statements import SELECT, plain, row_errors

log = logging.getLogger(__name__)
LOCK_PATIENCE = 60  # seconds
PASSES = 30  # over rows that were locked; a second between two of them
QUERY_ID = r"^[a-z][a-z0-9_]{0,39}$"
GIVEN_UP_AFTER = 30  # days since a selection was last worked on
LONGEST = 2_147_483  # seconds; PostgreSQL counts a time-out in milliseconds, as an int4
SELECTION_TIMEOUT = 24 * 3600.0  # seconds


class Progress(msgspec.Struct):
    """Where the work stands; counts are of all tries together."""

    query_id: str
    total: int
    next_row: int = 1
    stripe: int = 0
    batch_size: int = 0  # of the group at hand,
    stripes: int = 0  # and how many it is taken in
    updated: int = 0
    gone: int = 0  # rows that were not there any more
    waiting: int = 0  # rows that were locked, for a later pass

    @property
    def done(self) -> bool:
        return self.next_row > self.total

    @property
    def begun(self) -> bool:
        return self.next_row > 1 or self.stripe > 0


class State(msgspec.Struct, frozen=True):
    """Whose a selection is, of which table, for which statement, and where it stands."""

    run_id: str
    table: str
    statement: str
    progress: Progress


class Holder(NamedTuple):
    """The session that works on a selection."""

    pid: int
    started: Any
    ours: bool  # it is of the same run


class Selection:
    """The rows of one query_id.

    Args:
        connection: To the catalog database, in autocommit, used by nothing else.
        query_id: Names the tables; see QUERY_ID.
        run_id: Of the run that works on it. Another run may go on only with `resume`.
        table: The media table.
        statement: What is done to the rows, for people, and to tell one update from another.
        condition: As `parse_condition` wrote it.
        batch_size: Rows in a batch.
        timeout: Seconds that a statement of a batch may take.
        progress: Called after each batch or stripe.
        should_stop: Asked after each batch or stripe.
        pause: Seconds between two passes over rows that were locked.
        exclusive: Whether a session of this run that is still there is an earlier try of the same task, which
            may be ended.

    Raises:
        Refused: For a timeout that PostgreSQL cannot keep.
    """

    selects = SELECT  # what the condition is called where a person gave it
    too_long = "lower batch_size"  # what to do when a batch takes too long
    busy = "query_id: another run of {} is at work; wait for it, or choose another query_id."

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
            raise Refused(f"update_timeout: {timeout:g} s; it must lie between 0.001 and {LONGEST} s.")
        self._connection, self._query_id, self._run_id = connection, query_id, run_id
        self._table, self._statement = table, statement
        self._batch_size, self._timeout, self._pause = max(1, batch_size), timeout, pause
        self._report, self._should_stop, self._exclusive = progress, should_stop, exclusive
        self._names: dict[str, sql.Composable] = {
            "table": sql.Identifier(table),
            "from": sql.Identifier(table),
            "rows": sql.Identifier(f"{query_id}_rows_to_update"),
            "left": sql.Identifier(f"{query_id}_rows_left"),
            "where": plain(condition),
        }
        settle(connection)

    # whose it is

    def claim(self, *, resume: bool = False, replace: bool = False, patience: float = 10) -> Progress | None:
        """Make this query_id ours.

        Args:
            resume: Go on with the rows of an earlier run.
            replace: Give the rows of an earlier run up; for statements that may be applied again.
            patience: Seconds to wait for an earlier try of this run before its session is ended.

        Returns:
            Where the work stands, also when this run has finished it; None when nothing is selected yet.

        Raises:
            Refused: When another run works on it, when rows of an earlier run are there, or when this run's
                rows are gone.
            Retry: When the session of an earlier try does not end.
        """
        self._take_lock(patience)
        state, there = self._state(self._query_id), self._exists("rows")
        if state and self._is_ours(state):
            if there or state.progress.done:
                return state.progress
            if state.progress.begun:
                raise self._given_up(state, "were dropped")
            return None
        former = self._state(self._former(self._run_id))
        if former and self._is_ours(former):
            if former.progress.done:
                return former.progress
            if former.progress.begun:
                raise self._given_up(former, "were taken over or given up by a later run")
        if not there or replace:
            return None
        if not state or not resume:
            raise self._in_the_way()
        if state.table != self._table:
            raise Refused(
                f"table_name: the rows of {self._query_id!r} were selected from {state.table}; resume_update goes on with that."
            )
        with self._connection.transaction():
            self._keep_former()
            self._execute(
                "update batched_update set run_id = {run}, statement = {text}, renewed_on = now() where query_id = {id}",
                run=self._run_id,
                text=self._statement,
                id=self._query_id,
            )
        return state.progress

    def _is_ours(self, state: State) -> bool:
        return (state.run_id, state.statement) == (self._run_id, self._statement)

    def _given_up(self, state: State, how: str) -> Refused:
        done = state.progress
        return Refused(
            f"query_id: the rows that this run had selected {how}; {done.updated:,} of {done.total:,} were done. "
            "Trigger a new run: it selects anew."
        )

    def _in_the_way(self) -> Refused:
        table = f"{self._query_id}_rows_to_update"
        return Refused(
            f"query_id: the table {table} of an earlier run is there. Either go on with it (resume_update), or give it up: "
            f"DROP TABLE {table}; then run again."
        )

    def _take_lock(self, patience: float) -> None:
        """One session at a time.

        An earlier try of this run may be dead while the server still works for it: it is waited for, then
        ended.
        """
        self._execute("select pg_advisory_lock_shared({family}, {run})", **self._mark())
        began = time.monotonic()
        deadline, ended = began + patience, False
        while not self._locked():
            holder = self._holder()
            theirs = holder and not (self._exclusive and holder.ours)
            if theirs and time.monotonic() >= began + min(patience, 1):  # one that has ended is gone by then
                raise Refused(self.busy.format(repr(self._query_id)))
            if time.monotonic() >= deadline:
                if ended:
                    raise Retry(
                        f"the session of an earlier try does not end ({holder}); clear this task later."
                    )
                if holder:
                    log.warning("Ends the session of an earlier try, process %s of the server.", holder.pid)
                    self._end(holder)
                deadline, ended = time.monotonic() + max(patience, 60), True
            time.sleep(0.1)

    def _locked(self) -> bool:
        row = self._execute(
            "select pg_try_advisory_lock(hashtext({key}))", key=self._key(self._query_id)
        ).fetchone()
        return bool(row and row[0])

    @staticmethod
    def _key(query_id: str) -> str:
        return f"batched update {query_id}"

    def _mark(self) -> dict[str, sql.Composable]:
        """A second lock, shared, says of which run a session is."""
        family, run = (
            sql.SQL("hashtext({})").format(text) for text in (self._key(self._query_id), self._run_id)
        )
        return {"family": family, "run": run}

    def _holder(self) -> Holder | None:
        row = self._execute(
            """
            with held as (
                select pid, objsubid, (classid::bigint << 32) | objid::bigint as key from pg_locks
                 where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())
            )
            select a.pid, a.backend_start,
                   exists (select from held m where m.pid = a.pid and m.objsubid = 2
                              and m.key = ({family}::bigint << 32) | ({run}::bigint & 4294967295))
              from held join pg_stat_activity a using (pid) where objsubid = 1 and key = {family}::bigint
            """,
            **self._mark(),
        ).fetchone()
        return Holder(*row) if row else None

    def _end(self, holder: Holder) -> None:
        """Exactly that session: its number may be another one's by now."""
        self._execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid = {pid} and backend_start = {started}",
            pid=holder.pid,
            started=holder.started,
        )

    # where it stands

    def _state(self, query_id: str) -> State | None:
        row = self._execute(
            "select run_id, table_name, statement, total, next_row, stripe, batch_size, stripes, updated, gone "
            "from batched_update where query_id = {id}",
            id=query_id,
        ).fetchone()
        return State(row[0], row[1], row[2], Progress(self._query_id, *row[3:])) if row else None

    def _former(self, run_id: str) -> str:
        """Where a run's row is kept when a later run uses the query_id. No query_id looks like that."""
        return f"{self._query_id}, {run_id}"

    def _keep_former(self) -> None:
        """What an earlier run had done stays known, so that clearing that run does not do it again."""
        columns: LiteralString = (
            "run_id, table_name, statement, total, next_row, stripe, batch_size, stripes, updated, gone, "
            "started_on, renewed_on"
        )
        self._execute(
            "insert into batched_update (query_id, {columns}) select query_id || ', ' || run_id, {columns} from batched_update "
            "where query_id = {id} and run_id <> {run} "
            "on conflict (query_id) do update set ({columns}) = (select {excluded})",
            columns=sql.SQL(columns),
            id=self._query_id,
            run=self._run_id,
            excluded=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in columns.split(", ")),
        )

    # selecting

    def select(self, timeout: float = SELECTION_TIMEOUT) -> Progress:
        """Select the rows into a table, in one statement, and drop selections that were given up.

        Args:
            timeout: Seconds that the selection may take.

        Raises:
            Fatal: When it takes longer, or is cancelled by somebody.
        """
        drop_given_up(self._connection)
        with (
            self._connection.transaction(),
            row_errors(self.selects, "Nothing is selected."),
            self._explained("the selection", timeout, "narrow the condition"),
        ):
            self._limits(timeout)
            self._execute("set local work_mem = '256MB'")
            self._execute("set local maintenance_work_mem = '256MB'")
            self._execute("drop table if exists {rows}, {left}")
            self._execute("""
                create table {rows} as
                select row_number() over (order by tid) as row_id, tid, row_identifier
                  from (select {table}.ctid as tid, {table}.identifier as row_identifier from {from} where {where}) selected
            """)
            self._execute("create table {left} (left_identifier uuid primary key)")
            self._execute("create index on {rows} (row_id)")
            counted = self._execute("select count(*) from {rows}").fetchone()
            assert counted
            progress = Progress(self._query_id, counted[0])
            self._keep_former()
            self._execute(
                """
                insert into batched_update (query_id, run_id, table_name, statement, total, next_row, stripe, batch_size, stripes)
                values ({id}, {run}, {name}, {text}, {total}, 1, 0, 0, 0)
                on conflict (query_id) do update set run_id = excluded.run_id, table_name = excluded.table_name,
                    statement = excluded.statement, total = excluded.total, next_row = 1, stripe = 0, updated = 0, gone = 0,
                    started_on = now(), renewed_on = now()
                """,
                id=self._query_id,
                run=self._run_id,
                name=self._table,
                text=self._statement,
                total=progress.total,
            )
        self._execute("analyze {rows}")
        return progress

    def finish(self, *, forget: bool = False) -> None:
        """Drop the selected rows; the query_id is free again.

        Args:
            forget: Whether the note of what was done goes, too. It usually stays, for people, and for a run
                that is cleared.
        """
        with self._connection.transaction():
            self._execute("drop table if exists {rows}, {left}")
            self._execute(
                "delete from batched_update where query_id = {id}"
                if forget
                else "update batched_update set next_row = total + 1, renewed_on = now() where query_id = {id}",
                id=self._query_id,
            )

    def finished(self, progress: Progress) -> bool:
        """Was all done by an earlier try, which has cleaned up as well?"""
        return progress.done and not self._exists("rows")

    # working

    def _note(self, progress: Progress, updated: int, gone: int) -> None:
        """To be called in the transaction that did the work."""
        self._execute(
            "update batched_update set next_row = {row}, stripe = {stripe}, batch_size = {size}, stripes = {stripes}, "
            "updated = updated + {u}, gone = gone + {g}, renewed_on = now() where query_id = {id}",
            row=progress.next_row,
            stripe=progress.stripe,
            size=progress.batch_size,
            stripes=progress.stripes,
            u=updated,
            g=gone,
            id=self._query_id,
        )

    def _again(self, progress: Progress, work: Callable[[], tuple[int, int]]) -> None:
        """Rows that were locked, again and again, until none is left.

        Args:
            progress: Is kept up to date.
            work: Takes those of `left` that are free out of it; numbers of rows done, and of rows that are
                gone.
        """
        for number in range(PASSES):
            try:
                with (
                    self._connection.transaction(),
                    self._explained("a pass over locked rows", self._timeout),
                ):
                    self._limits(self._timeout)
                    self._wait_for_the_table()
                    updated, gone = work()
                    self._note(progress, updated, gone)
            except (errors.LockNotAvailable, errors.DeadlockDetected):
                updated, gone = 0, 0
            counted = self._execute("select count(*) from {left}").fetchone()
            assert counted
            progress.updated, progress.gone = progress.updated + updated, progress.gone + gone
            progress.waiting = counted[0]
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

    def _stop_if_asked(self, progress: Progress) -> None:
        if self._should_stop():
            raise Interrupted(
                f"asked to stop at row {progress.next_row:,} of {progress.total:,}; the next try goes on there."
            )

    # statements

    @contextmanager
    def _explained(self, what: str, seconds: float, advice: str = "") -> Iterator[None]:
        """Explain a cancelled statement by the time that has passed; the server's text is localized."""
        began = time.monotonic()
        try:
            yield
        except errors.QueryCanceled:
            kept = "What was changed stays changed."
            if time.monotonic() - began < int(seconds * 1000) / 1000:
                raise Fatal(
                    f"{what} was cancelled by somebody (pg_cancel_backend). {kept} Clear this task to go on."
                ) from None
            raise Fatal(f"{what} took longer than {seconds:g} s; {advice or self.too_long}. {kept}") from None

    def _limits(self, seconds: float) -> None:
        self._execute("select set_config('statement_timeout', {ms}, true)", ms=str(int(seconds * 1000)))

    def _wait_for_the_table(self) -> None:
        """Wait for a table that somebody alters, whatever the role's lock_timeout; rows are never waited for."""
        self._execute("select set_config('lock_timeout', {ms}, true)", ms=str(LOCK_PATIENCE * 1000))

    def _exists(self, name: str) -> bool:
        found = self._execute(
            "select to_regclass({name})", name=f'public."{self._query_id}_{name}_to_update"'
        ).fetchone()
        return bool(found and found[0])

    def _execute(self, statement: LiteralString, **values: Any) -> psycopg.Cursor[Any]:
        """Execute a statement with literals, because parts that people wrote may hold percent signs."""
        parts = {
            key: value if isinstance(value, sql.Composable) else sql.Literal(value)
            for key, value in values.items()
        }
        return self._connection.execute(sql.SQL(statement).format(**{**self._names, **parts}))


def drop_given_up(connection: Connection, days: float = GIVEN_UP_AFTER) -> list[str]:
    """Drop selections that nobody has worked on for so long; where they stood stays in `batched_update`.

    Args:
        connection: To the catalog database, in autocommit.
        days: Since the last part of the work was done.

    Returns:
        The query_ids whose rows were dropped.
    """
    old = connection.execute(
        "select query_id from batched_update where query_id ~ %s and renewed_on < now() - make_interval(secs => %s) "
        "and to_regclass(format('public.%%I', query_id || '_rows_to_update')) is not null order by 1",
        [QUERY_ID, days * 86_400],
    ).fetchall()
    return [query_id for (query_id,) in old if _drop_unless_at_work(connection, query_id, days)]


def give_up(connection: Connection, query_id: str, keep: str) -> None:
    """Drop an unfinished selection of another run, unless it is at work; for repeatable statements.

    Args:
        connection: To the catalog database, in autocommit.
        query_id: Of the selection.
        keep: The run whose rows stay: it goes on with them.
    """
    row = connection.execute("select run_id from batched_update where query_id = %s", [query_id]).fetchone()
    if row and row[0] != keep:
        _drop_unless_at_work(connection, query_id, days=0)


def _drop_unless_at_work(connection: Connection, query_id: str, days: float) -> bool:
    tables = [sql.Identifier("public", f"{query_id}_{name}") for name in ("rows_to_update", "rows_left")]
    try:
        with connection.transaction():
            connection.execute("set local lock_timeout = '1s'")
            row = connection.execute(
                "select pg_try_advisory_xact_lock(hashtext(%s)) and exists (select from batched_update "
                "where query_id = %s and renewed_on < now() - make_interval(secs => %s))",
                [Selection._key(query_id), query_id, days * 86_400],
            ).fetchone()
            if not row or not row[0]:
                return False
            connection.execute(sql.SQL("drop table if exists {}").format(sql.SQL(", ").join(tables)))
    except psycopg.Error as error:  # somebody else's tables; they are in nobody's way
        log.warning("The rows of %s, given up, cannot be dropped: %s", query_id, error.diag.message_primary)
        return False
    log.info("Dropped the rows of %s, which a run had left behind.", query_id)
    return True


def key_of(*parts: str) -> str:
    """A part of a query_id that tells these texts from others."""
    return hashlib.md5("\n".join(parts).encode(), usedforsecurity=False).hexdigest()[:20]
