"""Where commands connect to: an address on the command line, or that of an Airflow connection's variable."""

import os
from typing import Annotated, Any

import psycopg
import typer
from elasticsearch import Elasticsearch

from catalog.core import airflow_names
from catalog.core.conninfo import conninfo, fields_of
from catalog.core.errors import Fatal, Refused
from catalog.core.session import Connection
from catalog.core.settings import API_DB, CATALOG_DB, SEARCH, connection_variable
from catalog.data_refresh.search.client import connect_to
from catalog.database.revision import Which

CATALOG = ("CATALOG_DSN", connection_variable(CATALOG_DB))  # the first one that is set counts
AIRFLOW = airflow_names.ADDRESS
API, ENGINE = connection_variable(API_DB), connection_variable(SEARCH)
SECONDS = 10  # for which a person waits for an answer of the engine
NAMES: dict[Which, str] = {"catalog": "catalog", "api": "API"}
_ENVIRONMENT: dict[Which, tuple[str, ...]] = {"catalog": CATALOG, "api": (API,)}
Dsn = Annotated[
    str,
    typer.Option(
        envvar=[*CATALOG],
        help="Address of the catalog database: postgresql://user:password@host:port/database.",
        show_default=False,
    ),
]
DsnOf = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        help="Address of the database: postgresql://user:password@host:port/database. Default: "
        "that of CATALOG_DSN or of the schema's AIRFLOW_CONN_POSTGRES_OPENLEDGER_….",
        show_default=False,
    ),
]


def dsn_of(which: Which, given: str | None) -> str:
    """Return the address of a database.

    Args:
        which: The catalog's or the API's database.
        given: Address on the command line; by default, that of the environment.

    Raises:
        Refused: Neither has an address.
    """
    for dsn in (given, *(os.environ.get(name) for name in _ENVIRONMENT[which])):
        if dsn:
            return dsn
    raise Refused(
        f"give --dsn, or set {' or '.join(_ENVIRONMENT[which])}: the address of the {NAMES[which]} database."
    )


def address_of(variable: str) -> str:
    """Return the address in an environment variable.

    Raises:
        Refused: It is not set.
    """
    if not (address := os.environ.get(variable)):
        raise Refused(f"{variable} is not set; ./just catalog sets it while the stack is up.")
    return address


def connected(dsn: str, **limits: Any) -> Connection:
    """Connect to a database, in autocommit.

    Args:
        dsn: Its address, as a URL.
        **limits: Further parameters of libpq.
    """
    return psycopg.connect(conninfo(dsn), autocommit=True, **limits)


def api() -> Connection:
    """Connect to the API's database."""
    return connected(address_of(API))


def engine() -> Elasticsearch:
    """Return a client for the engine of the environment variable, which is JSON or a URL, as for Airflow."""
    value = address_of(ENGINE)
    try:  # the texts of the errors may quote the value
        found = fields_of(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise Fatal(
            f"{ENGINE} is neither the URI nor the JSON of an Airflow connection: {type(error).__name__}."
        ) from None
    try:
        return connect_to(found).options(request_timeout=SECONDS)
    except (ValueError, TypeError, AttributeError) as error:
        raise Fatal(
            f"the fields of {ENGINE} contradict each other, or are malformed: {type(error).__name__}."
        ) from None
