"""What else runs again when a run that had ended is started again for some of its tasks.

Airflow takes the state of a run from its last task, the watcher. If one task is cleared alone, the watcher
would stay as it ended, and the run would be successful although that task has failed now. If a pull is
cleared alone, its loads would stay as they ended, and what it reads would not be loaded.

Only the scheduler may change the state of a task, so this is a listener: the scheduler calls it when it
starts a run. A run that goes on while one of its tasks is cleared is not started again.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from airflow.listeners import hookimpl
from sqlalchemy.orm import object_session

from catalog.core.airflow_names import WATCHER, loads_of

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.serialization.definitions.dag import SerializedDAG

Key: TypeAlias = tuple[str, int]  # task id, map index
_ENDED = ("success", "failed", "skipped", "upstream_failed")


@hookimpl
def on_dag_run_running(dag_run: "DagRun") -> None:
    """Clear what has to run again with the tasks of a run that somebody has cleared."""
    from airflow.models.taskinstance import clear_task_instances

    session = object_session(dag_run)
    if session is None or not dag_run.clear_number:
        return
    instances = {(ti.task_id, ti.map_index): ti for ti in dag_run.get_task_instances(session=session)}
    states = {key: str(ti.state) if ti.state else None for key, ti in instances.items()}
    again = to_run_again(dag_run.get_dag(), states)
    clear_task_instances([instances[key] for key in again], session, dag_run_state=False)


def to_run_again(dag: "SerializedDAG", states: Mapping[Key, str | None]) -> list[Key]:
    """Return the ended tasks that have to run again: the watcher, and loads and reports of cleared pulls.

    Args:
        dag: The DAG.
        states: The states of the run's tasks; None for those that were cleared, or have never begun.
    """
    found = {(WATCHER, -1)}
    for task_id, map_index in (key for key, state in states.items() if state is None):
        if loads := loads_of(task_id, dag.task_ids):
            later = dag.get_task(task_id).get_flat_relative_ids(upstream=False)
            found |= {(load, map_index) for load in loads}
            found |= {(name, -1) for name in later if name.startswith("report_")}
    return [key for key, state in states.items() if key in found and state in _ENDED]
