"""Progress of long tasks in their log, and stopping them between two steps."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from catalog.core.session import Connection, interruptible

log = logging.getLogger(__name__)


class Meter:
    """Writes progress, rate and remaining time to the task log every few seconds.

    Args:
        what: The unit, in the plural.
        total: Of that unit; 0 if it is not known.
        every: Seconds between two lines.
    """

    def __init__(self, what: str, total: int = 0, every: float = 10.0) -> None:
        self._what, self._total, self._every = what, total, every
        self._began = self._last = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int | None = None) -> bool:
        """Report progress.

        Args:
            done: Units done, by earlier attempts as well.
            total: Replaces the total.

        Returns:
            Whether a line was written.
        """
        if total is not None:
            self._total = total
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = done, now
        if now - self._last < self._every:
            return False
        self._last = now
        rate = (done - self._first) / max(now - self._began, 0.001)
        left = (
            f" of {self._total:,}, about {(self._total - done) / max(rate, 1) / 60:.0f} min to go"
            if self._total
            else ""
        )
        log.info("%s %s%s, %.0f a second", f"{done:,}", self._what, left, rate)
        return True


class _Sigterms:
    """Counts the signals that this process has received since it began to listen."""

    def __init__(self) -> None:
        self.received = 0
        self._handler: Callable[[int, FrameType | None], None] | None = None

    def listen(self) -> None:
        """Handle the signal, unless that is done; only the main thread can."""
        before = signal.getsignal(signal.SIGTERM)
        if before is self._handler or threading.current_thread() is not threading.main_thread():
            return

        def handle(number: int, frame: FrameType | None) -> None:
            self.received += 1
            if callable(before):
                before(number, frame)

        self._handler = handle
        signal.signal(signal.SIGTERM, handle)


_sigterms = _Sigterms()


def sigterm_flag() -> Callable[[], bool]:
    """Handle SIGTERM from now on, and return a function that tells whether it has come.

    A task checks it between two steps and stops there. How long a step may take is up to the sender. A worker
    that is stopped (a deployment) passes the signal on and waits as long as its own stop timeout. Airflow
    itself, when a run is marked as failed or a task is cleared, kills the task 5 seconds later; no setting
    changes that, and the next attempt resumes from the saved state. The handler of Airflow's task runner
    (`on_kill`) is still called. Another thread than the main one learns of SIGTERM only if the main one has
    called this before.
    """
    _sigterms.listen()
    before = _sigterms.received
    return lambda: _sigterms.received > before


@contextmanager
def stoppable(connection: Connection) -> Iterator[None]:
    """Cancel what a connection executes when SIGTERM comes.

    Whatever is not committed then is rolled back, as after a kill.

    Args:
        connection: Connection to a database.

    Raises:
        Interrupted: A statement was cancelled.
    """
    with interruptible(connection, sigterm_flag()):
        yield
