"""Ways to walk through an API's pages.

A cursor is small JSON that says where to go on; the request is made from it. No paginator can be built
without a rule that ends it, and `LoopGuard` watches all of them. An answer is an empty page only when it
holds an empty list: what is missing is an error, and what an API announces is handed on, to be held against
what it gave.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, ClassVar, Literal

import msgspec
import orjson

from catalog.core.errors import HttpStatus, LoopDetected, UnansweredRequest, UnexpectedAnswer
from catalog.ingestion.answers import as_count, count_at, has, items_at, steps, total_of
from catalog.ingestion.client import Client, Decoded
from catalog.ingestion.records import Raw, dig

Cursor = dict[str, Any]
Params = Mapping[str, Any]
Check = Callable[[Any], None]
PAST_THE_END = (400, 404, 416)


class Page(msgspec.Struct):
    """One page of a round.

    Attributes:
        items: What the API listed.
        next: Where to go on; None ends the round.
        total: How many items the API announces for the whole round, if it does.
        more_rounds: Rounds that cover what this one does not give out. They replace it, so its total counts
            no more.
        withheld: What the API holds but gives out in no way; the pull goes on, and fails at its end with this
            text.
        restarted: The round began again with this page (the API's data were rebuilt); what came before counts
            no more.
    """

    items: list[Raw]
    next: Cursor | None = None
    total: int | None = None
    more_rounds: list[dict[str, Any]] = []
    withheld: str | None = None
    restarted: bool = False


class Paginator(ABC):
    """Walks one round (one set of fixed parameters) of an API."""

    own_params: ClassVar[tuple[str, ...]] = ()  # parameters that make up the cursor; some set it per instance
    uniform: bool = False  # all pages but the last hold the same number of items

    @abstractmethod
    def start(self, params: Params) -> Cursor:
        """Return the first cursor; `params` may hold one (conf `initial_query_params`)."""

    @abstractmethod
    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        """The page at the cursor. params: everything else to send. Raises what the client raises."""

    def skip(self, cursor: Cursor) -> Cursor | None:
        """The cursor after a page that could not be read; None when only that page could tell."""
        return None


class Counted(Paginator):
    """A page number, or an offset, that grows until a page is empty or the API reports the last one.

    An offset grows by the number of items that came, so a server that caps its pages costs requests, not
    items. An API that announces neither a total nor whether a page follows has one page more asked for after
    an empty one.
    """

    def __init__(
        self,
        url: str,
        *,
        items: str,
        param: str = "page",
        first: int = 1,
        step: int = 1,
        more: str | None = None,
        total: str | None = None,
        announces: Literal["always", "sometimes"] = "always",
        pages_header: str | None = None,
        total_header: str | None = None,
        omits_empty: bool = False,
        gone: int | None = None,
        check: Check | None = None,
    ) -> None:
        """Describe an API's paging.

        Args:
            url: Address of a page; a `{page}` in it takes the number instead of a query parameter.
            items: Dotted path of the list; "" when the answer is the list.
            param: Query parameter of the number (and its key in conf).
            first: Number of the first page.
            step: 1 for page numbers; for offsets, how many items are asked for.
            more: Dotted path of a value that is falsy on the last page, and only there.
            total: Dotted path of the number of items in all.
            announces: "sometimes" when the API may leave its total out; else an answer without it is an
                error.
            pages_header: Response header that holds the number of pages, told by a HEAD of the first page.
            total_header: Response header of a page, and of that HEAD, that holds the number of items. May be
                missing.
            omits_empty: The API leaves its list out of an answer past the last item.
            gone: Status of a page past the last one.
            check: Raises Retry or Fatal when the body reports an error of the API's own.

        Raises:
            ValueError: `step` is less than 1, so the pages would never end.
        """
        if step < 1:
            raise ValueError("step must be at least 1, or the pages never end")
        self.url, self.items, self.param, self.first, self.step = url, items, param, first, step
        self.more, self.total, self.announces, self.check = more, total, announces, check
        self.pages_header, self.total_header = pages_header, total_header
        self.omits_empty, self.gone = omits_empty, gone
        self.own_params = (param,)  # type: ignore[misc]
        self.uniform = step == 1

    def start(self, params: Params) -> Cursor:
        return {self.param: int(params.get(self.param, self.first))}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        if self.pages_header and "last" not in cursor:
            cursor = {**cursor, **self._counted(client, params)}
        at, last = cursor[self.param], cursor.get("last")
        if last is not None and at >= self.first + last:
            return Page([], total=cursor.get("total"))
        answer = self._ask(client, at, params, empty=last is None)
        if answer is None:
            return Page([])
        items, total = self._items(answer.body), self._total(answer, cursor)
        following = self._next(cursor, answer.body, len(items))
        if not items and following is None and total is None and last is None and not self.more:
            self._prove_end(client, at, params)
        return Page(items, following, total)

    def skip(self, cursor: Cursor) -> Cursor | None:
        if cursor.get("last") is not None and cursor[self.param] + 1 >= self.first + cursor["last"]:
            return None
        return {**cursor, self.param: cursor[self.param] + self.step}

    def _counted(self, client: Client, params: Params) -> Cursor:
        """What a HEAD of the first page tells: how many pages and items there are."""
        url, sent = self._request(self.first, params)
        headers = client.head(url, {k: v for k, v in sent.items() if k != self.param}, keyed=True).headers
        found: Cursor = {}
        for key, name in (("last", self.pages_header), ("total", self.total_header)):
            number = as_count(headers.get(name)) if name else None
            if name and name == self.pages_header and number is None:
                raise UnexpectedAnswer(f"HEAD {url}: the header {name} is missing or no number")
            found[key] = number
        return found

    def _request(self, at: int, params: Params) -> tuple[str, dict[str, Any]]:
        sent = dict(params) if "{page}" in self.url else {**params, self.param: at}
        return self.url.replace("{page}", str(at)), sent

    def _ask(self, client: Client, at: int, params: Params, *, empty: bool) -> Decoded | None:
        """Return the checked response for a page; None if its status says that there is no such page."""

        def check(body: Any) -> None:
            if self.check:
                self.check(body)
            items = self._items(body)
            if not items and not empty:
                raise UnexpectedAnswer(f"page {at} is empty, but more pages were announced")
            if self.more and not has(body, self.more):
                raise UnexpectedAnswer(f"`{self.more}`, which says whether a page follows, is missing")
            if self.more and not (items or self.total or at == self.first or dig(body, *steps(self.more))):
                raise UnexpectedAnswer(f"page {at}, which the page before named as the next one, is empty")
            if self.total and (self.announces == "always" or has(body, self.total)):
                total_of(body, self.total, len(items))

        url, sent = self._request(at, params)
        try:
            return client.get_decoded(url, sent, check=check)
        except HttpStatus as error:
            if error.status == self.gone and at != self.first:
                return None
            raise

    def _items(self, body: Any) -> list[Raw]:
        if self.omits_empty and self.total and not has(body, self.items) and has(body, self.total):
            return []  # held against the total at the end of the round
        return items_at(body, self.items)

    def _next(self, cursor: Cursor, body: Any, came: int) -> Cursor | None:
        at, last = cursor[self.param], cursor.get("last")
        if last is not None:
            ended = at + 1 >= self.first + last
        elif self.more:
            ended = not dig(body, *steps(self.more))
        else:
            ended = not came
        advance = came if came and self.step > 1 else self.step
        return None if ended else {**cursor, self.param: at + advance}

    def _total(self, answer: Decoded, cursor: Cursor) -> int | None:
        """The number of items in all, where the answer or the HEAD before it tells."""
        if self.total:
            return as_count(dig(answer.body, *steps(self.total)))
        told = as_count(answer.headers.get(self.total_header)) if self.total_header else None
        return cursor.get("total") if told is None else told

    def _prove_end(self, client: Client, at: int, params: Params) -> None:
        """Request one page beyond an empty one, which proves nothing if the API announces no total."""
        try:
            url, sent = self._request(at + 1, params)
            items = self._items(client.get_json(url, sent, check=self.check))
        except UnansweredRequest:  # a recording ends where its run did
            return
        except HttpStatus as error:
            if error.status in PAST_THE_END:
                return
            raise
        if items:
            raise UnexpectedAnswer(f"{self.param} {at} is empty, but {self.param} {at + 1} is not")


class Tokens(Paginator):
    """Each response holds the token of the next page; one without, or with its own, is the last."""

    def __init__(
        self,
        url: str,
        *,
        items: str,
        param: str,
        following: str,
        first: str = "*",
        total: str | None = None,
        check: Check | None = None,
    ) -> None:
        """Describe an API's paging.

        Args:
            url: Address of every page.
            items: Dotted path of the list.
            param: Query parameter of the token.
            following: Dotted path of the next page's token.
            first: Token of the first page.
            total: Dotted path of the number of items in all.
            check: Raises Retry or Fatal when the body reports an error of the API's own.
        """
        self.url, self.items, self.param, self.following, self.first = url, items, param, following, first
        self.total, self.check = total, check
        self.own_params = (param,)  # type: ignore[misc]

    def start(self, params: Params) -> Cursor:
        return {self.param: params.get(self.param, self.first)}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        token = cursor[self.param]
        body = client.get_json(self.url, {**params, self.param: token}, check=self._checked)
        following = dig(body, *steps(self.following))
        after = {self.param: following} if following and following != token else None
        return Page(items_at(body, self.items), after, count_at(body, self.total) if self.total else None)

    def _checked(self, body: Any) -> None:
        if self.check:
            self.check(body)
        items = items_at(body, self.items)
        if self.total:
            total_of(body, self.total, len(items))


class LoopGuard:
    """Catches an API that repeats itself: the same page or the same cursor again, too many pages.

    repeats: identical pages let pass in a round (Flickr serves its first page for page 0 and page 1).
    """

    def __init__(self, repeats: int = 0, max_pages: int = 200_000) -> None:
        self._repeats_allowed, self._max_pages = repeats, max_pages
        self.new_round()

    def new_round(self) -> None:
        self._pages: set[bytes] = set()
        self._cursors: set[bytes] = set()
        self._repeats = 0

    def repeated(self, cursor: Cursor, items: Sequence[Raw]) -> bool:
        """Return whether this page was read before. Raises LoopDetected if it was too often."""
        where = _digest(cursor)
        if where in self._cursors:
            raise LoopDetected(
                f"the API sent us back to {cursor}, where this run has been before; "
                "stopped, what was read is kept."
            )
        self._cursors.add(where)
        if len(self._cursors) > self._max_pages:
            raise LoopDetected(
                f"more than {self._max_pages:,} pages in one round; stopped, what was read is kept."
            )
        if not items:
            return False
        page = _digest(items)
        if page not in self._pages:
            self._pages.add(page)
            return False
        self._repeats += 1
        if self._repeats > self._repeats_allowed:
            raise LoopDetected(
                f"the page at {cursor} is the same as an earlier one; stopped, what was read is kept."
            )
        return True


def _digest(value: Any) -> bytes:
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=repr)
    except TypeError:  # an integer beyond 64 bits, a lone surrogate
        text = repr(value).encode("utf-8", "replace")
    return blake2b(text, digest_size=12).digest()
