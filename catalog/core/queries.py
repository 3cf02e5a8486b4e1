"""Short statements: one value, whether a relation exists, and the number of rows that a change affects."""

from datetime import datetime
from typing import Any, LiteralString, cast

from psycopg import sql
from psycopg.abc import Params

from catalog.core.session import Connection


def value(
    connection: Connection, query: LiteralString | sql.SQL | sql.Composed, params: Params | None = None
) -> Any:
    """Return the only value of a query that always returns one row, such as an aggregate.

    Args:
        connection: To any database; its rows are tuples.
        query: The query.
        params: Its parameters.

    Raises:
        ValueError: There is not exactly one row with one column.
    """
    [(found,)] = connection.execute(query, params).fetchall()
    return found


def database_time(connection: Connection) -> datetime:
    """Return the time by the clock of a database.

    What a database has dated is compared with it: the clocks of workers may differ from it, and from each
    other, by days.
    """
    return cast(datetime, value(connection, "select clock_timestamp()"))


def relation_exists(connection: Connection, name: str, schema: str = "public") -> bool:
    """Return whether there is a table, view, index or sequence.

    Args:
        connection: To any database; its rows are tuples.
        name: Its name, not quoted.
        schema: Schema that it is in.
    """
    query = "select to_regclass(format('%%I.%%I', %s::text, %s::text)) is not null"
    return bool(value(connection, query, [schema, name]))


def execute(connection: Connection, statement: LiteralString, **parts: sql.Composable) -> int:
    """Execute a statement, and return the number of rows that it affected.

    Args:
        connection: To any database.
        statement: The statement.
        parts: Quoted parts in place of its `{name}`s.
    """
    return connection.execute(sql.SQL(statement).format(**parts)).rowcount
