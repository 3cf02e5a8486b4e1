"""Pages by number or offset."""

from collections.abc import Collection, Mapping
from typing import Literal

from catalog.core.errors import HttpStatus, UnexpectedResponse, UnrecordedRequest
from catalog.core.jsontypes import Json, JsonObject, Params
from catalog.ingestion.client import Check, Client
from catalog.ingestion.http_response import Decoded
from catalog.ingestion.pagination import PAST_THE_END, Cursor, Listing, Page
from catalog.ingestion.records import Raw
from catalog.ingestion.responses import as_count, count_at, has, total_of, value_at


class Counted(Listing):
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
        answer = self._checked(client, at, params, empty=last is None)
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
        by = -(-items // max(size, 1))  # whole pages, also of offsets: then nothing else is read with them
        by *= size if self.step > 1 else 1
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

    def _checked(self, client: Client, at: int, params: Params, *, empty: bool) -> Decoded | None:
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
