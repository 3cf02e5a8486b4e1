"""What earlier attempts have loaded of a dump, and the SQL files of this package."""

from pathlib import Path

from psycopg import sql

from catalog.core.session import Connection

_HERE = Path(__file__).parent


def rows_loaded(connection: Connection, name: str) -> int | None:
    """Return the number of rows that an earlier attempt loaded; lock the name until the transaction ends."""
    connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [f"inaturalist {name}"])
    row = connection.execute("select rows from inaturalist.loaded where name = %s", [name]).fetchone()
    return row[0] if row else None


def note_loaded(connection: Connection, name: str, rows: int, unreadable: int) -> None:
    """Record a part of the dump as loaded, in the transaction that loaded it."""
    connection.execute("insert into inaturalist.loaded values (%s, %s, %s)", [name, rows, unreadable])


def statement(file: str) -> sql.SQL:
    """Return the statement of a file."""
    return sql.SQL((_HERE / file).read_text(encoding="utf-8"))
