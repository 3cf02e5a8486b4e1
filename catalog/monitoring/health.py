"""What needs a person now, as far as the catalog database and the search engine know.

Each finding names a row of the runbook (`docs/runbook.md`) by its anchor.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from catalog.core.dates import utc
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.ingestion.provider import provider_classes
from catalog.monitoring import loads
from catalog.monitoring.loads import Freshness, Load, Source
from catalog.monitoring.refreshes import Engine, Refreshed, refreshes
from catalog.monitoring.rows import rows

FULL = 0.85  # share of the disk from which engines stop to allocate shards (the low watermark)
SHRUNK = 0.2  # share of a source's documents that disappeared
NOTICEABLE = 100  # documents; smaller losses are no finding
REFRESHES = 10  # the newest ones of a media type, of which two are compared


Runbook = Literal[
    "engine-disk",
    "engine-status",
    "failed-task",
    "late",
    "not-whole",
    "partial",
    "quota",
    "shrinking",
    "silenced",
]  # anchors of its rows


class Finding(msgspec.Struct, frozen=True):
    """Something that needs a person.

    Attributes:
        severity: `error` if data are missing or a run has failed, `warning` for the rest.
        subject: What it is about, such as a provider or a DAG.
        text: What is wrong, in one sentence.
        runbook: Anchor of the row of the runbook.
        dag_id: The DAG; "" if there is none.
        run_id: Its run; "" if it is not about a run.
        task_id: The task whose log says more; "" if it is not about a task.
        map_index: Map index of the task; -1 if it is not mapped.
        page: Address of a page with details, relative to the dashboard; "" if there is none.
    """

    severity: Literal["error", "warning"]
    subject: str
    text: str
    runbook: Runbook
    dag_id: str = ""
    run_id: str = ""
    task_id: str = ""
    map_index: int = -1
    page: str = ""


def of_catalog(
    connection: Connection, now: datetime, scheduled: Collection[str] | None = None
) -> tuple[list[Finding], list[tuple[Source, Load]]]:
    """Return what the catalog database knows to be wrong, and the newest load of each source, newest first.

    Args:
        connection: Connection to the catalog database.
        now: The current time.
        scheduled: Ids of the DAGs whose schedule is on; None if that is not known: all count as scheduled.
    """
    sources = loads.sources()
    recent = loads.last_loads(connection, sources)
    newest = {source: some[-1] for source, some in recent.items() if some}
    expected = [source.dag_id for source in sources] if scheduled is None else scheduled
    found = [
        *of_loads(newest),
        *of_freshness(loads.freshness(connection, sources, now), expected),
        *of_quotas(connection, now),
    ]
    for media_type in MEDIA_TYPES:
        found += of_refreshes(refreshes(connection, media_type, REFRESHES))
    return found, sorted(newest.items(), key=lambda pair: pair[1].finished_on, reverse=True)


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """Return findings with the errors first."""
    return sorted(found, key=lambda one: (one.severity, one.subject))


def of_loads(newest: Mapping[Source, Load]) -> list[Finding]:
    """Return what is wrong with the newest load of each source."""
    found = []
    for source, load in newest.items():
        if load.shortfalls and not load.accepted:
            more = len(load.shortfalls) - 1
            others = f" ({more:,} more shortfalls)" if more > 1 else " (one more shortfall)" if more else ""
            found.append(_of_load(source, load, f"is not whole: {load.shortfalls[0]}{others}", "not-whole"))
        elif not load.complete:
            text = f"the pull did not reach its end; {load.fetched:,} items were read and loaded"
            found.append(_of_load(source, load, text, "partial"))
    return found


def _of_load(source: Source, load: Load, text: str, runbook: Runbook) -> Finding:
    subject = f"{source.name} ({source.media_type})"
    return Finding("error", subject, text, runbook, load.dag_id, load.run_id, page=page_of(source))


def page_of(source: Source) -> str:
    return f"providers/{source.provider}"


def of_freshness(states: Mapping[Source, Freshness], scheduled: Collection[str]) -> list[Finding]:
    """Return the sources whose newest whole pull is too old.

    Args:
        states: Freshness of each source.
        scheduled: Ids of the DAGs whose schedule is on; the others are not expected to be fresh.
    """
    found = []
    for source, freshness in states.items():
        if freshness.state == "late" and freshness.last and source.dag_id in scheduled:
            schedule = source.declaration.schedule
            text = f"the last whole pull is of {utc(freshness.last):%Y-%m-%d}, its schedule is {schedule}"
            found.append(
                Finding(
                    "warning",
                    f"{source.name} ({source.media_type})",
                    text,
                    "late",
                    source.dag_id,
                    page=page_of(source),
                )
            )
    return found


def of_quotas(connection: Connection, now: datetime) -> list[Finding]:
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
            found.append(
                Finding("warning", name, text, "quota", f"{name}_workflow", page=f"providers/{name}")
            )
    return found


def of_engine(engine: Engine) -> list[Finding]:
    """Return what is wrong with the search engine."""
    found = []
    if engine.status != "green":
        what = "documents cannot be searched" if engine.status == "red" else "replicas are missing"
        text = f"the status is {engine.status}: {what}; {engine.unassigned:,} shards have no node"
        severity: Literal["error", "warning"] = "error" if engine.status == "red" else "warning"
        found.append(Finding(severity, "search engine", text, "engine-status"))
    if engine.fullest is not None and engine.fullest >= FULL:
        text = f"the disk of a node is {engine.fullest:.0%} full; a full refresh needs room for new indexes"
        found.append(Finding("warning", "search engine", text, "engine-disk"))
    return found


def of_refreshes(newest: Sequence[Refreshed]) -> list[Finding]:
    """Return the sources that lost many documents by the newest promoted refresh.

    Args:
        newest: Refreshes of one media type, newest first.
    """
    promoted = [refresh for refresh in newest if refresh.stage == "promoted"]
    if len(promoted) < 2:
        return []
    found, (last, before) = [], promoted[:2]
    for source, number in before.documents.items():
        now = last.documents.get(source, 0)
        if number - now >= max(NOTICEABLE, SHRUNK * number):
            found.append(
                Finding(
                    "warning",
                    f"{source} ({last.media_type})",
                    f"{now:,} documents are searched, {number:,} before the refresh of "
                    f"{utc(before.begun_on):%Y-%m-%d}",
                    "shrinking",
                    before.dag_id,
                    before.run_id,
                    page=refresh_page(last.media_type),
                )
            )
    return found


def refresh_page(media_type: MediaType) -> str:
    return f"refresh?media={media_type}"
