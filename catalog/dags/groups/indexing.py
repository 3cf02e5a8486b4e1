"""Tasks that fill search indexes and make them live, and what all DAGs that change indexes share.

The plan of a run's refresh says which index is filled from which table; each task reads it from the catalog
database (`refreshes.py`). The search client takes 0.25 s to import, so modules that import it are
imported inside tasks.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from catalog.core.media import MediaType
from catalog.core.settings import (
    DATA_REFRESH_EXECUTOR,
    DATA_REFRESH_INDEX_TASKS,
    ES_INDEX_THROTTLING_RATE,
    SEARCH,
    TAG_POLICY,
)
from catalog.dags.common.acceptance import RunJudge
from catalog.dags.common.assets import FILTERED, INDEX, note_written
from catalog.dags.common.connections import (
    catalog_connection,
    connect,
    database_connection,
    search_connection,
)
from catalog.dags.common.context import GIVEN, Params
from catalog.dags.common.progress import Meter, sigterm_flag, stoppable
from catalog.dags.common.retries import hint
from catalog.dags.common.sensitive_terms import sensitive_terms, unchanged_terms
from catalog.dags.common.settings import environment
from catalog.dags.common.state import TaskStateCheckpoint
from catalog.dags.common.variables import value_of
from catalog.dags.groups.refreshes import (
    complete,
    current_refresh,
    hidden_last,
    note_index,
    refuse_lost_decisions,
    removed_by_checks,
)
from catalog.dags.operators.turns import holding_turn
from catalog.data_refresh.refresh import Refresh
from catalog.data_refresh.refresh_history import promoted
from catalog.data_refresh.report import Checked
from catalog.data_refresh.search.attempts import Attempt
from catalog.data_refresh.search.identity import filtered_name
from catalog.data_refresh.search.kinds import kind_of
from catalog.data_refresh.search.mapping import SHARDS
from catalog.data_refresh.search.tag_policy import TagPolicy, policy_from
from catalog.data_refresh.tables.shrinkage import rows_of
from catalog.moderation.decisions import EVER

if TYPE_CHECKING:
    from catalog.data_refresh.search.indexes import Indexes
    from catalog.data_refresh.search.refresh_indexes import RefreshIndexes

log = logging.getLogger(__name__)
EXECUTOR = environment(DATA_REFRESH_EXECUTOR)  # of the tasks that fill ranges; None: the default one
MAX_DURATION = timedelta(days=2)
EXAMPLES = 100  # of rejected records, in the log


def indexes(conn_id: str = SEARCH) -> "Indexes":
    from catalog.data_refresh.search.indexes import Indexes

    return Indexes(search_connection(conn_id).client)


def indexes_of(refresh: Refresh) -> "RefreshIndexes":
    from catalog.data_refresh.search.refresh_indexes import RefreshIndexes

    return RefreshIndexes(refresh, indexes(refresh.plan.search))


def tag_policy() -> TagPolicy:
    """Return the tag policy of the Variable TAG_POLICY, or the default one."""
    return policy_from(value_of(TAG_POLICY))


def rehearse(
    media_type: MediaType, aliases: list[str], conn_id: str = SEARCH, *, filtered: bool = True
) -> None:
    """Try tag policy, sensitive terms, and every request to the search engine, which would fail hours later.

    Args:
        media_type: Media type of the indexes.
        aliases: The aliases that the run moves.
        conn_id: Airflow connection of the search engine.
        filtered: Whether the run creates an index without sensitive media.
    """
    from catalog.data_refresh.search.preflight import preflight_search

    run = get_current_context()["dag_run"]
    connection, policy = search_connection(conn_id), tag_policy()
    terms = sensitive_terms() if filtered else []
    log.info("tag policy %s, %s sensitive terms", policy.digest, f"{len(terms):,}")
    notes = preflight_search(
        indexes(conn_id),
        terms,
        media_type,
        dag_id=run.dag_id,
        run_id=run.run_id,
        shards=connection.shards or SHARDS[media_type],
        replicas=connection.replicas,
        aliases=aliases,
    )
    for note in notes:
        log.warning("%s", note)


def make_index(refresh: Refresh, name: str) -> str:
    """Create a new, empty index and record it; return the uuid that the engine gave it."""
    uuid = indexes_of(refresh).create(name, search_connection(refresh.plan.search).shards)
    note_index(refresh, name, uuid)
    return uuid


@task
def split_ranges() -> list[dict[str, int]]:
    """Return ranges of row ids, one for each task that fills the index."""
    from catalog.data_refresh.search.indexing import ranges

    plan = current_refresh("working").plan
    number = value_of(DATA_REFRESH_INDEX_TASKS)
    with database_connection(plan.api, autocommit=True) as api:
        found: list[dict[str, int]] = msgspec.to_builtins(ranges(api, plan.table, number))
    if not found:
        raise AirflowFailException(f"{plan.table} holds no rows; an empty index is not promoted.")
    return found


@task(
    retries=4,
    execution_timeout=MAX_DURATION,
    executor=EXECUTOR,
    map_index_template="rows {{ task.op_kwargs.part.first }} to {{ task.op_kwargs.part.last }}",
)
def index_range(part: dict[str, int]) -> dict[str, Any]:
    """Index the rows of a range and return the counts. A killed task resumes after what it has sent."""
    from catalog.data_refresh.search.indexing import IdRange, RangeIndexer

    state = TaskStateCheckpoint(get_current_context(), "range")
    refresh = current_refresh("working")
    plan = refresh.plan
    meter = Meter("documents", part["last"] - part["first"] + 1)
    with connect(plan.api, autocommit=True) as api:
        done = RangeIndexer(
            api,
            indexes(plan.search),
            plan.index,
            plan.table,
            plan.media_type,
            policy_from(plan.policy),
            IdRange(**part),
            uuid=refresh.made(plan.index).uuid,
            attempt=Attempt(state.load, state.save, sigterm_flag(), meter),
        ).run()
    state.clear()
    result: dict[str, Any] = msgspec.to_builtins(done)
    return result


@task(execution_timeout=timedelta(hours=6))
def check_index(parts: list[dict[str, int]], done: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Check that each range has as many documents as rows.

    Returns:
        Documents, rows removed from their source, rejected rows by reason, dropped tags by rule.
    """
    from catalog.data_refresh.search.index_writes import contents_of
    from catalog.data_refresh.search.indexing import IdRange, Indexed, find_count_mismatches

    refresh = current_refresh("working")
    plan, own = refresh.plan, indexes_of(refresh)
    # Documents follow the rows of the same refresh.
    judge = RunJudge({kind_of("documents", plan.media_type, plan.search): rows_of(plan.media_type)})
    uuid, ranges = refresh.made(plan.index).uuid, [IdRange(**part) for part in parts]
    indexed = [msgspec.convert(result, Indexed) for result in done]
    rejected = [sum(result.rejected.values()) for result in indexed]
    with (
        database_connection(plan.api, autocommit=True) as api,
        hint("Clear index_range and all tasks after it to fill the index again."),
    ):
        is_live = plan.table == plan.media_type  # moderators delete its rows meanwhile
        if is_live:
            own.follow_moderation(api, plan.index)
        documents, writes = contents_of(own.engine, plan.index)
        wrong = find_count_mismatches(
            api,
            own.engine,
            plan.index,
            plan.table,
            ranges,
            rejected=rejected,
            moderated=plan.media_type if is_live else None,
            uuid=uuid,
        )
        if wrong:
            raise AirflowException(
                f"{plan.index} does not hold what it should, so it is not promoted: {'; '.join(wrong)}"
            )
        checked = Checked.of(documents, indexed)
        own.refuse_shrinkage(
            plan.index,
            judge=judge,
            left_out={"removed from their source": checked.removed, "rejected": sum(rejected)},
            why=partial(removed_by_checks, refresh),
        )
        listed = [example.partition(":")[0] for result in indexed for example in result.examples]
        everything = len(listed) == sum(rejected)
        note_index(
            refresh, plan.index, uuid, documents, rejected=listed if everything else None, writes=writes
        )
    for example in [text for result in indexed for text in result.examples][:EXAMPLES]:
        log.warning("rejected: %s", example)
    return msgspec.to_builtins(checked)  # type: ignore[no-any-return]


@task(execution_timeout=MAX_DURATION, retries=4)
def create_filtered_index() -> dict[str, int]:
    """Fill the filtered index on the server. A killed task waits for the request that it has begun.

    Returns:
        The numbers of its documents and of those left out (`hidden`).
    """
    from catalog.data_refresh.search.filtered import FilteredIndex

    context = get_current_context()
    refresh, judge = current_refresh("working"), RunJudge()
    plan, own = refresh.plan, indexes_of(refresh)
    state = TaskStateCheckpoint(context, "filtered")

    def resumable() -> Mapping[str, Any] | None:
        """Return the state of an earlier attempt, unless another index has been recorded since."""
        found = state.load() or {}
        recorded = refresh.indexes.get(plan.filtered)
        return found if recorded and found.get("uuid") == recorded.uuid else None

    own.require_origin()
    documents, hidden, uuid, writes = FilteredIndex(
        own.engine,
        plan.index,
        plan.filtered,
        unchanged_terms(plan.terms),
        lambda: make_index(refresh, plan.filtered),
        per_second=value_of(ES_INDEX_THROTTLING_RATE),
        attempt=Attempt(
            resumable, state.save, sigterm_flag(), Meter("documents", own.engine.count(plan.index))
        ),
    ).run()
    state.clear()
    own.refuse_shrinkage(
        plan.filtered,
        judge=judge,
        left_out={"sensitive": hidden},
        why=partial(removed_by_checks, refresh),
        hidden=hidden_last(filtered_name(plan.media_type), plan.search),
    )
    note_index(refresh, plan.filtered, uuid, documents, writes=writes)
    return {"documents": documents, "hidden": hidden}


def update_live_indexes(refresh: Refresh) -> dict[str, Any]:
    """Write the documents of changed records to the live indexes, and check both.

    Returns:
        The numbers of documents, and of changed, hidden, removed and rejected records.
    """
    from catalog.data_refresh.search.changed_documents import ChangedDocuments

    plan, own = refresh.plan, indexes_of(refresh)
    state = TaskStateCheckpoint(get_current_context(), f"documents {refresh.number}")
    with connect(plan.api, autocommit=True) as api:
        updated = ChangedDocuments(
            api,
            own.engine,
            plan.media_type,
            plan.index,
            plan.filtered,
            policy_from(plan.policy),
            unchanged_terms(plan.terms),
            records=plan.counts[plan.media_type],
            attempt=Attempt(state.load, state.save, sigterm_flag()),
        ).run()
        with stoppable(api):
            for name in plan.aliases.values():
                own.follow_moderation(api, name)
            contents = own.count_updated(api, updated)
    rejected = sorted(updated.rejected)
    for name, (documents, writes) in contents.items():
        note_index(refresh, name, refresh.made(name).uuid, documents, rejected=rejected, writes=writes)
    counts = {name: found.documents for name, found in contents.items()}
    state.clear()
    if updated.documents or any(plan.replaced.values()):
        _note_assets(refresh, counts)
    return {
        "documents": counts[plan.index],
        "filtered": counts[plan.filtered],
        "changed": updated.documents,
        "hidden": updated.hidden,
        "removed": updated.removed,
        "rejected": dict(Counter(reason.partition(":")[0] for reason in updated.rejected.values())),
    }


def open_for_search(refresh: Refresh) -> None:
    """Create the replicas of a refresh's indexes, before they are searched."""
    indexes_of(refresh).open(search_connection(refresh.plan.search).replicas)


def require_complete(refresh: Refresh) -> None:
    """Check that the indexes of a refresh are complete, and that searches find their documents.

    Raises:
        Refused, Fatal: They are not.
    """
    with database_connection(refresh.plan.api, autocommit=True) as api:
        indexes_of(refresh).require_complete(api)
    indexes_of(refresh).require_findable(RunJudge())


def make_live(refresh: Refresh) -> None:
    """Move the aliases to the indexes of a refresh, once. Raises Refused if they have been moved since."""
    from catalog.data_refresh.search.index_writes import contents_of

    own = indexes_of(refresh)
    if refresh.stage == "promoted":
        own.require_live()
    else:
        with holding_turn():
            with database_connection(refresh.plan.api, autocommit=True) as api:
                if refresh.stage == "working":  # otherwise its tables are live, and indexes must follow
                    refuse_lost_decisions(refresh, api)
                    if refresh.plan.mode != "alias":  # its tasks have asked for warnings, too
                        own.require_findable(RunJudge())
                own.point_aliases(api)
            if refresh.plan.since == EVER:
                # Old decisions, too, have been applied just now. Without a new count, the documents that they
                # have deleted would be taken for lost.
                for name in refresh.plan.aliases.values():
                    documents, writes = contents_of(own.engine, name)
                    note_index(refresh, name, refresh.made(name).uuid, documents, writes=writes)
            complete()
    if refresh.plan.mode != "incremental":
        made = refresh.indexes
        _note_assets(refresh, {name: made[name].documents for name in refresh.plan.aliases.values()})


def _note_assets(refresh: Refresh, documents: Mapping[str, int | None]) -> None:
    """Note the indexes of a refresh as written.

    Args:
        refresh: The refresh.
        documents: Number of documents by index.
    """
    media_type = refresh.plan.media_type
    assets = {media_type: INDEX[media_type], filtered_name(media_type): FILTERED[media_type]}
    for alias, index in refresh.plan.aliases.items():
        if asset := assets.get(alias):
            note_written(asset, index=index, documents=documents[index], refresh=refresh.number)


def delete_old_indexes(refresh: Refresh, made_by: list[str]) -> list[str]:
    """Delete the indexes that a refresh has replaced and those that failed runs left; return their names.

    Args:
        refresh: The refresh, which is live.
        made_by: Ids of the DAGs whose leftover indexes are deleted.
    """
    return indexes_of(refresh).delete_replaced() + delete_leftovers(refresh, made_by)


@task
def delete_old_index(params: Params = GIVEN) -> list[str]:
    """Delete the old index; skipped if the conf keeps it, or another alias points at it."""
    refresh = current_refresh("promoted")
    [old] = refresh.plan.live.values()
    if not params["delete_old_index"] or not old or old in refresh.plan.aliases.values():
        raise AirflowSkipException("no old index to delete.")
    if others := indexes(refresh.plan.search).delete_unless_aliased(old):
        raise AirflowSkipException(f"{old} is kept: {', '.join(others)} points at it.")
    return [old]


def delete_leftovers(refresh: Refresh, made_by: list[str], *, all_but_promoted: bool = False) -> list[str]:
    """Delete the indexes without an alias that other refreshes have left; return their names.

    Args:
        refresh: The current refresh, whose own indexes are kept.
        made_by: Ids of the DAGs of the other refreshes.
        all_but_promoted: Also keep indexes that were live once: a run was asked to keep them, or nobody has
            deleted them since.
    """
    keep: set[str] = set()
    if all_but_promoted:
        with catalog_connection(autocommit=True) as catalog:
            keep = promoted(catalog)
    return indexes_of(refresh).delete_leftovers(made_by, keep)
