"""Paginators: the ways to walk through the pages of an API.

A cursor is small JSON that identifies the next page; the request is made from it. Every paginator has a stop
condition, and `LoopGuard` watches all of them. A page is empty only if it holds an empty list; a missing list
is an error. Announced totals are passed on, so that the pull can compare them with what it read.
"""

from abc import ABC, abstractmethod
from typing import Literal

import msgspec

from catalog.core.errors import HttpStatus, UnexpectedResponse, UnrecordedRequest
from catalog.core.jsontypes import Json, JsonObject, Params
from catalog.ingestion.client import Check, Client, Decoded
from catalog.ingestion.records import Raw, dig
from catalog.ingestion.responses import as_count, count_at, has, items_at, steps, total_of

Cursor = JsonObject
RoundParams = JsonObject  # fixed parameters of a round
PAST_THE_END = (400, 404, 416)


class Page(msgspec.Struct):
    """One page of a round.

    Attributes:
        items: The items that the API listed.
        next: The cursor of the next page; None ends the round.
        total: The number of items that the API announces for the whole round, if it does.
        more_rounds: Rounds that cover the items that this one cannot return. They replace it, so its total is
            ignored.
        withheld: Describes items that exist but that the API never returns; the pull continues, and fails at
            its end with this message.
        restarted: The round began again with this page, because the API's data were rebuilt; earlier pages of
            the round are not counted.
    """

    items: list[Raw]
    next: Cursor | None = None
    total: int | None = None
    more_rounds: list[JsonObject] = []
    withheld: str | None = None
    restarted: bool = False


class Paginator(ABC):
    """Walks one round (one set of fixed parameters) of an API.

    Attributes:
        own_params: Names of the parameters that form the cursor.
        uniform: All pages except the last hold the same number of items.
    """

    own_params: tuple[str, ...] = ()
    uniform: bool = False

    @abstractmethod
    def start(self, params: Params) -> Cursor:
        """Return the first cursor; `params` may hold it (conf `initial_query_params`)."""

    @abstractmethod
    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        """Request a page.

        Args:
            client: Sends the request.
            cursor: Identifies the page.
            params: All other parameters to send.

        Raises:
            Retry: See `Client.get_json`.
            Fatal: See `Client.get_json`.
        """

    def skip(self, cursor: Cursor) -> Cursor | None:
        """Return the cursor after a page that could not be read; None if only that page names it."""
        return None


class Counted(Paginator):
    """A page number or offset that grows until a page is empty or the API reports the last one.

    An offset grows by the number of items that were returned, so no items are lost if the server caps its
    page size. If the API announces neither a total nor whether a page follows, one more page is requested
    after an empty one.

    For responses of the form

        {"data": {"photos": [{"id": 1}, {"id": 2}], "count": 480, "last": false}}

    to requests with the parameter `page`, declare:

        pages = Counted("https://api.example.org/photos", items="data.photos", total="data.count")
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
        past_end_status: int | None = None,
        check: Check | None = None,
    ) -> None:
        """Describe the pagination of an API.

        Args:
            url: URL of a page; a `{page}` in it is replaced by the number, instead of a query parameter.
            items: Dotted path of the list; "" if the response itself is the list.
            param: Query parameter of the number (and its key in conf).
            first: Number of the first page.
            step: 1 for page numbers; for offsets, the requested page size.
            more: Dotted path of a value that is falsy on the last page, and only there.
            total: Dotted path of the total number of items.
            announces: "sometimes" if responses may lack the total; otherwise a missing total is an error.
            pages_header: Response header with the number of pages, read by a HEAD request for the first page.
            total_header: Response header with the total number of items, of a page and of that HEAD request.
                May be missing.
            omits_empty: Responses past the last item lack the list.
            past_end_status: Status of a page past the last one.
            check: Raises Retry or Fatal if the body reports an error in the API's own way.

        Raises:
            ValueError: `step` is less than 1, so the pages would never end.
        """
        if step < 1:
            raise ValueError("step must be at least 1, or the pages never end")
        self.url, self.items, self.param, self.first, self.step = url, items, param, first, step
        self.more, self.total, self.announces, self.check = more, total, announces, check
        self.pages_header, self.total_header = pages_header, total_header
        self.omits_empty, self.past_end_status = omits_empty, past_end_status
        self.own_params = (param,)
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
        """Read the number of pages and items from the headers of the first page."""
        url, sent = self._request(self.first, params)
        headers = client.head(url, {k: v for k, v in sent.items() if k != self.param}, keyed=True).headers
        found: Cursor = {}
        for key, name in (("last", self.pages_header), ("total", self.total_header)):
            number = as_count(headers.get(name)) if name else None
            if name and name == self.pages_header and number is None:
                raise UnexpectedResponse(f"HEAD {url}: the header {name} is missing or not a number")
            found[key] = number
        return found

    def _request(self, at: int, params: Params) -> tuple[str, JsonObject]:
        sent = dict(params) if "{page}" in self.url else {**params, self.param: at}
        return self.url.replace("{page}", str(at)), sent

    def _ask(self, client: Client, at: int, params: Params, *, empty: bool) -> Decoded | None:
        """Return the checked response for a page; None if its status means that there is no such page."""

        def check(body: Json) -> None:
            if self.check:
                self.check(body)
            items = self._items(body)
            if not items and not empty:
                raise UnexpectedResponse(f"page {at} is empty, but more pages were announced")
            if self.more and not has(body, self.more):
                raise UnexpectedResponse(f"`{self.more}`, which says whether a page follows, is missing")
            if self.more and not (items or self.total or at == self.first or dig(body, *steps(self.more))):
                raise UnexpectedResponse(f"page {at}, which the page before named as the next one, is empty")
            if self.total and (self.announces == "always" or has(body, self.total)):
                total_of(body, self.total, len(items))

        url, sent = self._request(at, params)
        try:
            return client.get_decoded(url, sent, check=check)
        except HttpStatus as error:
            if error.status == self.past_end_status and at != self.first:
                return None
            raise

    def _items(self, body: Json) -> list[Raw]:
        if self.omits_empty and self.total and not has(body, self.items) and has(body, self.total):
            return []  # compared with the total at the end of the round
        return items_at(body, self.items)

    def _next(self, cursor: Cursor, body: Json, came: int) -> Cursor | None:
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
        """Return the total number of items from the response, or from the HEAD request before it."""
        if self.total:
            return as_count(dig(answer.body, *steps(self.total)))
        announced = as_count(answer.headers.get(self.total_header)) if self.total_header else None
        return cursor.get("total") if announced is None else announced

    def _prove_end(self, client: Client, at: int, params: Params) -> None:
        """Request the page after an empty one: without a total, one empty page does not prove the end."""
        try:
            url, sent = self._request(at + 1, params)
            items = self._items(client.get_json(url, sent, check=self.check))
        except UnrecordedRequest:  # a recording ends where its run did
            return
        except HttpStatus as error:
            if error.status in PAST_THE_END:
                return
            raise
        if items:
            raise UnexpectedResponse(f"{self.param} {at} is empty, but {self.param} {at + 1} is not")


class Tokens(Paginator):
    """Pages that hold the token of the next one; a page without a token, or with its own, is the last.

    For responses of the form

        {"works": [{"id": 1}], "meta": {"next": "eyJpZCI6MX0", "total": 480}}

    to requests with the parameter `cursor`, declare:

        pages = Tokens("https://api.example.org/works", items="works", param="cursor", following="meta.next",
                       total="meta.total")
    """

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
        """Describe the pagination of an API.

        Args:
            url: URL of every page.
            items: Dotted path of the list.
            param: Query parameter of the token.
            following: Dotted path of the next page's token.
            first: Token of the first page.
            total: Dotted path of the total number of items.
            check: Raises Retry or Fatal if the body reports an error in the API's own way.
        """
        self.url, self.items, self.param, self.following, self.first = url, items, param, following, first
        self.total, self.check = total, check
        self.own_params = (param,)

    def start(self, params: Params) -> Cursor:
        return {self.param: params.get(self.param, self.first)}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        token = cursor[self.param]
        body = client.get_json(self.url, {**params, self.param: token}, check=self._checked)
        following = dig(body, *steps(self.following))
        after = {self.param: following} if following and following != token else None
        return Page(items_at(body, self.items), after, count_at(body, self.total) if self.total else None)

    def _checked(self, body: Json) -> None:
        if self.check:
            self.check(body)
        items = items_at(body, self.items)
        if self.total:
            total_of(body, self.total, len(items))
