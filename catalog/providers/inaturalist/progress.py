"""What earlier attempts have loaded of a dump."""

from catalog.core.session import Connection


def rows_loaded(connection: Connection, name: str) -> int | None:
    """Return the number of rows that an earlier attempt loaded; lock the name until the transaction ends."""
    connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [f"inaturalist {name}"])
    row = connection.execute("select rows from inaturalist.loaded where name = %s", [name]).fetchone()
    return row[0] if row else None


def note_loaded(connection: Connection, name: str, rows: int, unreadable: int) -> None:
    """Record a part of the dump as loaded, in the transaction that loaded it."""
    connection.execute("insert into inaturalist.loaded values (%s, %s, %s)", [name, rows, unreadable])
