"""A server that runs as a process of its own: started as a user without rights, and stopped with us."""

import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from catalog.local.demote import demotion, make_folders, reachable
from catalog.local.ports import free_port
from catalog.local.processes import dies_with_parent

STOP_SECONDS = 30
EXCERPT = 2000  # characters of the log that an error message quotes


class Server:
    """A server of the local stack.

    Attributes:
        name: Its name in messages.
        log_name: Name of its log.
        signals: What stops it, and what ends it if it does not stop in time.
    """

    name: ClassVar[str]
    log_name: ClassVar[str]
    signals: ClassVar[tuple[signal.Signals, signal.Signals]]

    def __init__(self, state: Path, port: int) -> None:
        """Describe a server.

        Args:
            state: Folder of the server; `nobody` must be able to reach it when we are root.
            port: TCP port; 0 chooses a free one.
        """
        self.state, self.port = state.resolve(), port or free_port()
        self._demoted = demotion()
        self._process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Stop the server, unless it has ended."""
        if self._process is None or self._process.poll() is not None:
            return
        first, last = self.signals
        self._process.send_signal(first)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.send_signal(last)
            self._process.wait(STOP_SECONDS)

    def _make_folders(self, *folders: Path) -> None:
        """Make folders of the server's user, the state folder among them.

        Raises:
            RuntimeError: That user cannot reach them.
        """
        make_folders(self._demoted, self.state, *folders)
        if self._demoted and not reachable(self.state):
            raise RuntimeError(
                f"{self.state} cannot be reached by another user, and {self.name} does not run as root; "
                "use another folder."
            )

    def _launch(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Start the process, and return its PID. It ends with this process."""
        with (self.state / self.log_name).open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.state,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=dies_with_parent(self.signals[0]),
                **self._demoted,
            )
        return self._process.pid

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _not_started(self, reason: str = "") -> RuntimeError:
        """Return the error of a server that has ended or is not ready in time, with the end of its log."""
        log = (self.state / self.log_name).read_text(errors="replace")[-EXCERPT:]
        return RuntimeError(f"{self.name} did not start on port {self.port}:{reason}\n{log}")

    def _is_hidden(self, programs: Path) -> bool:
        """Return True if the server's user cannot reach programs of a wheel."""
        return bool(self._demoted) and not reachable(programs)


def copy_once(source: Path, target: Path) -> None:
    """Copy a folder, completely or not at all, unless that is done."""
    if not target.exists():
        partial = target.with_suffix(".partial")
        shutil.copytree(source, partial, symlinks=True, dirs_exist_ok=True)
        partial.rename(target)
