"""Ways to walk through an API's pages.

A cursor is data (small JSON) that says where to go on; the request is made from it. No paginator can be built without a rule that ends it,
and `LoopGuard` watches all of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, ClassVar

import msgspec
import orjson

from catalog.ingestion.client import Client
from catalog.ingestion.errors import HttpStatus, LoopDetected, Retry
from catalog.ingestion.records import Raw, dig

Cursor = dict[str, Any]
Params = Mapping[str, Any]


class Page(msgspec.Struct):
    """One page: its items, where to go on (None: the round ends), how many items the API announces, rounds it makes necessary.

    left_out: what the API holds but does not give out from here on; the pull goes on, and fails at its end with this text.
    """

    items: list[Raw]
    next: Cursor | None = None
    total: int | None = None
    more_rounds: list[dict[str, Any]] = []
    left_out: str | None = None


class Paginator(ABC):
    """Walks one round (one set of fixed parameters) of an API."""

    own_params: ClassVar[
        tuple[str, ...]
    ] = ()  # instance attribute where the names are given: parameters that make up the cursor

    @abstractmethod
    def start(self, params: Params) -> Cursor:
        """The first cursor; `params` may hold the paginator's own parameters, to start elsewhere (conf `initial_query_params`)."""

    @abstractmethod
    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        """The page at the cursor. params: everything else to send. Raises what the client raises."""

    def skip(self, cursor: Cursor) -> Cursor | None:
        """The cursor after a page that could not be read, or None when only the page itself would have told."""
        return None


def items_at(body: Any, path: str) -> list[Raw]:
    """The list at a dotted path ("" is the body itself); missing or null is an empty list. Raises Retry when it is no list."""
    found = dig(body, *path.split(".")) if path else body
    if found is None:
        return []
    if not isinstance(found, list):
        raise Retry(f"`{path or 'the body'}` should be a list but is {type(found).__name__}")
    return found


class Counted(Paginator):
    """A page number or an offset that grows: stops at an empty page, or earlier where `more` or a page count tells.

    url: may hold `{page}`, then the number goes there. param: its name as a query parameter (and in conf). step: what is added a page.
    items: dotted path of the list. more: dotted path of a value that is falsy on the last page.
    full: items of a page that is not the last. decode: see Client.get_json. gone: the status that a page past the last one may have.
    pages_header: a HEAD of the first page tells in this header how many pages there are (asking beyond is an error there).
    """

    def __init__(
        self, url: str, *, items: str, param: str = "page", first: int = 1, step: int = 1, more: str | None = None,
        full: int | None = None, pages_header: str | None = None, total: str | None = None,
        check: Callable[[Any], None] | None = None, decode: Callable[[bytes], Any] | None = None, gone: int | None = None,
    ) -> None:  # fmt: skip
        if step < 1:
            raise ValueError("step must be at least 1, or the pages never end")
        self.url, self.items, self.param, self.first, self.step = url, items, param, first, step
        self.more, self.full, self.pages_header, self.total, self.check, self.decode = (
            more,
            full,
            pages_header,
            total,
            check,
            decode,
        )
        self.gone = gone
        self.own_params = (param,)  # type: ignore[misc]

    def start(self, params: Params) -> Cursor:
        return {self.param: int(params.get(self.param, self.first))}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        at = cursor[self.param]
        sent = dict(params) if "{page}" in self.url else {**params, self.param: at}
        url = self.url.replace("{page}", str(at))
        last = cursor.get("last")
        if self.pages_header and last is None:
            answer = client.head(url, {k: v for k, v in sent.items() if k != self.param}, keyed=True)
            last = int(answer.headers.get(self.pages_header, "0"))
            if at > last:
                return Page([])
        try:
            body = client.get_json(url, sent, check=self.check, decode=self.decode)
        except HttpStatus as error:
            if error.status == self.gone and at != self.first:
                return Page([])
            raise
        items = items_at(body, self.items)
        ended = (
            len(items) < (self.full or 1)
            or (self.more and not dig(body, *self.more.split(".")))
            or (last is not None and at >= last)
        )
        after = (
            None
            if ended
            else {**cursor, self.param: at + self.step, **({} if last is None else {"last": last})}
        )
        return Page(items, after, _count(dig(body, *self.total.split("."))) if self.total else None)

    def skip(self, cursor: Cursor) -> Cursor | None:
        if cursor.get("last") is not None and cursor[self.param] >= cursor["last"]:
            return None
        return {**cursor, self.param: cursor[self.param] + self.step}


class Tokens(Paginator):
    """Each answer holds the token of the next page; the one without is the last.

    items, following, total: dotted paths of the list, of the token, of the number of items in all. param: the token as a query parameter.
    """

    def __init__(
        self, url: str, *, items: str, param: str, following: str, first: str = "*", total: str | None = None,
        check: Callable[[Any], None] | None = None,
    ) -> None:  # fmt: skip
        self.url, self.items, self.param, self.following, self.first = url, items, param, following, first
        self.total, self.check = total, check
        self.own_params = (param,)  # type: ignore[misc]

    def start(self, params: Params) -> Cursor:
        return {self.param: params.get(self.param, self.first)}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        body = client.get_json(self.url, {**params, self.param: cursor[self.param]}, check=self.check)
        items, token = items_at(body, self.items), dig(body, *self.following.split("."))
        after = {self.param: token} if items and token else None
        return Page(items, after, _count(dig(body, *self.total.split("."))) if self.total else None)


def _count(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


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
        """Is this page one that came before? Raises LoopDetected when that happened too often, or a cursor comes again."""
        where = _digest(cursor)
        if where in self._cursors:
            raise LoopDetected(
                f"the API sent us back to {cursor}, where this run has been before; stopped, what was read is kept."
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
    except TypeError:  # an integer beyond 64 bits
        text = repr(value).encode("utf-8", "replace")
    return blake2b(text, digest_size=12).digest()
