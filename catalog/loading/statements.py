"""The statements of a load: SQL files with placeholders, which all get their values from one place."""

import re
import uuid
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.abc import Params

from catalog.core.columns import MAX_URL_BYTES, REQUIRED
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.core.sql_files import read_sql
from catalog.ingestion.reasons import URL_TAKEN
from catalog.loading.columns import columns, same_file, updated

_FOLDER = Path(__file__).parent / "sql"
_MARKED = sql.SQL("old.removed_from_source and removal.identifier is null")


def from_file(name: str) -> LiteralString:
    """Return a statement from its file in `sql/`."""
    return read_sql(_FOLDER / f"{name}.sql")


class Statements:
    """Executes the statements of one load.

    Args:
        connection: Connection to the catalog database, in the transaction of the load.
        placeholders: Their values.
    """

    def __init__(self, connection: Connection, placeholders: dict[str, sql.Composable]) -> None:
        self.connection, self._placeholders = connection, placeholders

    def set(self, **placeholders: sql.Composable) -> None:
        """Set placeholders for all statements that follow."""
        self._placeholders.update(placeholders)

    def compose(self, statement: LiteralString, **more: sql.Composable) -> sql.Composed:
        """Return a statement with the values of its placeholders; those given here come first."""
        return sql.SQL(statement).format(**(self._placeholders | more))

    def execute(
        self, statement: LiteralString, params: Params | None = None, **more: sql.Composable
    ) -> psycopg.Cursor[Any]:
        """Execute a statement.

        Args:
            statement: Its text.
            params: Its parameters.
            more: Values of placeholders of this statement only.
        """
        return self.connection.execute(self.compose(statement, **more), params)

    def run(self, name: str, params: Params | None = None, **more: sql.Composable) -> psycopg.Cursor[Any]:
        """Execute the statement of a file; see `execute`."""
        return self.execute(from_file(name), params, **more)

    def row(self, name: str) -> tuple[Any, ...]:
        """Execute the statement of a file and return its only row."""
        [row] = self.run(name).fetchall()
        return tuple(row)


def placeholders(media_type: MediaType, provider: str, include_deleted: bool) -> dict[str, sql.Composable]:
    """Return the values that are known when a load begins.

    - `table`, `deleted_table`, `metrics`: the tables of the media type
    - `loading`, `name`: the loading table, as an identifier and as a string
    - `media`: the media type, as a string
    - `include_deleted`: whether deleted records are restored
    - `columns`: all columns of a part; `values`: what an insert stores in them
    - `changes`: whether an update would change a row; `merged`: the assignments of the update
    - `merged_meta`: the value of `meta_data` among them
    - `another_url`: whether an insert or update would store a URL that `old` does not have
    - `same_file_as_deleted`, `same_file_as_stored`: whether `new` brings the file of `gone`, or of `old`
    - `file_gone`: whether an open removal of `old` is about the file of `new`
    - `unusable`: whether a row cannot be loaded; `reason`: the branches of a `case` that tell why
    - `url_taken`: the reason of rows whose URL belongs to another record
    - `among`: which of the new or the changed rows are written

    `Load` adds `superseded`, whether a later pull has brought what `old` holds, and `Writing` adds `staying`.

    Args:
        media_type: Media type of the rows.
        provider: Name of the provider in the catalog.
        include_deleted: Restore records that were deleted from the catalog.
    """
    loading = f"load_{media_type}_{re.sub('[^a-z0-9]+', '_', provider.lower())[:30]}_{uuid.uuid4().hex[:10]}"
    all_columns, changeable = columns(media_type), updated(media_type)
    reasons: dict[str, sql.Composable] = {
        f"missing {column}": sql.SQL("{} is null").format(sql.Identifier(column))
        for column in (*REQUIRED, "provider")
    }
    reasons["url too long"] = sql.SQL("octet_length(url) > {}").format(sql.Literal(MAX_URL_BYTES))
    new_url = sql.Identifier("new", "url")
    comma, either, space = sql.SQL(", "), sql.SQL("\n    or "), sql.SQL(" ")
    return {
        "table": sql.Identifier(media_type),
        "deleted_table": sql.Identifier(f"deleted_{media_type}"),
        "metrics": sql.Identifier(f"{media_type}_popularity_metrics"),
        "loading": sql.Identifier(loading),
        "name": sql.Literal(loading),
        "media": sql.Literal(media_type),
        "include_deleted": sql.Literal(include_deleted),
        "columns": comma.join(c.identifier for c in all_columns),
        "values": comma.join(c.inserted() for c in all_columns),
        "changes": either.join([_MARKED, *(c.differs() for c in changeable)]),
        "merged": comma.join(sql.SQL("{} = {}").format(c.identifier, c.merged()) for c in changeable),
        "merged_meta": next(c for c in all_columns if c.name == "meta_data").merged(),
        "another_url": next(c for c in all_columns if c.name == "url").differs(),
        "same_file_as_deleted": same_file(sql.Identifier("gone", "url"), new_url),
        "same_file_as_stored": same_file(sql.Identifier("old", "url"), new_url),
        # Sources send records whose file is gone. A new URL counts as a new file.
        "file_gone": sql.SQL(
            "removal.identifier = old.identifier and removal.media_type = {}"
            " and removal.ended_on is null and {}"
        ).format(sql.Literal(media_type), same_file(sql.Identifier("removal", "url"), new_url)),
        "unusable": either.join(reasons.values()),
        "reason": space.join(
            sql.SQL("when {} then {}").format(test, sql.Literal(reason)) for reason, test in reasons.items()
        ),
        "url_taken": sql.Literal(URL_TAKEN),
        "among": sql.SQL("true"),
    }
