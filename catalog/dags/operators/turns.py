"""Mutual exclusion of DAGs that conflict with each other: they take turns, or refuse to start.

The first task of such a DAG takes the turn or waits for it; its other tasks prove that the run still has it
(`database/turns.py`). A run keeps its turn while it is active. When it has ended, the next run that begins
gives the turn up.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.sdk import Context, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from catalog.core.airflow_names import WAITS_FOR
from catalog.core.session import Connection
from catalog.core.settings import DATA_REFRESH_POKE_INTERVAL
from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.context import state_of
from catalog.dags.common.settings import environment
from catalog.dags.dag_factory import REGISTRY
from catalog.dags.operators.sensors import reschedule_sensor
from catalog.database.turns import Turn, current, kept, take

log = logging.getLogger(__name__)
POOL = "data_refresh"
WAIT, REFUSE = "wait_for_conflicting_dags", "prevent_conflicting_dags"
ENDED = {"success", "failed"}
POKE = environment(DATA_REFRESH_POKE_INTERVAL)  # seconds
MAX_WAIT = 7 * 24  # hours


def _is_active(context: Context, dag_id: str, run_id: str) -> bool:
    """Return whether a run is running or queued; False for a run that was deleted.

    A queued run of the same DAG waits for this one, so it is not active.
    """
    state = state_of(context["ti"], dag_id, run_id)
    return state not in {None, *ENDED} and not (dag_id == context["dag_run"].dag_id and state == "queued")


def _take() -> list[str]:
    """Take the turn for this run. Return a description of each run that has it instead."""
    context = get_current_context()
    run = context["dag_run"]
    with catalog_connection(autocommit=True) as catalog:
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


def current_turn(catalog: Connection) -> Turn:
    """Return the turn of this run.

    Args:
        catalog: A connection to the catalog database, in autocommit mode.

    Raises:
        Refused: The run has lost its turn.
    """
    run = get_current_context()["dag_run"]
    return current(catalog, run.dag_id, run.run_id)


def require_turn() -> None:
    """Fail, without retries, if another run has begun since this one failed."""
    with catalog_connection(autocommit=True) as catalog:
        current_turn(catalog)


@contextmanager
def holding_turn() -> Iterator[None]:
    """Keep other runs from giving up this run's turn inside the block. Raises Refused if one has already."""
    with catalog_connection(autocommit=True) as catalog, kept(catalog, current_turn(catalog)):
        yield


def wait_for_turn() -> Any:
    """Return a sensor that waits until no conflicting run is active, and takes the turn."""

    @reschedule_sensor(POKE, MAX_WAIT, task_id=WAIT, pool=POOL)
    def wait_for_conflicting_dags() -> bool:
        if busy := _take():
            others = ", ".join(busy)
            log.info("waiting for %s", others)
            get_current_context()["ti"].xcom_push(WAITS_FOR, others)  # for the dashboard
        return not busy

    return wait_for_conflicting_dags()


def refuse_conflicts() -> Any:
    """Return a task that takes the turn, or fails at once if a conflicting run is active."""

    @task(task_id=REFUSE, pool=POOL)
    def prevent_conflicting_dags() -> None:
        if busy := _take():
            dag_id = get_current_context()["dag_run"].dag_id
            raise AirflowFailException(
                f"{dag_id} refused: {', '.join(busy)} is running. Wait for it; nothing was changed."
            )

    return prevent_conflicting_dags()
