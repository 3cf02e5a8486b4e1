"""Counts the results of the items of a page, by reason."""

from collections import Counter
from collections.abc import Mapping

from catalog.core.jsontypes import JsonObject
from catalog.core.media import MediaType
from catalog.ingestion.cleaning import tidy
from catalog.ingestion.parts import Counts
from catalog.ingestion.reasons import OTHER, SEEN
from catalog.ingestion.records import Raw

MAX_REASONS = 50  # distinct reasons of a count; those that contain an API's text would grow without bound
MAX_REASON = 200  # characters
Passed = dict[str, dict[str, int]]  # media type → reason → items that were skipped or rejected


class Tally:
    """Counts the items of one page into the counts of the pull.

    An item without a record, which is skipped or rejected, cannot be recognised when it is read again. It is
    taken for one that was counted, as long as fewer have come again than were counted for its reason. A
    reject that is recognised and has another outcome now does not count any more (`take_back`).

    Attributes:
        rejects: The rejected items of the page.
        of_page: Items of the page without a record.
        reread: The pull went back to this page.
    """

    def __init__(
        self,
        counts: dict[str, Counts],
        passed: Passed | None = None,
        before: Passed | None = None,
        *,
        reread: bool = False,
    ) -> None:
        """Begin a page.

        Args:
            counts: Counts of the pull.
            passed: Items without a record in this walk through the round; those of the page are added.
            before: The same in earlier walks through the round, of which each item may come again.
            reread: The pull went back to this page, so that all of the round may come again.
        """
        self._counts, self._passed = counts, {} if passed is None else passed
        self.of_page: Passed = {}
        self.rejects: list[JsonObject] = []
        self.reread, self._earlier, self._again = reread, False, bool(before)
        known = self._before = before or {}  # what may come again
        self._known = most(known, self._passed) if reread else _less(known, self._passed)
        self._known_of_round = self._known

    def begin_earlier(self) -> None:
        """Go on with items of an earlier response, which may be those of the page in another form."""
        self._known, self._earlier = most(self.of_page, {}), True

    def end_earlier(self) -> None:
        """Go on with records of all items, after `begin_earlier`."""
        self._known, self._earlier = self._known_of_round, False

    def _of(self, media_type: MediaType) -> Counts:
        return self._counts.setdefault(media_type, Counts(skipped={}, rejected={}, cleaned={}))

    def fetched(self, media_type: MediaType) -> None:
        """Count a record that is written, skipped or rejected later."""
        self._of(media_type).fetched += 1

    def skip(self, media_type: MediaType, reason: str) -> None:
        """Count an item that the mapping does not want."""
        self.fetched(media_type)
        self.pass_over(media_type, reason)

    def pass_over(self, media_type: MediaType, reason: str, *, new: bool = False) -> None:
        """Count a skipped record that `fetched` has counted already; a new one was not read in this walk."""
        self._pass(media_type, self._of(media_type).skipped, reason, new=new)

    def repeat(self, media_type: MediaType) -> None:
        """Count a record that was read before in this pull; `fetched` has counted it already."""
        _count(self._of(media_type).skipped, SEEN)

    def fail(self, media_type: MediaType, reason: str, raw: Raw, **details: str) -> None:
        """Count a rejected item; `details`, which help to find the cause, are stored with it."""
        self.fetched(media_type)
        self.reject(media_type, reason, raw, details)

    def reject(
        self,
        media_type: MediaType,
        reason: str,
        raw: Raw,
        details: Mapping[str, str] | None = None,
        *,
        new: bool = False,
    ) -> None:
        """Count a rejected record that `fetched` has counted already; see `pass_over`."""
        if self._pass(media_type, self._of(media_type).rejected, reason, new=new):
            self.rejects.append({"media_type": media_type, "reason": reason, **(details or {}), "raw": raw})

    def _pass(self, media_type: MediaType, reasons: dict[str, int], reason: str, *, new: bool) -> bool:
        """Count an item without a record; return whether it is counted for its reason."""
        reason = _counted_as(reasons, reason)
        is_new = new and not self._again  # an earlier walk may have read it
        repeated = not is_new and self._known.get(media_type, {}).get(reason, 0) > 0
        if not (repeated and self._earlier):
            _add(self.of_page, media_type, reason)
            if not (repeated and self.reread):
                _add(self._passed, media_type, reason)
        if repeated:
            _add(self._known, media_type, reason, -1)
            self.repeat(media_type)
        else:
            _count(reasons, reason)
        return not repeated

    def take_back(self, media_type: MediaType, reason: str) -> None:
        """Stop counting a reject of an earlier walk, whose item has come again with another outcome.

        If another item with this reason was taken for it meanwhile, it is that one which counts.
        """
        rejected, known = self._of(media_type).rejected, self._known.get(media_type, {})
        names = (tidy(reason)[:MAX_REASON], OTHER)
        counted = next((name for name in names if rejected.get(name)), None)
        if counted is None or known.get(counted, 0) <= 0:
            return
        rejected[counted] -= 1
        if not rejected[counted]:
            del rejected[counted]
        self.repeat(media_type)
        _add(self._known, media_type, counted, -1)
        _add(self._before, media_type, counted, -1)

    def write(self, media_type: MediaType, rows: int, cleaned: Counter[str]) -> None:
        """Count rows of the page, and the values that were changed or dropped in them."""
        counts = self._of(media_type)
        counts.written += rows
        for reason, number in cleaned.items():
            _count(counts.cleaned, reason, number)
        cleaned.clear()


def most(one: Passed, other: Passed) -> Passed:
    """Return the larger one of two numbers, for each medium and reason."""
    return {
        media_type: {
            reason: max(numbers.get(media_type, {}).get(reason, 0) for numbers in (one, other))
            for reason in {**one.get(media_type, {}), **other.get(media_type, {})}
        }
        for media_type in {**one, **other}
    }


def _less(numbers: Passed, others: Passed) -> Passed:
    """Return by how many numbers are larger than others."""
    return {
        media_type: {
            reason: number - others.get(media_type, {}).get(reason, 0) for reason, number in reasons.items()
        }
        for media_type, reasons in numbers.items()
    }


def _add(numbers: Passed, media_type: str, reason: str, number: int = 1) -> None:
    of = numbers.setdefault(media_type, {})
    of[reason] = of.get(reason, 0) + number


def _count(reasons: dict[str, int], reason: str, number: int = 1) -> None:
    key = _counted_as(reasons, reason)
    reasons[key] = reasons.get(key, 0) + number


def _counted_as(reasons: dict[str, int], reason: str) -> str:
    reason = tidy(reason)[:MAX_REASON]  # it may contain an API's text, such as a lone surrogate
    return reason if reason in reasons or len(reasons) < MAX_REASONS else OTHER
