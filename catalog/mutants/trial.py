"""Runs of tests in a copy of the tree, with and without one guard."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from catalog.mutants.guard import ROOT, Guard

_EXTRA_SECONDS = 600  # for start and stop of servers, and for files of many tests
_PASSED, _FAILED = 0, 1  # exit statuses of pytest; with any other one, the tests did not run
_REPORTED = re.compile(r"^(?:FAILED|ERROR) (catalog/tests/.+?)(?: - (.*))?$", re.MULTILINE)
_TIMEOUT = "Failed: Timeout"  # begin of the message of a test that exceeded its time limit


class Outcome(msgspec.Struct, frozen=True):
    """Result of a run of tests.

    Attributes:
        failed: Node ids of the failed tests.
        slow: Those of them that exceeded their time limit.
        hung: Whether the whole run exceeded its time limit.
        broken: Why the tests did not run; "" if they did.
    """

    failed: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    hung: bool = False
    broken: str = ""


def copy_tree(folder: Path) -> None:
    """Copy the files of the working tree that git does not ignore to an empty folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file() and not source.is_symlink():  # a deleted file is still listed
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


@contextlib.contextmanager
def snapshot() -> Iterator[Path]:
    """Yield a copy of the working tree, which may be edited during the trials."""
    with tempfile.TemporaryDirectory(prefix="catalog-mutants-", ignore_cleanup_errors=True) as name:
        copy_tree(Path(name))
        yield Path(name)


@contextlib.contextmanager
def tree_without(guard: Guard | None, origin: Path) -> Iterator[Path]:
    """Yield a private copy of a tree, without the guard if one is given.

    Raises:
        ValueError: The guard cannot be removed.
    """
    with tempfile.TemporaryDirectory(prefix="catalog-mutant-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        shutil.copytree(origin, folder, dirs_exist_ok=True)
        if guard is not None:
            path = folder / guard.file
            path.write_text(guard.mutated(path.read_text(encoding="utf-8")), encoding="utf-8")
        yield folder


def run_tests(folder: Path, node_ids: Sequence[str], seconds: int, *, stop_at_first: bool) -> Outcome:
    """Run tests in a copy of the tree.

    Args:
        folder: Root of the copy.
        node_ids: Tests to run.
        seconds: Time limit of a single test, without its fixtures, which start servers.
        stop_at_first: Stop at the first test that fails.
    """
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfE", "--tb=no", "--no-header"]
    command += ["-m", ""]  # also the long tests
    command += [f"--timeout={seconds}", "-o", "timeout_func_only=true"]
    command += [*(["-x"] if stop_at_first else []), *node_ids]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            status = process.wait(seconds * len(node_ids) + _EXTRA_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(process)
        output.seek(0)
        printed = output.read()
    reported = _REPORTED.findall(printed)
    failed = tuple(name for name, _ in reported)
    slow = tuple(name for name, message in reported if message.startswith(_TIMEOUT))
    if status is None:
        return Outcome(failed, slow, hung=True)
    if status == _PASSED:
        return Outcome()
    if status == _FAILED and failed:
        return Outcome(failed, slow)
    return Outcome(broken=f"pytest ended with status {status}: {printed.strip()[-1500:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a run with its servers: by SIGINT, which lets it clean up, then by SIGKILL."""
    for number, seconds in ((signal.SIGINT, 30), (signal.SIGKILL, 10)):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


class Verdict(msgspec.Struct, frozen=True):
    """Result of the removal of a guard.

    Attributes:
        noticed: Whether a test has failed.
        message: The test that has failed, or what is wrong.
        seconds: Duration of the run.
    """

    noticed: bool
    message: str
    seconds: float


def judge(guard: Guard, origin: Path) -> Verdict:
    """Remove a guard in a copy of a tree, and run its tests there."""
    began = time.monotonic()
    try:
        with tree_without(guard, origin) as folder:
            outcome = run_tests(folder, guard.node_ids(), guard.seconds, stop_at_first=True)
    except ValueError as error:
        return Verdict(False, f"CANNOT BE TRIED: {error}", time.monotonic() - began)
    seconds = time.monotonic() - began
    if outcome.broken:
        return Verdict(False, f"CANNOT BE TRIED: {outcome.broken}", seconds)
    if outcome.hung:
        return Verdict(True, f"noticed by a hang of {', '.join(guard.tests)}", seconds)
    if outcome.failed:
        how = " (it hung)" if outcome.slow else ""
        return Verdict(True, f"noticed by {outcome.failed[0].removeprefix('catalog/tests/')}{how}", seconds)
    return Verdict(False, f"NOT NOTICED by {', '.join(guard.tests)}", seconds)
