"""What happened when: every action, fault, run and violation, so that a violation is printed with what led to it."""

import threading
import time
from collections import Counter
from pathlib import Path

import msgspec

BEFORE = 25  # events that are printed with a violation


class Event(msgspec.Struct, frozen=True):
    """at: seconds since the beginning."""

    at: float
    kind: str
    text: str

    def __str__(self) -> str:
        minutes, seconds = divmod(self.at, 60)
        return f"{int(minutes):3}:{seconds:04.1f}  {self.kind:11} {self.text}"


class Violation(msgspec.Struct, frozen=True):
    """oracle: O1 to O8, or `stack` when the local stack itself gave up. events: what came before."""

    oracle: str
    text: str
    at: float
    events: tuple[Event, ...]


class Journal:
    """Safe for threads. Each event is also a line of `file`, as soon as it happens."""

    def __init__(self, file: Path | None = None) -> None:
        self.began = time.monotonic()
        self.events: list[Event] = []
        self.violations: list[Violation] = []
        self.kinds: Counter[str] = Counter()
        self._known: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._file = file.open("a", buffering=1, encoding="utf-8") if file else None

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began

    def note(self, kind: str, text: str) -> None:
        """Keep an event."""
        with self._lock:
            self._note(kind, text)

    def _note(self, kind: str, text: str) -> None:
        event = Event(self.now(), kind, text)
        self.events.append(event)
        self.kinds[kind] += 1
        if self._file:
            self._file.write(f"{event}\n")

    def violate(self, oracle: str, text: str) -> bool:
        """Keep a violation, once. Returns whether it is new."""
        with self._lock:
            if (oracle, text) in self._known:
                return False
            self._known.add((oracle, text))
            before = tuple(self.events[-BEFORE:])
            self.violations.append(Violation(oracle, text, self.now(), before))
            self._note("VIOLATION", f"{oracle}: {text}")
            return True
