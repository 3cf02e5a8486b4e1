"""What needs a person now, as far as the catalog database knows: loads, days, quotas and the dataset."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from catalog.core.dashboard_paths import provider_page
from catalog.core.dates import utc
from catalog.core.session import Connection
from catalog.core.wording import join_first
from catalog.ingestion.registry import broken_providers, dag_id_of, provider_classes
from catalog.ingestion.windows import Window
from catalog.links.losses import accepting_removals
from catalog.monitoring import dataset, gaps, links, loads
from catalog.monitoring.dataset import Published
from catalog.monitoring.finding import Finding, Runbook
from catalog.monitoring.links import HeldBack
from catalog.monitoring.loads import Freshness, Load
from catalog.monitoring.rows import rows
from catalog.monitoring.sources import Source, all_sources

NAMED_GAPS = 3
OLD_DATASET = timedelta(days=45)  # of a month and a run of several days


def catalog_findings(
    connection: Connection, now: datetime, scheduled: Collection[str] | None = None
) -> tuple[list[Finding], list[tuple[Source, Load]]]:
    """Return what the catalog database knows to be wrong, and the newest load of each source, newest first.

    Args:
        connection: Connection to the catalog database.
        now: The current time.
        scheduled: Ids of the DAGs whose schedule is on; None if that is not known: all count as scheduled.
    """
    sources = all_sources()
    recent = loads.last_loads(connection, sources)
    newest = [(source, some[-1]) for source, some in recent.items() if some]
    found = [
        *not_whole(loads.not_whole(connection, sources, now)),
        *missed_days(gaps.gaps(connection, sources, now), scheduled),
        *late(loads.freshness(connection, sources, now), scheduled),
        *used_quotas(connection, now),
        *held_back(links.held_back(connection)),
    ]
    return found, sorted(newest, key=lambda pair: pair[1].finished_on, reverse=True)


def broken_declarations() -> list[Finding]:
    """Return the providers that cannot be imported, which no other finding can be about."""
    return [
        Finding("error", name, str(error), "broken-provider", dag_id_of(name))
        for name, error in broken_providers().items()
    ]


def not_whole(incomplete: Mapping[Source, Sequence[Load]]) -> list[Finding]:
    """Return what loads lack.

    Args:
        incomplete: Source → loads that are not whole, newest first, one for each window.
    """
    found = []
    for source, some in incomplete.items():
        load = some[0]
        text: str
        runbook: Runbook
        if load.shortfalls:
            more = len(load.shortfalls) - 1
            others = f" ({more:,} more shortfalls)" if more > 1 else " (one more shortfall)" if more else ""
            text, runbook = f"is not whole: {load.shortfalls[0]}{others}", "not-whole"
        elif load.complete:
            text, runbook = "is not whole, for a reason that its report does not name", "not-whole"
        else:
            text = f"the pull did not reach its end; {load.fetched:,} items were read and loaded"
            runbook = "partial"
        if earlier := len(some) - 1:
            windows = "one earlier window is" if earlier == 1 else f"{earlier:,} earlier windows are"
            text += f"; {windows} not whole either"
        run = load.dag_id, load.run_id
        found.append(Finding("error", subject(source), text, runbook, *run, page=source.page))
    return found


def held_back(found: Iterable[HeldBack]) -> Iterator[Finding]:
    """Yield the removals that wait for a person's decision, with the conf that decides it."""
    for one in found:
        accepted = accepting_removals(one.conf, one.provider, one.records)
        text = (
            f"{one.records:,} records whose files are gone are not removed, because they are more than usual"
            f"; if the files are really gone, trigger check_links with {accepted}"
        )
        about = f"{one.provider} ({one.media_type})"
        yield Finding("warning", about, text, "held-back", "check_links", one.run_id)


def subject(source: Source) -> str:
    return f"{source.name} ({source.media_type})"


def missed_days(
    missed: Mapping[Source, Sequence[Window]], scheduled: Collection[str] | None = None
) -> list[Finding]:
    """Return the sources of which days were never pulled.

    Args:
        missed: Source → times that no pull covers, oldest first.
        scheduled: Ids of the DAGs whose schedule is on; of the others nobody expects each day. None if that
            is not known.
    """
    return [
        Finding(
            "error",
            subject(source),
            f"no pull covers {join_first(map(_days, some), NAMED_GAPS)}, although later days were pulled",
            "missed-days",
            source.dag_id,
            page=source.page,
        )
        for source, some in missed.items()
        if scheduled is None or source.dag_id in scheduled
    ]


def _days(missed: Window) -> str:
    """Name the first and the last day, as `airflow backfill` takes them."""
    last = (missed.end - timedelta.resolution).date()
    return f"{missed.day}" if missed.day == last else f"{missed.day} to {last}"


def late(states: Mapping[Source, Freshness], scheduled: Collection[str] | None = None) -> list[Finding]:
    """Return the sources whose newest whole pull is too old, or that have none long after their first load.

    Args:
        states: Freshness of each source.
        scheduled: Ids of the DAGs whose schedule is on; the others are not expected to be fresh. None if that
            is not known.
    """
    found = []
    for source, freshness in states.items():
        if freshness.state == "late" and (scheduled is None or source.dag_id in scheduled):
            if freshness.last:
                text = f"the last whole pull is of {utc(freshness.last):%Y-%m-%d}"
            else:
                first = f", on {utc(freshness.first):%Y-%m-%d}" if freshness.first else ""
                text = f"no pull was whole since the first load{first}"
            text += f", its schedule is {source.declaration.schedule}"
            text += " (whether it is on was not checked)" if scheduled is None else ""
            found.append(Finding("warning", subject(source), text, "late", source.dag_id, page=source.page))
    return found


def old_dataset(
    newest: Published | None, now: datetime, scheduled: Collection[str] | None = None
) -> Iterator[Finding]:
    """Yield the newest version of the dataset if it is too old.

    Args:
        newest: The version; None if none was published, which is not a finding.
        now: The current time.
        scheduled: Ids of the DAGs whose schedule is on; None if that is not known, which is not a finding.
    """
    if newest and dataset.DAG_ID in (scheduled or ()) and now - newest.published_on > OLD_DATASET:
        text = f"the newest version is of {utc(newest.published_on):%Y-%m-%d}, far older than a month"
        yield Finding("warning", "dataset", text, "dataset", dataset.DAG_ID)


def used_quotas(connection: Connection, now: datetime) -> list[Finding]:
    """Return the providers whose quota of requests is used up."""
    quotas = {
        cls.name: (cls.key.variable if cls.key else cls.name, cls.quota)
        for cls in provider_classes()
        if cls.quota
    }
    used = {
        (row["key"], row["period_start"]): row["used"]
        for row in rows(connection, "select key, period_start, used from rate_quota")
    }
    found = []
    for name, (key, quota) in quotas.items():
        if used.get((key, quota.starts(now)), 0) >= quota.requests:
            renewed = f"{quota.resumes(now):%Y-%m-%d %H:%M} UTC"
            text = f"the quota of {quota.requests:,} requests a {quota.period} is used up until {renewed}"
            found.append(Finding("warning", name, text, "quota", dag_id_of(name), page=provider_page(name)))
    return found
