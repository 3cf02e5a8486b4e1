"""Counts the results of the items of a page, by reason."""

from collections import Counter

from catalog.core.jsontypes import JsonObject
from catalog.core.media import MediaType
from catalog.ingestion.cleaning import tidy
from catalog.ingestion.parts import Counts
from catalog.ingestion.reasons import OTHER
from catalog.ingestion.records import Raw

MAX_REASONS = 50  # distinct reasons of a count; those that contain an API's text would grow without bound
MAX_REASON = 200  # characters


class Tally:
    """Counts the items of one page into the counts of the pull."""

    def __init__(self, counts: dict[str, Counts]) -> None:
        self._counts = counts
        self.rejects: list[JsonObject] = []

    def _of(self, media_type: MediaType) -> Counts:
        return self._counts.setdefault(media_type, Counts(skipped={}, rejected={}, cleaned={}))

    def fetched(self, media_type: MediaType) -> None:
        """Count a record that is written, skipped or rejected later."""
        self._of(media_type).fetched += 1

    def skip(self, media_type: MediaType, reason: str) -> None:
        """Count an item that the mapping does not want."""
        self.fetched(media_type)
        self.pass_over(media_type, reason)

    def pass_over(self, media_type: MediaType, reason: str) -> None:
        """Count a skipped record that `fetched` has counted already."""
        _count(self._of(media_type).skipped, reason)

    def fail(self, media_type: MediaType, reason: str, raw: Raw, **details: str) -> None:
        """Count a rejected item; `details`, which help to find the cause, are stored with it."""
        self.fetched(media_type)
        self.reject(media_type, reason, raw, **details)

    def reject(self, media_type: MediaType, reason: str, raw: Raw, **details: str) -> None:
        """Count a rejected record that `fetched` has counted already."""
        _count(self._of(media_type).rejected, reason)
        self.rejects.append({"media_type": media_type, "reason": reason, **details, "raw": raw})

    def write(self, media_type: MediaType, rows: int, cleaned: Counter[str]) -> None:
        """Count rows of the page, and the values that were changed or dropped in them."""
        counts = self._of(media_type)
        counts.written += rows
        for reason, number in cleaned.items():
            _count(counts.cleaned, reason, number)
        cleaned.clear()


def _count(reasons: dict[str, int], reason: str, number: int = 1) -> None:
    reason = tidy(reason)[:MAX_REASON]  # it may contain an API's text, such as a lone surrogate
    known = reason in reasons or len(reasons) < MAX_REASONS
    key = reason if known else OTHER
    reasons[key] = reasons.get(key, 0) + number
