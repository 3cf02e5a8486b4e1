"""A task sends metrics without harm, whatever is wrong with the backend."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from catalog.core.metrics import DELETED, LOAD_SECONDS, MISSED_DAYS, PULL_SECONDS
from catalog.tests.monitoring.reports import report

pytestmark = [pytest.mark.airflow, pytest.mark.enable_socket]


@pytest.fixture
def stats():
    """Airflow's statistics, as they were at the end."""
    from airflow.sdk._shared.observability.metrics import stats

    before = stats._factory, stats._backend, stats._export_legacy_names
    yield stats
    stats._factory, stats._backend, stats._export_legacy_names = before


def broken():
    raise ValueError("a secret of the configuration")


class Unreachable:
    def incr(self, *_, **__):
        raise OSError("a secret of the backend")


@pytest.mark.parametrize("factory", [broken, Unreachable])
def test_a_broken_backend_fails_no_task(stats, factory, caplog):
    from catalog.dags.common import metrics

    stats.initialize(factory=factory, export_legacy_names=False)
    with caplog.at_level(logging.WARNING):
        metrics.count_deleted("image", 5)
        metrics.expect_loads({"image": "met"})
    assert len([r for r in caplog.records if "metrics could not be sent" in r.message]) == 2
    assert "secret" not in caplog.text


def test_a_failing_query_fails_no_task(stats, catalog):
    from catalog.dags.common import metrics

    catalog.execute("drop view whole_pull")
    metrics.send_freshness(catalog)
    assert catalog.execute("select 1").fetchone() == (1,)


@pytest.fixture
def sent(stats):
    """What is sent: name, value and tags."""
    found = []

    class Backend:
        def incr(self, name, count, tags):
            found.append((name, count, tags))

        gauge = incr

    stats.initialize(factory=Backend, export_legacy_names=True)
    return found


def test_a_metric_is_sent_with_its_tags(sent):
    from catalog.dags.common import metrics

    metrics.count_deleted("audio", 5)
    assert sent == [(DELETED.name, 5, {"media_type": "audio"})]


def test_missed_days_are_sent_of_dated_providers(sent, catalog):
    """Zero, too, so that an alert ends."""
    from catalog.dags.common import metrics

    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for number in (9, 8, 5, 4, 3, 2, 1):
        start = today - timedelta(days=number)
        end, about = (
            start + timedelta(days=1),
            {"run_id": f"scheduled__{number}", "dag_id": "europeana_workflow"},
        )
        report(catalog, "europeana", end + timedelta(hours=1), window_start=start, window_end=end, **about)
    metrics.send_freshness(catalog)
    days = {tags["provider"]: value for name, value, tags in sent if name == MISSED_DAYS.name}
    assert (days["europeana"], days["flickr"]) == (2, 0)
    assert "met" in days
    assert "smk" not in days


def test_the_durations_of_the_batches_of_a_run_are_added_up(sent, catalog):
    from catalog.dags.common import metrics

    for number, pull, load in ((0, 1.5, 3), (1, 2.25, None)):
        catalog.execute(
            "insert into ingestion_report (dag_id, run_id, day_shift, provider, media_type, manifest_token,"
            " manifest_pages, complete, fetched, inserted, updated, unchanged, skipped, rejected,"
            " pull_seconds, load_seconds)"
            " values ('d', 'r', %s, 'p', 'image', 't', 1, true, 0, 0, 0, 0, 0, 0, %s, %s)",
            [number, pull, load],
        )
    metrics.send_durations_of_run(catalog, "d", "r")
    tags = {"provider": "p", "media_type": "image"}
    assert sent == [(PULL_SECONDS.name, 3.75, tags), (LOAD_SECONDS.name, 3, tags)]
