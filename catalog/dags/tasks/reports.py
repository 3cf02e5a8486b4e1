"""Tasks that report what a provider's run loaded."""

import logging
import re
from collections import Counter
from typing import Any

from airflow.sdk import DAG, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from catalog.core.airflow_names import LOADED, loads_of
from catalog.dags.common import metrics
from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.context import GIVEN, DagRun, Params, TaskInstance, task_states
from catalog.dags.operators.slack import send
from catalog.dags.tasks.provider_run import window_for
from catalog.ingestion.assemble import replay_of
from catalog.ingestion.registry import provider_class
from catalog.ingestion.shortfalls import flags
from catalog.loading.history import reports_of
from catalog.notifications.alerts import reingestion_errors
from catalog.notifications.load_report import COUNTS, load_completion

log = logging.getLogger(__name__)


@task(trigger_rule="all_done")
def report_load_completion(
    reingestion: bool = False,
    dated: bool = False,
    accepted_by: str | None = None,
    params: Params = GIVEN,
    dag: DAG = GIVEN,
    dag_run: DagRun = GIVEN,
    ti: TaskInstance = GIVEN,
) -> str:
    """Report the run in one message, and in the XCom `summary`; skipped if nothing was loaded.

    It also sends the freshness of all providers, because it ends each run of each of them. It fails if a pull
    or a load was marked as success, because the run would be successful although records are missing.

    Args:
        reingestion: True for a run that pulls many days.
        dated: True for one that pulls a day.
        accepted_by: The DAG that accepts a shortfall; None for that of the run.
        params: The conf.
        dag: The DAG of the run.
        dag_run: The run.
        ti: The task.
    """
    marked = marked_by_hand(ti)
    with catalog_connection(autocommit=True) as connection:
        metrics.send_freshness(connection)
        reports = loaded_now(dag, ti, reports_of(connection, dag_run.dag_id, dag_run.run_id))
    if not reports:
        _refuse(marked)
        raise AirflowSkipException("nothing was loaded.")
    windows = [(r["window_start"], r["window_end"]) for r in reports if r["window_start"]]
    message = load_completion(
        dag_run.dag_id,
        ti.task_id,
        reports,
        window=windows[0] if dated and windows else None,
        reingestion=reingestion,
        accepted_by=accepted_by,
        replay=params.get("replay"),
    )
    send(message)
    summary = ", ".join(f"{name} {sum(r[name] for r in reports):,}" for name in COUNTS)
    limits = "".join(f" {word}" for word in dict.fromkeys(map(flags, reports)) if word)
    ti.xcom_push(key="summary", value=summary + limits)
    log.info("summary: %s%s", summary, limits)
    _refuse(marked)
    return message.text


def loaded_now(dag: DAG, ti: TaskInstance, reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what an earlier run with this id has loaded, or this one before it was cleared.

    Args:
        dag: The DAG; all reports of one without pulls count.
        ti: The task that asks.
        reports: The reports of the run's id.
    """
    loads = {load for name in dag.task_ids for load in loads_of(name, dag.task_ids)}
    if not loads:
        return reports
    tokens = {token for load in loads for token in ti.xcom_pull(task_ids=[load], key=LOADED) if token}
    return [report for report in reports if report["manifest_token"] in tokens]


def marked_by_hand(ti: TaskInstance) -> list[str]:
    """Return the pulls and loads of the run that are successful, but have never reached their end.

    Each returns something at its end, so one without a value was marked as success by hand.

    Args:
        ti: The task that asks.
    """
    successful: Counter[str] = Counter()
    for name, state in task_states().items():
        match = re.fullmatch(r"(?P<task>(?:.+\.)?(?:pull|load)_\w+_data)(?:_\d+)?", name)
        if match and state == "success":
            successful[match["task"]] += 1
    ended = {name: [v for v in ti.xcom_pull(task_ids=[name]) if v is not None] for name in successful}
    return [name for name, number in successful.items() if number > len(ended[name])]


def _refuse(marked: list[str]) -> None:
    if marked:
        raise AirflowFailException(
            f"marked as success by hand before its end: {', '.join(marked)}. What was read until then may be "
            "loaded; the rest is missing. Clear it with its downstream tasks; a pull resumes."
        )


@task(trigger_rule="all_done")
def report_aggregate_reingestion_errors(
    provider: str, lists: dict[str, list[int]], params: Params = GIVEN, dag_run: DagRun = GIVEN
) -> str:
    """Alert once, naming every day whose pull or load failed, newest first; skipped if none failed.

    Args:
        provider: Its name.
        lists: Id of each task group, with the days to go back of its mapped instances.
        params: The conf.
        dag_run: The run.
    """
    ti = get_current_context()["ti"]
    failed: dict[int, str | None] = {}
    for name, state in task_states().items():
        match = re.fullmatch(r"(?P<task>(?P<group>.+)\.(?:pull|load)_.+_data)_(?P<index>\d+)", name)
        if match and state == "failed":
            index = int(match["index"])
            failed[lists[match["group"]][index]] = log_link(ti.log_url, match["task"], index)
    if not failed:
        raise AirflowSkipException("no day failed.")
    cls, replay = provider_class(provider), replay_of(provider, params.get("replay"))
    recorded_on = replay.date if replay else None
    days: list[tuple[str, str | None]] = [
        (f"{window_for(cls, dag_run, params.get('date'), shift, recorded_on)}", failed[shift])
        for shift in sorted(failed)
    ]
    message = reingestion_errors(dag_run.dag_id, ti.task_id, days)
    send(message)
    return message.text


def log_link(own: str | None, task_id: str, map_index: int) -> str | None:
    """Return the address of another task's log in the same run.

    Args:
        own: Address of this task's log.
        task_id: The other task.
        map_index: Its map index.
    """
    run, found, _ = (own or "").rpartition("/tasks/")
    return f"{run}/tasks/{task_id}/mapped/{map_index}" if found else None
