"""What people may say in a `SET …` and a `WHERE …`, checked with PostgreSQL's own grammar (pglast) and the server's catalogs.

A statement is composed, parsed, checked, and from then on written from its parse tree: nothing of the given text reaches the server.
Allowed: any expression, functions that are stable or immutable, sub-selects that read tables of the catalog.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
from pglast import ast, parse_sql
from pglast.parser import ParseError
from pglast.stream import RawStream
from pglast.visitors import Visitor
from psycopg import sql

from catalog.ingestion.errors import Refused
from catalog.ingestion.records import MEDIA_TYPES

KEYS = ("identifier", "provider", "foreign_identifier")
SCHEMA = "public"
_FORBIDDEN: dict[type[Any], str] = {
    ast.InsertStmt: "INSERT", ast.DeleteStmt: "DELETE", ast.MergeStmt: "MERGE", ast.LockingClause: "FOR UPDATE or FOR SHARE",
    ast.ParamRef: "a parameter such as $1", ast.CurrentOfExpr: "CURRENT OF", ast.IntoClause: "INTO", ast.SetToDefault: "DEFAULT",
}  # fmt: skip


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
    """What a tree holds: tables, functions, casts, forbidden constructs."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[Any] = []
        self.functions: set[tuple[str, ...]] = set()
        self.local: set[str] = set()  # names of common table expressions
        self.bad: list[str] = []
        self.updates = 0

    def visit(self, _ancestors: Any, node: Any) -> None:
        kind = type(node)
        if kind is ast.RangeVar:
            self.tables.append(node)
        elif kind is ast.FuncCall:
            self.functions.add(tuple(part.sval for part in node.funcname))
        elif kind is ast.CommonTableExpr:
            self.local.add(node.ctename)
        elif kind is ast.UpdateStmt:
            self.updates += 1
        elif kind is ast.TypeName and node.names and node.names[-1].sval.startswith("reg"):
            self.bad.append(f"a cast to {node.names[-1].sval}")
        elif kind in _FORBIDDEN:
            self.bad.append(_FORBIDDEN[kind])


def parse_update(table: str, update_query: str, select_query: str) -> Update:
    """`SET …` and `WHERE …` as one UPDATE of that media table. Raises Refused, naming the conf key and the reason."""
    statement = _one_statement(
        table, ("update_query", "SET", update_query), ("select_query", "WHERE", select_query)
    )
    if not isinstance(statement, ast.UpdateStmt):
        raise Refused("update_query, select_query: together they are no UPDATE.")
    if statement.fromClause or statement.withClause:
        raise Refused("update_query: FROM is not allowed; use a sub-select in SET.")
    if statement.returningClause:
        raise Refused("select_query: RETURNING is not allowed.")
    _check(statement, table)
    targets: tuple[Any, ...] = statement.targetList or ()
    names = tuple(target.name for target in targets)
    if keys := [name for name in names if name in KEYS]:
        raise Refused(
            f"update_query: {', '.join(keys)} cannot be set; {', '.join(KEYS)} are what a record is known by."
        )
    if any(target.indirection for target in targets):
        raise Refused("update_query: set whole columns; use jsonb_set(…) to change a part of one.")
    whole = RawStream()(ast.UpdateStmt(relation=statement.relation, targetList=targets))
    assignments = whole.partition(" SET ")[2]
    return Update(table, names, assignments, _written(statement.whereClause))


def parse_condition(table: str, select_query: str) -> str:
    """`WHERE …` of a media table, written from its parse tree, without the word. Raises Refused."""
    statement = _one_statement(table, None, ("select_query", "WHERE", select_query))
    if (
        not isinstance(statement, ast.DeleteStmt)
        or statement.usingClause
        or statement.returningClause
        or statement.withClause
    ):
        raise Refused("select_query: only WHERE with a condition is allowed.")
    _check(statement, table)
    return _written(statement.whereClause)


def _written(tree: Any) -> str:
    return RawStream()(tree)


def _one_statement(table: str, update: tuple[str, str, str] | None, select: tuple[str, str, str]) -> Any:
    if table not in MEDIA_TYPES:
        raise Refused(f"table_name: {table!r} is no media table; there are {', '.join(MEDIA_TYPES)}.")
    given = [part for part in (update, select) if part]
    for key, word, text in given:
        if not re.match(rf"{word}\s", text):
            raise Refused(f"{key}: it must begin with {word}.")
    head = f"UPDATE {table}" if update else f"DELETE FROM {table}"  # noqa: S608 - a media table, and only parsed
    try:
        statements = parse_sql(" ".join([head, *(text for *_, text in given)]))
    except ParseError as error:
        raise Refused(f"{' and '.join(key for key, *_ in given)}: {error.args[0]}.") from None
    if len(statements) != 1:
        raise Refused(f"{len(statements)} statements were given; only one is allowed.")
    found = statements[0].stmt
    if getattr(found, "whereClause", None) is None:
        raise Refused("select_query: there is no WHERE.")
    return found


def _check(statement: Any, table: str) -> None:
    relation = statement.relation
    if relation.relname != table or relation.schemaname or relation.catalogname or relation.alias:
        raise Refused(f"update_query: the statement must change {table}, without an alias.")
    if isinstance(statement.whereClause, ast.CurrentOfExpr):
        raise Refused("select_query: CURRENT OF is not allowed.")
    scan = _Scan()
    scan(statement)
    if isinstance(statement, ast.DeleteStmt):
        scan.bad.remove("DELETE")
    if scan.bad or scan.updates > 1:
        raise Refused(f"not allowed: {', '.join(dict.fromkeys(scan.bad)) or 'another UPDATE'}.")


def verify(connection: psycopg.Connection[Any], statement: str) -> None:
    """Check a statement against the server: its tables are ours, its functions are not volatile, its columns and types fit.

    statement: as text that `Update.text` or this module composed. Nothing is executed (EXPLAIN in a read-only transaction). Raises Refused.
    """
    scan = _Scan()
    scan(parse_sql(statement))
    with connection.transaction(force_rollback=True):
        connection.execute("set transaction read only")
        ours = {
            name
            for (name,) in connection.execute(
                "select tablename from pg_tables where schemaname = %s", [SCHEMA]
            )
        }
        for relation in scan.tables:
            if (
                relation.catalogname
                or relation.schemaname not in (None, SCHEMA)
                or relation.relname not in ours | scan.local
            ):
                name = ".".join(part for part in (relation.schemaname, relation.relname) if part)
                raise Refused(f"{name} cannot be read; only tables of the catalog can.")
        for reason in _bad_functions(connection, scan.functions):
            raise Refused(reason)
        try:
            with connection.transaction():
                connection.execute(sql.SQL("explain ") + plain(statement))
        except psycopg.Error as error:
            raise Refused(f"PostgreSQL refuses it: {error.diag.message_primary}.") from None


def _bad_functions(connection: psycopg.Connection[Any], names: set[tuple[str, ...]]) -> Iterator[str]:
    for name in sorted(names):
        if len(name) > 1 and name[0] not in ("pg_catalog", SCHEMA):
            yield f"function {'.'.join(name)} is of another schema."
            continue
        found = connection.execute(
            "select bool_or(p.provolatile = 'v'), count(*) from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
            "where p.proname = %s and n.nspname in ('pg_catalog', %s)", [name[-1], SCHEMA],
        ).fetchone()  # fmt: skip
        assert found
        if not found[1]:
            yield f"there is no function {name[-1]}."
        elif found[0]:
            yield f"function {name[-1]} is volatile: it may change something, or answer differently each time."


def plain(text: str) -> sql.SQL:
    """SQL that this module wrote from a parse tree."""
    return sql.SQL(text)
