"""A web server whose files behave as tests say, and a clock that tests move."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from catalog.ingestion.rate import LocalThrottle, Rate
from catalog.links.checker import Checker
from catalog.links.web import Web

BEGIN = datetime(2025, 1, 6, 3, tzinfo=UTC)
AGENT = "OpenMediaCatalog"


class Clock:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def time(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)

    def go_to(self, **after: float) -> None:
        """Go to a time after the beginning."""
        self.seconds = max(self.seconds, timedelta(**after).total_seconds())


class Reply(msgspec.Struct, frozen=True):
    """An answer of the server: status, headers, body. No status: the connection is closed without any."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b"image"
    after: float = 0.0  # real seconds


Answers = Callable[[str, str], Reply]  # method and path → answer
THERE = Reply(headers={"Content-Type": "image/jpeg"})
MISSING = Reply(404, {"Content-Type": "text/html"}, b"missing")
CLOSED = Reply(0)


class Site(msgspec.Struct):
    """A running server.

    Attributes:
        port: Its port.
        answers: Its answers, which tests replace.
        requests: Moment, host, method and path of each request.
        connections: Number of connections.
    """

    port: int
    answers: Answers
    requests: list[tuple[float, str, str, str]] = []
    connections: int = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def asked(self, path: str) -> list[str]:
        """Return the methods of the requests for a path."""
        return [method for _, _, method, asked in self.requests if asked == path]


@contextmanager
def site(answers: Answers, clock: Clock | None = None) -> Iterator[Site]:
    """Run a server; robots.txt is missing unless the answers have one."""
    time_of = clock.time if clock else time.monotonic

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one packet

        def setup(self) -> None:
            running.connections += 1
            super().setup()

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            host = (self.headers["Host"] or "").partition(":")[0]
            running.requests.append((time_of(), host, self.command, self.path))
            reply = running.answers(self.command, self.path)
            time.sleep(reply.after)
            if not reply.status:
                self.close_connection = True
                return
            status, body, headers = reply.status, reply.body, reply.headers
            if status == 200 and self.headers["Range"] == "bytes=0-0":
                status, body = 206, body[:1]
                headers = {"Content-Range": f"bytes 0-0/{len(reply.body)}", **headers}
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)
            self.wfile.flush()

        do_HEAD = do_GET  # noqa: N815

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        running = Site(server.server_address[1], answers)
        running.requests = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()


def checker(
    clock: Clock | None = None,
    *,
    per_second: float = 10_000,
    timeout: float = 5.0,
    paused: Callable[[str], float] = lambda host: 0.0,
) -> Checker:
    """Return a checker that may reach this machine, with a rate per host by the clock."""
    clock = clock or Clock()

    throttles: dict[str, tuple[float, LocalThrottle]] = {}

    def slot(host: str, least: float) -> float:
        if host not in throttles or throttles[host][0] != least:
            rate = Rate(per_second=min(per_second, 1 / least) if least else per_second)
            throttles[host] = least, LocalThrottle(rate, clock.time, clock.sleep)
        throttles[host][1].wait()
        return paused(host)

    web = Web(slot, user_agent=f"{AGENT}/1.0", private_hosts=("127.0.0.1", "localhost"), timeout=timeout)
    return Checker(web, AGENT, clock.time)
