"""What needs a person now, as far as the search engine knows: the cluster, aliases and lost documents."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from catalog.core.dashboard_paths import refresh_page
from catalog.core.dates import utc
from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection
from catalog.data_refresh.refresh_history import last_count
from catalog.data_refresh.tables.shrinkage import NO_SOURCE
from catalog.monitoring.aliases import Alias, Live, loss, lost_many
from catalog.monitoring.cluster_state import Cluster, Problem
from catalog.monitoring.finding import Finding, Severity
from catalog.monitoring.refreshes import Refreshed, promoted, unpromoted

INDEXES_OVERDUE = timedelta(days=1)  # after which a refresh with live tables should have promoted its indexes
LOOK_BACK = timedelta(days=7)  # within which lost documents are noticed


def _severity(problem: Problem) -> Severity:
    """A part that nobody could look at is as bad here as one that is known to be critical."""
    return "error" if problem.critical or problem.runbook == "unknown" else "warning"


def engine_findings(cluster: Cluster) -> list[Finding]:
    """Return what is wrong with the search engine."""
    return [Finding(_severity(one), "search engine", one.text, one.runbook) for one in cluster.problems]


def index_findings(live: Live, connection: Connection, now: datetime) -> list[Finding]:
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
        wrong = list(wrong_aliases(aliases, promoted=bool(history)))
        documents = live.documents.get(media_type, {})
        findings += wrong or [*shrunk_sources(history, documents), *shrunk_aliases(aliases, connection)]
        findings += without_indexes(unpromoted(connection, media_type), now)
    return findings


def without_indexes(refresh: Refreshed | None, now: datetime) -> Iterator[Finding]:
    """Yield a finding about a refresh whose tables are live for long without their indexes.

    Args:
        refresh: The refresh; None if there is none with live tables only.
        now: The current time.
    """
    if refresh and (refresh.ended_for or now - refresh.begun_on > INDEXES_OVERDUE):
        begun = f"{utc(refresh.begun_on):%Y-%m-%d %H:%M}"
        text = f"the tables of the refresh of {begun} are live, its indexes are not"
        page = refresh_page(refresh.media_type)
        yield Finding(
            "error", refresh.media_type, text, "refresh-failed", refresh.dag_id, refresh.run_id, page=page
        )


def wrong_aliases(aliases: Iterable[Alias], *, promoted: bool) -> Iterator[Finding]:
    """Yield what is wrong with aliases.

    Args:
        aliases: Aliases of one media type.
        promoted: A refresh has been promoted, so that they must exist.
    """
    for alias in aliases:
        if text := alias.fault(promoted=promoted):
            page = refresh_page(alias.media_type)
            yield Finding("error", f"alias {alias.name}", text, "alias", page=page)


def shrunk_sources(history: Sequence[Refreshed], documents: Mapping[str, int]) -> list[Finding]:
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


def shrunk_aliases(aliases: Iterable[Alias], connection: Connection) -> Iterator[Finding]:
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
