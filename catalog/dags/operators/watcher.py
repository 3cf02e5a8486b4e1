"""The watcher, which makes a run fail when any of its tasks fails.

Airflow takes the state of a run from its last tasks. Reports run whatever happened before them, and would
leave a run successful although a task failed. See "Watcher pattern" in Airflow's documentation of system
tests and trigger rules.
"""

import re

from airflow.sdk import DAG, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from catalog.core.airflow_names import WATCHER
from catalog.dags.common.context import task_states


@task(task_id=WATCHER, trigger_rule="one_failed", retries=0, on_failure_callback=[])
def watcher() -> None:
    """Fail; skipped when no task has failed."""
    raise AirflowFailException("A task of this run has failed; its own log says why.")


def watch(dag: DAG) -> None:
    """Add a watcher to a DAG of several tasks. The last task of a DAG with one task decides by itself."""
    if len(tasks := list(dag.tasks)) > 1:
        tasks >> watcher()


def failed_tasks() -> tuple[list[str], int]:
    """Return the tasks of the current run that failed, and the number of those that could not begin."""
    states, own = task_states(), get_current_context()["dag"].task_ids
    failed = [
        name if name in own else re.sub(r"_(\d+)$", r"[\1]", name)  # of a mapped task
        for name, state in states.items()
        if state == "failed" and name != WATCHER
    ]
    return sorted(failed), list(states.values()).count("upstream_failed")
