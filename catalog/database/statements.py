"""Checks user-written `SET …` and `WHERE …` clauses with PostgreSQL's grammar (pglast) and system catalogs.

Each clause is parsed separately, so that none can reach into the other. The executed statement is written
from the parse trees; the given string never reaches the server. Expressions, functions that only compute, and
sub-selects from tables of the catalog are allowed (`guard.py`).
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
from catalog.core.sql_files import trusted
from catalog.database import guard

KEYS = ("identifier", "provider", "foreign_identifier")
UPDATE, SELECT = "update_query", "select_query"
_ROW_ERRORS = (
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
    ast.RangeTableSample: "TABLESAMPLE: it selects other rows each time",
}


class Update(msgspec.Struct, frozen=True):
    """An UPDATE of a media table, in parts that were written from its parse tree.

    Attributes:
        table: The media table.
        columns: The columns that are set.
        assignments: Without `SET`, such as `title = upper(title)`.
        condition: Without `WHERE`.
    """

    table: str
    columns: tuple[str, ...]
    assignments: str
    condition: str

    @property
    def text(self) -> str:
        """The whole statement, for display."""
        return f"UPDATE {self.table} SET {self.assignments} WHERE {self.condition}"  # noqa: S608 - written from a parse tree


class _Scan(Visitor):
    """Collects constructs that are not allowed below the statement itself."""

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
    """Parse `SET …` and `WHERE …` into one UPDATE of a media table.

    Args:
        table: A media table.
        update_query: `SET` and assignments.
        select_query: `WHERE` and a condition.

    Returns:
        The update, rewritten from the parse trees.

    Raises:
        Refused: A clause is not allowed; names the conf key and the reason.
    """
    statement = _parse(table, UPDATE, "SET", f"UPDATE {table}", update_query)
    if not isinstance(statement, ast.UpdateStmt):
        raise Refused(f"{UPDATE}: only SET with assignments is allowed.")
    if statement.whereClause:
        raise Refused(f"{UPDATE}: only SET with assignments is allowed; WHERE belongs in {SELECT}.")
    if statement.fromClause:
        raise Refused(f"{UPDATE}: FROM is not allowed; use a sub-select in SET.")
    if statement.returningClause:
        raise Refused(f"{UPDATE}: RETURNING is not allowed.")
    targets: tuple[Any, ...] = statement.targetList or ()
    names = tuple(target.name for target in targets)
    if keys := [name for name in names if name in KEYS]:
        raise Refused(f"{UPDATE}: {', '.join(keys)} cannot be set; {', '.join(KEYS)} identify a record.")
    if any(target.indirection for target in targets):
        raise Refused(f"{UPDATE}: set whole columns; use jsonb_set(…) to change part of a value.")
    assignments = _rewrite(UPDATE, statement).partition(" SET ")[2]
    return Update(table, names, assignments, parse_condition(table, select_query))


def no_record(table: str, outcome: str, field: str = SELECT, advice: str = "") -> Refused:
    """Return the refusal of a condition that no record matches, most often because a name in it is wrong.

    Args:
        table: Table of which records were looked for.
        outcome: What has not happened, such as `so nothing was deleted`.
        field: Name of the clause where the user gave it.
        advice: Where the records may be, or how to go on without any.
    """
    return Refused(
        f"{field}: no record of {table} matches, {outcome}. Names of providers are as in the column "
        f"provider. {advice}".rstrip()
    )


def parse_condition(table: str, select_query: str, field: str = SELECT) -> str:
    """Parse a `WHERE …` of a media table.

    Args:
        table: A media table.
        select_query: `WHERE` and a condition.
        field: Name of the clause where the user gave it, for messages.

    Returns:
        The condition without `WHERE`, rewritten from its parse tree.

    Raises:
        Refused: The clause is not allowed; names the field and the reason.
    """
    statement = _parse(table, field, "WHERE", f"DELETE FROM {table}", select_query)  # noqa: S608 - only parsed
    if isinstance(statement, ast.DeleteStmt) and statement.returningClause:
        raise Refused(f"{field}: RETURNING is not allowed.")
    if not isinstance(statement, ast.DeleteStmt) or statement.usingClause or statement.whereClause is None:
        raise Refused(f"{field}: only WHERE with a condition is allowed.")
    return _rewrite(field, statement).partition(" WHERE ")[2]


def _parse(table: str, field: str, word: str, head: str, text: str) -> Any:
    """Return the parse tree of the single statement `head text`; refuse constructs that are never allowed."""
    if table not in MEDIA_TYPES:
        raise Refused(f"table_name: {table!r} is not a media table; use {' or '.join(MEDIA_TYPES)}.")
    if not re.match(rf"{word}\s", text):
        raise Refused(f"{field}: it must begin with {word}.")
    if "\0" in text or text != text.encode(errors="replace").decode():
        raise Refused(f"{field}: it holds a character that PostgreSQL cannot store.")
    whole = f"{head} {text}"
    try:
        statements = parse_sql(whole)
        last = scan(whole)[-1]
        forbidden = [_forbidden(statement.stmt) for statement in statements]
    except ParseError as error:
        raise Refused(f"{field}: {error.args[0]}.") from None
    except RecursionError:
        raise Refused(f"{field}: it is nested too deeply.") from None
    if len(statements) != 1:
        raise Refused(f"{field}: {len(statements)} statements were given; only one is allowed.")
    if last.name in ("SQL_COMMENT", "C_COMMENT", "ASCII_59"):
        raise Refused(f"{field}: it ends with a comment or a semicolon; remove it.")
    if forbidden[0]:
        raise Refused(f"{field}: not allowed: {', '.join(dict.fromkeys(forbidden[0]))}.")
    return statements[0].stmt


def _forbidden(statement: Any) -> list[str]:
    found = _Scan(statement)
    found(statement)
    return found.bad


def _rewrite(field: str, tree: Any) -> str:
    """Write a statement from its parse tree, and verify the result by parsing it again."""
    try:
        text = str(RawStream()(tree))
        same = parse_sql(text)[0].stmt == tree
    except (ParseError, RecursionError):
        same = False
    if not same:
        raise Refused(f"{field}: it cannot be rewritten from its parse tree; simplify it.")
    return text


def verify(connection: Connection, update: Update) -> None:
    """Check the tables, functions, columns and types of an update against the server.

    SET must not read the table that it changes: later batches would see the values that earlier ones wrote,
    which a single UPDATE would not. WHERE may, because the rows are selected once, before anything changes.

    Args:
        connection: Connection to the catalog database, in autocommit. The update is not executed.
        update: Result of `parse_update`.

    Raises:
        Refused: The update is not allowed; names the conf key and the reason.
    """
    table = sql.Identifier(update.table)
    reads = guard.check(
        connection, UPDATE, sql.SQL("update {} set {}").format(table, trusted(update.assignments))
    )
    if own := reads & {update.table, "batched_update"}:
        raise Refused(
            f"{UPDATE}: SET reads {', '.join(sorted(own))}, which changes from batch to batch, so later rows "
            "would get other values than by one UPDATE. Put the values into a table of the schema "
            f"{guard.SCHEMA} first, and read that."
        )
    verify_condition(connection, update.table, update.condition)
    _check_plan(connection, f"{UPDATE}, {SELECT}", trusted(update.text))


def verify_condition(
    connection: Connection, table: str, condition: str, *, of: str = "", field: str = SELECT
) -> None:
    """Check a condition against the server, as `verify` does.

    Args:
        connection: Connection to the catalog database, in autocommit. The condition is not executed.
        table: The media table whose name the condition uses.
        condition: Result of `parse_condition`.
        of: The table that the rows are selected from, if not `table`: `deleted_<media>`.
        field: Name of the clause where the user gave it, for messages.

    Raises:
        Refused: The condition is not allowed; names the field and the reason.
    """
    name = sql.Identifier(table)
    source = sql.SQL("{} as {}").format(sql.Identifier(of), name) if of else name
    statement = sql.SQL("delete from {} where {}").format(source, trusted(condition))
    try:
        guard.check(connection, field, statement)
    except Refused as error:
        if of and of in str(error):
            raise Refused(
                f"{error} Columns of {of} are named without a table, or as {table}.<column>."
            ) from None
        raise
    _check_plan(connection, field, statement)


def _check_plan(connection: Connection, field: str, statement: sql.Composable) -> None:
    """Plan a statement, which finds errors that resolving names does not: bad literals, missing rights."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("set transaction read only")
            settle(connection)
            connection.execute(sql.SQL("explain ") + statement)
    except psycopg.Error as error:
        raise Refused(f"{field}: PostgreSQL refuses it: {error.diag.message_primary}.") from None


@contextmanager
def row_errors(what: str, advice: str = "") -> Iterator[None]:
    """Convert errors that rows cause (division by zero, a constraint, …) to Fatal: they fail each attempt.

    Args:
        what: The conf key or the step, for the message.
        advice: What to do, for the message.

    Raises:
        Fatal: With the server's message.
    """
    try:
        yield
    except _ROW_ERRORS as error:
        diagnostic = error.diag
        detail = f" ({diagnostic.message_detail.rstrip('.')})" if diagnostic.message_detail else ""
        raise Fatal(f"{what}: PostgreSQL: {diagnostic.message_primary}{detail}. {advice}".rstrip()) from None
