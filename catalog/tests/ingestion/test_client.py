"""The client against a real server that misbehaves."""

import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from werkzeug import Response

from catalog.ingestion.client import Client, Limits
from catalog.ingestion.errors import Fatal, HttpStatus, Retry
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.secrets import ApiKey, KeyCredentials, Secret

KEY = "k3y/with+odd=chars"


@pytest.fixture
def waits():
    return []


@pytest.fixture
def client(waits):
    return Client(
        credentials=KeyCredentials(ApiKey("K", "api_key", "x"), Secret(KEY)),
        retries=3,
        throttle=NoThrottle(),
        sleep=waits.append,
        limits=Limits(read=5),
    )


def answers(httpserver, *responses):
    """Give these answers in turn, the last one for ever; returns the list of requests."""
    left, seen = list(responses), []

    def handle(request):
        seen.append(request)
        return left.pop(0) if len(left) > 1 else left[0]

    httpserver.expect_request("/api").respond_with_handler(handle)
    return seen


def ok(body='{"n": 1}'):
    return Response(body, content_type="application/json")


def test_json_and_key(httpserver, client):
    seen = answers(httpserver, ok())
    assert client.get_json(httpserver.url_for("/api"), {"page": 2}) == {"n": 1}
    assert dict(seen[0].args) == {"page": "2", "api_key": KEY}
    assert "+https://" in seen[0].headers["User-Agent"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_trouble_is_tried_again(httpserver, client, waits, status):
    seen = answers(httpserver, Response(status=status), Response(status=status), ok())
    assert client.get_json(httpserver.url_for("/api")) == {"n": 1}
    assert len(seen) == 3
    assert 0.7 <= waits[0] <= 1.3 <= waits[1] <= 2.6  # doubling, with jitter


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_other_4xx_are_fatal_at_once(httpserver, client, status):
    seen = answers(httpserver, Response(f"no {KEY}", status=status))
    with pytest.raises(HttpStatus) as raised:
        client.get_json(httpserver.url_for("/api"))
    assert raised.value.status == status
    assert len(seen) == 1
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "wait"), [("7", 7), ("1e9", 900), ("-5", 0), ("later", 1), ("", 1), ("in 100 s", 100)]
)
def test_retry_after(httpserver, client, waits, value, wait):
    """Seconds or a date, capped, never negative; what is unreadable counts as absent."""
    sent = format_datetime(datetime.now(UTC) + timedelta(seconds=100)) if value == "in 100 s" else value
    answers(httpserver, Response(status=429, headers={"Retry-After": sent}), ok())
    client.get_json(httpserver.url_for("/api"))
    assert waits[0] == pytest.approx(wait, abs=3 if wait == 100 else 0.3)


@pytest.mark.parametrize("body", ["<html>busy</html>", "", '{"cut": [1, 2', '{"error": "busy"}', "\xff"])
def test_a_200_that_is_no_answer_is_tried_again_and_never_taken_for_an_empty_page(httpserver, client, body):
    seen = answers(httpserver, ok(body))
    with pytest.raises(Retry, match="gave up after 4 tries"):
        client.get_json(httpserver.url_for("/api"))
    assert len(seen) == 4


def test_the_provider_s_own_check(httpserver, client):
    def check(body):
        if body["stat"] != "ok":
            raise Fatal("stat fail")

    seen = answers(httpserver, ok('{"stat": "fail"}'))
    with pytest.raises(Fatal, match="stat fail"):
        client.get_json(httpserver.url_for("/api"), check=check)
    assert len(seen) == 1


def test_a_huge_body_is_refused(httpserver):
    answers(httpserver, ok('"' + "x" * 2_000_000 + '"'))
    client = Client(throttle=NoThrottle(), limits=Limits(max_bytes=1_000_000))
    with pytest.raises(Fatal, match="larger than 1,000,000 bytes"):
        client.get_json(httpserver.url_for("/api"))


def raw_server(*chunks, pause=0.0):
    """A server that sends these bytes to whoever connects, then closes. Returns its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                for chunk in chunks:
                    try:
                        connection.sendall(chunk)
                    except OSError:
                        break
                    time.sleep(pause)

    threading.Thread(target=serve, daemon=True).start()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/api"


@pytest.mark.parametrize(
    "chunks",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",),
        (b"",),
    ],
    ids=["cut body", "cut chunk", "gzip that is none", "hang-up"],
)
def test_broken_transport_is_tried_again(client, chunks):
    listener, url = raw_server(*chunks)
    with listener, pytest.raises(Retry, match="gave up"):
        client.get_json(url)


def test_a_body_that_drips_is_given_up():
    listener, url = raw_server(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b" " * 10] * 60, pause=0.05
    )
    client = Client(throttle=NoThrottle(), retries=0, limits=Limits(total=0.3))
    with listener, pytest.raises(Retry, match=r"not complete after 0.3 s"):
        client.get_json(url)


def test_connection_refused_names_no_key(client):
    with pytest.raises(Retry) as raised:
        client.get_json("http://127.0.0.1:9/api")
    assert KEY not in str(raised.value)
    assert "k3y%2Fwith%2Bodd%3Dchars" not in str(raised.value)
    assert "***" in str(raised.value)


def test_the_key_does_not_follow_a_redirect(httpserver, client):
    httpserver.expect_request("/album").respond_with_response(
        Response(status=302, headers={"Location": httpserver.url_for("/final")})
    )
    httpserver.expect_request("/final").respond_with_data("page")
    answer = client.get(httpserver.url_for("/album"))
    assert answer.url == httpserver.url_for("/final")
    assert all("api_key" not in r.args for r, _ in httpserver.log)


def test_a_redirect_loop_is_fatal(httpserver, client):
    httpserver.expect_request("/loop").respond_with_response(
        Response(status=302, headers={"Location": httpserver.url_for("/loop")})
    )
    with pytest.raises(Fatal, match="TooManyRedirects"):
        client.get(httpserver.url_for("/loop"))


def test_file_sizes(httpserver, client):
    httpserver.expect_request("/known", method="HEAD").respond_with_response(Response("12345"))
    httpserver.expect_request("/gone", method="HEAD").respond_with_response(Response(status=404))
    assert client.file_size(httpserver.url_for("/known")) == 5
    assert client.file_size(httpserver.url_for("/gone")) is None


def test_map_keeps_order(client):
    assert client.map(lambda n: n * n, range(20), 4) == [n * n for n in range(20)]


def test_a_header_line_of_any_length_is_borne_with(httpserver, client):
    """ccMixter repeats its whole answer in a header; http.client alone would refuse it."""
    answers(
        httpserver,
        Response(
            '{"n": 1}', content_type="application/json", headers={"X-Json": "x" * 300_000, "X-After": "kept"}
        ),
    )
    assert client.get_json(httpserver.url_for("/api")) == {"n": 1}
    answer = client.get(httpserver.url_for("/api"))
    assert answer.headers["X-After"] == "kept"
    assert len(answer.headers["X-Json"]) < 65_536


def header_client(**more):
    key = ApiKey("K", "X-Api-Key", "x", header=True, scheme="Token ")
    return Client(
        credentials=KeyCredentials(key, Secret(KEY)), throttle=NoThrottle(), sleep=lambda _: None, **more
    )


def test_a_key_in_a_header(httpserver):
    seen = answers(httpserver, ok())
    client = header_client()
    client.get_json(httpserver.url_for("/api"), {"page": 2})
    assert (seen[0].headers["X-Api-Key"], dict(seen[0].args)) == (f"Token {KEY}", {"page": "2"})
    client.get(httpserver.url_for("/api"))
    assert "X-Api-Key" not in seen[1].headers  # not a request of the API's


def test_a_key_in_a_header_is_not_taken_to_another_host(httpserver):
    seen = []
    httpserver.expect_request("/elsewhere").respond_with_handler(lambda request: seen.append(request) or ok())
    away = httpserver.url_for("/elsewhere").replace("localhost", "127.0.0.1")
    assert "127.0.0.1" in away
    answers(httpserver, Response(status=302, headers={"Location": away}))
    header_client().get_json(httpserver.url_for("/api"))
    assert "X-Api-Key" not in seen[0].headers


def test_a_body_that_is_almost_json(httpserver, client):
    answers(httpserver, ok("almost 5"))
    assert client.get_json(httpserver.url_for("/api"), decode=lambda body: {"n": int(body.split()[1])}) == {
        "n": 5
    }
    with pytest.raises(Retry, match="is not JSON"):
        client.get_json(httpserver.url_for("/api"))
