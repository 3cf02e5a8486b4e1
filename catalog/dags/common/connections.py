"""Clients and database connections of tasks, made from Airflow connections."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import psycopg
from airflow.sdk import Connection as AirflowConnection
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from catalog.core.connections import arguments_of, secrets_of
from catalog.core.errors import Fatal
from catalog.core.session import Connection, settle
from catalog.core.settings import API_DB, CATALOG_DB, SEARCH, STAGING_DB
from catalog.dags.common.iam import with_token
from catalog.dags.common.progress import stoppable
from catalog.dags.common.secrets import mask
from catalog.database.revision import require

DATABASES = {
    CATALOG_DB: "the catalog database",
    API_DB: "the API database",
    STAGING_DB: "the API's staging database",
}


def connect(conn_id: str, autocommit: bool = False) -> Connection:
    """Connect to the database of an Airflow connection, with the settings of `catalog.core.session`.

    SIGTERM does not cancel its statements: for work that asks by itself whether it should stop, and for other
    threads.

    Args:
        conn_id: The Airflow connection.
        autocommit: Whether each statement is its own transaction.
    """
    try:
        airflow_connection = AirflowConnection.get(conn_id)
    except AirflowNotFoundException:
        raise AirflowFailException(
            f"there is no connection {conn_id}; make one to {DATABASES.get(conn_id, 'a database')}."
        ) from None
    arguments = with_token(arguments_of(airflow_connection, application_name="catalog"), airflow_connection)
    connection = psycopg.connect(**arguments, autocommit=True)
    settle(connection)
    connection.autocommit = autocommit
    return connection


def connect_to_catalog(autocommit: bool = False) -> Connection:
    """Connect to the catalog database; see `connect`.

    Raises:
        Fatal: Its schema is older than this release needs.
    """
    connection = connect(CATALOG_DB, autocommit)
    try:
        with connection.transaction():
            require(connection)
    except Fatal:
        connection.close()
        raise
    return connection


@contextmanager
def database_connection(conn_id: str, autocommit: bool = False) -> Iterator[Connection]:
    """Connect to a database; SIGTERM cancels what it executes. See `connect` and `stoppable`."""
    with connect(conn_id, autocommit) as connection, stoppable(connection):
        yield connection


@contextmanager
def catalog_connection(autocommit: bool = False) -> Iterator[Connection]:
    """Connect to the catalog database; see `connect_to_catalog` and `database_connection`."""
    with connect_to_catalog(autocommit) as connection, stoppable(connection):
        yield connection


def api_connection(autocommit: bool = False) -> AbstractContextManager[Connection]:
    """Connect to the API database; see `database_connection`."""
    return database_connection(API_DB, autocommit)


class SearchConnection(NamedTuple):
    """The search engine of an Airflow connection.

    Attributes:
        client: Its client.
        shards: Number of shards of a new index; None for the usual number.
        replicas: Number of replicas of each shard.
    """

    client: Any
    shards: int | None
    replicas: int


def is_configured(conn_id: str) -> bool:
    """Return whether there is an Airflow connection."""
    try:
        AirflowConnection.get(conn_id)
    except AirflowNotFoundException:
        return False
    return True


def search_connection(conn_id: str = SEARCH) -> SearchConnection:
    """Connect to the search engine of an Airflow connection.

    Its extra may have `engine` (elasticsearch, the default, elasticsearch8 or opensearch), `shards`,
    `replicas`, `ca_certs`, `verify_certs` and `api_key`.
    """
    from catalog.data_refresh.search.client import connect_to

    try:
        connection = AirflowConnection.get(conn_id)
    except AirflowNotFoundException:
        raise AirflowFailException(
            f"there is no connection {conn_id}; make one (type http) to the search engine."
        ) from None
    extra = dict(connection.extra_dejson or {})
    for secret in secrets_of(connection):
        mask(secret)
    return SearchConnection(
        connect_to(connection),
        int(extra["shards"]) if "shards" in extra else None,
        int(extra.get("replicas", 1)),
    )
