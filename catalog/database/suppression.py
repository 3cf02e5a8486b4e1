"""Changes that the server suppresses: a trigger or rule of an adopted table may do so without an error."""

from typing import Literal

from psycopg import sql

from catalog.core.session import Connection
from catalog.database.sql_files import sql_file

Change = Literal["insert", "update", "delete"]


def suppressors(connection: Connection, table: str, change: Change) -> str:
    """Name the triggers and rules that can suppress a change of rows, such as `trigger keep of image`.

    Args:
        connection: Connection to the catalog database.
        table: The table.
        change: The change.
    """
    values = {"table": f"public.{table}", "change": change}
    found = connection.execute(sql_file("suppressors"), values).fetchall()
    return ", ".join(f"{name} of {table}" for (name,) in found)


def refusing_indexes(connection: Connection, table: str) -> str:
    """Name the unique indexes that may refuse a record although its identifier, URL and key are free.

    Args:
        connection: Connection to the catalog database.
        table: The media table.
    """
    values = {"table": f"public.{table}", "key": f"{table}_provider_fid_idx"}
    found = connection.execute(sql_file("foreign_unique_indexes"), values).fetchall()
    return ", ".join(f"{name} of {table}" for (name,) in found)


def lock_free_rows(connection: Connection, table: str, identifiers: sql.Composable) -> int:
    """Lock the rows that are there and that no other session has locked, and return their number.

    Args:
        connection: Connection to the catalog database, in a transaction.
        table: The table.
        identifiers: Query of their identifiers.
    """
    query = "select from {} where identifier in ({}) for update skip locked"
    found = connection.execute(sql.SQL(query).format(sql.Identifier("public", table), identifiers))
    return found.rowcount
