"""Types of the values that Airflow passes to the tasks that name them as parameters, and what they tell."""

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from airflow.sdk import TaskInstance, get_current_context  # type: ignore[attr-defined]  # the stub lacks the first
from airflow.sdk.types import DagRunProtocol

__all__ = ["GIVEN", "DagRun", "Params", "TaskInstance", "show_in_map_index", "state_of", "task_states"]

DagRun: TypeAlias = DagRunProtocol
Params: TypeAlias = Mapping[str, Any]  # the conf of a run, with the defaults of what it leaves out
GIVEN: Any = None  # default of a parameter whose value Airflow passes when the task runs


def show_in_map_index(**values: str) -> None:
    """Set the values that the task's `map_index_template` shows in the UI."""
    cast(dict[str, Any], get_current_context()).update(values)


def state_of(ti: TaskInstance, dag_id: str, run_id: str) -> str | None:
    """Return the state of any run; None if it was deleted. An error of Airflow's API is not an answer.

    Args:
        ti: The task that asks.
        dag_id: The DAG.
        run_id: The run.
    """
    # A missing run gives the same error as an API that does not answer; its tasks give an empty answer.
    if not ti.get_task_states(dag_id, run_ids=[run_id]):
        return None
    state = ti.get_dagrun_state(dag_id, run_id)
    return str(getattr(state, "value", state))  # an enum that does not print as its value


def task_states(context: Any = None) -> Mapping[str, str]:
    """Return task → state of a run; a mapped task is named `<task id>_<map index>`.

    Args:
        context: Airflow's context of a task of the run; None for that of the current one.
    """
    context = context or get_current_context()
    run, ti = context["dag_run"], context["ti"]
    found = ti.get_task_states(run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
    return {name: str(state) for name, state in found.items()}
