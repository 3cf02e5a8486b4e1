"""Start and stop of the local stack, from outside its supervisor."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import psutil
import requests

from catalog.core.wording import join_first, meant_or_all
from catalog.ingestion.registry import dag_id_of, provider_classes
from catalog.local.airflow_api import AirflowApi, ApiError, JsonObject
from catalog.local.stack import ROOT, Stack

UP_SECONDS, DOWN_SECONDS = 900, 90
EXIT_SECONDS = 15  # from the release of its lock to the end of a supervisor
NOTIFY_SECONDS = 30  # between two messages about what is pending
PARSE_SECONDS = 60  # in which Airflow finds and parses a new file

Notify: TypeAlias = Callable[[str], None]


class StackError(Exception):
    """The stack could not be started or stopped; the message says why and where to look."""


def up(
    stack: Stack,
    notify: Notify = lambda _: None,
    environment: Mapping[str, str] | None = None,
    timeout: float = UP_SECONDS,
    *,
    tied: bool = False,
) -> float:
    """Start the supervisor, unless one is running, and wait until Airflow is ready.

    If the wait is interrupted or fails, what was started is stopped again.

    Args:
        stack: The stack to start.
        notify: Called with each phase.
        environment: Variables of the stack's processes, in addition to the caller's own.
        timeout: Seconds.
        tied: End the stack when this process ends, for whatever reason; for tests.

    Returns:
        Seconds until the stack was ready.

    Raises:
        StackError: The stack did not start.
    """
    began = time.monotonic()
    stack.settings()
    process = None
    if not stack.running():
        _forget_supervisor(stack)
        process = stack.supervisor = _start_supervisor(stack, environment or {}, tied)
    try:
        _wait_until_ready(stack, process, notify, timeout)
    except BaseException:
        if process is not None:
            down(stack)
        raise
    return time.monotonic() - began


def _start_supervisor(stack: Stack, environment: Mapping[str, str], tied: bool) -> "subprocess.Popen[bytes]":
    stack.logs.mkdir(parents=True, exist_ok=True)
    stack.state_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "catalog.local.supervisor", str(stack.folder)]
    with (stack.logs / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--tied"] if tied else command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait_until_ready(
    stack: Stack, process: "subprocess.Popen[bytes] | None", notify: Notify, timeout: float
) -> None:
    began, phase = time.monotonic(), ""
    notified, pending = began, ""
    while (asked := time.monotonic()) < began + timeout:
        state = stack.state()
        if state.get("phase", "") != phase:
            phase = state["phase"]
            notify(phase)
        if phase in ("failed", "stopped") or (process is not None and process.poll() is not None):
            reason = state.get("error") or "the supervisor ended"
            raise StackError(f"the stack did not start: {reason}; see {stack.logs}/supervisor.log")
        if phase == "running":
            pending = not_ready(stack)
            if not pending:
                return
            if time.monotonic() > notified + NOTIFY_SECONDS:
                notified = time.monotonic()
                notify(f"waiting for {pending}")
        # A question that takes long takes the processor from what is waited for.
        time.sleep(min(max(0.2, 4 * (time.monotonic() - asked)), 2))
    raise StackError(
        f"the stack was not ready after {timeout:.0f} s and is stopped again; "
        f"it was waiting for {pending or phase or 'its start'}"
    )


def not_ready(stack: Stack) -> str:
    """Return the first part that is not ready and its log; "" when the stack is ready.

    Ready means: every component is healthy, the search engine answers, and all DAG files are parsed.
    """
    search = stack.search(stack.settings())
    if not search.ready():
        return f"OpenSearch, see {search.state / 'opensearch.log'}"
    api = AirflowApi(stack.ui)
    if not api.healthy():
        return f"Airflow, see {stack.logs}"
    try:
        # The first request builds the app; otherwise the first task would have to wait for that.
        requests.get(f"{stack.ui}/execution/health", timeout=30)
        found = api.dags()
    except (requests.RequestException, ApiError):
        return f"the api-server, see {stack.logs / 'api-server.log'}"
    unparsed = _unparsed(found)
    if not unparsed:
        return ""
    return f"{join_first(unparsed, most=1)}, see {stack.logs / 'dag-processor.log'}"


def require_dag(
    api: AirflowApi,
    dag_id: str,
    notify: Notify,
    *,
    timeout: float = PARSE_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait for a DAG whose file Airflow has not parsed yet, such as that of a new provider.

    Args:
        api: API of a running stack.
        dag_id: The DAG.
        notify: Called with what is waited for.
        timeout: Seconds.
        sleep: Waits between questions.

    Raises:
        StackError: All files are parsed, or the time is over, and there is no such DAG.
    """
    deadline, said = time.monotonic() + timeout, False
    while dag_id not in (known := api.dags()):
        unparsed = _unparsed(known)
        if not unparsed or time.monotonic() > deadline:
            more = f"; not parsed yet: {join_first(unparsed)}" if unparsed else ""
            raise StackError(f"there is no DAG {dag_id}; {meant_or_all(dag_id, known)}{more}")
        if not said:
            notify(f"waiting while Airflow parses {join_first(unparsed)}")
            said = True
        sleep(1)


def _unparsed(found: Mapping[str, JsonObject]) -> list[str]:
    """Return the DAG files without a DAG in Airflow; if there are none, the missing DAGs of providers.

    Args:
        found: DAGs that Airflow knows, by DAG id. All DAGs of a file appear together.
    """
    files = {path.name for path in (ROOT / "catalog" / "dags").glob("*.py")}
    files -= {"__init__.py", "dag_factory.py", "broken_providers.py"}
    parsed = {Path(dag["fileloc"]).name for dag in found.values()}
    workflows = {dag_id_of(cls.name) for cls in provider_classes()}
    return sorted(files - parsed) or sorted(workflows - found.keys())


def down(stack: Stack) -> bool:
    """Stop the stack.

    Returns:
        True if it was running.

    Raises:
        StackError: The supervisor was not found, or does not stop.
    """
    if not stack.running():
        _forget_supervisor(stack, EXIT_SECONDS)
        return False
    pid = int(stack.state().get("supervisor") or _find_supervisor(stack) or 0)
    if not pid:
        raise StackError(
            f"{stack.lock_file} is locked, but its supervisor was not found; end the process that locks it"
        )
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_SECONDS
    while stack.running() or _alive(pid):
        if time.monotonic() > deadline:
            raise StackError(
                f"the supervisor (pid {pid}) did not stop within {DOWN_SECONDS} s; "
                f"see {stack.logs}/supervisor.log"
            )
        time.sleep(0.1)
    _forget_supervisor(stack, EXIT_SECONDS)
    return True


def _forget_supervisor(stack: Stack, max_wait: float = 0) -> None:
    """Close the pipe to a supervisor of this process that has ended, or ends within `max_wait` seconds."""
    if stack.supervisor is None:
        return
    try:
        stack.supervisor.wait(max_wait)
    except subprocess.TimeoutExpired:
        return
    if stack.supervisor.stdin is not None:
        stack.supervisor.stdin.close()
    stack.supervisor = None


def _alive(pid: int) -> bool:
    """Return True if the process exists and is not a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _find_supervisor(stack: Stack) -> int | None:
    """Return the PID of a supervisor that has not written its state yet."""
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "catalog.local.supervisor" in line and str(stack.folder) in line:
            return int(process.pid)
    return None


def reset(stack: Stack) -> None:
    """Stop the stack, and delete all its state: databases, objects, logs. Recordings of APIs are kept."""
    down(stack)
    if stack.folder.exists():
        settings = stack.settings()
        for folder in (Path(settings.postgres_folder), stack.search(settings).state):
            shutil.rmtree(folder, ignore_errors=True)
        for path in stack.folder.iterdir():
            if path.is_dir() and path != stack.recordings:
                shutil.rmtree(path)
            elif not path.is_dir():
                path.unlink()
        if not stack.recordings.exists():
            stack.folder.rmdir()
