"""The task that pulls from a provider's API into TSV parts."""

import logging
from datetime import timedelta
from time import monotonic
from typing import Any

from airflow.sdk import Context, get_current_context
from msgspec.structs import replace

from catalog.core.airflow_names import loads_of
from catalog.core.errors import Interrupted, Refused, Retry
from catalog.core.settings import INGESTION_LIMIT, PRIVATE_HOSTS, PROBE_HTTPS, SKIPPED_INGESTION_ERRORS
from catalog.dags.common import metrics
from catalog.dags.common.connections import connect_to_catalog
from catalog.dags.common.context import Params, task_states
from catalog.dags.common.progress import sigterm_flag
from catalog.dags.common.retries import hint, rescheduled
from catalog.dags.common.state import TaskStateCheckpoint
from catalog.dags.common.variables import limit_of, value_of
from catalog.dags.tasks.provider_run import ProviderRun
from catalog.ingestion.lease import Lease
from catalog.ingestion.options import Options
from catalog.ingestion.parts import Manifest
from catalog.ingestion.pull import Pull
from catalog.ingestion.sessions import tls_probe
from catalog.ingestion.shortfalls import IN_A_TASK

log = logging.getLogger(__name__)
RESUMES = "The next attempt resumes at the last whole page."
_WAITING = ("None", "removed", "restarting", "up_for_retry")  # states of tasks that begin after this one
PROGRESS = timedelta(seconds=10)  # between two lines in the task log


def pull(provider: str, day_shift: int) -> dict[str, Any]:
    """Pull into TSV parts, from where an earlier attempt stopped.

    A used-up quota does not cost an attempt: the task is rescheduled for the time when the quota is renewed.

    Args:
        provider: Its name.
        day_shift: Days before the first day of the run's interval, for a reingestion.

    Returns:
        Counts, for XCom.

    Raises:
        Refused: Its loads have begun, so nothing would load what it reads.
    """
    context = get_current_context()
    require_loads_to_come(context)
    run, ti = context["dag_run"], context["ti"]
    should_stop, private_hosts = sigterm_flag(), value_of(PRIVATE_HOSTS)
    with rescheduled(), hint(RESUMES, Retry, Interrupted):
        job = ProviderRun(provider, context, day_shift)
        metrics.expect_loads(job.provider.catalog_names)
        client = job.client()
        lease = Lease(
            f"{run.dag_id}/{run.run_id}/{ti.task_id}/{ti.map_index}",
            lambda: connect_to_catalog(autocommit=True),
            above=job.parts().newest_attempt(),
        )
        manifest = Pull(
            job.provider(),
            client,
            job.parts(lease.number),
            run_id=run.run_id,
            window=job.window,
            options=_options(context["params"], run.dag_id),
            checkpoint=TaskStateCheckpoint(context),
            fence=lease,
            clock=lambda: lease.renewed_on,
            should_stop=should_stop,
            progress=_LogProgress(),
            probe=tls_probe(private_hosts) if value_of(PROBE_HTTPS) else None,
            advice=replace(IN_A_TASK, accept=job.accepting()),
        ).run()
        lease.release()
    return _summary(manifest)


def require_loads_to_come(context: Context) -> None:
    """Require that the loads of this pull wait for it, as all do whose run begins, or begins again.

    They do not wait if the pull was cleared without them while its run went on (`plugins/restarts.py`).

    Args:
        context: Airflow's context of the pull.

    Raises:
        Refused: They do not wait.
    """
    if not context["dag_run"].clear_number:
        return
    ti = context["ti"]
    loads, states = loads_of(ti.task_id, context["dag"].task_ids), task_states(context)
    index = f"_{ti.map_index}" if (ti.map_index or 0) >= 0 else ""
    if begun := [load for load in loads if states.get(f"{load}{index}", "None") not in _WAITING]:
        raise Refused(
            f"{' and '.join(begun)} did not wait for this pull, so nothing would load what it reads. Clear "
            "it when the run has ended: its loads then run again after it. To read it now, clear it with its "
            "downstream tasks."
        )


def _options(params: Params, dag_id: str) -> Options:
    entries = value_of(SKIPPED_INGESTION_ERRORS).get(dag_id, [])
    return Options(
        limit=params.get("limit") or limit_of(INGESTION_LIMIT),
        initial_query_params=params.get("initial_query_params") or None,
        query_params_list=params.get("query_params_list") or None,  # the form shows "none" as an empty list
        additional_query_params=params.get("additional_query_params") or {},
        skip_errors=bool(params.get("skip_ingestion_errors")),
        skip_predicates=tuple(entry.predicate for entry in entries),
        accept_shortfall=bool(params.get("accept_shortfall")),
    )


class _LogProgress:
    """Writes pages, items, rate and the announced total to the task log every few seconds."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, manifest: Manifest, total: int | None) -> None:
        if monotonic() - self._last < PROGRESS.total_seconds():
            return
        self._last = monotonic()
        fetched = sum(c.fetched for c in manifest.counts.values())
        announced = f" of {total:,} announced for this round" if total else ""
        rate = fetched / max(manifest.seconds, 0.001)
        log.info("page %d: %d items%s, %.0f items/s", manifest.pages, fetched, announced, rate)


def _summary(manifest: Manifest) -> dict[str, Any]:
    counts = manifest.counts
    summary = {
        "token": manifest.token,
        "pages": manifest.pages,
        "seconds": manifest.seconds,
        "replayed": manifest.replayed,
        "fetched": sum(c.fetched for c in counts.values()),
        "written": {m: c.written for m, c in counts.items()},
    }
    log.info("pulled: %s", summary)
    return summary
