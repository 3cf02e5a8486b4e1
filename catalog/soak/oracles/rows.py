"""Queries of the oracles."""

from collections.abc import Iterable
from typing import Any, LiteralString

from psycopg import sql

from catalog.core.session import Connection
from catalog.core.wording import join_first


def rows(
    connection: Connection, query: LiteralString, *values: object, **names: str
) -> list[tuple[Any, ...]]:
    """Return all rows of a query.

    Args:
        connection: Connection to any of the databases.
        query: Statement with `{name}` placeholders for identifiers.
        values: Parameters of the statement.
        names: Identifiers by placeholder.
    """
    identifiers = {key: sql.Identifier(name) for key, name in names.items()}
    return connection.execute(sql.SQL(query).format(**identifiers), values).fetchall()


def first_keys(keys: Iterable[tuple[str, str]]) -> str:
    """Return the first foreign identifiers of keys (provider, foreign identifier), for a message."""
    return join_first(sorted(identifier for _, identifier in keys))
