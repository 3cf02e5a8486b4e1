"""Pages that name the next one, by a token or by its address."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from requests.utils import parse_header_links

from catalog.core.errors import UnexpectedResponse
from catalog.core.jsontypes import Json, Params
from catalog.ingestion.addresses import host_of
from catalog.ingestion.client import Check, Client
from catalog.ingestion.http_response import Decoded
from catalog.ingestion.pagination import Cursor, Listing, Page
from catalog.ingestion.responses import value_at


class Tokens(Listing):
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


class Links(Listing):
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
