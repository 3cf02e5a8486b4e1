"""DAGs that are unpaused only for triggered runs; their schedules are held meanwhile."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import msgspec
import psutil

from catalog.core.settings import HELD_SCHEDULES
from catalog.local.airflow_api import FINISHED, AirflowApi, ApiError, JsonObject, api_path
from catalog.local.stack import Stack
from catalog.local.variables import stored_variables

HELD = HELD_SCHEDULES.name
REASON = "unpaused only for a triggered run"
APPEAR_SECONDS = 20  # for held runs to appear after their DAGs were unpaused
END_SECONDS = 60  # for held runs that were not marked to skip their tasks
_HIDDEN = "***"  # what Airflow's API shows in place of the value of a key with `token` in its name


class Use(msgspec.Struct):
    """Who needs a DAG unpaused.

    Attributes:
        since: When the first command unpaused it.
        processes: Id and start of processes, one for each command; a process may have several. The id alone
            may be another process's by now.
        held_before: Somebody else holds the schedule, so its entry stays. The value of an entry does not tell
            that: Airflow's API hides some.
    """

    since: datetime
    processes: list[tuple[int, float]] = []
    held_before: bool = False


@contextmanager
def unpaused(stack: Stack, dag_ids: Iterable[str], notify: Callable[[str], None]) -> Iterator[None]:
    """Unpause DAGs that are paused, and pause them again at the end.

    A triggered run of a paused DAG never starts. Unpausing makes Airflow start the schedule's last interval
    at once. That run is held (its tasks skip, see HELD_SCHEDULES), marked as success as soon as it appears,
    and deleted at the end, so the schedule is left unchanged. Of several commands that need a DAG at a time,
    the last one pauses it. Those that were killed do not count.

    Args:
        stack: A running stack.
        dag_ids: DAGs to unpause; those that people have unpaused are left alone.
        notify: Called with a message that names the paused DAGs.
    """
    api = AirflowApi(stack.ui)
    with _uses(stack) as uses:
        known, entries = api.dags(), _entries(api)
        paused = [d for d in dag_ids if d in known and known[d]["is_paused"]]
        shared = [d for d in dag_ids if d not in paused and d in uses and d in entries]
        since = datetime.now(UTC)
        if paused:
            notify(f"unpausing {', '.join(paused)} for this, and pausing again afterwards")
            _write(stack, api, dict.fromkeys(paused, REASON) | entries, uses)
        for dag_id in paused:
            own = dag_id in uses and not uses[dag_id].held_before  # of a command that was killed
            uses[dag_id] = Use(since, held_before=dag_id in entries and not own)
            api.pause(dag_id, False)
        for dag_id in (*paused, *shared):
            uses[dag_id].processes.append(_this_process())
    try:
        _mark_success(api, {d for d in paused if _is_past(known[d]["next_dagrun_run_after"])}, since)
        yield
    finally:
        with _uses(stack) as uses:
            # A reset of the stack meanwhile has deleted all uses.
            ended = [d for d in (*paused, *shared) if d in uses and not _is_used_by_others(uses[d])]
            if ended:
                _end_held(api, ended, min(uses[d].since for d in ended))
                released = {d for d in ended if not uses[d].held_before}
                _write(stack, api, {d: why for d, why in _entries(api).items() if d not in released}, uses)
            for dag_id in ended:
                del uses[dag_id]


@contextmanager
def _uses(stack: Stack) -> Iterator[dict[str, Use]]:
    """Yield the DAGs that commands have unpaused, which the block may change while other commands wait."""
    with (stack.folder / "unpaused.json").open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        try:
            uses = msgspec.json.decode(file.read(), type=dict[str, Use])
        except msgspec.DecodeError:  # empty, or half written by a command that was killed
            uses = {}
        try:
            yield uses
        finally:
            file.truncate(0)
            file.write(msgspec.json.encode(uses))


def _this_process() -> tuple[int, float]:
    return os.getpid(), psutil.Process().create_time()


def _is_used_by_others(use: Use) -> bool:
    """Remove one use of this process, and return whether processes that are alive have others."""
    own = next((process for process in use.processes if process[0] == os.getpid()), None)
    if own:
        use.processes.remove(own)
    return any(_is_alive(*process) for process in use.processes)


def _is_alive(pid: int, started: float) -> bool:
    try:
        # The clock that both times come from may have been corrected meanwhile.
        return abs(psutil.Process(pid).create_time() - started) < 2
    except psutil.NoSuchProcess:
        return False


def _is_past(moment: str | None) -> bool:
    return moment is not None and datetime.fromisoformat(moment) <= datetime.now(UTC)


def _entries(api: AirflowApi) -> dict[str, object]:
    """Return the entries of the Variable HELD_SCHEDULES; a malformed one holds nothing, and is replaced.

    Airflow's API may hide their values.
    """
    return dict(HELD_SCHEDULES.decode(_value(api))[0])


def _value(api: AirflowApi) -> str | None:
    try:
        return str(api.call("GET", f"/api/v2/variables/{HELD}")["value"])
    except ApiError as error:
        if error.status != 404:  # the entries of people must not be replaced by an answer such as 503
            raise
        return None


def _write(stack: Stack, api: AirflowApi, entries: dict[str, object], uses: Mapping[str, Use]) -> None:
    """Set the Variable HELD_SCHEDULES; delete it if it has no entries. Entries with hidden values stay."""
    hidden = {dag_id for dag_id, reason in entries.items() if _HIDDEN in json.dumps(reason)}
    ours = {dag_id for dag_id in hidden if dag_id in uses and not uses[dag_id].held_before}
    entries |= dict.fromkeys(ours, REASON)
    if hidden - ours:  # Airflow's command line takes seconds to start
        stored = HELD_SCHEDULES.decode(stored_variables(stack).get(HELD))[0]
        entries |= {dag_id: stored.get(dag_id, entries[dag_id]) for dag_id in hidden - ours}
    body = {
        "key": HELD,
        "value": json.dumps(entries),
        "description": "scheduled runs of these DAGs skip their tasks",
    }
    exists = _value(api) is not None
    if entries:
        method, path = ("PATCH", f"/api/v2/variables/{HELD}") if exists else ("POST", "/api/v2/variables")
        api.call(method, path, body)
    elif exists:
        api.call("DELETE", f"/api/v2/variables/{HELD}")


def _held(api: AirflowApi, dag_ids: Iterable[str], since: datetime) -> list[JsonObject]:
    """Return the scheduled runs of these DAGs that were queued since they were unpaused."""
    runs = api.all(
        "/api/v2/dags/~/dagRuns", "dag_runs", run_type="scheduled", updated_at_gte=since.isoformat()
    )
    # A run that was already active when its DAG was paused is not held.
    return [
        r
        for r in runs
        if r["dag_id"] in dag_ids and r["queued_at"] and datetime.fromisoformat(r["queued_at"]) >= since
    ]


def _path(run: JsonObject) -> str:
    return api_path(run["dag_id"], run["dag_run_id"])


def _mark_success(api: AirflowApi, dag_ids: set[str], since: datetime) -> None:
    """Mark the held runs as success when they appear.

    Otherwise the triggered run would wait for them: skipping their tasks one by one takes seconds, and a DAG
    has one active run at a time.
    """
    waiting, deadline = set(dag_ids), time.monotonic() + APPEAR_SECONDS
    while waiting and time.monotonic() < deadline:
        for run in _held(api, waiting, since):
            waiting.discard(run["dag_id"])
            if run["state"] not in FINISHED:
                with suppress(ApiError):  # then it skips its tasks
                    api.call("PATCH", _path(run), {"state": "success"})
        time.sleep(0.2)


def _end_held(api: AirflowApi, dag_ids: list[str], since: datetime) -> None:
    """Wait for held runs that were not marked (they skip all tasks), pause the DAGs and delete the runs."""
    deadline = time.monotonic() + END_SECONDS
    while any(r["state"] not in FINISHED for r in _held(api, dag_ids, since)) and time.monotonic() < deadline:
        time.sleep(0.3)
    for dag_id in dag_ids:
        api.pause(dag_id, True)
    for run in _held(api, dag_ids, since):
        if run["state"] in FINISHED:
            api.call("DELETE", _path(run))
