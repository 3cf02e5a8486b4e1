"""Brings what the catalog knows to those who search: into the API database and the search index.

Rows are copied into new tables beside the live ones, then a new index is filled from them, then a second one without sensitive media. Only
when the documents have been counted and are as many as the rows, tables and aliases are exchanged. Until then the API reads the old tables
and the old indexes, afterwards the new ones; nobody ever reads something in between.
"""

import logging
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from airflow.sdk import Param, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.indexing import (
    LONG,
    Plan,
    check_index,
    fill_filtered,
    index_range,
    indexes,
    make_index,
    media_plan,
    split_ranges,
    tag_policy,
)  # fmt: skip
from catalog.dags.operators.conflicts import wait_for_turn
from catalog.dags.operators.running import Meter, stop_asked, task_failures
from catalog.dags.operators.settings import (
    API_DB,
    SEARCH,
    api_connection,
    catalog_connection,
    check_conf,
    search_connection,
    sensitive_terms,
)  # fmt: skip
from catalog.dags.operators.slack import say
from catalog.dags.operators.variables import value_of
from catalog.ingestion.records import MEDIA_TYPES, MediaType
from catalog.settings import DATA_REFRESH_LIMIT

log = logging.getLogger(__name__)
COPY_TIMEOUT = {"image": LONG, "audio": timedelta(hours=6)}
RUN_TIMEOUT = {"image": timedelta(days=7), "audio": timedelta(days=4)}
OTHER: dict[MediaType, MediaType] = {"image": "audio", "audio": "image"}
HEALTHY = 6 * 3600.0  # seconds that replicas may take

DOC = """
{about}

1. It waits while another data refresh works, or a filtered index of {media_type} is made; two that start together take turns.
2. Rows stream from the catalog into `temp_import_*` tables, range by range. Known records keep their row id, `view_count` and whatever else
   only the API has; media that moderators deleted stay out; a value too wide for the API's table rejects its row, counted.
3. Indexes and constraints are made as the live tables have them.
4. A new index is filled by up to 64 mapped tasks (Variable `DATA_REFRESH_INDEX_TASKS`; their executor: environment
   `DATA_REFRESH_EXECUTOR`). Documents get the tags that pass the tag policy (Variable `TAG_POLICY`).
5. Each range must hold as many documents as rows, or nothing is promoted.
6. The filtered index leaves out media whose text holds a sensitive term.
7. Tables are exchanged in one transaction and both aliases in one call; rows of lists whose medium is gone are deleted and counted.
8. What is old is deleted, and a report compares each source's documents before and after.

After a failure the old state is live. Clear the failed task and the run goes on there; a new run cleans up after one that was given up.
With `index_only`, new indexes are made from the live tables, under the tag policy and the sensitive terms as they are now.
The Variable `DATA_REFRESH_LIMIT` copies so many rows only, for a small staging database.
"""


def tables_of(media_type: MediaType) -> tuple[str, ...]:
    from catalog.data_refresh.copy import TABLES

    return TABLES[media_type]


def _index_only() -> bool:
    context: Any = get_current_context()
    return bool(context["params"]["index_only"])


def _run_id() -> str:
    context: Any = get_current_context()
    return f"{context['dag_run'].dag_id}/{context['dag_run'].run_id}"


@task
def check_configuration() -> None:
    """What would fail hours later fails now: conf, tag policy, sensitive terms, connections."""
    context: Any = get_current_context()
    check_conf(context["dag_run"].conf, context["dag"].params)
    policy = tag_policy()
    with task_failures():
        log.info("tag policy %s, %s sensitive terms", policy.digest, f"{len(sensitive_terms()):,}")
    api_connection().close()
    catalog_connection().close()


@task
def get_before_record_count(media_type: MediaType) -> dict[str, Any]:
    """Documents by source, and the indexes that are live: what the report compares with, and what is deleted in the end."""
    engine = indexes()
    with task_failures():
        live = [name for alias in (media_type, f"{media_type}-filtered") if (name := engine.behind(alias))]
        return {"sources": engine.sources(media_type), "indexes": live}


@task
def clean_up(media_type: MediaType) -> list[str]:
    """What runs left that were given up: indexes without an alias, and tables."""
    from catalog.data_refresh.promotion import drop_left_overs, left_overs

    with task_failures(), api_connection(autocommit=True) as api:
        drop_left_overs(api, left_overs(api, tables_of(media_type), _run_id()))
        return _delete_orphans(media_type)


def _delete_orphans(media_type: MediaType) -> list[str]:
    engine = indexes()
    gone: list[str] = engine.delete(
        engine.orphans([f"{media_type}_data_refresh", f"create_filtered_{media_type}_index"], media_type)
    )
    return gone


def _show(meter: Meter, copied: Any) -> None:
    meter(copied.rows)


@task
def copy_tables(media_type: MediaType) -> list[dict[str, Any]]:
    """What the copy of each table came to; skipped when only the index is made anew."""
    import msgspec

    from catalog.data_refresh.copy import TableCopy

    if _index_only():
        raise AirflowSkipException("index_only: the live tables stay.")
    copied, stop = [], stop_asked()
    limit = value_of(DATA_REFRESH_LIMIT)
    with (
        catalog_connection(autocommit=True) as upstream,
        api_connection(autocommit=True) as api,
        task_failures(),
    ):
        for table in tables_of(media_type):
            estimate = upstream.execute(
                "select reltuples::bigint from pg_class where oid = to_regclass(%s)", [table]
            ).fetchone()
            meter = Meter(f"rows of {table}", max(estimate[0], 0) if estimate else 0)
            job = TableCopy(
                upstream, api, table, _run_id(), limit=limit, progress=partial(_show, meter), should_stop=stop
            )
            copied.append(msgspec.to_builtins(job.run()))
            log.info("%s", copied[-1])
    return copied


@task(execution_timeout=LONG)
def build_indexes(media_type: MediaType) -> None:
    from catalog.data_refresh.promotion import build_indexes as build

    with api_connection(autocommit=True) as api:
        for table in tables_of(media_type):
            build(api, table, log.info)


@task(trigger_rule="none_failed")
def create_index(media_type: MediaType) -> Plan:
    """The new, empty index; the plan of how it is filled."""
    from catalog.data_refresh.columns import temp_name

    table = media_type if _index_only() else temp_name(media_type)
    plan = media_plan(media_type, API_DB, SEARCH, table, f"{media_type}-{uuid4().hex}")
    with task_failures():
        make_index(plan)
    return plan


@task(execution_timeout=LONG, retries=4)
def create_filtered_index(plan: Plan) -> dict[str, int]:
    return fill_filtered({**plan, "index": f"{plan['index']}-filtered"}, plan["index"])


@task(execution_timeout=timedelta(hours=12))
def open_indexes(plan: Plan) -> None:
    """Replicas are made before anybody searches."""
    replicas = search_connection().replicas
    with task_failures("The old indexes are still live."):
        for name in (plan["index"], f"{plan['index']}-filtered"):
            indexes().open(name, replicas, HEALTHY)


@task
def promote_tables(media_type: MediaType) -> dict[str, int]:
    """Orphans deleted, by foreign key; skipped when only the index is made anew."""
    from catalog.data_refresh.promotion import catch_up, promote

    if _index_only():
        raise AirflowSkipException("index_only: the live tables stay.")
    with api_connection(autocommit=True) as api, task_failures("The old tables are still live."):
        for table in tables_of(media_type):
            catch_up(api, table)
        return promote(api, tables_of(media_type), _run_id()).orphans


@task(trigger_rule="none_failed")
def promote_indexes(plan: Plan) -> None:
    """Both aliases in one step, after what moderators have decided meanwhile."""
    from catalog.data_refresh.moderation import follow

    context: Any = get_current_context()
    engine, media_type, index = indexes(), plan["media_type"], plan["index"]
    with api_connection(autocommit=True) as api, task_failures("The old indexes are still live."):
        for name in (index, f"{index}-filtered"):
            follow(api, engine.client, name, media_type, context["dag_run"].start_date)
        engine.point({media_type: index, f"{media_type}-filtered": f"{index}-filtered"})


@task
def delete_old(plan: Plan, before: dict[str, Any]) -> list[str]:
    """The indexes that were live before, unless another alias points at them, and the tables of the refresh."""
    from catalog.data_refresh.promotion import drop_left_overs

    engine, gone = indexes(), []
    with task_failures(), api_connection(autocommit=True) as api:
        drop_left_overs(api, tables_of(plan["media_type"]))
        for name in before["indexes"]:
            if others := engine.retire(name):
                log.warning("%s is kept: %s points at it.", name, ", ".join(others))
            else:
                gone.append(name)
        return gone + _delete_orphans(plan["media_type"])


@task(trigger_rule="none_failed")
def report_record_counts(
    media_type: MediaType, before: dict[str, Any], checked: dict[str, Any], filtered: dict[str, int],
) -> str:  # fmt: skip
    """The report, for Slack and for people who look at the run."""
    from catalog.data_refresh.report import refresh_report

    context: Any = get_current_context()
    with task_failures():
        engine = indexes()
        after, built = engine.sources(media_type), engine.meta(media_type)
    text = refresh_report(
        media_type, before["sources"], after, copied=context["ti"].xcom_pull(task_ids="copy_tables") or [],
        orphans=context["ti"].xcom_pull(task_ids="promote_tables") or {}, tags=checked["tags"], digest=built.get("tag_policy_digest", ""),
        filtered=filtered["documents"], hidden=filtered["hidden"],
    )  # fmt: skip
    say(text, "Data refresh record difference")
    return text


def refresh_dag(media_type: MediaType) -> None:
    about = " ".join((__doc__ or "").split())
    with catalog_dag(
        f"{media_type}_data_refresh",
        "data_refresh",
        schedule="0 0 * * 1",
        doc=DOC.format(media_type=media_type, about=about).strip(),
        params={
            "index_only": Param(
                False, type="boolean", title="Rebuild index only",
                description_md="Make new indexes from the live tables, for example after a change of `TAG_POLICY`; copy nothing.",
            )
        },
        example={"index_only": True},
        max_active_tasks=64,
        dagrun_timeout=RUN_TIMEOUT[media_type],
        conflicts=(f"{OTHER[media_type]}_data_refresh", f"create_filtered_{media_type}_index"),
    ):  # fmt: skip
        before: Any = get_before_record_count(media_type)
        copied = copy_tables.override(execution_timeout=COPY_TIMEOUT[media_type], retries=4)(media_type)
        built = build_indexes(media_type)
        plan: Any = create_index(media_type)
        parts: Any = split_ranges(plan)
        done: Any = index_range.partial(plan=plan).expand(part=parts)
        checked: Any = check_index(plan, parts, done)
        filtered: Any = create_filtered_index(plan)
        tables, aliases = promote_tables(media_type), promote_indexes(plan)
        deleted = delete_old(plan, before)
        chain(check_configuration(), wait_for_turn(), before, clean_up(media_type), copied, built, plan)
        chain(
            checked,
            filtered,
            open_indexes(plan),
            tables,
            aliases,
            deleted,
            report_record_counts(media_type, before, checked, filtered),
        )


for medium in MEDIA_TYPES:
    refresh_dag(medium)
