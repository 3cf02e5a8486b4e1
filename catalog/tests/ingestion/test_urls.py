"""URLs as they are stored."""

from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from catalog.ingestion.urls import UrlCleaner, without_param
from catalog.tests.values import present


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("https://example.org/a", "https://example.org/a"),
        ("https://example.org/a/", "https://example.org/a"),
        (" https://example.org/a ", "https://example.org/a"),
        ("//commons.wikimedia.org/wiki/User:X", "https://commons.wikimedia.org/wiki/User:X"),
        ("http://live.staticflickr.com/1.jpg", "https://live.staticflickr.com/1.jpg"),
        ("http://unknown.example.org/1.jpg", "http://unknown.example.org/1.jpg"),
        ("example.org/1.jpg", "https://example.org/1.jpg"),
        ("example.org:8080/1.jpg", "https://example.org:8080/1.jpg"),
        ("https://example.org/two words.jpg", "https://example.org/two%20words.jpg"),
        ("http://9.9.9.9/x", "http://9.9.9.9/x"),
        ("https://пример.рф/x", "https://пример.рф/x"),
        ("https://xn--e1afmkfd.xn--p1ai/x", "https://xn--e1afmkfd.xn--p1ai/x"),
        ("https://my_host-.example.org./x", "https://my_host-.example.org./x"),
        ("https://" + "a" * 63 + ".example.org/x", "https://" + "a" * 63 + ".example.org/x"),
    ],
)
def test_kept(given, stored):
    assert UrlCleaner().clean(given, 3000) == stored


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "ftp://example.org/x",
        "javascript:alert(1)",
        "https://localhost/x",
        "https://nosuchtld-zzz/x",
        "https://example.org/\tx",
        'https://example.org/"x',
        "https://example.org/\\x",
        "https://[::1",
        "https:///",
        "data:image/png;base64,AA",
        "https://example.org/\0",
    ],
)
def test_refused(url):
    assert UrlCleaner().clean(url, 3000) is None


@pytest.mark.parametrize(
    "host",
    [
        "a" * 64 + ".example.org",
        "é" * 60 + ".example.org",
        ".".join(["a" * 60] * 4) + ".example.org",
        "a..example.org",
        ".example.org",
        "example.org..",
        "☃.example.org",
        "-é.example.org",
        "exam\u200dple.org",
        "ª.example.org",
        "ex$mple.org",
        "ex%61mple.org",
        "example.org:99999",
        "example.org:port",
    ],
)
def test_a_host_that_no_request_can_be_made_to_is_refused(host):
    assert UrlCleaner().clean(f"https://{host}/x", 3000) is None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.7",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[fe80::1]",
        "127。0。0。1",
        "\uff11\uff12\uff17.0.0.1",
        "user@127.0.0.1",
        "example.org@127.0.0.1",
        "127.0.0.1:8080",
        "localhost",
    ],
)
def test_an_address_that_is_not_reached_from_anywhere_is_refused(host):
    for scheme in ("http://", "https://", "//", ""):
        assert UrlCleaner(lambda _: True).clean(f"{scheme}{host}/x", 3000) is None


@given(
    st.sampled_from(["http://", "https://", "//", ""]),
    st.text(
        st.one_of(st.sampled_from("aAß0é。\uff0e-_%@:[]!$;~1\u200d\u00ad\uff45℀#?"), st.characters()),
        max_size=12,
    ),
    st.sampled_from(
        [".org", ".org.", ".org:80", ".com:99999", "。org", ".рф", ".xn--p1ai", "@x.org", ".org:"]
    ),
    st.text(max_size=6),
)
def test_requests_can_be_made_to_what_is_kept(scheme, host, end, path):
    url = UrlCleaner().clean(f"{scheme}{host}{end}/{path}", 3000)
    if url is not None:
        prepared = urlsplit(present(requests.Request("GET", url).prepare().url))
        assert present(prepared.hostname).encode("idna")
        assert prepared.port is None or prepared.port < 2**16


def test_a_known_host_vouches_for_itself_only():
    cleaner = UrlCleaner()
    assert cleaner.clean("https://example.co/1", 3000)
    assert cleaner.clean("https://example.coz", 3000) is None
    assert cleaner.clean("https://example.coz/1", 3000) is None


def test_too_long_is_refused_not_cut():
    assert UrlCleaner().clean("https://example.org/" + "x" * 3000, 3000) is None
    assert UrlCleaner().clean("https://example.org/" + "x" * 100_000, 3000) is None


def test_slashes_stay_where_the_provider_wants_them():
    assert (
        UrlCleaner(strip_slashes=False).clean("https://wordpress.org/photos/photo/1/", 1000)
        == "https://wordpress.org/photos/photo/1/"
    )


def test_the_probe_is_asked_once_a_host():
    asked = []

    def probe(host):
        asked.append(host)
        return host == "tls.example.org"

    cleaner = UrlCleaner(probe)
    found = [
        cleaner.clean(f"http://{host}.example.org/{n}", 3000) for n in range(3) for host in ("tls", "plain")
    ]
    assert found[:2] == ["https://tls.example.org/0", "http://plain.example.org/0"]
    assert asked == ["tls.example.org", "plain.example.org"]


def test_a_host_that_was_away_is_asked_again():
    """It keeps the scheme that the provider gives meanwhile, and is not asked for each of its URLs."""
    met, asked = 0, []

    def probe(host):
        asked.append(met)
        return True if met > 500 else None

    cleaner = UrlCleaner(probe)
    for met in range(1, 1003):
        scheme = "http" if met < 1000 else "https"
        assert cleaner.clean(f"http://away.example.org/{met}", 3000) == f"{scheme}://away.example.org/{met}"
    assert asked == [1, 10, 100, 1000]
    assert UrlCleaner(lambda _: None).clean("away.example.org/1", 3000) == "https://away.example.org/1"


@pytest.mark.parametrize("error", [UnicodeError, RuntimeError, OSError, KeyError])
def test_a_probe_that_fails_has_not_seen_https(error):
    asked = []

    def probe(host):
        asked.append(host)
        raise error("made up")

    cleaner = UrlCleaner(probe)
    assert [cleaner.clean(f"http://plain.example.org/{n}", 3000) for n in range(2)] == [
        "http://plain.example.org/0",
        "http://plain.example.org/1",
    ]
    assert asked == ["plain.example.org"]


def test_slashes_of_one_url_can_be_kept():
    cleaner = UrlCleaner()
    for _ in range(2):  # the second time, the host is known
        assert cleaner.clean("https://example.org/a/", 3000, strip_slashes=False) == "https://example.org/a/"
        assert cleaner.clean("https://example.org/a/", 3000) == "https://example.org/a"


@given(st.text(max_size=60))
def test_cleaning_is_stable_and_never_raises(text):
    cleaner = UrlCleaner()
    for url in (text, "https://example.org/" + text, "http://" + text):
        stored = cleaner.clean(url, 3000)
        if stored is not None:
            assert cleaner.clean(stored, 3000) == stored == UrlCleaner().clean(stored, 3000)
            assert stored.isprintable()
            assert not set(stored) & set('" \\')


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("https://a.org/?x=1&from=q%7C&y=2", "https://a.org/?x=1&y=2"),
        ("https://a.org/?from=1", "https://a.org/"),
        ("https://a.org/?x=1", "https://a.org/?x=1"),
        ("https://a.org/p", "https://a.org/p"),
        (None, None),
    ],
)
def test_without_param(url, stored):
    assert without_param(url, "from") == stored
