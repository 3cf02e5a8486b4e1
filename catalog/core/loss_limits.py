"""How many records new tables, indexes and datasets may lack: of those before them, and of their source."""

from collections.abc import Mapping
from typing import TypeVar

Name = TypeVar("Name")
TOTAL = 0.10  # share of all records that may be missing
SOURCE = 0.5  # share of a source's records that may be missing
SOURCE_SIZE = 1000  # records from which a source is checked
HIDDEN = 0.5  # share of the sensitive records that may be shown again
HIDDEN_SIZE = 100  # sensitive records from which their number is checked
FEW = 10  # records, or decisions, whose loss matters if it is more than a share
SOME = 3  # records, or decisions, from which it matters if none is left
REJECTS = 0.01  # share of records that may be rejected
FEW_REJECTS = 10  # rejected records that are always accepted
ORPHANS = 0.01  # share of the entries of lists that may refer to missing media
FEW_ORPHANS = 10  # such entries from which their share counts
AGAIN = 0.01  # by which the same may be smaller when it is counted again
FEW_AGAIN = 5  # by which it may be, of few


def lost_too_many(before: int, now: int, share: float) -> bool:
    """Return whether more than a share of the records is missing, and more than a few, or all of them.

    Without the lower limit, a small catalog could not lose a single record.

    Args:
        before: Their number before.
        now: Their number now.
        share: Share that may be missing.
    """
    lost = before - now
    return lost > share * before and lost >= (FEW if now else SOME)


def hides_too_few(before: int, now: int) -> bool:
    """Return whether so few records are hidden as sensitive that the list of terms may be a wrong one.

    Args:
        before: Number of hidden records before.
        now: Their number now.
    """
    return before >= (HIDDEN_SIZE if now else FEW) and lost_too_many(before, now, HIDDEN)


def lost_decisions(before: int, now: int) -> bool:
    """Return whether many decisions of moderators are gone, without which records would be shown again.

    Args:
        before: How many of them are looked for.
        now: How many are found.
    """
    return lost_too_many(before, now, TOTAL)


def tolerable(size: int) -> float:
    """Return by how much the same may be smaller when it is counted again: of few, by five or half.

    Args:
        size: Number of items or records that there were.
    """
    return min(max(size * AGAIN, FEW_AGAIN), size / 2)


def allowed_rejects(records: int) -> int:
    """Return how many of a number of records may be rejected."""
    return max(FEW_REJECTS, int(REJECTS * records))


def orphaned_too_many(orphans: int, entries: int) -> bool:
    """Return whether too many entries of lists refer to missing media.

    Args:
        orphans: Their number.
        entries: Number of all entries.
    """
    return orphans >= FEW_ORPHANS and orphans > ORPHANS * entries


def shrunken_sources(before: Mapping[Name, int], now: Mapping[Name, int]) -> list[Name]:
    """Return the sources that have lost at least `SOURCE` of their records, in the order of `before`.

    Args:
        before: Records by source before.
        now: Records by source now.
    """
    return [
        name
        for name, number in before.items()
        if number >= SOURCE_SIZE and now.get(name, 0) <= (1 - SOURCE) * number
    ]
