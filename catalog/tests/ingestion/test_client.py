"""The client against a real server that misbehaves."""

import contextlib
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import quote

import orjson
import pytest
from requests.structures import CaseInsensitiveDict
from werkzeug import Response

from catalog.core.errors import Fatal, HttpStatus, Retry, StopsPull, UnexpectedResponse
from catalog.core.secrets import Secret
from catalog.ingestion.assemble import api_hosts, client_for
from catalog.ingestion.client import Client
from catalog.ingestion.counted import Counted
from catalog.ingestion.credentials import ApiKey, KeyCredentials
from catalog.ingestion.file_facts import FileFacts
from catalog.ingestion.pagination import Paginator
from catalog.ingestion.provider import Provider
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.responses import items_at
from catalog.ingestion.retries import retry_after
from catalog.ingestion.sender import Limits
from catalog.tests.ingestion.raw_server import raw_server, request
from catalog.tests.providers.fake_api import FakeApi

KEY = "k3y/with+odd=chars"
HERE = ("localhost", "127.0.0.1")


@pytest.fixture
def waits():
    return []


def keyed(key, *, hosts=("localhost",), private_hosts=HERE, **more):
    return Client(
        credentials=KeyCredentials(key, Secret(KEY), hosts),
        throttle=NoThrottle(),
        private_hosts=private_hosts,
        **{"sleep": lambda _: None, **more},
    )


@pytest.fixture
def client(waits):
    return keyed(ApiKey("K", "api_key", "x"), hosts=HERE, sleep=waits.append, limits=Limits(read=5))


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


@pytest.mark.parametrize(("answered", "wait"), [(0, 100), (40, 60), (200, 0), (None, 86_500)])
def test_a_date_is_compared_with_the_clock_that_has_made_it(answered, wait):
    """The clock of this machine is a day behind that of the server, or the answer has no readable date."""
    server = datetime.now(UTC) + timedelta(days=1)
    date = "today" if answered is None else format_datetime(server + timedelta(seconds=answered))
    headers = {"Retry-After": format_datetime(server + timedelta(seconds=100)), "Date": date}
    assert retry_after(CaseInsensitiveDict(headers)) == pytest.approx(wait, abs=3)


@pytest.mark.parametrize("body", ["<html>busy</html>", "", '{"cut": [1, 2', '{"error": "busy"}', "\xff"])
def test_a_200_that_is_no_answer_is_tried_again_and_never_taken_for_an_empty_page(httpserver, client, body):
    seen = answers(httpserver, ok(body))
    with pytest.raises(Retry, match="gave up after 4 attempts"):
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


@pytest.mark.parametrize("asked", ["get_json", "get_decoded"])
@pytest.mark.parametrize("body", ["null", "true", "7", "[]", '{"stat": null}', '{"stat": [7]}'])
def test_a_check_that_meets_a_value_of_another_type_costs_the_response_not_the_task(
    httpserver, client, body, asked
):
    def check(body):
        if "ok" not in body["stat"].lower():
            raise Fatal("stat fail")

    seen = answers(httpserver, ok(body))
    with pytest.raises(UnexpectedResponse, match=r"unexpected type \(\w+Error: .+, at test_client\.py"):
        getattr(client, asked)(httpserver.url_for("/api"), check=check)
    assert len(seen) == 4


def test_a_huge_body_is_refused(httpserver):
    answers(httpserver, ok('"' + "x" * 2_000_000 + '"'))
    client = Client(throttle=NoThrottle(), limits=Limits(max_bytes=1_000_000), private_hosts=HERE)
    with pytest.raises(Fatal, match=r"GET http://localhost:\d+/api: the body is larger than 1,000,000 bytes"):
        client.get_json(httpserver.url_for("/api"))


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
    def serve(server, connection):
        request(connection)
        for chunk in chunks:
            connection.sendall(chunk)

    with raw_server(serve) as server, pytest.raises(Retry, match="gave up after 4 attempts"):
        client.get_json(server.url())


def test_connection_refused_names_no_key(client):
    with pytest.raises(Retry) as raised:
        client.get_json("http://127.0.0.1:9/api")
    assert KEY not in str(raised.value)
    assert "k3y%2Fwith%2Bodd%3Dchars" not in str(raised.value)
    assert "refused" in str(raised.value)


def test_the_address_of_an_answer_is_that_after_redirects(httpserver, client):
    httpserver.expect_request("/album").respond_with_response(
        Response(status=302, headers={"Location": httpserver.url_for("/final")})
    )
    httpserver.expect_request("/final").respond_with_data("page")
    assert client.get(httpserver.url_for("/album")).url == httpserver.url_for("/final")


def test_a_redirect_loop_is_fatal(httpserver, client):
    httpserver.expect_request("/loop").respond_with_response(
        Response(status=302, headers={"Location": httpserver.url_for("/loop")})
    )
    with pytest.raises(Fatal, match="TooManyRedirects"):
        client.get(httpserver.url_for("/loop"))


def test_file_sizes(httpserver, client):
    httpserver.expect_request("/known", method="HEAD").respond_with_response(Response("12345"))
    httpserver.expect_request("/gone", method="HEAD").respond_with_response(Response(status=404))
    assert client.file_facts(httpserver.url_for("/known")).size == 5
    assert client.file_facts(httpserver.url_for("/gone")).size is None


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ({"Content-Type": "image/svg+xml", "Content-Encoding": "gzip"}, None),
        ({"Content-Type": "image/svg+xml", "Content-Encoding": "identity"}, 5),
        ({"Content-Type": "text/html; charset=utf-8"}, None),  # a page to log in
        ({"Content-Type": "Text/HTML"}, None),
    ],
)
def test_a_length_that_is_not_the_file_s(httpserver, client, headers, size):
    httpserver.expect_request("/to", method="HEAD").respond_with_response(
        Response(status=302, headers={"Location": "/file"})
    )
    httpserver.expect_request("/file", method="HEAD").respond_with_response(
        Response("12345", headers=headers)
    )
    assert client.file_facts(httpserver.url_for("/to")) == FileFacts(size=size)
    assert {request.headers["Accept-Encoding"] for request, _ in httpserver.log} == {"identity"}


def test_map_keeps_order(client):
    assert client.map(lambda n: n * n, range(20), 4) == [n * n for n in range(20)]


def test_a_header_line_of_any_length_is_read(httpserver, client):
    """CcMixter repeats its whole answer in a header; http.client alone would refuse it."""
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


# a 200 that is none


@pytest.mark.parametrize(
    "body",
    [
        {"error": "busy"},
        {"error": {"code": "maxlag"}},
        {"error": True, "items": []},
        {"errors": ["busy"]},
        {"errors": {"1": "busy"}},
        {"success": False},
        {"success": False, "items": []},
    ],
)
def test_an_answer_that_says_it_failed(httpserver, client, body):
    seen = answers(httpserver, ok(orjson.dumps(body)), ok())
    assert client.get_json(httpserver.url_for("/api")) == {"n": 1}
    assert len(seen) == 2
    answers(httpserver, ok(orjson.dumps(body)))


@pytest.mark.parametrize(
    "body",
    [
        {"error": False},
        {"error": None},
        {"error": ""},
        {"error": [], "errors": {}},
        {"errors": [], "success": True},
        {"success": None},
        {"success": 0},
        {"success": "false"},
        {"items": [{"error": "of an item's"}]},
        [{"error": "of an item's"}],
    ],
)
def test_an_answer_that_does_not(httpserver, client, body):
    answers(httpserver, ok(orjson.dumps(body)))
    assert client.get_json(httpserver.url_for("/api")) == body


def test_a_failure_that_the_caller_reads(httpserver, client):
    seen = answers(httpserver, ok('{"success": false, "error": "no such item"}'))
    assert client.get_json(httpserver.url_for("/api"), may_fail=True)["success"] is False
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "the response is an empty object"),
        ({"response": {"rowz": [1]}, "took": 3}, "the response has `response`, `took`"),
        ({"response": {"rows": None}}, "the response has `response`"),
        ({"response": []}, "the response has `response`"),
        ({f"key {n}": n for n in range(20)}, "`key 9` and 10 more$"),
        ([], "the response is a list"),
        (None, "the response is null"),
    ],
)
def test_what_a_good_answer_has(httpserver, client, body, text):
    seen = answers(httpserver, ok(orjson.dumps(body)))
    with pytest.raises(
        UnexpectedResponse,
        match=rf"gave up after 4 attempts: `response.rows` is (missing[:;]|null, not a list;) .*{text}",
    ):
        client.get_json(httpserver.url_for("/api"), check=lambda body: items_at(body, "response.rows"))
    assert len(seen) == 4


def test_an_answer_that_is_odd_is_read_and_logged(httpserver, client, caplog):
    seen = answers(httpserver, ok(b'\xef\xbb\xbf{"title": "caf\xe9", "size": 007,}'))
    assert client.get_json(httpserver.url_for("/api")) == {"title": "caf\udce9", "size": 7}
    assert len(seen) == 1
    assert "/api: the response is not strict JSON and was repaired: " in caplog.text


def test_an_answer_that_is_not_odd_is_not_logged(httpserver, client, caplog):
    answers(httpserver, ok())
    with caplog.at_level(logging.WARNING):
        client.get_json(httpserver.url_for("/api"))
    assert not caplog.records


# a firewall before the API


def blocked(body="<html>Request blocked</html>", status=403, **headers):
    return Response(body, status=status, headers=headers)


def test_a_firewall_s_answer_is_temporary(httpserver, waits):
    seen = answers(
        httpserver, blocked(), blocked(**{"Retry-After": "90"}), blocked(**{"Retry-After": "5"}), ok()
    )
    asking = Client(
        throttle=NoThrottle(), sleep=waits.append, private_hosts=HERE, blocking_statuses={403: 60}
    )
    assert asking.get_json(httpserver.url_for("/api")) == {"n": 1}
    assert (len(seen), waits) == (4, [60, 90, 60])


@pytest.mark.parametrize(
    ("response", "send"),
    [
        (blocked('{"message": "wrong key"}'), Client.get_json),
        (blocked(status=404), Client.get_json),
        (blocked(), Client.get),
    ],
    ids=["the API's own", "another status", "another server"],
)
def test_what_is_no_firewall_s_answer_is_final(httpserver, response, send):
    seen = answers(httpserver, response)
    asking = Client(throttle=NoThrottle(), private_hosts=HERE, blocking_statuses={403: 60})
    with pytest.raises(HttpStatus):
        send(asking, httpserver.url_for("/api"))
    assert len(seen) == 1


# files


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_gone(httpserver, client, status):
    httpserver.expect_request("/file").respond_with_response(Response(status=status))
    assert client.file_facts(httpserver.url_for("/file")) == FileFacts(deleted=True, size=None)


@pytest.mark.parametrize("status", [400, 401, 403, 405, 429, 451, 500, 502, 503])
def test_a_fault_of_the_server_is_not_gone(httpserver, client, status):
    httpserver.expect_request("/file").respond_with_response(Response(status=status))
    assert client.file_facts(httpserver.url_for("/file")) == FileFacts(deleted=False, size=None)


def test_a_server_that_is_away_is_not_gone(client):
    assert client.file_facts("http://127.0.0.1:9/file") == FileFacts(deleted=False, size=None)


@pytest.mark.parametrize(
    ("length", "size"),
    [
        ("12345", 12345),
        ("0", None),
        ("-1", None),
        ("many", None),
        ("9" * 5000, None),
        ("\u0665", None),
        ("", None),
    ],
)
def test_sizes_that_are_none(length, size):
    def answer(url, params):
        return {}

    class Sized(FakeApi):
        def send(self, request, *_, **__):
            response = super().send(request)
            response.headers["content-length"] = length
            return response

    asking = Client(transport=Sized(answer), throttle=NoThrottle())
    assert asking.file_facts("https://files.example.org/x") == FileFacts(deleted=False, size=size)


def test_what_stops_the_pull_is_no_fact_about_a_file(tmp_path):
    (tmp_path / "recording.json").write_text('{"provider": "x", "interactions": []}')
    asking = Client(transport=ReplayAdapter(tmp_path))
    with pytest.raises(StopsPull):
        asking.file_facts("https://files.example.org/x")


# keys: where they go


def seen_at(httpserver, path):
    return [request for request, _ in httpserver.log if request.path == path]


def header_client(**more):
    return keyed(ApiKey("K", "X-Api-Key", "x", header=True, scheme="Token "), **more)


def query_client(**more):
    return keyed(ApiKey("K", "api_key", "x"), **more)


both = pytest.mark.parametrize("make", [header_client, query_client], ids=["header", "query"])


def has_key(request):
    return KEY in request.headers.get("X-Api-Key", "") or KEY in request.url or KEY in request.args.values()


def elsewhere(httpserver, path):
    """An address of the same server on another host."""
    return httpserver.url_for(path).replace("localhost", "127.0.0.1")


def moved(httpserver, path, target, status=302):
    httpserver.expect_request(path).respond_with_response(
        Response(status=status, headers={"Location": target})
    )


def test_a_key_in_a_header(httpserver):
    seen = answers(httpserver, ok())
    client = header_client()
    client.get_json(httpserver.url_for("/api"), {"page": 2})
    assert (seen[0].headers["X-Api-Key"], dict(seen[0].args)) == (f"Token {KEY}", {"page": "2"})
    client.get(httpserver.url_for("/api"))
    assert "X-Api-Key" not in seen[1].headers  # not a request of the API's


@both
def test_a_key_is_not_sent_to_another_host(httpserver, make):
    """An address that an answer names may lead anywhere."""
    seen = answers(httpserver, ok())
    make().get_json(elsewhere(httpserver, "/api"), {"page": 1})
    assert not has_key(seen[0])
    assert dict(seen[0].args) == {"page": "1"}
    make().get_json(httpserver.url_for("/api").replace("localhost", "LOCALHOST"))
    assert has_key(seen[1])


@both
@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{port}\\@localhost:{port}/api",
        "http://localhost@127.0.0.1:{port}/api",
        "http://127.0.0.1:{port}#@localhost:{port}/api",
        "http://127.0.0.1:{port}?@localhost:{port}/api",
        "http://localhost.:x@127.0.0.1:{port}/api",
    ],
)
def test_an_address_that_looks_like_the_api_s(httpserver, make, address):
    """Parsers differ over such addresses; the one that decides is the one that connects."""
    with contextlib.suppress(Fatal, Retry):  # what the server says does not matter
        make(retries=0).get_json(address.format(port=httpserver.port))
    [(request, _)] = httpserver.log
    assert request.host.startswith("127.0.0.1")
    assert not has_key(request)


@both
def test_a_key_is_not_sent_in_the_clear(httpserver, make):
    seen = answers(httpserver, ok())
    with pytest.raises(Fatal, match="over https only"):
        make(private_hosts=["127.0.0.1"]).get_json(httpserver.url_for("/api"))
    assert not seen


@both
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_key_does_not_follow_a_redirect_to_another_host(httpserver, make, status):
    """Also when the server repeats it in the address."""
    key = quote(KEY, safe="")
    target = elsewhere(httpserver, f"/final?page=2&api_key={key}&again=x{key}x&signed={key.lower()}")
    moved(httpserver, "/api", target, status)
    httpserver.expect_request("/final").respond_with_json({"n": 1})
    assert make().get_json(httpserver.url_for("/api"), {"page": 2}) == {"n": 1}
    (request,) = seen_at(httpserver, "/final")
    assert dict(request.args) == {"page": "2"}
    assert not has_key(request)


@both
def test_a_redirect_with_the_key_elsewhere_in_the_address_is_refused(httpserver, make):
    moved(httpserver, "/api", elsewhere(httpserver, f"/final/{quote(KEY, safe='')}"))
    with pytest.raises(
        Fatal, match=r"redirected to .*/final/\*\*\*, which would send a secret to another host"
    ):
        make().get_json(httpserver.url_for("/api"))
    assert len(httpserver.log) == 1


@both
def test_a_redirect_on_the_same_host_takes_the_key_along(httpserver, make):
    moved(httpserver, "/api", f"/final?api_key={quote(KEY, safe='')}" if make is query_client else "/final")
    httpserver.expect_request("/final").respond_with_json({"n": 1})
    assert make().get_json(httpserver.url_for("/api")) == {"n": 1}
    assert has_key(seen_at(httpserver, "/final")[0])


@both
def test_a_redirect_down_to_http_is_refused(make):
    """From an own host over https to an own host over http."""

    class Moving(FakeApi):
        def send(self, request, *_, **__):
            response = super().send(request)
            response.status_code = 302
            response.headers["location"] = f"http://api.example.org/x?api_key={quote(KEY, safe='')}"
            return response

    transport = Moving(lambda *_: {})
    asking = make(transport=transport, hosts=["api.example.org"], private_hosts=())
    with pytest.raises(
        Fatal, match=r"http://api.example.org/x\?api_key=\*\*\*: keys are sent over https only"
    ):
        asking.get_json("https://api.example.org/x")
    assert len(transport.requests) == 1


def test_a_redirect_away_and_back_signs_nothing_on_the_way(httpserver):
    moved(httpserver, "/api", elsewhere(httpserver, "/away"))
    moved(httpserver, "/away", httpserver.url_for("/final"))
    httpserver.expect_request("/final").respond_with_json({"n": 1})
    header_client().get_json(httpserver.url_for("/api"))
    assert [has_key(r) for r, _ in httpserver.log] == [True, False, True]


def test_a_netrc_does_not_take_the_place_of_a_key(httpserver, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine localhost login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    seen = answers(httpserver, ok())
    keyed(ApiKey("K", "Authorization", "x", header=True)).get_json(httpserver.url_for("/api"))
    assert seen[0].headers["Authorization"] == KEY


def test_a_key_without_a_host_is_refused():
    with pytest.raises(Fatal, match="has no host that it may be sent to"):
        KeyCredentials(ApiKey("K", "key", "x"), Secret(KEY), ())


class Keyed(Provider):
    name = "museum"
    key = ApiKey("K", "key", "x")


class Museum(Keyed):
    pages = Counted("https://api.museum.example:8443/{page}", items="items")


def test_the_hosts_of_a_provider_s_key():
    class Declared(Museum):
        key = ApiKey("K", "key", "x", hosts=("api.museum.example", "files.museum.example"))

    class PerInstance(Keyed):
        def __init__(self):
            self.pages = Counted("https://API.museum.example/", items="items")

    class Walk(Paginator):
        def start(self, params):
            raise NotImplementedError

        def fetch(self, client, cursor, params):
            raise NotImplementedError

    class Untold(Keyed):
        pages = Walk()

    assert api_hosts(Museum) == ("api.museum.example",)
    assert api_hosts(Declared) == ("api.museum.example", "files.museum.example")
    assert api_hosts(PerInstance) == ("api.museum.example",)
    with pytest.raises(Fatal, match=r"museum: .* its pages have no `url`; declare `hosts`"):
        client_for(Untold, Secret(KEY))


def test_what_a_provider_declares_reaches_its_client(httpserver, waits):
    class Local(Museum):
        pages = Counted(httpserver.url_for("/api"), items="items")
        blocking_statuses = {403: 0}
        retries = 1

    seen = answers(httpserver, blocked(), ok())
    assert client_for(Local, Secret(KEY), private_hosts=HERE).get_json(httpserver.url_for("/api")) == {"n": 1}
    assert [request.args["key"] for request in seen] == [KEY, KEY]


def test_a_search_by_post_is_signed_repeated_and_redirected_with_its_body(client, httpserver, waits):
    seen = answers(
        httpserver, Response(status=503), Response(status=308, headers={"location": "/api?moved=1"}), ok()
    )
    assert client.get_json(httpserver.url_for("/api"), {"size": 5}, json={"q": "tui"}) == {"n": 1}
    assert [request.method for request in seen] == ["POST"] * 3
    assert {request.get_data() for request in seen} == {b'{"q": "tui"}'}
    assert dict(seen[0].args) == {"size": "5", "api_key": KEY}
    assert seen[0].headers["content-type"] == "application/json"
    assert len(waits) == 1
