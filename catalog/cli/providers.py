"""`catalog providers`: the providers and the outcomes of their last runs."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import psycopg
import typer
from rich.table import Table

from catalog.cli.output import AsJson, print_json
from catalog.cli.program import err, out
from catalog.core.conninfo import conninfo
from catalog.core.dates import utc
from catalog.core.errors import CatalogError
from catalog.ingestion.overview import overview
from catalog.ingestion.provider import broken_providers
from catalog.monitoring import loads
from catalog.monitoring.loads import Freshness, Load


def providers(
    dsn: Annotated[
        str | None,
        typer.Option(
            envvar=["CATALOG_DSN", "AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM"],
            help="postgresql:// URL of the catalog database, for the last runs.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the providers: media, schedule, keys, rate limits, last run."""
    last, note = _last_runs(dsn)
    if as_json:
        print_json(
            [{**msgspec.structs.asdict(found), "last_run": last.get(found.name)} for found in overview()]
        )
        return
    table = Table(
        "provider",
        "media",
        "schedule",
        "dated",
        "key (Variable)",
        "rate limit",
        "popularity metric",
        "last run",
    )
    for found in overview():
        cells = [str(cell).replace("`", "") for cell in msgspec.structs.astuple(found)]
        table.add_row(*cells, last.get(found.name, "?" if note else "never"))
    out.print(table)
    if note:
        err.print(note)
    if broken := broken_providers():
        raise CatalogError("; ".join(map(str, broken.values())))


def _last_runs(dsn: str | None) -> tuple[dict[str, str], str]:
    """Return the outcome of the last load by provider, and an explanation if it is unknown."""
    if not dsn:
        return {}, "last runs: give --dsn, or use ./just catalog providers while the stack is up"
    sources = loads.sources()
    try:
        with psycopg.connect(conninfo(dsn), connect_timeout=3, autocommit=True) as connection:
            recent = loads.last_loads(connection, sources)
            fresh = loads.freshness(connection, sources, datetime.now(UTC))
    except psycopg.Error as error:
        return {}, f"last runs: the catalog database does not answer ({type(error).__name__})"
    newest = sorted(
        ((some[-1], source) for source, some in recent.items() if some), key=lambda pair: pair[0].finished_on
    )
    return {source.provider: _last_run(load, fresh[source]) for load, source in newest}, ""


def _last_run(load: Load, freshness: Freshness) -> str:
    """Describe a provider's newest load and the date of its newest whole pull."""
    limits = f", {load.flags}" if load.flags else ""
    until = f"{utc(freshness.last):%Y-%m-%d}" if freshness.last else "never"
    return (
        f"{utc(load.finished_on):%Y-%m-%d %H:%M}, {load.inserted:,} new, {load.updated:,} changed{limits}; "
        f"whole until {until}"
    )
