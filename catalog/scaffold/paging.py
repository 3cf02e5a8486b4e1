"""Guesses from responses of an API how its pages are read. A person checks it in `provider.py`."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec

from catalog.core.jsontypes import Json, JsonObject
from catalog.core.secrets import is_secret
from catalog.ingestion.links import next_link
from catalog.ingestion.responses import as_count, dotted, lists_in, steps, value_at

Kind = Literal["Counted", "Tokens", "Links"]
_OFFSET = re.compile(r"offset|start|skip|startindex|start_index|from", re.IGNORECASE)
_PAGE = re.compile(r"page|p|paged|page_?(?:no|num|number)", re.IGNORECASE)
_CURRENT = re.compile(r"(?:current.?)?page(?:.?(?:no|num|number))?", re.IGNORECASE)
_NEXT = re.compile(
    r"next|next.?(?:page|link|url|href|cursor|token|page.?token)|cursor|continuation", re.IGNORECASE
)
_TOTAL = re.compile(
    r"total|count|found|hits|matches|matched|num.?(?:found|results|records|recordings|items|objects)|total.?(?:results|items|count|hits|records)|(?:results?.?)?(?:total|(?:full)?count)",
    re.IGNORECASE,
)
_PAGES = re.compile(r"pages|total.?pages|page.?count|num.?pages|last.?page|pages.?total", re.IGNORECASE)
_SIZE = re.compile(r"(?:page.?)?size|limit|rows|count|per.?page|max.?records", re.IGNORECASE)
_MORE = re.compile(r"has.?(?:more|next)(?:.?page)?|more", re.IGNORECASE)


class Paging(msgspec.Struct):
    """How the pages of an API are read; the fields are those of the paginators, and `doubt` for people."""

    kind: Kind = "Counted"
    items: str = "results"
    param: str = "page"
    first: int = 1
    step: int = 1
    following: str | None = None
    following_header: str | None = None
    more: str | None = None
    pages: str | None = None
    total: str | None = None
    beside: dict[str, str] = {}
    repeated: str | None = None  # path of the page's own number
    doubt: str | None = None  # why `param` may be wrong


class Recorded(msgspec.Struct):
    """A recorded request for a page.

    Attributes:
        params: Its parameters, also those in its body.
        headers: The headers of the response; their names are in lower case.
    """

    params: JsonObject
    headers: dict[str, str]


class Address(msgspec.Struct):
    """A URL, divided into what a declaration says separately.

    Attributes:
        endpoint: The URL without its query.
        params: The parameters to send with every page.
        paging: The parameters that name the page.
        secrets: Names of parameters that seem to be keys; their values are not kept.
        query: Names of the parameters in the query.
        posted: The list is requested by POST; all other parameters are sent as JSON in its body.
        nested: Paths of what may name the page within other objects of the body.
    """

    endpoint: str
    params: JsonObject
    paging: JsonObject
    secrets: list[str]
    query: tuple[str, ...] = ()
    posted: bool = False
    nested: tuple[str, ...] = ()

    def body(self, param: str) -> tuple[str, ...]:
        """Return the names of the parameters that are sent in the body.

        Args:
            param: The one that names the page.
        """
        names = dict.fromkeys((*self.params, param))
        return tuple(name for name in names if name not in self.query) if self.posted else ()


def address(url: str, body: JsonObject | None = None) -> Address:
    """Divide the request for a page.

    Args:
        url: Its URL.
        body: The body of a POST; None for a GET.
    """
    query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    asked = {**query, **(body or {})}
    secrets = [name for name in query if is_secret(name)]
    paging = {
        name: value
        for name, value in asked.items()
        if name not in secrets and _counts(name) and as_count(value) is not None
    }
    params = {name: value for name, value in asked.items() if name not in paging and name not in secrets}
    in_query = tuple(name for name in query if name not in (body or {}))
    nested = tuple(
        path
        for path, value in beside(body or {}, "")
        if len(steps(path)) > 1 and _counts(steps(path)[-1]) and as_count(value) is not None
    )
    return Address(url.partition("?")[0], params, paging, secrets, in_query, body is not None, nested)


def _counts(name: str) -> bool:
    """Return whether a parameter has the name of a page's number or offset."""
    return bool(_PAGE.fullmatch(name) or _OFFSET.fullmatch(name))


def items_path(body: Json) -> str | None:
    """Return the dotted path of the list with the most objects; None if no list holds one with a key."""
    found = {path: value_at(body, path) for path in lists_in(body)}
    sizes = {path: sum(isinstance(i, dict) and bool(i) for i in items) for path, items in found.items()}
    best = max(sizes, key=lambda path: sizes[path], default=None)
    return best if best is not None and sizes[best] else None


def paging_of(bodies: list[Json], url: Address, requests: Sequence[Recorded] = ()) -> Paging:
    """Guess how pages are read.

    Args:
        bodies: Responses, in the order of their pages.
        url: The address of the first one.
        requests: The requests for them, as far as they are recorded.
    """
    paging = Paging(items=items_path(bodies[0]) or "")
    listed = max(len(value_at(body, paging.items) or []) for body in bodies)
    scalars = dict(beside(bodies[0], paging.items))
    numbers = ((path, as_count(value, grouped=True)) for path, value in scalars.items())
    counts = {path: number for path, number in numbers if number is not None}
    totals = [path for path, number in counts.items() if _named(_TOTAL, path) and number >= listed]
    paging.total = max(totals, key=lambda path: counts[path], default=None)
    paging.pages = next((p for p in counts if _named(_PAGES, p)), None)
    paging.repeated = next((p for p in counts if _named(_CURRENT, p)), None)
    following = next((p for p, value in scalars.items() if value and _named(_NEXT, p)), None)
    value = scalars.get(following or "")
    linked = isinstance(value, str) and bool(re.match(r"https?://|/|\?", value))
    if linked and not url.posted:
        return msgspec.structs.replace(paging, kind="Links", following=following, pages=None)
    if not url.posted and any(next_link(request.headers) for request in requests):
        return msgspec.structs.replace(paging, kind="Links", pages=None)
    told = varying(requests)
    if told and (header := _naming(told, requests)):
        return msgspec.structs.replace(paging, kind="Tokens", param=told, following_header=header, pages=None)
    if following and isinstance(value, str) and as_count(value) is None and not linked:
        param = re.sub("(?i)^next[-_]?", "", _name(following)) or "cursor"
        param = told or param[0].lower() + param[1:]
        return msgspec.structs.replace(paging, kind="Tokens", following=following, pages=None, param=param)
    if following is None:
        following = next(
            (p for p, flag in scalars.items() if isinstance(flag, bool) and _named(_MORE, p)), None
        )
    paging.more = None if paging.pages else following
    if not (told and _counted(paging, told, requests, listed)):
        _number(paging, url, scalars, listed)
    return paging


def varying(requests: Sequence[Recorded]) -> str | None:
    """Return the parameter that tells recorded requests apart; None if there is none, or more than one."""
    names = dict.fromkeys(name for request in requests for name in request.params)
    differing = [n for n in names if len({str(request.params.get(n)) for request in requests}) > 1]
    counting = list(filter(_counts, differing))
    return next((found[0] for found in (counting, differing) if len(found) == 1), None)


def _naming(param: str, requests: Sequence[Recorded]) -> str | None:
    """Return the header whose value, in each response, is the parameter of the following request."""
    values = [str(request.params.get(param)) for request in requests[1:]]
    return next(
        (
            name
            for name in requests[0].headers
            if name != "content-length"
            and all(r.headers.get(name) == value for r, value in zip(requests, values, strict=False))
        ),
        None,
    )


def _counted(paging: Paging, param: str, requests: Sequence[Recorded], listed: int) -> bool:
    """Take over the parameter by which recorded requests count; return False if they do not count."""
    numbers = [as_count(request.params[param]) for request in requests if param in request.params]
    counted = [number for number in numbers if number is not None]
    absent = len(requests) - len(numbers)  # of the first page, which may be requested without a number
    if len(counted) < len(numbers) or absent > 1 or counted != sorted(set(counted)):
        return False
    step = counted[1] - counted[0] if len(counted) > 1 else counted[0]
    by_items = step > 1 and (_OFFSET.fullmatch(param) is not None or not _PAGE.fullmatch(param))
    if len(counted) == 1 and not _OFFSET.fullmatch(param):
        by_items = counted[0] == listed and not _PAGE.fullmatch(param)
    paging.param = param
    if by_items:
        paging.first, paging.step, paging.pages = 0 if absent else counted[0], step, None
    else:
        paging.first = max(0, counted[0] - absent)
    return True


def _number(paging: Paging, url: Address, scalars: JsonObject, listed: int) -> None:
    """Guess the parameter that counts: from the address, else from a response that repeats it."""
    repeated = (
        (steps(path)[-1], f"{value}")
        for path, value in scalars.items()
        if as_count(value) is not None and _OFFSET.fullmatch(steps(path)[-1])
    )
    stated = next(iter(url.paging.items()), None) or next(repeated, None)
    if stated is None:
        paging.doubt = "the parameter that names the page, for which `page` is assumed" + (
            f". It may be `{url.nested[0]}`, but no paginator counts in an object of the body: write a "
            "Paginator of its own"
            if url.nested
            else ""
        )
    paging.param, first = stated or ("page", 1)
    if _OFFSET.fullmatch(paging.param):
        asked = (as_count(value) for name, value in url.params.items() if _SIZE.fullmatch(name))
        paging.first, paging.step, paging.pages = 0, max(2, next(filter(None, asked), listed)), None
    else:
        paging.first = 0 if as_count(first) == 0 else 1


def _named(pattern: re.Pattern[str], path: str) -> bool:
    return bool(pattern.fullmatch(_name(path)))


def _name(path: str) -> str:
    """Return the last telling key of a path: `total` of `total.value`, `nextLink` of `@odata.nextLink`."""
    keys = steps(path)
    last = keys[-2] if len(keys) > 1 and keys[-1] == "value" else keys[-1]
    return re.split("[.:]", last)[-1]


def beside(body: Json, items: str, path: str = "", depth: int = 4) -> Iterator[tuple[str, Json]]:
    """Yield the dotted paths and values of all scalars outside the list of items."""
    if isinstance(body, dict) and depth:
        for key, value in body.items():
            below = f"{path}.{dotted(key)}" if path else dotted(key)
            if below and below != items:  # no path names the key "" of the body itself
                yield from beside(value, items, below, depth - 1)
    elif path and not isinstance(body, dict | list):
        yield path, body
