"""The supervisor: parts that are killed, a supervisor that is killed, two stacks side by side, orphans."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import psutil
import psycopg
import pytest

from catalog.local.airflow_api import AirflowApi
from catalog.local.lifecycle import StackError, down, not_ready, reset, up
from catalog.local.stack import COMPONENTS, Stack
from catalog.tests.folders import folder_for_servers
from catalog.tests.values import present
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


@pytest.fixture(autouse=True)
def parsed_once(monkeypatch):
    """DAG files do not change here, and parsing all of them again takes a good part of a core."""
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL", "3600")


def new_stack(folder):
    """Return a stack whose search engine starts sooner; nothing is indexed here."""
    stack = Stack(folder)
    settings = stack.settings()
    settings.quick_search = True
    stack.save(settings)
    return stack


@pytest.fixture
def stack():
    folder = folder_for_servers("catalog-stack-")
    stack = new_stack(folder / "state")
    yield stack
    down(stack)
    shutil.rmtree(folder, ignore_errors=True)


def processes_of(stack):
    """Return the PIDs of the supervisor's tree and of all processes that name the stack's folder."""
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        if any(str(stack.folder) in part for part in process.info["cmdline"] or []):
            found.add(process.pid)
    return found


def addresses_of(stack):
    """Return the addresses that the stack's processes listen on."""
    found = set()
    for pid in processes_of(stack):
        with suppress(psutil.NoSuchProcess):
            connections = psutil.Process(pid).net_connections()
            found |= {c.laddr.ip for c in connections if c.status == "LISTEN"}
    return found


PROGRAM = """
import sys
from pathlib import Path
from catalog.local.lifecycle import up
from catalog.local.stack import Stack
up(Stack(Path(sys.argv[1])), lambda phase: print(phase, flush=True), tied=True)
print("up", flush=True)
input()
"""


@contextmanager
def started_by_tests(stack, moment):
    """Start a stack in another process, as tests do; kill that process at the end.

    Args:
        stack: The stack to start.
        moment: The phase of the start at which the block begins; "up" when the stack is ready.
    """
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(stack.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while (line := present(process.stdout).readline()) and line.strip() != moment:
                pass
            assert line
            assert processes_of(stack) - {process.pid}
            yield
        finally:
            process.kill()


def ends(stack):
    until(lambda: not processes_of(stack) and not stack.running(), 120)


@pytest.mark.timeout(900)
def test_parts_and_supervisors_that_are_killed_beside_another_stack(stack):
    """The stacks share what takes longest, their starts; each paragraph is a test of its own."""
    up(stack, tied=True)
    api, first = AirflowApi(stack.ui), stack.state()
    assert set(first["parts"]) == set(COMPONENTS)
    assert addresses_of(stack) == {"127.0.0.1"}
    with psycopg.connect(stack.dsn(), autocommit=True) as connection:
        connection.execute("create table kept (n int)")

    # A second `up` leaves a running stack alone.
    up(stack)
    assert stack.state() == first

    # Another stack has ports of its own; it is stopped, stopped again, and deleted, beside this one.
    other = new_stack(stack.folder.parent / "other")
    try:
        up(other, tied=True)
        assert stack.ui != other.ui
        assert not not_ready(stack)
        assert not not_ready(other)
        assert down(other)
        assert not processes_of(other)
        assert not down(other)
        other.recordings.mkdir()
    finally:
        reset(other)
    assert list(other.folder.iterdir()) == [other.recordings]
    assert not not_ready(stack)
    assert stack.state() == first

    # A crash of one component: it is restarted, and its workers have ended.
    os.kill(first["parts"]["scheduler"], signal.SIGKILL)
    until(lambda: stack.state()["parts"].get("scheduler") not in (None, first["parts"]["scheduler"]))
    until(lambda: not not_ready(stack), 60)
    assert stack.state()["parts"]["api-server"] == first["parts"]["api-server"]

    # A crash of the database, and of the components that need it.
    os.kill(first["postgres"], signal.SIGKILL)
    until(lambda: stack.state()["postgres"] not in (0, first["postgres"]))
    until(lambda: not not_ready(stack), 120)
    assert stack.running()

    # A crash of the supervisor: the kernel ends the parts, and these end their children.
    os.kill(first["supervisor"], signal.SIGKILL)
    until(lambda: not processes_of(stack), 60)
    assert not stack.running()

    # The data are kept. A stack of tests ends with them, also after SIGKILL, as sent by a CI whose time limit
    # has passed.
    with started_by_tests(stack, "up"):
        with psycopg.connect(stack.dsn()) as connection:
            assert connection.execute("select count(*) from kept").fetchone() == (0,)
        assert api.healthy()
    ends(stack)


def test_a_stack_of_tests_that_end_during_its_start_ends(stack):
    with started_by_tests(stack, "migrating the databases"):
        pass
    ends(stack)


def test_a_start_that_fails_says_why_and_leaves_nothing(stack, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "NoSuchExecutor")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))  # nothing to parse until the start fails
    with pytest.raises(StackError, match=r"did not start: CrashLoop: scheduler ended .* see .*scheduler.log"):
        up(stack, tied=True)
    ends(stack)
