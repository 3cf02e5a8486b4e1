"""Airflow's database: where it is, and the names of tasks, and of what they leave in it."""

import re
from collections.abc import Iterable

ADDRESS = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"  # the environment's variable with its address

WATCHER = "watcher"  # the last task of a run, which fails when any other has failed
HELD = "held"  # XCom of the tasks that are skipped because their schedule is held: the reason
LIMITED = "limited"  # XCom of a task that does only a part, or nothing, because of a Variable: which one
WAITS_FOR = "waits_for"  # XCom of a task that waits for other runs: which they are, for people
FAILURE = "failure"  # XCom of a failed task: why, for people
SKIPPED = "skipped"  # XCom of a task that has skipped itself: the number of the try
LOADED = "loaded"  # XCom of a load: the token of the pull whose records are in the catalog


def loads_of(task_id: str, among: Iterable[str]) -> list[str]:
    """Return the tasks that load what a pull reads, which are in its group; none if the task is no pull.

    Args:
        task_id: The task.
        among: The tasks of its DAG.
    """
    group, _, name = task_id.rpartition(".")
    if not re.fullmatch(r"pull_\w+_data", name):
        return []
    return [other for other in among if re.fullmatch(rf"{re.escape(group)}\.load_\w+_data", other)]
