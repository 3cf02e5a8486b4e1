"""Where the pages read from: databases, search engine and Variables, each with a short time limit."""

import logging
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

import psycopg
from airflow.configuration import conf
from elasticsearch import Elasticsearch
from upath import UPath

from catalog.core.connections import arguments_of
from catalog.core.errors import CatalogError
from catalog.core.secrets import without_secrets
from catalog.core.session import Connection
from catalog.core.setting import Malformed, Setting
from catalog.core.settings import OBJECT_STORAGE, SEARCH
from catalog.dags.common.iam import with_token
from catalog.data_refresh.search.client import connect_to

if TYPE_CHECKING:
    from airflow.models import Connection as AirflowConnection

log = logging.getLogger(__name__)
T = TypeVar("T")
SECONDS = 5  # of a statement or a request


def explained(part: str, error: Exception) -> str:
    """Log the error of a part of a page, and return what users may see of it."""
    log.warning("dashboard: %s: %s", part, without_secrets(repr(error)))
    if isinstance(error, CatalogError | Malformed):  # written for users, and without secrets
        return str(error)
    if isinstance(error, psycopg.OperationalError):
        return f"it does not answer, refuses the login, or takes too long ({type(error).__name__})"
    return type(error).__name__


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


def value_of(setting: Setting[T], problems: list[str]) -> T:
    """Return the value of a Variable, and add its malformed entries to the problems. Raises Malformed."""
    value, problem = setting.decode(_stored(setting.name))
    if problem:
        problems.append(problem)
    return value


def is_set(variable: str) -> bool:
    """Return whether a Variable has a value."""
    return bool(_stored(variable))


def _stored(variable: str) -> str | None:
    from airflow.models import Variable

    found: str | None = Variable.get(variable, default_var=None)
    return found


def storage() -> UPath:
    """Return the root of the TSV parts. Raises Malformed if it is not set."""
    from airflow.sdk import ObjectStoragePath

    return cast(UPath, ObjectStoragePath(value_of(OBJECT_STORAGE, [])))  # it behaves as one


def base_path() -> str:
    """Return the path of Airflow's UI behind a proxy; "" at the root of its host."""
    return urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
