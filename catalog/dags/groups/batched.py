"""Batched updates in tasks of DAGs that know the statement; `batched_update` runs those that people write."""

from contextlib import nullcontext
from typing import Any

from airflow.sdk import Variable, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from catalog.cleaning.job import CleaningJob, name_of, selection
from catalog.cleaning.rule import Rule
from catalog.cleaning.survey import Survey, survey
from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.dags.common.connections import connect_to_catalog
from catalog.dags.common.progress import Meter, sigterm_flag, stoppable
from catalog.dags.common.retries import hint
from catalog.dags.common.state import FirstTime
from catalog.database.batched_update import BatchedUpdate
from catalog.database.selection_progress import Progress
from catalog.database.statements import Update, verify
from catalog.labels.merge import merge
from catalog.labels.run import QUERY_ID, LabelRun, Outcome

INTERVAL = 5.0  # seconds between two reports of progress


class ProgressVariable:
    """Reports the progress of an update in its Variable and in the task log, every few seconds."""

    def __init__(self, query_id: str) -> None:
        self.name, self._meter = f"batched_update_start_{query_id}", Meter("rows", every=INTERVAL)

    def __call__(self, progress: Progress) -> None:
        if self._meter(progress.looked_at(), progress.total):
            Variable.set(
                self.name,
                str(progress.next_row),
                description="the next row of a batched update, which writes it",
            )

    def forget(self) -> None:
        """Delete the Variable at the end."""
        if Variable.get(self.name, default=None) is not None:
            Variable.delete(self.name)


def batched_job(connection: Connection, query_id: str, update: Update, **options: Any) -> BatchedUpdate:
    """Check an update against the server and return it as a job of the current run.

    Args:
        connection: Connection to the catalog database, in autocommit mode.
        query_id: Names the table of selected rows.
        update: The parsed statement.
        options: Options of `BatchedUpdate`.
    """
    verify(connection, update)
    return BatchedUpdate(connection, query_id, run_name(), update, **options)


def run_name() -> str:
    """Return the name by which the catalog database knows the current run."""
    run = get_current_context()["dag_run"]
    return f"{run.dag_id}/{run.run_id}"


def run_batched_update(query_id: str, update: Update, *, select: bool = True, **options: Any) -> Progress:
    """Select the rows, unless an earlier attempt has, update all of them, and drop the selection.

    Args:
        query_id: Names the table of selected rows.
        update: The parsed statement.
        select: False if the rows must have been selected before. Otherwise it must be possible to apply the
            statement again: rows that an abandoned run has left behind are selected again.
        options: Options of `BatchedUpdate`.

    Returns:
        Totals over all attempts.
    """
    first_time = FirstTime() if select else nullcontext(False)
    variable = ProgressVariable(query_id)
    with connect_to_catalog(autocommit=True) as connection, hint(_what_next(query_id)):
        job = batched_job(
            connection, query_id, update, progress=variable, should_stop=sigterm_flag(), **options
        )
        with stoppable(connection), first_time as first:
            progress = job.claim(replace=select, first=first)
        if progress is None and not select:
            raise AirflowFailException("no rows are selected; clear the task that selects them, as well.")
        with stoppable(connection):
            progress = progress or job.select()
        progress = job.run(progress)
        job.finish()
    variable.forget()
    return progress


def run_cleaning(rule: Rule, media: MediaType, **options: Any) -> tuple[Progress, Survey | None]:
    """Clean a table by a rule, or resume that.

    Args:
        rule: The rule.
        media: The media table.
        options: Options of `CleaningJob`.

    Returns:
        Totals over all attempts, and what the rule leaves of the selected rows; None if an earlier attempt
        has dropped the selection.
    """
    name = name_of(rule, media)
    first_time, variable = FirstTime(), ProgressVariable(name)
    with connect_to_catalog(autocommit=True) as connection, hint(_what_next(name)):
        job = CleaningJob(
            connection, run_name(), rule, media, progress=variable, should_stop=sigterm_flag(), **options
        )
        with stoppable(connection):
            with first_time as first:
                claimed = job.claim(replace=True, first=first)
            progress = claimed or job.select()
        progress = job.run(progress)
        left = None
        if not job.finished(progress):
            with stoppable(connection):
                left = survey(connection, [rule], media, selected=selection(rule, media))[rule.name]
        job.finish()
    variable.forget()
    return progress, left


def run_merge(labels: LabelRun, **options: Any) -> Outcome:
    """Merge the labels of a run, or resume that.

    Args:
        labels: The run.
        options: Options of `merge`.
    """
    variable = ProgressVariable(QUERY_ID)
    with hint(_what_next(QUERY_ID), Fatal, Retry, Interrupted):
        outcome = merge(labels, progress=variable, should_stop=sigterm_flag(), **options)
    variable.forget()
    return outcome


def _what_next(name: str) -> str:
    return f"Clear this task to resume, or drop {name}_rows_to_update to give up."
