"""Staged labels are merged into `image.tags` in batches.

The merge is a batched update of the rows whose labels differ (`catalog/database/batched_update.py`).
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import msgspec
from psycopg import sql

from catalog.core.errors import Refused
from catalog.core.session import interruptible
from catalog.core.sql_files import read_sql
from catalog.database.batch_job import BatchOptions
from catalog.database.batched_update import BatchedUpdate, Preview
from catalog.database.batched_update import preview as preview_update
from catalog.database.refusals import Judge, refuse_all
from catalog.database.statements import Update
from catalog.labels.age import refuse_older
from catalog.labels.run import QUERY_ID, LabelRun, Outcome, State
from catalog.labels.shortfall import counts_of

log = logging.getLogger(__name__)
_SQL = Path(__file__).parent / "sql"


class _Merge(BatchedUpdate):
    """The batched update of a run; see `merge`."""

    assignments_field = "the merge"
    condition_field = "the comparison of the labels"
    busy_message = "another run of add_machine_labels is at work ({}); clear this task when it has ended."
    row_advice = "Trigger a new run, which reads the file again."


def update_of(run: LabelRun) -> Update:
    """Return the update of the images whose labels differ from the staged ones."""
    parts: dict[str, sql.Composable] = {"staged": run.table, "provider": sql.Literal(run.provider)}

    def text(name: str) -> str:
        return sql.SQL(read_sql(_SQL / f"{name}.sql")).format(**parts).as_string(run.connection)

    return Update("image", ("tags",), f"updated_on = now(), tags = {text('merged')}", text("differs"))


def preview(run: LabelRun, should_stop: Callable[[], bool] = lambda: False) -> tuple[Outcome, Preview]:
    """Return what the merge would do. Nothing is changed.

    Args:
        run: The run.
        should_stop: True ends the work.

    Raises:
        Refused: The labels of the run are gone.
        Interrupted: `should_stop` returned True; the next attempt begins again.
    """
    with interruptible(run.connection, should_stop):
        run.require_labels(_staged(run))
        found, counts = preview_update(run.connection, update_of(run)), counts_of(run)
        outcome = msgspec.structs.replace(
            _outcome(run, found.rows, 0), merged=False, before=counts.before, after=counts.after
        )
    return outcome, found


def merge(run: LabelRun, *, older: Judge = refuse_all, **options: Unpack[BatchOptions]) -> Outcome:
    """Merge the labels, or resume that.

    Args:
        run: The run.
        older: Says whether it is accepted that older labels take the place of newer ones.
        options: See `StripedUpdate`.

    Returns:
        Totals over all attempts.

    Raises:
        Refused: The labels of the run are gone, a newer run has merged those of the provider, or a run has
            merged a newer file since the labels were staged; or another run is at work.
        Interrupted: `should_stop` returned True; the next attempt resumes.
        Retry: Rows stayed locked.
    """
    job = _Merge(run.connection, QUERY_ID, run.run_id, update_of(run), **options)
    progress = job.claim(replace=True)
    state = _staged(run)
    if state.result:
        log.info("This run has merged its labels; nothing is left to do.")
        return state.result
    _check_newest(run)
    should_stop = options.get("should_stop", lambda: False)
    with interruptible(run.connection, should_stop):
        run.require_labels(state)
        refuse_older(run, state, older)
        progress = progress or job.select()
    # Before the first batch: from then on, no older run may merge, even if this one is never resumed.
    run.connection.execute(
        "update label_run set merging_since = coalesce(merging_since, now()) where run_id = %s", [run.run_id]
    )
    progress = job.run(progress)
    with interruptible(run.connection, should_stop):
        run.require_labels(state)  # again: without its staged labels, an image keeps its tags
        outcome = _outcome(run, progress.updated, progress.missing)
    job.finish()
    run.end(outcome)
    return outcome


def _staged(run: LabelRun) -> State:
    state = run.known()
    if state.read_to < state.size:
        raise Refused(
            f"{state.read_to:,} of {state.size:,} bytes are staged; clear the task that stages them."
        )
    return state


def _check_newest(run: LabelRun) -> None:
    """Refuse to put older labels in the place of newer ones, as when an old run is cleared."""
    row = run.connection.execute(
        "select newer.run_id from label_run own join label_run newer using (provider)"
        " where own.run_id = %s and newer.started_on > own.started_on"
        " and (newer.merging_since is not null or newer.outcome ->> 'merged' = 'true')"
        " order by newer.started_on desc limit 1",
        [run.run_id],
    ).fetchone()
    if row:
        raise Refused(
            f"the newer run {row[0]} has merged labels of {run.provider}, or a part of them; those of "
            "this run would replace them. Trigger a new run if they are right."
        )


def _outcome(run: LabelRun, changed: int, gone: int) -> Outcome:
    unknown = run.count(
        "select count(*) from {table} where not exists (select from image where identifier = image_uuid)"
    )
    left = run.count(
        "select count(*) from image join {table} on identifier = image_uuid"
        " where jsonb_typeof(image.tags) not in ('array', 'null')"
    )
    return Outcome(changed, unknown, left, gone)
