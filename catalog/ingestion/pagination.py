"""Paginators: the ways to walk through the pages of an API.

A cursor is small JSON that identifies the next page; the request is made from it. Every paginator has a stop
condition, and `LoopGuard` watches all of them. A page is empty only if it holds an empty list; a missing list
is an error. Announced totals are passed on, so that the pull can compare them with what it read.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Literal, TypeVar
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import msgspec
from requests.utils import parse_header_links

from catalog.core.errors import HttpStatus, UnexpectedResponse, UnrecordedRequest
from catalog.core.jsontypes import Json, JsonObject, Params
from catalog.ingestion.client import Check, Client, Decoded
from catalog.ingestion.records import Raw
from catalog.ingestion.responses import as_count, count_at, describe, has, items_at, total_of, value_at
from catalog.ingestion.transport import host_of

Cursor = JsonObject
RoundParams = JsonObject  # fixed parameters of a round
PAST_THE_END = (400, 404, 416)
Body = TypeVar("Body")  # of a response, decoded


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
        gone: There is no such page, although the one before named it or it was announced: items were deleted.
        earlier: Number of items at the end that only an earlier response to the same request lists. One whose
            record the page has already, in another form, is skipped.
    """

    items: list[Raw]
    next: Cursor | None = None
    total: int | None = None
    more_rounds: list[JsonObject] = []
    withheld: str | None = None
    restarted: bool = False
    gone: bool = False
    earlier: int = 0


class Paginator(ABC):
    """Walks one round (one set of fixed parameters) of an API.

    Attributes:
        url: URL of a page, whose host is the API's.
        own_params: Names of the parameters that form the cursor.
        own_headers: Names of the headers of a response that it reads. A recording keeps them, whatever their
            names are.
        uniform: All pages except the last hold the same number of items.
    """

    url: str = ""
    own_params: tuple[str, ...] = ()
    own_headers: tuple[str, ...] = ()
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

    def rewind(self, cursor: Cursor, items: int, size: int) -> Cursor | None:
        """Return the cursor of a page before this one, from which the round is read again.

        For pages by number or offset: what is deleted while they are read moves the items behind it forward,
        some of them onto pages that were read before.

        Args:
            cursor: The cursor of the page.
            items: Number of items to go back by.
            size: Number of items on a page.

        Returns:
            The cursor; None if deleted items do not move others to other pages.
        """
        return None


def once_more(ask: Callable[[], Body]) -> Body | None:
    """Request a page again that names no next one; None if it cannot be requested twice.

    Without a total, nothing else tells whether the response lacks what it should have named. What the first
    response holds counts as well, as the second may hold less; see `lacking`.

    Args:
        ask: Sends the request.
    """
    try:
        return ask()
    except UnrecordedRequest:  # a recording may hold each page once
        return None
    except HttpStatus as error:
        if error.status in PAST_THE_END:  # such as a token that was used up
            return None
        raise


def lacking(first: list[Raw], again: list[Raw]) -> list[Raw]:
    """Return the items of a response that its repetition lacks, or has in another form.

    >>> lacking([1, 2, 3], [2, 4])
    [1, 3]
    """
    return [] if first == again else [item for item in first if item not in again]


class _Listing(Paginator):
    """Pages that hold a list of items in JSON.

    Attributes:
        url: URL of a page.
        items: Dotted path of the list.
        total: Dotted path of the total number of items.
        check: Raises Retry or Fatal if the body reports an error in the API's own way.
        beside: Key → dotted path of a value beside the list.
        body: Names of the parameters that are sent as JSON in the body of a POST request.
    """

    def __init__(
        self,
        url: str,
        items: str,
        total: str | None,
        check: Check | None,
        beside: Mapping[str, str] | None,
        body: Collection[str] = (),
    ) -> None:
        self.url, self.items, self.total, self.check = url, items, total, check
        self.beside, self.body = dict(beside or {}), tuple(body)

    def ask(self, client: Client, url: str, params: Params, check: Check | None) -> Decoded:
        """Send a request: by GET, or by POST with the parameters that belong into the body."""
        query = {name: value for name, value in params.items() if name not in self.body}
        json = {name: value for name, value in params.items() if name in self.body} if self.body else None
        return client.get_decoded(url, query, check=check, json=json)

    def listed(self, body: Json) -> list[Raw]:
        """Return the items of a response, each with the values beside the list.

        Raises:
            UnexpectedResponse: The list or one of the values is missing.
        """
        found = items_at(body, self.items)
        if not self.beside:
            return found
        for path in self.beside.values():
            if not has(body, path):
                raise UnexpectedResponse(f"`{path}`, a value beside the items, is missing; {describe(body)}")
        values = {key: value_at(body, path) for key, path in self.beside.items()}
        return [{**item, **values} if isinstance(item, dict) else item for item in found]

    def checked(self, body: Json) -> None:
        """Raise an error unless a response has its list, its values and its total, and reports success."""
        if self.check:
            self.check(body)
        items = self.listed(body)
        if self.total:
            total_of(body, self.total, len(items))

    def page(self, ask: Callable[[], Decoded], following: Callable[[Decoded], Json], param: str) -> Page:
        """Request a page that names the next one; twice if it names none, and no total proves the end.

        Args:
            ask: Sends the request.
            following: Returns what a response names as the next page; None if it is the last.
            param: Key of that in the cursor.
        """
        answer = ask()
        after, earlier = following(answer), []
        if not after and not self.total and (again := once_more(ask)):
            earlier = lacking(self.listed(answer.body), self.listed(again.body))
            answer, after = again, following(again)
        total = count_at(answer.body, self.total) if self.total else None
        items = [*self.listed(answer.body), *earlier]
        return Page(items, {param: after} if after else None, total, earlier=len(earlier))


class Counted(_Listing):
    """A page number or offset that grows until a page is empty or the API reports the last one.

    An offset grows by the number of items that were returned, so no items are lost if the server caps its
    page size. If the API announces no total, one more page is requested after the last one, which proves the
    end.

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
        pages: str | None = None,
        total: str | None = None,
        announces: Literal["always", "sometimes"] = "always",
        pages_header: str | None = None,
        total_header: str | None = None,
        omits_empty: bool = False,
        past_end_status: int | None = None,
        most: int | None = None,
        beside: Mapping[str, str] | None = None,
        body: Collection[str] = (),
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
            pages: Dotted path of the number of pages.
            total: Dotted path of the total number of items.
            announces: "sometimes" if responses may lack the total; otherwise a missing total is an error.
            pages_header: Response header with the number of pages, read by a HEAD request for the first page.
            total_header: Response header with the total number of items, of a page and of that HEAD request.
                May be missing.
            omits_empty: Responses past the last item lack the list.
            past_end_status: Status of a page past the last one.
            most: Number of items that the API shows of one round, whatever it announces; nothing is requested
                beyond them. A pull with a round that announces more is not whole. Only with offsets.
            beside: Key → dotted path of a value beside the list, such as the address of an image server; each
                item gets it under the key.
            body: Names of parameters that are sent as JSON in the body; the requests are then POSTs.
            check: Raises Retry or Fatal if the body reports an error in the API's own way.

        Raises:
            ValueError: `step` is less than 1, so the pages would never end; or pages are counted, but not
                requested by their number; or `most` limits items, but pages are counted, or no total would
                tell that there are more.
        """
        if step < 1:
            raise ValueError("step must be at least 1, or the pages never end")
        if pages and step > 1:
            raise ValueError("`pages` counts pages, but `step` says that `param` is an offset; use `total`")
        if most is not None and (step == 1 or not total):
            raise ValueError("`most` needs offsets (`step`), and a `total` that tells what is not shown")
        super().__init__(url, items, total, check, beside, body)
        self.param, self.first, self.step, self.most = param, first, step, most
        self.more, self.pages, self.announces = more, pages, announces
        self.pages_header, self.total_header = pages_header, total_header
        self.omits_empty, self.past_end_status = omits_empty, past_end_status
        self.own_params = (param,)
        self.own_headers = tuple(filter(None, (pages_header, total_header)))
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
            return Page([], gone=True)
        items, total = self._items(answer.body), self.total_items(answer, cursor)
        following = self._next(cursor, answer.body, len(items))
        if following is None and total is None and last is None and not self.pages:
            self._prove_end(client, at, params, items)
        return Page(items, following, total)

    def skip(self, cursor: Cursor) -> Cursor | None:
        if cursor.get("last") is not None and cursor[self.param] + 1 >= self.first + cursor["last"]:
            return None
        return {**cursor, self.param: cursor[self.param] + self.step}

    def rewind(self, cursor: Cursor, items: int, size: int) -> Cursor | None:
        by = items if self.step > 1 else -(-items // max(size, 1))
        return {**cursor, self.param: max(self.first, cursor[self.param] - by)}

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
            if self.pages and not items and at + 1 < self.first + count_at(body, self.pages):
                raise UnexpectedResponse(f"page {at} is empty, but `{self.pages}` announces more pages")
            if self.more and not has(body, self.more):
                raise UnexpectedResponse(f"`{self.more}`, which says whether a page follows, is missing")
            if self.more and not (items or self.total or at == self.first or value_at(body, self.more)):
                raise UnexpectedResponse(f"page {at}, which the page before named as the next one, is empty")
            if self.total and (self.announces == "always" or has(body, self.total)):
                total_of(body, self.total, len(items))

        url, sent = self._request(at, params)
        try:
            return self.ask(client, url, sent, check)
        except HttpStatus as error:
            if error.status == self.past_end_status and at != self.first:
                return None
            raise

    def _items(self, body: Json) -> list[Raw]:
        if self.omits_empty and self.total and not has(body, self.items) and has(body, self.total):
            return []  # compared with the total at the end of the round
        return self.listed(body)

    def _next(self, cursor: Cursor, body: Json, came: int) -> Cursor | None:
        at, last = cursor[self.param], cursor.get("last")
        if last is not None:
            ended = at + 1 >= self.first + last
        elif self.pages:
            ended = at + 1 >= self.first + count_at(body, self.pages)
        elif self.more:
            ended = not value_at(body, self.more)
        else:
            ended = not came
        following = at + (came if came and self.step > 1 else self.step)
        if self.most is not None and following + self.step > self.first + self.most:
            ended = True  # what is not shown is missing from the announced total
        return None if ended else {**cursor, self.param: following}

    def total_items(self, answer: Decoded, cursor: Cursor) -> int | None:
        """Return the total number of items; override it for an API whose total needs a correction.

        Args:
            answer: The checked response for a page.
            cursor: The cursor of the page, with the total of the HEAD request, if there was one.
        """
        if self.total:
            return as_count(value_at(answer.body, self.total), grouped=True)
        announced = as_count(answer.headers.get(self.total_header)) if self.total_header else None
        return cursor.get("total") if announced is None else announced

    def _prove_end(self, client: Client, at: int, params: Params, last: list[Raw]) -> None:
        """Request the page after the last one: without a total, that page alone does not prove the end.

        Args:
            client: Sends the request.
            at: The last page: it is empty, or its response says that no page follows.
            params: All other parameters to send.
            last: The items of that page.

        Raises:
            UnexpectedResponse: There are items behind it.
        """
        behind = at + (len(last) if last and self.step > 1 else 1)
        try:
            url, sent = self._request(behind, params)
            items = self._items(self.ask(client, url, sent, self.check).body)
        except UnrecordedRequest:  # a recording ends where its run did
            return
        except HttpStatus as error:
            if error.status in PAST_THE_END:
                return
            raise
        except UnexpectedResponse:
            if self.more:  # it has said that there is no such page
                return
            raise
        if items and items != last:  # some APIs repeat their last page
            said = f"says that it is the last (`{self.more}`)" if last else "is empty"
            raise UnexpectedResponse(f"{self.param} {at} {said}, but {self.param} {behind} is not")


class Tokens(_Listing):
    """Pages with the token of the next one; a page without a token, or with its own, is the last.

    If the API announces no total, the last page is requested twice: the token may be missing by mistake.

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
        following: str | None = None,
        following_header: str | None = None,
        first: str | int | None = None,
        total: str | None = None,
        beside: Mapping[str, str] | None = None,
        body: Collection[str] = (),
        check: Check | None = None,
    ) -> None:
        """Describe the pagination of an API.

        Args:
            url: URL of every page.
            items: Dotted path of the list.
            param: Query parameter of the token.
            following: Dotted path of the next page's token.
            following_header: Response header with the next page's token, if it is not in the body. The last
                page lacks it.
            first: Token of the first page, such as "*"; None: it is requested without one.
            total: Dotted path of the total number of items.
            beside: Key → dotted path of a value beside the list; each item gets it under the key.
            body: Names of parameters that are sent as JSON in the body; the requests are then POSTs.
            check: Raises Retry or Fatal if the body reports an error in the API's own way.

        Raises:
            ValueError: The token is said to be nowhere, or both in the body and in a header.
        """
        if bool(following) == bool(following_header):
            raise ValueError("where is the token? give either `following` or `following_header`")
        super().__init__(url, items, total, check, beside, body)
        self.param, self.first = param, first
        self.following, self.following_header = following, following_header
        self.own_params = (param,)
        self.own_headers = (following_header,) if following_header else ()

    def start(self, params: Params) -> Cursor:
        return {self.param: params.get(self.param, self.first)}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        token = cursor[self.param]
        sent = params if token is None else {**params, self.param: token}
        ask = partial(self.ask, client, self.url, sent, self.checked)
        return self.page(ask, lambda answer: self._following(answer, token), self.param)

    def _following(self, answer: Decoded, token: Json) -> Json:
        """Return the token of the next page; None if there is none, or only the page's own."""
        if self.following_header:
            found: Json = answer.headers.get(self.following_header)
        else:
            found = value_at(answer.body, self.following or "")
        return None if found == token else found or None


def next_link(headers: Mapping[str, str]) -> str | None:
    """Return the address of the next page in the header `Link`, as RFC 8288 has it; None if there is none.

    >>> next_link({"link": '<https://api.example.org/works?page=2>; rel="next"'})
    'https://api.example.org/works?page=2'
    """
    links = parse_header_links(headers.get("link") or "")
    return next((link["url"] for link in links if "next" in link.get("rel", "").lower().split()), None)


class Links(_Listing):
    """Pages that hold the address of the next one; a page without an address, or with its own, is the last.

    If the API announces no total, the last page is requested twice, as by `Tokens`.

    For responses of the form

        {"data": [{"id": 1}], "links": {"next": "https://api.example.org/works?page=2"}, "total": 480}

    declare:

        pages = Links("https://api.example.org/works", items="data", following="links.next", total="total")

    The parameters are sent with the first request only, because the addresses contain them. Keys are taken
    out of an address, and added again by the client.
    """

    own_params = ("link",)

    def __init__(
        self,
        url: str,
        *,
        items: str,
        following: str | None = None,
        total: str | None = None,
        beside: Mapping[str, str] | None = None,
        check: Check | None = None,
    ) -> None:
        """Describe the pagination of an API.

        Args:
            url: URL of the first page.
            items: Dotted path of the list; "" if the response itself is the list.
            following: Dotted path of the next page's address; None: the header `Link` with `rel="next"`.
            total: Dotted path of the total number of items.
            beside: Key → dotted path of a value beside the list; each item gets it under the key.
            check: Raises Retry or Fatal if the body reports an error in the API's own way.
        """
        super().__init__(url, items, total, check, beside)
        self.following = following

    def start(self, params: Params) -> Cursor:
        return {"link": params.get("link")}

    def fetch(self, client: Client, cursor: Cursor, params: Params) -> Page:
        link = cursor["link"]
        url, sent = link or self.url, {} if link else params
        ask = partial(client.get_decoded, url, sent, check=self.checked)
        return self.page(ask, lambda answer: self._following(answer, url, client.redact), "link")

    def _following(self, answer: Decoded, url: str, redact: Callable[[str], str]) -> str | None:
        """Return the address of the next page, without secrets.

        Raises:
            UnexpectedResponse: It is not an address of the API's host.
        """
        link = value_at(answer.body, self.following) if self.following else next_link(answer.headers)
        if not link:
            return None
        address = urljoin(url, link) if isinstance(link, str) else ""
        if host_of(address) != host_of(self.url):
            raise UnexpectedResponse(
                f"the next page's address is not one of {host_of(self.url)}: {redact(str(link))[:200]}"
            )
        parts = urlsplit(address)
        sent = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if redact(v) == v]
        # An API behind a proxy may not know that it is reached over https.
        address = parts._replace(scheme=urlsplit(self.url).scheme, query=urlencode(sent)).geturl()
        return None if address == url else address
