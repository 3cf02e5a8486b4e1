"""The pages of the Science Museum's search, which gives out the first ones of a result only.

A range of years that holds more is halved. A page that is never answered, while others are, is passed over.
What lies outside the ranges is looked for by category. Whatever is missing in the end is told.
"""

from typing import Any

from catalog.ingestion.answers import as_count, steps
from catalog.ingestion.client import Decoded
from catalog.provider_api import Client, Counted, Cursor, HttpStatus, Page, Params, Raw, Retry, dig
from catalog.providers.science_museum.census import (
    LAST_PAGE,
    PAGE_SIZE,
    SEARCH,
    TOTAL,
    Census,
    Years,
    asked,
    categories_of,
    halves,
    is_inside,
)

PAST_THE_LIMIT = 400
FILTERS = ("date[from]", "date[to]", "categories")


class Searches(Counted):
    """Pages of a range of years, counted from 0; or of one category after the other."""

    def __init__(self) -> None:
        super().__init__(SEARCH, items="data", param="page[number]", first=0, more="links.next", total=TOTAL)
        self.own_params = (self.param, "rest")  # type: ignore[misc]
        self.uniform = False  # what is left of a category's pages is of any size

    def start(self, params: Params) -> Cursor:
        rest = {"rest": {**params["rest"], "at": 0, "found": 0}} if "rest" in params else {}
        return super().start(params) | rest

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        if "rest" in cursor:
            return self._of_category(client, cursor[self.param], cursor["rest"], params)
        at, years = cursor[self.param], years_of(params)
        page = self._page(client, at, params, f"page {at} of {named(years)}")
        if page is None or (page.next and at >= LAST_PAGE):
            return self._halved(client, page or Page([]), years, params)
        return page

    def _page(self, client: Client, at: int, params: Params, what: str) -> Page | None:
        """A page; None past the last one that is given out; an empty one where only this one fails."""
        try:
            return super().fetch(client, {self.param: at}, params)
        except HttpStatus as error:
            if error.status != PAST_THE_LIMIT or at == self.first:
                raise
            return None
        except Retry as error:
            whole = {key: value for key, value in params.items() if key not in FILTERS}
            try:  # does the API answer at all?
                super().fetch(client, {self.param: self.first}, whole)
            except Retry:
                raise error from None
            text = f"{what} is never answered, up to {PAGE_SIZE} objects are missing: {error}"
            return Page([], {self.param: at + 1} if at < LAST_PAGE else None, withheld=text[:500])

    def _total(self, answer: Decoded, cursor: Cursor) -> int | None:
        """How many objects a result has at least.

        Its count may be too high, because parts of objects are counted but not listed. Its pages are counted
        afterwards, and all but the last one are full.
        """
        pages = as_count(dig(answer.body, "meta", "total_pages"))
        total = as_count(dig(answer.body, *steps(TOTAL)))
        if pages is None or total is None:
            return total
        return min(total, (pages - 1) * PAGE_SIZE + 1 if pages else 0)

    def _halved(self, client: Client, page: Page, years: Years | None, params: Params) -> Page:
        """The last page that is given out of a range, with what to do about the rest of it."""
        census, parts, page.next = Census(client, params), halves(years) if years else [], None
        number = census.count(years)
        if parts:
            page.more_rounds = [asked(part) for part in parts]
            lost = number - census.together(parts, [census.count(part) for part in parts])
            if lost > 0:
                page.withheld = f"{named(years)}: {lost:,} of {number:,} objects are in neither half"
        else:
            page.withheld = f"{named(years)}: {number:,} objects, of which only the first pages are given out"
        return page

    def _of_category(self, client: Client, at: int, rest: dict[str, Any], params: Params) -> Page:
        """A page of the category whose turn it is, less what the ranges of years bring.

        Items of an earlier category are left out, too, so that each is counted once.
        """
        names, turn = rest["categories"], rest["at"]
        page = Page([])
        if turn < len(names):
            what = f"page {at} of the category {names[turn]}"
            try:
                asked_for = {**params, "categories": names[turn].replace(",", r"\,")}
                page = self._page(client, at, asked_for, what) or page
            except HttpStatus as error:
                if error.status != PAST_THE_LIMIT:
                    raise
                page.withheld = f"{what} is refused: {error}"[:500]
        new = [item for item in page.items if self._has_its_turn(item, names, turn)]
        page.items = [item for item in new if not is_inside(item, rest["ranges"], before_zero=False)]
        found = sum(not is_inside(item, rest["ranges"], before_zero=True) for item in new)
        rest, page.total = {**rest, "found": rest["found"] + found}, None
        if page.next and at < LAST_PAGE:
            page.next = {self.param: at + 1, "rest": rest}
        elif turn + 1 < len(names):
            page.next = {self.param: self.first, "rest": {**rest, "at": turn + 1}}
        else:
            page.next = None
            page.withheld = "; ".join(filter(None, (page.withheld, missing_text(rest)))) or None
        return page

    @staticmethod
    def _has_its_turn(item: Raw, names: list[str], turn: int) -> bool:
        """Whether this is the first of the item's categories that is walked."""
        own = categories_of(item)
        return names[turn] in own and not any(name in own for name in names[:turn])


def missing_text(rest: dict[str, Any]) -> str | None:
    """What is missing of the objects outside the ranges, if anything."""
    if (lost := rest["outside"] - rest["found"]) <= 0:
        return None
    return (
        f"{lost:,} of {rest['outside']:,} objects that have no date, or one that spans several ranges, were "
        f"not found by category either"
    )


def years_of(params: Params) -> Years | None:
    """The range of a search; None when it has none."""
    start, end = as_count(params.get("date[from]", 0)), as_count(params.get("date[to]"))
    return None if start is None or end is None else (start, end)


def named(years: Years | None) -> str:
    """A range in a message."""
    return f"the years {years[0]} to {years[1]}" if years else "the search"
