"""Rows that are selected once, in one statement, and then updated, deleted or restored in batches.

The selection is a table, `<query_id>_rows_to_update`, ordered as the rows are stored on disk. After a kill or
a clear, the work resumes with exactly the rows that one snapshot found (`selection_progress.py`), and no row
is processed twice.

A run applies its statement once: clearing a finished run does nothing. A new run with the id of a finished
one applies it again. `abandoned_selections` drops the rows of runs that nobody resumes.
"""

import hashlib
import logging
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from catalog.core.errors import Refused
from catalog.core.queries import relation_exists
from catalog.core.session import Connection, limit_statements, raise_memory, settle
from catalog.core.sql_files import trusted
from catalog.database.abandoned_selections import drop_given_up
from catalog.database.earlier_runs import rename_selections
from catalog.database.estimates import correct_estimate
from catalog.database.selection_lock import SelectionLock
from catalog.database.selection_progress import Progress, ProgressRow, State
from catalog.database.sql_files import sql_file
from catalog.database.statements import SELECT, row_errors
from catalog.database.timeouts import explain_timeout

log = logging.getLogger(__name__)
SELECTION_TIMEOUT = 24 * 3600.0  # seconds


class Selection:
    """The selected rows of one query_id.

    Args:
        connection: Connection to the catalog database, in autocommit, used by nothing else.
        query_id: Prefix of the tables' names; see QUERY_ID.
        run_id: The run that works on the selection. Another run may continue it only with `resume`.
        table: The media table.
        statement: Statement that is applied to the rows, for display and to distinguish updates.
        condition: Result of `parse_condition`.
        exclusive: True if another session of this run can only be an earlier attempt of the same task, which
            may be ended.
    """

    condition_field = SELECT  # where the user gave the condition
    selects_again = False  # what is left, if somebody has dropped the selected rows
    busy_message = "query_id: another run of {} is at work; wait for it, or choose another query_id."
    exists_message = (
        "query_id: the table {table} of an earlier run exists. Either continue with it (resume_update), "
        "or give it up: DROP TABLE {table}; then run again."
    )

    def __init__(
        self,
        connection: Connection,
        query_id: str,
        run_id: str,
        table: str,
        statement: str,
        condition: str,
        *,
        exclusive: bool = True,
    ) -> None:
        self._connection, self._query_id, self._run_id = connection, query_id, run_id
        self._table, self._statement = table, statement
        self._progress_row = ProgressRow(connection, query_id, run_id)
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
        state, exists = self._progress_row.read(), self._has_rows()
        if state and self._is_own(state):
            if exists or (state.progress.done and not self._has_left()):
                return state.progress
            if state.progress.begun and not self.selects_again:
                raise self._given_up(state, "were dropped")
            return None
        former = self._progress_row.read_former()
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
            self._progress_row.take_over(self._statement)
        return state.progress

    def _rename_earlier_run(self) -> None:
        """Keep what an earlier run with this id has finished, or lost, under another name."""
        state = self._progress_row.read()
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
            explain_timeout("the selection", timeout, "narrow the condition"),
        ):
            limit_statements(self._connection, timeout)
            raise_memory(self._connection, "work_mem", "256MB")
            raise_memory(self._connection, "maintenance_work_mem", "256MB")
            self._execute("drop table if exists {rows}, {left}")
            self._execute(sql_file("select_rows"))
            self._execute("create table {left} (left_identifier uuid primary key)")
            self._execute("create index on {rows} (row_id)")
            total = self._number("select count(*) from {rows}")
            progress = self._progress_row.begin(self._table, self._statement, total)
        self._execute("analyze {rows}")
        return progress

    def finish(self, *, forget: bool = False) -> None:
        """Drop the selected rows; the query_id can be used again. Rows of a later run stay.

        Args:
            forget: Delete the stored progress, too. Usually it stays, as a record, and for a run that is
                cleared.
        """
        with self._connection.transaction():
            if self._is_of_later_run():
                return
            self._execute("drop table if exists {rows}, {left}")
            if forget:
                self._progress_row.delete()
            else:
                self._progress_row.end()

    def finished(self, progress: Progress) -> bool:
        """Return whether an earlier attempt has finished the work and dropped the rows."""
        return progress.done and (not self._has_rows() or self._is_of_later_run())

    def _is_of_later_run(self) -> bool:
        """Return whether another run has selected rows since this one."""
        state = self._progress_row.read()
        return state is not None and state.run_id != self._run_id

    def _has_rows(self) -> bool:
        return relation_exists(self._connection, f"{self._query_id}_rows_to_update")

    def _has_left(self) -> bool:
        """Return whether rows that were locked are left of a selection that somebody has dropped."""
        return relation_exists(self._connection, f"{self._query_id}_rows_left") and bool(
            self._number("select count(*) from (select from {left} limit 1) waiting")
        )

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
