"""Counts the Science Museum's objects before they are read, to find out what ranges of years do not cover.

The search works as follows, according to its source code
(https://github.com/TheScienceMuseum/collectionsonline):

- Years start at 0. 0 as the first year is not a bound: older objects are included.
- A range finds objects that were made completely within it. An object made "1890 to 1910" is in no range that
  ends in 1900, and one without a date is in no range at all. These objects are outside the ranges; they are
  searched by category.
- A response names the 20 largest categories of its result.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from catalog.provider_api import (
    Client,
    Json,
    JsonObject,
    Params,
    Raw,
    RoundParams,
    UnexpectedResponse,
    count_at,
    dig,
)

SEARCH = "https://collection.sciencemuseumgroup.org.uk/search/"
TOTAL = "meta.count.type.all"
PAGE_SIZE = 100
LAST_PAGE = 20  # since 2026-03-25 (50 before); later pages are an error
MAX_OBJECTS = (LAST_PAGE + 1) * PAGE_SIZE

Years = tuple[int, int]  # first and last year of a range, inclusive


def year_ranges(final: int) -> Iterator[Years]:
    """Yield the initial ranges up to the year `final`; each ends in the year in which the next one begins."""
    bounds = [0, 200, 1500, *range(1750, 1825, 25), *range(1825, 1925, 10), *range(1925, final, 5), final]
    return pairwise(bounds)


def halves(years: Years) -> list[Years]:
    """Divide a range into two, which usually share a year; return [] for a single year."""
    start, end = years
    middle = (start + end) // 2
    if start >= end:
        return []
    return [(start, middle), (middle, end)] if start < middle else [(start, start), (end, end)]


def date_params(years: Years) -> JsonObject:
    """Return the search parameters of a range."""
    return {"date[from]": years[0], "date[to]": years[1]}


class Census:
    """Counts objects and collects the names of their categories."""

    def __init__(self, client: Client, params: Params) -> None:
        """Prepare.

        Args:
            client: Sends the requests.
            params: Parameters of every search of the pull.
        """
        self._client, self._params, self._categories = client, params, set[str]()

    def count(self, years: Years | None = None) -> int:
        """Return the number of objects, in a range of years or in total. Raises Retry without a count."""
        params = {**self._params, **(date_params(years) if years else {}), "page[number]": 0, "page[size]": 1}
        body = self._client.get_json(SEARCH, params, check=_counted)
        found = dig(body, "meta", "filters", "category")
        names = [dig(one, "value") for one in found] if isinstance(found, list) else []
        self._categories.update(name for name in names if isinstance(name, str) and name)
        return count_at(body, TOTAL)

    def together(self, parts: Sequence[Years], counts: Sequence[int]) -> int:
        """Return the number of objects in adjacent ranges, counting those of shared years once."""
        shared = [(start, start) for (_, end), (start, _) in pairwise(parts) if end == start]
        return sum(counts) - sum(map(self.count, shared))

    def cut(self, years: Years, total: int) -> tuple[list[Years], int]:
        """Divide a range into ranges that the API returns completely, and count their objects.

        Args:
            years: The range.
            total: Total number of objects.

        Raises:
            UnexpectedResponse: The API ignores the range.
        """
        number, parts = self.count(years), halves(years)
        if number <= MAX_OBJECTS or not parts:
            return [years], number
        if number == total:
            raise UnexpectedResponse(
                f"the years {years[0]} to {years[1]} hold all objects: dates are ignored"
            )
        (first, left), (second, right) = (self.cut(part, total) for part in parts)
        return first + second, self.together(parts, (left, right))

    def rounds(self, final: int) -> list[RoundParams]:
        """Return a round for each range of years, and one for objects outside of them if the counts show any.

        An object with several dates may be counted in two ranges, so there may be more objects outside.
        """
        total, begin = self.count(), list(year_ranges(final))
        cuts = [self.cut(years, total) for years in begin]
        outside = total - self.together(begin, [number for _, number in cuts])
        ranges = [years for found, _ in cuts for years in found]
        rounds = [date_params(years) for years in ranges]
        if outside > 0:
            rest = {"outside": outside, "categories": sorted(self._categories), "ranges": ranges}
            rounds.append({"rest": rest})
        return rounds


def is_inside(item: Raw, ranges: Sequence[Years], *, before_zero: bool) -> bool:
    """Return whether one of the ranges finds an object, judged by its dates.

    Args:
        item: The object.
        ranges: All ranges that are read.
        before_zero: Ranges that begin with year 0 also find older objects.
    """
    dates = dig(item, "attributes", "creation", "date")
    dates = dates if isinstance(dates, list) else [dates]
    begun, done = ([year(dig(one, key)) for one in dates] for key in ("from", "to"))
    return any(
        any(y is not None and (y >= start or (before_zero and not start)) for y in begun)
        and any(y is not None and y <= end for y in done)
        for start, end in ranges
    )


def year(date: Json) -> int | None:
    """Return the year of a date; None if it is malformed.

    >>> year("-200"), year("1850-06-01"), year(1850), year("c. 1850"), year(None)
    (-200, 1850, 1850, None, None)
    """
    found = re.match(r"-?\d{1,4}(?!\d)", str(date).strip())
    return int(found[0]) if found else None


def categories_of(item: Raw) -> list[Json]:
    """Return the names of an object's categories."""
    found = dig(item, "attributes", "category")
    return [dig(one, "name") for one in found] if isinstance(found, list) else []


def _counted(body: Json) -> None:
    count_at(body, TOTAL)
