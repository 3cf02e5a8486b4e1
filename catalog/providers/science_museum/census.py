"""Counting the Science Museum's objects before they are read, to know what a walk by years leaves out.

What the search does, by its source code (https://github.com/TheScienceMuseum/collectionsonline):

- It takes years from 0 on. 0 as the first year is no bound: what is older comes with it.
- It finds objects that were made within the years. One made "1890 to 1910" is in no range that ends in
  1900, and one without a date is in no range at all. These are outside the ranges; they are looked for by
  category.
- An answer names the 20 largest categories of its result.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from catalog.core.errors import UnexpectedAnswer
from catalog.ingestion.answers import count_at
from catalog.provider_api import Client, Params, Raw, dig

SEARCH = "https://collection.sciencemuseumgroup.org.uk/search/"
TOTAL = "meta.count.type.all"
PAGE_SIZE = 100
LAST_PAGE = 20  # since 2026-03-25 asking for a later one is an error; before, 50 was the last
MOST = (LAST_PAGE + 1) * PAGE_SIZE

Years = tuple[int, int]  # both belong to the range


def year_ranges(final: int) -> Iterator[Years]:
    """Ranges to begin with, up to the year `final`. Each ends in the year in which the next one begins."""
    bounds = [0, 200, 1500, *range(1750, 1825, 25), *range(1825, 1925, 10), *range(1925, final, 5), final]
    return pairwise(bounds)


def halves(years: Years) -> list[Years]:
    """Two ranges in place of one, as a rule with a year in common; none when it is a single year."""
    start, end = years
    middle = (start + end) // 2
    if start >= end:
        return []
    return [(start, middle), (middle, end)] if start < middle else [(start, start), (end, end)]


def asked(years: Years) -> dict[str, Any]:
    """The parameters of a range."""
    return {"date[from]": years[0], "date[to]": years[1]}


class Census:
    """Counts objects, and keeps the names of the categories that it meets on the way."""

    def __init__(self, client: Client, params: Params) -> None:
        """Prepare.

        Args:
            client: Sends the requests.
            params: What every search of the pull asks for.
        """
        self._client, self._params, self._categories = client, params, set[str]()

    def count(self, years: Years | None = None) -> int:
        """How many objects there are, in a range of years or in all. Raises Retry when no answer tells."""
        params = {**self._params, **(asked(years) if years else {}), "page[number]": 0, "page[size]": 1}
        body = self._client.get_json(SEARCH, params, check=_counted)
        found = dig(body, "meta", "filters", "category")
        names = [dig(one, "value") for one in found] if isinstance(found, list) else []
        self._categories.update(name for name in names if isinstance(name, str) and name)
        return count_at(body, TOTAL)

    def together(self, parts: Sequence[Years], counts: Sequence[int]) -> int:
        """How many objects ranges that follow one another hold: what is of a common year is counted once."""
        common = [(b, b) for (_, a), (b, _) in pairwise(parts) if a == b]
        return sum(counts) - sum(map(self.count, common))

    def cut(self, years: Years, whole: int) -> tuple[list[Years], int]:
        """Ranges that the API gives out whole in place of one, and how many objects they hold.

        Args:
            years: The range.
            whole: How many objects there are in all.

        Raises:
            UnexpectedAnswer: The range has no effect.
        """
        number, parts = self.count(years), halves(years)
        if number <= MOST or not parts:
            return [years], number
        if number == whole:
            raise UnexpectedAnswer(f"the years {years[0]} to {years[1]} hold all objects: dates are ignored")
        (first, left), (second, right) = (self.cut(part, whole) for part in parts)
        return first + second, self.together(parts, (left, right))

    def rounds(self, final: int) -> list[dict[str, Any]]:
        """Ranges of years, and a round for what lies outside them when the counts say that there is any.

        An object with several dates may be counted in two ranges. Then more is outside than the counts say.
        """
        whole, begin = self.count(), list(year_ranges(final))
        cuts = [self.cut(years, whole) for years in begin]
        outside = whole - self.together(begin, [number for _, number in cuts])
        ranges = [years for found, _ in cuts for years in found]
        rounds = [asked(years) for years in ranges]
        if outside > 0:
            rest = {"outside": outside, "categories": sorted(self._categories), "ranges": ranges}
            rounds.append({"rest": rest})
        return rounds


def is_inside(item: Raw, ranges: Sequence[Years], *, before_zero: bool) -> bool:
    """Whether a range finds an object, by the dates that it shows.

    Args:
        item: The object.
        ranges: All ranges that are read.
        before_zero: What is older than the year 0 is found by a range that begins with it.
    """
    dates = dig(item, "attributes", "creation", "date")
    dates = dates if isinstance(dates, list) else [dates]
    begun, done = ([year(dig(one, key)) for one in dates] for key in ("from", "to"))
    return any(
        any(y is not None and (y >= start or (before_zero and not start)) for y in begun)
        and any(y is not None and y <= end for y in done)
        for start, end in ranges
    )


def year(date: Any) -> int | None:
    """Return the year of a date; None if it has none.

    >>> year("-200"), year("1850-06-01"), year(1850), year("c. 1850"), year(None)
    (-200, 1850, 1850, None, None)
    """
    found = re.match(r"-?\d{1,4}(?!\d)", str(date).strip())
    return int(found[0]) if found else None


def categories_of(item: Raw) -> list[Any]:
    """The names of an object's categories."""
    found = dig(item, "attributes", "category")
    return [dig(one, "name") for one in found] if isinstance(found, list) else []


def _counted(body: Any) -> None:
    count_at(body, TOTAL)
