"""The list of providers, and a page for each of them."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from airflow.api_fastapi.common.db.common import SessionDep
from fastapi import APIRouter, HTTPException
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from catalog.core.dates import utc
from catalog.core.settings import CATALOG_DB
from catalog.ingestion.overview import facts
from catalog.ingestion.parts import Parts, pull_key
from catalog.ingestion.provider import Provider
from catalog.ingestion.registry import dag_ids, provider_classes
from catalog.ingestion.windows import Window
from catalog.monitoring import counts, links, loads, popularity
from catalog.monitoring.counts import Number
from catalog.monitoring.links import Links
from catalog.monitoring.loads import Freshness, Load
from catalog.monitoring.popularity import Popularity
from catalog.monitoring.rejects import Example, examples
from catalog.monitoring.sources import Source, all_sources
from catalog.plugins.dashboard import airflow_state, connections, variables
from catalog.plugins.dashboard.access import HiddenDags, ReadableDags
from catalog.plugins.dashboard.airflow_state import Schedule
from catalog.plugins.dashboard.rendering import Page

router = APIRouter()
HISTORY = 50  # loads of a provider's page
LOADS = 5  # whose rejects are read
EXAMPLES = 5  # rejects


class Row(msgspec.Struct, frozen=True):
    """A source in the list of providers.

    Attributes:
        source: The source.
        records: Number of its records in the catalog.
        recent: Its newest loads, oldest first.
        freshness: Age of its newest whole pull.
        read: Items of all media types that the pull of its newest load read.
        schedule: Schedule of its DAG; None if it is not known.
        state: What to show about its freshness.
        links: How many of its files are gone; None if they were not checked yet.
    """

    source: Source
    records: Number
    recent: list[Load]
    freshness: Freshness
    read: int
    schedule: Schedule | None
    state: str
    links: Links | None

    @property
    def last(self) -> Load | None:
        return self.recent[-1] if self.recent else None

    def share(self, name: str) -> float:
        """Return the share of `rejected` or `skipped` items in its recent loads."""
        return loads.share(
            sum(getattr(load, name) for load in self.recent), sum(load.fetched for load in self.recent)
        )


class Media(msgspec.Struct, frozen=True):
    """What a provider's page shows of one media type.

    Attributes:
        source: The provider and media type.
        records: Number of its records in the catalog.
        freshness: Age of its newest whole pull.
        state: What to show about its freshness.
        history: Its newest loads, newest first.
        growth: Monday → records inserted in that week.
        popularity: Its metric; None if it has none.
        links: How many of its files are gone; None if they were not checked yet.
    """

    source: Source
    records: Number
    freshness: Freshness
    state: str
    history: list[Load]
    growth: list[tuple[datetime, int]]
    popularity: Popularity | None
    links: Links | None


@router.get("/providers", response_class=HTMLResponse)
def index(session: SessionDep, readable: ReadableDags, hidden: HiddenDags) -> HTMLResponse:
    """List the providers, those that need attention first."""
    page, rows = Page(), list[Row]()
    schedules: dict[str, Schedule] | None = None
    with page.part("Airflow's database"):
        schedules = airflow_state.schedules(session, readable)
    with page.part("the catalog database"), connections.database(CATALOG_DB) as connection:
        everything = [one for one in all_sources() if hidden.isdisjoint(dag_ids(one.declaration))]
        records, fresh = counts.records(connection), loads.freshness(connection, everything, page.now)
        newest = loads.last_loads(connection, everything)
        gone = links.newest(connection, everything)
        read = Counter[tuple[str, str, int]]()
        for recent in newest.values():
            for load in recent:
                read[load.dag_id, load.run_id, load.day_shift] += load.fetched
        for source, recent in newest.items():
            number = records.of(source.media_type, source.name)
            items = read[recent[-1].dag_id, recent[-1].run_id, recent[-1].day_shift] if recent else 0
            schedule = schedules.get(source.dag_id) if schedules else None
            state = _shown(fresh[source], source, schedules)
            rows.append(Row(source, number, recent, fresh[source], items, schedule, state, gone.get(source)))
    rows.sort(key=_urgency)
    return page.render("providers.html", rows=rows, slots=loads.RECENT)


def _shown(freshness: Freshness, source: Source, schedules: Mapping[str, Schedule] | None) -> str:
    """Return what to show about freshness: only a source whose schedule is on can be late or missing.

    Args:
        freshness: Age of the newest whole pull.
        source: The source.
        schedules: Schedules of the DAGs; None if they are not known: all count as switched on.
    """
    if schedules is None or freshness.state == "fresh":
        return freshness.state
    schedule = schedules.get(source.dag_id)
    return "off" if schedule is None or schedule.paused else freshness.state


def _urgency(row: Row) -> tuple[Any, ...]:
    problem = row.last is not None and bool(row.last.flags)
    return row.state != "late", not problem, row.last is None, row.source.name, row.source.media_type


@router.get("/providers/{name}", response_class=HTMLResponse)
def provider(
    name: Annotated[str, InPath(pattern="^[a-z0-9_]+$")],
    session: SessionDep,
    readable: ReadableDags,
    hidden: HiddenDags,
) -> HTMLResponse:
    """Show one provider: growth, loads, reasons with examples, settings."""
    cls = next((cls for cls in provider_classes() if cls.name == name), None)
    if cls is None:
        raise HTTPException(404, f"There is no provider {name}, or its module cannot be imported.")
    if not hidden.isdisjoint(dag_ids(cls)):
        raise HTTPException(403, f"You may not read the DAGs of {name}.")
    page, shown = Page(), list[Media]()
    schedules: dict[str, Schedule] | None = None
    own = [source for source in all_sources() if source.provider == name]
    with page.part("Airflow's database"):
        schedules = airflow_state.schedules(session, readable)
    with page.part("the catalog database"), connections.database(CATALOG_DB) as connection:
        records, fresh = counts.records(connection), loads.freshness(connection, own, page.now)
        metrics, gone = popularity.metrics(connection), links.newest(connection, own)
        for source in own:
            shown.append(
                Media(
                    source,
                    records.of(source.media_type, source.name),
                    fresh[source],
                    _shown(fresh[source], source, schedules),
                    loads.history(connection, source, HISTORY),
                    loads.growth(connection, page.now, source),
                    popularity.of(metrics, source),
                    gone.get(source),
                )
            )
    rejected: list[Example] = []
    with page.part("examples of rejects"):
        rejected = _rejected(session, name, [load for one in shown for load in one.history if load.rejected])
    dag_id = own[0].dag_id
    return page.render(
        "provider.html",
        name=name,
        dag_id=dag_id,
        facts=facts(cls),
        has_limit=not cls.dump,
        key=_key(page, cls),
        schedule=schedules.get(dag_id) if schedules else None,
        media=shown,
        rejected=rejected,
        reasons=loads.reasons,
    )


def _key(page: Page, cls: type[Provider]) -> str:
    """Say whether the key of a provider is set; "" if it needs none. Never the key itself."""
    if cls.key is None:
        return ""
    present = None
    with page.part(cls.key.variable):
        present = variables.is_set(cls.key.variable)
    return "unknown" if present is None else "set" if present else f"not set; get one at {cls.key.get_at}"


def _rejected(session: Session, provider: str, newest: list[Load]) -> list[Example]:
    """Return examples of the rejects of the newest loads that had any."""
    some = newest[:LOADS]
    runs = airflow_state.runs(session, [(load.dag_id, load.run_id) for load in some])
    if not runs:
        return []
    root, pulls = variables.storage(), []
    for load in some:
        if run := runs.get((load.dag_id, load.run_id)):
            start, end = load.window_start, load.window_end
            window = Window(utc(start), utc(end)) if start and end else None
            key = pull_key(load.dag_id, load.run_id, load.day_shift)
            pulls.append(Parts(root, provider, run.run_after, window, key))
    return examples(pulls, EXAMPLES)
