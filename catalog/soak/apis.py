"""HTTP servers on loopback: a proxy that answers for the made-up providers' hosts, and a Slack webhook.

The proxy counts each page that it has delivered completely. As a fault, an API answers 500, 429 or HTML, or
truncates its responses.
"""

import ssl
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from catalog.local.airflow_api import JsonObject
from catalog.soak import made_up
from catalog.soak.made_up import BY_HOST, SOURCES

FAULTS = ("api-500", "api-429", "api-cut", "api-html")


class Content:
    """Content and behavior of the APIs; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generations = dict.fromkeys(SOURCES, 0)
        self._faults: dict[str, tuple[str, float]] = {}
        self._delivered: dict[str, Counter[int]] = {name: Counter() for name in SOURCES}
        self.requests: Counter[str] = Counter()
        self.keys: set[str] = set()  # API keys that Jamendo has received

    def generation(self, name: str) -> int:
        with self._lock:
            return self._generations[name]

    def grow(self, name: str) -> int:
        """Move an API to its next generation; return its number."""
        with self._lock:
            self._generations[name] += 1
            return self._generations[name]

    def fail(self, name: str, kind: str, seconds: float) -> None:
        """Let an API respond with a fault.

        Args:
            name: Provider.
            kind: One of FAULTS.
            seconds: Duration.
        """
        with self._lock:
            self._faults[name] = kind, time.monotonic() + seconds

    def end_faults(self) -> None:
        """End all faults."""
        with self._lock:
            self._faults.clear()

    def fault(self, name: str) -> str | None:
        """Return the present fault of an API."""
        with self._lock:
            kind, until = self._faults.get(name, ("", 0.0))
            return kind if time.monotonic() < until else None

    def deliver(self, name: str, offset: int) -> None:
        """Count a page that was sent completely."""
        with self._lock:
            self._delivered[name][offset] += 1

    def delivered(self, name: str) -> int:
        """Return the number of pages sent completely so far, repeated ones included."""
        with self._lock:
            return sum(self._delivered[name].values())

    def count(self, request: str) -> None:
        with self._lock:
            self.requests[request] += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: clients are killed all the time."""


class _Proxy(_Server):
    def __init__(self, content: Content, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.tls = content, tls


class _Handler(BaseHTTPRequestHandler):
    server: _Proxy
    protocol_version = "HTTP/1.1"
    timeout = 60
    host = ""

    def do_CONNECT(self) -> None:
        self.host = self.path.rpartition(":")[0]
        if self.host not in made_up.HOSTS:
            self.server.content.count(f"refused {self.host}")
            self.send_error(403, "not one of the made-up providers")
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb")
        self.close_connection = False

    def do_HEAD(self) -> None:
        self.server.content.count("files")
        self._answer(200, b"1234567", "image/jpeg")

    def do_GET(self) -> None:
        source = BY_HOST.get(self.host)
        if source is None:
            self._answer(404, b"", "text/plain")
            return
        content, url = self.server.content, urlsplit(self.path)
        content.count(source.name)
        query = dict(parse_qsl(url.query))
        if "client_id" in query:
            content.keys.add(query["client_id"])
        offset = made_up.page_of(source.name, url.path, query)
        body = made_up.response(source.name, content.generation(source.name), offset)
        if fault := content.fault(source.name):
            content.count(fault)
            self._fail(fault, body)
            return
        self._answer(200, body, "application/json")
        content.deliver(source.name, offset)

    def _fail(self, fault: str, body: bytes) -> None:
        if fault == "api-500":
            self._answer(500, b'{"message": "made-up failure"}', "application/json")
        elif fault == "api-429":
            self._answer(429, b"{}", "application/json", {"Retry-After": "2"})
        elif fault == "api-html":
            self._answer(200, b"<html>We will be back soon.</html>", "text/html")
        else:
            self._answer(200, body, "application/json", sent=len(body) // 2)

    def _answer(
        self,
        status: int,
        body: bytes,
        content_type: str,
        headers: dict[str, str] | None = None,
        sent: int | None = None,
    ) -> None:
        """Send a response.

        Args:
            status: HTTP status.
            body: Body.
            content_type: Content type of the body.
            headers: Additional headers.
            sent: Bytes of the body that are sent before the connection is closed; None for all.
        """
        self.send_response(status)
        described = {"Content-Type": content_type, "Content-Length": len(body)}
        for name, value in {**described, **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if sent is None else body[:sent])
        self.wfile.flush()
        if sent is not None:
            self.close_connection = True

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the standard library
        pass


class Apis:
    """The proxy, and a Slack webhook that keeps the messages it receives."""

    def __init__(self, certificates: Path) -> None:
        """Start both servers.

        Args:
            certificates: PEM file with certificate and key of the hosts.
        """
        self.content, self.slack = Content(), list[JsonObject]()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificates)
        self._proxy = _Proxy(self.content, tls)
        self._slack = _Server(("127.0.0.1", 0), _slack_handler(self.slack))
        for server in (self._proxy, self._slack):
            threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def proxy(self) -> str:
        """Return the address of the proxy."""
        return f"http://127.0.0.1:{self._proxy.server_address[1]}"

    @property
    def webhook(self) -> str:
        """Return the address of the Slack webhook."""
        return f"http://127.0.0.1:{self._slack.server_address[1]}/services/T/B/soak"

    def close(self) -> None:
        for server in (self._proxy, self._slack):
            server.shutdown()
            server.server_close()


def _slack_handler(received: list[JsonObject]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(orjson.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return Handler
