"""The choice between a full and an incremental refresh, and the plan of each."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal
from uuid import uuid4

import msgspec

from catalog.core.dates import AHEAD, utc
from catalog.core.errors import Refused
from catalog.core.media import MediaType
from catalog.core.queries import database_time
from catalog.core.session import Connection
from catalog.core.settings import API_DB, SEARCH
from catalog.data_refresh import basis
from catalog.data_refresh.basis import Basis
from catalog.data_refresh.refresh import Plan, Refresh
from catalog.data_refresh.search.identity import filtered_name
from catalog.data_refresh.search.index_writes import changed_by_others
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.recount import recount
from catalog.data_refresh.search.sensitive import digest_of
from catalog.data_refresh.search.tag_policy import TagPolicy, policy_from
from catalog.data_refresh.tables.apply import obstacles
from catalog.data_refresh.tables.columns import api_columns, catalog_name, temp_name
from catalog.data_refresh.tables.copy import TABLES
from catalog.data_refresh.tables.marks import mark
from catalog.data_refresh.tables.shape import shape
from catalog.database.row_versions import horizon
from catalog.moderation.decisions import moderation_moment
from catalog.moderation.remembered import remember

Wanted = Literal["auto", "incremental", "full"]
MIN_CHANGES = 10_000  # records that may have changed in any case, unless none may


def index_plan(
    api: Connection,
    engine: Indexes,
    media_type: MediaType,
    number: int,
    policy: TagPolicy,
    terms: Sequence[str],
) -> Plan:
    """Return the plan of new indexes of the live tables; arguments as of `full_plan`."""
    names = _new_names(media_type, number)
    return Plan(
        mode="index_only",
        media_type=media_type,
        api=API_DB,
        search=SEARCH,
        table=media_type,
        index=names[media_type],
        filtered=names[filtered_name(media_type)],
        aliases=names,
        policy=msgspec.to_builtins(policy),
        since=moderation_moment(api),
        live={alias: engine.resolve_alias(alias) for alias in names},
        documents={alias: engine.sources(alias) for alias in names},
        terms=digest_of(terms),
        remembered=remember(api, media_type),
    )


def full_plan(
    catalog: Connection,
    api: Connection,
    engine: Indexes,
    media_type: MediaType,
    number: int,
    policy: TagPolicy,
    terms: Sequence[str],
) -> Plan:
    """Return the plan of a full refresh of production.

    Args:
        catalog: Connection to the catalog database.
        api: Connection to the API database.
        engine: Operations on indexes.
        media_type: Media type of the refresh.
        number: Number of the refresh.
        policy: Tag policy of the documents.
        terms: Sensitive terms.
    """
    tables = TABLES[media_type]
    plan = index_plan(api, engine, media_type, number, policy, terms)
    columns = {
        catalog_name(table): [
            api_columns(catalog, api, table),
            basis.source_columns(catalog, catalog_name(table)),
        ]
        for table in tables
    }
    return msgspec.structs.replace(
        plan,
        mode="full",
        table=temp_name(media_type),
        shapes={table: shape(api, table) for table in tables},
        horizon=horizon(catalog),
        inputs=basis.inputs(columns, terms, policy.digest),
        code=basis.code(),
    )


def full_instead(plan: Plan, number: int, reason: str) -> Plan:
    """Return the plan of a full refresh in the place of an incremental one.

    Args:
        plan: Plan of the incremental refresh.
        number: Number of the refresh.
        reason: Why it cannot be incremental.
    """
    names = _new_names(plan.media_type, number)
    return msgspec.structs.replace(
        plan,
        mode="full",
        reason=reason,
        index=names[plan.media_type],
        filtered=names[filtered_name(plan.media_type)],
        aliases=names,
        previous=None,
    )


def _new_names(media_type: MediaType, number: int) -> dict[str, str]:
    """Return new names of both indexes, by alias."""
    index = f"{media_type}-{number}-{uuid4().hex[:12]}"
    return {media_type: index, filtered_name(media_type): filtered_name(index)}


def choose(
    wanted: Wanted,
    plan: Plan,
    catalog: Connection,
    api: Connection,
    engine: Indexes,
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
    if wanted == "auto" and (reason := _full_is_due(found, database_time(catalog), full_after)):
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


def _full_is_due(before: Basis, now: datetime, full_after: timedelta) -> str:
    """Return why the last full refresh is too old; "" if it is not."""
    age = now - before.full_on
    if age >= full_after:
        return f"the last full refresh is {age.days} days old, and DATA_REFRESH_FULL_AFTER_DAYS is reached"
    if age < -AHEAD:  # of an earlier release, which took the clock of a worker
        return f"the time of the last full refresh, {utc(before.full_on):%Y-%m-%d %H:%M} UTC, is yet to come"
    return ""


def _continued(
    plan: Plan, catalog: Connection, api: Connection, engine: Indexes, limit: int, number: int
) -> Basis | str:
    """Return the state that an incremental refresh continues, or why it cannot."""
    if limit:
        return "DATA_REFRESH_LIMIT is set"
    found = basis.last(catalog, plan.media_type, number)
    if isinstance(found, str):
        return found
    problem = _obstacle(found, plan, api, engine)
    return problem or next(iter(obstacles(api, list(plan.shapes))), None) or found


def _obstacle(before: Basis, plan: Plan, api: Connection, engine: Indexes) -> str | None:
    """Return the reason why a refresh cannot continue the state after the last one, or None."""
    for table in plan.shapes:
        found = mark(api, table)
        if found is None or found.number != before.number:
            return f"the last refresh did not write the API's table {table} as it is now"
    for alias, uuid in before.indexes.items():
        name = engine.resolve_alias(alias)
        identity = engine.identity(name) if name else None
        if identity is None or identity.uuid != uuid:
            return f"the last refresh did not fill the index behind {alias}"
        if pipeline := engine.pipeline(identity.name):
            return f"the index behind {alias} has {pipeline}, which changes documents that are written to it"
        counted = before.documents.get(alias)
        if counted is None:  # an earlier release recorded the basis
            continue
        if not (now := recount(engine, api, plan.media_type, alias, counted, before.since)).explained:
            return (
                f"another program has changed the index behind {alias}: {now.found:,} documents instead of "
                f"{counted:,}"
            )
    if before.inputs != plan.inputs:
        return (
            "columns, tag policy, sensitive terms, the index mapping or the code of documents have changed "
            "since the last refresh"
        )
    policy = policy_from(plan.policy)
    for alias, writes in before.writes.items():  # an earlier release has recorded none
        if problem := changed_by_others(engine, api, plan.media_type, alias, policy, writes):
            return problem
    return None


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
        full_on=plan.previous.full_on if plan.previous else refresh.begun_on,
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
