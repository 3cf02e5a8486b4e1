"""`catalog providers`: the providers and the outcomes of their last runs."""

from typing import Annotated, Any

import msgspec
import psycopg
import typer
from psycopg.rows import dict_row
from rich.table import Table

from catalog.cli.output import AsJson, print_json
from catalog.cli.program import err, out
from catalog.core.conninfo import conninfo
from catalog.core.dates import utc
from catalog.core.errors import CatalogError
from catalog.ingestion.overview import overview
from catalog.ingestion.provider import broken_providers, provider_classes
from catalog.notifications.messages import flags_of


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
    names = {string: cls.name for cls in provider_classes() for string in cls.catalog_names.values()}
    query = """
        select distinct on (provider) provider, finished_on, inserted, updated, complete, whole, replayed,
               shortfalls, accepted,
               (select max(fresh_on) from whole_pull w where w.provider = r.provider) as fresh_on
          from ingestion_report r
         order by provider, finished_on desc
    """
    try:
        with psycopg.connect(conninfo(dsn), connect_timeout=3, row_factory=dict_row) as connection:
            rows = connection.execute(query).fetchall()
    except psycopg.Error as error:
        return {}, f"last runs: the catalog database does not answer ({type(error).__name__})"
    return {names[row["provider"]]: _last_run(row) for row in rows if row["provider"] in names}, ""


def _last_run(report: dict[str, Any]) -> str:
    """Describe a provider's newest report and the date of its newest whole pull."""
    limits = f", {words}" if (words := flags_of(report)) else ""
    fresh = f"{utc(report['fresh_on']):%Y-%m-%d}" if report["fresh_on"] else "never"
    return (
        f"{utc(report['finished_on']):%Y-%m-%d %H:%M}, {report['inserted']:,} new, "
        f"{report['updated']:,} changed{limits}; "
        f"whole until {fresh}"
    )
