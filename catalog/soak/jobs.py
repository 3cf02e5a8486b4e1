"""DAG runs that the soak triggers: followed to a good end, cleared when they fail, replaced when they say so."""

import re
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import quote

import msgspec

from catalog.local.airflow_api import FINISHED, ApiError
from catalog.soak.journal import Journal
from catalog.soak.world import World, passing

CHECKS = ("check_deletion", "prevent_conflicting_dags")  # tasks whose refusal means: nothing was done
# What a refusal says when clearing its run cannot help.
WAY_OUT = re.compile(
    r"trigger (?:it |the dag |\w+ )?(?:again|anew)|(?:trigger|start|begin)\b[^.;]{0,60}\bnew (?:run|refresh|one)|\bnew run\b",
    re.IGNORECASE,
)
REFUSED = re.compile(r"refused|(?:is|are) running")
CLEAR = re.compile(r"[Cc]lear ([a-z_]+(?:(?:, | and | or )[a-z_]+)*)")
ACCEPT = re.compile(r"resume_update|accept_shrinkage")  # keys of a conf with which a new run goes on
BEFORE_CLEAR = 4.0  # seconds that a failed run is left as it is
CLEARS = 4  # of what failed, without faults beside them, before all of a run is cleared
BAD = ("failed", "upstream_failed")


class Job(msgspec.Struct, eq=False):
    """A run.

    Attributes:
        name: Also its run id.
        kind: The action that triggered it.
        about: What the action was about.
        state: open; settled (green); refused (nothing was done); replaced (by another run, as it said);
            stuck.
        began: When it was triggered first.
        opened: When it was triggered or cleared last.
        clears: How often what failed was cleared.
        calm: How many of these since the faults ended.
        whole: How often all of it was cleared.
        green: How often it came to its end.
        redone: Tasks that were green when they were cleared, and how often that was done.
        message: Why it failed last.
        heeded: Messages that named tasks, which have been cleared.
    """

    name: str
    kind: str
    dag_id: str
    conf: dict[str, Any]
    about: dict[str, Any]
    began: float
    opened: float
    state: str = "open"
    failed: float = 0.0
    clears: int = 0
    calm: int = 0
    whole: int = 0
    green: int = 0
    redone: Counter[str] = msgspec.field(default_factory=Counter)
    message: str = ""
    heeded: set[str] = msgspec.field(default_factory=set)

    @property
    def path(self) -> str:
        return f"/api/v2/dags/{self.dag_id}/dagRuns/{quote(self.name)}"


class Jobs:
    """All runs. What settles or is refused is told to the callbacks."""

    def __init__(
        self,
        world: World,
        journal: Journal,
        settled: Callable[[Job], None],
        ended: Callable[[Job, str], None],
        calm: Callable[[], bool],
    ) -> None:
        """Prepare.

        Args:
            world: Where to trigger.
            journal: Is told everything.
            settled: Called with a run that came to a green end.
            ended: Called with one that did not, and its state: refused, replaced or stuck.
            calm: Whether the faults have ended.
        """
        self._world, self._journal, self._settled, self._ended, self._calm = (
            world,
            journal,
            settled,
            ended,
            calm,
        )
        self.all: list[Job] = []
        self.again: list[Job] = []  # refused or replaced: to be triggered anew

    def open(self, kind: str | None = None) -> list[Job]:
        return [job for job in self.all if job.state == "open" and kind in (None, job.kind)]

    def trigger(
        self, kind: str, dag_id: str, conf: dict[str, Any], about: dict[str, Any] | None = None
    ) -> Job:
        """A new run. While Airflow is away, the call is repeated later, and makes one run all the same."""
        now = time.monotonic()
        job = Job(f"soak-{len(self.all) + 1}-{kind}", kind, dag_id, conf, about or {}, now, now)
        self.all.append(job)
        self._journal.note("trigger", f"{job.name}: {dag_id} {conf}")
        self._post(job)
        return job

    def _post(self, job: Job) -> None:
        body = {"dag_run_id": job.name, "logical_date": None, "conf": job.conf}
        try:
            self._world.call("POST", f"/api/v2/dags/{job.dag_id}/dagRuns", body)
        except ApiError as error:
            if not str(error).startswith("409"):  # an earlier call was heard, although its answer was lost
                raise
        except Exception as error:
            if not passing(error):
                raise
            self._journal.note("away", f"{job.name} is triggered later: {type(error).__name__}")

    # following

    def look(self) -> None:
        """Ask for the state of every open run, and act on it."""
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
        bad = [t for t in self.tasks(job) if t["state"] in BAD]
        if bad:
            names = ", ".join(_name(t) for t in bad)
            self._journal.violate("O7", f"{job.name} is green although tasks failed: {names}")
        job.green += 1
        job.state = "settled"
        seconds = time.monotonic() - job.opened
        self._journal.note("settled", f"{job.name} after {seconds:.0f} s, {job.clears} clears of what failed")
        self._settled(job)

    def _fail(self, job: Job) -> None:
        now = time.monotonic()
        if not job.failed:
            job.failed = now
            tasks = self.tasks(job)
            failed = [t for t in tasks if t["state"] == "failed" and t["task_id"] != "watcher"]
            job.message = "; ".join(f"{_name(t)}: {self.reason(job, t)}" for t in failed[:3])
            self._journal.note("failed", f"{job.name}: {job.message}")
            if any(t["task_id"] in CHECKS for t in failed) and REFUSED.search(job.message):
                self._end(job, "refused")
            return
        if now - job.failed < BEFORE_CLEAR:
            return
        if (key := ACCEPT.search(job.message)) and not job.conf.get(key[0]):
            job.conf = {**job.conf, key[0]: True}
            self._end(job, "replaced")
        elif named := self._named_tasks(job):
            self.clear(job, "named", among=named)
        elif WAY_OUT.search(job.message):
            self._end(job, "replaced")
        elif job.calm < CLEARS:
            self.clear(job, "failed")
        elif job.whole < 2:
            self.clear(job, "run")
        else:
            self._end(job, "stuck")

    def _end(self, job: Job, state: str) -> None:
        job.state = state
        self._journal.note(state, f"{job.name}: {job.message}")
        if state == "stuck":
            self._journal.violate(
                "O7", f"{job.name} ({job.dag_id} {job.conf}) cannot be brought to an end: {job.message}"
            )
        else:
            self.again.append(job)
        self._ended(job, state)

    # clearing

    def _named_tasks(self, job: Job) -> set[str]:
        """Tasks that the message says to clear, unless that has been done in vain."""
        if job.message in job.heeded:
            return set()
        job.heeded.add(job.message)
        words = {name for text in CLEAR.findall(job.message) for name in re.findall(r"\w+", text)}
        return words & {task["task_id"] for task in self.tasks(job)}

    def clear(self, job: Job, what: str, pick: float = 0.0, among: Collection[str] = ()) -> None:
        """Clear a run, and all tasks after those that are chosen.

        Args:
            job: The run.
            what: Which tasks: `failed` ones, those `named`, one `task`, or the whole `run`.
            pick: Chooses the one task, from 0 to 1.
            among: The named ones.
        """
        tasks = self.tasks(job)
        if what == "named":
            chosen = [t for t in tasks if t["task_id"] in among]
            job.clears += 1
            job.calm += self._calm()
        elif what == "failed":
            chosen = [t for t in tasks if t["state"] == "failed" and t["task_id"] != "watcher"]
            chosen = chosen or [t for t in tasks if t["state"] != "success"]
            job.clears += 1
            job.calm += self._calm()
        elif what == "run":
            chosen = tasks
            job.whole += 1
        else:
            listed = sorted(tasks, key=lambda t: (t["task_id"], t["map_index"]))
            chosen = [listed[int(pick * len(listed))]]
        job.redone.update(t["task_id"] for t in chosen if t["state"] == "success")
        ids = [[t["task_id"], t["map_index"]] if t["map_index"] >= 0 else t["task_id"] for t in chosen]
        body = {
            "dry_run": False,
            "dag_run_id": job.name,
            "task_ids": ids,
            "include_downstream": True,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        shown = "all" if what == "run" else ", ".join(_name(t) for t in chosen)
        self._journal.note("clear", f"{job.name}: {shown}")
        self._world.call("POST", f"/api/v2/dags/{job.dag_id}/clearTaskInstances", body)
        job.state, job.failed, job.opened = "open", 0.0, time.monotonic()
        self._wait_until_open(job)

    def _wait_until_open(self, job: Job) -> None:
        """A run that was cleared may say for a moment that it has ended."""
        deadline = time.monotonic() + 10
        while self._world.call("GET", job.path)["state"] in FINISHED and time.monotonic() < deadline:
            time.sleep(0.2)

    # looking closer

    def tasks(self, job: Job) -> list[dict[str, Any]]:
        """Task instances of a run."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._world.call("GET", f"{job.path}/taskInstances", limit=100, offset=len(found))
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def reason(self, job: Job, task: dict[str, Any]) -> str:
        """The last error in the log of a task's last try."""
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


def _name(task: dict[str, Any]) -> str:
    return str(task["task_id"]) + (f"[{task['map_index']}]" if task["map_index"] >= 0 else "")
