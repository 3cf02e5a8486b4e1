"""Changes that the server suppresses: a trigger or rule of an adopted table may do so without an error."""

from psycopg import sql

from catalog.core.session import Connection
from catalog.database.sql_files import statement


def suppressors(connection: Connection, table: str) -> str:
    """Name the triggers and rules of a table that can suppress changes of rows, such as `trigger keep`.

    Args:
        connection: Connection to the catalog database.
        table: The media table.
    """
    found = connection.execute(statement("suppressors"), {"table": f"public.{table}"}).fetchall()
    return ", ".join(name for (name,) in found)


def free_rows(connection: Connection, table: str, identifiers: sql.Composable) -> int:
    """Count the rows that are there, and that no other session has locked.

    Args:
        connection: Connection to the catalog database.
        table: The table.
        identifiers: Query of their identifiers.
    """
    query = "select from {} where identifier in ({}) for no key update skip locked"
    found = connection.execute(sql.SQL(query).format(sql.Identifier("public", table), identifiers))
    return found.rowcount
