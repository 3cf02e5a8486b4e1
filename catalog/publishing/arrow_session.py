"""Sessions of the catalog database from which rows come as Arrow batches."""

from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from catalog.core.media import MEDIA_TYPES
from catalog.core.session import SETTINGS, settings_statement

LOCK_TIMEOUT = "10min"  # for a statement that moves rows; beyond, the other sessions' end is awaited


def connect(conninfo: str) -> Any:
    """Connect to the catalog for Arrow batches; the tables keep their pages until the connection is closed.

    While it is open, VACUUM FULL, CLUSTER and other statements that move rows to other pages wait. It has no
    snapshot yet, so it can be opened before one is taken, and `read_in` can follow.

    Args:
        conninfo: Connection string of libpq.

    Returns:
        An ADBC connection in a transaction.
    """
    from adbc_driver_postgresql import dbapi

    settings = settings_statement({**SETTINGS, "lock_timeout": LOCK_TIMEOUT})
    tables = sql.SQL(", ").join(sql.Identifier("public", media_type) for media_type in MEDIA_TYPES)
    connection = dbapi.connect(conninfo, autocommit=False)
    try:
        with connection.cursor() as cursor:
            cursor.execute(settings.as_string())
            cursor.fetchall()
            connection.commit()  # a transaction that has run a query cannot import a snapshot
            cursor.execute("set transaction isolation level repeatable read, read only")
            cursor.execute(sql.SQL("lock table {} in access share mode").format(tables).as_string())
    except BaseException:
        connection.close()
        raise
    return connection


def read_in(connection: Any, snapshot: str) -> None:
    """Let a connection read in a snapshot that another session has exported.

    Args:
        connection: Result of `connect`.
        snapshot: Name of the snapshot.
    """
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot)).as_string())


def conninfo_of(connection: psycopg.Connection[Any]) -> str:
    """Return how to open another connection like this one, with its password."""
    given = {**connection.info.get_parameters(), "password": connection.info.password or None}
    return make_conninfo(**{name: value for name, value in given.items() if value is not None})
