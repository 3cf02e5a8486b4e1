"""COPY of lines into a table, without those that PostgreSQL cannot read."""

from collections.abc import Callable, Iterable, Iterator

import psycopg
from psycopg import sql
from upath import UPath

from catalog.core.errors import Fatal
from catalog.core.session import Connection

CHUNK = 1 << 20  # bytes
BLOCK = 4 << 20  # bytes of lines that are copied together when some of them are bad
_SHOWN = 200  # characters of a message
UNREADABLE = (
    psycopg.DataError,
    psycopg.errors.NotNullViolation,
    psycopg.errors.ProgramLimitExceeded,  # longer than a value may be
    psycopg.errors.StatementTooComplex,  # JSON that is nested too deeply
)  # what PostgreSQL answers when it cannot read a line; other errors are not the line's fault


def copy_exactly(
    connection: Connection, statement: sql.Composed, data: Iterable[bytes], expected: Callable[[], int]
) -> str | None:
    """Copy everything, or nothing.

    Args:
        connection: To a database, in a transaction.
        statement: COPY … FROM STDIN.
        data: The bytes to copy, in pieces of any size.
        expected: Number of rows; asked when all data have been sent.

    Returns:
        None when the rows are there; otherwise why not, and the table is as it was.
    """
    problem = None
    try:
        with connection.transaction() as savepoint, connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for piece in data:
                    copy.write(piece)
            if cursor.rowcount != (wanted := expected()):
                problem = f"{wanted:,} expected, but {cursor.rowcount:,} rows came of it"
                raise psycopg.Rollback(savepoint)
    except UNREADABLE as error:
        problem = (error.diag.message_primary or str(error))[:_SHOWN]  # it quotes the value
    return problem


class LineCopy:
    """Copies lines, block by block, and hands those that cannot be read to a function.

    Which line of a block is bad is found by halving the block: the server's message names a line, but in the
    server's language, and counts lines in its own way. A bad line costs the block's bytes about twice,
    wherever it stands.

    Args:
        connection: To a database, in a transaction.
        statement: COPY … FROM STDIN.
        fault: Says what is wrong with a line that is known to be bad, None if nothing is known. Only lines of
            a block that was refused are looked at.
        refuse: Called with the reason and the line of each that is left out.
        limit: How many lines without a known fault may be left out; None for any number.
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
                f"PostgreSQL refuses more than {self._limit:,} lines, the last one because: {problem}"
            )
        self._refuse(f"refused by PostgreSQL: {problem}", line)

    def _copy_checked(self, lines: list[bytes]) -> int:
        """Copy all but the lines that have a known fault."""
        good: list[bytes] = []
        for line in lines:
            if reason := self._fault(line):
                self._refuse(reason, line)
            else:
                good.append(line)
        return self._copy(good, True)


def chunks(paths: Iterable[UPath]) -> Iterator[bytes]:
    """The bytes of several files, one after the other."""
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk


def lines_of(paths: Iterable[UPath]) -> Iterator[bytes]:
    """The lines of several files, each with its line end, also where a file lacks the last one."""
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
