"""A step of an adoption: the statements that it runs, and the locks that it holds."""

from typing import Literal

import msgspec

EXCLUSIVE, BESIDE_WRITERS, ROWS = "ACCESS EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "ROW EXCLUSIVE"
How = Literal["transaction", "index", "fill", "duplicates"]
SCAN = 200e6  # bytes per second that a scan reads, for estimates
SORT = 200_000  # rows per second that become entries of a new index, for estimates


class Lock(msgspec.Struct, frozen=True):
    """A table lock.

    Attributes:
        table: Name of the table.
        mode: Mode, as LOCK TABLE names it.
        seconds: Estimate of how long it is held; 0 for an instant.
    """

    table: str
    mode: str
    seconds: float = 0

    @property
    def text(self) -> str:
        """The lock and its duration, for people."""
        return f"{self.mode} on {self.table}, {duration(self.seconds)}"


class Step(msgspec.Struct, frozen=True):
    """A step of an adoption.

    Attributes:
        title: What the step does, for people.
        how: "transaction": the statements are one short transaction. "index": they run one by one, outside
            a transaction. "fill" and "duplicates": batches.
        statements: Statements that it runs; a summary of those of a batch.
        locks: Locks that it takes.
        table: Table that it works on.
        keys: For duplicates, sets of columns and expressions; each set should be unique.
        rows: Number of rows that it changes or reads, as far as known.
    """

    title: str
    how: How
    statements: tuple[str, ...]
    locks: tuple[Lock, ...] = ()
    table: str = ""
    keys: tuple[tuple[str, ...], ...] = ()
    rows: int = 0

    @property
    def locked_exclusively(self) -> list[str]:
        """Tables that the step locks against readers."""
        return [lock.table for lock in self.locks if lock.mode == EXCLUSIVE]


def duration(seconds: float) -> str:
    """Return a rough duration for people, who only plan by it."""
    if seconds <= 0:
        return "an instant"
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"
