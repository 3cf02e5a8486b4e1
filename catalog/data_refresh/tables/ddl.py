"""Statements composed of quoted parts."""

from typing import LiteralString

from psycopg import sql

from catalog.core.session import Connection


def compose(statement: LiteralString, **parts: sql.Composable) -> sql.Composed:
    """Return a statement with quoted parts in place of its `{name}`s."""
    return sql.SQL(statement).format(**parts)


def execute(connection: Connection, statement: LiteralString, **parts: sql.Composable) -> int:
    """Execute a statement, and return the number of rows that it affected."""
    return connection.execute(compose(statement, **parts)).rowcount
