"""HTTP transport that bears with header lines of any length.

ccMixter sends its whole answer a second time as the header `X-Json`, far over the 64 KiB that Python's http.client accepts. Nobody reads
such a header, so a line that is too long is cut instead of failing the answer; the number of headers stays limited.
"""

import http.client
from typing import Any, BinaryIO, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

KEPT = 1 << 15  # bytes of a header line; http.client refuses more than 65 536
MAX_LINE = 64 << 20


class _ShortLines:
    """A file whose lines are cut; for reading headers."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(MAX_LINE)
        return line if len(line) <= KEPT else line[:KEPT] + b"\r\n"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Response(http.client.HTTPResponse):
    def begin(self) -> None:
        file = self.fp
        self.fp = cast(Any, _ShortLines(file))
        try:
            super().begin()
        finally:
            if self.fp is not None:  # None: there is no body, it was closed
                self.fp = file


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = cast(Any, _Connection)


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = cast(Any, _SecureConnection)


class Transport(HTTPAdapter):
    """What `requests` sends through."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class Session(requests.Session):
    """Keeps headers that hold a key from other hosts: `requests` itself does so for `Authorization` only."""

    def __init__(self) -> None:
        super().__init__()
        self.key_headers: set[str] = set()

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        before, after = response.request.url or "", prepared_request.url or ""
        if self.should_strip_auth(before, after):  # type: ignore[no-untyped-call]
            for name in self.key_headers:
                prepared_request.headers.pop(name, None)
