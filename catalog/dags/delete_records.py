"""Deletes records from the catalog and keeps them in the table of deleted media.

The rows of `table_name` that match `select_query` are selected once, in one statement, before anything is
deleted. Exactly these rows are moved to `deleted_<table_name>`, with the date and the reason, in batches of
one transaction each. They are the rows that one plain DELETE would have deleted at that moment, also when the
condition has a LIMIT, counts rows or compares them with others. A row that changes after the selection is
deleted all the same. Ingestion does not insert deleted records again, unless its conf says `include_deleted`.
A record that was deleted before is kept as it is now, with the new date and reason; if it had another URL
then, the table `deleted_before` keeps that, and it stays deleted, too, until `catalog db restore` brings the
record back. If a trigger of an adopted table keeps records out of the deleted ones, their batch is rolled
back and the task fails. With `dry_run`, the log shows how many rows of which providers would be deleted, and
a few of them; nothing is changed.

The run is refused while a DAG of an affected provider runs. A condition that reads anything but tables of the
catalog, or calls functions that are not pure, is refused too, and so is one that no record matches, also in a
dry run. Locked rows are deleted in a later pass. After a failure, clear the failed task: it resumes where it
stopped. A run deletes its selection once: clearing a finished run deletes nothing more; trigger a new run for
that. The API shows a deleted record until the next data refresh.

To restore records: `catalog db restore --table image --where "WHERE …"`, with columns of `deleted_image` in
the condition; `--dry-run` counts them. Their fields are as old as the deletion; a later run of the provider
updates them.
"""

import json
import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection
from catalog.dags.common import metrics
from catalog.dags.common.assets import CATALOG, note_written
from catalog.dags.common.connections import catalog_connection, connect_to_catalog
from catalog.dags.common.context import GIVEN, DagRun, Params, TaskInstance
from catalog.dags.common.params import dry_run_param, rows_params
from catalog.dags.common.progress import Meter, sigterm_flag, stoppable
from catalog.dags.common.state import FirstTime
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.slack import notify
from catalog.database.deletion import Deletion, DeletionPreview, preview
from catalog.database.statements import no_record, parse_condition, verify_condition
from catalog.ingestion.registry import dag_ids, provider_classes
from catalog.notifications.message import escaped

log = logging.getLogger(__name__)
BUSY = ["running", "queued"]


def _form() -> dict[str, Param]:
    return {
        **rows_params("The media table to delete from.", "`WHERE …`: the rows to delete."),
        "reason": Param(
            type="string",
            minLength=1,
            maxLength=80,
            title="Reason",
            description_md="Why; stored with each record.",
        ),
        "dry_run": dry_run_param("Only show what would be deleted.", default=False),
    }


@task(execution_timeout=timedelta(hours=24))
def check_deletion(params: Params = GIVEN, dag_run: DagRun = GIVEN, ti: TaskInstance = GIVEN) -> int:
    """Check the condition and select the rows, unless a DAG of their providers runs. A dry run only counts.

    Returns:
        Number of rows selected.
    """
    first_time = FirstTime()
    with catalog_connection(autocommit=True) as connection:
        if params["dry_run"]:
            found = preview(connection, params["table_name"], _condition(connection, params))
            _log_rows(found)
            log.info("DRY RUN, nothing is changed.")
            if not found.rows:
                raise _none_found(params, "so nothing would be deleted")
            return found.rows
        job = _deletion(connection, dag_run, params)
        with first_time as first:
            claimed = job.claim(first=first)
        progress = claimed or job.select()
        if job.finished(progress):
            log.info(
                "This run has deleted its %s records already; nothing is left to do.", f"{progress.updated:,}"
            )
            return progress.total
        if not progress.total:
            job.finish(forget=True)
            raise _none_found(params, "so nothing was deleted")
        found = job.selected()
        _log_rows(found)
        if busy := [dag_id for dag_id in dags_of(found.providers) if ti.get_dr_count(dag_id, states=BUSY)]:
            if not progress.begun:
                job.finish(forget=True)  # the next attempt selects again, after those runs
            raise AirflowFailException(
                f"{', '.join(busy)} is running and may write these records; clear this task when it ends. "
                "A run of a paused DAG does not end: unpause the DAG, or mark its run as failed."
            )
    metrics.count_deleted(params["table_name"], 0)  # so that an increase of a new counter is seen
    return progress.total


def _none_found(params: Params, outcome: str) -> Refused:
    table = params["table_name"]
    return no_record(table, outcome, advice=f"Records that were deleted before are in deleted_{table}.")


def _log_rows(found: DeletionPreview) -> None:
    by_provider = ", ".join(f"{provider} {rows:,}" for provider, rows in found.providers.items())
    log.info("%s rows: %s", f"{found.rows:,}", by_provider or "none")
    for row in found.sample:
        log.info("%s", json.dumps(row))


def _condition(connection: Connection, params: Params) -> str:
    condition = parse_condition(params["table_name"], params["select_query"])
    verify_condition(connection, params["table_name"], condition)
    return condition


def _deletion(connection: Connection, run: DagRun, params: Params, **options: Any) -> Deletion:
    return Deletion(
        connection,
        f"{run.dag_id}/{run.run_id}",
        params["table_name"],
        _condition(connection, params),
        params["reason"],
        **options,
    )


def dags_of(catalog_names: Iterable[str]) -> list[str]:
    """Return the ids of the DAGs that write records of these providers.

    Args:
        catalog_names: As stored in the column `provider`.
    """
    wanted, found = set(catalog_names), []
    for cls in provider_classes():
        if wanted.intersection(cls.catalog_names.values()):
            found += dag_ids(cls)
    return found


@task(execution_timeout=timedelta(days=2), outlets=[*CATALOG.values()])
def delete_records_from_media_table(params: Params = GIVEN, dag_run: DagRun = GIVEN) -> int:
    """Return the number of records deleted by all attempts; skipped in a dry run."""
    if params["dry_run"]:
        raise AirflowSkipException("a dry run: the log of check_deletion shows what would be deleted.")
    meter = Meter("records deleted")
    with connect_to_catalog(autocommit=True) as connection:
        with stoppable(connection):
            job = _deletion(
                connection,
                dag_run,
                params,
                should_stop=sigterm_flag(),
                progress=lambda p: meter(p.updated + p.missing, p.total),
            )
            progress = job.claim()
        if progress is None:
            raise AirflowFailException("no rows are selected; clear check_deletion too, which selects them.")
        repeated = job.finished(progress)
        progress = job.run(progress)
        job.finish()
    if not repeated:
        metrics.count_deleted(params["table_name"], progress.updated)
    log.info("%s records deleted; %s were missing.", f"{progress.updated:,}", f"{progress.missing:,}")
    if progress.updated:
        note_written(CATALOG[params["table_name"]], deleted=progress.updated)
    return progress.updated


@task
def notify_slack(deleted: int, params: Params = GIVEN) -> str:
    return notify(
        "Records deleted",
        "Upstream Delete Records",
        f"Deleted {deleted:,} records of `{params['table_name']}`: {escaped(params['reason'])}",
        completion=True,
    )


with catalog_dag(
    "delete_records",
    "database",
    schedule=None,
    doc=(__doc__ or "").strip(),
    params=_form(),
    example={
        "table_name": "image",
        "select_query": "WHERE provider = 'flickr' AND creator = 'somebody'",
        "reason": "asked for by its creator",
    },
    media_types=MEDIA_TYPES,
    max_active_runs=16,
    dagrun_timeout=timedelta(days=4),
):
    deleted: Any = delete_records_from_media_table()
    check_deletion() >> deleted
    notify_slack(deleted)
