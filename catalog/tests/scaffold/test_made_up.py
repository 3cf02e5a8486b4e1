"""Nothing of a real recording is left in a made-up one but what is the same for all APIs."""

import html
import re

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from catalog.scaffold.made_up import EACH, KEPT, MadeUp, is_structural, words

CONTENT = [
    "हिन्दी में एक फोटो",
    "ภาพน้ำตก",
    "שָׁלוֹם",
    "مُحَمَّد",
    "李白",
    "王 小明 摄",
    "cafe\u0301 Ame\u0301lie",
    "🌊🏔",
    "१२३",
    "Jo Li",
    "Dr. No",
    "X",
    "9",
    "image/bob-smith-1984",
    "image/4711",
    "application/vnd.bob",
    "text/johnsmith",
    "a/b",
    "Zero",
    "&johnsmith;",
    "M&uuml;ller",
    "&#1055;&#x440;",
    "</figure>",
    "https://example.com/ü/李?q=Jo",
    "//real.org/x/y",
]


def tokens(text: str) -> list[str]:
    """Return the words and numbers of a text in their order, with the letters that entities stand for."""
    return re.findall(r"[^\W\d_]+|[^\x00-\x7f\s]+|\d+", html.unescape(text).lower())


@pytest.mark.parametrize("text", CONTENT)
@pytest.mark.parametrize("seed", range(3))
def test_no_word_or_number_stays_in_its_place_and_none_but_ascii_is_left(text, seed):
    made = MadeUp([text], seed=seed).text(text)
    assert made.isascii()
    assert not set(tokens(made)) & set(tokens(text)) - {"https", "org", "example", "image", "text"}


@pytest.mark.parametrize(
    "text", "image audio JPEG mp3 image/jpeg image/svg+xml audio/mpeg by-nc-sa CC0 cc-by-4.0".split()
)
def test_what_a_mapping_depends_on_stays(text):
    assert is_structural(text)
    assert MadeUp([text]).text(f" {text} ") == f" {text} "


UNITS = {  # they stay behind a number
    *("bytes", "px", "kbps", "hz", "khz", "s"),
    *(f"{prefix}{unit}" for prefix in ("", "k", "m", "g", "t") for unit in ("b", "ib", "bit")),
}


@given(text=st.text())
@example(text="0HZ")
def test_no_word_of_any_script_survives(text):
    made = MadeUp([text], seed=1).text(text)
    own = {word for word in words(text) if len(word) > 1}  # a letter may be chosen again
    assert is_structural(text.strip()) or not words(made) & own - KEPT - UNITS - {
        *("https", "http", "org", "example", "b", "br", "em", "h", "i", "li", "ol", "p", "a", "u", "ul"),
        *("div", "span", "strong", "sub", "sup", "t", "z"),
    }
    assert all(c.isascii() or not c.isalnum() for c in made)


@given(number=st.integers(-(2**63), 2**64 - 1).filter(bool))
def test_a_number_is_another_one_that_json_can_hold(number):
    made = MadeUp([]).value(number)
    assert made != number
    assert orjson.loads(orjson.dumps(made)) == made


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_stays_finite(number):
    assert MadeUp([]).value(number) * 0 == 0


@pytest.mark.parametrize(
    "index",
    [
        {"John Smith": 9},
        {"bob@example.org": {"n": 1}},
        {"Q42": "x", "Q43": "y"},
        {"李": 1},
        {"real.org": 1},
        {"johnsmith": {"n": 1}, "marydoe": {"n": 2}, "adalovelace": {"n": 3}},
        {"cat": 9, "dog": 3, "heron": 2},
        {"cat": 9, "dog": 3},
        {"johnsmith": 3},
        {"johnsmith": {"n": 1}},
        {"ada": "x", "bob": "y"},
        {"john123": 1},
        {"4711": {"n": 1}},
        {"550e8400-e29b-41d4-a716-446655440000": 1},
        {"a" * 41: 1},
    ],
)
def test_keys_that_are_data_are_made_up(index):
    body = {"results": [{"id": 1}, {"id": 2}], "facets": {"creators": index}}
    pages = [body, body]  # what is beside the items is often the same
    found = MadeUp(pages).value(body)["facets"]["creators"]
    assert len(found) == len(index)
    assert not found.keys() & index.keys()


def test_keys_that_no_two_items_share_are_data():
    items = [{"id": n, "by": {name: n}} for n, name in enumerate(("ada", "bob", "cleo"))]
    found = MadeUp([items]).value(items)
    assert not {key for item in found for key in item["by"]} & {"ada", "bob", "cleo"}
    assert all("id" in item for item in found)


@pytest.mark.parametrize(
    "item",
    [
        {"title": "x", "imageUrl": "y", "url_o": "z", "og:image": "z", "@odata.id": "w"},
        {"_links": {"self": "v"}, "$ref": 1, "#text": 2, "width_2": 3},
        {"Object Number": "x", "größe": 1, "150": "y", "sizes": {"640x480": "z"}},
        {"a.b": 1, "": 2, "thumb": {"w": 1}, "small": {"w": 2}, "full": {"w": 3}},
        {"b64": "x", "h264": {"url": "y"}, "mp3": "z", "url_h264": "w"},
    ],
)
def test_keys_of_fields_stay(item):
    items = [{"id": n, **item} for n in range(3)]
    found = MadeUp([items]).value(items)
    assert [list(one) for one in found] == [list(one) for one in items]


def test_keys_that_a_provider_reads_stay_wherever_they_stand():
    body = {"John Smith": {"12": {"a b": [{"Q1": 1}]}}}
    path = ("John Smith", "12", "a b")
    found = MadeUp([body], read=[path, (*path, EACH, "Q1")]).value(body)
    assert list(found["John Smith"]["12"]["a b"][0]) == ["Q1"]


@given(
    document=st.recursive(
        st.integers(0, 9),
        lambda below: st.dictionaries(st.text(), below) | st.lists(below, max_size=3),
        max_leaves=20,
    )
)
def test_no_key_is_lost(document):
    def sizes(value):
        if isinstance(value, dict):
            return [len(value), [sizes(below) for below in value.values()]]
        return [sizes(below) for below in value] if isinstance(value, list) else []

    assert sizes(MadeUp([document]).value(document)) == sizes(document)


@pytest.mark.parametrize(
    "found",
    [
        {"total": 9, "successful": 9, "failed": 1},
        {"width": 9},
        {"totalPages": 9, "currentPage": 2},
        {"h264": "x", "url": "y"},
        {"categories": 7, "authors": 8},
        {"self": {"href": "x"}, "next": {"href": "y"}},
    ],
)
def test_an_object_that_occurs_once_keeps_keys_that_are_words_of_fields(found):
    body = {"results": [{"id": 1}, {"id": 2}], "beside": found, "more": 1}
    assert list(MadeUp([body]).value(body)["beside"]) == list(found)


def test_values_that_are_to_be_kept_stay():
    items = [{"version": "4.0", "number": "4.0"}] * 2
    found = MadeUp([items], keep=[(EACH, "version")]).value(items)
    assert {item["version"] for item in found} == {"4.0"}
    assert "4.0" not in {item["number"] for item in found}
