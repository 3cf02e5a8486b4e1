"""Which tasks of a scheduled run are skipped while its schedule is held."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.airflow


@pytest.mark.parametrize(
    ("states", "attempt", "run_type", "run_state", "skipped"),
    [
        ({"pull": "running"}, 1, "scheduled", "running", True),
        ({"pull": "skipped", "load": "running", "report": None}, 1, "scheduled", "running", True),
        ({"pull": "running"}, 1, "manual", "running", False),
        ({"pull": "running"}, 2, "scheduled", "running", False),
        ({"pull": "success", "load": "running"}, 1, "scheduled", "running", False),
        ({"pull_1": "failed", "load_1": "upstream_failed"}, 1, "scheduled", "running", False),
        ({"copy_0": "up_for_retry", "copy_1": "running"}, 1, "scheduled", "running", False),
        ({"pull": "success", "load": "skipped"}, 1, "scheduled", "success", True),
    ],
)
def test_only_a_run_that_begins_is_held(monkeypatch, states, attempt, run_type, run_state, skipped):
    """The rest of a run that has done something is not left out: its pulled records would not be loaded.

    The last case is a run that was marked as success while its first task started, as `unpaused` does.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    from catalog.dags.dag_factory import skip_when_held

    monkeypatch.setenv("AIRFLOW_VAR_HELD_SCHEDULES", json.dumps({"met_workflow": "unpaused for a run"}))
    ti = SimpleNamespace(
        dag_id="met_workflow",
        run_id="one",
        try_number=attempt,
        get_task_states=lambda dag_id, run_ids: dict.fromkeys(run_ids, states),
        get_dagrun_state=lambda dag_id, run_id: run_state,
        xcom_push=lambda key, value: noted.append((key, value)),
    )
    noted: list[tuple[str, str]] = []
    context: Any = {
        "ti": ti,
        "dag_run": SimpleNamespace(dag_id="met_workflow", run_id="one", run_type=run_type),
    }
    if skipped:
        with pytest.raises(AirflowSkipException, match="held by HELD_SCHEDULES: unpaused for a run"):
            skip_when_held(context)
        assert noted == [("held", "unpaused for a run")]
    else:
        skip_when_held(context)
