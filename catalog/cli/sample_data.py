"""`catalog sample-data`: made-up media for databases."""

import time
from typing import Annotated

import typer

from catalog.cli.connections import address_of, connected
from catalog.cli.program import out
from catalog.core.errors import CatalogError
from catalog.core.settings import API_DB, CATALOG_DB, STAGING_DB, connection_variable
from catalog.database.revision import Which
from catalog.database.sample_data import fill

DATABASES: dict[str, tuple[str, Which]] = {  # name → id of its connection, schema
    "catalog": (CATALOG_DB, "catalog"),
    "api": (API_DB, "api"),
    "staging": (STAGING_DB, "api"),
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
        conn_id, which = DATABASES[name]
        began = time.monotonic()
        with connected(address_of(connection_variable(conn_id))) as connection:
            added = fill(connection, which, rows, seed)
        shown = ", ".join(f"{number:,} {table}" for table, number in added.items())
        out.print(f"{name}: {shown} in {time.monotonic() - began:.1f} s")
