"""The choice between a full and an incremental refresh, and the plan of each."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from catalog.core.errors import Refused
from catalog.core.session import Connection
from catalog.data_refresh import basis
from catalog.data_refresh.basis import Basis
from catalog.data_refresh.refresh import Plan, Refresh
from catalog.data_refresh.search.identity import filtered_name
from catalog.data_refresh.search.tag_policy import policy_from
from catalog.data_refresh.tables.apply import obstacles

if TYPE_CHECKING:
    from catalog.data_refresh.search.indexes import Indexes

Wanted = Literal["auto", "incremental", "full"]
MIN_CHANGES = 10_000  # records that may have changed in any case, unless none may


def choose(
    wanted: Wanted,
    plan: Plan,
    catalog: Connection,
    api: Connection,
    engine: "Indexes",
    *,
    number: int,
    limit: int,
    full_after: timedelta,
) -> Plan:
    """Return the plan of a refresh: incremental where that is possible, otherwise full with the reason.

    Args:
        wanted: Mode that was asked for.
        plan: Plan of a full refresh.
        catalog: Connection to the catalog database.
        api: Connection to the API database.
        engine: Operations on indexes.
        number: Number of the refresh.
        limit: Maximum number of rows that a full refresh copies; 0 for all.
        full_after: Age of the last full refresh from which `auto` chooses a full one.

    Raises:
        Refused: An incremental refresh was asked for and is impossible.
    """
    if wanted == "full":
        return plan
    found = _continued(plan, catalog, api, engine, limit, number)
    if isinstance(found, str):
        if wanted == "incremental":
            raise Refused(f"mode: an incremental refresh is impossible: {found}. Use auto or full.")
        return msgspec.structs.replace(plan, reason=found)
    age = datetime.now(UTC) - found.full_on
    if wanted == "auto" and age >= full_after:
        reason = f"the last full refresh is {age.days} days old, and DATA_REFRESH_FULL_AFTER_DAYS is reached"
        return msgspec.structs.replace(plan, reason=reason)
    live = {alias: index for alias, index in plan.live.items() if index}
    return msgspec.structs.replace(
        plan,
        mode="incremental",
        index=live[plan.media_type],
        filtered=live[filtered_name(plan.media_type)],
        aliases=live,
        previous=found,
        counts={alias: engine.count(index) for alias, index in live.items()},
    )


def _continued(
    plan: Plan, catalog: Connection, api: Connection, engine: "Indexes", limit: int, number: int
) -> Basis | str:
    """Return the state that an incremental refresh continues, or why it cannot."""
    if limit:
        return "DATA_REFRESH_LIMIT is set"
    found = basis.last(catalog, plan.media_type, number)
    if isinstance(found, str):
        return found
    tables = list(plan.shapes)
    policy = policy_from(plan.policy)
    problem = basis.obstacle(found, api, engine, plan.media_type, tables, plan.inputs, policy)
    return problem or next(iter(obstacles(api, tables)), None) or found


def completed(refresh: Refresh) -> Basis | None:
    """Return the state after a refresh whose indexes are complete; None if no refresh can continue it."""
    plan = refresh.plan
    if plan.mode == "index_only" or plan.mixed:
        return None
    if not plan.inputs:  # only a filtered index was created
        return None
    indexes = {alias: refresh.made(index) for alias, index in plan.aliases.items()}
    rejected = indexes[plan.media_type].rejected
    if rejected is None:
        return None
    return Basis(
        number=refresh.number,
        horizon=plan.horizon,
        inputs=plan.inputs,
        indexes={alias: made.uuid for alias, made in indexes.items()},
        full_on=plan.previous.full_on if plan.previous else datetime.now(UTC),
        rejected=rejected,
        documents={alias: made.documents for alias, made in indexes.items() if made.documents is not None},
        since=plan.since,
        writes={alias: made.writes for alias, made in indexes.items() if made.writes},
    )


def most_changes(rows: int, percentage: int) -> int:
    """Return how many of a table's records may have changed for an incremental refresh.

    Args:
        rows: Number of records.
        percentage: Part of them that may have changed; 0 for none.
    """
    return max(MIN_CHANGES, rows * percentage // 100) if percentage else 0
