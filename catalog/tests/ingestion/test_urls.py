"""URLs as they are stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.ingestion.urls import UrlCleaner, without_param


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
        ("http://192.0.2.7/x", "http://192.0.2.7/x"),
    ],
)
def test_kept(given, stored):
    assert UrlCleaner().clean(given, 3000) == stored


@pytest.mark.parametrize(
    "url",
    [
        None, 7, "", "ftp://example.org/x", "javascript:alert(1)", "https://localhost/x", "https://nosuchtld-zzz/x", "https://example.org/\tx",
        'https://example.org/"x', "https://example.org/\\x", "https://[::1", "https:///", "data:image/png;base64,AA", "https://example.org/\0",
    ],
)  # fmt: skip
def test_refused(url):
    assert UrlCleaner().clean(url, 3000) is None


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
