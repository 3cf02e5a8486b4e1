"""What the dashboard's first page and `catalog status` show, collected part by part."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import datetime

from elasticsearch import Elasticsearch

from catalog.core.session import Connection
from catalog.monitoring import aliases, catalog_health, cluster, counts, dataset, engine_health, loads
from catalog.monitoring.aliases import Live
from catalog.monitoring.counts import Records
from catalog.monitoring.dataset import Published
from catalog.monitoring.finding import Explain, Findings
from catalog.monitoring.loads import Load
from catalog.monitoring.sources import Source


class Summary(Findings):
    """What is known of the databases and the search engine.

    Attributes:
        newest: The newest load of each source, newest first; None if they could not be read.
        records: Numbers of records; None if they could not be read.
        growth: Monday and the records inserted in that week, of the last half year; None if they could not be
            read.
        dataset: Newest published version of the dataset; None if there is none, or it could not be read.
        live: What the search engine serves; None if it could not be read.
    """

    newest: list[tuple[Source, Load]] | None = None
    records: Records | None = None
    growth: list[tuple[datetime, int]] | None = None
    dataset: Published | None = None
    live: Live | None = None


def summarize(
    database: Callable[[], AbstractContextManager[Connection]],
    engine: Callable[[], Elasticsearch] | None,
    explain: Explain,
    now: datetime,
    scheduled: Collection[str] | None = None,
    nodes: int | None = None,
) -> Summary:
    """Read the catalog database and the search engine.

    Args:
        database: Connects to the catalog database.
        engine: Connects to the search engine; None if there is none to read.
        explain: Returns what users may see of the error of a part.
        now: The current time.
        scheduled: Ids of the DAGs whose schedule is on; None if that is not known: all count as scheduled.
        nodes: Number of nodes that the engine must have; None if any number is right.
    """
    known = Summary(catalog_health.broken_declarations())
    with known.part("the catalog database", explain), database() as connection:
        found, known.newest = catalog_health.catalog_findings(connection, now, scheduled)
        known.findings += found
        known.records = counts.records(connection)
        known.growth = loads.growth(connection, now)
        with known.part("the published dataset", explain):
            known.dataset = dataset.newest(connection)
            known.findings += catalog_health.old_dataset(known.dataset, now, scheduled)
    if engine is None:
        return known
    with known.part("the search engine", explain):
        for finding in engine_health.engine_findings(cluster.examine(engine(), nodes)):
            (known.unread if finding.runbook == "unknown" else known.findings).append(finding)
    with known.part("the live indexes", explain):
        known.live = aliases.live(engine())
        with database() as connection:
            known.findings += engine_health.index_findings(known.live, connection, now)
    return known
