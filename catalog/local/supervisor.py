"""Supervisor of the local stack: the process that starts its parts, restarts them, and stops them.

It imports Airflow once and forks the four components, which is several times faster than four cold starts. A
part (server or component) that ends is restarted after a pause that grows; a crash loop stops the whole
stack, with the reason in state.json. All children end with this process: it stops them, or the kernel does
when it is killed, and as subreaper it ends their orphans last. With `--tied` it stops when its standard input
is closed, that is, with the process that started it.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO

import psutil
import psycopg

from catalog.core.files import write_atomically
from catalog.database import schema
from catalog.local.components import become_component, warm_airflow
from catalog.local.postgres import Postgres
from catalog.local.processes import (
    become_subreaper,
    descendants,
    dies_with_parent,
    kill_descendants,
    kill_group,
)
from catalog.local.restarts import CrashLoop, Restarts
from catalog.local.search import SearchEngine
from catalog.local.stack import AIRFLOW_DB, API_DB, CATALOG_DB, COMPONENTS, STAGING_DB, Stack

STOP_SECONDS = 30
POSTGRES, SEARCH = "PostgreSQL", "OpenSearch"


class Stopped(Exception):
    """The supervisor was asked to stop while starting."""


class Supervisor:
    """One run of the stack, from taking the lock until the last child has ended."""

    def __init__(self, stack: Stack, tied: bool = False) -> None:
        """Describe a run; `run` runs it.

        Args:
            stack: The stack to run.
            tied: Stop when standard input is closed.
        """
        self._stack, self._tied = stack, tied
        self._pids: dict[int, str] = {}  # Airflow components by PID
        self._stopping = False
        self._restarts = Restarts()
        self._postgres: Postgres | None = None
        self._postgres_pid = 0
        self._search: SearchEngine | None = None
        self._search_pid = 0
        self._lock: IO[str]

    def run(self) -> int:
        """Run the stack until it is stopped.

        Returns:
            Exit status: 0 after a clean stop, 1 if a part could not be started or kept ending, 2 if another
            supervisor is running.
        """
        lock = self._lock = self._stack.lock_file.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _log("another supervisor of this clone is running; stop it with ./just down")
            return 2
        become_subreaper()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        error = None
        try:
            self._start()
            self._watch()
        except Stopped:
            pass
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
            _log(error)
        self._stop()
        self._save_state("failed" if error else "stopped", error)
        return 1 if error else 0

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _save_state(self, phase: str, error: str | None = None) -> None:
        state = {
            "phase": phase,
            "error": error,
            "supervisor": os.getpid(),
            "postgres": self._postgres_pid,
            "search": self._search_pid,
            "parts": {name: pid for pid, name in self._pids.items()},
        }
        write_atomically(self._stack.state_file, json.dumps(state).encode())

    def _start(self) -> None:
        settings = self._stack.choose_ports()
        os.environ.update(self._stack.environment())
        self._save_state("starting PostgreSQL and OpenSearch")
        self._search = self._stack.search(settings)
        self._search_pid = self._search.start()  # takes longest; the rest is done meanwhile
        self._stop_if_asked()
        self._postgres = self._stack.postgres(settings)
        self._postgres_pid = self._postgres.start((AIRFLOW_DB, CATALOG_DB, API_DB, STAGING_DB))
        self._stop_if_asked()
        self._save_state("migrating the databases")
        schema.upgrade(self._postgres.dsn(CATALOG_DB))
        for database in (API_DB, STAGING_DB):
            schema.upgrade(self._postgres.dsn(database), "api")
        warm_airflow()
        self._stop_if_asked()
        for name in (POSTGRES, SEARCH):
            self._restarts.started(name)
        self._save_state("starting Airflow")
        for name in COMPONENTS:
            self._fork(name)
        self._save_state("running")

    def _stop_if_asked(self) -> None:
        if self._asked_to_stop():
            raise Stopped

    def _asked_to_stop(self) -> bool:
        """Return True after a signal, or if the process that this stack is tied to has ended."""
        if self._tied and select.select([sys.stdin], [], [], 0)[0]:  # readable means closed
            self._stopping = True
        return self._stopping

    def _fork(self, name: str) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        if (pid := os.fork()) == 0:
            status = 1
            try:
                os.setsid()
                self._lock.close()  # else an orphan would keep the lock of a supervisor that has ended
                dies_with_parent(signal.SIGTERM)()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                become_component(name, self._stack.logs / f"{name}.log")
                status = 0
            except SystemExit as leaving:
                status = leaving.code if isinstance(leaving.code, int) else 1
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(status)
        self._pids[pid] = name
        self._restarts.started(name)

    def _watch(self) -> None:
        while not self._asked_to_stop():
            if pid := self._reap():
                self._ended(pid)
            else:
                self._restart_due()
                time.sleep(0.2)

    def _reap(self) -> int:
        """Reap a child that has ended, orphans included, and return its PID; 0 if there is none."""
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0
        return pid

    def _ended(self, pid: int) -> None:
        """Schedule the restart of a part; other children need none."""
        if pid == self._postgres_pid:
            name, self._postgres_pid = POSTGRES, 0
        elif pid == self._search_pid:
            name, self._search_pid = SEARCH, 0
        elif pid in self._pids:
            name = self._pids.pop(pid)
            kill_group(pid)
        else:
            return
        self._plan_restart(name, f"{name} (pid {pid}) ended")

    def _plan_restart(self, name: str, event: str) -> None:
        try:
            pause = self._restarts.ended(name)
        except CrashLoop as error:
            raise CrashLoop(f"{error}; see {self._log_file(name)}") from None
        _log(f"{event}; restarting it in {pause:g} s")
        self._save_state("running")

    def _restart_due(self) -> None:
        """Start the parts that are due; components wait for the database."""
        due = self._restarts.due()
        if POSTGRES in due:
            self._restart_postgres()
        if SEARCH in due:
            assert self._search is not None
            self._search_pid = self._search.start()
            self._restarts.started(SEARCH)
            self._save_state("running")
        for name in due:
            if name in COMPONENTS and not self._restarts.waiting(POSTGRES):
                self._fork(name)
                self._save_state("running")

    def _restart_postgres(self) -> None:
        assert self._postgres is not None
        try:
            self._postgres_pid = self._postgres.start()
        except (RuntimeError, OSError, psycopg.Error) as error:
            # The port or the lock file of the old server may still be in use.
            self._postgres.stop()
            self._plan_restart(POSTGRES, f"{POSTGRES} did not start: {str(error).splitlines()[0]}")
        else:
            self._restarts.started(POSTGRES)
            self._save_state("running")

    def _log_file(self, name: str) -> Path:
        if name == POSTGRES and self._postgres is not None:
            return self._postgres.state / "postgres.log"
        if name == SEARCH and self._search is not None:
            return self._search.state / "opensearch.log"
        return self._stack.logs / f"{name}.log"

    def _stop(self) -> None:
        """Stop the scheduler with its tasks, then the other components, the servers, and remaining children.

        Tasks finish their page, save their state and report to the api-server, which must still be running.
        """
        self._save_state("stopping")
        scheduler = [pid for pid, name in self._pids.items() if name == "scheduler"]
        for pid in scheduler:
            for process in descendants(pid):  # its workers and their tasks, which are in other process groups
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.terminate()
        self._end(scheduler)
        self._end(list(self._pids))
        if self._search is not None:
            self._search.stop()
        self._search_pid = 0
        kill_descendants(spare=self._postgres_pid)
        if self._postgres is not None:
            self._postgres.stop()
        self._postgres_pid = 0
        kill_descendants()

    def _end(self, pids: list[int]) -> None:
        """Send SIGTERM to components; after STOP_SECONDS, SIGKILL to the groups of those still running."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(pid in self._pids for pid in pids) and time.monotonic() < deadline:
            self._pids.pop(self._reap(), None)
            time.sleep(0.02)
        for pid in pids:
            if self._pids.pop(pid, None):
                _log(f"pid {pid} did not stop within {STOP_SECONDS} s; killed")
                kill_group(pid)


def _log(message: str) -> None:
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    print(moment, message, file=sys.stderr, flush=True)  # noqa: T201 - supervisor.log


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--tied"]
    sys.exit(Supervisor(Stack(Path(given[0]) if given else None), tied="--tied" in sys.argv).run())
