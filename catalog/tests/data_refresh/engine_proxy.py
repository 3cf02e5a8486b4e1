"""A real HTTP proxy in front of the search engine that injects faults.

It refuses requests, loses responses, and refuses single items of bulk requests.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Request(NamedTuple):
    method: str
    path: str  # with its query
    body: bytes


class Answer(NamedTuple):
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Forward = Callable[[Request], Answer]
Fault = Callable[[Request, Forward], Answer | None]  # None: the connection ends without an answer


def answer(status: int, body: Any) -> Answer:
    return Answer(status, json.dumps(body).encode())


class Proxy:
    """Forwards requests, except those for which `at` defines a fault.

    Attributes:
        seen: All requests.
        faults: Patterns of method and path, each with its fault.
    """

    def __init__(self, url: str) -> None:
        self.seen: list[Request] = []
        self.faults: list[tuple[re.Pattern[str], Fault]] = []
        self._host = urlsplit(url).netloc
        self._lock = threading.Lock()

    def at(self, pattern: str, fault: Fault) -> None:
        self.faults.append((re.compile(pattern), fault))

    def times(self, pattern: str, number: int, status: int, body: Any = None) -> None:
        """Answer the first matching requests with this status and body."""
        left = [number]

        def fault(request: Request, forward: Forward) -> Answer | None:
            with self._lock:
                left[0] -= 1
                if left[0] < 0:
                    return forward(request)
            return answer(
                status, body or {"error": {"type": "made_up", "reason": "made up"}, "status": status}
            )

        self.at(pattern, fault)

    def items(
        self, number: int, wanted: Callable[[str], bool], status: int, kind: str, reason: str = "no room"
    ) -> None:
        """In the first bulk requests, refuse the actions on wanted identifiers instead of forwarding them."""
        left = [number]

        def fault(request: Request, forward: Forward) -> Answer:
            with self._lock:
                left[0] -= 1
                if left[0] < 0:
                    return forward(request)
            return _without(
                request, forward, wanted, {"status": status, "error": {"type": kind, "reason": reason}}
            )

        self.at("/_bulk", fault)

    def count(self, pattern: str) -> int:
        return sum(1 for r in self.seen if re.search(pattern, f"{r.method} {r.path}"))

    def forward(self, request: Request) -> Answer:
        connection = HTTPConnection(self._host, timeout=60)
        try:
            headers = {
                "content-type": "application/x-ndjson" if "_bulk" in request.path else "application/json"
            }
            connection.request(request.method, request.path, request.body or None, headers)
            found = connection.getresponse()
            return Answer(found.status, found.read())
        finally:
            connection.close()

    def handle(self, request: Request) -> Answer | None:
        self.seen.append(request)
        for pattern, fault in self.faults:
            if pattern.search(f"{request.method} {request.path}"):
                return fault(request, self.forward)
        return self.forward(request)


def _without(
    request: Request, forward: Forward, wanted: Callable[[str], bool], refusal: dict[str, Any]
) -> Answer:
    """Forward a bulk request without the actions that are refused."""
    lines = request.body.splitlines()
    kept: list[bytes] = []
    items: list[dict[str, Any] | None] = []
    while lines:
        [(verb, about)] = json.loads(lines[0]).items()
        size = 1 if verb == "delete" else 2
        if wanted(about["_id"]):
            items.append({verb: {"_id": about["_id"], **refusal}})
        else:
            items.append(None)
            kept += lines[:size]
        lines = lines[size:]
    path = re.sub(r"filter_path=[^&]*&?", "", request.path)
    taken = iter(
        forward(Request(request.method, path, b"\n".join(kept) + b"\n")).json["items"] if kept else []
    )
    whole = [item or next(taken) for item in items]
    errors = any(result["status"] >= 300 for item in whole for result in item.values())
    body: dict[str, Any] = {"took": 1, "errors": errors, "items": whole}
    return answer(200, {"errors": errors} if "filter_path" in request.path else body)


@contextmanager
def proxy(url: str) -> Iterator[tuple[Proxy, str]]:
    """Run a proxy during the block; yield it and its address."""
    between = Proxy(url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            found = between.handle(Request(self.command, self.path, body))
            if found is None:
                self.close_connection = True
                return
            self.send_response(found.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(found.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(found.body)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield between, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
