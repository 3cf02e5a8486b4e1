"""`catalog providers`: the providers and the outcomes of their last runs."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
import psycopg
import typer
from rich.table import Table

from catalog.cli.connections import CATALOG, connected
from catalog.cli.output import AsJson, print_json
from catalog.cli.program import err, in_one_line, out
from catalog.core.dates import utc
from catalog.core.errors import CatalogError
from catalog.core.media import MediaType
from catalog.core.queries import database_time
from catalog.ingestion.overview import overview
from catalog.ingestion.registry import broken_providers
from catalog.monitoring import links, loads
from catalog.monitoring.links import Links
from catalog.monitoring.loads import Freshness, Load
from catalog.monitoring.sources import all_sources

T = TypeVar("T")
Outcomes = dict[str, dict[MediaType, T | None]]  # provider → media type → outcome; None: there is none


def providers(
    dsn: Annotated[
        str | None,
        typer.Option(
            envvar=[*CATALOG],
            help="postgresql:// URL of the catalog database, for the last runs.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the providers: media, schedule, keys, last runs, files gone; exit with 1 if one is broken."""
    last, gone, note = _outcomes(dsn)
    broken = broken_providers()
    if as_json:
        print_json(
            [
                *(
                    {
                        **msgspec.structs.asdict(found),
                        "last_runs": last and last[found.name],
                        "gone": gone and _as_json(gone[found.name]),
                    }
                    for found in overview()
                ),
                *({"name": name, "problem": str(error)} for name, error in broken.items()),
            ]
        )
    else:
        _show(last, gone)
    if note:
        err.print(note)
    if broken:
        raise CatalogError("; ".join(map(str, broken.values())))


def _show(last: Outcomes[str] | None, gone: Outcomes[Links] | None) -> None:
    table = Table(
        "provider",
        "media",
        "schedule",
        "dated",
        "key (Variable)",
        "rate limit",
        "popularity metric",
        "last run",
        "files gone",
    )
    for found in overview():
        cells = [str(cell).replace("`", "") for cell in msgspec.structs.astuple(found)]
        table.add_row(
            *cells,
            _in_words(last[found.name], "never") if last else "unknown",
            _in_words(_shares(gone[found.name]), "unknown") if gone else "unknown",
        )
    out.print(table)


def _in_words(outcomes: Mapping[MediaType, str | None], none: str) -> str:
    """Describe outcomes of a provider, each on a line of its own if there are several media types.

    Args:
        outcomes: Media type → outcome.
        none: In place of a missing one.
    """
    texts = {media_type: none if found is None else found for media_type, found in outcomes.items()}
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "\n".join(f"{media_type}: {text}" for media_type, text in texts.items())


def _outcomes(dsn: str | None) -> tuple[Outcomes[str] | None, Outcomes[Links] | None, str]:
    """Return the last load and the share of gone files of each source, None if unknown; or say why not."""
    if not dsn:
        return None, None, "last runs: give --dsn, or use ./just catalog providers while the stack is up"
    sources = all_sources()
    try:
        with connected(dsn, connect_timeout=3) as connection:
            recent = loads.last_loads(connection, sources)
            fresh = loads.freshness(connection, sources, database_time(connection))
            estimates = links.newest(connection, sources)
    except psycopg.Error as error:
        return None, None, f"last runs: unknown, because {in_one_line(error)}"
    runs: Outcomes[str] = {}
    gone: Outcomes[Links] = {}
    for source, some in recent.items():
        text = _last_run(some[-1], fresh[source]) if some else None
        runs.setdefault(source.provider, {})[source.media_type] = text
        gone.setdefault(source.provider, {})[source.media_type] = estimates.get(source)
    return runs, gone, ""


def _as_json(found: Mapping[MediaType, Links | None]) -> dict[MediaType, Any]:
    """Return the share of gone files of each media type, with its interval; None if it is not known."""
    return {
        media_type: {**one.estimate._asdict(), "checked_on": one.checked_on} if one and one.estimate else None
        for media_type, one in found.items()
    }


def _shares(found: Mapping[MediaType, Links | None]) -> dict[MediaType, str | None]:
    return {
        media_type: "{:.1%} ({:.1%} to {:.1%})".format(*one.estimate) if one and one.estimate else None
        for media_type, one in found.items()
    }


def _last_run(load: Load, freshness: Freshness) -> str:
    """Describe the newest load of a source and the date of its newest whole pull."""
    limits = f", {load.flags}" if load.flags else ""
    whole = f"whole until {utc(freshness.last):%Y-%m-%d}" if freshness.last else "no whole pull yet"
    return (
        f"{utc(load.finished_on):%Y-%m-%d %H:%M}, {load.inserted:,} new, {load.updated:,} changed{limits}; "
        f"{whole}"
    )
