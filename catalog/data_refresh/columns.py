"""What the modules of a copy share: its progress, its columns, the names of its tables."""

from collections.abc import Iterable
from uuid import UUID

import msgspec
from psycopg import sql


class Copied(msgspec.Struct):
    """Progress of a copy.

    Attributes:
        table: The table that is copied.
        rows: Rows copied.
        deleted: Rows left out because moderators deleted them.
        rejected: Rejected rows by reason.
        own: Columns that only the API has.
    """

    table: str
    rows: int = 0
    new: int = 0
    deleted: int = 0
    rejected: dict[str, int] = {}
    own: list[str] = []
    after: UUID | None = None
    done: bool = False


class Column(msgspec.Struct, frozen=True):
    """A column of the API's table and where it comes from. upstream: None when only the API has it."""

    name: str
    type: str
    upstream: str | None
    widest: int | None


def names(columns: Iterable[str], table: str = "") -> sql.Composed:
    """Columns, quoted, with commas between them; those of `table` if it is given."""
    return sql.SQL(", ").join(
        sql.Identifier(table, column) if table else sql.Identifier(column) for column in columns
    )


def temp_name(table: str) -> str:
    return f"temp_import_{table}"


def progress_name(table: str) -> str:
    return f"temp_import_{table}_progress"


def public(name: str) -> str:
    """A table of ours as `to_regclass` takes it."""
    return f'public."{name}"'
