"""Counting what became of each item, by reason."""

from collections import Counter
from typing import Any

from catalog.ingestion.parts import Counts
from catalog.ingestion.records import MediaType, Raw


class Tally:
    """Counts the items of one page into the counts of the pull."""

    def __init__(self, counts: dict[str, Counts]) -> None:
        self._counts = counts
        self.rejects: list[dict[str, Any]] = []

    def _of(self, media_type: MediaType) -> Counts:
        return self._counts.setdefault(media_type, Counts(skipped={}, rejected={}, cleaned={}))

    def fetched(self, media_type: MediaType) -> None:
        self._of(media_type).fetched += 1

    def skip(self, media_type: MediaType, reason: str) -> None:
        counts = self._of(media_type)
        counts.fetched += 1
        counts.skipped[reason] = counts.skipped.get(reason, 0) + 1

    def pass_over(self, media_type: MediaType, reason: str) -> None:
        """A record, counted as fetched already, that is not wanted after all."""
        skipped = self._of(media_type).skipped
        skipped[reason] = skipped.get(reason, 0) + 1

    def reject(self, media_type: MediaType, reason: str, raw: Raw) -> None:
        counts = self._of(media_type)
        counts.rejected[reason] = counts.rejected.get(reason, 0) + 1
        if reason.startswith("mapping failed"):
            counts.fetched += 1
        self.rejects.append({"media_type": media_type, "reason": reason, "raw": raw})

    def write(self, media_type: MediaType, rows: int, cleaned: Counter[str]) -> None:
        counts = self._of(media_type)
        counts.written += rows
        counts.cleaned = dict(Counter(counts.cleaned) + cleaned)
        cleaned.clear()
