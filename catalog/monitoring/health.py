"""What needs a person now, as far as the catalog database and the search engine know.

Each finding names a row of the runbook (`docs/runbook.md`) by its anchor. What cannot be read is a finding
too: a part that nobody could look at is not well.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from catalog.core.dashboard_paths import provider_page, refresh_page
from catalog.core.dates import utc
from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection
from catalog.core.wording import join_first
from catalog.data_refresh.refresh_history import last_count
from catalog.data_refresh.tables.shrinkage import NO_SOURCE
from catalog.ingestion.registry import broken_providers, dag_id_of, provider_classes
from catalog.ingestion.windows import Window
from catalog.monitoring import dataset, gaps, loads
from catalog.monitoring.cluster_state import Cluster, Problem
from catalog.monitoring.dataset import Published
from catalog.monitoring.loads import Freshness, Load
from catalog.monitoring.refreshes import Alias, Live, Refreshed, loss, lost_many, promoted, refreshes
from catalog.monitoring.rows import rows
from catalog.monitoring.sources import Source, all_sources

HALF_LIVE = timedelta(days=1)  # after which a refresh whose tables are live should have promoted its indexes
LOOK_BACK = timedelta(days=7)  # within which lost documents are noticed
NAMED_GAPS = 3
OLD_DATASET = timedelta(days=45)  # of a month and a run of several days

Severity = Literal["error", "warning"]
Runbook = Literal[
    "alias",
    "broken-provider",
    "dataset",
    "engine-disk",
    "engine-status",
    "failed-task",
    "held",
    "late",
    "lost-dag",
    "missed-days",
    "not-whole",
    "partial",
    "quota",
    "refresh-failed",
    "shrinking",
    "silenced",
    "unknown",
]  # anchors of its rows
_PARTIAL: Runbook = "partial"
_NOT_WHOLE: Runbook = "not-whole"


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

    severity: Severity
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
    sources = all_sources()
    recent = loads.last_loads(connection, sources)
    newest = [(source, some[-1]) for source, some in recent.items() if some]
    found = [
        *of_loads(loads.not_whole(connection, sources, now)),
        *of_gaps(gaps.gaps(connection, sources, now), scheduled),
        *of_freshness(loads.freshness(connection, sources, now), scheduled),
        *of_quotas(connection, now),
    ]
    return found, sorted(newest, key=lambda pair: pair[1].finished_on, reverse=True)


def of_code() -> list[Finding]:
    """Return the providers that cannot be imported, which no other finding can be about."""
    return [
        Finding("error", name, str(error), "broken-provider", dag_id_of(name))
        for name, error in broken_providers().items()
    ]


def unknown(part: str, why: str) -> Finding:
    """Return the finding about a part that could not be checked.

    Args:
        part: Such as `the search engine`.
        why: The error, without secrets.
    """
    return Finding("error", part, f"it could not be checked: {why}", "unknown")


def in_order(found: Iterable[Finding]) -> list[Finding]:
    """Return findings with the errors first."""
    return sorted(found, key=lambda one: (one.severity, one.subject))


def of_loads(incomplete: Mapping[Source, Sequence[Load]]) -> list[Finding]:
    """Return what loads lack.

    Args:
        incomplete: Source → loads that are not whole, newest first, one for each window.
    """
    found = []
    for source, some in incomplete.items():
        load, runbook = some[0], _PARTIAL
        if load.shortfalls:
            more = len(load.shortfalls) - 1
            others = f" ({more:,} more shortfalls)" if more > 1 else " (one more shortfall)" if more else ""
            text, runbook = f"is not whole: {load.shortfalls[0]}{others}", _NOT_WHOLE
        elif load.complete:
            text, runbook = "is not whole, for a reason that its report does not name", _NOT_WHOLE
        else:
            text = f"the pull did not reach its end; {load.fetched:,} items were read and loaded"
        if earlier := len(some) - 1:
            windows = "one earlier window is" if earlier == 1 else f"{earlier:,} earlier windows are"
            text += f"; {windows} not whole either"
        run = load.dag_id, load.run_id
        found.append(Finding("error", subject(source), text, runbook, *run, page=source.page))
    return found


def subject(source: Source) -> str:
    return f"{source.name} ({source.media_type})"


def of_gaps(
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


def of_freshness(
    states: Mapping[Source, Freshness], scheduled: Collection[str] | None = None
) -> list[Finding]:
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


def of_dataset(
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
            found.append(Finding("warning", name, text, "quota", dag_id_of(name), page=provider_page(name)))
    return found


def _severity(problem: Problem) -> Severity:
    """A part that nobody could look at is as bad here as one that is known to be critical."""
    return "error" if problem.critical or problem.runbook == "unknown" else "warning"


def of_engine(cluster: Cluster) -> list[Finding]:
    """Return what is wrong with the search engine."""
    return [Finding(_severity(one), "search engine", one.text, one.runbook) for one in cluster.problems]


def of_live(live: Live, connection: Connection, now: datetime) -> list[Finding]:
    """Return what is wrong with the live indexes: aliases, and sources that lost many documents.

    Args:
        live: Aliases and documents of the engine.
        connection: Connection to the catalog database, which knows the refreshes.
        now: The current time.
    """
    findings = []
    for media_type in MEDIA_TYPES:
        history = promoted(connection, media_type, now - LOOK_BACK)
        aliases = [alias for alias in live.aliases if alias.media_type == media_type]
        wrong = list(of_aliases(aliases, promoted=bool(history)))
        documents = live.documents.get(media_type, {})
        findings += wrong or [*of_documents(history, documents), *of_losses(aliases, connection)]
        findings += of_stages(refreshes(connection, media_type, 1), now)
    return findings


def of_stages(newest: Iterable[Refreshed], now: datetime) -> Iterator[Finding]:
    """Yield the refreshes whose tables are live for long without their indexes.

    Args:
        newest: The newest refresh of each media type.
        now: The current time.
    """
    for refresh in newest:
        if refresh.stage == "tables" and (refresh.ended_for or now - refresh.begun_on > HALF_LIVE):
            begun = f"{utc(refresh.begun_on):%Y-%m-%d %H:%M}"
            text = f"the tables of the refresh of {begun} are live, its indexes are not"
            page = refresh_page(refresh.media_type)
            yield Finding(
                "error", refresh.media_type, text, "refresh-failed", refresh.dag_id, refresh.run_id, page=page
            )


def of_aliases(aliases: Iterable[Alias], *, promoted: bool) -> Iterator[Finding]:
    """Yield what is wrong with aliases.

    Args:
        aliases: Aliases of one media type.
        promoted: A refresh has been promoted, so that they must exist.
    """
    for alias in aliases:
        if text := alias.fault(promoted=promoted):
            page = refresh_page(alias.media_type)
            yield Finding("error", f"alias {alias.name}", text, "alias", page=page)


def of_documents(history: Sequence[Refreshed], documents: Mapping[str, int]) -> list[Finding]:
    """Return the sources that lost many documents.

    The documents are compared with the most of them before any refresh of the last seven days, or before the
    last refresh if it is older, so that a loss stays visible for a week, and slow losses add up. Small losses
    count only if no document at all is left.

    Args:
        history: Promoted refreshes of one media type, newest first.
        documents: Source → documents that are searched now.
    """
    most: dict[str, tuple[int, Refreshed]] = {}
    for refresh in history:
        for source, number in (refresh.documents or {}).items():
            if source not in most or number > most[source][0]:
                most[source] = number, refresh
    findings = []
    for source, (number, before) in most.items():
        now = documents.get(source, 0)
        if lost_many(number, now) or (number and not documents):
            text = (
                f"{now:,} documents are searched, {number:,} before the refresh of "
                f"{utc(before.begun_on):%Y-%m-%d}"
            )
            about = f"{source or NO_SOURCE} ({before.media_type})"
            page = refresh_page(before.media_type)
            findings.append(
                Finding("warning", about, text, "shrinking", before.dag_id, before.run_id, page=page)
            )
    return findings


def of_losses(aliases: Iterable[Alias], connection: Connection) -> Iterator[Finding]:
    """Yield the aliases of which many documents are missing.

    Args:
        aliases: Aliases, with the numbers of their documents.
        connection: Connection to the catalog database, which has the numbers when they were counted.
    """
    for alias in aliases:
        counted = last_count(connection, alias.uuid)
        if counted and (text := loss(alias, counted.documents, alias.documents)):
            # What moderators have deleted since is not known here.
            severity: Severity = "warning" if alias.documents else "error"
            page = refresh_page(alias.media_type)
            yield Finding(severity, f"alias {alias.name}", text, "shrinking", page=page)
