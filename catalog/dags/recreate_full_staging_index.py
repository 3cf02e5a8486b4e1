"""Fills a search index of the staging system with all rows of its media table.

The usual indexes of the staging system hold only a part of the media; this one is for trying a search on all
of them. It is built from the live table of `postgres_openledger_api_staging` under the current tag policy and
counted. Then the alias (`<media_type>-full`, or `target_alias_override`) is moved to it. With
`delete_old_index`, the index behind the alias before is deleted; otherwise it stays. Indexes that a failed
run leaves are deleted by the next one.

The DAG fails at once while `staging_database_restore` runs, which replaces the table; that DAG waits for this
one. It also fails at once while another DAG creates an index of staging or moves an alias.
"""

from datetime import timedelta
from typing import Any

import msgspec
from airflow.sdk import Param, chain, task

from catalog.core.media import MEDIA_TYPES
from catalog.core.settings import STAGING_DB, STAGING_SEARCH
from catalog.dags.common.acceptance import accepted_lines
from catalog.dags.common.conf import END
from catalog.dags.common.connections import database_connection
from catalog.dags.common.context import GIVEN, DagRun, Params
from catalog.dags.common.environments import STAGING
from catalog.dags.common.params import media_type_param
from catalog.dags.common.retries import hint
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.index_checks import refuse_foreign_alias
from catalog.dags.groups.indexing import (
    check_index,
    delete_leftovers,
    delete_old_index,
    index_range,
    indexes,
    make_index,
    make_live,
    open_for_search,
    rehearse,
    split_ranges,
    tag_policy,
)
from catalog.dags.groups.refreshes import begin_refresh, current_refresh
from catalog.dags.operators.slack import notify
from catalog.dags.operators.turns import refuse_conflicts
from catalog.data_refresh.refresh import Plan
from catalog.data_refresh.tables.marks import marked_by

ALIAS = r"^[a-z0-9][a-z0-9_-]{0,100}" + END


@task
def create_index(params: Params = GIVEN, dag_run: DagRun = GIVEN) -> str:
    """Record the plan, once, and create the empty index."""
    from catalog.moderation.decisions import moderation_moment

    def plan(number: int) -> Plan:
        media_type, engine = params["media_type"], indexes(STAGING_SEARCH)
        index = f"{media_type}-full-{number}-{dag_run.run_after:%Y%m%dt%H%M%S}"
        with database_connection(STAGING_DB, autocommit=True) as api:
            since, marked = moderation_moment(api), marked_by(api, media_type)
        return Plan(
            mode="index_only",
            media_type=media_type,
            api=STAGING_DB,
            search=STAGING_SEARCH,
            table=media_type,
            index=index,
            aliases={alias: index},
            policy=msgspec.to_builtins(tag_policy()),
            since=since,
            live={alias: engine.resolve_alias(alias)},
            marked=marked,
        )

    alias = params["target_alias_override"] or f"{params['media_type']}-full"
    refuse_foreign_alias(STAGING, alias)
    rehearse(params["media_type"], [alias], STAGING_SEARCH, filtered=False)
    begin_refresh(plan)
    refresh = current_refresh("working")
    delete_leftovers(refresh, [dag_run.dag_id], all_but_promoted=True)
    make_index(refresh, refresh.plan.index)
    return str(refresh.plan.index)


@task(execution_timeout=timedelta(hours=12))
def point_alias(checked: dict[str, Any]) -> str:
    refresh = current_refresh("working", "promoted")
    with hint("The alias is where it was."):
        if refresh.stage == "working":
            open_for_search(refresh)
        make_live(refresh)
    alias, index = next(iter(refresh.plan.aliases.items()))
    return notify(
        f"{alias} replaced",
        "Full staging index",
        f"`{alias}` is `{index}` now: {checked['documents']:,} documents.",
        lines=accepted_lines(),
        completion=True,
    )


with catalog_dag(
    "recreate_full_staging_index",
    "database",
    schedule=None,
    doc=(__doc__ or "").strip(),
    params={
        "media_type": media_type_param(),
        "target_alias_override": Param(
            None,
            type=["string", "null"],
            pattern=ALIAS,
            title="Alias",
            description_md="Another alias than `<media_type>-full`.",
        ),
        "delete_old_index": Param(
            False,
            type="boolean",
            title="Delete the old index",
            description_md="The index that the alias pointed at before.",
        ),
        "accept_shrinkage": Param(
            False,
            type="boolean",
            title="Accept what searches do not find",
            description_md="Move the alias even if the API's search finds far fewer documents than it "
            "should, or if many decisions of moderators are gone; otherwise it fails. Less than was "
            "reported is not accepted.",
        ),
    },
    example={"media_type": "image", "delete_old_index": True},
    media_types=MEDIA_TYPES,
    max_active_tasks=64,
    conflicts=("staging_database_restore", *STAGING.upkeep),
):
    parts: Any = split_ranges()
    done: Any = index_range.expand(part=parts)
    chain(refuse_conflicts(), create_index(), parts)
    point_alias(check_index(parts, done)) >> delete_old_index()  # type: ignore[arg-type]
