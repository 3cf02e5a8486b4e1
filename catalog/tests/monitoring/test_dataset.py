"""The newest version of the dataset, on a real database."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from catalog.monitoring import catalog_health
from catalog.monitoring.dataset import DAG_ID, newest

pytestmark = pytest.mark.database
NOW = datetime(2025, 3, 14, 12, tzinfo=UTC)
SUMMARY = json.dumps({"rows": {"image": 5}, "files": 2, "bytes": 900})


def version(catalog, number, stage, published_on=None):
    catalog.execute(
        "insert into dataset_version (number, run_id, root, stage, published_on, summary)"
        " values (%s, %s, '/data', %s, %s, %s)",
        [number, f"run {number}", stage, published_on, SUMMARY if published_on else None],
    )


def test_the_newest_published_version_counts(catalog):
    assert newest(catalog) is None
    version(catalog, 1, "deleted", NOW - timedelta(days=90))
    version(catalog, 2, "published", NOW - timedelta(days=60))
    version(catalog, 3, "published", NOW - timedelta(days=30))
    version(catalog, 4, "abandoned")
    found = newest(catalog)
    assert found is not None
    assert (found.number, found.records, found.files, found.writing) == (3, {"image": 5}, 2, None)
    version(catalog, 5, "writing")
    found = newest(catalog)
    assert found is not None
    assert (found.number, found.writing) == (3, 5)


@pytest.mark.parametrize(("scheduled", "days", "late"), [
    ([DAG_ID], 46, True), ([DAG_ID], 44, False), ([], 400, False), (None, 400, False),
])  # fmt: skip
def test_an_old_version_is_a_finding_while_the_schedule_is_on(catalog, scheduled, days, late):
    version(catalog, 1, "published", NOW - timedelta(days=days))
    found = list(catalog_health.old_dataset(newest(catalog), NOW, scheduled))
    assert [(one.runbook, one.dag_id) for one in found] == ([("dataset", DAG_ID)] if late else [])


def test_before_the_first_version_nothing_is_late():
    assert not list(catalog_health.old_dataset(None, NOW, [DAG_ID]))
