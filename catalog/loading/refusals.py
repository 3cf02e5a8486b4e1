"""Rows that an adopted table refuses: they are rejected, and the rest of a load goes on.

Adopted tables may have constraints, indexes and triggers that no load knows. Only the server can tell which
rows they refuse: as a line that COPY refuses, such a row is found by halving.
"""

from collections.abc import Mapping

import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.ingestion.reasons import OTHER
from catalog.loading.statements import Statements

# What a row can cause. Any other error has another cause and is raised.
REFUSALS = (
    psycopg.IntegrityError,
    psycopg.DataError,  # by a trigger, a domain, or an expression of an index or a generated column
    psycopg.errors.RaiseException,  # by a trigger, as are the next four
    psycopg.errors.NoDataFound,
    psycopg.errors.TooManyRows,
    psycopg.errors.AssertFailure,
    psycopg.errors.CaseNotFound,
    psycopg.errors.InsufficientPrivilege,  # by a policy; of what no row causes, no row is refused
    psycopg.errors.ProgramLimitExceeded,  # a value is too long for an index
)
_VIOLATES: dict[type[psycopg.Error], str] = {
    psycopg.errors.CheckViolation: "violates the check constraint",
    psycopg.errors.ForeignKeyViolation: "violates the foreign key",
    psycopg.errors.UniqueViolation: "violates the unique index",
    psycopg.errors.ExclusionViolation: "violates the exclusion constraint",
}
_BLOCK = 1000  # rows that are written at once; with fewer, good rows cost more, and bad ones less
_LIMIT = 10_000  # refused rows of a load; more say something about the table
_MAX_REASONS = 50  # distinct ones of a load; messages may quote values
_SHOWN = 200  # characters of a message


def is_refusal(error: psycopg.DatabaseError) -> bool:
    """Return whether a row can cause an error; one with a code of a trigger's own has no class of its own."""
    return isinstance(error, REFUSALS) or (type(error) is psycopg.DatabaseError and bool(error.sqlstate))


def mark_refused(statements: Statements, refused: Mapping[int, str]) -> None:
    """Mark rows of the loading table as rejected.

    Args:
        statements: The statements of the load.
        refused: The numbers of the rows, and why.
    """
    statements.execute(
        "update {loading} l set rejected = r.reason from unnest(%s::bigint[], %s::text[]) r (n, reason)"
        " where l.n = r.n",
        [list(refused), list(refused.values())],
    )


class BisectingWriter:
    """Writes the classified rows of a loading table, except those that the server refuses.

    It writes a block of rows at once. A block that is refused is halved until the rows are found.

    Args:
        statements: The statements of the load.
        media_type: Media type of the rows.
        before: How many rows of the load were refused already.

    Attributes:
        refused: The numbers of the refused rows, and why.
    """

    def __init__(self, statements: Statements, media_type: MediaType, before: int = 0) -> None:
        self._statements, self._media_type, self._before = statements, media_type, before
        self.refused: dict[int, str] = {}
        statements.execute("create index on verdict (n)")
        statements.execute("analyze verdict")

    def write(self, name: str, outcome: str) -> int:
        """Write the rows, block by block; return their number.

        Args:
            name: The statement, "insert" or "update".
            outcome: Which rows it writes.

        Raises:
            Fatal: The table refuses too many rows.
            psycopg.Error: It refuses the statement, whatever its rows are.
        """
        self._statements.run(name, among=sql.SQL("false"))  # raises what no row causes
        blocks = self._statements.execute(
            "select min(n), max(n) + 1"
            "  from (select n, (row_number() over (order by n) - 1) / %s as block"
            "          from verdict where outcome = %s) v"
            " group by block order by block",
            [_BLOCK, outcome],
        ).fetchall()
        written = sum(self._write(name, first, end) for first, end in blocks)
        mark_refused(self._statements, self.refused)
        self._statements.execute(
            "update verdict set outcome = 'refused' where n = any(%s)", [list(self.refused)]
        )
        return written

    def _write(self, name: str, first: int, end: int) -> int:
        """Write the rows from `first` to before `end`; rows that were written before count as there."""
        among = sql.SQL("verdict.n >= {} and verdict.n < {}").format(first, end)
        try:
            with self._statements.connection.transaction():
                return self._statements.run(name, among=among).rowcount
        except psycopg.DatabaseError as error:
            if not is_refusal(error):
                raise
            if end - first == 1:
                if isinstance(error, psycopg.errors.UniqueViolation) and self._is_stored(first):
                    raise  # another writer was faster
                self._refuse(first, self._reason(error))
                return 0
        middle = (first + end) // 2
        return self._write(name, first, middle) + self._write(name, middle, end)

    def _is_stored(self, number: int) -> bool:
        """Return whether another record has the key or the URL of a row, since it was classified."""
        [(found,)] = self._statements.run("stored_meanwhile", [number]).fetchall()
        return bool(found)

    def _refuse(self, number: int, reason: str) -> None:
        if self._before + len(self.refused) == _LIMIT:
            raise Fatal(
                f"{self._media_type}: the table refuses more than {_LIMIT:,} rows ({reason}); nothing was "
                "loaded: change the constraint or the trigger, and clear the task."
            )
        self.refused[number] = reason

    def _reason(self, error: psycopg.Error) -> str:
        """Return the reason of a reject, which names the constraint."""
        if isinstance(error, psycopg.errors.NotNullViolation) and error.diag.column_name:
            return f"no {error.diag.column_name}, which the table requires"
        if name := error.diag.constraint_name:
            return f"{_VIOLATES.get(type(error), 'violates the constraint')} {name}"
        reason = f"refused by PostgreSQL: {error.diag.message_primary}"[:_SHOWN]
        known = set(self.refused.values())
        return reason if reason in known or len(known) < _MAX_REASONS else f"refused by PostgreSQL: {OTHER}"
