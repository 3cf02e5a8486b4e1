"""The process that owns the stack: starts its parts, watches them, and leaves nothing behind.

It imports Airflow once and forks the four components, which is several times faster than four cold starts. A
part that ends, a server or a component, is started again after a pause that grows with each time; one that
keeps ending takes the whole stack down, with the reason in state.json. However this process ends, its
children end too: by its own hand, or by the kernel's (they are tied to it), and whatever they had started
falls to it as their subreaper and is ended last. With `--tied` it ends when its standard input does, that is,
with the process that started it.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO

import psutil
import psycopg

from catalog.containers.bootstrap import airflow_database
from catalog.database import schema
from catalog.local.demote import dies_with_parent
from catalog.local.postgres import Postgres
from catalog.local.restarts import KeepsEnding, Restarts
from catalog.local.search import SearchEngine
from catalog.local.stack import AIRFLOW_DB, API_DB, CATALOG_DB, COMPONENTS, STAGING_DB, Stack

STOP_SECONDS = 30
POSTGRES, SEARCH = "PostgreSQL", "OpenSearch"


class Supervisor:
    """One run of the stack, from lock to last child."""

    def __init__(self, stack: Stack, tied: bool = False) -> None:
        """tied: the stack ends when standard input is closed."""
        self._stack, self._tied = stack, tied
        self._pids: dict[int, str] = {}
        self._stopping = False
        self._restarts = Restarts()
        self._postgres: Postgres | None = None
        self._postgres_pid = 0
        self._search: SearchEngine | None = None
        self._search_pid = 0
        self._lock: IO[str]

    def run(self) -> int:
        """Exit status: 0 after a clean stop, 1 when a part could not be started or kept dying, 2 when another supervisor runs."""
        lock = self._lock = self._stack.lock_file.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("another supervisor of this clone is running", file=sys.stderr)  # noqa: T201
            return 2
        _become_subreaper()
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
            print(error, file=sys.stderr)  # noqa: T201
        self._stop()
        self._say("failed" if error else "stopped", error)
        return 1 if error else 0

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _say(self, phase: str, error: str | None = None) -> None:
        parts = {name: pid for pid, name in self._pids.items()}
        state = {
            "phase": phase,
            "error": error,
            "supervisor": os.getpid(),
            "postgres": self._postgres_pid,
            "search": self._search_pid,
            "parts": parts,
        }
        partial = self._stack.state_file.with_suffix(".partial")
        partial.write_text(json.dumps(state))
        partial.replace(self._stack.state_file)

    def _start(self) -> None:
        settings = self._stack.choose_ports()
        os.environ.update(self._stack.environment())
        self._say("starting PostgreSQL and OpenSearch")
        self._search = self._stack.search(settings)
        self._search_pid = self._search.start()  # takes longest, so the rest is done meanwhile
        self._stop_if_asked()
        self._postgres = self._stack.postgres(settings)
        self._postgres_pid = self._postgres.start((AIRFLOW_DB, CATALOG_DB, API_DB, STAGING_DB))
        self._stop_if_asked()
        self._say("migrating the databases")
        schema.upgrade(self._postgres.dsn(CATALOG_DB))
        for database in (API_DB, STAGING_DB):
            schema.upgrade(self._postgres.dsn(database), "api")
        _warm_airflow()
        self._stop_if_asked()
        for name in (POSTGRES, SEARCH):
            self._restarts.started(name)
        self._say("starting Airflow")
        for name in COMPONENTS:
            self._fork(name)
        self._say("running")

    def _stop_if_asked(self) -> None:
        if self._asked_to_stop():
            raise Stopped

    def _asked_to_stop(self) -> bool:
        """By a signal, or because the process that this stack is tied to is gone."""
        if self._tied and select.select([sys.stdin], [], [], 0)[0]:  # nothing is ever written to it
            self._stopping = True
        return self._stopping

    def _fork(self, name: str) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        if (pid := os.fork()) == 0:
            status = 1
            try:
                os.setsid()
                self._lock.close()  # or a straggler of ours would look like a supervisor that runs
                dies_with_parent(signal.SIGTERM)()
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                _become_component(name, self._stack.logs / f"{name}.log")
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
                self._start_again()
                time.sleep(0.2)

    def _reap(self) -> int:
        """PID of a child that has ended, 0 when none has. Orphans that came to us as subreaper are reaped as well."""
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return 0
        return pid

    def _ended(self, pid: int) -> None:
        """Note the end of a part; of other children there is nothing to note."""
        if pid == self._postgres_pid:
            name, self._postgres_pid = POSTGRES, 0
        elif pid == self._search_pid:
            name, self._search_pid = SEARCH, 0
        elif pid in self._pids:
            name = self._pids.pop(pid)
            _end_group(pid)
        else:
            return
        self._plan_restart(name, f"{name} (pid {pid}) ended")

    def _plan_restart(self, name: str, what: str) -> None:
        try:
            pause = self._restarts.ended(name)
        except KeepsEnding as error:
            raise KeepsEnding(f"{error}; see {self._log_of(name)}") from None
        print(f"{what}; starting it again in {pause:g} s", file=sys.stderr, flush=True)  # noqa: T201
        self._say("running")

    def _start_again(self) -> None:
        """Start what is due; the components wait for the database."""
        due = self._restarts.due()
        if POSTGRES in due:
            self._start_postgres_again()
        if SEARCH in due:
            assert self._search is not None
            self._search_pid = self._search.start()
            self._restarts.started(SEARCH)
            self._say("running")
        for name in due:
            if name in COMPONENTS and not self._restarts.waiting(POSTGRES):
                self._fork(name)
                self._say("running")

    def _start_postgres_again(self) -> None:
        assert self._postgres is not None
        try:
            self._postgres_pid = self._postgres.start()
        except (
            RuntimeError,
            OSError,
            psycopg.Error,
        ) as error:  # what the old one left may be in its way for a moment
            self._postgres.stop()
            self._plan_restart(POSTGRES, f"{POSTGRES} did not start: {str(error).splitlines()[0]}")
        else:
            self._restarts.started(POSTGRES)
            self._say("running")

    def _log_of(self, name: str) -> Path:
        if name == POSTGRES and self._postgres is not None:
            return self._postgres.state / "postgres.log"
        if name == SEARCH and self._search is not None:
            return self._search.state / "opensearch.log"
        return self._stack.logs / f"{name}.log"

    def _stop(self) -> None:
        """Stop the scheduler with its tasks, then the other components, the database, and stragglers.

        Tasks finish their page, save their state and report to the api-server, which must be there.
        """
        self._say("stopping")
        scheduler = [pid for pid, name in self._pids.items() if name == "scheduler"]
        for pid in scheduler:
            for process in _descendants(pid):  # its workers, and their tasks in groups of their own
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.terminate()
        self._end(scheduler)
        self._end(list(self._pids))
        if self._search is not None:
            self._search.stop()
        self._search_pid = 0
        _end_descendants(spare=self._postgres_pid)
        if self._postgres is not None:
            self._postgres.stop()
        self._postgres_pid = 0
        _end_descendants()

    def _end(self, pids: list[int]) -> None:
        """SIGTERM, and SIGKILL to the groups of those that have not ended after a while."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(pid in self._pids for pid in pids) and time.monotonic() < deadline:
            self._pids.pop(self._reap(), None)
            time.sleep(0.02)
        for pid in pids:
            if self._pids.pop(pid, None):
                print(f"pid {pid} did not stop within {STOP_SECONDS} s; killed", file=sys.stderr)  # noqa: T201
                _end_group(pid)


class Stopped(Exception):
    """Asked to stop while starting."""


def _become_subreaper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans of our children become ours


def _warm_airflow() -> None:
    """Import what the components share and prepare the metadata database, before forking."""
    import airflow.api_fastapi.app
    import airflow.dag_processing.processor
    import airflow.executors.local_executor
    import airflow.jobs.dag_processor_job_runner
    import airflow.jobs.scheduler_job_runner
    import airflow.jobs.triggerer_job_runner  # noqa: F401
    from airflow import settings

    airflow_database()
    settings.dispose_orm()  # no connection may cross a fork


def _become_component(name: str, log: Path) -> None:
    """In the child: become `airflow <name>`."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    from airflow import settings
    from airflow.__main__ import main

    settings.configure_orm()  # type: ignore[no-untyped-call]
    # Logs are files here; serving them as well would open ports to the whole network, the same ones in every stack.
    sys.argv = ["airflow", name, *(["--skip-serve-logs"] if name in ("scheduler", "triggerer") else [])]
    main()  # type: ignore[no-untyped-call]


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[psutil.Process]:
    """Processes below one, none when it is gone."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _end_descendants(spare: int = 0) -> None:
    """End and reap every process below us, but for the tree of `spare`."""
    kept = {spare, *(p.pid for p in _descendants(spare))} if spare else set()
    left = [p for p in _descendants(os.getpid()) if p.pid not in kept]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=5)


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--tied"]
    sys.exit(Supervisor(Stack(Path(given[0]) if given else None), tied="--tied" in sys.argv).run())
