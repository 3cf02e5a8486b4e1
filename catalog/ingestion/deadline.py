"""One deadline for a whole answer, from before the first byte is sent until the last one is read.

A socket's time-out starts again with each byte that arrives, so a server that drips is never too slow for it.
The deadline is kept in a context variable, because what it bounds are reads deep inside `http.client`.
"""

import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class Deadline:
    """A moment by which an answer has to be complete.

    Attributes:
        seconds: How long it may take in all.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def passed(self) -> bool:
        return time.monotonic() >= self._at

    def within(self, timeout: float | None) -> float:
        """Seconds that the next operation may take: the given time-out, or less. Raises TimeoutError at 0."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not complete after {self.seconds:g} s")
        return left if timeout is None else min(timeout, left)


_CURRENT: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[Deadline]:
    """Bound everything that this thread sends and reads inside the `with`."""
    made = Deadline(seconds)
    token = _CURRENT.set(made)
    try:
        yield made
    finally:
        _CURRENT.reset(token)


def within_deadline(timeout: float | None) -> float | None:
    """A time-out that ends with the deadline in force, if any. Raises TimeoutError when it has passed."""
    current = _CURRENT.get()
    return current.within(timeout) if current else timeout


class TimedReader(io.RawIOBase):
    """A socket's file whose reads end with the deadline in force, however little each of them brings."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw, self._socket, self._timeout = raw, sock, sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(within_deadline(self._timeout))
        return self._raw.readinto(buffer)

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        """Gives the socket back, which is closed when nobody else holds it."""
        try:
            super().close()
        finally:
            self._raw.close()
