"""DAGs that would disturb each other take turns, or refuse to start.

Each has one task that takes the turn, or waits for it, and its other tasks prove that the run still has it
(`database/turns.py`). A run holds its turn while it works; when it has ended, the next run to begin gives that turn up.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from catalog.core.settings import DATA_REFRESH_POKE_INTERVAL
from catalog.dags.dag_factory import REGISTRY
from catalog.dags.operators.running import looks_again, task_failures
from catalog.dags.operators.settings import catalog_connection
from catalog.dags.operators.variables import environment

log = logging.getLogger(__name__)
POOL = "data_refresh"
WAIT, REFUSE = "wait_for_conflicting_dags", "prevent_conflicting_dags"
ENDED = {"success", "failed"}
POKE = environment(DATA_REFRESH_POKE_INTERVAL)  # seconds
PATIENCE = 7 * 24  # hours


def _is_active(context: Any, dag_id: str, run_id: str) -> bool:
    """Whether a run works, or is about to; False for a run that was deleted.

    A run of the same DAG that is queued waits for this one to end, so it does not work.
    """
    ti = context["ti"]
    if not ti.get_task_states(dag_id, run_ids=[run_id]):
        return False
    state = ti.get_dagrun_state(dag_id, run_id)
    state = getattr(state, "value", state)  # an enum that does not print as its value
    return state not in ENDED and not (dag_id == context["dag_run"].dag_id and state == "queued")


def _take() -> list[str]:
    """Take the turn of this run; the runs that keep it from doing so, in words."""
    from catalog.database.turns import Turn, take

    context: Any = get_current_context()
    run = context["dag_run"]
    with catalog_connection(autocommit=True) as catalog, task_failures():
        taken = take(
            catalog,
            run.dag_id,
            run.run_id,
            REGISTRY[run.dag_id].conflicts,
            lambda *other: _is_active(context, *other),
        )
    if not isinstance(taken, Turn):
        return taken
    log.info("turn %d", taken.number)
    return []


def current_turn(catalog: Any) -> Any:
    """The turn of the run that this task belongs to. catalog: a connection in autocommit. Raises Refused when the run has lost it."""
    from catalog.database.turns import current

    context: Any = get_current_context()
    return current(catalog, context["dag_run"].dag_id, context["dag_run"].run_id)


def prove_turn() -> None:
    """Fail, without retries, when another run has begun since this one failed."""
    with catalog_connection(autocommit=True) as catalog, task_failures():
        current_turn(catalog)


@contextmanager
def kept_turn() -> Iterator[None]:
    """Nobody may give up this run's turn meanwhile. Raises Refused when somebody has."""
    from catalog.database.turns import kept

    with catalog_connection(autocommit=True) as catalog, kept(catalog, current_turn(catalog)):
        yield


def wait_for_turn() -> Any:
    """A sensor: passes when no conflicting run is at work; from then on the turn is this run's."""

    @looks_again(POKE, PATIENCE, task_id=WAIT, pool=POOL)
    def wait_for_conflicting_dags() -> bool:
        if busy := _take():
            log.info("waiting for %s", ", ".join(busy))
        return not busy

    return wait_for_conflicting_dags()


def refuse_conflicts() -> Any:
    """A task: takes the turn, or fails at once when a conflicting run is at work; nothing has been done by then."""

    @task(task_id=REFUSE, pool=POOL)
    def prevent_conflicting_dags() -> None:
        context: Any = get_current_context()
        if busy := _take():
            raise AirflowFailException(
                f"{context['dag_run'].dag_id} refused: {', '.join(busy)} is running. Wait for it; nothing was changed."
            )

    return prevent_conflicting_dags()
