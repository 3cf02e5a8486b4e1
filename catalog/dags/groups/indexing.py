"""Filling search indexes from a table of an API database: tasks that the data refresh and the staging index share.

What is to be filled from where, one task plans; the others get the plan: {media_type, api, search (connections), table, index, policy}.
"""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from catalog.dags.operators.running import Meter, stop_asked, task_failures
from catalog.dags.operators.settings import (
    SEARCH,
    TaskStateCheckpoint,
    database_connection,
    search_connection,
    sensitive_terms,
)  # fmt: skip
from catalog.dags.operators.variables import value_of
from catalog.ingestion.errors import Retry
from catalog.ingestion.records import MediaType
from catalog.settings import DATA_REFRESH_INDEX_TASKS, ES_INDEX_THROTTLING_RATE, TAG_POLICY

Plan = dict[str, Any]
EXECUTOR = (
    os.environ.get("DATA_REFRESH_EXECUTOR") or None
)  # of the tasks that fill ranges; None: the default one
LONG = timedelta(days=2)


def indexes(conn_id: str = SEARCH) -> Any:
    """The indexes of a search engine."""
    from catalog.data_refresh.search import Indexes

    return Indexes(search_connection(conn_id).client)


def tag_policy() -> Any:
    """The policy in force: the Variable TAG_POLICY, or the default."""
    from catalog.data_refresh.tag_policy import policy_from

    with task_failures():
        return policy_from(value_of(TAG_POLICY))


def make_index(plan: Plan) -> None:
    """The empty index of a plan; `_meta` says which run made it under which policy."""
    from catalog.data_refresh.mapping import SHARDS, index_body, index_meta
    from catalog.data_refresh.search import Indexes
    from catalog.data_refresh.tag_policy import policy_from

    context: Any = get_current_context()
    run, media_type = context["dag_run"], plan["media_type"]
    engine = search_connection(plan["search"])
    meta = index_meta(media_type, run.dag_id, run.run_id, policy_from(plan["policy"]))
    Indexes(engine.client).create(
        plan["index"], index_body(media_type, meta, engine.shards or SHARDS[media_type])
    )


@task
def split_ranges(plan: Plan) -> list[dict[str, int]]:
    """Ranges of row ids, one for each task that fills the index."""
    import msgspec

    from catalog.data_refresh.indexing import ranges

    number = value_of(DATA_REFRESH_INDEX_TASKS)
    with database_connection(plan["api"], autocommit=True) as api:
        found: list[dict[str, int]] = msgspec.to_builtins(ranges(api, plan["table"], number))
    if not found:
        raise AirflowFailException(f"{plan['table']} holds no rows; an empty index is not promoted.")
    return found


@task(retries=4, execution_timeout=LONG, executor=EXECUTOR)
def index_range(plan: Plan, part: dict[str, int]) -> dict[str, Any]:
    """The documents of a range; what became of its rows. A killed task goes on at the last documents it sent."""
    import msgspec

    from catalog.data_refresh.indexing import IdRange, RangeIndexer
    from catalog.data_refresh.tag_policy import policy_from

    context: Any = get_current_context()
    state = TaskStateCheckpoint(context["task_state_store"], "range")
    meter = Meter("documents", part["last"] - part["first"] + 1)
    engine = search_connection(plan["search"])
    with database_connection(plan["api"], autocommit=True) as api, task_failures():
        done = RangeIndexer(
            api, engine.client, plan["index"], plan["table"], plan["media_type"], policy_from(plan["policy"]), IdRange(**part),
            load=state.load, save=state.save, progress=lambda d: meter(d.documents), should_stop=stop_asked(),
        ).run()  # fmt: skip
    state.clear()
    result: dict[str, Any] = msgspec.to_builtins(done)
    return result


@task(execution_timeout=timedelta(hours=6))
def check_index(plan: Plan, parts: list[dict[str, int]], done: list[dict[str, Any]]) -> dict[str, Any]:
    """Each range must hold as many documents as rows; {documents, tags: rule → tags}."""
    from collections import Counter

    from catalog.data_refresh.indexing import IdRange, mismatches
    from catalog.data_refresh.moderation import follow

    context: Any = get_current_context()
    engine = indexes(plan["search"])
    with (
        database_connection(plan["api"], autocommit=True) as api,
        task_failures("Clear index_range to fill the index once more."),
    ):
        if (
            plan["table"] == plan["media_type"]
        ):  # rows that moderators delete disappear from the live table meanwhile
            follow(api, engine.client, plan["index"], plan["media_type"], context["dag_run"].start_date)
        engine.refresh(plan["index"])
        rejected = [sum(one["rejected"].values()) for one in done]
        ranges_ = [IdRange(**part) for part in parts]
        wrong = mismatches(api, engine, plan["index"], plan["table"], ranges_, rejected=rejected)
    if wrong:
        raise AirflowException(
            f"{plan['index']} does not hold what it should, so it is not promoted: {'; '.join(wrong)}"
        )
    tags = sum((Counter(part["tags"]) for part in done), Counter[str]())
    return {"documents": engine.count(plan["index"]), "tags": dict(tags)}


def fill_filtered(plan: Plan, origin: str) -> dict[str, int]:
    """Make the filtered index of a plan from another one, on the server: {documents, hidden}. A killed task waits for what it has begun."""
    from catalog.data_refresh.sensitive import insensitive, sensitive

    context: Any = get_current_context()
    state = TaskStateCheckpoint(context["task_state_store"], "filtered")
    engine = indexes(plan["search"])
    with task_failures():
        terms = sensitive_terms()
        begun = state.load()
        if not begun:
            make_index(plan)
        total, hidden = engine.count(origin), engine.count(origin, sensitive(terms))
        meter = Meter("documents", total - hidden)
        limit = value_of(ES_INDEX_THROTTLING_RATE)
        try:
            engine.reindex(
                origin, plan["index"], insensitive(terms), per_second=limit, task=begun["task"] if begun else None,
                started=lambda name: state.save({"task": name}), progress=lambda done, _: meter(done), should_stop=stop_asked(),
            )  # fmt: skip
        except Retry:
            state.clear()  # the next try makes the index anew
            raise
        engine.refresh(plan["index"])
        found = engine.count(plan["index"])
    state.clear()
    if found != total - hidden:
        raise AirflowException(
            f"{plan['index']} holds {found:,} documents instead of {total - hidden:,}; it is not promoted."
        )
    return {"documents": found, "hidden": hidden}


def media_plan(media_type: MediaType, api: str, search: str, table: str, index: str) -> Plan:
    """A plan under the tag policy in force."""
    import msgspec

    return {
        "media_type": media_type,
        "api": api,
        "search": search,
        "table": table,
        "index": index,
        "policy": msgspec.to_builtins(tag_policy()),
    }
