"""Records the requests and responses of a run, without their secrets."""

import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson
import requests

from catalog.core.secrets import Redactor, is_secret
from catalog.ingestion.library_errors import LIBRARY_ERRORS
from catalog.ingestion.recording import (
    FILE,
    NO_RESPONSE,
    Interaction,
    RecordedRequest,
    RecordedResponse,
    Recording,
    is_recorded,
    json_of,
    split_query,
)
from catalog.ingestion.transport import Transport


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
        self._recording = Recording(
            provider=provider, date=date, about=f"Recorded from {provider}.", interactions=[]
        )
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        asked = self._asked(request)  # first, because another transport may change the address
        send = super().send if self._through is None else self._through.send
        try:
            response = send(request, *args, **kwargs)
            body = response.content if request.method != "HEAD" else b""
        except LIBRARY_ERRORS:
            self._add(asked, NO_RESPONSE, {}, b"")
            raise
        self._add(asked, response.status_code, response.headers, body)
        return response

    def _asked(self, request: requests.PreparedRequest) -> RecordedRequest:
        """Return what tells a request from others, without secrets."""
        url, params = split_query(request.url or "")
        listed = {
            k: v[0] if len(v) == 1 else v
            for k, v in params.items()
            if k not in self._hidden and (k in self._paging or not is_secret(k))
        }
        return RecordedRequest(request.method or "GET", self._redact(url), listed, json_of(request.body))

    def _add(self, asked: RecordedRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Add an interaction, and write the recording."""
        with self._lock:
            interactions = self._recording.interactions
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
            for earlier in (i for i in interactions if i.request == asked):
                earlier.times = 1  # such as a failure before the attempt that succeeded
            interactions.append(Interaction(asked, RecordedResponse(status, kept, name)))
            # The first that fits answers, and a request with a cursor also fits the one without it.
            interactions.sort(key=lambda i: -i.request.listed())
            text = orjson.dumps(msgspec.to_builtins(self._recording), option=orjson.OPT_INDENT_2).decode()
            (self.folder / FILE).write_text(self._redact(text) + "\n", encoding="utf-8")
