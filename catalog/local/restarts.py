"""Restart policy of the supervisor: exponential pauses, and a limit for a part that keeps ending.

A part that has never been stable reaches the limit sooner, because someone is waiting for the start.
"""

import time
from collections.abc import Callable

import msgspec

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds
STABLE = 60.0  # seconds of running after which a streak of ends is over
LIMIT = 300.0  # seconds for which a part may keep ending
LIMIT_AT_START = 40.0  # the same for a part that has never been stable


class CrashLoop(Exception):
    """A part keeps ending; the message names it."""


class _Part(msgspec.Struct):
    since: float = 0.0  # begin of the current streak of ends
    ends: int = 0
    started: float = 0.0
    ever_stable: bool = False
    due: float | None = None


class Restarts:
    """Parts that have ended, and when they are due again.

    Ends are counted for each part: a crash of the database ends several parts at once, and each of them
    again until the database is back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Create a policy without any part.

        Args:
            clock: Seconds; an argument so that tests need not wait.
        """
        self._clock = clock
        self._parts: dict[str, _Part] = {}

    def started(self, name: str) -> None:
        part = self._parts.setdefault(name, _Part())
        part.started, part.due = self._clock(), None

    def ended(self, name: str) -> float:
        """Record that a part has ended.

        Returns:
            Seconds until the part is due again.

        Raises:
            CrashLoop: The part has kept ending for longer than the limit.
        """
        part, now = self._parts.setdefault(name, _Part()), self._clock()
        part.ever_stable |= (stable := now - part.started >= STABLE)
        if part.ends == 0 or stable:
            part.since, part.ends = now, 0
        part.ends += 1
        if now - part.since > (LIMIT if part.ever_stable else LIMIT_AT_START):
            raise CrashLoop(
                f"{name} ended {part.ends} times in {now - part.since:.0f} s and does not stay up"
            )
        pause = min(FIRST_PAUSE * 2.0 ** min(part.ends - 1, 30), LONGEST_PAUSE)
        part.due = now + pause
        return pause

    def due(self) -> list[str]:
        """Return the names of the parts whose pause is over."""
        now = self._clock()
        return [name for name, part in self._parts.items() if part.due is not None and part.due <= now]

    def waiting(self, name: str) -> bool:
        return name in self._parts and self._parts[name].due is not None
