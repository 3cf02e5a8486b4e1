"""When a part of the stack that has ended is started again: after pauses that grow, and no more after minutes.

A part that has never stayed up is given up sooner: nobody works with the stack yet, and somebody waits for
it.
"""

import time
from collections.abc import Callable

import msgspec

FIRST, LONGEST = 0.5, 30.0  # seconds of pause
STABLE = 60.0  # seconds after which an end is the first one again
PATIENCE = 300.0  # seconds for which a part may keep ending
PATIENCE_AT_START = 40.0  # the same for a part that has not been stable yet


class KeepsEnding(Exception):
    """A part ended again and again; the text names it."""


class _Part(msgspec.Struct):
    since: float = 0.0  # when the streak of ends began
    ends: int = 0
    started: float = 0.0
    stable: bool = False  # has it ever been
    due: float | None = None


class Restarts:
    """What has ended, and when it is due again. One streak of ends is counted for each part.

    A crash of the database ends several parts at once, and each of them once more until it is back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds; an argument so that tests need not wait."""
        self._clock = clock
        self._parts: dict[str, _Part] = {}

    def started(self, name: str) -> None:
        part = self._parts.setdefault(name, _Part())
        part.started, part.due = self._clock(), None

    def ended(self, name: str) -> float:
        """Note an end.

        Returns:
            Seconds until the part is due again.

        Raises:
            KeepsEnding: It has kept ending for longer than it may.
        """
        part, now = self._parts.setdefault(name, _Part()), self._clock()
        part.stable |= (stayed := now - part.started >= STABLE)
        if part.ends == 0 or stayed:
            part.since, part.ends = now, 0
        part.ends += 1
        if now - part.since > (PATIENCE if part.stable else PATIENCE_AT_START):
            raise KeepsEnding(
                f"{name} ended {part.ends} times in {now - part.since:.0f} s and does not stay up"
            )
        pause = min(FIRST * 2.0 ** min(part.ends - 1, 30), LONGEST)
        part.due = now + pause
        return pause

    def due(self) -> list[str]:
        """Names of the parts whose pause is over."""
        now = self._clock()
        return [name for name, part in self._parts.items() if part.due is not None and part.due <= now]

    def waiting(self, name: str) -> bool:
        return name in self._parts and self._parts[name].due is not None
