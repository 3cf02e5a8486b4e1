"""Paginators walk through the pages of an API; the usual ones are in `counted` and `links`.

A cursor is small JSON that identifies the next page; the request is made from it. Every paginator has a stop
condition, and `LoopGuard` watches all of them. A page is empty only if it holds an empty list; a missing list
is an error. Announced totals are passed on, so that the pull can compare them with what it read.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import msgspec

from catalog.core.errors import HttpStatus, UnexpectedResponse, UnrecordedRequest
from catalog.core.jsontypes import Json, JsonObject, Params
from catalog.ingestion.client import Check, Client
from catalog.ingestion.http_response import Decoded
from catalog.ingestion.records import Raw
from catalog.ingestion.responses import count_at, describe, has, items_at, total_of, value_at

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
        listed: The items before they were completed with details; empty if they were not.
    """

    items: list[Raw]
    next: Cursor | None = None
    total: int | None = None
    more_rounds: list[JsonObject] = []
    withheld: str | None = None
    restarted: bool = False
    gone: bool = False
    earlier: int = 0
    listed: list[Raw] = []


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
    """Request a page again that names no next one, or no items; None if it cannot be requested twice.

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


def request_count(
    client: Client, url: str, params: Params, path: str, *, check: Check | None = None, json: Json = None
) -> int:
    """Request how many items there are; a response without a number, or with 0, is requested again.

    Args:
        client: Sends the request.
        url: See `Client.get_json`.
        params: See `Client.get_json`.
        path: Dotted path of the number.
        check: See `Client.get_json`.
        json: See `Client.get_json`.

    Raises:
        Retry: See `Client.get_json`.
        Fatal: See `Client.get_json`.
    """

    def has_count(body: Json) -> None:
        if check:
            check(body)
        count_at(body, path)

    def ask() -> int:
        return count_at(client.get_json(url, params, check=has_count, json=json), path)

    return ask() or once_more(ask) or 0


def lacking(first: list[Raw], again: list[Raw]) -> list[Raw]:
    """Return the items of a response that its repetition lacks, or has in another form.

    >>> lacking([1, 2, 3], [2, 4])
    [1, 3]
    """
    return [] if first == again else [item for item in first if item not in again]


class Listing(Paginator):
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
        """Request a page that names the next one.

        Without a total, nothing else proves the end, or that an empty page lacks nothing: such a page is
        requested twice, and an empty one that names a next page is reported.

        Args:
            ask: Sends the request.
            following: Returns what a response names as the next page; None if it is the last.
            param: Key of that in the cursor.
        """
        answer = ask()
        after, earlier, other_forms = following(answer), [], True
        doubtful = not self.total and not (after and self.listed(answer.body))
        if doubtful and (again := once_more(ask)):
            first, second = self.listed(answer.body), self.listed(again.body)
            earlier, other_forms = lacking(first, second), bool(lacking(second, first))
            answer, after = again, following(again) or after
        total = count_at(answer.body, self.total) if self.total else None
        items = [*self.listed(answer.body), *earlier]
        page = Page(items, {param: after} if after else None, total)
        page.earlier = len(earlier) if other_forms else 0  # otherwise the second response only lacks some
        if after and not items and not self.total:
            page.withheld = "a page in the middle holds 0 items, and no total proves that all came"
        return page
