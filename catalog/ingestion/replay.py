"""Recordings: what an API answered to one complete run, played back in place of the network, and made from it.

A folder holds `recording.json` and the body files it names. A request is answered by the first interaction, not yet used up, whose method
and URL (without query) are equal and whose listed parameters were all sent; parameters it does not list (keys, page sizes) do not matter.
"""

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from catalog.ingestion.errors import Fatal, UnansweredRequest
from catalog.ingestion.secrets import Redactor
from catalog.ingestion.transport import Transport


def places(folder: Path, provider: str) -> tuple[Path, ...]:
    """Where a provider's recording may lie: in `folder` itself, or in `<provider>/` or `<provider>/recording/` below it."""
    return folder, folder / provider, folder / provider / "recording"


def find(folder: Path, provider: str) -> Path:
    """The folder of a provider's recording. Raises Fatal, naming the places looked at, when there is none, or when it is another's."""
    for place in places(folder, provider):
        if (place / "recording.json").is_file():
            found = orjson.loads((place / "recording.json").read_bytes()).get("provider")
            if found != provider:
                raise Fatal(f"replay: the recording in {place} is {found}'s, not {provider}'s.")
            return place
    raise Fatal(
        f"replay: no recording.json for {provider} in {', '.join(map(str, places(folder, provider)))}."
    )


def _sent(url: str) -> tuple[str, dict[str, list[str]]]:
    parts = urlsplit(url)
    params: dict[str, list[str]] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        params.setdefault(key, []).append(value)
    return f"{parts.scheme}://{parts.netloc}{parts.path or '/'}", params


def _fits(wanted: Mapping[str, Any], sent: Mapping[str, list[str]]) -> bool:
    for key, value in wanted.items():
        given = sent.get(key, [])
        if isinstance(value, list):
            if not set(map(str, value)) <= set(given):
                return False
        elif given != [str(value)]:
            return False
    return True


class ReplayAdapter(BaseAdapter):
    """A transport for `requests` that answers from a recording and never opens a socket. Safe for threads."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        document = orjson.loads((folder / "recording.json").read_bytes())
        self.date: str | None = document.get("date")
        self._folder = folder
        self._left = [i.get("times") for i in document["interactions"]]
        self._by_url: dict[tuple[str, str], list[tuple[int, Any]]] = {}  # in the recording's order
        for number, interaction in enumerate(document["interactions"]):
            key = interaction["request"]["method"], _sent(interaction["request"]["url"])[0]
            self._by_url.setdefault(key, []).append((number, interaction))
        self._lock = threading.Lock()

    def send(self, request: requests.PreparedRequest, *args: object, **kwargs: object) -> requests.Response:
        url, params = _sent(request.url or "")
        with self._lock:
            answer = self._answer(request.method or "GET", url, params)
        response = requests.Response()
        response.status_code = answer["status"]
        response.headers = CaseInsensitiveDict(answer["headers"])
        response.url = request.url or ""
        response.request = request
        body = (self._folder / answer["body_file"]).read_bytes() if answer["body_file"] else b""
        response._content = body
        response._content_consumed = True  # type: ignore[attr-defined]  # as after reading a body of the network
        return response

    def _answer(self, method: str, url: str, params: Mapping[str, list[str]]) -> Any:
        for number, interaction in self._by_url.get((method, url), ()):
            if self._left[number] != 0 and _fits(interaction["request"]["params"], params):
                if self._left[number] is not None:
                    self._left[number] -= 1
                return interaction["response"]
        shown = ", ".join(
            f"{k}={v}"
            for k, values in sorted(params.items())
            for v in values
            if not re.search("key|token|client_id", k)
        )
        raise UnansweredRequest(
            f"replay: the recording in {self._folder} has no answer to {method} {url} ({shown})."
        )

    def close(self) -> None:
        return


class RecordingAdapter(Transport):
    """The ordinary transport, writing down every exchange. Secrets are taken out of URLs, headers and bodies."""

    def __init__(
        self, folder: Path, provider: str, date: str | None, redact: Redactor, hidden: frozenset[str]
    ) -> None:
        super().__init__()
        self._folder, self._redact, self._hidden = folder, redact, hidden
        self._document: dict[str, Any] = {
            "provider": provider,
            "date": date,
            "about": f"Recorded from {provider}.",
            "interactions": [],
        }
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(request, *args, **kwargs)
        body = response.content if request.method != "HEAD" else b""
        url, params = _sent(request.url or "")
        with self._lock:
            interactions = self._document["interactions"]
            name = None
            if body:
                kind = "json" if "json" in response.headers.get("content-type", "") else "txt"
                name = f"body_{len(interactions):04}.{kind}"
                (self._folder / name).write_text(
                    self._redact(body.decode("utf-8", "replace")), encoding="utf-8"
                )
            kept = (
                "content-type",
                "content-length",
                "location",
                "x-wp-total",
                "x-wp-totalpages",
                "link",
                "retry-after",
            )
            headers = {k.lower(): self._redact(v) for k, v in response.headers.items() if k.lower() in kept}
            listed = {k: v[0] if len(v) == 1 else v for k, v in params.items() if k not in self._hidden}
            answer = {"status": response.status_code, "headers": headers, "body_file": name}
            asked = {"method": request.method, "url": self._redact(url), "params": listed}
            interactions.append({"request": asked, "response": answer})
            text = self._redact(orjson.dumps(self._document, option=orjson.OPT_INDENT_2).decode())
            (self._folder / "recording.json").write_text(text + "\n", encoding="utf-8")
        return response
