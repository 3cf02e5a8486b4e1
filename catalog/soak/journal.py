"""Journal of a soak: actions, faults, runs and violations, each with its time."""

import threading
import time
from collections import Counter
from pathlib import Path

import msgspec

from catalog.soak.violations import Oracle

EVENTS_BEFORE = 25  # that are printed with a violation


class Event(msgspec.Struct, frozen=True):
    """Something that happened.

    Attributes:
        at: Seconds since the beginning.
        kind: `fault`, `trigger`, `failed`, `clear`, …
        message: What happened.
    """

    at: float
    kind: str
    message: str

    def __str__(self) -> str:
        minutes, seconds = divmod(self.at, 60)
        return f"{int(minutes):3}:{seconds:04.1f}  {self.kind:11} {self.message}"


class RecordedViolation(msgspec.Struct, frozen=True):
    """A violation, when it was found and what happened before it.

    Attributes:
        oracle: Oracle that found it.
        message: What is wrong.
        at: Seconds since the beginning.
        events: Events before it.
    """

    oracle: Oracle
    message: str
    at: float
    events: tuple[Event, ...]


class Journal:
    """Events and violations; thread-safe."""

    def __init__(self, file: Path | None = None) -> None:
        """Start an empty journal.

        Args:
            file: Receives each event as a line, at once.
        """
        self.began = time.monotonic()
        self.events: list[Event] = []
        self.violations: list[RecordedViolation] = []
        self.kinds: Counter[str] = Counter()
        self._known: set[tuple[Oracle, str]] = set()
        self._lock = threading.Lock()
        self._file = file.open("a", buffering=1, encoding="utf-8") if file else None

    def now(self) -> float:
        """Return the seconds since the beginning."""
        return time.monotonic() - self.began

    def note(self, kind: str, message: str) -> None:
        """Record an event."""
        with self._lock:
            self._note(kind, message)

    def _note(self, kind: str, message: str) -> None:
        event = Event(self.now(), kind, message)
        self.events.append(event)
        self.kinds[kind] += 1
        if self._file:
            self._file.write(f"{event}\n")

    def record_violation(self, oracle: Oracle, message: str) -> bool:
        """Record a violation, unless it is recorded already; return True if it is new."""
        with self._lock:
            if (oracle, message) in self._known:
                return False
            self._known.add((oracle, message))
            before = tuple(self.events[-EVENTS_BEFORE:])
            self.violations.append(RecordedViolation(oracle, message, self.now(), before))
            self._note("VIOLATION", f"{oracle}: {message}")
            return True
