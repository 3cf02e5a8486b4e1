"""Processes below the supervisor: orphans, process groups, descendants."""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable

import psutil

# Options of Linux's prctl(2)
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Make orphans of our children our own children (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def dies_with_parent(sig: int = signal.SIGTERM) -> Callable[[], None]:
    """Return a `preexec_fn`: the kernel sends `sig` to the child when its parent ends (Linux only)."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def tether() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, sig)

    return tether


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def descendants(pid: int) -> list[psutil.Process]:
    """Return all processes below one; none if it has ended."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def kill_descendants(spare: int = 0) -> None:
    """Kill and reap every process below us, except the tree of `spare`."""
    spared = {spare, *(p.pid for p in descendants(spare))} if spare else set()
    killed = [p for p in descendants(os.getpid()) if p.pid not in spared]
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(killed, timeout=5)
