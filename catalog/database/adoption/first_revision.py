"""The objects of revision 0001, parsed from its file: statements by object, and columns of tables.

An older catalog has some of these objects. Those that it lacks are created by the same statements that create
them in an empty database.
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
_CREATES = re.compile(
    r"\bcreate (?:or replace )?(?:unique )?(?:unlogged )?(table|view|function|index|sequence|type)\s+"
    r"(?:concurrently )?(?:if not exists )?(?:public\.)?\"?([a-z_0-9]+)",
    re.IGNORECASE,
)


class Column(msgspec.Struct, frozen=True):
    """A column of a table.

    Attributes:
        name: Name of the column.
        type: Name of its type in pg_type, with a leading underscore for an array.
        width: Maximum length of a varchar, in characters; None without a limit.
        required: Whether it is NOT NULL.
    """

    name: str
    type: str
    width: int | None = None
    required: bool = False

    @property
    def sql_type(self) -> str:
        """The type, as CREATE TABLE accepts it."""
        base = self.type.removeprefix("_") + (f"({self.width})" if self.width else "")
        return base + ("[]" if self.type.startswith("_") else "")


class Statement(NamedTuple):
    """A statement of the file.

    Attributes:
        kind: Kind of the object that it creates.
        name: Name of that object.
        text: The statement.
        table: Table of an index or of rows; otherwise empty.
    """

    kind: Kind
    name: str
    text: str
    table: str = ""


@cache
def statements() -> tuple[Statement, ...]:
    """Return the statements of the file, in order."""
    text = FILE.read_text(encoding="utf-8")
    return tuple(_classified(raw.stmt, _source(text, raw)) for raw in parse_sql(text))


def statement(kind: Kind, name: str) -> str:
    """Return the text of the statement that creates an object."""
    [found] = [s.text for s in statements() if (s.kind, s.name) == (kind, name)]
    return found


@cache
def columns(table: str) -> dict[str, Column]:
    """Return the columns of a table of the first revision by name, in order."""
    by_name: dict[str, Column] = {}
    for raw in parse_sql(FILE.read_text(encoding="utf-8")):
        node: Any = raw.stmt
        if not isinstance(node, ast.CreateStmt) or node.relation.relname != table:  # type: ignore[union-attr]
            continue
        elements: tuple[Any, ...] = node.tableElts or ()
        for element in elements:
            if isinstance(element, ast.TableLikeClause):
                by_name |= columns(element.relation.relname)  # type: ignore[union-attr]
            elif isinstance(element, ast.ColumnDef):
                column = _column(element)
                by_name[column.name] = column
    return by_name


@cache
def names_of_later_revisions() -> frozenset[str]:
    """Return the names of all tables, views, functions, indexes and sequences that a revision creates."""
    files = [path for path in VERSIONS.iterdir() if path.suffix in (".sql", ".py")]
    found = {name for path in files for _, name in _CREATES.findall(path.read_text(encoding="utf-8"))}
    return frozenset(found | {"catalog_version", "catalog_version_pkc"})


@cache
def names_by_revision() -> dict[str, frozenset[str]]:
    """Return the names of the objects that each revision creates, by revision, in order."""
    found: dict[str, set[str]] = {}
    for path in sorted(VERSIONS.iterdir()):
        if path.suffix in (".sql", ".py"):
            created = {name for _, name in _CREATES.findall(path.read_text(encoding="utf-8"))}
            found.setdefault(path.name[:4], set()).update(created)
    return {revision: frozenset(names) for revision, names in found.items() if revision.isdigit()}


def _source(text: str, raw: Any) -> str:
    """Return the source of a statement without the comments before it. pglast counts positions in bytes."""
    encoded = text.encode()
    end = raw.stmt_location + raw.stmt_len if raw.stmt_len else len(encoded)
    lines = encoded[raw.stmt_location : end].decode().strip().splitlines()
    while lines and (not lines[0].strip() or lines[0].startswith("--")):
        lines.pop(0)
    return "\n".join(lines)


def _classified(node: Any, text: str) -> Statement:
    # Attributes of pglast's nodes are optional; the statements of this file have the ones read here.
    match type(node).__name__:
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
    raise TypeError(
        f"{FILE.name} has a {type(node).__name__}, which adoption does not support: add it to _classified()."
    )


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
