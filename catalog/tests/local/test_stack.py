"""The supervisor: parts that are killed, a supervisor that is killed, two stacks side by side, orphans."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress

import psutil
import psycopg
import pytest

from catalog.local.airflow_api import AirflowApi
from catalog.local.lifecycle import StackError, down, ready, reset, up
from catalog.local.stack import COMPONENTS, Stack
from catalog.tests.folders import folder_for_servers
from catalog.tests.values import present
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]


@pytest.fixture
def stack():
    folder = folder_for_servers("catalog-stack-")
    stack = Stack(folder / "state")
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


@pytest.mark.timeout(600)
def test_parts_that_are_killed_are_restarted_and_a_killed_supervisor_leaves_no_process(stack):
    up(stack, tied=True)
    api, first = AirflowApi(stack.ui), stack.state()
    assert set(first["parts"]) == set(COMPONENTS)
    assert addresses_of(stack) == {"127.0.0.1"}
    with psycopg.connect(stack.dsn(), autocommit=True) as connection:
        connection.execute("create table kept (n int)")

    # A crash of one component: it is restarted, and its workers have ended.
    os.kill(first["parts"]["scheduler"], signal.SIGKILL)
    until(lambda: stack.state()["parts"].get("scheduler") not in (None, first["parts"]["scheduler"]))
    until(lambda: ready(stack), 60)
    assert stack.state()["parts"]["api-server"] == first["parts"]["api-server"]

    # A crash of the database, and of the components that need it.
    os.kill(first["postgres"], signal.SIGKILL)
    until(lambda: stack.state()["postgres"] not in (0, first["postgres"]))
    until(lambda: ready(stack), 120)
    assert stack.running()

    # A crash of the supervisor: the kernel ends the parts, and these end their children.
    os.kill(first["supervisor"], signal.SIGKILL)
    until(lambda: not processes_of(stack), 60)
    assert not stack.running()

    up(stack, tied=True)
    with psycopg.connect(stack.dsn()) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)
    assert api.healthy()
    assert down(stack)
    assert not processes_of(stack)
    assert not down(stack)


def test_two_stacks_side_by_side_and_a_second_up(stack):
    other = Stack(stack.folder.parent / "other")
    try:
        up(stack, tied=True)
        parts = stack.state()
        up(stack)
        assert stack.state() == parts  # it was running already
        up(other, tied=True)
        assert stack.ui != other.ui
        assert ready(stack)
        assert ready(other)
    finally:
        reset(other)
    assert not other.folder.exists()
    assert ready(stack)


def test_a_start_that_fails_says_why_and_leaves_nothing(stack, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "NoSuchExecutor")
    with pytest.raises(StackError, match=r"did not start: CrashLoop: scheduler ended .* see .*scheduler.log"):
        up(stack, tied=True)
    until(lambda: not processes_of(stack), 60)


PROGRAM = """
import sys
from pathlib import Path
from catalog.local.lifecycle import up
from catalog.local.stack import Stack
up(Stack(Path(sys.argv[1])), lambda phase: print(phase, flush=True), tied=True)
print("up", flush=True)
input()
"""


@pytest.mark.parametrize("moment", ["migrating the databases", "up"])
def test_a_stack_of_tests_ends_with_the_tests(stack, moment):
    """It ends also after SIGKILL, as sent by a CI whose time limit has passed."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(stack.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while (line := present(process.stdout).readline()) and line.strip() != moment:
            pass
        assert line
        assert processes_of(stack) - {process.pid}
        process.kill()
    until(lambda: not processes_of(stack) and not stack.running(), 120)
