"""Restarts of parts, on a clock of the test's own; locks on ports; servers that end with their process."""

import os
import signal
import subprocess
import sys

import psutil
import psycopg
import pytest

from catalog.local import ports
from catalog.local.restarts import (
    FIRST_PAUSE,
    LIMIT,
    LIMIT_AT_START,
    LONGEST_PAUSE,
    STABLE,
    CrashLoop,
    Restarts,
)
from catalog.local.stack import Stack
from catalog.tests.values import present
from catalog.tests.waiting import until


def run_and_end(restarts, clock, name, seconds=0.0):
    """Start a part that ends after some seconds; return the pause."""
    restarts.started(name)
    clock[0] += seconds
    return restarts.ended(name)


@pytest.mark.parametrize("limit", [LIMIT, LIMIT_AT_START])
def test_pauses_grow_until_a_part_is_given_up(limit):
    """It is given up sooner if it has never been stable."""
    clock, pauses = [0.0], []
    restarts = Restarts(lambda: clock[0])
    if limit == LIMIT:
        pauses.append(run_and_end(restarts, clock, "scheduler", STABLE))
    began = clock[0]

    def keep_ending():
        while True:
            pauses.append(run_and_end(restarts, clock, "scheduler"))
            assert restarts.due() == []
            clock[0] += pauses[-1]
            assert restarts.due() == ["scheduler"]

    with pytest.raises(CrashLoop, match=r"^scheduler ended \d+ times in \d+ s"):
        keep_ending()
    assert pauses[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert max(pauses) <= LONGEST_PAUSE
    assert limit <= clock[0] - began <= limit + LONGEST_PAUSE


def test_a_part_that_stayed_up_is_not_given_up():
    clock = [0.0]
    restarts = Restarts(lambda: clock[0])
    assert [run_and_end(restarts, clock, "api-server", STABLE) for _ in range(100)] == [FIRST_PAUSE] * 100


def test_a_crash_of_the_database_that_ends_all_parts_is_waited_for():
    """Ends are counted per part, and each may end several more times until the database is back."""
    clock = [0.0]
    restarts = Restarts(lambda: clock[0])
    names = ["PostgreSQL", "scheduler", "api-server", "triggerer", "dag-processor"]
    for _ in range(4):
        for name in names:
            run_and_end(restarts, clock, name, 0.5)
    clock[0] += 8
    assert restarts.due() == names
    restarts.started("PostgreSQL")
    assert not restarts.waiting("PostgreSQL")
    assert restarts.waiting("scheduler")


@pytest.mark.enable_socket
@pytest.mark.parametrize("trap", ["none", "link", "open to all", "file"])
def test_locks_of_ports_follow_no_link(tmp_path, monkeypatch, trap):
    shared, victim = tmp_path / "tmp", tmp_path / "victim"
    shared.mkdir()
    victim.mkdir()
    folder = shared / f"media-catalog-{os.geteuid()}"
    if trap == "link":
        folder.symlink_to(victim)
    elif trap == "open to all":
        folder.mkdir()
        folder.chmod(0o777)
    elif trap == "file":
        folder.touch()
    monkeypatch.setattr(ports, "_SHARED", shared)
    own = tmp_path / "state"
    own.mkdir()
    reservations = ports.Reservations(own)
    port = reservations.reserve(0)
    assert port
    assert list(victim.iterdir()) == []
    place = folder if trap == "none" else own
    lock = place / f"port-{port}.lock"
    assert lock.stat().st_mode & 0o077 == 0
    lock.unlink()
    lock.symlink_to(victim / "made")
    assert ports.Reservations(own).reserve(port) in (0, port)
    assert list(victim.iterdir()) == []
    for handle in reservations.handles:
        os.close(handle)


PROGRAM = """
import sys
from pathlib import Path
from catalog.local.postgres import Postgres
print(Postgres(Path(sys.argv[1]), "test", durable=False).start(), flush=True)
input()
"""


@pytest.mark.database
def test_a_server_of_a_benchmark_ends_with_it(world_readable):
    command = [sys.executable, "-c", PROGRAM, str(world_readable / "tied")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        server = psutil.Process(int(present(process.stdout).readline()))
        process.kill()
    until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


WATCH = """
import sys
from pathlib import Path
from catalog.local.stack import Stack
from catalog.local.supervisor import POSTGRES, Supervisor
stack = Stack(Path(sys.argv[1]))
watching = Supervisor(stack, tied=True)
watching._postgres = stack.postgres(stack.choose_ports())
watching._postgres_pid = watching._postgres.start()
watching._restarts.started(POSTGRES)
watching._save_state("running")
watching._watch()
"""


@pytest.mark.database
@pytest.mark.enable_socket
def test_a_database_that_crashes_is_started_again(world_readable):
    """It is started after each crash, with its data; the supervisor runs without Airflow here."""
    stack = Stack(world_readable / "crashes" / "state")
    stack.settings()
    for folder in (stack.folder, stack.folder.parent):
        folder.chmod(0o755)
    seen = {0}
    with subprocess.Popen([sys.executable, "-c", WATCH, str(stack.folder)], stdin=subprocess.PIPE) as process:
        for number in range(3):
            pid = until(lambda: (found := stack.state().get("postgres", 0)) not in seen and found)
            seen.add(pid)
            with psycopg.connect(stack.dsn("postgres"), autocommit=True) as connection:
                connection.execute("create table if not exists kept (n int)")
                connection.execute("insert into kept values (%s)", [number])
                assert len(connection.execute("select from kept").fetchall()) == number + 1
            os.kill(pid, signal.SIGKILL)
        present(process.stdin).close()  # as if the process that it is tied to had ended
        assert process.wait(60) == 0
