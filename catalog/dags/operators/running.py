"""What tasks that work for long have in common: telling how far they are, stopping when asked to, failing so that Airflow does right."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from catalog.core.errors import CatalogError, Fatal, Refused

log = logging.getLogger(__name__)


def looks_again(every: float, hours: float, **options: Any) -> Callable[[Callable[..., bool]], Any]:
    """Makes a function a sensor that looks, leaves its slot, and looks again, so long. every: seconds.

    A scheduler that is slow to hear that a try was rescheduled takes the next one for lost, which costs a retry.
    """
    sensor: Any = task.sensor(
        mode="reschedule", poke_interval=every, timeout=hours * 3600, retries=10, **options
    )
    return sensor  # type: ignore[no-any-return]


class Meter:
    """Says in the task log every few seconds how far a task is, how fast, and how long it will go on. total: 0 when it is not known."""

    def __init__(self, what: str, total: int = 0, every: float = 10.0) -> None:
        self._what, self._total, self._every = what, total, every
        self._began = self._last = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int | None = None) -> bool:
        """Whether it has said something. total: when it is known only now."""
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


def stop_asked() -> Callable[[], bool]:
    """From now on SIGTERM makes the returned function true, so that the work at hand can be ended first.

    How long that may take is up to who sends it. A worker that is stopped (a deploy) passes the signal on and waits as
    long as whoever stops the worker does. Airflow itself, when a run is marked as failed or a task is cleared, kills
    the task 5 seconds later; no setting changes that, and the next attempt goes on after what was saved.
    What Airflow's task runner does at SIGTERM (`on_kill`) is still done.
    """
    stop = threading.Event()
    before = signal.getsignal(signal.SIGTERM)

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, ask)
    return stop.is_set


@contextmanager
def task_failures(hint: str = "") -> Iterator[None]:
    """The library's errors as Airflow's: what cannot succeed fails at once, what may succeed later is tried again.

    hint: what to do after a fatal one.
    """
    try:
        yield
    except Refused as error:
        raise AirflowFailException(f"refused: {error}") from None
    except Fatal as error:
        raise AirflowFailException(f"{error} {hint}".strip()) from None
    except CatalogError as error:
        raise AirflowException(str(error)) from None
