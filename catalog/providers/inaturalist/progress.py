"""What the tables hold of a dump, which every task requires before it reads them."""

from collections.abc import Collection
from datetime import datetime
from typing import cast

from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.providers.inaturalist.provider import FILES

LOADED = (*FILES, "taxa_named")  # the parts of a dump that its check and its batches read
# Noted in `loaded` like a part, so that the check of one dump does not count for another.
CHECKED = "the check"
_TABLES = {name: (name,) for name in LOADED} | {"names": ("vernacular_names", "scientific_names")}


def require(
    connection: Connection, token: str, parts: Collection[str] = (), *, counted: bool = False
) -> None:
    """Check that the tables hold a dump; they cannot be replaced until the transaction ends.

    Args:
        connection: To the catalog database, in the transaction that reads the tables.
        token: Token of the dump.
        parts: What must have been loaded.
        counted: Count the rows of all tables; each is read as a whole.

    Raises:
        Fatal: The tables are missing or were emptied, hold another dump, or lack a part or some of its rows.
    """
    if problem := difference(connection, token, parts, counted=counted):
        raise Fatal(f"{problem}; clear check_for_file_updates and all tasks after it to load the dump again.")


def difference(
    connection: Connection, token: str, parts: Collection[str] = (), *, counted: bool = False
) -> str | None:
    """Describe why the tables do not hold a dump, as `require` says; return None if they do."""
    if connection.execute("select to_regclass('inaturalist.dump')").fetchone() == (None,):
        return "the tables of iNaturalist's dump do not exist"
    held = connection.execute("select token from inaturalist.dump").fetchone()
    if held is None:
        return "the tables of iNaturalist's dump are empty: PostgreSQL empties them after a crash"
    if held != (token,):
        return f"the tables of iNaturalist's dump hold another one ({held[0]}) than this run's ({token})"
    loaded = dict(connection.execute("select name, rows from inaturalist.loaded").fetchall())
    if missing := [part for part in parts if part not in loaded]:
        return f"the tables of iNaturalist's dump lack {', '.join(missing)}"
    loaded.pop(CHECKED, None)
    for part, rows in loaded.items() if counted else ():
        if (found := sum(_count(connection, table) for table in _TABLES[part])) != rows:
            return f"the tables of iNaturalist's dump hold {found:,} of {rows:,} rows of {part}"
    return None


def begun(connection: Connection) -> datetime:
    """Return when the first part of the dump in the tables began to be read."""
    # Tables that an earlier release has made do not have this column.
    row = connection.execute(
        "select coalesce((to_jsonb(d) ->> 'began')::timestamptz, now()) from inaturalist.dump d"
    ).fetchone()
    assert row
    return cast(datetime, row[0])


def _count(connection: Connection, table: str) -> int:
    query = sql.SQL("select count(*) from {}").format(sql.Identifier("inaturalist", table))
    row = connection.execute(query).fetchone()
    assert row
    return int(row[0])


def rows_loaded(connection: Connection, token: str, name: str) -> int | None:
    """Return the number of rows that an earlier attempt loaded; lock the name until the transaction ends.

    Args:
        connection: To the catalog database, in the transaction that loads what is missing.
        token: Token of the dump.
        name: What is loaded.

    Raises:
        Fatal: The tables do not hold this dump.
    """
    connection.execute("select pg_advisory_xact_lock(hashtext(%s))", [f"inaturalist {name}"])
    require(connection, token)
    row = connection.execute("select rows from inaturalist.loaded where name = %s", [name]).fetchone()
    return row[0] if row else None


def note_loaded(connection: Connection, name: str, rows: int, unreadable: int) -> None:
    """Record a part of the dump as loaded, in the transaction that loaded it."""
    connection.execute("insert into inaturalist.loaded values (%s, %s, %s)", [name, rows, unreadable])


def note_checked(connection: Connection, passed: bool) -> None:
    """Record whether the dump has passed its check, in the transaction that checked it."""
    connection.execute("delete from inaturalist.loaded where name = %s", [CHECKED])
    if passed:
        note_loaded(connection, CHECKED, 0, 0)
