"""`catalog sample-data`: made-up media for databases."""

import os
import time
from typing import Annotated

import psycopg
import typer

from catalog.cli.program import out
from catalog.core.conninfo import conninfo
from catalog.core.errors import CatalogError
from catalog.database.revision import Which
from catalog.database.sample_data import fill

DATABASES: dict[str, tuple[str, Which]] = {
    "catalog": ("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", "catalog"),
    "api": ("AIRFLOW_CONN_POSTGRES_OPENLEDGER_API", "api"),
    "staging": ("AIRFLOW_CONN_POSTGRES_OPENLEDGER_API_STAGING", "api"),
}


def sample_data(
    rows: Annotated[
        int, typer.Option(min=1, help="Images; a tenth of that number of audio files is added.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Determines the records.")] = 1,
    database: Annotated[
        list[str] | None, typer.Option(help="catalog, api or staging; default: all three.")
    ] = None,
) -> None:
    """Fill the databases of AIRFLOW_CONN_POSTGRES_OPENLEDGER_* with made-up media, the same in each."""
    for name in database or ["catalog", "api", "staging"]:
        if name not in DATABASES:
            raise CatalogError(f"there is no database {name!r}; there are {', '.join(DATABASES)}.")
        variable, which = DATABASES[name]
        if not (dsn := os.environ.get(variable)):
            raise CatalogError(
                f"{variable} is not set: the URL of the {name} database. ./just catalog sets it while "
                "the stack is up."
            )
        began = time.monotonic()
        with psycopg.connect(conninfo(dsn), autocommit=True) as connection:
            added = fill(connection, which, rows, seed)
        shown = ", ".join(f"{number:,} {table}" for table, number in added.items())
        out.print(f"{name}: {shown} in {time.monotonic() - began:.1f} s")
