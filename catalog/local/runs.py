"""DAG runs of the local stack: trigger several at a time and watch them."""

import difflib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from catalog.core.errors import Refused
from catalog.core.settings import HELD_SCHEDULES
from catalog.local.airflow_api import FINISHED, AirflowApi, ApiError, JsonObject
from catalog.notifications.lengths import plain

HELD = HELD_SCHEDULES.name


class Run(msgspec.Struct):
    """A triggered run."""

    dag_id: str
    run_id: str
    state: str = "queued"
    tasks: dict[str, str] = {}  # state by task, `task_id[map index]` for mapped ones
    seconds: float = 0

    def progress(self) -> str:
        counts = Counter(self.tasks.values())
        return (
            ", ".join(f"{number} {state}" for state, number in counts.items()) or "waiting for the scheduler"
        )


@contextmanager
def unpaused(api: AirflowApi, dag_ids: Iterable[str], notify: Callable[[str], None]) -> Iterator[None]:
    """Unpause DAGs that are paused, and pause them again at the end.

    A triggered run of a paused DAG never starts. Unpausing makes Airflow start the schedule's last interval
    at once. That run is held (its tasks skip, see HELD_SCHEDULES), marked as success as soon as it appears,
    and deleted at the end, so the schedule is left unchanged.

    Args:
        api: Of a running stack.
        dag_ids: DAGs to unpause; those that are not paused are left alone.
        notify: Called with a message that names the paused DAGs.
    """
    known = api.dags()
    paused = [d for d in dag_ids if d in known and known[d]["is_paused"]]
    due = {d for d in paused if _is_past(known[d]["next_dagrun_run_after"])}
    if not paused:
        yield
        return
    notify(f"unpausing {', '.join(paused)} for this, and pausing again afterwards")
    since = datetime.now(UTC)
    try:
        _hold(api, paused, True)
        for dag_id in paused:
            api.pause(dag_id, False)
        _mark_success(api, due, since)
        yield
    finally:
        _end_held(api, paused, since)
        _hold(api, paused, False)


def _is_past(moment: str | None) -> bool:
    return moment is not None and datetime.fromisoformat(moment) <= datetime.now(UTC)


def _held(api: AirflowApi, dag_ids: Iterable[str], since: datetime) -> list[JsonObject]:
    """Return the scheduled runs of these DAGs that were queued since they were unpaused."""
    runs = api.call(
        "GET",
        "/api/v2/dags/~/dagRuns",
        run_type="scheduled",
        updated_at_gte=since.isoformat(),
        order_by="-run_after",
        limit=100,
    )["dag_runs"]
    # A run that was already active when its DAG was paused is not held.
    return [
        r
        for r in runs
        if r["dag_id"] in dag_ids and r["queued_at"] and datetime.fromisoformat(r["queued_at"]) >= since
    ]


def _path(run: JsonObject) -> str:
    return f"/api/v2/dags/{run['dag_id']}/dagRuns/{quote(run['dag_run_id'])}"


def _mark_success(api: AirflowApi, dag_ids: set[str], since: datetime, timeout: float = 20) -> None:
    """Mark the held runs as success when they appear.

    Otherwise the triggered run would wait for them: skipping their tasks one by one takes seconds, and a DAG
    has one active run at a time.
    """
    waiting, deadline = set(dag_ids), time.monotonic() + timeout
    while waiting and time.monotonic() < deadline:
        for run in _held(api, waiting, since):
            waiting.discard(run["dag_id"])
            if run["state"] not in FINISHED:
                with suppress(ApiError):  # then it skips its tasks
                    api.call("PATCH", _path(run), {"state": "success"})
        time.sleep(0.2)


def _end_held(api: AirflowApi, dag_ids: list[str], since: datetime, timeout: float = 60) -> None:
    """Wait for held runs that were not marked (they skip all tasks), pause the DAGs and delete the runs."""
    deadline = time.monotonic() + timeout
    while any(r["state"] not in FINISHED for r in _held(api, dag_ids, since)) and time.monotonic() < deadline:
        time.sleep(0.3)
    for dag_id in dag_ids:
        api.pause(dag_id, True)
    for run in _held(api, dag_ids, since):
        if run["state"] in FINISHED:
            api.call("DELETE", _path(run))


def _hold(api: AirflowApi, dag_ids: list[str], held: bool) -> None:
    """Add DAGs to the Variable HELD_SCHEDULES, or remove them."""
    try:
        value = api.call("GET", f"/api/v2/variables/{HELD}")["value"]
    except ApiError:
        value = None
    found, _ = HELD_SCHEDULES.decode(value)  # a malformed value holds nothing, and is replaced
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
    """Update runs until all have finished.

    Args:
        api: Of a running stack.
        runs: Runs to wait for; their fields are updated.
        show: Called with all runs at each poll.
        timeout: Seconds.
        interval: Least number of seconds between polls.

    Returns:
        The same runs.

    Raises:
        TimeoutError: A run has not finished in time.
    """
    began = time.monotonic()
    while True:
        asked = time.monotonic()
        unfinished = {(run.dag_id, run.run_id): run for run in runs if run.state not in FINISHED}
        for run in unfinished.values():
            run.state, run.tasks = api.run(run.dag_id, run.run_id)["state"], {}
            run.seconds = time.monotonic() - began
        for task in api.tasks_of(list(unfinished)) if unfinished else ():
            run = unfinished[task["dag_id"], task["dag_run_id"]]
            run.tasks[name_of(task)] = task["state"] or "waiting"
        show(runs)
        waiting = [run.dag_id for run in runs if run.state not in FINISHED]
        if not waiting:
            return runs
        answered = time.monotonic()
        if answered - began > timeout:
            raise TimeoutError(f"not finished after {timeout:.0f} s: {', '.join(waiting)}")
        # Questions about many runs take the processor from their tasks.
        time.sleep(max(interval, 4 * (answered - asked)))


def check_conf(dag_id: str, conf: object, known: Iterable[str]) -> None:
    """Refuse a conf with a key that the DAG does not know; otherwise, the first task would refuse it.

    Args:
        dag_id: The DAG.
        conf: The decoded conf.
        known: The fields of the DAG's trigger form.

    Raises:
        Refused: The conf is no JSON object, has an unknown key, or a number that JSON does not have.
    """
    if not isinstance(conf, dict):
        raise Refused("the conf should be a JSON object, such as {}.")
    try:
        json.dumps(conf, allow_nan=False)
    except ValueError:
        raise Refused("conf: a number is NaN or infinite, or too large.") from None
    known = sorted(known)
    for key in conf:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            keys = f"knows {', '.join(known)}" if known else "takes none"
            raise Refused(f"conf: unknown key {key!r}; {meant}{dag_id} {keys}.")


def outcome(api: AirflowApi, run: Run, *, results: bool = True) -> Iterator[tuple[str, str]]:
    """Yield, per task of a finished run, its last error if it failed, or what it returned.

    Args:
        api: Of a running stack.
        run: The run.
        results: Whether to yield what tasks returned; errors are yielded anyway.
    """
    for task in api.tasks(run.dag_id, run.run_id):
        if task["state"] == "failed":
            yield name_of(task), api.last_error(task)
        elif results and task["state"] == "success" and (text := readable(api.result(task))):
            yield name_of(task), text


def readable(result: object) -> str:
    """Return what a task returned as people read it: without Slack's markup, and without JSON.

    Args:
        result: A decoded XCom.

    Returns:
        A text; "" if it says nothing.
    """
    match result:
        case None:
            return ""
        case str():
            return plain(result)
        case bool():
            return "yes" if result else "no"
        case int() | float():
            return f"{result:,}"
        case dict():
            return ", ".join(f"{key} {text}" for key, value in result.items() if (text := readable(value)))
        case list() if all(isinstance(one, str | int | float) for one in result):
            return ", ".join(map(readable, result))
        case list():
            return f"{len(result):,} items"
        case _:
            return str(result)


def name_of(task: Mapping[str, object]) -> str:
    """Return the id of a task instance, with the index of a mapped one."""
    index = int(str(task["map_index"]))
    return str(task["task_id"]) + (f"[{index}]" if index >= 0 else "")
