"""Changes columns of many rows of the catalog in batches, one committed after the other.

`UPDATE <table_name> <update_query> <select_query>` is what is done. Each of the two is read alone with PostgreSQL's own grammar, as what it
claims to be, and refused before anything is made when it is not: `update_query` is SET with assignments, `select_query` WHERE with a
condition. Expressions, functions that only compute and sub-selects that read tables of the catalog are allowed; keys (`identifier`,
`provider`, `foreign_identifier`), FROM, RETURNING, TABLESAMPLE, locks, parameters, a missing WHERE are not. Nor is a SET that reads the
table it changes, because later batches would see what earlier ones wrote.

With `dry_run`, the default, the log shows the statement, the number of rows and a few of them before and after; nothing is changed.

Otherwise the rows are selected once, into the table `<query_id>_rows_to_update`, and changed in batches. A row that somebody changes
afterwards is updated all the same. Ingestion is never held up: rows that somebody has locked are passed over and taken later. After a
failure, a kill or a deploy, clear the failed task: it goes on where it was, and no row is changed twice. A run applies its statement once:
clearing one that has finished changes nothing more; trigger a new run for that. To go on with another statement (a mistake was found
half-way), trigger with the same `query_id` and `resume_update`. To give up, drop that table; after 30 days it is dropped. How far it is
stands in the Variable `batched_update_start_<query_id>`.
"""

import json
import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.groups.batched import batch_size_param, batched_job, run_batched_update
from catalog.dags.operators.conf import END
from catalog.dags.operators.running import task_failures
from catalog.dags.operators.settings import catalog_connection
from catalog.dags.operators.slack import say

log = logging.getLogger(__name__)
SENDER = "Upstream Batched Update"
LONG = timedelta(days=30)
LONGEST_TIMEOUT = 2_147_483  # seconds; PostgreSQL keeps none longer


def params() -> dict[str, Param]:
    return {
        "query_id": Param(
            type="string", pattern=r"^[a-z][a-z0-9_]{0,39}" + END, title="Query id",
            description_md="Name of this update: small letters, digits, underscores. Names its table and Variable.",
        ),
        "table_name": Param(type="string", enum=["image", "audio"], title="Table", description_md="The media table to change."),
        "select_query": Param(
            type="string", pattern=r"^WHERE\s", title="Which rows", description_md="`WHERE …`: the rows to change.",
        ),
        "update_query": Param(
            type="string", pattern=r"^SET\s", title="What to set",
            description_md="`SET …`; begin with `SET updated_on = now(),` to mark rows as changed.",
        ),
        "batch_size": batch_size_param(),
        "update_timeout": Param(
            3600, type="number", minimum=1, maximum=LONGEST_TIMEOUT, title="Timeout",
            description_md=f"Seconds that a batch may take: 1 to {LONGEST_TIMEOUT}.",
        ),
        "resume_update": Param(
            False, type="boolean", title="Resume", description_md="Go on with the rows of an earlier run of this query id, with this conf.",
        ),
        "dry_run": Param(True, type="boolean", title="Dry run", description_md="Only show what would be done."),
    }  # fmt: skip


def _update(conf: Any) -> Any:
    """The statement of a conf, checked by the grammar."""
    from catalog.database.statements import parse_update

    with task_failures():
        return parse_update(conf["table_name"], conf["update_query"], conf["select_query"])


@task(execution_timeout=timedelta(hours=24))
def check_update() -> dict[str, Any]:
    """Refuses what is not allowed, before anything is made; a dry run ends here."""
    from catalog.database.batched_update import preview
    from catalog.database.statements import verify

    context: Any = get_current_context()
    conf = context["params"]
    update = _update(conf)
    with catalog_connection(autocommit=True) as connection:
        with task_failures():
            verify(connection, update)
        if not conf["dry_run"]:
            log.info("%s", update.text)
            return {"statement": update.text}
        found = preview(connection, update)
    log.info("DRY RUN, nothing is changed.\n%s\nrows: %s", found.statement, f"{found.rows:,}")
    for row in found.sample:
        log.info(
            "%s: %s",
            row["identifier"],
            json.dumps({"before": row["before"], "after": row["after"]}, default=str),
        )
    return {"statement": found.statement, "rows": found.rows, "sample": found.sample}


@task(execution_timeout=timedelta(hours=24))
def select_rows_to_update() -> int:
    """The number of rows selected, or still to do when an update is resumed; skipped in a dry run."""
    context: Any = get_current_context()
    conf = context["params"]
    if conf["dry_run"]:
        raise AirflowSkipException("a dry run: the log of check_update shows what would be done.")
    with catalog_connection(autocommit=True) as connection, task_failures():
        job = batched_job(connection, conf["query_id"], _update(conf), batch_size=conf["batch_size"])
        progress = job.claim(resume=conf["resume_update"]) or job.select()
        if job.finished(progress):
            log.info(
                "This run has changed its %s rows already; it does nothing more.", f"{progress.updated:,}"
            )
            return 0
    left: int = progress.total - progress.updated - progress.gone
    say(f"Preparing to update {left:,} rows of `{conf['table_name']}` (`{conf['query_id']}`).", SENDER)
    return left


@task(execution_timeout=LONG)
def update_batches() -> dict[str, int]:
    """Changes all batches from where they stand; counts are of all tries together."""
    context: Any = get_current_context()
    conf = context["params"]
    progress = run_batched_update(
        conf["query_id"],
        _update(conf),
        select=False,
        batch_size=conf["batch_size"],
        timeout=conf["update_timeout"],
    )
    return {"total": progress.total, "updated": progress.updated, "gone": progress.gone}


@task
def notify_updated_count(counts: dict[str, int]) -> str:
    context: Any = get_current_context()
    conf = context["params"]
    gone = f"; {counts['gone']:,} were deleted meanwhile" if counts["gone"] else ""
    text = f"Updated {counts['updated']:,} of {counts['total']:,} rows of `{conf['table_name']}` (`{conf['query_id']}`){gone}."
    say(text, SENDER)
    return text


with catalog_dag(
    "batched_update",
    "database",
    schedule=None,
    doc=(__doc__ or "").strip(),
    params=params(),
    example={
        "query_id": "flickr_thumbnails",
        "table_name": "image",
        "select_query": "WHERE provider = 'flickr' AND thumbnail IS NOT NULL",
        "update_query": "SET updated_on = now(), thumbnail = NULL",
        "dry_run": False,
    },
    max_active_runs=10,
    max_active_tasks=10,
    dagrun_timeout=LONG + timedelta(days=2),
):
    updated: Any = update_batches()
    check_update() >> select_rows_to_update() >> updated
    notify_updated_count(updated)
