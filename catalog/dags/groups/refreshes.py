"""The refresh of a run: recorded once in the catalog database, and read from there by every task."""

import logging
from collections.abc import Callable

from catalog.core.errors import Refused
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.dags.common.acceptance import RunJudge
from catalog.dags.common.connections import catalog_connection
from catalog.dags.operators.turns import current_turn
from catalog.data_refresh import refresh as refreshes
from catalog.data_refresh import refresh_history, removals
from catalog.data_refresh.basis import record
from catalog.data_refresh.refresh import Counted, CreatedIndex, Hidden, Plan, Refresh, Stage
from catalog.moderation.remembered import Decisions, refuse_lost

log = logging.getLogger(__name__)
REMEDY: dict[Stage, str] = {
    "working": "nothing of it is live yet; clear promote_tables and all tasks after it",
    "tables": (
        "its tables are live already; clear promote_indexes and all tasks after it, or trigger a new run"
    ),
    "promoted": "it is live already; trigger a new run",
}


def removed_by_checks(refresh: Refresh) -> str:
    """Return a sentence with the records that `check_links` has removed since the last refresh, or ""."""
    with catalog_connection(autocommit=True) as catalog:
        return removals.removed_by_checks(catalog, refresh)


def begin_refresh(plan: Callable[[int], Plan]) -> Refresh:
    """Record the refresh of this run, unless an earlier attempt has.

    Args:
        plan: Makes the plan, from the number of the refresh.
    """
    with catalog_connection(autocommit=True) as catalog:
        turn = current_turn(catalog)
        current = refreshes.begun(catalog, turn) or refreshes.begin(catalog, turn, plan(turn.number))
    into = ", ".join(current.plan.aliases.values()) or current.plan.index
    log.info("refresh %d, into %s", current.number, into)
    return current


def current_refresh(*stages: Stage) -> Refresh:
    """Return the refresh of this run.

    Raises:
        Refused: The run has lost its turn, or the refresh is at none of these stages.
    """
    with catalog_connection(autocommit=True) as catalog:
        current = refreshes.note_code(catalog, refreshes.read(catalog, current_turn(catalog)))
    if stages and current.stage not in stages:
        raise Refused(f"refresh {current.number} is not where this task belongs: {REMEDY[current.stage]}.")
    return current


def judge_decisions(
    api: Connection, media_type: MediaType, where: str, before: Decisions, *, newest: bool
) -> None:
    """Refuse to go on without many decisions of moderators, unless the run accepts what was reported.

    Args:
        api: Connection to the API database.
        media_type: Media type of the records.
        where: Airflow connection of that database.
        before: What is remembered of them.
        newest: See `refuse_lost`.
    """
    scope = f"{media_type} decisions, {where}"
    refuse_lost(api, media_type, before, RunJudge(), scope, newest=newest)


def refuse_lost_decisions(refresh: Refresh, api: Connection, *, begins: bool = False) -> None:
    """Refuse to show rows or documents without many of the decisions that moderators had made before.

    Only what has made nothing live asks; see `decisions`.

    Args:
        refresh: The refresh of this run.
        api: Connection to its API database.
        begins: The run begins, so that the newest ones count, too.

    Raises:
        Fatal: Many are gone since it began; or since the last data refresh, if it has not noted them itself.
            The run does not accept that, or nobody has reported it before.
    """
    plan = refresh.plan
    with catalog_connection(autocommit=True) as catalog:
        before = plan.remembered or refresh_history.last_decisions(catalog, plan.media_type, plan.api)
    judge_decisions(api, plan.media_type, plan.api, before, newest=begins)


def is_complete(uuid: str) -> bool | None:
    """Return whether an index was complete when it was made; None if no refresh has recorded it."""
    with catalog_connection(autocommit=True) as catalog:
        return refresh_history.is_complete(catalog, uuid)


def hidden_last(alias: str, search: str) -> Hidden | None:
    """Return what the filtered index has hidden at which a run has last pointed an alias; None if unknown."""
    with catalog_connection(autocommit=True) as catalog:
        return refresh_history.last_hidden(catalog, alias, search)


def last_count(uuid: str) -> Counted | None:
    """Return the recorded number of documents of an index; None if no refresh has recorded it."""
    with catalog_connection(autocommit=True) as catalog:
        return refresh_history.last_count(catalog, uuid)


def last_writes(uuid: str) -> dict[str, int]:
    """Return the last write to each shard of an index when it was counted; empty if not recorded."""
    with catalog_connection(autocommit=True) as catalog:
        return refresh_history.last_writes(catalog, uuid)


def note_index(
    refresh: Refresh,
    index: str,
    uuid: str,
    documents: int | None = None,
    *,
    rejected: list[str] | None = None,
    writes: dict[str, int] | None = None,
) -> None:
    """Record an index that was created, or counted; see `CreatedIndex`."""
    made = CreatedIndex(uuid, documents, rejected, writes or {})
    with catalog_connection(autocommit=True) as catalog:
        refreshes.note_index(catalog, refresh, index, made)


def note_found(refresh: Refresh, index: str, uuid: str) -> None:
    """Record an index that was there before the run, unless an earlier attempt has."""
    with catalog_connection(autocommit=True) as catalog:
        refreshes.note_found(catalog, refresh, index, uuid)


def replan(refresh: Refresh, plan: Plan) -> Refresh:
    """Replace the plan of a refresh, as long as nothing is live, and return the refresh."""
    with catalog_connection(autocommit=True) as catalog:
        return refreshes.replan(catalog, refresh, plan)


def complete() -> None:
    """Record the refresh of this run's turn as promoted, with the state that the next one can continue."""
    from catalog.data_refresh.modes import completed

    with catalog_connection(autocommit=True) as catalog:
        current = refreshes.read(catalog, current_turn(catalog))
        if state := completed(current):
            record(catalog, state)
        else:
            refreshes.reach(catalog, current, "promoted")


def reach(refresh: Refresh, stage: Stage) -> None:
    """Record the stage of a refresh."""
    with catalog_connection(autocommit=True) as catalog:
        refreshes.reach(catalog, refresh, stage)
