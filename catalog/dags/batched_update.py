"""Changes columns of many rows of the catalog in batches, each with a commit of its own.

The DAG runs `UPDATE <table_name> <update_query> <select_query>`. PostgreSQL's own grammar parses the two
parts separately: `update_query` must be a SET clause, `select_query` a WHERE clause. Expressions, pure
functions, and sub-selects from tables of the catalog are allowed. Not allowed are assignments to keys
(`identifier`, `provider`, `foreign_identifier`), FROM, RETURNING, TABLESAMPLE, locking clauses, parameters,
and a missing WHERE. A SET clause must not read the table that it changes, because later batches would see the
values that earlier ones wrote. A statement that is not allowed is refused before anything is created.

With `dry_run`, the default, the log shows the statement, the number of rows, and a few of them before and
after; nothing is changed. A condition that no record matches is refused, also in a dry run, because a name in
it is probably wrong; `accept_no_rows` accepts it. A run that resumes an update of which no row is left
succeeds.

Otherwise the rows are selected once, into the table `<query_id>_rows_to_update`, and changed in batches. A
row that changes after the selection is updated all the same. Ingestion is never blocked: locked rows are
skipped and updated in a later pass. After a failure, a kill or a deployment, clear the failed task: it
resumes where it stopped, and no row is changed twice. A run applies its statement once: clearing a finished
run changes nothing more; trigger a new run for that. To continue with another statement (for example after a
mistake), trigger with the same `query_id` and `resume_update`. To give up, drop the table; it is dropped
automatically after 30 days. The Variable `batched_update_start_<query_id>` shows the progress.
"""

import json
import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.core.errors import Refused
from catalog.core.media import MEDIA_TYPES
from catalog.core.session import Connection
from catalog.dags.common.acceptance import accepting_conf
from catalog.dags.common.assets import CATALOG, note_written
from catalog.dags.common.conf import END
from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.context import GIVEN, Params
from catalog.dags.common.params import batch_size_param, dry_run_param, rows_params
from catalog.dags.common.state import FirstTime
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.batched import batched_job, run_batched_update, run_name
from catalog.dags.operators.slack import notify
from catalog.database.batched_update import preview
from catalog.database.selection_progress import ProgressRow
from catalog.database.statements import Update, no_record, parse_update, verify

log = logging.getLogger(__name__)
SENDER = "Upstream Batched Update"
MAX_DURATION = timedelta(days=30)
MAX_TIMEOUT = 2_147_483  # seconds; the longest statement_timeout of PostgreSQL


def _form() -> dict[str, Param]:
    return {
        "query_id": Param(
            type="string",
            pattern=r"^[a-z][a-z0-9_]{0,39}" + END,
            title="Query id",
            description_md="Name of this update: lower-case letters, digits, underscores.",
        ),
        **rows_params("The media table to change.", "`WHERE …`: the rows to change."),
        "update_query": Param(
            type="string",
            pattern=r"^SET\s",
            title="What to set",
            description_md="`SET …`; begin with `SET updated_on = now(),` to mark rows as changed.",
        ),
        "batch_size": batch_size_param(),
        "update_timeout": Param(
            3600,
            type="number",
            minimum=1,
            maximum=MAX_TIMEOUT,
            title="Timeout",
            description_md=f"Seconds that a batch may take: 1 to {MAX_TIMEOUT}.",
        ),
        "resume_update": Param(
            False,
            type="boolean",
            title="Resume",
            description_md="Continue with the rows of an earlier run of this query id, with this conf.",
        ),
        "accept_no_rows": Param(
            False,
            type="boolean",
            title="Accept that no row matches",
            description_md="Succeed also if there is nothing to change. For programs that trigger the DAG "
            "whether there is something or not, as popularity refreshes do.",
        ),
        "dry_run": dry_run_param("Only show what would be done."),
    }


def _update(params: Params) -> Update:
    return parse_update(params["table_name"], params["update_query"], params["select_query"])


def _none_found(connection: Connection, params: Params, outcome: str) -> Refused | None:
    """Return the refusal of a condition that no record matches; None if there may be none."""
    if params["accept_no_rows"]:
        return None
    progress = ProgressRow(connection, params["query_id"], run_name())
    update = _update(params)
    if params["resume_update"] and progress.is_done_by_another(update.table, update.condition):
        log.info("The last run of this query id has changed all rows of this condition; none is left.")
        return None
    advice = f"If that is right, trigger it with {accepting_conf('accept_no_rows')}."
    return no_record(params["table_name"], outcome, advice=advice)


@task(execution_timeout=timedelta(hours=24))
def check_update(params: Params = GIVEN) -> dict[str, Any]:
    """Refuse a statement that is not allowed, before anything is created. A dry run ends here."""
    update = _update(params)
    with catalog_connection(autocommit=True) as connection:
        verify(connection, update)
        if not params["dry_run"]:
            log.info("%s", update.text)
            return {"statement": update.text}
        found = preview(connection, update)
        log.info("DRY RUN, nothing is changed.\n%s\nrows: %s", found.statement, f"{found.rows:,}")
        if not found.rows and (refusal := _none_found(connection, params, "so nothing would be updated")):
            raise refusal
    for row in found.sample:
        change = json.dumps({"before": row["before"], "after": row["after"]}, default=str)
        log.info("%s: %s", row["identifier"], change)
    return {"statement": found.statement, "rows": found.rows, "sample": found.sample}


@task(execution_timeout=timedelta(hours=24))
def select_rows_to_update(params: Params = GIVEN) -> int:
    """Return the number of rows selected, or left when an update is resumed; skipped in a dry run."""
    if params["dry_run"]:
        raise AirflowSkipException("a dry run: the log of check_update shows what would be done.")
    first_time = FirstTime()
    with catalog_connection(autocommit=True) as connection:
        job = batched_job(connection, params["query_id"], _update(params), batch_size=params["batch_size"])
        with first_time as first:
            claimed = job.claim(resume=params["resume_update"], first=first)
        progress = claimed or job.select()
        if job.finished(progress):
            log.info(
                "This run has changed its %s rows already; nothing is left to do.", f"{progress.updated:,}"
            )
            return 0
        if not progress.total and (refusal := _none_found(connection, params, "so nothing was updated")):
            job.finish(forget=True)
            raise refusal
    left: int = progress.total - progress.updated - progress.missing
    notify(
        "Rows selected",
        SENDER,
        f"Preparing to update {left:,} rows of `{params['table_name']}` (`{params['query_id']}`).",
    )
    return left


@task(execution_timeout=MAX_DURATION, outlets=[*CATALOG.values()])
def update_batches(params: Params = GIVEN) -> dict[str, int]:
    """Update all remaining batches. Counts are totals over all attempts."""
    progress = run_batched_update(
        params["query_id"],
        _update(params),
        select=False,
        batch_size=params["batch_size"],
        timeout=params["update_timeout"],
    )
    if progress.updated:
        note_written(CATALOG[params["table_name"]], query_id=params["query_id"], updated=progress.updated)
    return {"total": progress.total, "updated": progress.updated, "gone": progress.missing}


@task
def notify_updated_count(counts: dict[str, int] | None, params: Params = GIVEN) -> str:
    if counts is None:
        raise AirflowFailException(
            "update_batches was marked as success by hand, so it is not known what was updated; clear it "
            "with its downstream tasks."
        )
    deleted = f"; {counts['gone']:,} were deleted meanwhile" if counts["gone"] else ""
    return notify(
        "Rows updated",
        SENDER,
        f"Updated {counts['updated']:,} of {counts['total']:,} rows of `{params['table_name']}` "
        f"(`{params['query_id']}`){deleted}.",
        completion=True,
    )


with catalog_dag(
    "batched_update",
    "database",
    schedule=None,
    doc=(__doc__ or "").strip(),
    params=_form(),
    example={
        "query_id": "flickr_thumbnails",
        "table_name": "image",
        "select_query": "WHERE provider = 'flickr' AND thumbnail IS NOT NULL",
        "update_query": "SET updated_on = now(), thumbnail = NULL",
        "dry_run": False,
    },
    media_types=MEDIA_TYPES,
    max_active_runs=10,
    max_active_tasks=10,
    dagrun_timeout=MAX_DURATION + timedelta(days=2),
):
    updated: Any = update_batches()
    check_update() >> select_rows_to_update() >> updated
    notify_updated_count(updated)
