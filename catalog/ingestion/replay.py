"""Replays a recording in place of the network.

The response to a request is that of the first interaction that is not used up, has the same method and URL
(without scheme and query), and lists only parameters that were sent. Parameters that it does not list (keys,
page sizes) are ignored; so are keys of a JSON body. A request without a response, because the network or the
server failed, has the status 0.
"""

import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import orjson
import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from catalog.core.errors import UnrecordedRequest
from catalog.core.jsontypes import Json, JsonObject
from catalog.core.secrets import is_secret
from catalog.ingestion.json_reader import read_json
from catalog.ingestion.recording import (
    NO_RESPONSE,
    Query,
    RecordedResponse,
    json_of,
    read_recording,
    split_query,
)
from catalog.ingestion.responses import value_at


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
            key = interaction.request.method, _without_scheme(split_query(interaction.request.url)[0])
            self._by_url.setdefault(key, []).append(number)
        self._lock = threading.Lock()

    def send(self, request: requests.PreparedRequest, *args: object, **kwargs: object) -> requests.Response:
        """Return the recorded response.

        Raises:
            UnrecordedRequest: The recording does not contain the request.
            requests.ConnectionError: It contains the request, to which there was no response.
        """
        url, params = split_query(request.url or "")
        with self._lock:
            answer = self._answer(request.method or "GET", url, params, json_of(request.body))
        if answer.status == NO_RESPONSE:
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

    def _body(self, answer: RecordedResponse) -> bytes:
        return (self.folder / answer.body_file).read_bytes() if answer.body_file else b""

    def _answer(self, method: str, url: str, params: Query, json: Json) -> RecordedResponse:
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
