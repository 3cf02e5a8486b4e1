"""COPY of lines into a table, skipping the lines that PostgreSQL cannot read."""

from collections.abc import Callable, Iterable, Iterator

import psycopg
from psycopg import sql
from upath import UPath

from catalog.core.errors import Fatal
from catalog.core.session import Connection

CHUNK = 1 << 20  # bytes
BLOCK = 4 << 20  # bytes of lines in one COPY, once some lines are known to be bad
_SHOWN = 200  # characters of a message
# Errors that a bad line causes. Any other error has another cause and is raised.
UNREADABLE = (
    psycopg.DataError,
    psycopg.errors.NotNullViolation,  # of a domain
    psycopg.errors.CheckViolation,
    psycopg.errors.ProgramLimitExceeded,  # a value is too long
    psycopg.errors.StatementTooComplex,  # JSON is nested too deeply
)


def copy_exactly(
    connection: Connection, statement: sql.Composed, data: Iterable[bytes], expected: Callable[[], int]
) -> str | None:
    """Copy everything, or nothing.

    Args:
        connection: Connection to a database, in a transaction.
        statement: COPY … FROM STDIN.
        data: The bytes to copy, in pieces of any size.
        expected: Returns the number of rows; called after all data were sent.

    Returns:
        None if the rows were copied; otherwise the reason, and the table is unchanged.
    """
    problem = None
    try:
        with connection.transaction() as savepoint, connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for piece in data:
                    copy.write(piece)
            if cursor.rowcount != (wanted := expected()):
                problem = f"{wanted:,} rows were expected, {cursor.rowcount:,} were copied"
                raise psycopg.Rollback(savepoint)
    except UNREADABLE as error:
        problem = (error.diag.message_primary or str(error))[:_SHOWN]  # it quotes the value
    return problem


class LineCopy:
    """Copies lines block by block and passes the lines that cannot be read to a function.

    When PostgreSQL refuses a block, the bad line is found by bisection: the server's message names a line
    number, but the message is localized and the server counts lines differently. A bad line sends the bytes
    of its block about twice.

    Args:
        connection: Connection to a database, in a transaction.
        statement: COPY … FROM STDIN.
        fault: Returns what is wrong with a line, or None if it finds nothing. Called only for the lines of a
            block that was refused.
        refuse: Called with the reason and the line, for each line that is skipped.
        limit: Maximum number of skipped lines without a known fault; None for no limit.
    """

    def __init__(
        self,
        connection: Connection,
        statement: sql.Composed,
        fault: Callable[[bytes], str | None],
        refuse: Callable[[str, bytes], None],
        limit: int | None = None,
    ) -> None:
        self._connection, self._statement = connection, statement
        self._fault, self._refuse, self._limit = fault, refuse, limit
        self._unknown = 0

    def run(self, lines: Iterable[bytes]) -> int:
        """Copy lines with their line ends and return the number of rows. Raises Fatal beyond the limit."""
        return sum(self._copy(block) for block in _blocks(lines))

    def _copy(self, lines: list[bytes], checked: bool = False) -> int:
        if not lines:
            return 0
        problem = copy_exactly(self._connection, self._statement, [b"".join(lines)], lambda: len(lines))
        if problem is None:
            return len(lines)
        if not checked:
            return self._copy_checked(lines)
        if len(lines) == 1:
            self._refuse_unknown(problem, lines[0])
            return 0
        middle = len(lines) // 2
        return self._copy(lines[:middle], True) + self._copy(lines[middle:], True)

    def _refuse_unknown(self, problem: str, line: bytes) -> None:
        self._unknown += 1
        if self._limit is not None and self._unknown > self._limit:
            raise Fatal(
                f"PostgreSQL refuses more than {self._limit:,} lines; the reason for the last one: {problem}"
            )
        self._refuse(f"refused by PostgreSQL: {problem}", line)

    def _copy_checked(self, lines: list[bytes]) -> int:
        """Copy the lines without a known fault."""
        good: list[bytes] = []
        for line in lines:
            if reason := self._fault(line):
                self._refuse(reason, line)
            else:
                good.append(line)
        return self._copy(good, True)


def chunks(paths: Iterable[UPath]) -> Iterator[bytes]:
    """Yield the bytes of several files, one after the other."""
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk


def lines_of(paths: Iterable[UPath]) -> Iterator[bytes]:
    """Yield the lines of several files, each with a line end, even where the last line of a file has none."""
    for path in paths:
        with path.open("rb") as file:
            for line in file:
                yield line if line.endswith(b"\n") else line + b"\n"


def _blocks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    block: list[bytes] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line)
        if size >= BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block
