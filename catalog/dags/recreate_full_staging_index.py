"""Fills a search index of the staging system from all rows of its media table.

The staging system's usual indexes hold a part of the media only; this one is for trying a search on everything. It is made from the live
table of `postgres_openledger_api_staging`, under the tag policy in force, counted, and the alias (`<media_type>-full`, or
`target_alias_override`) is pointed at it. With `delete_old_index`, the index that the alias pointed at before is deleted; without, it
stays until somebody deletes it. What a failed run leaves is deleted by the next one.

It fails at once while `staging_database_restore` runs, which takes the table away; that DAG waits for this one.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.media import MEDIA_TYPES
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.indexing import (
    check_index,
    delete_left_overs,
    index_range,
    indexes,
    make_index,
    make_live,
    open_for_search,
    rehearse,
    split_ranges,
    tag_policy,
)
from catalog.dags.operators.conf import END
from catalog.dags.operators.conflicts import refuse_conflicts
from catalog.dags.operators.refreshes import begin_refresh, current_refresh
from catalog.dags.operators.running import task_failures
from catalog.dags.operators.settings import STAGING_DB, STAGING_SEARCH, database_connection
from catalog.dags.operators.slack import say

ALIAS = r"^[a-z0-9][a-z0-9_-]{0,100}" + END


@task
def create_index() -> str:
    """The new, empty index; what it is gets written down once."""
    import msgspec

    from catalog.data_refresh.moderation import moderation_moment
    from catalog.data_refresh.refresh import Plan

    context: Any = get_current_context()
    conf, run = context["params"], context["dag_run"]

    def plan(number: int) -> Plan:
        media_type, engine = conf["media_type"], indexes(STAGING_SEARCH)
        index = f"{media_type}-full-{number}-{run.run_after:%Y%m%dt%H%M%S}"
        with database_connection(STAGING_DB, autocommit=True) as api:
            since = moderation_moment(api)
        return Plan(
            media_type, STAGING_DB, STAGING_SEARCH, media_type, index, {alias: index},
            msgspec.to_builtins(tag_policy()), since, live={alias: engine.behind(alias)},
        )  # fmt: skip

    alias = conf["target_alias_override"] or f"{conf['media_type']}-full"
    rehearse(conf["media_type"], [alias], STAGING_SEARCH, filtered=False)
    begin_refresh(plan)
    refresh = current_refresh("working")
    with task_failures():
        delete_left_overs(refresh, [run.dag_id], all_but_promoted=True)
        make_index(refresh, refresh.plan.index)
    return str(refresh.plan.index)


@task(execution_timeout=timedelta(hours=12))
def point_alias(checked: dict[str, Any]) -> str:
    refresh = current_refresh("working", "promoted")
    with task_failures("The alias is where it was."):
        if refresh.stage == "working":
            open_for_search(refresh)
        make_live(refresh)
    alias, index = next(iter(refresh.plan.aliases.items()))
    text = f"`{alias}` is `{index}` now: {checked['documents']:,} documents."
    say(text, "Full staging index")
    return text


@task
def delete_old_index() -> list[str]:
    """Skipped when nobody asked for it, or when there is none, or when another alias points at it."""
    context: Any = get_current_context()
    refresh = current_refresh("promoted")
    [old] = refresh.plan.live.values()
    if not context["params"]["delete_old_index"] or not old or old in refresh.plan.aliases.values():
        raise AirflowSkipException("no old index to delete.")
    with task_failures():
        if others := indexes(STAGING_SEARCH).retire(old):
            raise AirflowSkipException(f"{old} is kept: {', '.join(others)} points at it.")
    return [old]


with catalog_dag(
    "recreate_full_staging_index",
    "database",
    schedule=None,
    doc=(__doc__ or "").strip(),
    params={
        "media_type": Param(type="string", enum=list(MEDIA_TYPES), title="Media type", description_md="Which media."),
        "target_alias_override": Param(
            None, type=["string", "null"], pattern=ALIAS, title="Alias", description_md="Another alias than `<media_type>-full`."
        ),
        "delete_old_index": Param(
            False, type="boolean", title="Delete the old index", description_md="That the alias pointed at before."
        ),
    },
    example={"media_type": "image", "delete_old_index": True},
    max_active_tasks=64,
    conflicts=("staging_database_restore",),
):  # fmt: skip
    parts: Any = split_ranges()
    done: Any = index_range.expand(part=parts)
    chain(refuse_conflicts(), create_index(), parts)
    point_alias(check_index(parts, done)) >> delete_old_index()  # type: ignore[arg-type]
