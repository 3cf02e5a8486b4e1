"""Decides whether a pull is whole: compares it with the API's announced totals and with earlier pulls.

A well-formed response may still hold too little: a search that was cut short, a list that lost items while an
index was rebuilt, an identifier that was renamed. Such a pull is loaded, because its records are good. But it
is reported with both numbers, its run fails, and it does not count as fresh until a person accepts it.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

import msgspec

from catalog.core.loss_limits import tolerable
from catalog.ingestion.reasons import LEFT_ALONE, OWN_SKIPS, READ_TWICE

SHOWN = 20  # shortfalls that a manifest and a report keep
NEIGHBOURS = 5  # windows needed to say what is usual
OFTEN = 3  # accepted empty windows among the nearest ten that make an empty one usual
# Share of the lower quartile of the windows near it that a window has at least. The smallest of them alone
# tells too little: they may have shrunk step by step, each by a little less than the limit.
QUARTILE_SHARE = 0.1
RECENT = 5  # pulls of everything whose rejects and skips are usual
USUAL_REJECTS = 0.2  # share of rejected items that is usual for any provider
MARGIN = 0.2  # by which the share of a skip reason may exceed the usual one
NOTICEABLE = 5  # items; fewer rejects, or skips for one reason, raise no alert
UNEVEN = 0.9  # minimum size of a page relative to the largest; for numbered pages, except the last
DRIFT = 0.01  # by which a total may change while a round is read
COLLAPSE = 0.5  # a total below this share of the highest one is wrong
REREAD = 10  # pages of a round, and a tenth of it: the most that is read again because its total fell


class Outcome(msgspec.Struct, frozen=True):
    """The result of one load for one media type.

    Attributes:
        fetched: Items that were read.
        kept: Those that could be kept: records that the catalog has afterwards, or that were deleted there.
        skipped: Reason → number of items that the mapping did not want.
        rejected: Items that could not be stored.
        when: The day that the load covers, or on which it ran; for messages.
        accepted: It fell short, and a person has accepted that.
        same: It covers the same window as the load that it is compared with.
        announced: Items that the API announced for its pull, of all media types; None if it did not say.
        came: Media type → items that came in its pull.
    """

    fetched: int
    kept: int
    skipped: Mapping[str, int]
    rejected: int
    when: str = ""
    accepted: bool = False
    same: bool = False
    announced: int | None = None
    came: Mapping[str, int] = {}

    @classmethod
    def of(
        cls,
        fetched: int,
        kept: int,
        skipped: Mapping[str, int],
        rejected: int,
        when: str = "",
        accepted: bool = False,
        same: bool = False,
    ) -> "Outcome":
        """Build an outcome from the counts of a load.

        What a pull read twice counts once. What the load left alone has come and could be kept, so that
        deletions from the catalog change neither number.
        """
        again, left_alone = (
            sum(number for reason, number in skipped.items() if reason in reasons)
            for reasons in (READ_TWICE, LEFT_ALONE)
        )
        return cls(fetched - again, kept + left_alone, skipped, rejected, when, accepted, same)


class Uncovered(msgspec.Struct, frozen=True):
    """What none of a pull's rounds covers.

    Attributes:
        text: Describes it.
        items: How many items that are, if it is known.
    """

    text: str
    items: int = 0


class Expectations(msgspec.Struct, frozen=True):
    """The limits within which a provider's pulls count as usual.

    Attributes:
        windows: Pulls cover windows, such as a day, and vary in size; otherwise each pull covers everything.
        max_shrinkage: Share by which a pull may be smaller than earlier ones.
        deletion_reasons: Skip reasons that mean "no longer available"; they never apply to most of a pull.
    """

    windows: bool = False
    max_shrinkage: float = 0.5
    deletion_reasons: tuple[str, ...] = ()


def announced_total(lowest: int, highest: int) -> int:
    """Return which of the totals in the responses of a round counts.

    Totals drift while a list is read, because items are added and deleted: up to 1 %, the lowest total
    counts. A total that changes more is not trusted, and the highest one counts.
    """
    return lowest if lowest >= highest * (1 - DRIFT) else highest


def shortfall(read: int, announced: tuple[int, int], tolerance: float = 0, surplus: int = 0) -> str | None:
    """Describe what a round lacks compared with the announced total; return None if it is whole.

    Args:
        read: Items that were read.
        announced: The lowest and the highest total in the responses of the round.
        tolerance: Share by which the API's totals are known to exceed its items.
        surplus: The same as a number of items; the larger of both counts.
    """
    total = announced_total(*announced)
    if read >= total - max(surplus, total * tolerance):
        return None
    return f"{read:,} of {total:,} announced items came"


def may_reread(pages: int, read: int) -> bool:
    """Return whether a round may read pages again because its total fell.

    Args:
        pages: All pages of the round that would be read again.
        read: Pages of the round that were read.
    """
    return pages <= REREAD + read // 10


def collapses(total: int | None, announced: tuple[int, int]) -> bool:
    """Return whether a total is so much lower that nothing was deleted, such as 0 past the last page."""
    return total is not None and total < announced[1] * COLLAPSE


def is_lost(total: int, announced: tuple[int, int]) -> bool:
    """Return whether items may have moved past a round that does not go back when its total falls.

    Servers that count differently take turns: then the total returns to where it was. One that falls by more
    than it may drift is not trusted at all.

    Args:
        total: The total after it fell.
        announced: The lowest and the highest total before.
    """
    return total < announced[0] and announced_total(total, announced[1]) == total


def items_moved(lost: int) -> str:
    """Describe items that a round may lack although as many came as were announced."""
    return (
        f"the announced total fell again and again, and for {lost:,} items no page was read again: as many "
        "may have moved to pages that were read before"
    )


def parts_shortfall(parts: int, whole: int, divided_by: str, tolerance: float = DRIFT) -> Uncovered | None:
    """Return what the parts of a collection lack, None if they hold everything.

    Args:
        parts: Items in all parts together; an item that is in two counts twice.
        whole: Items in the collection, counted without the value that divides it.
        divided_by: The value, for the message, such as "hash".
        tolerance: Share of the collection that may be missing, because it changes while it is read.
    """
    if parts >= whole * (1 - tolerance):
        return None
    return Uncovered(
        f"the parts by {divided_by} hold {parts:,} items, the collection {whole:,}", whole - parts
    )


def short_page(largest: int, smallest: int | None) -> str | None:
    """Describe suspicious page sizes of a round; return None if there are none.

    Args:
        largest: Items on the largest page.
        smallest: Items on the smallest page except the last; None if there is only one page.
    """
    if smallest is None or smallest >= largest * UNEVEN:
        return None
    return (
        f"a page in the middle holds {smallest:,} items, another {largest:,}, "
        "and no exact total proves that all came"
    )


def too_empty(fetched: int, kept: int, *, windows: bool, proved: bool, said: bool = False) -> str | None:
    """Describe why a pull without errors is too empty to be whole; return None if it is not.

    Args:
        fetched: Items that were read.
        kept: Records that were written.
        windows: The pull covers a window, which may hold no items, or none that can be kept.
        proved: The API announced that there are no items, or that there is nothing to request.
        said: The API announced it in the responses of at least one round.
    """
    if not fetched and not windows and proved and said:
        return "nothing came at all: the API says that it has no items, which no whole collection has"
    if not fetched and not (windows and proved):
        return "nothing came at all, and the API did not say that there is nothing"
    if fetched and not kept and not windows:
        return f"none of the {fetched:,} items that came could be kept"
    return None


def unusual(now: Outcome, before: Sequence[Outcome], expected: Expectations) -> list[str]:
    """Describe what is unusual about a load, in sentences with both numbers.

    Args:
        now: The load to check.
        before: Whole loads to compare with, the nearest first: the most recent ones, or, for a provider that
            is pulled by windows, the last ones of the nearest windows. An accepted shortfall ends the
            comparison with what was before it.
        expected: The provider's limits.

    Returns:
        The findings; empty if the load is as usual.
    """
    return _too_few(now, before, expected) + _too_many(now, before, expected)


def _too_few(now: Outcome, before: Sequence[Outcome], expected: Expectations) -> list[str]:
    if not before:
        return []
    again = next((b.fetched for b in before if b.same), None)
    if not now.fetched and (again or 0) <= NOTICEABLE:
        often = sum(not b.fetched and b.accepted for b in before[: 2 * NEIGHBOURS]) >= OFTEN
        if often or again == 0:
            return []
        if all(b.fetched or b.accepted for b in before):
            return [f"nothing came at all, which is not usual in the {_pulls(before, expected)} compared"]
    measures = _of_windows if expected.windows else _of_pulls
    for what, size in (("came", attrgetter("fetched")), ("could be kept", attrgetter("kept"))):
        have: int = size(now)
        for measure in measures(before, size, 1 - expected.max_shrinkage):
            if have < measure.size * measure.share:
                fewer, usual = 1 - have / measure.size, 1 - measure.share
                text = f"{have:,} items {what}, {measure.size:,} in {measure.what}: {fewer:.0%} fewer, "
                return [f"{text}where at most {usual:.0%} fewer is usual"]
    return []


class _Measure(NamedTuple):
    size: int  # number of items
    share: float  # of it that a load has at least
    what: str  # where it was found


def _of_pulls(before: Sequence[Outcome], size: Callable[[Outcome], int], share: float) -> list[_Measure]:
    """Return the largest pull since an accepted shortfall, so that small losses add up."""
    accepted = next((place for place, b in enumerate(before, 1) if b.accepted), len(before))
    largest = max(before[:accepted], key=size)
    what = "the last whole pull" if largest is before[0] else "an earlier whole pull"
    return [_Measure(size(largest), share, f"{what} ({largest.when})" if largest.when else what)]


def _of_windows(before: Sequence[Outcome], size: Callable[[Outcome], int], share: float) -> list[_Measure]:
    """Return the last pull of the same window, the smallest window, and the lower quartile.

    The others only if they are enough to tell how windows vary. An accepted shortfall says what is usual for
    the windows around it, not for those of two months; an empty one says nothing about windows with items.
    """
    again = []
    if (last := next((size(b) for b in before if b.same), 0)) > NOTICEABLE:
        again = [_Measure(last, min(share, 1 - NOTICEABLE / last), "the last pull of this window")]
    before = [b for b in before if size(b) or not b.accepted]
    near = any(b.accepted for b in before[:NEIGHBOURS])
    sizes = sorted(size(b) for b in before if near or not b.accepted)
    if len(sizes) < NEIGHBOURS:
        return again
    windows = f"{len(sizes)} windows near it"
    smallest = _Measure(sizes[0], share, f"the smallest of {windows}")
    quartile = sizes[len(sizes) // 4]
    if near:
        return [*again, smallest]
    return [
        *again,
        smallest,
        _Measure(quartile, min(share, QUARTILE_SHARE), f"the lower quartile of {windows}"),
    ]


def unseen(now: Outcome, seen: Outcome | None) -> list[str]:
    """Describe what is missing beyond what was reported, which nobody can have accepted.

    Args:
        now: A load that falls short, and that the conf of its run accepts.
        seen: The load before it, whose shortfall was reported; None if that one did not fall short.
    """
    if seen is None:
        return ["the load before did not fall short, so nobody can have seen what is missing now"]
    for what, size in (("came", attrgetter("fetched")), ("could be kept", attrgetter("kept"))):
        have, had = size(now), size(seen)
        if have < had - tolerable(had):
            return [f"{have:,} items {what}, but {had:,} when the shortfall was reported ({seen.when})"]
    if now.announced is None or seen.announced is None:
        return []
    # Of the same media types, because the others may not have been loaded.
    have, had = sum(now.came.get(medium, 0) for medium in seen.came), sum(seen.came.values())
    if now.announced - have > seen.announced - had + tolerable(max(had, seen.announced)):
        text = f"{have:,} of {now.announced:,} announced items came, but {had:,} of {seen.announced:,}"
        return [f"{text} when the shortfall was reported ({seen.when})"]
    return []


def _too_many(now: Outcome, before: Sequence[Outcome], expected: Expectations) -> list[str]:
    if not now.fetched:
        return []
    if not expected.windows:
        before = before[:RECENT]
    reasons = []
    shares = [b.rejected / b.fetched for b in before if b.fetched]
    allowed = max(USUAL_REJECTS, 2 * max(shares, default=0.0))
    if now.rejected >= NOTICEABLE and now.rejected / now.fetched > allowed:
        reasons.append(_share(now.rejected, now.fetched, "were rejected", allowed))
    comparable = len(before) >= (NEIGHBOURS if expected.windows else 1)
    for reason, number in now.skipped.items():
        if reason in OWN_SKIPS or number < NOTICEABLE:
            continue
        usual = max((b.skipped.get(reason, 0) / b.fetched for b in before if b.fetched), default=0.0)
        allowed = max(2 * usual, usual + MARGIN)
        if reason in expected.deletion_reasons:
            allowed = max(0.5, 2 * usual) if not comparable else min(allowed, 1.0)
        elif not comparable:
            continue
        if number / now.fetched > allowed:
            reasons.append(_share(number, now.fetched, f"were skipped as “{reason}”", allowed))
    return reasons


def _share(number: int, of: int, what: str, allowed: float) -> str:
    return (
        f"{number:,} of {of:,} items {what} ({number / of:.0%}), "
        f"where {allowed:.0%} is the most that is usual"
    )


def _pulls(before: Sequence[Outcome], expected: Expectations) -> str:
    return f"{len(before)} {'windows' if expected.windows else 'pulls'}"
