"""Bringing the stack up and down, from outside the supervisor."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import requests

from catalog.ingestion.provider import provider_names
from catalog.local.airflow_api import AirflowApi, ApiError
from catalog.local.stack import ROOT, Stack

UP_SECONDS, DOWN_SECONDS = 900, 90
TOLD_SECONDS = 30  # between two words about what is waited for


class StackError(Exception):
    """The stack could not be brought where it was wanted; the text says why and where to look."""


def up(
    stack: Stack,
    say: Callable[[str], None] = lambda _: None,
    environment: Mapping[str, str] | None = None,
    patience: float = UP_SECONDS,
    *,
    tied: bool = False,
) -> float:
    """Start the supervisor, if none runs, and wait until Airflow is ready.

    Interrupted while waiting, what was started is stopped again.

    Args:
        stack: What to start.
        say: Called with each phase.
        environment: Variables of the stack's processes, beside the caller's own.
        patience: Seconds it may take.
        tied: Let the stack end with this process, however that ends; for tests.

    Returns:
        The seconds it took.

    Raises:
        StackError: It did not start.
    """
    began = time.monotonic()
    stack.settings()
    process = None
    if not stack.running():
        stack.logs.mkdir(parents=True, exist_ok=True)
        stack.state_file.unlink(missing_ok=True)
        with (stack.logs / "supervisor.log").open("ab") as log:
            command = [sys.executable, "-m", "catalog.local.supervisor", str(stack.folder)]
            command += ["--tied"] if tied else []
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        stack.tie = process.stdin  # the kernel closes it when this process ends
    try:
        _wait_ready(stack, process, say, patience)
    except BaseException:
        if process is not None:
            down(stack)
        raise
    return time.monotonic() - began


def _wait_ready(
    stack: Stack, process: "subprocess.Popen[bytes] | None", say: Callable[[str], None], patience: float
) -> None:
    began, phase = time.monotonic(), ""
    told, waits_for = began, ""
    while time.monotonic() < began + patience:
        state = stack.state()
        if state.get("phase", "") != phase:
            phase = state["phase"]
            say(phase)
        if phase in ("failed", "stopped") or (process is not None and process.poll() is not None):
            raise StackError(
                f"the stack did not start: {state.get('error') or 'the supervisor ended'}; see {stack.logs}/supervisor.log"
            )
        if phase == "running":
            waits_for = missing(stack)
            if not waits_for:
                return
            if time.monotonic() > told + TOLD_SECONDS:
                told = time.monotonic()
                say(f"waiting for {waits_for}")
        time.sleep(0.2)
    raise StackError(
        f"the stack was not ready after {patience:.0f} s and is stopped again; it was waiting for {waits_for or phase or 'its start'}"
    )


def missing(stack: Stack) -> str:
    """What is not ready yet, and the log to look into; empty when every component is healthy, the engine serves, and the DAGs are there."""
    search = stack.search(stack.settings())
    if not search.ready():
        return f"OpenSearch, see {search.state / 'opensearch.log'}"
    api = AirflowApi(stack.ui)
    if not api.healthy():
        return f"Airflow, see {stack.logs}"
    try:
        requests.get(
            f"{stack.ui}/execution/health", timeout=30
        )  # its first request builds the app, which the first task would pay for
        found = api.dags()
    except (requests.RequestException, ApiError):
        return f"the api-server, see {stack.logs / 'api-server.log'}"
    late = _late(found)
    return f"{late[0]} and {len(late) - 1} others, see {stack.logs / 'dag-processor.log'}" if late else ""


def _late(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """DAG files of which Airflow knows no DAG yet, and DAGs of providers that it does not know; a file's DAGs come together."""
    files = {path.name for path in (ROOT / "catalog" / "dags").glob("*.py")} - {
        "__init__.py",
        "dag_factory.py",
    }
    parsed = {Path(dag["fileloc"]).name for dag in found.values()}
    return sorted(files - parsed) or sorted({f"{name}_workflow" for name in provider_names()} - found.keys())


def ready(stack: Stack) -> bool:
    """Every component is healthy, the search engine serves, and the provider DAGs are there."""
    return not missing(stack)


def down(stack: Stack) -> bool:
    """Stop everything; True when something ran. Raises StackError when it will not go."""
    if not stack.running():
        return False
    pid = int(stack.state().get("supervisor") or _holder(stack) or 0)
    if not pid:
        raise StackError(f"a supervisor holds {stack.lock_file} but its process was not found.")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_SECONDS
    while stack.running() or _alive(pid):
        if time.monotonic() > deadline:
            raise StackError(
                f"the supervisor (pid {pid}) did not stop within {DOWN_SECONDS} s; see {stack.logs}/supervisor.log"
            )
        time.sleep(0.1)
    return True


def _alive(pid: int) -> bool:
    """Is there such a process, other than one that only waits for its parent to take note of its end?"""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _holder(stack: Stack) -> int | None:
    """The supervisor before it has written its state."""
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "catalog.local.supervisor" in line and str(stack.folder) in line:
            return int(process.pid)
    return None


def reset(stack: Stack) -> None:
    """Stop, and delete all state: databases, objects, logs."""
    down(stack)
    if stack.folder.exists():
        settings = stack.settings()
        for folder in (Path(settings.postgres_folder), stack.search(settings).state):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(stack.folder)
