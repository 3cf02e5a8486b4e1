"""DAGs that would disturb each other take turns, or refuse to start.

Each has one task that decides, and these tasks share a pool of one slot: never two at a time look around. A run holds its turn from the
moment when that task has succeeded until its conclusion. So two that start in the same second do not wait for each other for ever.
"""

import logging
from collections.abc import Iterable
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from catalog.dags.dag_factory import CONCLUSION, REGISTRY
from catalog.dags.operators.running import looks_again
from catalog.dags.operators.variables import environment
from catalog.settings import DATA_REFRESH_POKE_INTERVAL

log = logging.getLogger(__name__)
POOL = "data_refresh"
WAIT, REFUSE = "wait_for_conflicting_dags", "prevent_conflicting_dags"
FINISHED = {"success", "failed", "upstream_failed", "skipped", "removed"}
POKE = environment(DATA_REFRESH_POKE_INTERVAL)  # seconds
PATIENCE = 7 * 24  # hours


def holders(instance: Any, dag_ids: Iterable[str]) -> list[str]:
    """Runs of these DAGs that hold their turn, in words."""
    found = []
    for dag_id in dag_ids:
        runs = instance.get_task_states(dag_id, task_ids=[WAIT, REFUSE, CONCLUSION])
        for run_id, states in runs.items():
            passed = any(str(states.get(name)) == "success" for name in (WAIT, REFUSE))
            if passed and str(states.get(CONCLUSION)) not in FINISHED:
                found.append(f"{dag_id} (run {run_id})")
    return found


def _conflicts() -> list[str]:
    context: Any = get_current_context()
    return holders(context["ti"], REGISTRY[context["dag_run"].dag_id].conflicts)


def wait_for_turn() -> Any:
    """A sensor: passes when no conflicting run holds its turn."""

    @looks_again(POKE, PATIENCE, task_id=WAIT, pool=POOL)
    def wait_for_conflicting_dags() -> bool:
        if busy := _conflicts():
            log.info("waiting for %s", ", ".join(busy))
        return not busy

    return wait_for_conflicting_dags()


def refuse_conflicts() -> Any:
    """A task: fails at once when a conflicting run holds its turn; nothing has been done by then."""

    @task(task_id=REFUSE, pool=POOL)
    def prevent_conflicting_dags() -> None:
        context: Any = get_current_context()
        if busy := _conflicts():
            raise AirflowFailException(
                f"{context['dag_run'].dag_id} refused: {', '.join(busy)} is running. Wait for it; nothing was changed."
            )

    return prevent_conflicting_dags()
