"""Types and names shared by the modules of a copy: progress, columns, temporary tables."""

from collections.abc import Iterable
from typing import Literal
from uuid import UUID

import msgspec
from psycopg import sql


class Copied(msgspec.Struct):
    """Progress of a copy.

    Attributes:
        table: Name of the live table.
        rows: Copied rows.
        new: Copied rows that the API did not have.
        deleted: Rows left out because moderators deleted them.
        rejected: Rejected rows by reason.
        own: Columns that only the API has.
        horizon: Horizon of the catalog database before the first row was read.
        file: File of the catalog's table, which changes if all rows are moved; None for a view.
        snapshots: Contents of each snapshot in which rows were read.
        after: Identifier of the last changed record that was copied; None at the start.
        done: True when all rows are copied.
    """

    table: str
    rows: int = 0
    new: int = 0
    deleted: int = 0
    rejected: dict[str, int] = {}
    own: list[str] = []
    horizon: int = 0
    file: int | None = None
    snapshots: list[str] = []
    after: UUID | None = None
    done: bool = False


class Column(msgspec.Struct, frozen=True):
    """A column of the API's table and its source.

    Attributes:
        name: Name in the API's table.
        type: Its type there, as SQL.
        upstream: Type in the catalog; None for a column that only the API has.
        widest: Maximum length, in characters; None without a limit.
    """

    name: str
    type: str
    upstream: str | None
    widest: int | None


def names(columns: Iterable[str], table: str = "") -> sql.Composed:
    """Return quoted column names separated by commas, qualified with `table` if it is given."""
    return sql.SQL(", ").join(
        sql.Identifier(table, column) if table else sql.Identifier(column) for column in columns
    )


def matching(table: str, columns: Iterable[str], other: str, its_columns: Iterable[str]) -> sql.Composed:
    """Return the condition that columns of one table equal those of another, as a join or a key means it."""
    return sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(table, column), sql.Identifier(other, its_column))
        for column, its_column in zip(columns, its_columns, strict=True)
    )


def set_to_null(columns: Iterable[str]) -> sql.Composed:
    """Return the assignments that clear columns in an UPDATE."""
    return sql.SQL(", ").join(sql.SQL("{} = null").format(sql.Identifier(column)) for column in columns)


def temp_name(table: str) -> str:
    return f"temp_import_{table}"


def progress_name(table: str) -> str:
    return f"temp_import_{table}_progress"


def ranges_name(table: str) -> str:
    return f"temp_import_{table}_ranges"


def own_name(table: str) -> str:
    return f"temp_import_{table}_own"


def changes_name(table: str) -> str:
    return f"temp_import_{table}_changes"


def moderated_name(kind: Literal["deleted", "mature"], table: str) -> str:
    """Return the name of the API's table of the records about which moderators have decided so."""
    return f"api_{kind}{table}"


def temporary_names(table: str) -> list[str]:
    """Return the names of all tables that a refresh creates for a live table."""
    return [name(table) for name in (temp_name, progress_name, ranges_name, own_name, changes_name)]


def public(name: str) -> str:
    """Return the qualified, quoted name of a table, as `to_regclass` expects it."""
    return f'public."{name}"'
