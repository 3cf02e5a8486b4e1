"""`catalog status` and `catalog provider`: what the dashboard shows, in a terminal."""

import os
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from catalog.cli.connections import AIRFLOW, ENGINE, Dsn, connected, engine
from catalog.cli.output import AsJson, print_json
from catalog.cli.program import in_one_line, out
from catalog.core.dates import utc
from catalog.core.queries import database_time
from catalog.ingestion.overview import facts
from catalog.ingestion.registry import broken_providers, unknown_provider
from catalog.monitoring import counts, loads
from catalog.monitoring.counts import Number
from catalog.monitoring.finding import Finding
from catalog.monitoring.loads import Freshness, Load
from catalog.monitoring.sources import Source, all_sources
from catalog.monitoring.summary import Summary, summarize

NEWEST = 8  # loads
HISTORY = 10  # loads of a provider
REASONS = 8
WAIT = 5  # seconds for a connection


def status(dsn: Dsn, as_json: AsJson = False) -> None:
    """Show what needs a person, the newest loads, and what is live; exit with 1 if something is wrong.

    The dashboard also shows DAGs that were lost, and silenced messages.
    """
    from catalog.monitoring import failed_runs  # SQLAlchemy takes long to import

    engine_checked, airflow = bool(os.environ.get(ENGINE)), os.environ.get(AIRFLOW)
    known = summarize(
        lambda: connected(dsn, connect_timeout=WAIT),
        engine if engine_checked else None,
        lambda _, error: in_one_line(error),
        datetime.now(UTC),
    )
    failed: dict[tuple[str, str], Finding] = {}
    airflow_checked = bool(airflow)
    if airflow:
        with known.part("Airflow's database", lambda _, error: type(error).__name__):
            failed = failed_runs.of_database(airflow, WAIT, datetime.now(UTC))
    findings = failed_runs.merged([*known.findings, *known.unread], failed)
    if as_json:
        print_json(
            _status_json(known, findings, engine_checked=engine_checked, airflow_checked=airflow_checked)
        )
    else:
        _show_findings(findings, engine_checked=engine_checked, airflow_checked=airflow_checked)
        _show_what_is_there(known)
    raise typer.Exit(1 if any(one.severity == "error" for one in findings) else 0)


def _status_json(
    known: Summary, findings: list[Finding], *, engine_checked: bool, airflow_checked: bool
) -> dict[str, Any]:
    return {
        "engine_checked": engine_checked,
        "airflow_checked": airflow_checked,
        "findings": msgspec.to_builtins(findings),
        "records": [
            {"media_type": media_type, "provider": provider, **_number_json(number)}
            for (media_type, provider), number in known.records.by_provider.items()
        ]
        if known.records
        else None,
        "newest_loads": known.newest and [_load_json(source, load) for source, load in known.newest[:NEWEST]],
        "inserted_by_week": known.growth
        and [{"week": week, "inserted": inserted} for week, inserted in known.growth],
        "dataset": msgspec.to_builtins(known.dataset),
        "aliases": msgspec.to_builtins(known.live.aliases) if known.live else None,
    }


def _show_what_is_there(known: Summary) -> None:
    """Show the newest loads, the version of the dataset, and the indexes that are searched."""
    if known.newest is not None:
        _show_loads(known.newest[:NEWEST])
    if known.dataset:
        records = " and ".join(f"{number:,} {media}" for media, number in known.dataset.records.items())
        day = f"{utc(known.dataset.published_on):%Y-%m-%d}"
        out.print(
            f"dataset: version {known.dataset.number} of {day}, {records} records, "
            f"as the catalog's table says; the files below {known.dataset.root} were not looked at"
        )
    for alias in known.live.aliases if known.live else ():
        shown = f"{alias.documents:,} documents in {alias.index}" if alias.index else "no index yet"
        out.print(f"{alias.name}: {alias.problem or shown}")


def _show_findings(found: list[Finding], *, engine_checked: bool, airflow_checked: bool) -> None:
    if not engine_checked:
        out.print(f"The search engine was not checked: {ENGINE} is not set.", style="yellow")
    if not airflow_checked:
        out.print(f"Failed runs were not looked for: {AIRFLOW} is not set.", style="yellow")
    if not found:
        checked = "databases and the search engine" if engine_checked else "databases"
        failed = ", and no failed run needs you" if airflow_checked else ""
        out.print(f"Nothing in the {checked} needs you{failed}.", style="green")
        return
    table = Table("", "about", "what", "in docs/runbook.md")
    for one in found:
        color = "red" if one.severity == "error" else "yellow"
        table.add_row(Text(one.severity, color), one.subject, one.text, one.runbook)
    out.print(table)


def _show_loads(last: list[tuple[Source, Load]]) -> None:
    table = Table("provider", "ended (UTC)", "new", "changed", "rejected", "outcome", title="Newest loads")
    for source, load in last:
        table.add_row(f"{source.name} ({source.media_type})", *_cells(load))
    out.print(table)


def _cells(load: Load) -> list[str]:
    numbers = (f"{number:,}" for number in (load.inserted, load.updated, load.rejected))
    return [f"{utc(load.finished_on):%Y-%m-%d %H:%M}", *numbers, load.outcome]


def _number_json(number: Number) -> dict[str, Any]:
    return {"records": number.value, "exact": number.exact}


def _load_json(source: Source, load: Load) -> dict[str, Any]:
    return {"provider": source.name, "media_type": source.media_type, **msgspec.to_builtins(load)}


def provider(
    name: Annotated[str, typer.Argument(help="Name of the provider: of its folder, or in the catalog.")],
    dsn: Dsn,
    as_json: AsJson = False,
) -> None:
    """Show a provider: its declaration, freshness, last loads, and why records were rejected or skipped."""
    sources = all_sources()
    names = {name, *(source.provider for source in sources if source.name == name)}
    own = [source for source in sources if source.provider in names]
    if not own:
        if broken := broken_providers().get(name):
            raise broken
        raise unknown_provider(name)
    about = facts(own[0].declaration)
    with connected(dsn, connect_timeout=WAIT) as connection:
        fresh = loads.freshness(connection, own, database_time(connection))
        records = counts.records(connection)
        history = {source: loads.history(connection, source, HISTORY) for source in own}
    if as_json:
        media = [
            {
                "media_type": source.media_type,
                "name": source.name,
                **_number_json(records.of(source.media_type, source.name)),
                "freshness": msgspec.to_builtins(fresh[source]),
                "loads": [_load_json(source, load) for load in history[source]],
            }
            for source in own
        ]
        print_json({**msgspec.to_builtins(about), "media": media})
        return
    words = f"{about.name}: {about.media}, {about.schedule}, key {about.key}, {about.rate}"
    out.print(words.replace("`", ""))
    for source in own:
        number = records.of(source.media_type, source.name)
        _show_source(source, number, fresh[source], history[source])


def _show_source(source: Source, records: Number, freshness: Freshness, history: list[Load]) -> None:
    whole = f"whole until {utc(freshness.last):%Y-%m-%d %H:%M}" if freshness.last else "no whole pull yet"
    late = ", late" if freshness.state == "late" else ""
    title = f"{source.name} ({source.media_type}): {records} records, {whole}{late}"
    table = Table("ended (UTC)", "new", "changed", "rejected", "outcome", "run", title=title)
    for load in history:
        table.add_row(*_cells(load), load.run_id)
    out.print(table)
    for kind in ("rejected", "skipped"):
        for reason, number in loads.reasons(history, kind).most_common(REASONS):
            out.print(f"{number:,} {kind}: {reason}")
