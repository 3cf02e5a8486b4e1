"""Ports of this machine: free ones, and those that a stack has reserved."""

import fcntl
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

# Locks on ports are shared by all stacks of the machine, in a private subfolder.
_SHARED = Path("/tmp")  # noqa: S108


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


class Reservations:
    """Locks on ports against other stacks, until this process ends."""

    def __init__(self, folder: Path) -> None:
        """Start without locks.

        Args:
            folder: Folder of the locks if somebody else owns the shared one.
        """
        self._folder = folder
        self.handles: list[int] = []  # file descriptors

    def reserve(self, wanted: int) -> int:
        """Lock a port if it is free and not locked by another stack.

        Args:
            wanted: Port; 0 for any.

        Returns:
            The port; 0 if it is taken.
        """
        for _ in range(20):
            port = free_port(wanted)
            if wanted and port != wanted:
                return 0
            path = self._lock_folder() / f"port-{port}.lock"
            with suppress(OSError):
                handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(handle)
                    continue
                self.handles.append(handle)
                return port
        return 0

    def _lock_folder(self) -> Path:
        """Return this user's private folder in /tmp; the state folder if somebody else owns that name."""
        folder = _SHARED / f"media-catalog-{os.geteuid()}"
        with suppress(FileExistsError):
            folder.mkdir(0o700)
        found = folder.lstat()
        private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
        return folder if private and found.st_uid == os.geteuid() else self._folder
