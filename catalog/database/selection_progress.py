"""Progress of the work on a selection: the rows of `batched_update`.

The transaction of each batch updates the row of its selection. A later run that uses the same query_id
keeps the row of an earlier one under a key that no query_id has, so that clearing that run does not repeat
its work. A run writes only to a row of its own.
"""

from typing import LiteralString

import msgspec
from psycopg import sql

from catalog.core.errors import Refused
from catalog.core.session import Connection
from catalog.database.sql_files import sql_file


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


class ProgressRow:
    """The row of `batched_update` of a selection, for one of its runs.

    Args:
        connection: Connection to the catalog database.
        query_id: Name of the selection.
        run_id: The run that works on the selection.
    """

    def __init__(self, connection: Connection, query_id: str, run_id: str) -> None:
        self._connection, self._query_id, self._run_id = connection, query_id, run_id

    def read(self) -> State | None:
        """Return the state of the selection; None if nothing was selected under its name."""
        return self._read(self._query_id)

    def read_former(self) -> State | None:
        """Return the state of this run's selection that a later run has replaced; None if there is none."""
        return self._read(f"{self._query_id}, {self._run_id}")

    def _read(self, key: str) -> State | None:
        row = self._connection.execute(
            "select run_id, table_name, statement, total, next_row, stripe, batch_size, stripes,"
            " updated, gone from batched_update where query_id = %s",
            [key],
        ).fetchone()
        return State(row[0], row[1], row[2], Progress(self._query_id, *row[3:])) if row else None

    def is_done_by_another(self, table: str, condition: str) -> bool:
        """Return whether the last other run under this name has processed all rows of this condition."""
        query = """
            select total > 0 and next_row > total and table_name = %(table)s
                   and right(statement, length(%(end)s)) = %(end)s
              from batched_update
             where (query_id = %(id)s or starts_with(query_id, %(id)s || ', ')) and run_id <> %(run)s
             order by renewed_on desc limit 1
        """
        row = self._connection.execute(
            query, {"id": self._query_id, "run": self._run_id, "table": table, "end": f" WHERE {condition}"}
        ).fetchone()
        return bool(row and row[0])

    def begin(self, table: str, statement: str, total: int) -> Progress:
        """Store that the work on the selected rows begins; keep the row of an earlier run."""
        self._keep_former()
        self._connection.execute(
            sql_file("begin_progress"),
            {"id": self._query_id, "run": self._run_id, "name": table, "text": statement, "total": total},
        )
        return Progress(self._query_id, total)

    def take_over(self, statement: str) -> None:
        """Continue the work of an earlier run, whose row is kept, with another statement."""
        self._keep_former()
        self._connection.execute(
            "update batched_update set run_id = %s, statement = %s, renewed_on = now() where query_id = %s",
            [self._run_id, statement, self._query_id],
        )

    def _keep_former(self) -> None:
        columns: LiteralString = (
            "run_id, table_name, statement, total, next_row, stripe, batch_size, stripes, updated, gone, "
            "started_on, renewed_on"
        )
        query = sql.SQL(
            "insert into batched_update (query_id, {columns})"
            " select query_id || ', ' || run_id, {columns} from batched_update"
            " where query_id = %(id)s and run_id <> %(run)s"
            " on conflict (query_id) do update set ({columns}) = (select {excluded})"
        ).format(
            columns=sql.SQL(columns),
            excluded=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in columns.split(", ")),
        )
        self._connection.execute(query, {"id": self._query_id, "run": self._run_id})

    def save(self, progress: Progress, updated: int, missing: int) -> None:
        """Store the position, and add what was done; to be called in the transaction that did the work.

        Raises:
            Refused: Another run has selected or taken over rows under this name since.
        """
        saved = self._connection.execute(
            "update batched_update set next_row = %(row)s, stripe = %(stripe)s, batch_size = %(size)s,"
            " stripes = %(stripes)s, updated = updated + %(updated)s, gone = gone + %(missing)s,"
            " renewed_on = now() where query_id = %(id)s and run_id = %(run)s",
            {
                "row": progress.next_row,
                "stripe": progress.stripe,
                "size": progress.batch_size,
                "stripes": progress.stripes,
                "updated": updated,
                "missing": missing,
                "id": self._query_id,
                "run": self._run_id,
            },
        )
        if not saved.rowcount:
            raise Refused(
                f"query_id: the rows of {self._query_id!r} belong to another run now; nothing of this batch "
                "is changed."
            )

    def end(self) -> None:
        """Store that the work has ended."""
        self._connection.execute(
            "update batched_update set next_row = total + 1, renewed_on = now()"
            " where query_id = %s and run_id = %s",
            [self._query_id, self._run_id],
        )

    def delete(self) -> None:
        """Delete the row."""
        self._connection.execute(
            "delete from batched_update where query_id = %s and run_id = %s", [self._query_id, self._run_id]
        )
