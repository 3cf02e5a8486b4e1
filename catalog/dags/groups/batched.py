"""A batched update inside a task of a DAG that knows its statement; the DAG `batched_update` is for those that people write."""

import logging
import signal
import threading
import time
from typing import Any

from airflow.sdk import Param, Variable, get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from catalog.dags.operators.settings import catalog_connection
from catalog.ingestion.errors import Fatal, IngestionError

log = logging.getLogger(__name__)
MIRROR = 5.0  # seconds between two writes of the Variable


def batch_size_param() -> Param:
    return Param(10_000, type="integer", minimum=1, maximum=1_000_000, title="Batch size", description_md="Rows in a batch.")


class Mirror:
    """How far an update is: in its Variable and in the log, every few seconds."""

    def __init__(self, query_id: str) -> None:
        self.variable, self._last, self._began, self._first = f"batched_update_start_{query_id}", time.monotonic(), time.monotonic(), -1

    def __call__(self, progress: Any) -> None:
        if self._first < 0:
            self._first = progress.updated
        now = time.monotonic()
        if now - self._last < MIRROR:
            return
        self._last = now
        Variable.set(self.variable, str(progress.next_row), description="where a batched update stands; written by it")
        rate = (progress.updated - self._first) / max(now - self._began, 0.001)
        left = progress.total - progress.updated - progress.gone
        done, total = f"{progress.updated:,}", f"{progress.total:,}"
        log.info("%s of %s rows, %.0f rows/s, about %.0f min to go", done, total, rate, left / max(rate, 1) / 60)


def run_batched_update(query_id: str, update: Any, *, select: bool = True, **options: Any) -> Any:
    """Selects (unless an earlier try has) and changes all rows, and cleans up; what came of it, of all tries together.

    select: False when the rows must have been selected before. options: of BatchedUpdate. Fails the task with what to do next.
    """
    from catalog.database.batched_update import BatchedUpdate
    from catalog.database.statements import Refused

    context: Any = get_current_context()
    run, stop, mirror = context["dag_run"], threading.Event(), Mirror(query_id)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with catalog_connection(autocommit=True) as connection:
        job = BatchedUpdate(connection, query_id, f"{run.dag_id}/{run.run_id}", update, progress=mirror, should_stop=stop.is_set, **options)
        try:
            progress = job.claim(resume=False)
            if progress is None and not select:
                raise AirflowFailException("the selected rows are gone; clear the task that selects them.")
            progress = job.run(progress or job.select())
        except Refused as error:
            raise AirflowFailException(f"refused: {error}") from None
        except Fatal as error:
            raise AirflowFailException(f"{error} Clear this task to go on, or drop {query_id}_rows_to_update to give up.") from None
        except IngestionError as error:
            raise AirflowException(str(error)) from None
        job.finish()
    if Variable.get(mirror.variable, default=None) is not None:
        Variable.delete(mirror.variable)
    return progress
