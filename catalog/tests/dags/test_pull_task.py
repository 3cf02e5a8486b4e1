"""What the task of a pull passes on to the pull."""

from datetime import UTC, datetime
from types import SimpleNamespace

import psycopg
import pytest
from upath import UPath

from catalog.ingestion.parts import Manifest, Parts

pytestmark = [pytest.mark.airflow, pytest.mark.database]


def test_a_pull_takes_the_time_from_its_lease(monkeypatch, dsn, tmp_path):
    """By the database's clock, by which loads are dated; it goes on with each check of the lease."""
    from catalog.dags.tasks import pull as module

    started, seen = datetime(2024, 3, 14, tzinfo=UTC), []

    class Pull:
        def __init__(self, *args, fence, clock, **more):
            self.fence, self.clock = fence, clock

        def run(self):
            for _ in range(2):
                self.fence()
                seen.append((self.clock(), self.fence.renewed_on))
            return Manifest("example", "r", None, replayed=False, started=started, token="t")

    job = SimpleNamespace(
        provider=lambda: None,
        client=lambda: None,
        parts=lambda number=0: Parts(UPath(tmp_path), "example", started, None, "key", number),
        window=None,
    )
    job.provider.catalog_names = {"image": "example"}
    context = {
        "dag_run": SimpleNamespace(dag_id="d", run_id="r"),
        "ti": SimpleNamespace(task_id="pull", map_index=-1),
        "params": {},
    }
    for name, replacement in {
        "Pull": Pull,
        "ProviderRun": lambda *args: job,
        "get_current_context": lambda: context,
        "TaskStateCheckpoint": lambda context: None,
        "catalog_connection": lambda autocommit: psycopg.connect(dsn, autocommit=autocommit),
    }.items():
        monkeypatch.setattr(module, name, replacement)
    module.pull("example", 0)
    assert [clock for clock, _ in seen] == [renewed for _, renewed in seen]
    assert seen[0][0] < seen[1][0]
