"""Publishes the catalog to the API database and the search index.

Rows are copied into new tables beside the live ones. A new index is filled from them, then a second one
without sensitive media. Nothing is exchanged before the documents have been counted and match the rows. Then
all tables are exchanged in one transaction, and afterwards both aliases in one call.
"""

import logging
from datetime import timedelta
from typing import Any

import msgspec
from airflow.sdk import Param, chain, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.dags.common import metrics
from catalog.dags.common.acceptance import accepted_lines
from catalog.dags.common.assets import API, CATALOG, FILTERED, INDEX, POPULARITY
from catalog.dags.common.connections import api_connection, catalog_connection
from catalog.dags.common.context import GIVEN, Params, TaskInstance
from catalog.dags.common.environments import PRODUCTION
from catalog.dags.common.retries import hint
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.indexing import (
    MAX_DURATION,
    check_index,
    create_filtered_index,
    delete_leftovers,
    delete_old_indexes,
    index_range,
    indexes,
    make_index,
    make_live,
    open_for_search,
    rehearse,
    split_ranges,
    update_live_indexes,
)
from catalog.dags.groups.refreshes import current_refresh
from catalog.dags.groups.tables import begin, build_indexes, copy_tables, promote_tables
from catalog.dags.operators.slack import notify
from catalog.dags.operators.turns import wait_for_turn
from catalog.data_refresh.refresh import Plan
from catalog.data_refresh.report import Checked, FilteredCounts, Report, incremental_report, refresh_report
from catalog.data_refresh.search.identity import filtered_name
from catalog.data_refresh.tables.apply import Applied
from catalog.data_refresh.tables.copy import TABLES
from catalog.data_refresh.tables.preflight import preflight_tables
from catalog.data_refresh.tables.progress import TableProgress
from catalog.data_refresh.tables.promotion import drop_leftovers, leftovers
from catalog.moderation.remembered import lost
from catalog.notifications.message import escaped

log = logging.getLogger(__name__)
COPY_TIMEOUT = {"image": MAX_DURATION, "audio": timedelta(hours=6)}
RUN_TIMEOUT = {"image": timedelta(days=7), "audio": timedelta(days=4)}
OTHER: dict[MediaType, MediaType] = {"image": "audio", "audio": "image"}

DOC = """
{about}

1. The first task checks everything that would otherwise fail hours later: conf, tag policy, sensitive terms,
   both databases and the search engine.
2. The run waits while another data refresh runs, while a filtered index of {media_type} is created, or while
   another DAG creates an index or moves an alias.
3. The plan of the refresh is recorded once: the names of its indexes, the moment from which moderation
   decisions are applied, the definition of the live tables, and what is live now. It is refused if many
   decisions are gone since the last refresh; this is checked again before the first of it becomes live. If
   they are taken back afterwards, the run finishes, and reports it.
4. Rows stream from the catalog into `temp_import_*` tables. Up to four mapped tasks (Variable
   `DATA_REFRESH_COPY_TASKS`) share the ranges of pages of a large table, and read one snapshot of it. Known
   records keep their row id, `view_count` and other columns that only the API has. Media that moderators
   deleted are left out. A record that the API's table cannot store is rejected and counted.
5. The same number of mapped tasks creates indexes and constraints as on the live tables.
6. Up to 64 mapped tasks fill a new index (Variable `DATA_REFRESH_INDEX_TASKS`; their executor: environment
   variable `DATA_REFRESH_EXECUTOR`). Documents get the tags that pass the tag policy (Variable `TAG_POLICY`).
7. Nothing is promoted unless each range has as many documents as rows, and their total has not shrunk
   suspiciously.
8. The filtered index leaves out media whose text contains a sensitive term.
9. The tables are exchanged in one transaction, unless a migration has changed them meanwhile. Then the
   decisions that moderators have made meanwhile are applied, and both aliases are moved in one call. List
   entries whose media no longer exist are deleted and counted.
10. The old tables and indexes are deleted, and a report compares the documents of each source before and
    after.

An incremental refresh (`mode`) skips 5 to 8. It finds the records that were written or deleted since the last
refresh, by whatever program, copies only those, and applies them to the live tables in one transaction. Then
it writes their documents to both live indexes. Tables and indexes end as after a full refresh, and a refresh
that would remove suspiciously many records is refused as well. The mode `auto` is incremental unless this is
impossible: no refresh was completed before, the last incremental one failed, two releases have worked on the
last one, a database was restored, another program has written to the live indexes (what moderators write does
not count), columns, tag policy, sensitive terms or the code of documents have changed, the API's tables have
triggers, more of the records have changed than the Variable `DATA_REFRESH_MOST_CHANGED` allows (10 %), or the
last full refresh is older than the Variable `DATA_REFRESH_FULL_AFTER_DAYS`. The report says which.

After a failure, clear the failed task together with its downstream tasks: the run resumes, unless another
refresh has begun meanwhile. A new run cleans up after one that was given up. The old tables are live until
`promote_tables` succeeds, the old indexes until `promote_indexes` does; if the run fails between the two, the
new tables and the old indexes are live. After an incremental refresh that fails between the two, some
documents may be newer than others. With `index_only`, new indexes are built from the live tables, with
the current tag policy and sensitive terms. The Variable `DATA_REFRESH_LIMIT` limits the number of rows that
are copied, for a small staging database.
"""


def _made_by(media_type: MediaType) -> list[str]:
    """Return the DAGs whose leftover indexes a refresh deletes."""
    return [f"{media_type}_data_refresh", f"create_filtered_{media_type}_index"]


@task
def check_configuration(media_type: MediaType, params: Params = GIVEN) -> None:
    """Check everything that would otherwise fail hours later."""
    if params["index_only"] and params["mode"] != "auto":
        raise Refused(
            f"mode: {params['mode']} cannot be combined with index_only, which builds new indexes from the "
            "live tables. Give only one of the two."
        )
    rehearse(media_type, [media_type, filtered_name(media_type)])
    if params["index_only"]:
        return
    with (
        hint("Nothing was changed."),
        catalog_connection(autocommit=True) as catalog,
        api_connection(autocommit=True) as api,
    ):
        needed = preflight_tables(api, catalog, TABLES[media_type])
        log.info("the API database needs about %s MB more meanwhile", f"{needed // 1_000_000:,}")


@task
def clean_up(media_type: MediaType) -> list[str]:
    """Delete the tables, and the indexes without an alias, that abandoned runs have left behind."""
    refresh = current_refresh("working")
    with api_connection(autocommit=True) as api:
        drop_leftovers(api, leftovers(api, TABLES[media_type], refresh.identity))
        return delete_leftovers(refresh, _made_by(media_type))


@task(trigger_rule="none_failed")
def create_index() -> str:
    """Create the new, empty index; one that an earlier attempt created is replaced."""
    refresh = current_refresh("working")
    if refresh.plan.mode == "incremental":
        raise AirflowSkipException("incremental: the live indexes are updated.")
    make_index(refresh, refresh.plan.index)
    return str(refresh.plan.index)


@task(execution_timeout=timedelta(hours=12))
def open_indexes() -> None:
    """Create the replicas, before the indexes are searched."""
    with hint("The old indexes are still live."):
        open_for_search(current_refresh("working"))


@task(trigger_rule="none_failed", execution_timeout=MAX_DURATION, retries=4)
def update_indexes() -> dict[str, Any]:
    """Write the documents of changed records to the live indexes; only of an incremental refresh."""
    if current_refresh().plan.mode != "incremental":
        raise AirflowSkipException("the new indexes are complete.")
    return update_live_indexes(current_refresh("tables"))


@task(trigger_rule="none_failed")
def promote_indexes(params: Params = GIVEN) -> None:
    """Move both aliases in one step, after applying the decisions that moderators have made meanwhile."""
    refresh = current_refresh("working" if params["index_only"] else "tables", "promoted")
    with hint("The old indexes are still live."):
        make_live(refresh)
    if refresh.stage != "promoted":
        metrics.send_promotion(refresh)


@task
def delete_old(media_type: MediaType) -> list[str]:
    """Delete the old tables, and the old indexes unless another alias points at them."""
    refresh = current_refresh("promoted")
    with api_connection(autocommit=True) as api:
        drop_leftovers(api, TABLES[media_type])
        return delete_old_indexes(refresh, _made_by(media_type))


@task(trigger_rule="none_failed")
def report_record_counts(
    copied: list[list[dict[str, Any]]],
    checked: dict[str, Any],
    filtered: dict[str, int],
    ti: TaskInstance = GIVEN,
) -> str:
    refresh = current_refresh()
    copies = [copy for part in copied or () for copy in msgspec.convert(part or [], list[TableProgress])]
    promoted = ti.xcom_pull(task_ids="promote_tables") or {}
    if refresh.plan.mode == "incremental":
        updated = ti.xcom_pull(task_ids="update_indexes") or {}
        report = _report_incremental(refresh.plan, copies, promoted, updated)
    else:
        report = _report_full(refresh.plan, copies, promoted, checked, filtered)
    gone = [f"  - {text}" for text in _gone_decisions(refresh.plan)]
    lines = [*accepted_lines(), *(escaped(line) for line in (*gone, *report.lines))]
    if refresh.plan.mixed:
        lines.append("  - another release has begun this refresh, so the next one is a full one")
    return notify(
        report.title,
        "Data refresh record difference",
        report.summary,
        fields={"Mode": refresh.plan.mode, "Refresh": refresh.number},
        lines=lines,
        completion=True,
    )


def _gone_decisions(plan: Plan) -> list[str]:
    """Return sentences about decisions of moderators that are gone since a refresh began, which goes on."""
    with api_connection(autocommit=True) as api:
        gone = lost(api, plan.media_type, plan.remembered or {}, newest=False)
    return [f"since the refresh began: {one.text}; the next one is refused without them" for one in gone]


def _report_incremental(
    plan: Plan, copies: list[TableProgress], applied: dict[str, Any], updated: dict[str, Any]
) -> Report:
    """Send the numbers of an incremental refresh as metrics, and return its report."""
    changes, engine = msgspec.convert(applied, dict[str, Applied]), indexes()
    report = incremental_report(
        plan.media_type,
        plan.documents[plan.media_type],
        engine.sources(plan.media_type),
        applied=changes,
        updated=updated,
        digest=engine.meta(plan.media_type).get("tag_policy_digest", ""),
    )
    metrics.send_incremental(plan, copies, changes.values(), updated)
    return report


def _report_full(
    plan: Plan, copies: list[TableProgress], orphans: dict[str, int], checked: Any, filtered: Any
) -> Report:
    """Send the numbers of a full refresh, or of new indexes, as metrics, and return its report."""
    tables = {copy.table: copy for copy in copies if copy.done}
    index, shown = msgspec.convert(checked, Checked), msgspec.convert(filtered, FilteredCounts)
    engine = indexes()
    report = refresh_report(
        plan.media_type,
        plan.documents[plan.media_type],
        engine.sources(plan.media_type),
        copied=list(tables.values()),
        orphans=orphans,
        checked=index,
        filtered=shown,
        digest=engine.meta(plan.media_type).get("tag_policy_digest", ""),
        reason=plan.reason,
    )
    metrics.send_refresh(plan, tables.values(), index, shown)
    return report


def _form() -> dict[str, Param]:
    return {
        "mode": Param(
            "auto",
            type="string",
            enum=["auto", "incremental", "full"],
            title="Mode",
            description_md="`incremental` applies only what has changed since the last refresh; `full` "
            "copies everything. `auto` is incremental where that is possible, and reports why if it is "
            "not.",
        ),
        "index_only": Param(
            False,
            type="boolean",
            title="Rebuild index only",
            description_md="Build new indexes from the live tables, for example after a change of "
            "`TAG_POLICY`; copy nothing.",
        ),
        "accept_shrinkage": Param(
            False,
            type="boolean",
            title="Accept far fewer records",
            description_md="Promote even if far fewer records than before would be live, found by their "
            "words, or hidden as sensitive, or if many decisions of moderators are gone. Less than was "
            "reported is not accepted.",
        ),
    }


def refresh_dag(media_type: MediaType) -> None:
    about = " ".join((__doc__ or "").split())
    with catalog_dag(
        f"{media_type}_data_refresh",
        "data_refresh",
        schedule="0 0 * * 1",
        doc=DOC.format(media_type=media_type, about=about).strip(),
        params=_form(),
        example={"index_only": True},
        media_types=(media_type,),
        max_active_tasks=64,
        dagrun_timeout=RUN_TIMEOUT[media_type],
        conflicts=(
            f"{OTHER[media_type]}_data_refresh",
            f"create_filtered_{media_type}_index",
            *PRODUCTION.upkeep,
        ),
    ):
        sessions: Any = begin(media_type)
        copy = copy_tables.override(execution_timeout=COPY_TIMEOUT[media_type], retries=4)
        copied: Any = copy.partial(media_type=media_type).expand(session=sessions)
        built = build_indexes.partial(media_type=media_type).expand(session=sessions)
        parts: Any = split_ranges()
        done: Any = index_range.expand(part=parts)
        checked: Any = check_index(parts, done)
        filtered: Any = create_filtered_index()
        chain(
            check_configuration(media_type),
            wait_for_turn(),
            sessions,
            clean_up(media_type),
            copied,
            built,
            create_index(),
            parts,
        )
        # Lineage leads to the tasks that make data live, not to those that copy them.
        tables = {"inlets": [CATALOG[media_type], POPULARITY[media_type]], "outlets": [API[media_type]]}
        documents = {"inlets": [API[media_type]], "outlets": [INDEX[media_type], FILTERED[media_type]]}
        chain(
            checked,
            filtered,
            open_indexes(),
            promote_tables.override(**tables)(media_type),
            update_indexes.override(**documents)(),
            promote_indexes.override(**documents)(),
            delete_old(media_type),
            report_record_counts(copied, checked, filtered),
        )


for medium in MEDIA_TYPES:
    refresh_dag(medium)
