"""Deletes records from the catalog and keeps them in the table of deleted media.

The rows of `table_name` that `select_query` names are selected once, in one statement, before anything is deleted. Exactly these are moved
into `deleted_<table_name>` with the date and the reason, batch by batch, each in one transaction: the rows that one plain DELETE would have
deleted at that moment, also when the condition has a LIMIT, counts rows or compares them with others. A row that is changed afterwards is
deleted all the same. Ingestion does not bring them back (its conf `include_deleted` does). A record that was deleted before keeps its first
date.
With `dry_run`, the log shows how many rows of which providers would be deleted, and a few of them; nothing is changed.

It refuses to run while a DAG of an affected provider runs, and a condition that reads what is not the catalog's or calls functions that do
more than compute. Rows that somebody has locked are taken later. After a failure, clear the failed task: it goes on. A run deletes its
selection once: clearing one that has finished deletes nothing more; trigger a new run for that. The API shows a deleted record until the
next data refresh.

To bring records back: `catalog db restore --table image --where "WHERE …"`, with the columns of `deleted_image` in the condition;
`--dry-run` counts them. Their fields are as old as the deletion; a later run of the provider renews them.
"""

import json
import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.running import Meter, stop_asked, task_failures
from catalog.dags.operators.settings import catalog_connection
from catalog.dags.operators.slack import say
from catalog.ingestion.provider import provider_class, provider_names
from catalog.notifications.messages import escaped

log = logging.getLogger(__name__)
BUSY = ["running", "queued"]


def params() -> dict[str, Param]:
    return {
        "table_name": Param(type="string", enum=["image", "audio"], title="Table", description_md="The media table to delete from."),
        "select_query": Param(
            type="string", pattern=r"^WHERE\s", title="Which rows", description_md="`WHERE …`: the rows to delete.",
        ),
        "reason": Param(
            type="string", minLength=1, maxLength=80, title="Reason", description_md="Why; stored with each record.",
        ),
        "dry_run": Param(False, type="boolean", title="Dry run", description_md="Only show what would be deleted."),
    }  # fmt: skip


@task(execution_timeout=timedelta(hours=24))
def check_deletion() -> int:
    """Refuses what is not allowed, selects the rows, refuses affected providers whose DAG runs; number of rows. A dry run only counts."""
    from catalog.database.deletion import preview

    context: Any = get_current_context()
    conf = context["params"]
    with catalog_connection(autocommit=True) as connection, task_failures():
        if conf["dry_run"]:
            found = preview(connection, conf["table_name"], _condition(connection, conf))
            _show(found)
            log.info("DRY RUN, nothing is changed.")
            return found.rows
        job = _deletion(connection, context)
        progress = job.claim() or job.select()
        if job.finished(progress):
            log.info(
                "This run has deleted its %s records already; it does nothing more.", f"{progress.updated:,}"
            )
            return int(progress.total)
        found = job.selected()
        _show(found)
        if busy := [d for d in dags_of(found.providers) if context["ti"].get_dr_count(d, states=BUSY)]:
            if not progress.begun:
                job.finish(forget=True)  # what is selected then is what is there then
            raise AirflowFailException(
                f"{', '.join(busy)} is running and may write these records; clear this task when it has ended."
            )
    return int(progress.total)


def _show(found: Any) -> None:
    log.info(
        "%s rows: %s",
        f"{found.rows:,}",
        ", ".join(f"{p} {n:,}" for p, n in found.providers.items()) or "none",
    )
    for row in found.sample:
        log.info("%s", json.dumps(row))


def _condition(connection: Any, conf: Any) -> str:
    from catalog.database.statements import parse_condition, verify_condition

    condition = parse_condition(conf["table_name"], conf["select_query"])
    verify_condition(connection, conf["table_name"], condition)
    return condition


def _deletion(connection: Any, context: Any, **options: Any) -> Any:
    """The deletion of the run at hand. options: of Deletion."""
    from catalog.database.deletion import Deletion

    conf, run = context["params"], context["dag_run"]
    return Deletion(
        connection, f"{run.dag_id}/{run.run_id}", conf["table_name"], _condition(connection, conf), conf["reason"], **options
    )  # fmt: skip


def dags_of(strings: Any) -> list[str]:
    """The DAGs that write records of these provider strings."""
    found = []
    for cls in map(provider_class, provider_names()):
        if set(cls.strings.values()) & set(strings):
            found += [f"{cls.name}_workflow", *([cls.reingestion.dag_id] if cls.reingestion else [])]
    return found


@task(execution_timeout=timedelta(days=2))
def delete_records_from_media_table() -> int:
    """Number of records deleted, by earlier tries as well; skipped in a dry run."""
    context: Any = get_current_context()
    if context["params"]["dry_run"]:
        raise AirflowSkipException("a dry run: the log of check_deletion shows what would be deleted.")
    meter = Meter("records deleted")
    with catalog_connection(autocommit=True) as connection, task_failures():
        job = _deletion(
            connection,
            context,
            should_stop=stop_asked(),
            progress=lambda p: meter(p.updated + p.gone, p.total),
        )
        progress = job.claim()
        if progress is None:
            raise AirflowFailException(
                "no rows are selected; clear check_deletion, which selects them, as well."
            )
        progress = job.run(progress)
        job.finish()
    log.info("%s records deleted; %s were gone before.", f"{progress.updated:,}", f"{progress.gone:,}")
    return int(progress.updated)


@task
def notify_slack(deleted: int) -> str:
    context: Any = get_current_context()
    conf = context["params"]
    text = f"Deleted {deleted:,} records of `{conf['table_name']}`: {escaped(conf['reason'])}"
    say(text, "Upstream Delete Records")
    return text


with catalog_dag(
    "delete_records",
    "database",
    schedule=None,
    doc=(__doc__ or "").strip(),
    params=params(),
    example={
        "table_name": "image",
        "select_query": "WHERE provider = 'flickr' AND creator = 'somebody'",
        "reason": "asked for by its creator",
    },
    max_active_runs=16,
    dagrun_timeout=timedelta(days=4),
):
    deleted: Any = delete_records_from_media_table()
    check_deletion() >> deleted
    notify_slack(deleted)
