"""Deletes records from the catalog and keeps them in the table of deleted media.

The rows of `table_name` that `select_query` names are moved into `deleted_<table_name>` with the date and the reason, batch by batch, each
in one transaction. Ingestion does not bring them back (its conf `include_deleted` does). A record that was deleted before keeps its first
date.
With `dry_run`, the log shows how many rows of which providers would be deleted, and a few of them; nothing is changed.

It refuses to run while a DAG of an affected provider runs. Rows that somebody has locked are taken later. After a failure, clear the failed
task: it goes on. The API shows a deleted record until the next data refresh.

To bring records back: `catalog db restore --table image --where "WHERE …"`, with the columns of `deleted_image` in the condition. Their
fields are as old as the deletion; a later run of the provider renews them.
"""

import json
import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import Param, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.running import stop_asked, task_failures
from catalog.dags.operators.settings import catalog_connection, check_conf
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


@task(retries=0, execution_timeout=timedelta(hours=24))
def check_deletion() -> int:
    """Refuses what is not allowed, and affected providers whose DAG runs; number of rows. A dry run ends here."""
    from catalog.database.deletion import preview

    context: Any = get_current_context()
    conf = context["params"]
    check_conf(context["dag_run"].conf, context["dag"].params)
    with catalog_connection(autocommit=True) as connection:
        found = preview(connection, conf["table_name"], _condition(connection, conf))
    log.info(
        "%s rows: %s",
        f"{found.rows:,}",
        ", ".join(f"{p} {n:,}" for p, n in found.providers.items()) or "none",
    )
    for row in found.sample:
        log.info("%s", json.dumps(row))
    if conf["dry_run"]:
        log.info("DRY RUN, nothing is changed.")
    elif busy := [d for d in dags_of(found.providers) if context["ti"].get_dr_count(d, states=BUSY)]:
        raise AirflowFailException(
            f"{', '.join(busy)} is running and may write these records; try again when it has ended."
        )
    return found.rows


def _condition(connection: Any, conf: Any) -> str:
    from catalog.database.statements import parse_condition, verify

    with task_failures():
        condition = parse_condition(conf["table_name"], conf["select_query"])
        verify(connection, f"DELETE FROM {conf['table_name']} WHERE {condition}")  # noqa: S608 - written from a parse tree
    return condition


def dags_of(strings: Any) -> list[str]:
    """The DAGs that write records of these provider strings."""
    found = []
    for cls in map(provider_class, provider_names()):
        if set(cls.strings.values()) & set(strings):
            found += [f"{cls.name}_workflow", *([cls.reingestion.dag_id] if cls.reingestion else [])]
    return found


@task(execution_timeout=timedelta(days=2))
def delete_records_from_media_table() -> int:
    """Number of records deleted, by earlier tries as well (a try that was killed may have deleted one batch more); skipped in a dry run."""
    from catalog.database.deletion import delete

    context: Any = get_current_context()
    conf, store = context["params"], context["task_state_store"]
    if conf["dry_run"]:
        raise AirflowSkipException("a dry run: the log of check_deletion shows what would be deleted.")
    before: int = store.get("deleted", default=0)

    def note(moved: int) -> None:
        store.set("deleted", before + moved)
        log.info("%s records deleted", f"{before + moved:,}")

    with catalog_connection(autocommit=True) as connection, task_failures():
        moved = delete(
            connection,
            conf["table_name"],
            _condition(connection, conf),
            conf["reason"],
            should_stop=stop_asked(),
            progress=note,
        )
    store.delete("deleted")
    return before + moved


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
