"""What else runs again when a run that had ended is started again for some of its tasks.

Airflow takes the state of a run from its last task, the watcher. If one task is cleared alone, the watcher
would stay as it ended, and the run would be successful although that task has failed now. If a pull is
cleared alone, its loads would stay as they ended, and what it reads would not be loaded. When somebody marks
a run as failed, or it times out, Airflow skips all tasks that have not begun or not ended, and of the run
only what is cleared would be done.

Only the scheduler may change the state of a task, so this is a listener: the scheduler calls it when it
starts a run. A run that goes on while one of its tasks is cleared is not started again.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from airflow.listeners import hookimpl
from sqlalchemy.orm import object_session

from catalog.core.airflow_names import SKIPPED, WATCHER, loads_of

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
        skipped_itself: Whether it ended so.
    """

    state: str | None
    skipped_itself: bool


@hookimpl
def on_dag_run_running(dag_run: "DagRun") -> None:
    """Clear what has to run again with the tasks of a run that somebody has cleared."""
    from airflow.models.taskinstance import clear_task_instances

    session = object_session(dag_run)
    if session is None or not dag_run.clear_number:
        return
    instances = {(ti.task_id, ti.map_index): ti for ti in dag_run.get_task_instances(session=session)}
    skipped_themselves = _skipped_themselves(dag_run, session)
    tasks = {
        key: Found(str(ti.state) if ti.state else None, (*key, ti.try_number) in skipped_themselves)
        for key, ti in instances.items()
    }
    again = to_run_again(dag_run.get_dag(), tasks)
    clear_task_instances([instances[key] for key in again], session, dag_run_state=False)


def _skipped_themselves(dag_run: "DagRun", session: "Session") -> set[tuple[str, int, int]]:
    """Return the last tries of the run's tasks that ended by skipping themselves.

    The times of a task do not tell: Airflow sets them also when it skips a task that waits.
    """
    from airflow.models.taskinstancehistory import TaskInstanceHistory as History
    from airflow.models.xcom import XComModel as XCom
    from sqlalchemy import select

    noted = select(XCom.task_id, XCom.map_index, XCom.value).where(
        XCom.dag_run_id == dag_run.id, XCom.key == SKIPPED
    )
    tries = {(task_id, index, int(json.loads(str(of)))) for task_id, index, of in session.execute(noted)}
    # A task that was cleared, or waits for its next try, still has the number of the last one.
    former = select(History.task_id, History.map_index, History.try_number).where(
        History.dag_id == dag_run.dag_id, History.run_id == dag_run.run_id
    )
    return tries - {(task_id, index, number) for task_id, index, number in session.execute(former)}


def to_run_again(dag: "SerializedDAG", tasks: Mapping[Key, Found]) -> list[Key]:
    """Return the ended tasks that have to run again.

    They are the watcher, loads and reports of cleared pulls, and what was skipped, but for tasks that have
    skipped themselves before those that were cleared. The scheduler skips others again where the tasks before
    them say so.

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
    found |= {key for key, task in skipped.items() if key[0] in later or not task.skipped_itself}
    return [key for key, task in tasks.items() if key in found and task.state in _ENDED]
