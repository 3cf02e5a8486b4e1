"""One deadline for a whole response, from before the request is sent until the last byte is read.

A socket's timeout restarts with each byte that arrives, so a slow trickle of bytes never exceeds it. The
deadline is kept in a context variable, because the reads that it limits are deep inside `http.client`.
"""

import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class Deadline:
    """The time by which a response must be complete.

    Attributes:
        seconds: Time from the start to the deadline.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def passed(self) -> bool:
        return time.monotonic() >= self._at

    def within(self, timeout: float | None) -> float:
        """Return a timeout for the next operation, in seconds: the given one, or less.

        Raises:
            TimeoutError: The deadline has passed.
        """
        remaining = self._at - time.monotonic()
        if remaining <= 0:
            raise TimeoutError(f"not complete after {self.seconds:g} s")
        return remaining if timeout is None else min(timeout, remaining)


_CURRENT: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[Deadline]:
    """Set a deadline for all that this thread sends and reads inside the `with` block."""
    made = Deadline(seconds)
    token = _CURRENT.set(made)
    try:
        yield made
    finally:
        _CURRENT.reset(token)


def within_deadline(timeout: float | None) -> float | None:
    """Shorten a timeout to the current deadline, if there is one.

    Raises:
        TimeoutError: The deadline has passed.
    """
    current = _CURRENT.get()
    return current.within(timeout) if current else timeout


class TimedReader(io.RawIOBase):
    """The file of a socket, with reads that end at the current deadline."""

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
        """Release the socket, which is closed with its last reference."""
        try:
            super().close()
        finally:
            self._raw.close()
