"""Combinations of a failure of a task and a later clear of its run, and the end that each run must have."""

from collections.abc import Callable, Iterator, Sequence

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
    """Yield task, failure, what is cleared, and what runs in between.

    Each task is combined with each failure; over all tasks, each pair of values occurs.
    """
    for i, task in enumerate(tasks):
        for j, failure in enumerate(FAILURES):
            yield task, failure, CLEARED[(i + j) % len(CLEARED)], others[(i + j) % len(others)]


def ends_well(
    bench: Bench, dag_id: str, run_id: str, task: str, what: str, first: str, start: Callable[[], str]
) -> None:
    """Clear a failed run, and check that it succeeds, at once or by the way out that its refusal names.

    Args:
        bench: The stack.
        dag_id: DAG of the run.
        run_id: Run that has failed.
        task: Task that has failed.
        what: One of CLEARED.
        first: First task of the DAG.
        start: Runs the DAG again, as a refusal may advise, and returns the final state.
    """
    bench.api.clear(
        dag_id, run_id, [first if what == "the whole run" else task], downstream=what != "the task"
    )
    if bench.api.wait(dag_id, run_id, 400) == "success":
        return
    refused = refusals(bench, dag_id, run_id)
    rest_not_cleared = what == "the task" and not refused
    assert rest_not_cleared or _names_a_way_out(refused), refused
    if rest_not_cleared:  # downstream tasks were not cleared
        tasks = bench.api.tasks(dag_id, run_id)
        waiting = [t["task_id"] for t in tasks if t["state"] in ("failed", "upstream_failed")]
        bench.api.clear(dag_id, run_id, waiting)
        if bench.api.wait(dag_id, run_id, 400) == "success":
            return
        refused = refusals(bench, dag_id, run_id)
        assert _names_a_way_out(refused), refused
    assert start() == "success"


def _names_a_way_out(refused: list[tuple[str, str]]) -> bool:
    return any(way in log.lower() for _, log in refused for way in WAYS_OUT)


def refusals(bench: Bench, dag_id: str, run_id: str) -> list[tuple[str, str]]:
    """Return the failed tasks with the ends of their logs, except those that only report other failures."""
    found: list[tuple[str, str]] = []
    for task in bench.api.tasks(dag_id, run_id):
        if task["state"] == "failed" and task["task_id"] != "watcher":
            log = bench.api.log(dag_id, run_id, task["task_id"], task["try_number"], task["map_index"])
            if FOR_OTHERS not in log:
                found.append((task["task_id"], log[-3000:]))
    return found
