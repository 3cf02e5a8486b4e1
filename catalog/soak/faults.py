"""Faults: kill processes, end sessions, crash the database or the engine, let APIs fail."""

import os
import re
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import psutil
import psycopg

from catalog.soak.apis import FAULTS as API_FAULTS
from catalog.soak.journal import Journal
from catalog.soak.plan import Step
from catalog.soak.world import World

_SESSIONS = (
    "select pid, datname, left(query, 60) from pg_stat_activity where datname in ('catalog', 'api')"
    " and application_name <> 'soak' and backend_type = 'client backend' order by pid"
)
_BACKENDS = (
    "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
    " order by pid"
)
T = TypeVar("T")


class Faults:
    """Injector of the faults of a plan."""

    def __init__(self, world: World, journal: Journal) -> None:
        self._world, self._journal = world, journal
        self.counts: dict[str, int] = {}

    def inject(self, step: Step) -> bool:
        """Inject a fault; return False if there is nothing to disturb at present."""
        kind = step.kind
        if kind in API_FAULTS:
            source, seconds = step.args["source"], step.args["seconds"]
            self._world.apis.content.fail(source, kind, seconds)
            self._record(kind, f"{source} for {seconds:g} s")
            return True
        actions: dict[str, Callable[[float], str]] = {
            "task-kill": lambda pick: self._signal_task(pick, signal.SIGKILL),
            "task-term": lambda pick: self._signal_task(pick, signal.SIGTERM),
            "worker-kill": self._kill_worker,
            "database-crash": self._crash_database,
            "database-stop": self._stop_database,
            "session-end": self._end_session,
            "engine-kill": lambda _: self._kill(int(self._world.stack.state()["search"]), "OpenSearch"),
        }
        part = kind.removesuffix("-kill")
        action = actions.get(kind) or (lambda _: self._kill(self._part(part), part))
        try:
            self._record(kind, action(step.args["pick"]))
        except (psutil.NoSuchProcess, ProcessLookupError, KeyError, psycopg.OperationalError):
            return False
        return True

    def _record(self, kind: str, message: str) -> None:
        self._journal.note("fault", f"{kind}: {message}")
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def _part(self, name: str) -> int:
        return int(self._world.stack.state()["parts"][name])

    def _kill(self, pid: int, name: str, number: signal.Signals = signal.SIGKILL) -> str:
        """Send a signal to a part.

        Args:
            pid: Its PID; 0 while it is being restarted. A signal to 0 would reach this process's whole group.
            name: Its name.
            number: The signal.

        Returns:
            What was killed.

        Raises:
            ProcessLookupError: It does not run.
        """
        if not pid:
            raise ProcessLookupError(f"{name} does not run")
        os.kill(pid, number)
        return f"{name} (pid {pid})"

    def tasks(self) -> list[psutil.Process]:
        """Return the processes of tasks: leaders of process groups, below the scheduler's workers."""
        return [p for worker in self._workers() for p in worker.children() if _is_group_leader(p)]

    def _workers(self) -> list[psutil.Process]:
        return list(psutil.Process(self._part("scheduler")).children())

    def _signal_task(self, pick: float, number: signal.Signals) -> str:
        process = _choose(sorted(self.tasks(), key=lambda p: p.pid), pick)
        about = describe(process)
        os.kill(process.pid, number)
        return f"{number.name} to {about}"

    def _kill_worker(self, pick: float) -> str:
        """Kill the process that supervises a task; the task may keep running for a while."""
        busy = [w for w in self._workers() if any(_is_group_leader(p) for p in w.children())]
        worker = _choose(sorted(busy, key=lambda p: p.pid), pick)
        about = ", ".join(describe(p) for p in worker.children())
        worker.kill()
        return f"SIGKILL to the worker of {about}"

    def _crash_database(self, pick: float) -> str:
        """Kill the process of a session: the server ends all others, and recovers from its log."""
        with self._world.connect("postgres") as connection:
            pids = [pid for (pid,) in connection.execute(_BACKENDS)]
        pid = _choose(pids, pick)
        os.kill(pid, signal.SIGKILL)
        return f"PostgreSQL, by SIGKILL of its session {pid}"

    def _stop_database(self, _: float) -> str:
        """Stop the whole server like `pg_ctl stop -m immediate`; it recovers when it is restarted."""
        pid = int(self._world.stack.state()["postgres"])
        return f"immediate stop of {self._kill(pid, 'PostgreSQL', signal.SIGQUIT)}"

    def _end_session(self, pick: float) -> str:
        with self._world.connect("postgres") as connection:
            pid, database, query = _choose(connection.execute(_SESSIONS).fetchall(), pick)
            connection.execute("select pg_terminate_backend(%s)", [pid])
        return f"pg_terminate_backend of a task's session in {database}: {' '.join(query.split())}"


def _is_group_leader(process: psutil.Process) -> bool:
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        return os.getpgid(process.pid) == process.pid and process.status() != psutil.STATUS_ZOMBIE
    return False


def describe(process: psutil.Process) -> str:
    """Describe the process of a task, which is identified by its open log file."""
    with suppress(psutil.Error):
        for file in process.open_files():
            if found := re.search(
                r"run_id=([^/]+)/task_id=([^/]+)(?:/map_index=(\d+))?/attempt=(\d+)", file.path
            ):
                run_id, task_id, index, attempt = found.groups()
                return f"{run_id} {task_id}{f'[{index}]' if index else ''} try {attempt} (pid {process.pid})"
    return f"pid {process.pid}"


def _choose(candidates: Sequence[T], pick: float) -> T:
    """Choose one of several by a number from 0 to 1.

    Raises:
        KeyError: There is none.
    """
    if not candidates:
        raise KeyError("there is none at present")
    return candidates[min(int(pick * len(candidates)), len(candidates) - 1)]
