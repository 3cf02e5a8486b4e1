"""Batched updates in tasks of DAGs that know the statement; `batched_update` runs those that people write."""

from typing import Any

from airflow.sdk import Variable, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from catalog.core.session import Connection
from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.progress import Meter, sigterm_flag
from catalog.dags.common.retries import hint
from catalog.database.batched_update import BatchedUpdate
from catalog.database.selections import Progress
from catalog.database.statements import Update, verify

INTERVAL = 5.0  # seconds between two reports of progress


class ProgressVariable:
    """Reports the progress of an update in its Variable and in the task log, every few seconds."""

    def __init__(self, query_id: str) -> None:
        self.name, self._meter = f"batched_update_start_{query_id}", Meter("rows", every=INTERVAL)

    def __call__(self, progress: Progress) -> None:
        if self._meter(progress.updated + progress.missing, progress.total):
            Variable.set(
                self.name,
                str(progress.next_row),
                description="the next row of a batched update, which writes it",
            )


def batched_job(connection: Connection, query_id: str, update: Update, **options: Any) -> BatchedUpdate:
    """Check an update against the server and return it as a job of the current run.

    Args:
        connection: To the catalog database, in autocommit mode.
        query_id: Names the table of selected rows.
        update: The parsed statement.
        options: Of `BatchedUpdate`.
    """
    run = get_current_context()["dag_run"]
    verify(connection, update)
    return BatchedUpdate(connection, query_id, f"{run.dag_id}/{run.run_id}", update, **options)


def run_batched_update(query_id: str, update: Update, *, select: bool = True, **options: Any) -> Progress:
    """Select the rows, unless an earlier attempt has, update all of them, and drop the selection.

    Args:
        query_id: Names the table of selected rows.
        update: The parsed statement.
        select: False if the rows must have been selected before. Otherwise it must be possible to apply the
            statement again: rows that a run left which was given up are selected again.
        options: Of `BatchedUpdate`.

    Returns:
        Totals over all attempts.
    """
    variable = ProgressVariable(query_id)
    what_next = f"Clear this task to resume, or drop {query_id}_rows_to_update to give up."
    with catalog_connection(autocommit=True) as connection, hint(what_next):
        job = batched_job(
            connection, query_id, update, progress=variable, should_stop=sigterm_flag(), **options
        )
        progress = job.claim(replace=select)
        if progress is None and not select:
            raise AirflowFailException("no rows are selected; clear the task that selects them, as well.")
        progress = job.run(progress or job.select())
        job.finish()
    if Variable.get(variable.name, default=None) is not None:
        Variable.delete(variable.name)
    return progress
