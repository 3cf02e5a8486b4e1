"""Run native servers as another user when we are root: PostgreSQL refuses root, so it runs as `nobody`."""

import ctypes
import os
import pwd
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict


class Demotion(TypedDict, total=False):
    """Keywords of `subprocess.Popen` that change the user."""

    user: int
    group: int
    extra_groups: list[int]


def demotion() -> Demotion:
    """Return the `subprocess.Popen` keywords that drop root's privileges; {} for an ordinary user."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def reachable(path: Path) -> bool:
    """Return True if any user may traverse the folders above a path; a home directory is often 0700."""
    path = path.resolve()
    return all(p.stat().st_mode & stat.S_IXOTH for p in (path, *path.parents) if p.exists())


def give(demoted: Demotion, *folders: Path) -> None:
    """Make folders, owned by the demoted user."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        if demoted:
            os.chown(folder, demoted["user"], demoted["group"])


def free_port(wanted: int = 0) -> int:
    """Return `wanted` if that port is free on the loopback interface, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def dies_with_parent(sig: int = signal.SIGTERM) -> Callable[[], None]:
    """Return a `preexec_fn`: the kernel sends `sig` to the child when its parent ends (Linux only)."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def tether() -> None:
        if libc is not None:
            libc.prctl(1, sig)  # PR_SET_PDEATHSIG

    return tether
