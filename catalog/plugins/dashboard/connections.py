"""Connections to databases and to the search engine, each with a short time limit; they only read."""

from typing import TYPE_CHECKING

import psycopg
from elasticsearch import Elasticsearch

from catalog.core.connections import arguments_of
from catalog.core.session import Connection
from catalog.core.settings import SEARCH
from catalog.dags.common.iam import with_token
from catalog.data_refresh.search.client import connect_to

if TYPE_CHECKING:
    from airflow.models import Connection as AirflowConnection

SECONDS = 5  # of a statement or a request


def _airflow_connection(conn_id: str) -> "AirflowConnection":
    from airflow.models import Connection as AirflowConnection

    return AirflowConnection.get_connection_from_secrets(conn_id)


def database(conn_id: str) -> Connection:
    """Connect to the database of an Airflow connection, read-only."""
    found = _airflow_connection(conn_id)
    options = f"-c statement_timeout={SECONDS * 1000} -c default_transaction_read_only=on"
    limits = {"connect_timeout": 3, "options": options}
    arguments = with_token(arguments_of(found, application_name="catalog dashboard", **limits), found)
    return psycopg.connect(**arguments, autocommit=True)


def engine() -> Elasticsearch:
    """Return a client of the search engine."""
    return connect_to(_airflow_connection(SEARCH)).options(request_timeout=SECONDS)
