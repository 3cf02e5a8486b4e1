"""Settings of every database session, whatever the defaults of the database and the role are."""

from typing import Any

import psycopg

Connection = psycopg.Connection[Any]

SETTINGS = {
    # Ours come before those of temporary tables, and no schema named like the user comes first.
    "search_path": "public, pg_temp",
    # Definitions are read and compared, and rows are sent as bytes.
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "client_encoding": "UTF8",
    # A query that row security would hide rows from fails instead.
    "row_security": "off",
    # What is read after a lock must be what is there then.
    "default_transaction_isolation": "read committed",
    # New tables lie where they are told to.
    "default_tablespace": "",
    # Work takes hours, and waits for another database meanwhile. What must be short sets a limit of its own.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
}


def settle(connection: Connection) -> None:
    """Apply the settings that our statements rely on, except those that the server does not know.

    Args:
        connection: To the catalog or the API database. In a transaction that is rolled back, the settings go
            with it.
    """
    connection.execute(
        "select pg_catalog.set_config(name, value, false)"
        " from unnest(%s::text[], %s::text[]) as ours (name, value)"
        " where pg_catalog.current_setting(name, true) is not null",
        [list(SETTINGS), list(SETTINGS.values())],
    )
