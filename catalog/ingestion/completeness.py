"""Is a pull whole? What came is held against what the API announced, and against what it usually gives.

An answer that is well formed may still hold too little: a search that was cut short, a list that an index
being rebuilt has lost, an identifier that was renamed. Such a pull is loaded, because what came is good, but
it is reported with both numbers, its run fails, and nothing counts it as fresh until somebody accepts it.
"""

from collections.abc import Mapping, Sequence

import msgspec

from catalog.ingestion.tally import OVER_LIMIT, REPEATED, SEEN

DELETED = "deleted from the catalog"  # a skip of the load's
URL_TAKEN = "URL belongs to another record"  # a reject of the load's
URL_TAKEN_HINT = (
    "These bring a URL that another record holds, and are not kept until it has another URL. The rejects of "
    "the load name each holder (`belongs_to`). One that the provider no longer lists is the same record "
    "under its earlier identifier. "
    "Do not delete it: a deleted address stays deleted."
)
OURS = frozenset((OVER_LIMIT, REPEATED, SEEN, DELETED))  # skips that say nothing about the API
SHOWN = 20  # shortfalls a manifest and a report keep
NEIGHBOURS = 5  # windows that tell what is usual; fewer tell nothing about a spread
USUAL_REJECTS = 0.2  # share of items that any provider may have rejected
MARGIN = 0.2  # by which the share of a skip may exceed what is usual
NOTICEABLE = 5  # items: fewer rejects or skips of a kind are nobody's alarm
UNEVEN = 0.9  # share of the largest page that every page but the last holds, where pages are numbered
DRIFT = 0.01  # by which a total may change while its round is read


class Outcome(msgspec.Struct, frozen=True):
    """What became of the items of one media type in one load.

    Attributes:
        fetched: Items that came.
        kept: Records that are in the catalog afterwards.
        skipped: Reason → items that the mapping did not want.
        rejected: Items that could not be stored.
        when: The day it covers, or was loaded; for messages.
    """

    fetched: int
    kept: int
    skipped: Mapping[str, int]
    rejected: int
    when: str = ""

    @classmethod
    def of(
        cls, fetched: int, kept: int, skipped: Mapping[str, int], rejected: int, when: str = ""
    ) -> "Outcome":
        """Return the outcome without what we skipped ourselves: a round that was read twice counts once."""
        ours = sum(number for reason, number in skipped.items() if reason in OURS)
        return cls(fetched - ours, kept, skipped, rejected, when)


class Expectations(msgspec.Struct, frozen=True):
    """What a provider's pulls are held to.

    Attributes:
        windows: It is pulled window by window (a day), so pulls vary; otherwise each pull holds everything.
        max_shrinkage: Share by which a pull may be smaller than the ones it is compared with.
        gone_reasons: Skips that say "no longer there": never most of a pull.
    """

    windows: bool = False
    max_shrinkage: float = 0.5
    gone_reasons: tuple[str, ...] = ()


def unread(read: int, announced: tuple[int, int], tolerance: float) -> str | None:
    """What a round lacks of what was announced; None when it is whole.

    Totals drift while a list is read, as items come and go: within 1 % the lowest one counts. One that
    changes more is a total to distrust, and the highest one counts.

    Args:
        read: Items that came.
        announced: The lowest and the highest total that the answers of the round named.
        tolerance: Share by which the API's totals are known to exceed what it gives.
    """
    low, high = announced
    total = low if low >= high * (1 - DRIFT) else high
    if read >= total * (1 - tolerance):
        return None
    return f"{read:,} of {total:,} announced items came"


def short_page(largest: int, smallest: int | None) -> str | None:
    """What is suspicious about the pages of a round that announces no total; None when nothing is.

    Args:
        largest: Items on the largest page.
        smallest: Items on the smallest page that is not the last; None when there is only one.
    """
    if smallest is None or smallest >= largest * UNEVEN:
        return None
    return (
        f"a page in the middle holds {smallest:,} items, another {largest:,}, "
        "and no total proves that all came"
    )


def nothing(fetched: int, kept: int, *, windows: bool, proved: bool) -> str | None:
    """Return why a pull of everything cannot be whole although the API reports no error; None if it can.

    Args:
        fetched: Items that came.
        kept: Records that were made of them.
        windows: The pull covers a window, in which there may be nothing, or nothing that can be kept.
        proved: The API itself announced that there is nothing.
    """
    if not fetched and not (windows and proved):
        return "nothing came at all, and the API did not say that there is nothing"
    if fetched and not kept and not windows:
        return f"none of the {fetched:,} items that came could be kept"
    return None


def unusual(now: Outcome, before: Sequence[Outcome], expected: Expectations) -> list[str]:
    """What is suspicious about a load, in sentences with both numbers; empty when it is as usual.

    Args:
        now: The load in question.
        before: Whole loads to compare with, the nearest first: the last ones of a provider that is pulled as
            a whole, those of windows near this one otherwise.
        expected: What the provider is held to.
    """
    found = _too_few(now, before, expected)
    if "came at all" not in " ".join(found):
        found += _too_many(now, before, expected)
    return found


def _too_few(now: Outcome, before: Sequence[Outcome], expected: Expectations) -> list[str]:
    if not before:
        return []
    if not now.fetched and min(b.fetched for b in before) > 0:
        return [f"nothing came at all, which never happened in the {_pulls(before, expected)} compared"]
    if expected.windows and len(before) < NEIGHBOURS:
        return []
    found = []
    for what, have, had in (
        ("came", now.fetched, [b.fetched for b in before]),
        ("could be kept", now.kept, [b.kept for b in before]),
    ):
        least = min(had) if expected.windows else had[0]
        if have < least * (1 - expected.max_shrinkage):
            found.append(
                f"{have:,} items {what}, {least:,} in {_compared(before, expected)}: "
                f"{1 - have / least:.0%} fewer, where at most {expected.max_shrinkage:.0%} fewer is usual"
            )
    return found[:1]


def _too_many(now: Outcome, before: Sequence[Outcome], expected: Expectations) -> list[str]:
    if not now.fetched:
        return []
    found = []
    shares = [b.rejected / b.fetched for b in before if b.fetched]
    allowed = max(USUAL_REJECTS, 2 * max(shares, default=0.0))
    if now.rejected >= NOTICEABLE and now.rejected / now.fetched > allowed:
        found.append(_share(now.rejected, now.fetched, "were rejected", allowed))
    told = len(before) >= (NEIGHBOURS if expected.windows else 1)
    for reason, number in now.skipped.items():
        if reason in OURS or number < NOTICEABLE:
            continue
        usual = max((b.skipped.get(reason, 0) / b.fetched for b in before if b.fetched), default=0.0)
        allowed = max(2 * usual, usual + MARGIN)
        if reason in expected.gone_reasons:
            allowed = max(0.5, 2 * usual) if not told else min(allowed, 1.0)
        elif not told:
            continue
        if number / now.fetched > allowed:
            found.append(_share(number, now.fetched, f"were skipped as “{reason}”", allowed))
    return found


def _share(number: int, of: int, what: str, allowed: float) -> str:
    return (
        f"{number:,} of {of:,} items {what} ({number / of:.0%}), "
        f"where {allowed:.0%} is the most that is usual"
    )


def _pulls(before: Sequence[Outcome], expected: Expectations) -> str:
    return f"{len(before)} {'windows' if expected.windows else 'pulls'}"


def _compared(before: Sequence[Outcome], expected: Expectations) -> str:
    if expected.windows:
        return f"the smallest of {len(before)} windows near it"
    return f"the last whole pull ({before[0].when})" if before[0].when else "the last whole pull"


def summary(gaps: Sequence[str], provider: str, *, short: bool) -> str:
    """The message of a pull that reached its end with gaps: what is missing, and what to do.

    Args:
        gaps: What is missing, each in a sentence.
        provider: The provider's name.
        short: The API gave less than it should; otherwise pages failed and were passed over, as was asked
            for.
    """
    shown = "; ".join(gaps[:5]) + (f"; and {len(gaps) - 5:,} more" if len(gaps) > 5 else "")
    if not short:
        return (
            f"{len(gaps)} page(s) were passed over: {shown}. All other pages were read; "
            f"clear this task to read what is missing."
        )
    return (
        f"{provider} is NOT WHOLE: {shown}. What came is kept and loaded, nothing is deleted. "
        f"Look at the provider's API; clear this task to read what is missing. {accepting()}"
    )


def not_whole(provider: str, media_type: str, found: Sequence[str]) -> str:
    """The alert of a load that brought less than usual.

    Args:
        provider: As stored in the catalog.
        media_type: Of the load.
        found: What is suspicious, from `unusual`.
    """
    return (
        f"{provider} {media_type} is NOT WHOLE: {'; '.join(found)}. What came is loaded, nothing is deleted, "
        f"pull does not count as fresh. Look at the provider's API and at the run's rejects. {accepting()}"
    )


def accepting() -> str:
    """How a shortfall is accepted, as the last sentence of an alert."""
    return (
        'If this is right, trigger the DAG with the conf {"accept_shortfall": true}: '
        "the pull then counts as whole."
    )


def flags(*, complete: bool, whole: bool, replayed: bool, shortfalls: Sequence[str], accepted: bool) -> str:
    """Return what limits a load, in words such as `PARTIAL`, `REPLAY`; "" for a whole pull."""
    words = []
    if not complete and not shortfalls:
        words.append("PARTIAL")
    if shortfalls:
        words.append("ACCEPTED SHORTFALL" if accepted else "NOT WHOLE")
    if complete and not whole and not shortfalls:
        words.append("LIMITED")
    if replayed:
        words.append("REPLAY")
    return ", ".join(words)
