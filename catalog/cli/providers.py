"""`catalog providers`: the providers and the outcomes of their last runs."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import psycopg
import typer
from rich.table import Table

from catalog.cli.output import AsJson, print_json
from catalog.cli.program import err, in_one_line, out
from catalog.core.conninfo import conninfo
from catalog.core.dates import utc
from catalog.core.errors import CatalogError
from catalog.core.media import MediaType
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
    """List the providers: media, schedule, keys, rate limits, last runs; exit with 1 if one is broken."""
    last, note = _last_runs(dsn)
    broken = broken_providers()
    if as_json:
        print_json(
            [
                *(
                    {**msgspec.structs.asdict(found), "last_runs": last and last[found.name]}
                    for found in overview()
                ),
                *({"name": name, "problem": str(error)} for name, error in broken.items()),
            ]
        )
    else:
        _show(last)
    if note:
        err.print(note)
    if broken:
        raise CatalogError("; ".join(map(str, broken.values())))


def _show(last: dict[str, dict[MediaType, str | None]] | None) -> None:
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
        table.add_row(*cells, _in_words(last[found.name]) if last else "unknown")
    out.print(table)


def _in_words(runs: dict[MediaType, str | None]) -> str:
    """Describe the last runs of a provider, each on a line of its own if there are several media types."""
    if len(runs) == 1:
        return next(iter(runs.values())) or "never"
    return "\n".join(f"{media_type}: {text or 'never'}" for media_type, text in runs.items())


def _last_runs(dsn: str | None) -> tuple[dict[str, dict[MediaType, str | None]] | None, str]:
    """Describe the last load of each provider and media type, None if there is none; or say why not."""
    if not dsn:
        return None, "last runs: give --dsn, or use ./just catalog providers while the stack is up"
    sources = loads.sources()
    try:
        with psycopg.connect(conninfo(dsn), connect_timeout=3, autocommit=True) as connection:
            recent = loads.last_loads(connection, sources)
            fresh = loads.freshness(connection, sources, datetime.now(UTC))
    except psycopg.Error as error:
        return None, f"last runs: unknown, because {in_one_line(error)}"
    found: dict[str, dict[MediaType, str | None]] = {}
    for source, some in recent.items():
        text = _last_run(some[-1], fresh[source]) if some else None
        found.setdefault(source.provider, {})[source.media_type] = text
    return found, ""


def _last_run(load: Load, freshness: Freshness) -> str:
    """Describe the newest load of a source and the date of its newest whole pull."""
    limits = f", {load.flags}" if load.flags else ""
    until = f"{utc(freshness.last):%Y-%m-%d}" if freshness.last else "never"
    return (
        f"{utc(load.finished_on):%Y-%m-%d %H:%M}, {load.inserted:,} new, {load.updated:,} changed{limits}; "
        f"whole until {until}"
    )
