"""What a check makes of the answers of a server."""

import socket
from contextlib import ExitStack
from itertools import pairwise

import pytest
import requests

from catalog.links import answers
from catalog.links.answers import Verdict, judge
from catalog.links.checker import LONGEST_DELAY, PROOFS, Checker
from catalog.links.web import Web, _reason
from catalog.tests.links.site import AGENT, CLOSED, MISSING, THERE, Clock, Reply, checker, site

pytestmark = pytest.mark.enable_socket
HOST = "127.0.0.1"
EMPTY = Reply(200, {"Content-Type": "image/jpeg"}, b"")
HTML = Reply(headers={"Content-Type": "text/html; charset=utf-8"}, body=b"<p>Sorry</p>")


def by_method(head, get=THERE):
    """Return answers for the file, and none for robots.txt."""
    return lambda method, path: MISSING if path == "/robots.txt" else head if method == "HEAD" else get


@pytest.mark.parametrize("status", [404, 410])
def test_gone(status):
    with site(by_method(Reply(status), Reply(status))) as server:
        assert checker().check(server.url("/a")) == Verdict("gone", None, status, host=HOST)
        assert server.asked("/a") == ["HEAD", "GET"]


def test_there_with_its_size():
    with site(by_method(THERE)) as server:
        assert checker().check(server.url("/a")) == Verdict("there", None, 206, size=5, host=HOST)
        assert server.asked("/a") == ["HEAD", "GET"]


def test_the_first_answers_of_a_host_to_head_are_proved():
    """Then HEAD alone is asked, since it costs the server least."""
    with site(by_method(THERE)) as server:
        check = checker().check
        found = [check(server.url(f"/{number}")) for number in range(PROOFS + 2)]
        assert [len(server.asked(f"/{number}")) for number in range(PROOFS + 2)] == [2] * PROOFS + [1, 1]
        assert found[-1] == Verdict("there", None, 200, size=5, host=HOST)
        check(server.url("/other", "localhost"))
        assert server.asked("/other") == ["HEAD", "GET"]


@pytest.mark.parametrize("get", [MISSING, HTML, Reply(403)])
def test_a_host_that_says_yes_to_every_head_is_not_believed(get):
    def reply(method, path):
        if path == "/robots.txt":
            return MISSING
        return THERE if method == "HEAD" or int(path[1:]) % 5 else get

    with site(reply) as server:
        check = checker().check
        found = [check(server.url(f"/{number}")).outcome for number in range(3, 3 + 2 * PROOFS)]
    other = "gone" if get == MISSING else "unclear"
    assert found == [other if number % 5 == 0 else "there" for number in range(3, 3 + 2 * PROOFS)]


def test_a_file_that_was_gone_is_asked_for_by_a_get():
    """Where most files are there, HEAD that says yes to everything is believed for some time."""

    def reply(method, path):
        gone = path == "/robots.txt" or (method == "GET" and path == "/gone")
        return MISSING if gone else THERE

    with site(reply) as server:
        one = checker()
        for number in range(PROOFS):
            assert one.check(server.url(f"/{number}")).outcome == "there"
        assert one.check(server.url("/gone")).outcome == "there"
        asked = len(server.requests)
        assert one.check_again(server.url("/gone")).outcome == "gone"
        assert len(server.requests) == asked + 1
        assert one.check_again("http://[").reason == answers.INVALID


def test_a_lie_is_not_forgotten_by_a_check_that_began_before_it(monkeypatch):
    """As where two hosts redirect to one, whose files are checked at the same time."""
    check, ask = checker().check, Web.ask

    def ask_in_between(web, method, url, *args, **options):
        if (method, url) == ("GET", server.url("/first")):
            assert check(server.url("/missing")).outcome == "gone"
        return ask(web, method, url, *args, **options)

    def reply(method, path):
        return MISSING if path == "/robots.txt" or (method == "GET" and path == "/missing") else THERE

    monkeypatch.setattr(Web, "ask", ask_in_between)
    with site(reply) as server:
        for path in ("/first", *map("/{}".format, range(PROOFS))):
            assert check(server.url(path)).outcome == "there"
        assert check(server.url("/missing")).outcome == "gone"


def test_a_host_behind_a_redirect_is_proved_by_itself():
    def reply(method, path):
        if path.startswith("/moved"):
            return Reply(302, {"Location": server.url(path.replace("/moved", ""), "localhost")})
        return MISSING if path == "/robots.txt" or (method == "GET" and path == "/b") else THERE

    with site(reply) as server:
        check = checker().check
        for number in range(PROOFS + 1):
            assert check(server.url(f"/{number}")).outcome == "there"
        assert check(server.url("/moved/b")).outcome == "gone"


def test_a_get_that_fails_for_a_while_proves_nothing():
    answers_of_get = [Reply(500), *[THERE] * 100]
    with site(lambda method, path: THERE if method == "HEAD" else answers_of_get.pop(0)) as server:
        answers_of_get.insert(0, MISSING)  # robots.txt
        check = checker().check
        assert check(server.url("/a")).passing
        for number in range(PROOFS + 1):
            assert check(server.url(f"/{number}")).outcome == "there"
        assert server.asked(f"/{PROOFS}") == ["HEAD"]


@pytest.mark.parametrize(
    "head",
    [
        CLOSED,
        Reply(200, {"Content-Type": "image/jpeg"}, after=2.5),
        *map(Reply, (400, 401, 403, 404, 405, 410, 500, 501, 503)),
        HTML,
        EMPTY,
    ],
)
def test_a_head_that_does_not_say_there_is_tried_by_a_get(head):
    part = Reply(206, {"Content-Type": "image/jpeg", "Content-Range": "bytes 0-0/1234"}, b"i")
    with site(by_method(head, part)) as server:
        assert checker(timeout=1.0).check(server.url("/a")) == Verdict(
            "there", None, 206, size=1234, host=HOST
        )
        assert server.asked("/a") == ["HEAD", "GET"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (CLOSED, answers.NO_CONNECTION),
        (Reply(200, after=2.5), answers.TIMEOUT),
        (Reply(401), answers.REFUSED),
        (Reply(403), answers.REFUSED),
        (Reply(418), answers.OTHER_STATUS),
        (Reply(429), answers.BUSY),
        (Reply(500), answers.SERVER_ERROR),
        (Reply(503), answers.SERVER_ERROR),
        (Reply(503, {"Retry-After": "7"}), answers.BUSY),
        (HTML, answers.OTHER_CONTENT),
        (EMPTY, answers.OTHER_CONTENT),
        (Reply(404, {"Retry-After": "30"}), answers.OTHER_STATUS),
        (Reply(404, {"cf-mitigated": "challenge"}), answers.REFUSED),
        (Reply(301, {"Location": "/a"}), answers.REDIRECTS),
        (Reply(302, {"Location": "http://169.254.169.254/latest"}), answers.PRIVATE),
        (Reply(302, {"Location": "http://10.0.0.1/"}), answers.PRIVATE),
        (Reply(302, {"Location": "file:///etc/passwd"}), answers.INVALID),
    ],
)
def test_what_is_not_clear_is_never_gone(reply, reason):
    with site(by_method(reply, reply)) as server:
        found = checker(timeout=1.0).check(server.url("/a"))
    assert (found.outcome, found.reason) == ("unclear", reason)
    assert found.passing == (reason in answers.PASSING)


def test_a_busy_host_is_left_alone():
    busy = Reply(429, {"Retry-After": "120"})
    with site(by_method(busy)) as server:
        found = checker().check(server.url("/a"))
        assert (found.status, found.wait) == (429, 120)
        assert server.asked("/a") == ["HEAD"]


def test_the_host_that_answered_is_named_and_is_left_alone():
    """A redirect from 127.0.0.1 to localhost: the pause of one does not hold for the other."""
    busy = Reply(429, {"Retry-After": "120"})
    left: dict[str, float] = {}

    def reply(method, path):
        moved = Reply(302, {"Location": server.url("/b", "localhost")})
        return {"/robots.txt": MISSING, "/moved": moved, "/b": busy}.get(path, THERE)

    with site(reply) as server:
        check = checker(paused=lambda host: left.get(host, 0.0)).check
        found = check(server.url("/moved"))
        assert (found.reason, found.wait, found.host) == (answers.BUSY, 120, "localhost")
        left["localhost"] = 119.5
        found = check(server.url("/moved"))
        assert (found.reason, found.wait, found.host) == (answers.PAUSED, 119.5, "localhost")
        assert server.asked("/b") == ["HEAD"]
        assert check(server.url("/other")).outcome == "there"
        left["127.0.0.1"] = 7.0
        before = len(server.requests)
        for fresh in (check, checker(paused=left.__getitem__).check):  # robots.txt is not requested either
            assert fresh(server.url("/other")).host == "127.0.0.1"
        assert len(server.requests) == before


def test_a_robots_txt_that_another_host_does_not_give_is_about_that_host():
    def reply(method, path):
        moved = Reply(301, {"Location": server.url("/rules", "localhost")})
        return moved if path == "/robots.txt" else Reply(429)

    with site(reply) as server:
        found = checker().check(server.url("/a"))
    assert (found.reason, found.host) == (answers.BUSY, "localhost")


def test_a_head_that_says_gone_and_a_get_that_fails_is_not_gone():
    with site(by_method(MISSING, Reply(502))) as server:
        assert checker().check(server.url("/a")).reason == answers.SERVER_ERROR


def test_no_connection_and_unknown_names(monkeypatch):
    with site(by_method(THERE)) as server:
        url = server.url("/a")
    assert checker().check(url).reason == answers.NO_ROBOTS  # nobody listens any more

    def unknown(*args):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("catalog.ingestion.transport.socket.getaddrinfo", unknown)
    assert checker().check("https://nowhere.example/a").reason == answers.NO_NAME


def test_tls_that_fails_is_not_gone():
    with site(by_method(THERE)) as server:
        found = checker().check(server.url("/a").replace("http:", "https:"))
    assert (found.outcome, found.reason) == ("unclear", answers.NO_ROBOTS)
    assert _reason(requests.exceptions.SSLError("certificate")) == answers.TLS


@pytest.mark.parametrize("url", ["", "/a.jpg", "ftp://example.org/a", "https:///a", "http://[::1/a"])
def test_what_is_no_url(url):
    assert checker().check(url).reason == answers.INVALID


def test_without_the_setting_no_private_address_is_reached():
    with site(by_method(THERE)) as server:
        web = Web(lambda host, least: 0.0, user_agent=AGENT)
        for host in ("127.0.0.1", "localhost"):
            assert Checker(web, AGENT).check(server.url("/a", host)).reason == answers.PRIVATE
        assert server.requests == []


def test_redirects_are_noted_and_judged_by_their_end():
    def reply(method, path):
        moved = {"/moved": "/new", "/lost": server.url("/nothing", "localhost"), "/robots.txt": None}
        if target := moved.get(path):
            return Reply(302, {"Location": target})
        return THERE if path == "/new" else MISSING

    with site(reply) as server:
        check = checker().check
        assert check(server.url("/moved")) == Verdict("there", None, 206, server.url("/new"), 5, host=HOST)
        lost = check(server.url("/lost"))
        assert lost == Verdict("gone", None, 404, server.url("/nothing", "localhost"), host="localhost")


def test_robots_txt_is_obeyed_on_each_hop():
    rules = b"User-agent: *\nDisallow: /\n\nUser-agent: OpenMediaCatalog\nDisallow: /private/\n"

    def reply(method, path):
        if path == "/robots.txt":
            return Reply(200, {"Content-Type": "text/plain"}, rules)
        return Reply(302, {"Location": "/private/b"}) if path == "/to" else MISSING

    with site(reply) as server:
        check = checker().check
        assert check(server.url("/private/a")).reason == answers.ROBOTS
        assert check(server.url("/to")).reason == answers.ROBOTS
        assert check(server.url("/other")).outcome == "gone"
        assert server.asked("/private/a") == server.asked("/private/b") == []
        assert server.asked("/robots.txt") == ["GET"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [(500, answers.NO_ROBOTS), (503, answers.NO_ROBOTS), (429, answers.BUSY), (0, answers.NO_ROBOTS)],
)
def test_a_robots_txt_that_cannot_be_read_forbids_until_it_can(status, reason):
    replies = {"/robots.txt": Reply(status)}
    with site(lambda method, path: replies.get(path, THERE)) as server:
        check = checker().check
        assert check(server.url("/a")).reason == reason
        assert server.asked("/a") == []
        replies["/robots.txt"] = MISSING
        assert check(server.url("/a")).outcome == "there"


def test_robots_txt_is_read_again_after_a_day():
    clock = Clock()
    with site(lambda method, path: MISSING if path == "/robots.txt" else THERE) as server:
        check = checker(clock).check
        for hours, number in ((0, 1), (23, 1), (25, 2)):
            clock.go_to(hours=hours)
            assert check(server.url("/a")).outcome == "there"
            assert len(server.asked("/robots.txt")) == number


def test_a_robots_txt_that_would_cost_much_memory_is_not_read():
    """Each rule is kept for each agent: half a megabyte can mean hundreds of millions of rules."""
    many = [f"user-agent: a{n}" for n in range(2_000)] + ["allow: /a"] * 2_000
    robots = Reply(200, {"Content-Type": "text/plain"}, "\n".join(many).encode())
    with site(lambda method, path: robots if path == "/robots.txt" else THERE) as server:
        found = checker().check(server.url("/a"))
    assert (found.outcome, found.reason) == ("unclear", answers.LONG_ROBOTS)
    assert not found.passing  # another attempt would read the same


@pytest.mark.parametrize(
    "text",
    [
        "Crawl-delay: 30",
        "Request-rate: 2/1m",
        "Request-rate: 1/1m\nCrawl-delay: 1",
        "Request-rate: 9/1s\nCrawl-delay: 30",
        "Request-rate: 1/30s 0100-0200",
    ],
)
def test_a_pause_that_robots_txt_asks_for_is_kept(text):
    clock = Clock()
    robots = Reply(200, {"Content-Type": "text/plain"}, f"User-agent: *\n{text}\n".encode())
    with site(lambda method, path: robots if path == "/robots.txt" else THERE, clock) as server:
        check = checker(clock).check
        for path in "abc":
            assert check(server.url(f"/{path}")).outcome == "there"
        moments = [moment for moment, _, _, path in server.requests if path != "/robots.txt"]
        assert all(later - earlier >= 30 for earlier, later in pairwise(moments))


@pytest.mark.parametrize("rule", [f"Crawl-delay: {LONGEST_DELAY + 1}", "Request-rate: 10/1h"])
def test_a_host_whose_robots_txt_asks_for_long_pauses_is_not_checked(rule):
    slow = Reply(200, {}, f"User-agent: *\n{rule}\n".encode())
    with site(lambda method, path: slow if path == "/robots.txt" else THERE) as server:
        assert checker().check(server.url("/a")).reason == answers.SLOW_ROBOTS
        assert server.asked("/a") == []


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        ({}, None),
        ({"content-length": "7"}, 7),
        ({"content-length": "-7"}, None),
        ({"content-length": "9" * 30}, None),
        ({"content-length": "²"}, None),
        ({"content-length": "7", "content-encoding": "gzip"}, None),
    ],
)
def test_sizes(headers, size):
    assert judge(200, headers, None) == Verdict("there", None, 200, size=size)


def test_connections_to_many_hosts_stay_open():
    """A task visits its hosts in turn; a new connection for each request would cost both sides more."""
    with ExitStack() as stack:
        servers = [stack.enter_context(site(by_method(THERE))) for _ in range(15)]
        check = checker().check
        for number in range(3):
            for server in servers:
                assert check(server.url(f"/{number}")).outcome == "there"
        assert [server.connections for server in servers] == [1] * len(servers)
