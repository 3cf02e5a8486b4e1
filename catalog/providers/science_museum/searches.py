"""Pages of the Science Museum's search, which returns only the first pages of a result.

A range of years with more objects is halved. A page that always fails, while others work, is skipped. Objects
outside the ranges are searched by category. Whatever is still missing is reported.
"""

from catalog.provider_api import (
    Client,
    Counted,
    Cursor,
    Decoded,
    HttpStatus,
    JsonObject,
    Page,
    Params,
    Raw,
    Retry,
    as_count,
    dig,
    value_at,
)
from catalog.providers.science_museum.census import (
    LAST_PAGE,
    PAGE_SIZE,
    SEARCH,
    TOTAL,
    Census,
    Years,
    categories_of,
    date_params,
    halves,
    is_inside,
)

PAST_THE_LIMIT = 400
FILTERS = ("date[from]", "date[to]", "categories")


class Searches(Counted):
    """Pages of a range of years, or of one category after another, counted from 0."""

    def __init__(self) -> None:
        super().__init__(SEARCH, items="data", param="page[number]", first=0, more="links.next", total=TOTAL)
        self.own_params = (self.param, "rest")
        self.uniform = False  # pages of a category are filtered

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
        """Return a page; None past the last available one; an empty page if only this one fails."""
        try:
            return super().fetch(client, {self.param: at}, params)
        except HttpStatus as error:
            if error.status != PAST_THE_LIMIT or at == self.first:
                raise
            return None
        except Retry as error:
            unfiltered = {key: value for key, value in params.items() if key not in FILTERS}
            try:  # does the API respond at all?
                super().fetch(client, {self.param: self.first}, unfiltered)
            except Retry:
                raise error from None
            text = f"{what} is never answered, up to {PAGE_SIZE} objects are missing: {error}"
            return Page([], {self.param: at + 1} if at < LAST_PAGE else None, withheld=text[:500])

    def total_items(self, answer: Decoded, cursor: Cursor) -> int | None:
        """Return the minimum number of objects of a result.

        The total may be too high, because it includes parts of objects, which are not listed. The number of
        pages does not, and all pages except the last one are full.
        """
        pages = as_count(dig(answer.body, "meta", "total_pages"))
        total = as_count(value_at(answer.body, TOTAL))
        if pages is None or total is None:
            return total
        return min(total, (pages - 1) * PAGE_SIZE + 1 if pages else 0)

    def _halved(self, client: Client, page: Page, years: Years | None, params: Params) -> Page:
        """The last page that is given out of a range, with what to do about the rest of it."""
        census, parts, page.next = Census(client, params), halves(years) if years else [], None
        number = census.count(years)
        if parts:
            page.more_rounds = [date_params(part) for part in parts]
            lost = number - census.together(parts, [census.count(part) for part in parts])
            if lost > 0:
                page.withheld = f"{named(years)}: {lost:,} of {number:,} objects are in neither half"
        else:
            page.withheld = f"{named(years)}: {number:,} objects, of which only the first pages are given out"
        return page

    def _of_category(self, client: Client, at: int, rest: JsonObject, params: Params) -> Page:
        """Return a page of the current category, without the objects that the ranges of years find.

        Objects that are also in an earlier category are removed, so that each is counted once.
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
        new = [item for item in page.items if self._belongs_to(item, names, turn)]
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
    def _belongs_to(item: Raw, names: list[str], turn: int) -> bool:
        """Return whether the current category is the first of the item's categories that is read."""
        own = categories_of(item)
        return names[turn] in own and not any(name in own for name in names[:turn])


def missing_text(rest: JsonObject) -> str | None:
    """Describe which objects outside the ranges were not found; None if all were."""
    if (lost := rest["outside"] - rest["found"]) <= 0:
        return None
    return (
        f"{lost:,} of {rest['outside']:,} objects that have no date, or one that spans several ranges, were "
        f"not found by category either"
    )


def years_of(params: Params) -> Years | None:
    """Return the range of years of a search; None if it has none."""
    start, end = as_count(params.get("date[from]", 0)), as_count(params.get("date[to]"))
    return None if start is None or end is None else (start, end)


def named(years: Years | None) -> str:
    """Describe a range in a message."""
    return f"the years {years[0]} to {years[1]}" if years else "the search"
