"""Recordings: answered by rule, and made without secrets."""

from datetime import UTC, datetime

import orjson
import pytest
from upath import UPath
from werkzeug import Response

from catalog.core.errors import Fatal, UnrecordedRequest
from catalog.core.secrets import Redactor, Secret
from catalog.ingestion.assemble import client_for, offsets_of
from catalog.ingestion.client import Client
from catalog.ingestion.counted import Counted
from catalog.ingestion.credentials import ApiKey, KeyCredentials
from catalog.ingestion.links import Links, Tokens
from catalog.ingestion.pagination import Page, Paginator
from catalog.ingestion.parts import Parts
from catalog.ingestion.provider import Provider
from catalog.ingestion.pull import Pull
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.recorder import RecordingAdapter
from catalog.ingestion.recording import find_recording, is_recorded
from catalog.ingestion.registry import api_names, provider_class
from catalog.ingestion.replay import ReplayAdapter
from catalog.local.ports import free_port
from catalog.provider_api import CC0, Image, items_at

URL = "https://api.example.org/items"


def recording(folder, *interactions, provider="example"):
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, (params, body, *times) in enumerate(interactions):
        (folder / f"{number}.json").write_bytes(orjson.dumps(body))
        made.append(
            {
                "request": {"method": "GET", "url": URL, "params": params},
                "response": {
                    "status": 200,
                    "headers": {"content-type": "application/json"},
                    "body_file": f"{number}.json",
                },
                **({"times": times[0]} if times else {}),
            }
        )
    (folder / "recording.json").write_bytes(
        orjson.dumps({"provider": provider, "date": None, "about": "x", "interactions": made})
    )
    return folder


def client(folder, *offsets):
    key = KeyCredentials(ApiKey("K", "key", "x"), Secret("s3cret"), ["api.example.org"])
    return Client(transport=ReplayAdapter(folder, *offsets), credentials=key)


def test_the_first_that_fits_answers(tmp_path):
    c = client(recording(tmp_path, ({"page": "2"}, 2), ({"tag": ["a", "b"]}, "tags"), ({}, "any")))
    assert c.get_json(URL, {"page": 2, "size": 500}) == 2
    assert c.get_json(URL, {"tag": ["b", "x", "a"]}) == "tags"
    assert c.get_json(URL, {"tag": ["a"], "page": 3}) == "any"
    assert c.replayed


def test_used_up_answers_are_passed_over(tmp_path):
    c = client(recording(tmp_path, ({}, "once", 1), ({}, "then")))
    assert [c.get_json(URL) for _ in range(3)] == ["once", "then", "then"]


def test_a_request_without_an_answer_is_an_error_that_names_it(tmp_path):
    with pytest.raises(
        UnrecordedRequest, match=r"no answer to GET https://api.example.org/items \(page=9\)"
    ) as raised:
        client(recording(tmp_path, ({"page": "1"}, 1))).get_json(URL, {"page": 9})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("place", ["", "example", "example/recording"])
def test_where_a_recording_is_looked_for(tmp_path, place):
    recording(tmp_path / place)
    assert find_recording(tmp_path, "example") == tmp_path / place


def test_a_missing_or_foreign_recording_is_refused(tmp_path):
    with pytest.raises(Fatal, match=r"no recording.json for example in .*example/recording"):
        find_recording(tmp_path, "example")
    recording(tmp_path, provider="other")
    with pytest.raises(Fatal, match="is other's, not example's"):
        find_recording(tmp_path, "example")


def test_recording_and_replaying_it(httpserver, tmp_path):
    """What was recorded answers again, and the key is nowhere in it, also not in a body that repeats it."""
    key = "t0p/s3cret+key="
    httpserver.expect_request("/items").respond_with_handler(
        lambda r: Response(
            orjson.dumps({"items": [1], "you": r.args["key"]}), content_type="application/json"
        )
    )
    url = httpserver.url_for("/items")
    here = [httpserver.host]
    adapter = RecordingAdapter(tmp_path, "example", None, Redactor([Secret(key)]), frozenset({"key"}), here)
    live = Client(
        transport=adapter,
        credentials=KeyCredentials(ApiKey("K", "key", "x"), Secret(key), here),
        throttle=NoThrottle(),
        private_hosts=here,
    )
    assert live.get_json(url, {"page": 1})["you"] == key
    written = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert key.encode() not in written
    assert b"t0p%2Fs3cret%2Bkey%3D" not in written
    assert client(tmp_path).get_json(url, {"page": 1}) == {"items": [1], "you": "***"}


def test_no_secret_parameter_is_recorded_or_shown(httpserver, tmp_path):
    """Not even one that is declared as another parameter, whose value is not known as a secret."""
    httpserver.expect_request("/items").respond_with_json({"items": []})
    here = [httpserver.host]
    url = httpserver.url_for("/items")
    adapter = RecordingAdapter(tmp_path, "example", None, Redactor(), frozenset({"u"}), here, ["token"])
    secret = {"u": "hunter2", "password": "hunter2", "sig": "hunter2", "X-Api-Key": "hunter2"}
    live = Client(transport=adapter, throttle=NoThrottle(), private_hosts=here)
    live.get_json(url, {**secret, "keyword": "cat", "author": "ada", "token": "page-2", "nextPageToken": "c"})
    asked = orjson.loads((tmp_path / "recording.json").read_bytes())["interactions"][0]["request"]
    assert asked["params"] == {"keyword": "cat", "author": "ada", "token": "page-2", "nextPageToken": "c"}
    with pytest.raises(UnrecordedRequest, match=r"\(author=bob, keyword=cat\)") as raised:
        client(tmp_path).get_json(url, {**secret, "u": None, "author": "bob", "keyword": "cat"})
    assert "hunter2" not in str(raised.value)


class OwnCursor(Paginator):
    """A paginator as a contributor writes it, which reads a header that nobody has heard of."""

    own_params = ("after",)

    def __init__(self, url):
        self.url = url

    def start(self, params):
        return {"after": params.get("after")}

    def fetch(self, client, cursor, params):
        sent = {**params, "after": cursor["after"]} if cursor["after"] else params
        answer = client.get_decoded(self.url, sent)
        following = answer.headers.get("Museum-Resume-At")
        return Page(items_at(answer.body, "items"), {"after": following} if following else None)


class RefusedNames(OwnCursor):
    """Its headers have names that are left out of a recording unless a paginator declares them."""

    own_headers = ("X-Session-Cursor",)

    def fetch(self, client, cursor, params):
        page = super().fetch(client, cursor, params)
        assert page.next is None, "the server of this case sends the other header only"
        sent = {**params, "after": cursor["after"]} if cursor["after"] else params
        following = client.get_decoded(self.url, sent).headers.get("x-session-cursor")
        return Page(page.items, {"after": following} if following else None)


PAGED_BY = {
    "a token in the body": lambda url: Tokens(url, items="items", param="after", following="next"),
    "a token in a header": lambda url: Tokens(
        url, items="items", param="after", following_header="X-Next-Cursor"
    ),
    "the header Link": lambda url: Links(url, items="items"),
    "headers with numbers": lambda url: Counted(
        url, items="items", param="after", first=0, pages_header="x-total-pages", total_header="X-Total"
    ),
    "a paginator of one's own": OwnCursor,
    "a declared header": RefusedNames,
}


@pytest.mark.parametrize("kind", PAGED_BY)
def test_a_recorded_pull_replays_to_the_same_rows(httpserver, tmp_path, kind):
    """Whatever names the next page: an earlier page must not answer, and no header may be missing."""
    url = httpserver.url_for("/items")
    tried = set()

    def answer(request):
        at = int(request.args.get("after") or 0)
        if request.method == "GET" and at == 1 and at not in tried:  # the attempt after it succeeds
            tried.add(at)
            return Response(status=503, headers={"retry-after": "0"})
        following = at + 1 if at < 3 else None
        headers = {"X-Total": "8", "x-total-pages": "4"}
        if following and kind == "a declared header":
            headers["X-Session-Cursor"] = f"{following}"
        elif following:
            headers |= {"X-Next-Cursor": f"{following}", "Museum-Resume-At": f"{following}"}
            headers["Link"] = f'<{url}?per_page=2&after={following}>; rel="next"'
        items = [{"id": 2 * at + n} for n in (1, 2)]
        body = {"items": items} | ({"next": following} if following and "body" in kind else {})
        return Response(orjson.dumps(body), headers=headers, content_type="application/json")

    class Museum(Provider):
        name = "museum_of_headers"
        catalog_names = {"image": "museumofheaders"}
        category = "photograph"
        params = {"per_page": 2}
        pages = PAGED_BY[kind](url)

        def record(self, raw):
            number = raw["id"]
            return Image(
                foreign_identifier=number,
                foreign_landing_url=f"https://museum.example.org/{number}",
                url=f"https://museum.example.org/{number}.jpg",
                license=CC0,
            )

    def rows(folder, **more):
        client = client_for(Museum, None, throttle=NoThrottle(), private_hosts=[httpserver.host], **more)
        parts = Parts(UPath(folder), "museum_of_headers", datetime(2024, 2, 10, tzinfo=UTC), None)
        manifest = Pull(Museum(), client, parts, run_id="test").run()
        files = parts.tsv_files("image", manifest)
        return [line for path in files for line in path.read_text().splitlines()]

    httpserver.expect_request("/items").respond_with_handler(answer)
    recorded = rows(tmp_path / "live", record_to=tmp_path / "recording")
    assert [row.split("\t")[0] for row in recorded] == [f"{n}" for n in range(1, 9)]
    httpserver.clear()
    assert rows(tmp_path / "again", replay=ReplayAdapter(tmp_path / "recording")) == recorded


KEPT_HEADERS = """
    Content-Type Content-Length Location Link Retry-After X-WP-Total X-WP-TotalPages Total-Results Total-Pages
    X-Total X-Total-Count X-Next-Cursor X-Next-Page Next-Page-Token X-Continuation-Token X-Pagination
    Content-Range X-Page-Count Museum-Resume-At
""".split()
LEFT_OUT_HEADERS = """
    Set-Cookie set-cookie2 Authorization WWW-Authenticate Proxy-Authenticate X-Api-Key X-Auth-Token
    X-Session-Id X-User-Id X-Client-IP X-Forwarded-For X-CSRF-Token Date Age Expires ETag
    Last-Modified Server Via CF-Ray CF-Cache-Status X-Request-ID x-amzn-trace-id X-Correlation-Id
    traceparent X-Runtime Server-Timing X-RateLimit-Remaining X-Served-By X-Cache X-Varnish
    Connection Keep-Alive Transfer-Encoding Content-Encoding Alt-Svc
""".split()


def test_which_headers_a_recording_keeps():
    assert [name for name in KEPT_HEADERS if not is_recorded(name)] == []
    assert [name for name in LEFT_OUT_HEADERS if is_recorded(name)] == []


def test_no_secret_of_a_header_is_recorded(httpserver, tmp_path):
    """The key is removed from the values of all headers, in any form; those that identify us are left out."""
    key = "t0p/s3cret+key="
    links = '<https://api.example.org/items?key=t0p%2Fs3cret%2Bkey%3D&page=2>; rel="next"'
    sent = {
        "Link": links,
        "X-Next": f"page-2;{key}",
        "Set-Cookie": "visitor=hunter2",
        "X-Session-Id": "hunter2",
        "X-Account": "hunter2",
        "X-Token": "hunter2",
    }
    httpserver.expect_request("/items").respond_with_json({}, headers=sent)
    here = [httpserver.host]
    adapter = RecordingAdapter(tmp_path, "example", None, Redactor([Secret(key)]), frozenset(), here)
    Client(transport=adapter, throttle=NoThrottle(), private_hosts=here).get_json(
        httpserver.url_for("/items")
    )
    text = (tmp_path / "recording.json").read_text()
    assert not any(secret in text for secret in (key, "t0p%2Fs3cret", "hunter2"))
    [found] = orjson.loads(text)["interactions"]
    headers = found["response"]["headers"]
    assert headers["link"] == '<https://api.example.org/items?key=***&page=2>; rel="next"'
    assert headers["x-next"] == "page-2;***"


def test_a_request_without_a_response_is_recorded_and_fails_again(httpserver, tmp_path):
    """Such as one for the size of a file, without which a pull goes on."""
    httpserver.expect_request("/items").respond_with_json({"items": [1]})
    here, gone = [httpserver.host, "127.0.0.1"], f"http://127.0.0.1:{free_port()}/file.jpg"
    adapter = RecordingAdapter(tmp_path, "example", None, Redactor(), frozenset(), here)
    live = Client(transport=adapter, throttle=NoThrottle(), sleep=lambda _: None, private_hosts=here)

    def requests_of(asking):
        assert asking.file_facts(gone).size is None
        assert asking.get_json(httpserver.url_for("/items")) == {"items": [1]}
        return asking.requests

    assert requests_of(live) == requests_of(client(tmp_path)) > 2


def test_a_recording_made_over_http_answers_over_https(tmp_path):
    c = client(recording(tmp_path, ({"page": "1"}, "found")))
    assert c.get(URL.replace("https:", "http:"), {"page": 1}).body == b'"found"'
    assert c.get_json(URL, {"page": 1}) == "found"
    with pytest.raises(UnrecordedRequest, match=r"GET http://api\.example\.org/others"):
        c.get("http://api.example.org/others")


# shortened recordings: pages hold fewer items than were asked for


def shortened(tmp_path, *counts, step=100, **params):
    pages = [
        ({"offset": str(number * step), **params}, {"n": number, "items": [0] * count})
        for number, count in enumerate(counts)
    ]
    return recording(tmp_path, *pages)


def walked(c, begin=0, **params):
    """Which pages a pull sees that goes on after as many items as came, up to an empty page."""
    seen: list[object] = []
    offset = begin
    while len(seen) < 20:
        page = c.get_json(URL, {"offset": offset, **params})
        seen.append(page["n"])
        if not page["items"]:
            break
        offset += len(page["items"])
    return seen


def test_an_offset_between_two_recorded_ones(tmp_path):
    c = client(shortened(tmp_path, 3, 2, 0), "offset")
    answers = [c.get_json(URL, {"offset": offset})["n"] for offset in (0, 1, 3, 99, 100, 101, 199, 200)]
    assert answers == [0, 1, 1, 1, 1, 2, 2, 2]
    for beyond in (201, 1000):
        with pytest.raises(UnrecordedRequest, match=f"offset={beyond}"):
            c.get_json(URL, {"offset": beyond})


def test_offsets_are_those_of_the_provider_s_parameter_only(tmp_path):
    folder = shortened(tmp_path, 3, 2, 0)
    with pytest.raises(UnrecordedRequest):
        client(folder).get_json(URL, {"offset": 3})
    with pytest.raises(UnrecordedRequest):
        client(folder, "skip").get_json(URL, {"offset": 3})
    for unreadable in ("", "x", "-1", "1.5", "9" * 30):
        with pytest.raises(UnrecordedRequest):
            client(folder, "offset").get_json(URL, {"offset": unreadable})


def test_all_other_parameters_have_to_fit(tmp_path):
    c = client(shortened(tmp_path, 3, 2, 0, tag="a"), "offset")
    assert c.get_json(URL, {"offset": 3, "tag": "a"})["n"] == 1
    for other in ({"tag": "b"}, {}):
        with pytest.raises(UnrecordedRequest):
            c.get_json(URL, {"offset": 3, **other})


def test_what_fits_exactly_comes_first(tmp_path):
    c = client(recording(tmp_path, ({"offset": "0"}, 0), ({"offset": "9"}, 9), ({}, "any")), "offset")
    assert [c.get_json(URL, {"offset": offset}) for offset in (0, 9, 3, 10)] == [0, 9, "any", "any"]
    listed = ({"offset": "3"}, "exact"), ({"offset": "100", "tag": "a", "kind": "b"}, "the next")
    c = client(recording(tmp_path / "listed", *listed), "offset")
    assert c.get_json(URL, {"offset": 3, "tag": "a", "kind": "b"}) == "exact"


def test_the_page_that_follows_comes_before_what_fits_less(tmp_path):
    """An answer for all other requests is not one for the next page of a listed one."""
    pages = [({"offset": str(n), "tag": "a"}, n) for n in (0, 100)]
    c = client(recording(tmp_path, *pages, ({}, "any")), "offset")
    assert [c.get_json(URL, {"offset": n, "tag": "a"}) for n in (0, 3, 100, 101)] == [0, 100, 100, "any"]
    assert c.get_json(URL, {"offset": 3, "tag": "b"}) == "any"


@pytest.mark.parametrize(
    "counts", [(3, 2, 0), (1, 1, 1, 0), (100, 100, 0), (100, 1, 100, 0), (0,), (99, 50, 1, 0)]
)
def test_a_whole_walk_sees_each_page_once(tmp_path, counts):
    c = client(shortened(tmp_path, *counts), "offset", "items")
    assert walked(c) == list(range(len(counts)))


def test_a_walk_goes_on_wherever_it_was_left(tmp_path):
    """Another adapter knows nothing of what was asked before."""
    folder = shortened(tmp_path, 3, 2, 4, 0)
    for begin, pages in (
        (0, [0, 1, 2, 3]),
        (3, [1, 2, 3]),
        (5, [2, 3]),
        (9, [3]),
        (100, [1, 2, 3]),
        (200, [2, 3]),
    ):
        assert walked(client(folder, "offset", "items"), begin) == pages


def test_the_end_of_a_recording_is_not_its_beginning(tmp_path):
    c = client(shortened(tmp_path, 3, 2), "offset", "items")
    with pytest.raises(UnrecordedRequest, match="offset=5"):
        walked(c)


def test_an_answer_that_went_wrong_before_a_page(tmp_path):
    """A page with two interactions: it fails once, then it answers."""
    folder = recording(
        tmp_path,
        ({"offset": "0"}, {"n": 0, "items": [0]}),
        ({"offset": "100"}, {"error": "busy"}, 1),
        ({"offset": "100"}, {"n": 1, "items": [0]}),
        ({"offset": "200"}, {"n": 2, "items": []}),
    )
    assert walked(client(folder, "offset", "items")) == [0, 1, 2]


def test_which_parameter_is_an_offset():
    def declared(**attributes):
        return type("Declared", (Provider,), {"name": "declared", **attributes})

    offset = Counted("https://x.example", items="data.list", param="skip", first=0, step=50)

    def init(self):
        self.pages = offset

    assert offsets_of(declared(pages=offset)) == ("skip", "data.list")
    assert offsets_of(declared(__init__=init)) == ("skip", "data.list")
    assert offsets_of(declared(pages=Counted("https://x.example", items=""))) == (None, None)
    tokens = Tokens("https://x.example", items="", param="cursor", following="next")
    assert offsets_of(declared(pages=tokens)) == (None, None)
    assert offsets_of(declared(pages=object())) == (None, None)
    for name in api_names():
        offsets_of(provider_class(name))


# recordings that are none


def broken(folder, change):
    document = orjson.loads((recording(folder, ({}, 1)) / "recording.json").read_bytes())
    change(document)
    (folder / "recording.json").write_bytes(orjson.dumps(document))


BROKEN = {
    "no interactions": (lambda d: d.pop("interactions"), "`interactions`"),
    "no provider": (lambda d: d.pop("provider"), "`provider`"),
    "no request": (lambda d: d["interactions"][0].pop("request"), "`request`"),
    "no url": (lambda d: d["interactions"][0]["request"].pop("url"), "`url`"),
    "no status": (lambda d: d["interactions"][0]["response"].pop("status"), "`status`"),
    "a status that is none": (lambda d: d["interactions"][0]["response"].update(status="ok"), "status"),
    "a list for an object": (lambda d: d["interactions"].append([]), "object"),
    "no such body": (lambda d: d["interactions"][0]["response"].update(body_file="gone.json"), "gone.json"),
}


@pytest.mark.parametrize(("change", "named"), BROKEN.values(), ids=BROKEN)
def test_a_malformed_recording_is_refused(tmp_path, change, named):
    broken(tmp_path, change)
    for use in (ReplayAdapter, lambda folder: find_recording(folder, "example")):
        with pytest.raises(Fatal, match=rf"replay: \S+/recording\.json .*{named}"):
            use(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_what_is_no_recording_at_all(tmp_path, text):
    (tmp_path / "recording.json").write_bytes(text)
    for use in (ReplayAdapter, lambda folder: find_recording(folder, "example")):
        with pytest.raises(Fatal, match=r"recording\.json is not a recording: "):
            use(tmp_path)


def test_a_folder_without_a_recording(tmp_path):
    with pytest.raises(Fatal, match=r"recording\.json is not a recording: .*No such file"):
        ReplayAdapter(tmp_path)


def test_posts_are_told_apart_by_what_the_recording_lists_of_their_body(tmp_path):
    recording(tmp_path, ({}, "old"), ({}, "new"), ({}, "any"))
    document = orjson.loads((tmp_path / "recording.json").read_bytes())
    bodies = [{"query": {"range": {"to": 1}}}, {"query": {"range": {"to": 2}}}, None]
    for interaction, body in zip(document["interactions"], bodies, strict=True):
        interaction["request"] |= {"method": "POST", "json": body}
    (tmp_path / "recording.json").write_bytes(orjson.dumps(document))
    c = client(tmp_path)
    for to, found in ((1, "old"), (2, "new"), (3, "any")):
        assert c.get_json(URL, {"size": 9}, json={"query": {"range": {"from": 0, "to": to}}}) == found
    with pytest.raises(UnrecordedRequest, match="no answer to GET"):
        c.get_json(URL)


def test_a_post_that_no_recorded_body_fits_is_named_with_its_body(tmp_path):
    recording(tmp_path, ({}, "old"))
    document = orjson.loads((tmp_path / "recording.json").read_bytes())
    document["interactions"][0]["request"] |= {"method": "POST", "json": {"q": [1]}}
    (tmp_path / "recording.json").write_bytes(orjson.dumps(document))
    with pytest.raises(UnrecordedRequest, match=r'no answer to POST .* with the body \{"q":\[2\]\}'):
        client(tmp_path).get_json(URL, json={"q": [2]})


def test_a_recorded_post_is_replayed(httpserver, tmp_path):
    httpserver.expect_request("/api", method="POST").respond_with_handler(
        lambda request: Response(orjson.dumps(request.json), content_type="application/json")
    )
    adapter = RecordingAdapter(tmp_path, "example", None, Redactor(), frozenset(), ["localhost"])
    url = httpserver.url_for("/api")
    live = Client(transport=adapter, throttle=NoThrottle(), private_hosts=["localhost"])
    for n in (1, 2):
        assert live.get_json(url, json={"n": n}) == {"n": n}
    again = Client(transport=ReplayAdapter(tmp_path))
    for n in (2, 1):
        assert again.get_json(url, json={"n": n}) == {"n": n}
