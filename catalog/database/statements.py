"""Checks a `SET …` and a `WHERE …` with PostgreSQL's grammar (pglast) and the server's catalogs.

Each field is parsed alone, as what it claims to be, so nothing in one reaches into the other. What is
executed is written from the parse trees: nothing of the given text reaches the server. Allowed: expressions,
functions that only compute, sub-selects that read tables of the catalog (`guard.py`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
from pglast import ast, parse_sql
from pglast.parser import ParseError, scan
from pglast.stream import RawStream
from pglast.visitors import Visitor
from psycopg import sql

from catalog.core.errors import Fatal, Refused
from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection, settle
from catalog.database import guard

KEYS = ("identifier", "provider", "foreign_identifier")
UPDATE, SELECT = "update_query", "select_query"
_OF_THE_ROWS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.ProgrammingError,
    psycopg.NotSupportedError,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.RaiseException,
)
_FORBIDDEN: dict[type[Any], str] = {
    ast.InsertStmt: "INSERT",
    ast.DeleteStmt: "DELETE",
    ast.UpdateStmt: "another UPDATE",
    ast.MergeStmt: "MERGE",
    ast.LockingClause: "FOR UPDATE or FOR SHARE",
    ast.ParamRef: "a parameter such as $1",
    ast.CurrentOfExpr: "CURRENT OF",
    ast.IntoClause: "INTO",
    ast.SetToDefault: "DEFAULT",
    ast.RangeTableSample: "TABLESAMPLE: it takes other rows each time",
}


class Update(msgspec.Struct, frozen=True):
    """An UPDATE of a media table, in parts that were written from its parse tree."""

    table: str
    columns: tuple[str, ...]
    assignments: str  # `title = upper(title)`
    condition: str

    @property
    def text(self) -> str:
        """The whole statement, for people."""
        return f"UPDATE {self.table} SET {self.assignments} WHERE {self.condition}"  # noqa: S608 - written from a parse tree


class _Scan(Visitor):
    """Constructs that are not allowed, below the statement itself."""

    def __init__(self, statement: Any) -> None:
        super().__init__()
        self._statement = statement
        self.bad: list[str] = []

    def visit(self, _ancestors: Any, node: Any) -> None:
        kind = type(node)
        if kind is ast.TypeName and node.names and node.names[-1].sval.startswith("reg"):
            if node.names[-1].sval != "regconfig":
                self.bad.append(f"a cast to {node.names[-1].sval}")
        elif kind in _FORBIDDEN and node is not self._statement:
            self.bad.append(_FORBIDDEN[kind])


def parse_update(table: str, update_query: str, select_query: str) -> Update:
    """`SET …` and `WHERE …` as one UPDATE of that media table.

    Args:
        table: A media table.
        update_query: `SET` and assignments.
        select_query: `WHERE` and a condition.

    Returns:
        The update, rewritten from the parse trees.

    Raises:
        Refused: With the conf key and the reason.
    """
    statement = _parsed(table, UPDATE, "SET", f"UPDATE {table}", update_query)
    if not isinstance(statement, ast.UpdateStmt):
        raise Refused(f"{UPDATE}: only SET with assignments is allowed.")
    if statement.whereClause:
        raise Refused(f"{UPDATE}: only SET with assignments is allowed; WHERE belongs into {SELECT}.")
    if statement.fromClause:
        raise Refused(f"{UPDATE}: FROM is not allowed; use a sub-select in SET.")
    if statement.returningClause:
        raise Refused(f"{UPDATE}: RETURNING is not allowed.")
    targets: tuple[Any, ...] = statement.targetList or ()
    names = tuple(target.name for target in targets)
    if keys := [name for name in names if name in KEYS]:
        raise Refused(
            f"{UPDATE}: {', '.join(keys)} cannot be set; {', '.join(KEYS)} are what a record is known by."
        )
    if any(target.indirection for target in targets):
        raise Refused(f"{UPDATE}: set whole columns; use jsonb_set(…) to change a part of one.")
    assignments = _written(UPDATE, statement).partition(" SET ")[2]
    return Update(table, names, assignments, parse_condition(table, select_query))


def parse_condition(table: str, select_query: str, field: str = SELECT) -> str:
    """`WHERE …` of a media table, written from its parse tree, without the word.

    Args:
        table: A media table.
        select_query: `WHERE` and a condition.
        field: What the text is called where the person gave it, for messages.

    Raises:
        Refused: With the field and the reason.
    """
    statement = _parsed(table, field, "WHERE", f"DELETE FROM {table}", select_query)  # noqa: S608 - only parsed
    if isinstance(statement, ast.DeleteStmt) and statement.returningClause:
        raise Refused(f"{field}: RETURNING is not allowed.")
    if not isinstance(statement, ast.DeleteStmt) or statement.usingClause or statement.whereClause is None:
        raise Refused(f"{field}: only WHERE with a condition is allowed.")
    return _written(field, statement).partition(" WHERE ")[2]


def _parsed(table: str, field: str, word: str, head: str, text: str) -> Any:
    """The one statement that head and text are; with nothing in it that is not allowed anywhere."""
    if table not in MEDIA_TYPES:
        raise Refused(f"table_name: {table!r} is no media table; there are {', '.join(MEDIA_TYPES)}.")
    if not re.match(rf"{word}\s", text):
        raise Refused(f"{field}: it must begin with {word}.")
    if "\0" in text or text != text.encode(errors="replace").decode():
        raise Refused(f"{field}: it holds a character that PostgreSQL cannot store.")
    whole = f"{head} {text}"
    try:
        statements = parse_sql(whole)
        last = scan(whole)[-1]
        bad = [_bad(statement.stmt) for statement in statements]
    except ParseError as error:
        raise Refused(f"{field}: {error.args[0]}.") from None
    except RecursionError:
        raise Refused(f"{field}: it is nested too deeply.") from None
    if len(statements) != 1:
        raise Refused(f"{field}: {len(statements)} statements were given; only one is allowed.")
    if last.name in ("SQL_COMMENT", "C_COMMENT", "ASCII_59"):
        raise Refused(f"{field}: it ends with a comment or a semicolon; leave that out.")
    if bad[0]:
        raise Refused(f"{field}: not allowed: {', '.join(dict.fromkeys(bad[0]))}.")
    return statements[0].stmt


def _bad(statement: Any) -> list[str]:
    found = _Scan(statement)
    found(statement)
    return found.bad


def _written(field: str, tree: Any) -> str:
    """The statement, written from its tree; proved to mean the same by parsing it again."""
    try:
        text = str(RawStream()(tree))
        same = parse_sql(text)[0].stmt == tree
    except (ParseError, RecursionError):
        same = False
    if not same:
        raise Refused(f"{field}: it cannot be written anew with the same meaning; put it more simply.")
    return text


def verify(connection: Connection, update: Update) -> None:
    """Check an update against the server: tables, functions, columns and types.

    SET may not read the table that it changes: batch after batch, it would see what the batches before have
    written, which one UPDATE does not. WHERE may, because the rows are selected once, before anything is
    changed.

    Args:
        connection: To the catalog database, in autocommit. Nothing is executed on it.
        update: As `parse_update` made it.

    Raises:
        Refused: With the conf key and the reason.
    """
    table = sql.Identifier(update.table)
    reads = guard.check(
        connection, UPDATE, sql.SQL("update {} set {}").format(table, plain(update.assignments))
    )
    if own := reads & {update.table, "batched_update"}:
        raise Refused(
            f"{UPDATE}: SET reads {', '.join(sorted(own))}, which changes from batch to batch, so later rows would get other values than "
            f"by one UPDATE. Put the values into a table of the schema {guard.SCHEMA} first, and read that."
        )
    verify_condition(connection, update.table, update.condition)
    _explained(connection, f"{UPDATE}, {SELECT}", plain(update.text))


def verify_condition(
    connection: Connection, table: str, condition: str, *, of: str = "", field: str = SELECT
) -> None:
    """Check a condition against the server, as `verify` does.

    Args:
        connection: To the catalog database, in autocommit. Nothing is executed on it.
        table: The media table whose name the condition uses.
        condition: As `parse_condition` wrote it.
        of: The table that the rows are selected from, when it is another: `deleted_<media>`.
        field: What the text is called where the person gave it, for messages.

    Raises:
        Refused: With the field and the reason.
    """
    name = sql.Identifier(table)
    source = sql.SQL("{} as {}").format(sql.Identifier(of), name) if of else name
    statement = sql.SQL("delete from {} where {}").format(source, plain(condition))
    try:
        guard.check(connection, field, statement)
    except Refused as error:
        if of and of in str(error):
            raise Refused(
                f"{error} Columns of {of} are named without a table, or as {table}.<column>."
            ) from None
        raise
    _explained(connection, field, statement)


def _explained(connection: Connection, field: str, statement: sql.Composable) -> None:
    """Planning finds what resolving does not: texts that are no numbers, missing rights."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("set transaction read only")
            settle(connection)
            connection.execute(sql.SQL("explain ") + statement)
    except psycopg.Error as error:
        raise Refused(f"{field}: PostgreSQL refuses it: {error.diag.message_primary}.") from None


@contextmanager
def row_errors(what: str, advice: str = "") -> Iterator[None]:
    """Turn errors of the rows (division by zero, a constraint, …) into Fatal: they fail each attempt.

    Args:
        what: The conf key or the part of the work, for the message.
        advice: What to do then.

    Raises:
        Fatal: With the server's own words.
    """
    try:
        yield
    except _OF_THE_ROWS as error:
        found = error.diag
        detail = f" ({found.message_detail.rstrip('.')})" if found.message_detail else ""
        raise Fatal(f"{what}: PostgreSQL: {found.message_primary}{detail}. {advice}".rstrip()) from None


def plain(text: str) -> sql.SQL:
    """SQL that this module wrote from a parse tree."""
    return sql.SQL(text)
