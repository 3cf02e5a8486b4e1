"""Detection of APIs whose pages never end."""

from collections.abc import Collection, Sequence
from hashlib import blake2b

import orjson

from catalog.core.errors import LoopDetected
from catalog.core.jsontypes import Json, JsonObject
from catalog.ingestion.records import Raw

STALE_PAGES = 10  # pages in a row that bring nothing new; items that are added meanwhile shift some pages
STALE_ITEMS = 50  # known items in a row; a record may be on each page, among others that are skipped
# Items in a row that bring no new record: without identifiers, only their number tells that they repeat.
FRUITLESS, FRUITLESS_UNANNOUNCED, FRUITLESS_TIMES = 100_000, 1_000_000, 10


class LoopGuard:
    """Detects an API that loops: a page or cursor that comes again, pages without news, or too many pages."""

    def __init__(self, max_pages: int, params: Collection[str] = ()) -> None:
        """Start with a new round.

        Args:
            max_pages: Limit of pages in a round.
            params: Names of the parameters that tell the pages apart; their values are in the cursors.
        """
        self._max_pages, self._params = max_pages, params
        self.new_round()

    def new_round(self) -> None:
        """Forget the pages of the round before."""
        self._pages: set[bytes] = set()
        self._cursors: set[bytes] = set()
        self._stale_pages = self._stale_items = 0  # since the last page with a new record
        self._fruitless = 0  # items since then, also those without an identifier

    def check_page(self, cursor: JsonObject, items: Sequence[Raw]) -> None:
        """Require that a page is a new one of this round.

        Args:
            cursor: The cursor of the page.
            items: The items of the page.

        Raises:
            LoopDetected: The cursor was used before, a page had the same items, or there were too many pages.
        """
        where = _digest(cursor)
        if where in self._cursors:
            raise LoopDetected(
                f"the API returned the cursor {cursor} for the second time; the pull stopped there."
            )
        self._cursors.add(where)
        if len(self._cursors) > self._max_pages:
            raise LoopDetected(f"more than {self._max_pages:,} pages in one round; the pull stopped there.")
        if not items:
            return
        page = _digest(items)
        if page in self._pages:
            raise LoopDetected(
                f"the page at {cursor} is the same as an earlier one; the pull stopped there."
                f"{self._cause(cursor)}"
            )
        self._pages.add(page)

    def require_news(
        self, cursor: JsonObject, *, items: int, new: int, known: int, tolerated: int, total: int | None
    ) -> None:
        """Require that records come that the round has not read before.

        A field that changes with each request, such as a number of views, hides that a page is repeated. But
        its records have the same identifiers. Items that are added to the front of a list while it is read
        shift known items to the next pages, but never more than were read. Skipped items and rejects have no
        identifier, so they are no evidence, unless there are far more of them than were announced.

        Args:
            cursor: The cursor of the page, which is not the last one.
            items: Items of the page.
            new: Items of the page that the round had not read before.
            known: Items of the page that the round had read before.
            tolerated: Known items in a row that may be legitimate: the records of the round.
            total: The announced total, if there is one.

        Raises:
            LoopDetected: `STALE_PAGES` in a row, with more than `tolerated` items, brought only known items;
                or ten times as many items as were announced, and at least `FRUITLESS`, brought no new record.
        """
        self._fruitless = 0 if new else self._fruitless + items
        most = FRUITLESS_UNANNOUNCED if total is None else max(FRUITLESS, FRUITLESS_TIMES * total)
        if self._fruitless > most:
            raise LoopDetected(
                f"the last {self._fruitless:,} items, up to the page at {cursor}, brought no new record; "
                f"the pull stopped there.{self._cause(cursor)}"
            )
        if new or not known:
            self._stale_pages = self._stale_items = 0
            return
        self._stale_pages, self._stale_items = self._stale_pages + 1, self._stale_items + known
        if self._stale_pages >= STALE_PAGES and self._stale_items > max(tolerated, STALE_ITEMS):
            raise LoopDetected(
                f"the last {self._stale_pages:,} pages, up to the one at {cursor}, brought no new record: "
                f"{self._stale_items:,} items had come before; the pull stopped there.{self._cause(cursor)}"
            )

    def _cause(self, cursor: JsonObject) -> str:
        """Name the parameters that the API may ignore; the address of a page is none."""
        sent = [name for name in self._params if isinstance(cursor.get(name), int | str)]
        names = " and ".join(f"`{name}`" for name in sent if not _is_address(cursor[name]))
        return (
            f" The API may ignore {names}: request two pages by hand, and correct `pages`." if names else ""
        )


def _is_address(value: Json) -> bool:
    return isinstance(value, str) and "://" in value


def _digest(value: Json) -> bytes:
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=repr)
    except TypeError:  # an integer beyond 64 bits, a lone surrogate
        text = repr(value).encode("utf-8", "replace")
    return blake2b(text, digest_size=12).digest()
