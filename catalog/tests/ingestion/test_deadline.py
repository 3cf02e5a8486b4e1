"""One deadline for a whole response, however slowly it arrives, and one budget for all attempts."""

import itertools
import random

import pytest
from werkzeug import Response

from catalog.core.errors import Retry
from catalog.ingestion.client import Client
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.sender import Limits
from catalog.tests.ingestion.raw_server import raw_server, request

pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(30)]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FOR_EVER = itertools.repeat


def client(total=0.5, **more):
    """A client that waits long for each byte, but not for all of them."""
    limits = Limits(connect=3600, read=3600, total=total)
    return Client(throttle=NoThrottle(), retries=0, limits=limits, private_hosts=("127.0.0.1",), **more)


DRIPS = {
    "status line": (b"HTTP/1.1 200 O", b"K"),
    "header line": (OK + b"X-Long: ", b"x"),
    "header lines": (OK, b"X-More: 1\r\n"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk size": (CHUNKED, b"0"),
    "chunk extension": (CHUNKED + b"1;", b"x"),
    "chunks": (CHUNKED, b"1\r\n \r\n"),
    "body": (OK + b"Content-Length: 1000000\r\n\r\n", b" "),
    "body without a length": (OK + b"\r\n", b" "),
    "compressed body": (OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08\0\0\0\0\0\0", b"n"),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-Sum: 1\r\n"),
}


@pytest.mark.parametrize(("begin", "then"), DRIPS.values(), ids=DRIPS)
def test_an_answer_that_drips(begin, then):
    def serve(server, connection):
        request(connection)
        connection.sendall(begin)
        server.drip(connection, FOR_EVER(then))

    with raw_server(serve) as server, pytest.raises(Retry, match=r"not complete after 0.5 s"):
        client().get_json(server.url())


def test_redirects_share_the_deadline():
    """Each hop is answered in time; all of them are not."""
    numbers = itertools.count()

    def serve(server, connection):
        while request(connection):
            server.stopped.wait(0.2)
            head = f"HTTP/1.1 302 Found\r\nLocation: /{next(numbers)}\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(head.encode())

    with raw_server(serve) as server, pytest.raises(Retry, match=r"not complete after 0.5 s"):
        client().get(server.url())


def test_a_redirect_s_body_that_drips_is_not_waited_for():
    def serve(server, connection):
        if b" /api " in request(connection):
            connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 1000000\r\n\r\n")
            server.drip(connection, FOR_EVER(b" "))
        else:
            connection.sendall(OK + b"Content-Length: 2\r\n\r\n[]")

    with raw_server(serve) as server:
        assert client(total=30).get_json(server.url()) == []


def test_a_handshake_that_never_comes():
    def serve(server, connection):
        server.stopped.wait(3600)

    with raw_server(serve) as server, pytest.raises(Retry, match=r"not complete after 0.5 s"):
        client().get_json(server.url(scheme="https"))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_behind_a_proxy(monkeypatch, scheme):
    """The proxy drips: an answer that it passes on, or its own answer to CONNECT."""

    def serve(server, connection):
        request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        server.drip(connection, FOR_EVER(b"x"))

    monkeypatch.delenv("NO_PROXY", raising=False)
    with raw_server(serve) as server:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", server.url(""))
        with pytest.raises(Retry, match=r"not complete after 0.5 s"):
            client().get_json(f"{scheme}://8.8.8.8/api")


def test_a_single_byte_that_does_not_come_is_a_time_out_of_its_own():
    def serve(server, connection):
        request(connection)
        server.stopped.wait(3600)

    limits = Limits(read=0.2, total=60)
    slow = Client(throttle=NoThrottle(), retries=0, limits=limits, private_hosts=("127.0.0.1",))
    with raw_server(serve) as server, pytest.raises(Retry, match="ReadTimeout"):
        slow.get_json(server.url())


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"], ids=["kept alive", "closed"])
def test_connections_are_used_again_unless_the_server_closes_them(last):
    def serve(server, connection):
        while request(connection):
            connection.sendall(OK + last + b"Content-Length: 2\r\n\r\n[]")
            if last:
                return

    with raw_server(serve) as server:
        asking = client(total=30)
        assert [asking.get_json(server.url()) for _ in range(3)] == [[], [], []]
        assert server.connections == (3 if last else 1)


def test_a_connection_is_used_again_after_a_redirect_and_a_head():
    def serve(server, connection):
        while head := request(connection):
            if b" /api " in head:
                connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 5\r\n\r\n")
                connection.sendall(b"" if head.startswith(b"HEAD") else b"moved")
            else:
                connection.sendall(OK + b"Content-Length: 2\r\n\r\n")
                connection.sendall(b"" if head.startswith(b"HEAD") else b"[]")

    with raw_server(serve) as server:
        asking = client(total=30)
        assert asking.get_json(server.url()) == []
        assert asking.file_facts(server.url()).size == 2
        assert asking.get_json(server.url()) == []
        assert server.connections == 1


def test_the_budget_of_all_tries(httpserver):
    """A wait that would exceed the budget is not begun, and the message says why the client gave up."""
    waits: list[float] = []
    limits = Limits(budget=50)
    httpserver.expect_request("/api").respond_with_response(
        Response(status=503, headers={"Retry-After": "100"})
    )
    asking = Client(
        throttle=NoThrottle(), limits=limits, sleep=waits.append, private_hosts=(httpserver.host,)
    )
    with pytest.raises(Retry, match=r"gave up after 1 attempt, as another one would exceed the 50 s"):
        asking.get_json(httpserver.url_for("/api"))
    assert waits == []
    assert len(httpserver.log) == 1


def test_tries_that_are_used_up_within_the_budget(httpserver):
    waits: list[float] = []
    httpserver.expect_request("/api").respond_with_response(Response(status=503))
    asking = Client(throttle=NoThrottle(), sleep=waits.append, private_hosts=(httpserver.host,))
    with pytest.raises(Retry, match=r"gave up after 4 attempts: status 503"):
        asking.get_json(httpserver.url_for("/api"))
    assert len(waits) == 3


def test_waits_double_with_jitter(monkeypatch, httpserver):
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    waits: list[float] = []
    httpserver.expect_request("/api").respond_with_response(Response(status=503))
    asking = Client(throttle=NoThrottle(), retries=8, sleep=waits.append, private_hosts=(httpserver.host,))
    with pytest.raises(Retry):
        asking.get_json(httpserver.url_for("/api"))
    assert waits == [1.25, 2.5, 5, 10, 20, 40, 75, 75]
