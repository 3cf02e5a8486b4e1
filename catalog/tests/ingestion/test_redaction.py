"""No text shows a secret, in whatever form a server, a proxy or a library repeats it."""

import base64
import html
import json
import logging
from urllib.parse import quote, quote_plus

import orjson
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter
from werkzeug import Response

from catalog.core.errors import CatalogError, Fatal, Retry
from catalog.core.secrets import Redactor, Secret, is_secret
from catalog.ingestion.client import Client
from catalog.ingestion.credentials import ApiKey, KeyCredentials
from catalog.ingestion.rate import NoThrottle
from catalog.ingestion.recorder import RecordingAdapter
from catalog.ingestion.responses import items_at

KEY = "k3y/w1th+0dd=ch4rs&m0re"

WAYS = {
    "plain": lambda c: c,
    "percent": lambda c: "".join(f"%{byte:02X}" for byte in c.encode()),
    "percent, lower case": lambda c: "".join(f"%{byte:02x}" for byte in c.encode()),
    "percent, twice": lambda c: "".join(f"%25{byte:02X}" for byte in c.encode()),
    "percent, thrice": lambda c: "".join(f"%2525{byte:02x}" for byte in c.encode()),
    "library": lambda c: quote(c, safe=""),
    "JavaScript's escape": lambda c: "".join(f"%u{unit:04x}" for unit in units(c)),
    "backslash": lambda c: "\\" + c if not c.isalnum() else c,
    "JSON": lambda c: "".join(f"\\u{unit:04x}" for unit in units(c)),
    "JSON, upper case": lambda c: "".join(f"\\u{unit:04X}" for unit in units(c)),
    "JSON in JSON": lambda c: "".join(f"\\\\u{unit:04x}" for unit in units(c)),
    "HTML": html.escape,
    "HTML, decimal": lambda c: f"&#{ord(c)};",
    "HTML, padded": lambda c: f"&#{ord(c):05};",
    "HTML, hexadecimal": lambda c: f"&#x{ord(c):x};",
    "HTML, upper case": lambda c: f"&#X{ord(c):X};",
    "HTML in HTML": lambda c: f"&amp;#{ord(c)};",
}


SECRETS = """
    key apikey api_key api-key x-api-key X.Api.Key apiKey APIKey APIkey subscription-key wskey key2 _key $key
    token access_token accessToken oauth_token secret client_secret clientSecret client_id clientId app_id
    password PASSWORD user_password dbpassword sslpassword passwd pwd sig signature X-Amz-Signature auth
    authToken Authorization
""".split()
OTHERS = """
    keyword keywords author authors authority monkey keys tokenize donkey design signed pageToken page_token
    next_token resumptionToken $skiptoken sort_key id client page passage secretary 12 ключ
""".split()


@pytest.mark.parametrize("name", SECRETS)
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["", *OTHERS])
def test_names_that_only_contain_such_words(name):
    assert not is_secret(name)


def units(character):
    data = character.encode("utf-16-be")
    return [int.from_bytes(data[n : n + 2]) for n in range(0, len(data), 2)]


characters = st.one_of(
    st.sampled_from("abcxyzABCXYZ0123456789-_.~+/=!*'();:@$,?#[]% &\"<>"),
    st.characters(categories=("L", "N")),
)
# Ends are letters, because the text before a secret decides where an escape begins.
secrets = st.builds(
    "{}{}{}".format, st.sampled_from("ghijkGHIJK"), st.text(characters, min_size=6), st.just("z")
)


@given(secrets, st.data())
def test_each_character_in_a_way_of_its_own(secret, data):
    written = "".join(WAYS[data.draw(st.sampled_from(sorted(WAYS)))](c) for c in secret)
    text = f'GET https://api.example.org/x?key={written}" (said: <{written}>)'
    assert Redactor([Secret(secret)])(text) == 'GET https://api.example.org/x?key=***" (said: <***>)'


@given(secrets, st.sampled_from(sorted(WAYS)))
def test_all_characters_in_the_same_way(secret, way):
    written = "".join(map(WAYS[way], secret))
    assert Redactor([Secret(secret)])(f"<{written}>") == "<***>"


@given(st.text(min_size=1))
def test_any_secret_as_it_is(secret):
    assert secret not in Redactor([Secret(secret)])(f"before {secret} after").replace("***", "")


@given(secrets)
def test_what_libraries_write(secret):
    redact = Redactor([Secret(secret)])
    for written in (
        quote(secret),
        quote(secret, safe=""),
        quote(quote(secret, safe=""), safe=""),
        quote_plus(secret),
        requests.Request("GET", "http://x/", params={"k": secret}).prepare().path_url.partition("=")[2],
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret))[3:-3],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        orjson.dumps(secret).decode()[1:-1],
        html.escape(secret),
        html.escape(html.escape(secret)),
        html.escape(json.dumps(secret)[1:-1]),
        quote(json.dumps(secret)[1:-1]),
        repr(secret)[1:-1],
    ):
        assert redact(f"<{written}>") == "<***>", written


@given(secrets, st.binary(max_size=9), st.binary(max_size=9), st.booleans())
def test_base64_at_any_alignment(secret, before, after, for_urls):
    """At most the two characters at the ends, which hold a few bits of the secret, are left."""
    encode = base64.urlsafe_b64encode if for_urls else base64.b64encode
    written = encode(before + secret.encode() + after).decode()
    left = Redactor([Secret(secret)])(f"Basic {written}")
    assert "***" in left
    assert len(left) <= len("Basic ***") + 4 * (-(-(len(before) + 2) // 3) + -(-(len(after) + 2) // 3))


def test_a_key_as_the_password_of_a_login():
    header = base64.b64encode(f"user:{KEY}".encode()).decode()
    left = Redactor([Secret(KEY)])(f"Authorization: Basic {header}")
    assert left.startswith("Authorization: Basic dXNlc")
    assert KEY[1:5].encode() not in base64.b64decode(left.rpartition(" ")[2].partition("***")[0] + "==")


@given(st.text())
def test_other_texts_stay_as_they_are(text):
    redact = Redactor([Secret("a secret that nobody would write")])
    assert redact(text) == text
    assert Redactor()(text) == text


def test_a_secret_shows_as_stars_wherever_it_is_printed():
    secret = Secret(KEY)
    shown = [str(secret), repr(secret), f"{secret}", repr({"key": [secret]})]
    assert [text for text in shown if KEY in text or "***" not in text] == []
    assert secret.reveal() == KEY


def test_secrets_that_come_later():
    redact = Redactor([Secret("the first one")])
    redact.add([Secret("the first one, and more"), Secret("")])
    assert redact("the first one, and more; the first one") == "***; ***"


def test_an_excerpt_is_cut_after_the_secrets_are_gone():
    redact = Redactor([Secret(KEY)])
    for before in range(30):
        shown = redact.excerpt(f"{'x' * before}{quote(KEY)}", 25)
        assert "k3" not in shown
        assert len(shown) <= 25
    assert redact.excerpt(b"\xff" + KEY.encode() * 50, 10) == "\ufffd" + "***" * 3


@given(secrets.filter(lambda secret: len(secret) >= 12), st.sampled_from(sorted(WAYS)), st.data())
def test_what_is_left_of_a_secret_that_was_cut_off(secret, way, data):
    """A text that quotes an answer may have been cut before it comes here."""
    written = list(map(WAYS[way], secret))
    left = data.draw(st.integers(9, len(written)))
    assert Redactor([Secret(secret)])(f"<{''.join(written[:left])}") == "<***"


# What a pattern might never come to an end of. Each is 1 MB; a quadratic search would take hours.
LONG = [
    "lorem ipsum dolor sit amet ",
    "100 % of \\ and & ",
    "\\",
    "%",
    "%25",
    "&",
    "&amp;",
    "&#",
    "\\u006b",
    "%u006b",
    "k3y%2f",
    "k3y\\/w1th",
    "azN5L3cxdGgrMGRkPWNoNHJz",
    "k",
]
ODD = ["\\" * 60, "%25" * 20, "&amp;" * 12, "\\u005c" * 10 + "!", "\\a" * 20 + "!", "a" * 40 + "b", KEY]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", LONG)
def test_no_text_and_no_secret_takes_long(piece):
    text = piece * (1_000_000 // len(piece))
    assert "***" in Redactor(map(Secret, [*ODD, "the end"]))(text + "the end")


# where the client writes


def asking(httpserver, **more):
    here = [httpserver.host]
    key = KeyCredentials(ApiKey("K", "api_key", "x"), Secret(KEY), here)
    return Client(credentials=key, throttle=NoThrottle(), sleep=lambda _: None, private_hosts=here, **more)


@pytest.fixture
def client(httpserver):
    return asking(httpserver)


def parts_of_key(text):
    """Parts of the key, of five characters, that a text shows."""
    return [KEY[n : n + 5] for n in range(len(KEY) - 4) if KEY[n : n + 5] in text]


def logged(caplog):
    """What was logged, except by the server of the test."""
    return "\n".join(r.getMessage() for r in caplog.records if r.name != "werkzeug")


@pytest.mark.parametrize("status", [200, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("before", [0, 185, 195, 290])
@pytest.mark.parametrize(
    "write", [str, quote, lambda key: json.dumps({"key": key}).replace("/", "\\/"), html.escape]
)
def test_an_answer_that_repeats_the_key(httpserver, client, caplog, status, before, write):
    """Neither errors nor logs show any part of it, also where they are cut."""
    body = "<" + "x" * before + write(KEY)
    httpserver.expect_request("/api").respond_with_response(Response(body, status=status))
    with caplog.at_level(logging.DEBUG), pytest.raises(CatalogError) as raised:
        client.get_json(httpserver.url_for("/api"))
    assert not parts_of_key(str(raised.value))
    assert not parts_of_key(logged(caplog))
    assert status not in (429, 500) or "attempt 1 of 4: status" in logged(caplog)


@pytest.mark.parametrize("body", [{"error": "x" * 285 + KEY}, {"success": False, "message": KEY}, {KEY: 1}])
def test_an_envelope_that_repeats_the_key(httpserver, client, caplog, body):
    httpserver.expect_request("/api").respond_with_json(body)
    with pytest.raises(Retry) as raised:
        client.get_json(httpserver.url_for("/api"), check=lambda body: items_at(body, "items"))
    assert not parts_of_key(str(raised.value))
    assert not parts_of_key(logged(caplog))


def test_errors_of_the_libraries_do_not_repeat_the_query(httpserver, caplog):
    """The outer ones hold the address with the key; the innermost one says what happened, in one line."""
    client, url = asking(httpserver, retries=0), httpserver.url_for("/api")
    httpserver.stop()
    with caplog.at_level(logging.DEBUG), pytest.raises(Retry) as raised:
        client.get_json(url, {"page": "x" * 300})
    httpserver.start()
    said = str(raised.value)
    assert said.startswith(f"GET {url}: gave up after 1 attempt: NewConnectionError: ")
    assert "refused" in said
    assert len(said) < 300
    assert "k3y" not in said + logged(caplog)


class Failing(BaseAdapter):
    """A transport whose error names the address at the end of a long text."""

    def __init__(self, before):
        super().__init__()
        self.before = before

    def send(self, request, *args, **kwargs):
        raise requests.ConnectionError(f"{'x' * self.before} {request.url}")

    def close(self):
        return


def test_an_error_of_a_library_that_names_the_address_is_redacted_before_it_is_cut(httpserver, caplog):
    for before in range(600, 800, 5):
        client = asking(httpserver, transport=Failing(before), retries=1)
        with caplog.at_level(logging.DEBUG), pytest.raises(Retry) as raised:
            client.get_json(httpserver.url_for("/api"))
        assert "k3y" not in str(raised.value) + logged(caplog)


def test_what_urllib3_logs(httpserver, client, caplog):
    """Requests, and headers that are none: both with the address as it was asked."""
    httpserver.expect_request("/api").respond_with_handler(
        lambda _: Response("[]", headers={"X": "1"}, content_type="application/json")
    )
    with caplog.at_level(logging.DEBUG, "urllib3"):
        client.get_json(httpserver.url_for("/api"), {"page": 1})
    assert "GET /api?***" in logged(caplog)
    assert "k3y" not in logged(caplog)
    caplog.clear()
    address = f"{httpserver.url_for('/api')}?api_key={quote(KEY)}"
    logging.getLogger("urllib3.connection").warning("Failed to parse headers (url=%s): %s", address, "odd")
    assert "/api?***): odd" in logged(caplog)


def test_the_address_itself(httpserver, client, caplog):
    """An address from an answer may hold the key: in errors of any kind, and in the log."""
    httpserver.expect_request("/gone").respond_with_response(Response(status=404))
    httpserver.expect_request("/busy").respond_with_response(Response(status=503))
    httpserver.expect_request("/odd").respond_with_data("[1,]", content_type="application/json")
    for path in ("/gone", "/busy"):
        with pytest.raises(CatalogError) as raised:
            client.get(httpserver.url_for(path) + f"?key={quote(KEY, safe='')}")
        assert "?key=***" in str(raised.value)
    assert client.get_json(httpserver.url_for("/odd") + f"?key={quote(KEY, safe='')}") == [1]
    with pytest.raises(Fatal) as raised:
        client.get(f"http://{'a' * 70}.org/?key={quote(KEY)}")
    assert "?key=***" in str(raised.value)
    assert "/busy?key=***, attempt 1 of 4" in logged(caplog)
    assert "/odd?key=***: the response is not strict JSON" in logged(caplog)
    assert "k3y" not in logged(caplog)


def test_a_recording(httpserver, tmp_path, caplog):
    """A body, a header, an address that repeat the key, each in another form."""
    body = orjson.dumps(
        {"a": KEY, "b": html.escape(KEY), "c": quote(KEY), "d": base64.b64encode(KEY.encode()).decode()}
    )
    httpserver.expect_request("/api").respond_with_response(
        Response(body, headers={"Link": f"<http://x/?k={quote(KEY)}>"}, content_type="application/json")
    )
    here = [httpserver.host]
    adapter = RecordingAdapter(tmp_path, "x", None, Redactor([Secret(KEY)]), frozenset({"api_key"}), here)
    recording = asking(httpserver, transport=adapter)
    with caplog.at_level(logging.DEBUG):
        recording.get_json(httpserver.url_for("/api"), {"again": KEY})
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert written.count("***") == 6
    assert not parts_of_key(written)
    assert "azN5L3cxdGgr" not in written
    assert "k3y" not in written + logged(caplog)
