"""StockSnap: names that JavaScript escaped, bodies that strict readers refuse, what follows a page."""

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.core.errors import Retry
from catalog.ingestion.records import Image
from catalog.providers.stocksnap.provider import StockSnap, unescaped
from catalog.tests.providers.mapped import record_of
from catalog.tests.providers.site import Pulled, Reply, Site
from catalog.tests.values import present


def photo(n, **over):
    return {"img_id": f"ID{n}", "keywords": ["sun", "café"], "author_name": "Mia", **over}


def stocksnap(*pages):
    """pages: bodies as JSON or bytes; pages behind them are empty."""

    def answer(method, url, params):
        if method == "HEAD":
            return Reply(content_length=10)
        behind = {"results": [], "nextPage": False}
        found = dict(enumerate(pages, 1)).get(int(url.rpartition("/")[2]), behind)
        return Reply(found) if isinstance(found, bytes) else found

    return Site(answer)


def js_escape(text):
    """JavaScript's escape()."""
    units = [
        int.from_bytes(pair) for pair in re.findall(b"(?s)..", text.encode("utf-16-be", "surrogatepass"))
    ]
    plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@*_+-./"
    return "".join(chr(u) if chr(u) in plain else f"%{u:02X}" if u < 256 else f"%u{u:04X}" for u in units)


@given(st.text(max_size=20))
def test_a_name_that_was_escaped_is_read_as_it_was(name):
    told = name + "\u0113"  # without a character beyond Latin-1, it could be either of two ways of escaping
    assert unescaped(js_escape(told)) == told


@given(st.text(st.characters(exclude_characters="%"), max_size=20))
def test_a_name_that_was_not_escaped_stays(name):
    assert unescaped(name) == name


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("JJ%20Sky%u2019s", "JJ Sky\u2019s"),
        ("%uD83D%uDE00", "\U0001f600"),
        ("%ud83d", "\ufffd"),
        ("Ren%E9%20%26%20Ada", "René & Ada"),
        ("50% Grey", "50% Grey"),
        (None, None),
        (5, 5),
    ],
)
def test_names(stored, name):
    assert unescaped(stored) == name


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + orjson.dumps({"results": [photo(1), photo(2)], "nextPage": None}),
        (
            b'{"results": [{"img_id": "ID1", "keywords": ["caf\\ud83d"]}, '
            b'{"img_id": "ID2", "keywords": ["a"]}], "nextPage": 0}'
        ),
        (
            b'{"results": [{"img_id": "ID1", "keywords": ["caf\xe9"]}, '
            b'{"img_id": "ID2", "keywords": ["a"]}], "nextPage": 0}'
        ),
    ],
    ids=["byte order mark", "lone surrogate", "wrong byte"],
)
def test_one_odd_character_costs_no_page(body, tmp_path):
    pulled = Pulled(StockSnap(), stocksnap(body), tmp_path)
    assert pulled.whole
    assert pulled.ids() == ["ID1", "ID2"]


def test_the_author_is_stored_as_they_are_called():
    raw = photo(1, author_name="JJ%20Sky%u2019s", author_profile="https://stocksnap.io/author/1")
    record = record_of(Image, StockSnap().record(raw))
    assert (record.creator, record.creator_url) == ("JJ Sky\u2019s", "https://stocksnap.io/author/1")


def test_an_empty_page_that_names_a_next_one_is_passed_and_reported(tmp_path):
    pages = {"results": [], "nextPage": 2}, {"results": [photo(1)], "nextPage": False}
    pulled = Pulled(StockSnap(), stocksnap(*pages), tmp_path)
    assert "a page in the middle holds 0 items" in present(pulled.error)  # nothing proves that it is empty
    assert pulled.ids() == ["ID1"]


def test_a_page_that_denies_the_next_one(tmp_path):
    """The list has no total: one `nextPage: false` would cut it short."""
    pages = [{"results": [photo(n)], "nextPage": n + 1 if n not in (2, 5) else False} for n in range(1, 6)]
    with pytest.raises(Retry, match="page 2 says that it is the last"):
        Pulled(StockSnap(), stocksnap(*pages), tmp_path)


def test_a_page_that_does_not_say_whether_another_follows_is_an_error(tmp_path):
    with pytest.raises(Retry, match="`nextPage`, which says whether a page follows, is missing"):
        Pulled(StockSnap(), stocksnap({"results": [photo(1)]}), tmp_path)
