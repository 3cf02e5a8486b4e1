"""The objects of revision 0001, read from its file: statements by object, and columns of tables.

An older catalog has some of it already. What it lacks is made by the very statements that make it in an empty
database.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from pglast import ast, enums, parse_sql

Kind = Literal["table", "view", "function", "index", "rows", "block", "extension"]
VERSIONS = Path(__file__).parents[1] / "migrations" / "versions"
FILE = VERSIONS / "0001_catalog.sql"
_MAKES = re.compile(
    r"\bcreate (?:or replace )?(?:unique )?(?:unlogged )?(table|view|function|index|sequence|type)\s+"
    r"(?:concurrently )?(?:if not exists )?(?:public\.)?\"?([a-z_0-9]+)",
    re.IGNORECASE,
)


class Column(msgspec.Struct, frozen=True):
    """A column of a table.

    type: its name in pg_type, with an underscore in front for an array; width: characters, of a varchar that
    has a limit.
    """

    name: str
    type: str
    width: int | None = None
    required: bool = False  # NOT NULL

    @property
    def sql_type(self) -> str:
        """As CREATE TABLE takes it."""
        base = self.type.removeprefix("_") + (f"({self.width})" if self.width else "")
        return base + ("[]" if self.type.startswith("_") else "")


class Statement(NamedTuple):
    """A statement of the file. table: of an index or of rows; what is made belongs to it."""

    kind: Kind
    name: str
    text: str
    table: str = ""


@cache
def statements() -> tuple[Statement, ...]:
    """The file's statements, in its order."""
    text = FILE.read_text(encoding="utf-8")
    return tuple(_named(raw.stmt, _cut(text, raw)) for raw in parse_sql(text))


def statement(kind: Kind, name: str) -> str:
    """The text of the one statement that makes this."""
    [found] = [s.text for s in statements() if (s.kind, s.name) == (kind, name)]
    return found


@cache
def columns(table: str) -> dict[str, Column]:
    """The columns that a table of the first revision has, by name, in order."""
    found: dict[str, Column] = {}
    for raw in parse_sql(FILE.read_text(encoding="utf-8")):
        node: Any = raw.stmt
        if not isinstance(node, ast.CreateStmt) or node.relation.relname != table:  # type: ignore[union-attr]
            continue
        elements: tuple[Any, ...] = node.tableElts or ()
        for element in elements:
            if isinstance(element, ast.TableLikeClause):
                found |= columns(element.relation.relname)  # type: ignore[union-attr]
            elif isinstance(element, ast.ColumnDef):
                column = _column(element)
                found[column.name] = column
    return found


@cache
def names_of_later_revisions() -> frozenset[str]:
    """Return everything that any of our revisions creates: tables, views, functions, indexes, sequences."""
    files = [path for path in VERSIONS.iterdir() if path.suffix in (".sql", ".py")]
    found = {name for path in files for _, name in _MAKES.findall(path.read_text(encoding="utf-8"))}
    return frozenset(found | {"catalog_version", "catalog_version_pkc"})


@cache
def names_by_revision() -> dict[str, frozenset[str]]:
    """Revision → what its files make: tables, views, functions, indexes, sequences. In order."""
    found: dict[str, set[str]] = {}
    for path in sorted(VERSIONS.iterdir()):
        if path.suffix in (".sql", ".py"):
            made = {name for _, name in _MAKES.findall(path.read_text(encoding="utf-8"))}
            found.setdefault(path.name[:4], set()).update(made)
    return {revision: frozenset(names) for revision, names in found.items() if revision.isdigit()}


def _cut(text: str, raw: Any) -> str:
    """The text of a statement, without what stands before it. Positions are in bytes."""
    encoded = text.encode()
    end = raw.stmt_location + raw.stmt_len if raw.stmt_len else len(encoded)
    lines = encoded[raw.stmt_location : end].decode().strip().splitlines()
    while lines and (not lines[0].strip() or lines[0].startswith("--")):
        lines.pop(0)
    return "\n".join(lines)


def _named(node: Any, text: str) -> Statement:
    match type(
        node
    ).__name__:  # a node of pglast's has optional parts everywhere; those of this file are there
        case "CreateStmt":
            return Statement("table", node.relation.relname, text)
        case "ViewStmt":
            return Statement("view", node.view.relname, text)
        case "CreateFunctionStmt":
            return Statement("function", node.funcname[-1].sval, text)
        case "IndexStmt":
            return Statement("index", node.idxname, text, node.relation.relname)
        case "InsertStmt":
            return Statement("rows", node.relation.relname, text, node.relation.relname)
        case "DoStmt":
            return Statement("block", "", text)
        case "CreateExtensionStmt":
            return Statement("extension", node.extname, text)
    raise TypeError(f"{FILE.name} holds a {type(node).__name__}, which adoption does not know")


def _column(element: Any) -> Column:
    type_ = element.typeName
    name, limits = type_.names[-1].sval, type_.typmods or ()
    constraints = {constraint.contype for constraint in element.constraints or ()}
    return Column(
        element.colname,
        f"_{name}" if type_.arrayBounds else name,
        limits[0].val.ival if limits else None,
        bool(constraints & {enums.ConstrType.CONSTR_NOTNULL, enums.ConstrType.CONSTR_PRIMARY}),
    )
