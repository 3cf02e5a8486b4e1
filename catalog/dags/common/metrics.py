"""Sends metrics through Airflow's statistics: to StatsD, OpenTelemetry or nowhere, as `[metrics]` says.

A task counts records after the transaction that makes them visible, and only if it was this attempt that has
committed it. So no retry counts twice; an attempt that is killed between the two is not counted.

Nothing here fails a task.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from airflow.sdk.observability import stats

from catalog.core import metrics
from catalog.core.media import MediaType
from catalog.core.metrics import Metric
from catalog.core.queries import database_time
from catalog.core.session import Connection
from catalog.dags.common.connections import catalog_connection
from catalog.data_refresh.search.identity import filtered_name
from catalog.loading.history import reports_of
from catalog.monitoring import gaps, loads
from catalog.monitoring.sources import all_sources

if TYPE_CHECKING:
    from catalog.data_refresh.refresh import Plan, Refresh
    from catalog.data_refresh.report import Checked, FilteredCounts
    from catalog.data_refresh.tables.apply import Applied
    from catalog.data_refresh.tables.progress import TableProgress
    from catalog.loading.report import LoadReport

log = logging.getLogger(__name__)
P = ParamSpec("P")
LOADED = (
    metrics.FETCHED,
    metrics.INSERTED,
    metrics.UPDATED,
    metrics.UNCHANGED,
    metrics.SKIPPED,
    metrics.REJECTED,
)


def _log_errors(function: Callable[P, None]) -> Callable[P, None]:
    """Log the errors of a function instead of raising them."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:  # of Airflow's configuration, of the backend, of the database, …
            log.warning("metrics could not be sent: %s", type(error).__name__)

    return wrapper


def _send(metric: Metric, value: float, *tags: str) -> None:
    named = dict(zip(metric.tags, tags, strict=True))
    if metric.kind == "counter":
        stats.incr(metric.name, int(value), tags=named)
    else:
        stats.gauge(metric.name, value, tags=named)


@_log_errors
def expect_loads(sources: Mapping[MediaType, str]) -> None:
    """Send zero for the counters of loads, so that an increase of a new counter is seen.

    Args:
        sources: Name in the catalog by media type.
    """
    for media_type, provider in sources.items():
        for metric in LOADED:
            _send(metric, 0, provider, media_type)


@_log_errors
def count_load(report: "LoadReport") -> None:
    """Send what became of the items of a load."""
    counts = (
        report.fetched,
        report.inserted,
        report.updated,
        report.unchanged,
        sum(report.skipped.values()),
        sum(report.rejected.values()),
    )
    for metric, count in zip(LOADED, counts, strict=True):
        _send(metric, count, report.provider, report.media_type)


@_log_errors
def send_durations(provider: str, media_type: str, pull_seconds: float, load_seconds: float) -> None:
    """Send how long a pull and its load took."""
    _send(metrics.PULL_SECONDS, round(pull_seconds, 3), provider, media_type)
    _send(metrics.LOAD_SECONDS, round(load_seconds, 3), provider, media_type)


@_log_errors
def send_durations_of_run(connection: Connection, dag_id: str, run_id: str) -> None:
    """Send how long all pulls and loads of a run took, whose parts are of one provider and media type."""
    if reports := reports_of(connection, dag_id, run_id):
        pull, load = (sum(one[name] or 0 for one in reports) for name in ("pull_seconds", "load_seconds"))
        send_durations(reports[0]["provider"], reports[0]["media_type"], pull, load)


@_log_errors
def send_freshness(connection: Connection) -> None:
    """Send up to when each provider is whole, and from when it is late, unless it was never pulled.

    These are times, because an age would not grow while nothing sends it. Missed days are a number; it only
    grows when a later day was pulled, which sends it.

    Args:
        connection: Connection to the catalog database, in autocommit.
    """
    sources, now = all_sources(), database_time(connection)
    for source, freshness in loads.freshness(connection, sources, now).items():
        if freshness.last and freshness.due:
            _send(metrics.FRESH, int(freshness.last.timestamp()), source.name, source.media_type)
            _send(metrics.DUE, int(freshness.due.timestamp()), source.name, source.media_type)
    missed = gaps.gaps(connection, sources, now)
    for source in sources:
        if source.declaration.dated:
            _send(metrics.MISSED_DAYS, gaps.days(missed.get(source, ())), source.name, source.media_type)


@_log_errors
def send_promotion(refresh: "Refresh") -> None:
    """Send when a refresh was promoted, which is now, and how long it took."""
    with catalog_connection(autocommit=True) as connection:
        tags, now = (refresh.plan.media_type, refresh.plan.mode), database_time(connection)
    _send(metrics.PROMOTED, int(now.timestamp()), *tags)
    _send(metrics.REFRESH_SECONDS, round((now - refresh.begun_on).total_seconds(), 3), *tags)


@_log_errors
def send_refresh(
    plan: "Plan", copied: Iterable["TableProgress"], checked: "Checked", filtered: "FilteredCounts"
) -> None:
    """Send the counts of a refresh that made new indexes.

    Args:
        plan: Its plan.
        copied: Result of each copied table; empty if only the indexes were made.
        checked: Result of the check of the index.
        filtered: Result of the filtered index.
    """
    tables = list(copied)
    if tables:
        _send(metrics.ROWS, sum(one.rows for one in tables), plan.media_type, plan.mode)
    rejected = sum(sum(one.rejected.values()) for one in tables) + sum(checked.rejected.values())
    _send_documents(plan, checked.documents, rejected, (checked.documents, filtered.documents))


@_log_errors
def send_incremental(
    plan: "Plan", copied: Iterable["TableProgress"], applied: Iterable["Applied"], updated: Mapping[str, Any]
) -> None:
    """Send the counts of a refresh that changed the live tables and indexes.

    Args:
        plan: Its plan.
        copied: Result of the copy of each table's changes.
        applied: Numbers of changed rows of each table; empty if an earlier attempt has applied them.
        updated: Numbers of changed documents.
    """
    if tables := list(applied):
        rows = sum(one.inserted + one.updated + one.deleted for one in tables)
        _send(metrics.ROWS, rows, plan.media_type, plan.mode)
    rejected = sum(sum(one.rejected.values()) for one in copied) + sum(updated["rejected"].values())
    _send_documents(plan, updated["changed"], rejected, (updated["documents"], updated["filtered"]))


def _send_documents(plan: "Plan", written: int, rejected: int, live: tuple[int, int]) -> None:
    _send(metrics.DOCUMENTS, written, plan.media_type, plan.mode)
    _send(metrics.REFUSED, rejected, plan.media_type, plan.mode)
    for alias, number in zip((plan.media_type, filtered_name(plan.media_type)), live, strict=True):
        _send(metrics.LIVE, number, alias)


@_log_errors
def send_scored(media_type: MediaType, provider: str, records: int) -> None:
    """Send the number of records of a provider with a popularity score."""
    _send(metrics.SCORED, records, provider, media_type)


@_log_errors
def count_deleted(media_type: str, records: int) -> None:
    """Send the number of deleted records."""
    _send(metrics.DELETED, records, media_type)
