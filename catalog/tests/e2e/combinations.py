"""A task of a run fails or is killed, things go on, then something of the run is cleared: the combinations, and the end each must have."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from catalog.tests.e2e.conftest import Bench

FAILURES = [("before", "fail"), ("after", "fail"), ("before", "kill"), ("after", "kill")]
CLEARED = ["the task", "the task and all after it", "the whole run"]
FOR_OTHERS = "Upstream task(s) failed"
WAYS_OUT = (
    "trigger a new run",
    "clear this one from its first task on",
    "clear the run from its first task on",
)


def pairs(
    tasks: Sequence[str], others: Sequence[str | None]
) -> Iterator[tuple[str, tuple[str, str], str, str | None]]:
    """(task, failure, what is cleared, what runs between): each task with each failure, and over all tasks each pair of values."""
    for i, task in enumerate(tasks):
        for j, failure in enumerate(FAILURES):
            yield task, failure, CLEARED[(i + j) % len(CLEARED)], others[(i + j) % len(others)]


def ends_well(
    bench: Bench, dag_id: str, run_id: str, task: str, what: str, first: str, start: Callable[[], str]
) -> None:
    """Clear it: the run ends green, at once or by the way out that its refusal names.

    Args:
        bench: The stack.
        dag_id: Of the run.
        run_id: A run that has failed.
        task: The one that has failed.
        what: Of CLEARED.
        first: The DAG's first task.
        start: Starts a new run, as a refusal may advise; its state at its end.
    """
    bench.api.clear(
        dag_id, run_id, [first if what == "the whole run" else task], downstream=what != "the task"
    )
    if bench.api.wait(dag_id, run_id, 400) == "success":
        return
    refused = refusals(bench, dag_id, run_id)
    rest_not_cleared = what == "the task" and not refused
    assert rest_not_cleared or _names_a_way_out(refused), refused
    if rest_not_cleared:  # what follows was not cleared with it
        tasks = bench.api.tasks(dag_id, run_id)
        waiting = [t["task_id"] for t in tasks if t["state"] in ("failed", "upstream_failed")]
        bench.api.clear(dag_id, run_id, waiting)
        if bench.api.wait(dag_id, run_id, 400) == "success":
            return
        refused = refusals(bench, dag_id, run_id)
        assert _names_a_way_out(refused), refused
    assert start() == "success"


def _names_a_way_out(refused: list[tuple[str, str]]) -> bool:
    return any(way in text.lower() for _, text in refused for way in WAYS_OUT)


def refusals(bench: Bench, dag_id: str, run_id: str) -> list[tuple[str, str]]:
    """Name and end of the log of each task that failed, without those that only report that others have failed."""
    found: list[tuple[str, str]] = []
    for task in bench.api.tasks(dag_id, run_id):
        if task["state"] == "failed" and task["task_id"] != "watcher":
            text: Any = bench.api.log(dag_id, run_id, task["task_id"], task["try_number"], task["map_index"])
            if FOR_OTHERS not in text:
                found.append((task["task_id"], text[-3000:]))
    return found
