"""DAG runs of the local stack: trigger several at a time and watch them."""

import difflib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
import requests

from catalog.core.errors import Refused
from catalog.local.airflow_api import FINISHED, AirflowApi, ApiError, may_pass
from catalog.notifications.lengths import plain

INTERVAL = 0.7  # least number of seconds between polls
MAX_OUTAGE = 120.0  # seconds for which Airflow's API may be unavailable while runs go on


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


def watch(
    api: AirflowApi, runs: list[Run], show: Callable[[list[Run]], None], timeout: float = 24 * 3600
) -> list[Run]:
    """Update runs until all have finished.

    Args:
        api: API of a running stack.
        runs: Runs to wait for; their fields are updated.
        show: Called with all runs at each poll.
        timeout: Seconds.

    Returns:
        The same runs.

    Raises:
        TimeoutError: A run has not finished in time.
        ApiError: Airflow's API has not answered for minutes, or refuses the question.
        requests.RequestException: It has not answered for minutes.
    """
    began = answered = time.monotonic()
    while True:
        asked = time.monotonic()
        try:
            _ask(api, runs, asked - began)
        except (ApiError, requests.RequestException) as error:
            # Its database may be starting again; the runs go on.
            if not may_pass(error) or asked - answered > MAX_OUTAGE:
                raise
            time.sleep(1)
            continue
        show(runs)
        waiting = [run.dag_id for run in runs if run.state not in FINISHED]
        if not waiting:
            return runs
        answered = time.monotonic()
        if answered - began > timeout:
            raise TimeoutError(f"not finished after {timeout:.0f} s: {', '.join(waiting)}")
        # Questions about many runs take the processor from their tasks.
        time.sleep(max(INTERVAL, 4 * (answered - asked)))


def _ask(api: AirflowApi, runs: list[Run], seconds: float) -> None:
    """Update the runs that have not finished."""
    unfinished = {(run.dag_id, run.run_id): run for run in runs if run.state not in FINISHED}
    states = {key: api.run(*key)["state"] for key in unfinished}
    tasks = api.tasks_of(list(unfinished)) if unfinished else []
    for key, run in unfinished.items():
        run.state, run.tasks, run.seconds = states[key], {}, seconds
    for task in tasks:
        run = unfinished[task["dag_id"], task["dag_run_id"]]
        run.tasks[name_of(task)] = task["state"] or "waiting"


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
        api: API of a running stack.
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
