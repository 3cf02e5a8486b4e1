"""Triggering DAGs of the local stack and watching them, several at a time."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from catalog.core.settings import HELD_SCHEDULES
from catalog.local.airflow_api import FINISHED, AirflowApi, ApiError

HELD = HELD_SCHEDULES.name


class Run(msgspec.Struct):
    """A run that was triggered: its state, its tasks by state, how long it took, the reason of its failure."""

    dag_id: str
    run_id: str
    state: str = "queued"
    tasks: dict[str, str] = {}
    seconds: float = 0

    def progress(self) -> str:
        counted = Counter(self.tasks.values())
        return (
            ", ".join(f"{number} {state}" for state, number in counted.items()) or "waiting for the scheduler"
        )


@contextmanager
def unpaused(api: AirflowApi, dag_ids: Iterable[str], say: Callable[[str], None]) -> Iterator[None]:
    """Unpause those that are paused (a paused DAG never runs a triggered run), and pause them again at the end.

    Unpausing makes Airflow start the schedule's last interval at once. That run is held (its tasks skip, see
    HELD_SCHEDULES), marked as done as soon as it is there, and deleted at the end, so that the schedule finds
    everything as it was.
    """
    known = api.dags()
    paused = [d for d in dag_ids if d in known and known[d]["is_paused"]]
    due = {d for d in paused if _is_past(known[d]["next_dagrun_run_after"])}
    if not paused:
        yield
        return
    say(f"unpausing {', '.join(paused)} for this; paused again afterwards")
    since = datetime.now(UTC)
    try:
        _hold(api, paused, True)
        for dag_id in paused:
            api.pause(dag_id, False)
        _mark_done(api, due, since)
        yield
    finally:
        _end_held(api, paused, since)
        _hold(api, paused, False)


def _is_past(moment: str | None) -> bool:
    return moment is not None and datetime.fromisoformat(moment) <= datetime.now(UTC)


def _held(api: AirflowApi, dag_ids: Iterable[str], since: datetime) -> list[dict[str, Any]]:
    """Runs that the schedules of these DAGs have started since they were unpaused; not those that were under way when they were paused."""
    newest = {
        "run_type": "scheduled",
        "updated_at_gte": since.isoformat(),
        "order_by": "-run_after",
        "limit": 100,
    }
    found = api.call("GET", "/api/v2/dags/~/dagRuns", **newest)["dag_runs"]
    return [
        r
        for r in found
        if r["dag_id"] in dag_ids and r["queued_at"] and datetime.fromisoformat(r["queued_at"]) >= since
    ]


def _address(run: Mapping[str, Any]) -> str:
    return f"/api/v2/dags/{run['dag_id']}/dagRuns/{quote(run['dag_run_id'])}"


def _mark_done(api: AirflowApi, dag_ids: set[str], since: datetime, patience: float = 20) -> None:
    """Mark the held runs as done when they appear: skipping their tasks one by one takes seconds, and a DAG has one run at a time."""
    waiting, deadline = set(dag_ids), time.monotonic() + patience
    while waiting and time.monotonic() < deadline:
        for run in _held(api, waiting, since):
            waiting.discard(run["dag_id"])
            if run["state"] not in FINISHED:
                with suppress(ApiError):  # then it skips its tasks
                    api.call("PATCH", _address(run), {"state": "success"})
        time.sleep(0.2)


def _end_held(api: AirflowApi, dag_ids: list[str], since: datetime, timeout: float = 60) -> None:
    """Pause DAGs when their held runs have ended (in seconds, if one was not marked: it skips everything), and delete those runs."""
    deadline = time.monotonic() + timeout
    while any(r["state"] not in FINISHED for r in _held(api, dag_ids, since)) and time.monotonic() < deadline:
        time.sleep(0.3)
    for dag_id in dag_ids:
        api.pause(dag_id, True)
    for run in _held(api, dag_ids, since):
        if run["state"] in FINISHED:
            api.call("DELETE", _address(run))


def _hold(api: AirflowApi, dag_ids: list[str], held: bool) -> None:
    """Enter DAGs in the Variable HELD_SCHEDULES, or take them out."""
    try:
        value = api.call("GET", f"/api/v2/variables/{HELD}")["value"]
    except ApiError:
        value = None
    found, _ = HELD_SCHEDULES.decode(value)  # a malformed one holds nothing, and is replaced
    entries = {d: r for d, r in found.items() if d not in dag_ids}
    if held:
        entries |= dict.fromkeys(dag_ids, "unpaused only for a triggered run")
    body = {
        "key": HELD,
        "value": json.dumps(entries),
        "description": "scheduled runs of these DAGs skip their tasks",
    }
    if value is None:
        api.call("POST", "/api/v2/variables", body)
    elif entries:
        api.call("PATCH", f"/api/v2/variables/{HELD}", body)
    else:
        api.call("DELETE", f"/api/v2/variables/{HELD}")


def watch(
    api: AirflowApi,
    runs: list[Run],
    show: Callable[[list[Run]], None],
    timeout: float = 24 * 3600,
    interval: float = 0.7,
) -> list[Run]:
    """Follow runs until all have finished; show: called at every look. Raises TimeoutError."""
    began = time.monotonic()
    while True:
        for run in runs:
            if run.state not in FINISHED:
                found = api.run(run.dag_id, run.run_id)
                run.state, run.seconds = found["state"], time.monotonic() - began
                run.tasks = {_name(t): t["state"] or "waiting" for t in api.tasks(run.dag_id, run.run_id)}
        show(runs)
        if all(run.state in FINISHED for run in runs):
            return runs
        if time.monotonic() - began > timeout:
            raise TimeoutError(
                f"not finished after {timeout:.0f} s: {', '.join(r.dag_id for r in runs if r.state not in FINISHED)}"
            )
        time.sleep(interval)


def _name(task: Mapping[str, Any]) -> str:
    return str(task["task_id"]) + (f"[{task['map_index']}]" if task["map_index"] >= 0 else "")
