"""Fills a search index of the staging system from all rows of its media table.

The staging system's usual indexes hold a part of the media only; this one is for trying a search on everything. It is made from the live
table of `postgres_openledger_api_staging`, under the tag policy in force, counted, and the alias (`<media_type>-full`, or
`target_alias_override`) is pointed at it. With `delete_old_index`, the index that the alias pointed at before is deleted.

It fails at once while `staging_database_restore` runs, which takes the table away; that DAG waits for this one.
"""

from typing import Any

from airflow.sdk import Param, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.indexing import (
    Plan,
    check_index,
    index_range,
    indexes,
    make_index,
    media_plan,
    split_ranges,
)
from catalog.dags.operators.conflicts import refuse_conflicts
from catalog.dags.operators.running import task_failures
from catalog.dags.operators.settings import STAGING_DB, STAGING_SEARCH, check_conf, search_connection
from catalog.dags.operators.slack import say
from catalog.ingestion.records import MEDIA_TYPES

ALIAS = r"^[a-z0-9][a-z0-9_-]{0,100}$"


@task
def create_index() -> Plan:
    context: Any = get_current_context()
    conf, run = context["params"], context["dag_run"]
    check_conf(run.conf, context["dag"].params)
    media_type, engine = conf["media_type"], indexes(STAGING_SEARCH)
    alias = conf["target_alias_override"] or f"{media_type}-full"
    plan = media_plan(
        media_type,
        STAGING_DB,
        STAGING_SEARCH,
        media_type,
        f"{media_type}-full-{run.run_after:%Y%m%dt%H%M%S%f}",
    )
    with task_failures():
        before = engine.behind(alias)
        engine.delete(engine.orphans([run.dag_id], media_type))
        make_index(plan)
    return {**plan, "alias": alias, "before": before}


@task
def point_alias(plan: Plan, checked: dict[str, Any]) -> str:
    with task_failures("The alias is where it was."):
        engine = indexes(STAGING_SEARCH)
        engine.open(plan["index"], search_connection(STAGING_SEARCH).replicas, 12 * 3600.0)
        engine.point({plan["alias"]: plan["index"]})
    text = f"`{plan['alias']}` is `{plan['index']}` now: {checked['documents']:,} documents."
    say(text, "Full staging index")
    return text


@task
def delete_old_index(plan: Plan) -> list[str]:
    """Skipped when nobody asked for it, or when there is none, or when another alias points at it."""
    context: Any = get_current_context()
    old = plan["before"]
    if not context["params"]["delete_old_index"] or not old or old == plan["index"]:
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
    plan: Any = create_index()
    parts: Any = split_ranges(plan)
    done: Any = index_range.partial(plan=plan).expand(part=parts)
    chain(refuse_conflicts(), plan)
    point_alias(plan, check_index(plan, parts, done)) >> delete_old_index(plan)  # type: ignore[arg-type]
