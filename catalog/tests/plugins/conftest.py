"""A website with a catalog in which much has happened."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from catalog.data_refresh.search.client import connect
from catalog.data_refresh.search.indexes import Indexes
from catalog.database import sample_data
from catalog.local.postgres import Postgres
from catalog.local.search import SearchEngine
from catalog.tests.conftest import database
from catalog.tests.monitoring.reports import report
from catalog.tests.plugins.searchable import make_searchable
from catalog.tests.plugins.website import Site, dag, run, website

SCRIPT = "<script>document.title = 'run'</script>"
RECORD = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(scope="package")
def site(server: Postgres, engine: SearchEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Providers that are whole, partial, late and not started, a failed run, a record with a script."""
    now = datetime.now(UTC)
    with database(server, "migrated") as catalog, database(server, "migrated_api") as api:
        with psycopg.connect(catalog, autocommit=True) as connection:
            sample_data.fill(connection, "catalog", 300)
            _mark(connection)
            report(connection, "flickr", now - timedelta(days=9), inserted=90, skipped=4)
            report(
                connection,
                "stocksnap",
                now - timedelta(hours=1),
                run_id="failing",
                inserted=7,
                rejected=2,
                rejected_reasons={SCRIPT: 2},
                complete=False,
                whole=False,
                shortfalls=["9 of 1,000 announced items came"],
                announced=1000,
            )
            report(connection, "met", now - timedelta(hours=2), inserted=30, unchanged=5)
            connection.execute(
                "insert into link_survey (run_id, media_type, provider, slice, slices, planned_on,"
                " concluded_on, there, gone, unclear, share, low, high) values ('weekly', 'image',"
                " 'stocksnap', 0, 0, now(), now(), 960, 40, 7, 0.04, 0.0295, 0.054)"
            )
            connection.execute(
                "insert into dataset_version (number, run_id, root, stage, published_on, summary) values"
                " (6, 'a', 's3://published/dataset', 'published', now(), %s)",
                ['{"rows": {"image": 1234567, "audio": 89}, "files": 12, "bytes": 3000000000}'],
            )
        search = Indexes(connect(engine.url, engine="opensearch"))
        with psycopg.connect(api, autocommit=True) as connection:
            sample_data.fill(connection, "api", 300)
            _mark(connection)
            make_searchable(connection, search)
        failing = run(
            "stocksnap_workflow",
            "failing",
            "failed",
            now - timedelta(hours=2),
            now - timedelta(hours=1),
            pull_image_data="failed",
            load_image_data="success",
            watcher="failed",
        )
        # A run of a held schedule, which says nothing about the failure before it.
        recent = now - timedelta(minutes=30)
        skipped = {"pull_image_data": "skipped", "load_image_data": "skipped", "watcher": "skipped"}
        until = recent + timedelta(minutes=1)
        held = run("stocksnap_workflow", "held", "success", recent, until, held=True, **skipped)
        # A run that had nothing to do, after a failure that is over.
        idle = [
            run("daily_digest", "failed", "failed", recent, until, send_digest="failed"),
            run("daily_digest", "idle", "success", recent, until + timedelta(1), send_digest="skipped"),
        ]
        tomorrow = now + timedelta(days=1)
        dags = [
            dag("flickr_workflow", next_run=tomorrow),
            dag("stocksnap_workflow", next_run=tomorrow),
            dag("jamendo_workflow", paused=True),
            dag("daily_digest", next_run=tomorrow),
        ]
        scheme, _, address = engine.url.partition("://")
        host, _, port = address.partition(":")
        connections = {
            "postgres_openledger_upstream": catalog,
            "postgres_openledger_api": api,
            "elasticsearch_http_production": f"{scheme}://{host}:{port}/?engine=opensearch",
        }
        try:
            with website(
                tmp_path_factory.mktemp("website"), connections, dags, [failing, held, *idle]
            ) as site:
                yield site
        finally:
            search.client.indices.delete(index="image-*,audio-*", ignore_unavailable=True)
            search.client.close()


def _mark(connection: psycopg.Connection) -> None:
    """Give one image a script as its title, long addresses, and tags of which the policy drops one."""
    connection.execute(
        "update image set identifier = %s, title = %s, creator = %s, removed_from_source = false, "
        "license = 'cc0', license_version = '1.0', "
        "foreign_landing_url = 'https://example.org/' || repeat('long', 40), tags = "
        """'[{"name": "harbor", "provider": "flickr"}, {"name": "dog", "provider": "rekognition", """
        """"accuracy": 0.1}]' where identifier = (select identifier from image where provider = 'flickr' """
        "order by identifier limit 1)",
        [RECORD, SCRIPT, SCRIPT],
    )
