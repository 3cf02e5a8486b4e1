"""A step of an adoption: what it runs, and what it locks for how long."""

from typing import Literal

import msgspec

EXCLUSIVE, BESIDE_WRITERS, ROWS = "ACCESS EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "ROW EXCLUSIVE"
How = Literal["at once", "index", "fill", "duplicates"]
SCAN = 200e6  # bytes a second, for estimates
SORT = 200_000  # rows a second that become entries of a new index


class Lock(msgspec.Struct, frozen=True):
    """A table lock. seconds: how long it is held, about; 0: an instant."""

    table: str
    mode: str
    seconds: float = 0

    @property
    def text(self) -> str:
        return f"{self.mode} on {self.table}, {duration(self.seconds)}"


class Step(msgspec.Struct, frozen=True):
    """One step.

    Attributes:
        title: What it does, for people.
        how: at once: the statements are one short transaction. index: one by one, outside a transaction.
            fill, duplicates: batches.
        statements: What is run; of batches, what each batch runs.
        locks: Taken while it runs.
        table: The one it works on.
        keys: Of duplicates: sets of columns and expressions; each set should be unique.
        rows: That it changes or reads, as far as known.
    """

    title: str
    how: How
    statements: tuple[str, ...]
    locks: tuple[Lock, ...] = ()
    table: str = ""
    keys: tuple[tuple[str, ...], ...] = ()
    rows: int = 0

    @property
    def exclusively(self) -> list[str]:
        """What it locks against readers."""
        return [lock.table for lock in self.locks if lock.mode == EXCLUSIVE]


def duration(seconds: float) -> str:
    """Of a lock, roughly: people plan by it, nobody counts on it."""
    if seconds <= 0:
        return "an instant"
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"
