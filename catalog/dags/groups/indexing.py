"""Filling search indexes: tasks that the data refresh, the filtered index and the staging index share.

Which index is filled from where is the run's refresh (`operators/refreshes.py`), which each task reads from the catalog database.
"""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from catalog.core.errors import Refused
from catalog.core.media import MediaType
from catalog.core.settings import (
    DATA_REFRESH_EXECUTOR,
    DATA_REFRESH_INDEX_TASKS,
    ES_INDEX_THROTTLING_RATE,
    TAG_POLICY,
)
from catalog.dags.operators.conflicts import kept_turn
from catalog.dags.operators.refreshes import current_refresh, note_index, promoted_indexes, reach
from catalog.dags.operators.running import Meter, stop_asked, task_failures
from catalog.dags.operators.settings import (
    SEARCH,
    TaskStateCheckpoint,
    database_connection,
    search_connection,
    sensitive_terms,
)  # fmt: skip
from catalog.dags.operators.variables import environment, value_of

log = logging.getLogger(__name__)
EXECUTOR = environment(DATA_REFRESH_EXECUTOR)  # of the tasks that fill ranges; None: the default one
LONG = timedelta(days=2)
HEALTHY = 6 * 3600.0  # seconds that replicas may take
EXAMPLES = 100  # of rejected records, in the log


def indexes(conn_id: str = SEARCH) -> Any:
    """The indexes of a search engine."""
    from catalog.data_refresh.search import Indexes

    return Indexes(search_connection(conn_id).client)


def tag_policy() -> Any:
    """The policy in force: the Variable TAG_POLICY, or the default."""
    from catalog.data_refresh.tag_policy import policy_from

    with task_failures():
        return policy_from(value_of(TAG_POLICY))


def rehearse(
    media_type: MediaType, aliases: list[str], conn_id: str = SEARCH, *, filtered: bool = True
) -> None:
    """Try now what would stop the run hours later: tag policy, sensitive terms, and all that is asked of the search engine.

    Args:
        media_type: Of the media.
        aliases: That are to be pointed at new indexes.
        conn_id: Airflow connection of the search engine.
        filtered: Whether the run makes an index without sensitive media.
    """
    from catalog.data_refresh.mapping import SHARDS
    from catalog.data_refresh.preflight import preflight_search

    context: Any = get_current_context()
    engine, policy, run = search_connection(conn_id), tag_policy(), context["dag_run"]
    with task_failures():
        terms = sensitive_terms() if filtered else []
        log.info("tag policy %s, %s sensitive terms", policy.digest, f"{len(terms):,}")
        notes = preflight_search(
            indexes(conn_id), terms, media_type, dag_id=run.dag_id, run_id=run.run_id,
            shards=engine.shards or SHARDS[media_type], replicas=engine.replicas, aliases=aliases,
        )  # fmt: skip
    for note in notes:
        log.warning("%s", note)


def make_index(refresh: Any, name: str) -> str:
    """A new, empty index of a refresh; its `_meta` says who made it under which tag policy. Returns the engine's identifier of it."""
    from catalog.data_refresh.mapping import SHARDS, index_body, index_meta
    from catalog.data_refresh.search import Indexes
    from catalog.data_refresh.tag_policy import policy_from

    plan, engine = refresh.plan, search_connection(refresh.plan.search)
    meta = index_meta(plan.media_type, refresh.dag_id, refresh.run_id, policy_from(plan.policy))
    body = index_body(plan.media_type, meta, engine.shards or SHARDS[plan.media_type])
    uuid: str = Indexes(engine.client).create(name, body)
    note_index(refresh, name, uuid)
    return uuid


@task
def split_ranges() -> list[dict[str, int]]:
    """Ranges of row ids, one for each task that fills the index."""
    import msgspec

    from catalog.data_refresh.indexing import ranges

    plan = current_refresh("working").plan
    number = value_of(DATA_REFRESH_INDEX_TASKS)
    with database_connection(plan.api, autocommit=True) as api:
        found: list[dict[str, int]] = msgspec.to_builtins(ranges(api, plan.table, number))
    if not found:
        raise AirflowFailException(f"{plan.table} holds no rows; an empty index is not promoted.")
    return found


@task(retries=4, execution_timeout=LONG, executor=EXECUTOR)
def index_range(part: dict[str, int]) -> dict[str, Any]:
    """The documents of a range; what became of its rows. A killed task goes on at the last documents it sent."""
    import msgspec

    from catalog.data_refresh.indexing import IdRange, RangeIndexer
    from catalog.data_refresh.tag_policy import policy_from

    context: Any = get_current_context()
    refresh = current_refresh("working")
    plan = refresh.plan
    state = TaskStateCheckpoint(context, "range")
    meter = Meter("documents", part["last"] - part["first"] + 1)
    engine = search_connection(plan.search)
    with database_connection(plan.api, autocommit=True) as api, task_failures():
        done = RangeIndexer(
            api, engine.client, plan.index, plan.table, plan.media_type, policy_from(plan.policy), IdRange(**part),
            uuid=refresh.made(plan.index).uuid, load=state.load, save=state.save, progress=lambda d: meter(d.documents),
            should_stop=stop_asked(),
        ).run()  # fmt: skip
    state.clear()
    result: dict[str, Any] = msgspec.to_builtins(done)
    return result


@task(execution_timeout=timedelta(hours=6))
def check_index(parts: list[dict[str, int]], done: list[dict[str, Any]]) -> dict[str, Any]:
    """Each range must hold as many documents as rows; {documents, removed, rejected: reason → rows, tags: rule → tags}."""
    from collections import Counter

    from catalog.data_refresh.indexing import IdRange, mismatches

    refresh = current_refresh("working")
    plan = refresh.plan
    engine, uuid, ranges = (
        indexes(plan.search),
        refresh.made(plan.index).uuid,
        [IdRange(**part) for part in parts],
    )
    rejected = [Counter(one["rejected"]) for one in done]
    with (
        database_connection(plan.api, autocommit=True) as api,
        task_failures("Clear index_range and all tasks after it to fill the index once more."),
    ):
        if plan.table == plan.media_type:  # moderators delete rows of the live table meanwhile
            follow_moderation(api, refresh, plan.index)
        engine.refresh(plan.index)
        numbers = [one.total() for one in rejected]
        if wrong := mismatches(api, engine, plan.index, plan.table, ranges, rejected=numbers, uuid=uuid):
            raise AirflowException(
                f"{plan.index} does not hold what it should, so it is not promoted: {'; '.join(wrong)}"
            )
        documents: int = engine.count(plan.index)
        _refuse_shrinkage(refresh, plan.index, documents)
        note_index(refresh, plan.index, uuid, documents)
    for example in [text for one in done for text in one["examples"]][:EXAMPLES]:
        log.warning("rejected: %s", example)
    tags = sum((Counter(one["tags"]) for one in done), Counter[str]())
    return {
        "documents": documents,
        "removed": sum(one["removed"] for one in done),
        "rejected": dict(sum(rejected, Counter[str]())),
        "tags": dict(tags),
    }


def _refuse_shrinkage(refresh: Any, index: str, documents: int) -> None:
    """Raise Refused when an index holds far fewer documents than the one whose place it is to take, unless the conf accepts that."""
    from catalog.data_refresh.shrinkage import FILTERED, TOTAL, shrunk

    context: Any = get_current_context()
    alias = next(alias for alias, name in refresh.plan.aliases.items() if name == index)
    most = FILTERED if index == refresh.plan.filtered else TOTAL
    if problem := shrunk(f"documents of {alias}", refresh.plan.documents.get(alias, {}), documents, most):
        if not context["params"].get("accept_shrinkage"):
            raise Refused(problem)
        log.warning("%s; accepted by the conf.", problem)


def follow_moderation(api: Any, refresh: Any, name: str) -> None:
    """Bring an index up to what moderators have decided since the refresh began."""
    from catalog.data_refresh.moderation import follow

    plan = refresh.plan
    client = search_connection(plan.search).client
    follow(api, client, name, plan.media_type, plan.since, uuid=refresh.made(name).uuid)


def fill_filtered() -> dict[str, int]:
    """Make the filtered index of this run's refresh, on the server: {documents, hidden}. A killed task waits for what it has begun."""
    from catalog.data_refresh.filtered import FilteredIndex

    context: Any = get_current_context()
    refresh = current_refresh("working")
    plan = refresh.plan
    state = TaskStateCheckpoint(context, "filtered")
    engine = indexes(plan.search)

    def begun() -> dict[str, Any] | None:
        """What an earlier attempt has done, unless the refresh has noted another index since."""
        found = state.load() or {}
        noted = refresh.indexes.get(plan.filtered)
        return found if noted and found.get("uuid") == noted.uuid else None

    with task_failures():
        require_origin(refresh)
        meter = Meter("documents", engine.count(plan.index))
        documents, hidden, uuid = FilteredIndex(
            engine, plan.index, plan.filtered, sensitive_terms(), lambda: make_index(refresh, plan.filtered),
            per_second=value_of(ES_INDEX_THROTTLING_RATE), load=begun, save=state.save, should_stop=stop_asked(), progress=meter,
        ).run()  # fmt: skip
        state.clear()
        _refuse_shrinkage(refresh, plan.filtered, documents)
        note_index(refresh, plan.filtered, uuid, documents)
    return {"documents": documents, "hidden": hidden}


def require_origin(refresh: Any) -> None:
    """The index that the filtered one is copied from is still the one that it was, and was found whole if it is of this refresh."""
    plan = refresh.plan
    found = indexes(plan.search).identity(plan.index)
    if found is None or found.uuid != refresh.made(plan.index).uuid:
        raise Refused(f"the index {plan.index} is gone, or another one has its name; trigger a new run.")
    if plan.table:
        refresh.counted(plan.index)


def open_for_search(refresh: Any) -> None:
    """Make the replicas of a refresh's indexes before anybody searches."""
    plan = refresh.plan
    engine, replicas = indexes(plan.search), search_connection(plan.search).replicas
    for name in plan.aliases.values():
        engine.require(name, refresh.made(name).uuid)
        engine.open(name, replicas, HEALTHY)


def require_whole(refresh: Any) -> None:
    """Each index of a refresh is the one that was made and counted, and nothing was lost from it since. Raises Refused or Fatal.

    What moderators have deleted since the refresh began may be missing.
    """
    from catalog.data_refresh.moderation import decided

    plan = refresh.plan
    engine = indexes(plan.search)
    with database_connection(plan.api, autocommit=True) as api:
        deleted = sum(len(batch) for batch in decided(api, "deleted", plan.media_type, plan.since))
    for name in plan.aliases.values():
        engine.require(name, refresh.made(name).uuid)
        engine.refresh(name)
        found, counted = engine.count(name), refresh.counted(name)
        if not counted - deleted <= found <= counted:
            raise Refused(
                f"{name} holds {found:,} documents, but {counted:,} when it was counted; clear create_index and all tasks "
                "after it, or trigger a new run."
            )


def point_aliases(refresh: Any) -> None:
    """Point the aliases at the indexes of a refresh, which hold what moderators have decided up to now."""
    plan = refresh.plan
    engine = indexes(plan.search)
    require_whole(refresh)
    with database_connection(plan.api, autocommit=True) as api:

        def follow() -> None:
            for name in plan.aliases.values():
                follow_moderation(api, refresh, name)

        follow()
        engine.point(plan.aliases, {name: made.uuid for name, made in refresh.indexes.items()})
        follow()  # what was decided between the two steps above


def make_live(refresh: Any) -> None:
    """Point the aliases at the indexes of a refresh, once. Raises Refused when they have been pointed elsewhere since."""
    if refresh.stage != "promoted":
        with kept_turn():
            point_aliases(refresh)
            reach(refresh, "promoted")
        return
    engine = indexes(refresh.plan.search)
    for alias, index in refresh.plan.aliases.items():
        if (found := engine.behind(alias)) != index:
            raise Refused(f"{alias} points at {found}, not at {index} any more; trigger a new run.")


def delete_old_indexes(refresh: Any, made_by: list[str]) -> list[str]:
    """Delete the indexes that were live before a refresh, unless an alias points at them, and those that failed runs left.

    Args:
        made_by: Ids of the DAGs whose left-over indexes nobody needs any more.

    Returns:
        Names of the indexes that were deleted.
    """
    engine, gone = indexes(refresh.plan.search), []
    for name in filter(None, refresh.plan.live.values()):
        if name in refresh.plan.aliases.values():
            continue
        if others := engine.retire(name):
            log.warning("%s is kept: %s points at it.", name, ", ".join(others))
        else:
            gone.append(name)
    return gone + delete_left_overs(refresh, made_by)


def delete_left_overs(refresh: Any, made_by: list[str], *, all_but_promoted: bool = False) -> list[str]:
    """Delete the indexes without an alias that other refreshes of these DAGs have left.

    Args:
        made_by: Ids of the DAGs.
        all_but_promoted: Keep an index that was promoted once: its run was asked to keep it, or nobody has deleted it since.

    Returns:
        Names of the indexes that were deleted.
    """
    plan = refresh.plan
    engine, kept = indexes(plan.search), promoted_indexes() if all_but_promoted else set()
    found = set(engine.orphans(made_by, plan.media_type, kept)) - {plan.index, plan.filtered}
    gone: list[str] = engine.delete(sorted(found))
    return gone
