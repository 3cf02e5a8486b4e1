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

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.settings import DATA_REFRESH_LIMIT
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.indexing import (
    LONG,
    check_index,
    delete_left_overs,
    delete_old_indexes,
    fill_filtered,
    index_range,
    indexes,
    make_index,
    make_live,
    open_for_search,
    rehearse,
    require_whole,
    split_ranges,
    tag_policy,
)  # fmt: skip
from catalog.dags.operators.conflicts import kept_turn, wait_for_turn
from catalog.dags.operators.refreshes import begin_refresh, current_refresh, reach
from catalog.dags.operators.running import Meter, stop_asked, task_failures
from catalog.dags.operators.settings import API_DB, SEARCH, api_connection, catalog_connection
from catalog.dags.operators.slack import say
from catalog.dags.operators.variables import value_of

log = logging.getLogger(__name__)
COPY_TIMEOUT = {"image": LONG, "audio": timedelta(hours=6)}
RUN_TIMEOUT = {"image": timedelta(days=7), "audio": timedelta(days=4)}
OTHER: dict[MediaType, MediaType] = {"image": "audio", "audio": "image"}

DOC = """
{about}

1. Conf, tag policy, sensitive terms, both databases and the search engine are looked at for what would fail hours later.
2. It waits while another data refresh works, or a filtered index of {media_type} is made; two that start together take turns.
3. What this refresh is gets written down once: the names of its indexes, since which moment moderation counts, what the live tables look
   like, and what is live now.
4. Rows stream from the catalog into `temp_import_*` tables, range by range. Known records keep their row id, `view_count` and whatever
   else only the API has; media that moderators deleted stay out; a record that the API's table cannot take is rejected and counted.
5. Indexes and constraints are made as the live tables have them.
6. A new index is filled by up to 64 mapped tasks (Variable `DATA_REFRESH_INDEX_TASKS`; their executor: environment
   `DATA_REFRESH_EXECUTOR`). Documents get the tags that pass the tag policy (Variable `TAG_POLICY`).
7. Each range must hold as many documents as rows, and there must not be suspiciously few, or nothing is promoted.
8. The filtered index leaves out media whose text holds a sensitive term.
9. Tables are exchanged in one transaction, unless a migration has changed them meanwhile; then both aliases in one call, after what
   moderators have decided meanwhile. Rows of lists whose medium is gone are deleted and counted.
10. What is old is deleted, and a report compares each source's documents before and after.

After a failure the old state is live. Clear the failed task and the run goes on there, unless another refresh has begun meanwhile; a new
run cleans up after one that was given up. With `index_only`, new indexes are made from the live tables, under the tag policy and the
sensitive terms as they are now. The Variable `DATA_REFRESH_LIMIT` limits the number of rows that are copied, for a small staging
database.
"""


def tables_of(media_type: MediaType) -> tuple[str, ...]:
    from catalog.data_refresh.copy import TABLES

    return TABLES[media_type]


def _index_only() -> bool:
    context: Any = get_current_context()
    return bool(context["params"]["index_only"])


def _accepts_shrinkage() -> bool:
    context: Any = get_current_context()
    return bool(context["params"]["accept_shrinkage"])


def _left_by(media_type: MediaType) -> list[str]:
    """DAGs whose left-over indexes a refresh deletes."""
    return [f"{media_type}_data_refresh", f"create_filtered_{media_type}_index"]


@task
def check_configuration(media_type: MediaType) -> None:
    """What would fail hours later fails now: conf, tag policy, sensitive terms, databases, search engine."""
    from catalog.data_refresh.table_preflight import preflight_tables

    rehearse(media_type, [media_type, f"{media_type}-filtered"])
    if _index_only():
        return
    with (
        task_failures("Nothing was changed."),
        catalog_connection(autocommit=True) as upstream,
        api_connection(autocommit=True) as api,
    ):
        needed = preflight_tables(api, upstream, tables_of(media_type)).needed_bytes
        log.info("the API database needs about %s MB more meanwhile", f"{needed // 1_000_000:,}")


@task(task_id="begin_refresh")
def begin(media_type: MediaType) -> None:
    """Write down what this refresh is; done once, whatever is cleared later."""
    import msgspec

    from catalog.data_refresh.columns import temp_name
    from catalog.data_refresh.moderation import moderation_moment
    from catalog.data_refresh.refresh import Plan
    from catalog.data_refresh.shape import shape

    def plan(number: int) -> Plan:
        index, filtered = f"{media_type}-{number}-{uuid4().hex[:12]}", f"{media_type}-filtered"
        index_only, engine = _index_only(), indexes()
        with api_connection(autocommit=True) as api:
            return Plan(
                media_type, API_DB, SEARCH, media_type if index_only else temp_name(media_type), index,
                aliases={media_type: index, filtered: f"{index}-filtered"}, policy=msgspec.to_builtins(tag_policy()),
                since=moderation_moment(api), filtered=f"{index}-filtered",
                shapes={} if index_only else {table: shape(api, table) for table in tables_of(media_type)},
                live={alias: engine.behind(alias) for alias in (media_type, filtered)},
                documents={alias: engine.sources(alias) for alias in (media_type, filtered)},
            )  # fmt: skip

    begin_refresh(plan)


@task
def clean_up(media_type: MediaType) -> list[str]:
    """What runs left that were given up: indexes without an alias, and tables."""
    from catalog.data_refresh.promotion import drop_left_overs, left_overs

    refresh = current_refresh("working")
    with task_failures(), api_connection(autocommit=True) as api:
        drop_left_overs(api, left_overs(api, tables_of(media_type), refresh.identity))
        return delete_left_overs(refresh, _left_by(media_type))


def _show(meter: Meter, copied: Any) -> None:
    meter(copied.rows)


@task
def copy_tables(media_type: MediaType) -> list[dict[str, Any]]:
    """What the copy of each table came to; skipped when only the index is made anew."""
    import msgspec

    from catalog.data_refresh.copy import TableCopy
    from catalog.data_refresh.shrinkage import refuse_shrinkage, shrinkage

    refresh = current_refresh("working")
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
                "select reltuples::bigint from pg_class where oid = to_regclass(%s)", [f"public.{table}"]
            ).fetchone()
            meter = Meter(f"rows of {table}", max(estimate[0], 0) if estimate else 0)
            job = TableCopy(
                upstream,
                api,
                table,
                refresh.identity,
                expected=refresh.plan.shapes[table],
                limit=limit,
                progress=partial(_show, meter),
                should_stop=stop,
            )
            copied.append(msgspec.to_builtins(job.run()))
            log.info("%s", copied[-1])
        if not _accepts_shrinkage():
            refuse_shrinkage(shrinkage(api, tables_of(media_type)))
    return copied


@task(execution_timeout=LONG)
def build_indexes(media_type: MediaType) -> None:
    from catalog.data_refresh.copy import TableCopy
    from catalog.data_refresh.promotion import build_indexes as build
    from catalog.data_refresh.shape import check_shape

    refresh = current_refresh("working")
    shapes = refresh.plan.shapes
    with (
        catalog_connection(autocommit=True) as upstream,
        api_connection(autocommit=True) as api,
        task_failures(),
    ):
        check_shape(api, tables_of(media_type), shapes)
        for table in tables_of(media_type):
            job = TableCopy(upstream, api, table, refresh.identity, expected=shapes[table])
            build(api, table, log.info, expected=shapes, again=job.again)


@task(trigger_rule="none_failed")
def create_index() -> str:
    """The new, empty index; one that an earlier attempt made is replaced."""
    refresh = current_refresh("working")
    with task_failures():
        make_index(refresh, refresh.plan.index)
    return str(refresh.plan.index)


@task(execution_timeout=LONG, retries=4)
def create_filtered_index() -> dict[str, int]:
    return fill_filtered()


@task(execution_timeout=timedelta(hours=12))
def open_indexes() -> None:
    """Replicas are made before anybody searches."""
    with task_failures("The old indexes are still live."):
        open_for_search(current_refresh("working"))


@task
def promote_tables(media_type: MediaType) -> dict[str, int]:
    """Orphans deleted, by foreign key; skipped when only the index is made anew."""
    from catalog.data_refresh.promotion import promote

    refresh = current_refresh("working", "tables")
    if _index_only():
        raise AirflowSkipException("index_only: the live tables stay.")
    with api_connection(autocommit=True) as api, task_failures("The old tables are still live."):
        require_whole(refresh)
        with kept_turn():
            promoted = promote(
                api, tables_of(media_type), refresh.identity, expected=refresh.plan.shapes, accept_shrinkage=_accepts_shrinkage()
            )  # fmt: skip
        reach(refresh, "tables")
    log.info("rows whose view counts had changed since they were copied: %s", promoted.carried)
    orphans: dict[str, int] = promoted.orphans
    return orphans


@task(trigger_rule="none_failed")
def promote_indexes() -> None:
    """Both aliases in one step, after what moderators have decided meanwhile."""
    refresh = current_refresh("working" if _index_only() else "tables", "promoted")
    with task_failures("The old indexes are still live."):
        make_live(refresh)


@task
def delete_old(media_type: MediaType) -> list[str]:
    """The indexes that were live before, unless another alias points at them, and the tables of the refresh."""
    from catalog.data_refresh.promotion import drop_left_overs

    refresh = current_refresh("promoted")
    with task_failures(), api_connection(autocommit=True) as api:
        drop_left_overs(api, tables_of(media_type))
        return delete_old_indexes(refresh, _left_by(media_type))


@task(trigger_rule="none_failed")
def report_record_counts(media_type: MediaType, checked: dict[str, Any], filtered: dict[str, int]) -> str:
    """The report, for Slack and for people who look at the run."""
    from catalog.data_refresh.report import refresh_report

    context: Any = get_current_context()
    refresh = current_refresh()
    with task_failures():
        engine = indexes()
        after, built = engine.sources(media_type), engine.meta(media_type)
    text = refresh_report(
        media_type, refresh.plan.documents[media_type], after, copied=context["ti"].xcom_pull(task_ids="copy_tables") or [],
        orphans=context["ti"].xcom_pull(task_ids="promote_tables") or {}, checked=checked, digest=built.get("tag_policy_digest", ""),
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
            ),
            "accept_shrinkage": Param(
                False, type="boolean", title="Accept far fewer records",
                description_md="Promote also when far fewer records are to be live than before; a refresh that finds so fails otherwise.",
            ),
        },
        example={"index_only": True},
        max_active_tasks=64,
        dagrun_timeout=RUN_TIMEOUT[media_type],
        conflicts=(f"{OTHER[media_type]}_data_refresh", f"create_filtered_{media_type}_index"),
    ):  # fmt: skip
        copied = copy_tables.override(execution_timeout=COPY_TIMEOUT[media_type], retries=4)(media_type)
        parts: Any = split_ranges()
        done: Any = index_range.expand(part=parts)
        checked: Any = check_index(parts, done)
        filtered: Any = create_filtered_index()
        chain(
            check_configuration(media_type),
            wait_for_turn(),
            begin(media_type),
            clean_up(media_type),
            copied,
            build_indexes(media_type),
            create_index(),
            parts,
        )
        chain(
            checked,
            filtered,
            open_indexes(),
            promote_tables(media_type),
            promote_indexes(),
            delete_old(media_type),
            report_record_counts(media_type, checked, filtered),
        )


for medium in MEDIA_TYPES:
    refresh_dag(medium)
