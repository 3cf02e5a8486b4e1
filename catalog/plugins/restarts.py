"""What else runs again when a run that had ended is started again for some of its tasks.

Airflow takes the state of a run from its last task, the watcher. If one task is cleared alone, the watcher
would stay as it ended, and the run would be successful although that task has failed now. If a pull is
cleared alone, its loads would stay as they ended, and what it reads would not be loaded. When somebody marks
a run as failed, or it times out, Airflow skips all tasks that have not begun or not ended, and of the run
only what is cleared would be done.

Only the scheduler may change the state of a task, so this is a listener: the scheduler calls it when it
starts a run. A run that goes on while one of its tasks is cleared is not started again.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from airflow.listeners import hookimpl
from sqlalchemy.orm import object_session

from catalog.core.airflow_names import WATCHER, loads_of

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.serialization.definitions.dag import SerializedDAG
    from sqlalchemy.orm import Session

Key: TypeAlias = tuple[str, int]  # task id, map index
_ENDED = ("success", "failed", "skipped", "upstream_failed")


class Found(NamedTuple):
    """A task of a run that begins again.

    Attributes:
        state: Its state; None if it was cleared, or has never begun.
        ended: It has ended by itself: it was not skipped before it began, or while it was running.
    """

    state: str | None
    ended: bool = True


@hookimpl
def on_dag_run_running(dag_run: "DagRun") -> None:
    """Clear what has to run again with the tasks of a run that somebody has cleared."""
    from airflow.models.taskinstance import clear_task_instances

    session = object_session(dag_run)
    if session is None or not dag_run.clear_number:
        return
    instances = {(ti.task_id, ti.map_index): ti for ti in dag_run.get_task_instances(session=session)}
    former = _former_tries(dag_run, session)
    tasks = {
        key: Found(
            str(ti.state) if ti.state else None,
            # A task that waits for its next try has the number of the last one.
            bool(ti.try_number and ti.end_date) and (*key, ti.try_number) not in former,
        )
        for key, ti in instances.items()
    }
    again = to_run_again(dag_run.get_dag(), tasks)
    clear_task_instances([instances[key] for key in again], session, dag_run_state=False)


def _former_tries(dag_run: "DagRun", session: "Session") -> set[tuple[str, int, int]]:
    """Return the tries of the run's tasks that were followed by another one, or by a clear."""
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from sqlalchemy import select

    tried = TaskInstanceHistory.task_id, TaskInstanceHistory.map_index, TaskInstanceHistory.try_number
    of_run = (TaskInstanceHistory.dag_id == dag_run.dag_id) & (TaskInstanceHistory.run_id == dag_run.run_id)
    return {
        (task_id, map_index, number)
        for task_id, map_index, number in session.execute(select(*tried).where(of_run))
    }


def to_run_again(dag: "SerializedDAG", tasks: Mapping[Key, Found]) -> list[Key]:
    """Return the ended tasks that have to run again.

    They are the watcher, loads and reports of cleared pulls, and what was skipped: before its end, or after a
    task that was cleared. The scheduler skips it again where the tasks before it say so.

    Args:
        dag: The DAG.
        tasks: The tasks of the run.
    """
    found, later = {(WATCHER, -1)}, set[str]()
    for task_id, map_index in (key for key, task in tasks.items() if task.state is None):
        after = dag.get_task(task_id).get_flat_relative_ids(upstream=False)
        later |= after
        if loads := loads_of(task_id, dag.task_ids):
            found |= {(load, map_index) for load in loads}
            found |= {(name, -1) for name in after if name.startswith("report_")}
    skipped = {key: task for key, task in tasks.items() if task.state == "skipped"}
    found |= {key for key, task in skipped.items() if key[0] in later or not task.ended}
    return [key for key, task in tasks.items() if key in found and task.state in _ENDED]
