"""DAG runs of the soak: triggered, watched, cleared when they fail, replaced when their message says so."""

import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Literal

import msgspec

from catalog.core.airflow_names import WATCHER
from catalog.core.media import MediaType
from catalog.local.airflow_api import FINISHED, ApiError, JsonObject, api_path
from catalog.local.runs import name_of
from catalog.soak.advice import NEW_RUN, REFUSED, accepting_key, words_after_clear
from catalog.soak.journal import Journal
from catalog.soak.made_up import Source
from catalog.soak.world import World, is_passing

Conf = dict[str, object]
State = Literal["open", "settled", "refused", "replaced", "stuck"]
Cleared = Literal["failed", "named", "task", "run"]

GUARD_TASKS = ("check_deletion", "prevent_conflicting_dags")  # when they refuse, the run has changed nothing
CLEAR_AFTER = 4.0  # seconds after which a failed run is cleared
MAX_CLEARS = 4  # of failed tasks, without faults beside them, before the whole run is cleared
FAILED = ("failed", "upstream_failed")


class PullSubject(msgspec.Struct):
    """What a pull works on, and how far it has come.

    Attributes:
        source: Provider.
        generation: Generation that it reads.
        delivered: Pages that the API had delivered before.
        passes: Times that the whole source must be read.
        pulled: Generation that its last success has read.
        tries: Attempts of its task that have been judged.
    """

    source: Source
    generation: int
    delivered: int
    passes: int = 1
    pulled: int = 0
    tries: int = 0


class UpdateSubject(msgspec.Struct, frozen=True):
    """What an update works on: the records of its `query_id`."""

    query_id: str


class DeletionSubject(msgspec.Struct):
    """What a deletion works on.

    Attributes:
        source: Provider of the records.
        group: Their group.
        settled: Whether it has succeeded; clearing it again deletes nothing.
    """

    source: Source
    group: str
    settled: bool = False


class MediaSubject(msgspec.Struct, frozen=True):
    """What a refresh of data, popularity or a filtered index works on: a media type."""

    media_type: MediaType


Subject = PullSubject | UpdateSubject | DeletionSubject | MediaSubject


class Job(msgspec.Struct, eq=False):
    """A DAG run.

    Attributes:
        name: Run id.
        kind: Action that triggered it.
        dag_id: DAG.
        conf: Conf.
        subject: What it works on.
        began: Moment at which it was triggered.
        opened: Moment at which it was last triggered or cleared.
        state: `open`; `settled` (success); `refused` (nothing was changed); `replaced` (by another run, as
            its message advised); `stuck`.
        failed: Moment at which it was first seen failed; 0 if it has not failed.
        calm_clears: Number of times that failed tasks were cleared since the faults ended.
        clears: Number of times that failed tasks were cleared.
        run_clears: Number of times that the whole run was cleared.
        successes: Number of times that it has succeeded.
        redone: Number of times that each task was cleared after a success.
        message: Reason of the last failure.
        heeded: Messages whose tasks were cleared.
    """

    name: str
    kind: str
    dag_id: str
    conf: Conf
    subject: Subject
    began: float
    opened: float
    state: State = "open"
    failed: float = 0.0
    clears: int = 0
    calm_clears: int = 0
    run_clears: int = 0
    successes: int = 0
    redone: Counter[str] = msgspec.field(default_factory=Counter)
    message: str = ""
    heeded: set[str] = msgspec.field(default_factory=set)

    @property
    def path(self) -> str:
        return api_path(self.dag_id, self.name)


class Jobs:
    """All runs of a soak."""

    def __init__(
        self,
        world: World,
        journal: Journal,
        settled: Callable[[Job], None],
        ended: Callable[[Job, State], None],
        calm: Callable[[], bool],
    ) -> None:
        """Start without runs.

        Args:
            world: Stack to trigger runs in.
            journal: Receives all events.
            settled: Called with a run that has succeeded.
            ended: Called with a run that was given up, and its state: refused, replaced or stuck.
            calm: Returns True when the faults have ended.
        """
        self._world, self._journal = world, journal
        self._settled, self._ended, self._calm = settled, ended, calm
        self.all: list[Job] = []
        self.again: list[Job] = []  # refused or replaced; to be triggered again

    def open(self, kind: str | None = None) -> list[Job]:
        return [job for job in self.all if job.state == "open" and kind in (None, job.kind)]

    def trigger(self, kind: str, dag_id: str, conf: Conf, subject: Subject) -> Job:
        """Trigger a run. If Airflow is unavailable, the call is repeated later; it creates one run only."""
        now = time.monotonic()
        job = Job(f"soak-{len(self.all) + 1}-{kind}", kind, dag_id, conf, subject, now, now)
        self.all.append(job)
        self._journal.note("trigger", f"{job.name}: {dag_id} {conf}")
        self._post(job)
        return job

    def _post(self, job: Job) -> None:
        body = {"dag_run_id": job.name, "logical_date": None, "conf": job.conf}
        try:
            self._world.call("POST", f"/api/v2/dags/{job.dag_id}/dagRuns", body)
        except ApiError as error:
            if not str(error).startswith("409"):  # an earlier call had succeeded, only its response was lost
                raise
        except Exception as error:
            if not is_passing(error):
                raise
            self._journal.note("unavailable", f"{job.name} is triggered later: {type(error).__name__}")

    # polling

    def poll(self) -> None:
        """Read the state of every open run, and act on it."""
        for job in self.open():
            try:
                state = self._world.call("GET", job.path)["state"]
            except ApiError as error:
                if not str(error).startswith("404"):
                    raise
                self._post(job)
                continue
            if state == "success":
                self._succeed(job)
            elif state == "failed":
                self._fail(job)
            else:
                job.failed = 0.0

    def _succeed(self, job: Job) -> None:
        failed = [t for t in self.tasks(job) if t["state"] in FAILED]
        if failed:
            names = ", ".join(name_of(t) for t in failed)
            self._journal.record_violation(
                "states", f"{job.name} has succeeded although tasks failed: {names}"
            )
        job.successes += 1
        job.state = "settled"
        seconds = time.monotonic() - job.opened
        self._journal.note(
            "settled", f"{job.name} after {seconds:.0f} s, {job.clears} clears of failed tasks"
        )
        self._settled(job)

    def _fail(self, job: Job) -> None:
        now = time.monotonic()
        if not job.failed:
            job.failed = now
            self._record_failure(job)
            return
        if now - job.failed < CLEAR_AFTER:
            return
        if (key := accepting_key(job.message)) and not job.conf.get(key):
            job.conf = {**job.conf, key: True}
            self._end(job, "replaced")
        elif named := self._named_tasks(job):
            self.clear(job, "named", among=named)
        elif NEW_RUN.search(job.message):
            self._end(job, "replaced")
        elif job.calm_clears < MAX_CLEARS:
            self.clear(job, "failed")
        elif job.run_clears < 2:
            self.clear(job, "run")
        else:
            self._end(job, "stuck")

    def _record_failure(self, job: Job) -> None:
        failed = _failed_tasks(self.tasks(job))
        job.message = "; ".join(f"{name_of(t)}: {self.reason(job, t)}" for t in failed[:3])
        self._journal.note("failed", f"{job.name}: {job.message}")
        if any(t["task_id"] in GUARD_TASKS for t in failed) and REFUSED.search(job.message):
            self._end(job, "refused")

    def _end(self, job: Job, state: State) -> None:
        job.state = state
        self._journal.note(state, f"{job.name}: {job.message}")
        if state == "stuck":
            message = (
                f"{job.name} ({job.dag_id} {job.conf}) does not succeed whatever is cleared: {job.message}"
            )
            self._journal.record_violation("states", message)
        else:
            self.again.append(job)
        self._ended(job, state)

    # clearing

    def _named_tasks(self, job: Job) -> set[str]:
        """Return the tasks that the message says to clear, unless they were cleared for it before."""
        if job.message in job.heeded:
            return set()
        job.heeded.add(job.message)
        return words_after_clear(job.message) & {task["task_id"] for task in self.tasks(job)}

    def clear(self, job: Job, what: Cleared, pick: float = 0.0, among: Collection[str] = ()) -> None:
        """Clear tasks of a run, and all tasks downstream of them.

        Args:
            job: The run.
            what: Tasks to clear: the `failed` ones, the `named` ones, one `task`, or the whole `run`.
            pick: Number from 0 to 1 that chooses the one task.
            among: Ids of the named tasks.
        """
        chosen = self._tasks_to_clear(job, what, pick, among)
        job.redone.update(t["task_id"] for t in chosen if t["state"] == "success")
        ids = [[t["task_id"], t["map_index"]] if t["map_index"] >= 0 else t["task_id"] for t in chosen]
        shown = "all" if what == "run" else ", ".join(name_of(t) for t in chosen)
        self._journal.note("clear", f"{job.name}: {shown}")
        self._world.clear(job.dag_id, job.name, ids)
        job.state, job.failed, job.opened = "open", 0.0, time.monotonic()
        self._wait_until_open(job)

    def _tasks_to_clear(
        self, job: Job, what: Cleared, pick: float, among: Collection[str]
    ) -> list[JsonObject]:
        tasks = self.tasks(job)
        if what == "run":
            job.run_clears += 1
            return tasks
        if what == "task":
            ordered = sorted(tasks, key=lambda t: (t["task_id"], t["map_index"]))
            return [ordered[int(pick * len(ordered))]]
        job.clears += 1
        job.calm_clears += self._calm()
        if what == "named":
            return [t for t in tasks if t["task_id"] in among]
        return _failed_tasks(tasks) or [t for t in tasks if t["state"] != "success"]

    def _wait_until_open(self, job: Job) -> None:
        """Wait until a cleared run is no longer reported as finished."""
        deadline = time.monotonic() + 10
        while self._world.call("GET", job.path)["state"] in FINISHED and time.monotonic() < deadline:
            time.sleep(0.2)

    # details

    def tasks(self, job: Job) -> list[JsonObject]:
        """Return the task instances of a run."""
        return self._world.call_list(f"{job.path}/taskInstances", "task_instances")

    def reason(self, job: Job, task: JsonObject) -> str:
        """Return the last error in the log of a task's last attempt."""
        number, index = task["try_number"], task["map_index"]
        path = f"{job.path}/taskInstances/{task['task_id']}/logs/{number}"
        try:
            lines = self._world.call("GET", path, map_index=index)["content"]
        except ApiError as error:
            return f"(no log: {error})"
        for line in reversed(lines):
            if not isinstance(line, dict):
                continue
            details = line.get("error_detail")
            if details:
                return f"{details[0].get('exc_type')}: {str(details[0].get('exc_value'))[:400]}"
            if line.get("level") in ("error", "critical"):
                return str(line.get("event"))[:400]
        return "(no error in its log)"


def _failed_tasks(tasks: list[JsonObject]) -> list[JsonObject]:
    return [t for t in tasks if t["state"] == "failed" and t["task_id"] != WATCHER]
