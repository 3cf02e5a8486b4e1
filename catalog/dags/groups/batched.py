"""A batched update inside a task of a DAG that knows its statement; the DAG `batched_update` is for those that people write."""

from typing import Any

from airflow.sdk import Param, Variable, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from catalog.dags.operators.running import Meter, stop_asked, task_failures
from catalog.dags.operators.settings import catalog_connection

MIRROR = 5.0  # seconds between two writes of the Variable


def batch_size_param() -> Param:
    return Param(
        10_000,
        type="integer",
        minimum=1,
        maximum=1_000_000,
        title="Batch size",
        description_md="Rows in a batch.",
    )


class Mirror:
    """How far an update is: in its Variable and in the log, every few seconds."""

    def __init__(self, query_id: str) -> None:
        self.variable, self._meter = f"batched_update_start_{query_id}", Meter("rows", every=MIRROR)

    def __call__(self, progress: Any) -> None:
        if self._meter(progress.updated + progress.gone, progress.total):
            Variable.set(
                self.variable,
                str(progress.next_row),
                description="where a batched update stands; written by it",
            )


def batched_job(connection: Any, query_id: str, update: Any, **options: Any) -> Any:
    """The update as a job of the run at hand, checked against the server. options: of BatchedUpdate."""
    from catalog.database.batched_update import BatchedUpdate
    from catalog.database.statements import verify

    context: Any = get_current_context()
    run = context["dag_run"]
    verify(connection, update)
    return BatchedUpdate(connection, query_id, f"{run.dag_id}/{run.run_id}", update, **options)


def run_batched_update(query_id: str, update: Any, *, select: bool = True, **options: Any) -> Any:
    """Selects (unless an earlier try has) and changes all rows, and cleans up; what came of it, of all tries together.

    select: False when the rows must have been selected before. Otherwise the statement is one that may be applied again, and rows that a
    run has left behind which was given up are selected again. options: of BatchedUpdate. Fails the task with what to do next.
    """
    mirror = Mirror(query_id)
    hint = f"Clear this task to go on, or drop {query_id}_rows_to_update to give up."
    with catalog_connection(autocommit=True) as connection, task_failures(hint):
        job = batched_job(connection, query_id, update, progress=mirror, should_stop=stop_asked(), **options)
        progress = job.claim(replace=select)
        if progress is None and not select:
            raise AirflowFailException("no rows are selected; clear the task that selects them, as well.")
        progress = job.run(progress or job.select())
        job.finish()
    if Variable.get(mirror.variable, default=None) is not None:
        Variable.delete(mirror.variable)
    return progress
