"""An API that lies: every recorded answer in turn is replaced by one that is well formed and untrue.

A pull may fail or report that it is not whole, but never succeed with rows missing. An item that is rejected
with its reason is accounted for.
"""

import copy
import json
import re
import threading
from contextlib import nullcontext
from urllib.parse import parse_qs, quote, urlsplit

import orjson
import pytest

from catalog.core.errors import CatalogError, NotWhole, UnrecordedRequest
from catalog.ingestion.assemble import offsets_of
from catalog.ingestion.counted import Counted
from catalog.ingestion.json_reader import read_json
from catalog.ingestion.links import Links, Tokens, next_link
from catalog.ingestion.registry import FOLDER, api_names, provider_class
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.responses import steps, value_at
from catalog.scaffold.rows import expected_file, pull_recording, read_rows
from catalog.tests.providers.fake_api import ReadResponse
from catalog.tests.values import present

LISTS = {"cc_mixter", "museum_victoria"}  # providers whose responses are lists, which have no keys
MOST = 12  # requests of a recording that are lied about, spread over all of them
FAILURES = {  # what each API answers with status 200 when it has failed
    "art_institute_of_chicago": {"status": 500, "error": "Server error", "detail": "The search failed."},
    "auckland_museum": {"error": {"type": "search_phase_execution_exception"}, "status": 503},
    "brooklyn_museum": {"message": "Internal error", "errorCode": "500", "data": []},
    "cc_mixter": {"error": "database is locked"},
    "cleveland_museum": {
        "error": {"code": 500, "message": "search failed"},
        "info": {"total": 0},
        "data": [],
    },
    "europeana": {"success": False, "error": "Internal Server Error", "itemsCount": 0, "items": []},
    "finnish_museums": {"status": "ERROR", "statusMessage": "An error has occurred", "records": []},
    "flickr": {"stat": "fail", "code": 105, "message": "Service currently unavailable"},
    "freesound": {"detail": "The search server is not available.", "error": True},
    "internet_archive": {"error": "search service unavailable", "errorType": "RangeError"},
    "jamendo": {"headers": {"status": "failed", "code": 6, "error_message": "Rate limit"}, "results": []},
    "justtakeitfree": {"error": "invalid key", "data": []},
    "metropolitan_museum": {"message": "Forbidden", "total": 0},
    "museum_victoria": {"error": "index is being built"},
    "nappy": {"error": "unavailable", "images": []},
    "nypl": {"nyplAPI": {"response": {"headers": {"status": "error", "code": "500"}, "numResults": "0"}}},
    "phylopic": {"errors": [{"type": "SERVER_ERROR", "userMessage": "An error occurred."}]},
    "rawpixel": {"error": "signature", "results": []},
    "science_museum": {"errors": [{"status": "500", "title": "Search failed"}]},
    "smithsonian": {"status": 500, "responseCode": -1, "response": {"message": "search failed"}},
    "smk": {"error": "solr timed out", "found": 0, "items": []},
    "stocksnap": {"error": "try again"},
    "wikimedia_commons": {"error": {"code": "maxlag", "info": "Waiting for a database server"}},
    "wordpress": {"code": "rest_error", "message": "Error", "data": {"status": 500}},
    "xeno_canto": {"error": "server_error", "message": "Try again later"},
}


def lists(body, path=()):
    """(path, list) of every list of a body that is not inside another list, the longest first."""
    if isinstance(body, list):
        return [(path, body)]
    found = []
    if isinstance(body, dict):
        for key, value in body.items():
            found += lists(value, (*path, key))
    return sorted(found, key=lambda pair: -len(pair[1]))


def items_path(provider, body):
    """Where the answer's items are, as the provider declares it, or else its longest list."""
    pages = provider.pages
    if isinstance(pages, Counted | Tokens) and pages.items is not None:
        path = tuple(steps(pages.items))
        if any(found == path for found, _ in lists(body)):
            return path
    return next((path for path, found in lists(body) if found), None)


def changed(body, path, change):
    """A copy of a body in which `change` was made to the parent of what lies at a path."""
    body = copy.deepcopy(body)
    node = body
    for step in path[:-1]:
        node = node[step]
    change(node, path[-1])
    return body


def without(node, key):
    del node[key]


def setter(value):
    def change(node, key):
        node[key] = value(node[key]) if callable(value) else value

    return change


def of_the_list(value):
    """A lie about the answer's items; None where there are none."""

    def lie(provider, body):
        path = items_path(provider, body)
        if path is None:
            return None
        if path:
            return changed(body, path, value if value is without else setter(value))
        return None if value is without else value(body) if callable(value) else value

    return lie


def announces(pages):
    """Whether responses tell how many items there are; a paginator of its own is to find out by itself."""
    if type(pages) not in (Counted, Tokens, Links):
        return True
    return bool(pages.total or getattr(pages, "pages_header", None) or getattr(pages, "total_header", None))


def proves_the_end(pages):
    """Whether an empty page can be told from the end. Otherwise the list is as long as it seems to be."""
    return announces(pages) or bool(getattr(pages, "more", None))


def half(items):
    return items[: len(items) // 2]


def without_total(provider, body):
    total = getattr(provider.pages, "total", None)
    path = steps(total) if isinstance(total, str) else [k for k in ("total", "totalItems") if k in body][:1]
    try:
        return changed(body, path, without) if path else None
    except (KeyError, TypeError):
        return None


def halved(provider, body):
    """Half of a list. Where nothing is announced, only a server that caps each page tells: see `Capped`."""
    if not announces(provider.pages):
        return None
    return of_the_list(half)(provider, body)


EMPTYING = ("[]", "list empty", "list empty, all else kept")
LIES = {
    "{}": lambda provider, body: {},
    "message": lambda provider, body: {"message": "This service has moved."},
    "[]": lambda provider, body: [],
    "list missing": of_the_list(without),
    "list null": of_the_list(None),
    "list empty": of_the_list(lambda items: []),
    "list empty, all else kept": of_the_list(lambda items: [] if items else items),
    "total missing": without_total,
    "capped at half": halved,
    "failure in a 200": lambda provider, body: FAILURES.get(provider.name, {"error": "try again later"}),
}


class Liar(ReplayAdapter):
    """The recording with one request answered by a lie each time; without a lie, it only counts requests."""

    def __init__(self, provider, index=-1, lie=None):
        cls = provider_class(provider)
        super().__init__(FOLDER / provider / "recording", *offsets_of(cls))
        self.provider, self.index, self.lie = cls(), index, lie
        self.seen, self.lied, self.lock = [], False, threading.Lock()
        self.ends = {}  # round → index of its last page with items

    def send(self, request, *args, **kwargs):
        response = super().send(request, *args, **kwargs)
        with self.lock:
            key = request.method, request.url, request.body
            if key not in self.seen:
                self.seen.append(key)
            if self.lie is None:
                self._note_end(request, response)
            if self.lie is None or self.seen.index(key) != self.index:
                return response
            self._replace(request, response)
        return response

    def _note_end(self, request, response):
        pages = self.provider.pages
        try:
            body = json.loads(response.content or b"")
        except ValueError:
            return
        if not isinstance(pages, Counted | Tokens | Links) or not value_at(body, pages.items):
            return
        if isinstance(pages, Links):
            if not (value_at(body, pages.following) if pages.following else next_link(response.headers)):
                self.ends[request.url] = self.seen.index((request.method, request.url, request.body))
            return
        parts = urlsplit(request.url)
        path = pages.url.partition("{page}")[0] if "{page}" in pages.url else parts.path
        sent = [*parse_qs(parts.query).items(), *json.loads(request.body or "{}").items()]
        fixed = sorted(f"{name}={value}" for name, value in sent if name != pages.param)
        self.ends[path, *fixed] = self.seen.index((request.method, request.url, request.body))

    def _replace(self, request, response):
        if request.method == "HEAD":
            self.lied = self.lied or any(h.startswith("x-wp") for h in response.headers)
            for header in [h for h in response.headers if h.startswith("x-wp")]:
                del response.headers[header]
            return
        try:
            body = json.loads(response.content)
        except ValueError:
            return
        told = self.lie(self.provider, body)
        if told is not None and told != body:
            response._content, self.lied = orjson.dumps(told), True


def outcome(name, adapter, folder, monkeypatch):
    """Return "red", or "whole", or what is missing from a pull that ended green."""
    monkeypatch.setattr("catalog.scaffold.rows.replay_of", lambda *_: adapter)
    try:
        manifest, parts = pull_recording(name, folder)
    except CatalogError:
        return "red"
    if not (manifest.complete and manifest.whole):
        return "red"
    expected = [orjson.loads(line) for line in expected_file(name).read_bytes().splitlines()]
    found = {(row["media_type"], row["foreign_identifier"]) for row in read_rows(parts, manifest)}
    missing = {(row["media_type"], row["foreign_identifier"]) for row in expected} - found
    rejected = sum(sum(c.rejected.values()) for c in manifest.counts.values())
    return f"short of {sorted(missing)}" if missing and not rejected else "whole"


def listed(short):
    return "\n".join(["declare total= or check=, see step 6 of docs/adding_a_provider.md:", *short])


@pytest.mark.parametrize("name", api_names())
def test_no_lie_ends_green_with_rows_missing(name, tmp_path, monkeypatch, record_property):
    monkeypatch.setattr(provider_class(name), "concurrency", 1)
    honest = Liar(name)
    assert outcome(name, honest, tmp_path / "honest", monkeypatch) == "whole"
    requests = range(len(honest.seen))
    tried, short, red = 0, [], 0
    for index in requests[:: max(1, -(-len(requests) // MOST))]:
        end = index in honest.ends.values() and not proves_the_end(provider_class(name).pages)
        for lie, told in LIES.items():
            if end and lie in EMPTYING:  # a list that is one page shorter
                continue
            adapter = Liar(name, index, told)
            found = outcome(name, adapter, tmp_path / f"{index} {tried}", monkeypatch)
            if not adapter.lied:
                continue
            tried, red = tried + 1, red + (found == "red")
            if found.startswith("short"):
                short.append(f"{lie} at {honest.seen[index]}: {found}")
    record_property("lies", tried)
    print(f"{name}: {tried} lies told, {red} made the pull fail, {len(short)} ended green and short")
    assert tried >= 5
    assert not short, listed(short)


def keys_of(body, path=(), depth=3):
    """Paths of the keys of a body that are not inside a list."""
    if isinstance(body, dict) and depth:
        for key, value in body.items():
            yield (*path, key)
            yield from keys_of(value, (*path, key), depth - 1)


class Forgetful(Liar):
    """The recording with one response that lacks one of its keys, only the first time that it is requested.

    `forgotten` is the number of that key; `keys` are those that the response has.
    """

    def __init__(self, provider, index, forgotten):
        super().__init__(provider, index, self._forget)
        self.forgotten, self.keys = forgotten, 0

    def _forget(self, provider, body):
        paths = list(keys_of(body))
        self.keys = max(self.keys, len(paths))
        if self.lied or self.forgotten >= len(paths):
            return None
        return changed(body, paths[self.forgotten], without)


@pytest.mark.parametrize("name", api_names())
def test_a_key_that_is_missing_once_costs_no_row(name, tmp_path, monkeypatch):
    """Such as the one that names the next page: a pull that believes it would end there, and look whole."""
    monkeypatch.setattr(provider_class(name), "concurrency", 1)
    honest = Liar(name)
    assert outcome(name, honest, tmp_path / "honest", monkeypatch) == "whole"
    requests, tried, short = range(len(honest.seen)), 0, []
    for index in requests[:: max(1, -(-len(requests) // 4))]:
        forgotten, keys = 0, 1
        while forgotten < min(keys, MOST):
            adapter = Forgetful(name, index, forgotten)
            found = outcome(name, adapter, tmp_path / f"{index} {forgotten}", monkeypatch)
            tried, keys, forgotten = tried + adapter.lied, adapter.keys, forgotten + 1
            if found.startswith("short"):
                short.append(f"key {forgotten} of {honest.seen[index]}: {found}")
    assert not short, listed(short)
    assert tried or name in LISTS, "no response has a key to forget; if they are lists, add the name to LISTS"


class Capped(ReplayAdapter):
    """The recording's items behind a server that gives out half as many on a page as were asked for."""

    def __init__(self, provider):
        cls = provider_class(provider)
        super().__init__(FOLDER / provider / "recording", *offsets_of(cls))
        assert isinstance(cls.pages, Counted)
        self.name, self.pages, self.rounds, self.capped = provider, cls.pages, {}, False

    def send(self, request, *args, **kwargs):
        pages, (at, key) = self.pages, self._place(request.url)
        if request.method == "HEAD" or at is None:
            return super().send(request, *args, **kwargs)
        asked, key = request.url, f"{key} {request.body}"
        if key not in self.rounds:
            self.rounds[key] = self._walk(request)
        items, template = self.rounds[key]
        request.url, cap = asked, max(1, len(items) // 3)
        start = at if pages.step > 1 else (at - pages.first) * cap
        served = items[start : start + cap]
        self.capped = self.capped or len(served) < len(items)
        body = changed(template, ("x", *steps(pages.items)), setter(served))["x"] if pages.items else served
        if pages.more:
            follows = start + cap < len(items)
            body = changed(body, tuple(steps(pages.more)), setter("another page" if follows else None))
        if pages.pages:
            body = changed(body, tuple(steps(pages.pages)), setter(-(-len(items) // cap)))
        if self.name == "jamendo":  # it counts what is on the page, too
            body["headers"]["results_count"] = len(served)
        response = ReadResponse(200, orjson.dumps(body), asked)
        response.request = request
        return response

    def _place(self, url):
        """(page or offset, what else is asked); (None, None) for a request that asks for no page."""
        base, found = self.pages.url, None
        parts = urlsplit(url)
        bare = f"{parts.scheme}://{parts.netloc}{parts.path}"
        if "{page}" in base:
            found = re.fullmatch(re.escape(base).replace(re.escape("{page}"), r"(\d+)"), bare)
            return (int(found.group(1)), "") if found else (None, None)
        params = parse_qs(parts.query, keep_blank_values=True)
        if bare != base or self.pages.param not in params:
            return None, None
        return int(params.pop(self.pages.param)[0]), str(sorted(params.items()))

    def _walk(self, request):
        """All items of a round, and an answer to put them into."""
        items: list[object] = []
        template, at = None, self.pages.first
        while True:
            request.url = self._at(request.url, at)
            try:
                response = super().send(request)
            except UnrecordedRequest:
                break
            body = read_json(response.content) if response.status_code == 200 else None
            found = value_at(body, self.pages.items) if body else None
            template = {"x": body} if template is None else template
            follows = value_at(body, self.pages.more) if self.pages.more else found
            items += found or []
            at += len(found or []) if self.pages.step > 1 else 1
            if not follows:
                break
        return items, template

    def _at(self, url, at):
        if "{page}" in self.pages.url:
            return self.pages.url.replace("{page}", str(at))
        return re.sub(rf"([?&]{re.escape(quote(self.pages.param))}=)[^&]*", rf"\g<1>{at}", url)


CAPPED = [
    name
    for name in api_names()
    if type(getattr(provider_class(name), "pages", None)) is Counted
    and not vars(provider_class(name).pages)["pages_header"]
]


@pytest.mark.parametrize("name", CAPPED)
def test_a_server_that_caps_its_pages_costs_no_row(name, tmp_path, monkeypatch):
    adapter = Capped(name)
    assert outcome(name, adapter, tmp_path, monkeypatch) == "whole"
    assert adapter.capped


class EmptyPageFirst(ReplayAdapter):
    """The recording behind an empty page that names a next one: every later page comes one later.

    page_of: number or token of a page in an address; named: the address with another one in its place.
    """

    def __init__(self, provider, page_of, named, first, empty):
        super().__init__(FOLDER / provider / "recording")
        self.page_of, self.named, self.first, self.empty = page_of, named, first, empty

    def send(self, request, *args, **kwargs):
        page = self.page_of(request.url)
        if page is None:
            return super().send(request, *args, **kwargs)
        asked, request.url = request.url, self.named(request.url, page)
        response = super().send(request, *args, **kwargs)
        if page == self.first:
            response._content = orjson.dumps({**orjson.loads(response.content), **self.empty})
        request.url = asked
        return response


def numbered(pattern, first):
    """Pages that count: page n + 1 is the recording's page n."""

    def page_of(url):
        found = re.search(pattern, url)
        return int(found.group(1)) if found else None

    def named(url, page):
        start, end = present(re.search(pattern, url)).span(1)
        return f"{url[:start]}{max(page - 1, first)}{url[end:]}"

    return page_of, named, first


def tokens(url):
    found = re.search(r"[?&]cursor=([^&]*)", url)
    return found.group(1) if found else None


BEHIND_AN_EMPTY_PAGE = {
    "europeana": (
        tokens,
        lambda url, page: url.replace("cursor=between", "cursor=%2A"),
        "%2A",
        {"items": [], "nextCursor": "between"},
    ),
    "nappy": (*numbered(r"[?&]page=(\d+)", 1), {"images": [], "next_page": 2}),
    "stocksnap": (*numbered(r"/desc/(\d+)$", 1), {"results": [], "nextPage": 2}),
}


@pytest.mark.parametrize("name", BEHIND_AN_EMPTY_PAGE)
def test_an_empty_page_that_names_a_next_one_is_passed(name, tmp_path, monkeypatch):
    """The pages that follow are read. If no total proves the page empty, the pull is not whole."""
    adapter = EmptyPageFirst(name, *BEHIND_AN_EMPTY_PAGE[name])
    monkeypatch.setattr("catalog.scaffold.rows.replay_of", lambda *_: adapter)
    pages = provider_class(name)().pages
    assert isinstance(pages, Counted | Tokens)
    proved = bool(pages.total)
    with nullcontext() if proved else pytest.raises(NotWhole, match="a page in the middle holds 0 items"):
        pull_recording(name, tmp_path)
    expected = {
        orjson.loads(line)["foreign_identifier"] for line in expected_file(name).read_bytes().splitlines()
    }
    written = "".join(path.read_text() for path in tmp_path.rglob("*.tsv"))
    assert {line.split("\t")[0] for line in written.splitlines()} == expected
