"""Types of the values that Airflow passes to the tasks that name them as parameters, and what they tell."""

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from airflow.sdk import TaskInstance, get_current_context  # type: ignore[attr-defined]  # the stub lacks the first
from airflow.sdk.types import DagRunProtocol

__all__ = ["GIVEN", "DagRun", "Params", "TaskInstance", "show_in_map_index", "task_states"]

DagRun: TypeAlias = DagRunProtocol
Params: TypeAlias = Mapping[str, Any]  # the conf of a run, with the defaults of what it leaves out
GIVEN: Any = None  # default of a parameter whose value Airflow passes when the task runs


def show_in_map_index(**values: str) -> None:
    """Set the values that the task's `map_index_template` shows in the UI."""
    cast(dict[str, Any], get_current_context()).update(values)


def task_states() -> Mapping[str, str]:
    """Return task → state of the current run; a mapped task is named `<task id>_<map index>`."""
    context = get_current_context()
    run, ti = context["dag_run"], context["ti"]
    found = ti.get_task_states(run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
    return {name: str(state) for name, state in found.items()}
