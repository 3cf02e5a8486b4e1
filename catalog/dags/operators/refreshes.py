"""The refresh that a task belongs to: begun once by a run's first task, read from the catalog database by all others."""

import logging
from collections.abc import Callable
from typing import Any

from catalog.core.errors import Refused
from catalog.dags.operators.conflicts import current_turn
from catalog.dags.operators.running import task_failures
from catalog.dags.operators.settings import catalog_connection

log = logging.getLogger(__name__)
WAY_OUT = {
    "working": "nothing of it is live yet; clear the task that promotes and all tasks after it",
    "tables": "its tables are live already; clear promote_indexes and all tasks after it, or trigger a new run",
    "promoted": "it is live already; trigger a new run",
}


def begin_refresh(plan: Callable[[int], Any]) -> Any:
    """The refresh of this run, begun if it was not. plan: makes its plan; is given the number of the refresh."""
    from catalog.data_refresh import refresh as refreshes

    with catalog_connection(autocommit=True) as catalog, task_failures():
        turn = current_turn(catalog)
        found = refreshes.begun(catalog, turn) or refreshes.begin(catalog, turn, plan(turn.number))
    log.info("refresh %d, into %s", found.number, ", ".join(found.plan.aliases.values()))
    return found


def current_refresh(*stages: str) -> Any:
    """The refresh of this run. Fails, without retries, when the run has lost its turn, or the refresh is at none of these stages."""
    from catalog.data_refresh import refresh as refreshes

    with catalog_connection(autocommit=True) as catalog, task_failures():
        found = refreshes.read(catalog, current_turn(catalog))
        if stages and found.stage not in stages:
            raise Refused(f"refresh {found.number} is not where this task belongs: {WAY_OUT[found.stage]}.")
    return found


def promoted_indexes() -> set[str]:
    """Uuids of the indexes of all refreshes that were promoted."""
    from catalog.data_refresh import refresh as refreshes

    with catalog_connection(autocommit=True) as catalog:
        return refreshes.promoted(catalog)


def note_index(refresh: Any, index: str, uuid: str, documents: int | None = None) -> None:
    """Write down that an index was made, or counted."""
    from catalog.data_refresh import refresh as refreshes

    with catalog_connection(autocommit=True) as catalog:
        refreshes.note_index(catalog, refresh, index, refreshes.Made(uuid, documents))


def reach(refresh: Any, stage: Any) -> None:
    """Write down how far a refresh is."""
    from catalog.data_refresh import refresh as refreshes

    with catalog_connection(autocommit=True) as catalog:
        refreshes.reach(catalog, refresh, stage)
