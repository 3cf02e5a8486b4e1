"""What the task of a pull passes on to the pull."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from upath import UPath

from catalog.core.errors import Refused
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
        accepting=lambda: "",
    )
    job.provider.catalog_names = {"image": "example"}
    context: Any = {
        "dag_run": SimpleNamespace(dag_id="d", run_id="r", clear_number=0),
        "ti": SimpleNamespace(task_id="pull", map_index=-1),
        "params": {},
    }
    for name, replacement in {
        "Pull": Pull,
        "ProviderRun": lambda *args: job,
        "get_current_context": lambda: context,
        "TaskStateCheckpoint": lambda context: None,
        "connect_to_catalog": lambda autocommit: psycopg.connect(dsn, autocommit=autocommit),
    }.items():
        monkeypatch.setattr(module, name, replacement)
    module.pull("example", 0)
    assert [clock for clock, _ in seen] == [renewed for _, renewed in seen]
    assert seen[0][0] < seen[1][0]


@pytest.mark.parametrize(
    ("map_index", "states", "begun"),
    [
        (-1, {}, []),
        (-1, {"g.load_image_data": "None", "g.load_audio_data": "None", "load_image_data": "success"}, []),
        (-1, {"g.load_image_data": "None", "g.load_audio_data": "skipped"}, ["g.load_audio_data"]),
        (-1, {"g.load_image_data": "scheduled"}, ["g.load_image_data"]),
        (-1, {"g.load_image_data": "restarting", "g.load_audio_data": "up_for_retry"}, []),  # cleared with it
        (12, {"g.load_image_data_12": "None", "g.load_image_data_1": "success"}, []),
        (12, {"g.load_image_data_12": "running"}, ["g.load_image_data"]),
    ],
)
def test_a_pull_that_nothing_would_load_is_refused(monkeypatch, map_index, states, begun):
    """As when it is cleared alone while its run goes on."""
    from catalog.dags.tasks import pull as module

    tasks = ["g.pull_mixed_data", "g.load_image_data", "g.load_audio_data", "load_image_data", "watcher"]
    context: Any = {
        "dag": SimpleNamespace(task_ids=tasks),
        "dag_run": SimpleNamespace(clear_number=1),
        "ti": SimpleNamespace(task_id="g.pull_mixed_data", map_index=map_index),
    }
    monkeypatch.setattr(module, "task_states", lambda context: {"g.pull_mixed_data": "running", **states})
    if not begun:
        module.require_loads_to_come(context)
        return
    with pytest.raises(Refused, match=f"^{begun[0]} did not wait .* when the run has ended"):
        module.require_loads_to_come(context)
    context["dag_run"].clear_number = 0  # one request less for each pull
    module.require_loads_to_come(context)
