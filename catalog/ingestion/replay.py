"""Records the responses of an API during a run, and replays them in place of the network.

A recording is a folder with `recording.json` and the body files that it names. The response to a request is
that of the first interaction that is not used up, has the same method and URL (without scheme and query), and
lists only parameters that were sent. Parameters that it does not list (keys, page sizes) are ignored; so are
keys of a JSON body. A request without a response, because the network or the server failed, has the status 0.
"""

import re
import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import orjson
import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from catalog.core.errors import Fatal, UnrecordedRequest
from catalog.core.jsontypes import Json, JsonObject, keys_in
from catalog.core.secrets import Redactor, is_secret
from catalog.ingestion.json_reader import read_json
from catalog.ingestion.library_errors import LIBRARY_ERRORS
from catalog.ingestion.responses import value_at
from catalog.ingestion.transport import Transport

_FILE = "recording.json"
_NO_RESPONSE = 0
# Words of the names of headers that recordings leave out. Such a header says who asked, varies between equal
# responses, or describes the connection, whose encoding the recorded body no longer has.
_UNRECORDED = frozenset(
    """
    cookie cookie2 authenticate authorization session user account client customer visitor device tenant ip
    forwarded nonce csrf xsrf
    date age expires etag modified server via ray trace traceid traceparent tracestate correlation runtime
    timing timer ratelimit served cache varnish amz amzn b3 nel report
    connection keep transfer encoding trailer upgrade
    """.split()
)
_UNRECORDED_NAMES = frozenset("x-request-id request-id x-amz-request-id alt-svc x-powered-by".split())
Query = dict[str, list[str]]  # of a query, in which a name may occur more than once


class _RecordedRequest(msgspec.Struct):
    method: str
    url: str
    params: JsonObject
    json: Json = None  # the part of a POST's body that tells it from others


class _RecordedResponse(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body_file: str | None


class Interaction(msgspec.Struct):
    """A request and its response."""

    request: _RecordedRequest
    response: _RecordedResponse
    times: int | None = None  # number of requests that it serves; None for no limit


class Recording(msgspec.Struct):
    """The content of a recording.json."""

    provider: str
    interactions: list[Interaction]
    date: str | None = None


def candidate_folders(folder: Path, provider: str) -> tuple[Path, ...]:
    """Return the folders that may hold a provider's recording."""
    return folder, folder / provider, folder / provider / "recording"


def find_recording(folder: Path, provider: str) -> Path:
    """Return the folder of a provider's recording.

    Args:
        folder: `folder`, `<provider>/` or `<provider>/recording/` below it holds the recording.
        provider: The provider's name.

    Raises:
        Fatal: There is no recording, it cannot be read, or it is another provider's.
    """
    candidates = candidate_folders(folder, provider)
    for candidate in candidates:
        if (candidate / _FILE).is_file():
            found = read_recording(candidate).provider
            if found != provider:
                raise Fatal(f"replay: the recording in {candidate} is {found}'s, not {provider}'s.")
            return candidate
    raise Fatal(f"replay: no {_FILE} for {provider} in {', '.join(map(str, candidates))}.")


def read_recording(folder: Path) -> Recording:
    """Read the recording in a folder. Raises Fatal if it is malformed or a body file is missing."""
    path = folder / _FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Recording)
    except (OSError, ValueError) as error:
        raise Fatal(f"replay: {path} is not a recording: {error}") from None
    for number, interaction in enumerate(found.interactions):
        name = interaction.response.body_file
        if name and not (folder / name).is_file():
            raise Fatal(
                f"replay: {path} names the body file {name} (interaction {number}), which is missing."
            )
    return found


def _split_query(url: str) -> tuple[str, Query]:
    """Split a URL into the part before the query, and the query."""
    parts = urlsplit(url)
    params: Query = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        params.setdefault(key, []).append(value)
    return f"{parts.scheme}://{parts.netloc}{parts.path or '/'}", params


def _without_scheme(url: str) -> str:
    """Return a URL without its scheme, so that recordings stay valid when a provider moves to https."""
    return url.partition("://")[2]


def _matches(wanted: JsonObject, sent: Query) -> bool:
    for key, value in wanted.items():
        given = sent.get(key, [])
        if isinstance(value, list):
            if not set(map(str, value)) <= set(given):
                return False
        elif given != [str(value)]:
            return False
    return True


def _contains(sent: Json, wanted: Json) -> bool:
    """Return whether a body holds all keys of the recorded one, at any depth, with their values."""
    if isinstance(wanted, dict):
        return isinstance(sent, dict) and all(
            key in sent and _contains(sent[key], value) for key, value in wanted.items()
        )
    return bool(sent == wanted)


def _json_of(body: object) -> Json:
    """Return the JSON that a request sends; None if it sends none."""
    return orjson.loads(body) if isinstance(body, str | bytes) and body else None


def _offset(value: Json) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _shown(params: Query) -> str:
    """Format a query for a message, without secret parameters."""
    return ", ".join(
        f"{key}={value}" for key, values in sorted(params.items()) for value in values if not is_secret(key)
    )


class ReplayAdapter(BaseAdapter):
    """A transport for `requests` that replays a recording and never opens a socket; thread-safe."""

    def __init__(self, folder: Path, offset_param: str | None = None, items: str | None = None) -> None:
        """Read a recording.

        Args:
            folder: The folder of the recording.
            offset_param: Name of the offset parameter. Recordings are shortened: their pages hold fewer items
                than requested, so a pull requests offsets that were not recorded. Such a request gets the
                page that follows, unless another interaction matches at least as well.
            items: Dotted path of the items in a page, from which the following page is determined. Without
                it, the following page is the one with the next higher offset.

        Raises:
            Fatal: There is no recording, or it is malformed.
        """
        super().__init__()
        recording = read_recording(folder)
        self.date = recording.date
        self.source = f"recording {folder.resolve()}"
        self.folder, self._offset_param, self._items = folder, offset_param, items
        self._interactions = recording.interactions
        self._left = [interaction.times for interaction in recording.interactions]
        self._by_url: dict[tuple[str, str], list[int]] = {}  # in the recording's order
        for number, interaction in enumerate(recording.interactions):
            key = interaction.request.method, _without_scheme(_split_query(interaction.request.url)[0])
            self._by_url.setdefault(key, []).append(number)
        self._lock = threading.Lock()

    def send(self, request: requests.PreparedRequest, *args: object, **kwargs: object) -> requests.Response:
        """Return the recorded response.

        Raises:
            UnrecordedRequest: The recording does not contain the request.
            requests.ConnectionError: It contains the request, to which there was no response.
        """
        url, params = _split_query(request.url or "")
        with self._lock:
            answer = self._answer(request.method or "GET", url, params, _json_of(request.body))
        if answer.status == _NO_RESPONSE:
            raise requests.ConnectionError("replay: there was no response when this was recorded")
        response = requests.Response()
        response.status_code = answer.status
        response.headers = CaseInsensitiveDict(answer.headers)
        response.url = request.url or ""
        response.request = request
        response._content = self._body(answer)
        response._content_consumed = True  # type: ignore[attr-defined]  # the body was read
        return response

    def close(self) -> None:
        return

    def _body(self, answer: _RecordedResponse) -> bytes:
        return (self.folder / answer.body_file).read_bytes() if answer.body_file else b""

    def _answer(self, method: str, url: str, params: Query, json: Json) -> _RecordedResponse:
        known = self._by_url.get((method, _without_scheme(url)), [])
        wanted = ((n, self._interactions[n].request.json) for n in known)
        number = self._number([n for n, body in wanted if body is None or _contains(json, body)], params)
        if number is None:
            body = "" if json is None else f" with the body {orjson.dumps(json).decode()[:300]}"
            raise UnrecordedRequest(
                f"replay: the recording in {self.folder} has no answer to {method} {url} "
                f"({_shown(params)}){body}."
            )
        left = self._left[number]
        if left is not None:
            self._left[number] = left - 1
        return self._interactions[number].response

    def _number(self, numbers: Collection[int], params: Query) -> int | None:
        """Return the interaction for a request: one that matches, or that of the following page."""
        usable = [number for number in numbers if self._left[number] != 0]
        fitting = next((n for n in usable if _matches(self._listed(n), params)), None)
        name = self._offset_param
        if name is None or name not in params or (fitting is not None and name in self._listed(fitting)):
            return fitting
        following = next((n for n in self._following(numbers, name, params) if n in usable), None)
        if following is None or (
            fitting is not None and len(self._listed(following)) - 1 <= len(self._listed(fitting))
        ):
            return fitting
        return following

    def _listed(self, number: int) -> JsonObject:
        return self._interactions[number].request.params

    def _following(self, numbers: Iterable[int], name: str, params: Query) -> list[int]:
        """Return the interactions for an offset between recorded ones: those of the following page."""
        asked = _offset(params[name][0])
        if asked is None:
            return []
        pages: dict[int, list[int]] = {}
        for number in numbers:
            listed = self._listed(number)
            offset = _offset(listed.get(name))
            others = {key: value for key, value in listed.items() if key != name}
            if offset is not None and _matches(others, params):
                pages.setdefault(offset, []).append(number)
        following = self._following_page(asked, pages)
        return [] if following is None else pages[following]

    def _following_page(self, asked: int, pages: Mapping[int, list[int]]) -> int | None:
        """Return the recorded offset of the page that an unrecorded offset stands for."""
        offsets = sorted(pages)
        if self._items is not None:
            # Offset after a page, for every page at which a pull may begin → offset of the next page.
            reached: dict[int, int | None] = {}
            for begin, at in enumerate(offsets):
                for here, following in zip(offsets[begin:], [*offsets[begin + 1 :], None], strict=False):
                    at += self._count(pages[here])
                    reached.setdefault(at, following)
            if asked in reached:
                return reached[asked]
        if not offsets or asked < offsets[0]:
            return None
        return next((offset for offset in offsets if offset > asked), None)

    def _count(self, numbers: Iterable[int]) -> int:
        """Return the number of items of a page; 0 if none of its responses has any."""
        counts = [0]
        for number in numbers:
            try:
                found = value_at(
                    read_json(self._body(self._interactions[number].response)), self._items or ""
                )
            except ValueError:  # a recorded failure, before the successful attempt
                continue
            counts.append(len(found) if isinstance(found, list) else 0)
        return max(counts)


def is_recorded(header: str) -> bool:
    """Return whether a recording keeps a header of a response: it may tell the next page, or a total.

    >>> [is_recorded(name) for name in ("X-Next-Cursor", "x-total-pages", "Link", "Retry-After")]
    [True, True, True, True]
    >>> [is_recorded(name) for name in ("Set-Cookie", "X-Auth-Token", "Date", "X-Request-ID")]
    [False, False, False, False]
    """
    words = re.split("[^a-z0-9]+", header.lower())
    return not (is_secret(header) or header.lower() in _UNRECORDED_NAMES or not _UNRECORDED.isdisjoint(words))


def _listed_by(request: JsonObject) -> int:
    """Return how many parameters and keys of its body a recorded request lists."""
    return len(request["params"]) + sum(1 for _ in keys_in(request.get("json")))


class RecordingAdapter(Transport):
    """A transport that records all requests and responses without their secrets."""

    def __init__(
        self,
        folder: Path,
        provider: str,
        date: str | None,
        redact: Redactor,
        hidden: frozenset[str],
        private_hosts: Collection[str] = (),
        paging: Collection[str] = (),
        headers: Collection[str] = (),
        through: Transport | None = None,
    ) -> None:
        """Begin a recording.

        Args:
            folder: The folder for the files; created if it does not exist.
            provider: The provider's name.
            date: The day that is pulled, if it is one day.
            redact: Removes the secrets from text.
            hidden: Parameters that are not recorded, besides those whose names say that they are secret.
            private_hosts: See `Transport`.
            paging: Parameters that tell the pages apart, which are recorded whatever their names are.
            headers: Headers of responses that the paginator reads, which are recorded in the same way.
            through: Sends the requests, which are recorded as they were before; None: this transport.
        """
        super().__init__(private_hosts)
        self.folder, self._redact, self._hidden, self._paging = folder, redact, hidden, frozenset(paging)
        self._through = through
        self._headers = frozenset(name.lower() for name in headers)
        self._document: JsonObject = {
            "provider": provider,
            "date": date,
            "about": f"Recorded from {provider}.",
            "interactions": [],
        }
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        asked = self._asked(request)  # first, because another transport may change the address
        send = super().send if self._through is None else self._through.send
        try:
            response = send(request, *args, **kwargs)
            body = response.content if request.method != "HEAD" else b""
        except LIBRARY_ERRORS:
            self._add(asked, _NO_RESPONSE, {}, b"")
            raise
        self._add(asked, response.status_code, response.headers, body)
        return response

    def _asked(self, request: requests.PreparedRequest) -> JsonObject:
        """Return what tells a request from others, without secrets."""
        url, params = _split_query(request.url or "")
        listed = {
            k: v[0] if len(v) == 1 else v
            for k, v in params.items()
            if k not in self._hidden and (k in self._paging or not is_secret(k))
        }
        asked = {"method": request.method, "url": self._redact(url), "params": listed}
        if (sent := _json_of(request.body)) is not None:
            asked["json"] = sent
        return asked

    def _add(self, asked: JsonObject, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Add an interaction, and write the recording."""
        with self._lock:
            interactions = self._document["interactions"]
            name = None
            if body:
                kind = "json" if "json" in headers.get("content-type", "") else "txt"
                name = f"body_{len(interactions):04}.{kind}"
                (self.folder / name).write_text(
                    self._redact(body.decode("utf-8", "replace")), encoding="utf-8"
                )
            kept = {
                key.lower(): self._redact(value)
                for key, value in headers.items()
                if key.lower() in self._headers or is_recorded(key)
            }
            answer = {"status": status, "headers": kept, "body_file": name}
            for earlier in (i for i in interactions if i["request"] == asked):
                earlier["times"] = 1  # such as a failure before the attempt that succeeded
            interactions.append({"request": asked, "response": answer})
            # The first that fits answers, and a request with a cursor also fits the one without it.
            interactions.sort(key=lambda i: -_listed_by(i["request"]))
            text = self._redact(orjson.dumps(self._document, option=orjson.OPT_INDENT_2).decode())
            (self.folder / _FILE).write_text(text + "\n", encoding="utf-8")
