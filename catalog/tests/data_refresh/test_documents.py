"""Documents compared with results that were worked out by hand from the rules, not from the code."""

import math
import time
from datetime import UTC, datetime
from uuid import UUID

import pytest

from catalog.data_refresh.search.documents import MediaRow, authority_boost, document, extension
from catalog.data_refresh.search.tag_policy import DEFAULT, TagFilter

WHEN = datetime(2024, 3, 1, tzinfo=UTC)
KEY = UUID("0193f1d4-0000-7000-8000-000000000001")
BASE = MediaRow(
    id=7,
    identifier=KEY,
    created_on=WHEN,
    title="A",
    creator="B",
    provider="smk",
    source="smk",
    category=None,
    license="BY-SA",
    url="https://example.org/a.JPG",
    filetype="jpg",
    standardized_popularity=None,
    meta_data={},
    tags=None,
    mature=False,
    width=640,
    height=479,
)


@pytest.mark.parametrize(
    ("title", "joined"),
    [
        ("Plain words, nothing else.", None),
        ("Water's edge", ["Water's"]),
        ("a geo:lat and snow_ice", ["geo:lat", "snow_ice"]),
        ("__init__ and big__cat _", ["__init__", "big__cat"]),
        ("Water. _ 'Ice' a:b_. c", ["a:b_"]),
        ("mother-in-law", None),
    ],
)
def test_words_that_a_tokenizer_does_not_split(title, joined):
    assert made(title=title).get("sensitive_text") == joined


LONG_TEXTS = {
    "one word": "q",
    "joined words": "ab_",
    "underscores": "_",
    "signs": "a''",
    "marks": "\u0301\u0316",
    "marks of two": "\u0f73",
    "half marks": "\uff9e\u0301",
    "marks with joiners": "\u0301\u034f\u0316\u034f",
    "dotted": "İ",
    "ligatures": "\ufdfa",
    "accents": "é ",
    "denied": "by-n",
    "colons": "a:",
}


@pytest.mark.parametrize("unit", LONG_TEXTS.values(), ids=LONG_TEXTS)
@pytest.mark.parametrize("where", ["title", "tag"])
def test_work_is_linear_in_the_length_of_a_text(unit, where):
    """Work is linear in the length of a text, not quadratic: one record must not stop a refresh."""

    def work(length):
        text = "a" + unit * (length // len(unit))
        changes = {"title": text} if where == "title" else {"tags": [{"name": text}]}
        best = math.inf
        for _ in range(3):
            began = time.thread_time_ns()
            made(**changes)
            best = min(best, time.thread_time_ns() - began)
        return best

    assert work(32_000) < 24 * max(work(4_000), 50_000)


def made(media_type="image", **changes):
    return document(media_type, BASE._replace(**changes), TagFilter(DEFAULT))


def test_a_whole_image():
    assert made(
        category="photograph",
        provider="flickr",
        standardized_popularity=0.5,
        meta_data={"description": "x" * 2001, "views": 3},
        tags=[
            {"name": "cat", "provider": "flickr"},
            {"name": "dog", "accuracy": 0.95, "provider": "clarifai"},
            {"name": "cc0"},
        ],
    ) == {
        "id": 7,
        "identifier": str(KEY),
        "created_on": WHEN,
        "title": "A",
        "creator": "B",
        "url": "https://example.org/a.JPG",
        "provider": "flickr",
        "source": "smk",
        "category": "photograph",
        "license": "by-sa",
        "description": "x" * 2000,
        "mature": False,
        "standardized_popularity": 50.0,
        "authority_boost": 75.0,
        "max_boost": 75.0,
        "min_boost": 50.0,
        "aspect_ratio": "wide",
        "size": "small",
        "extension": "jpg",
        "filetype": "jpg",
        "tags": [{"name": "cat"}, {"name": "dog", "accuracy": 0.95}],
        "sensitive_text": ["cc0", "x" * 401],
    }


def test_what_is_not_shown_of_a_description_begins_with_a_whole_word():
    [text] = made(meta_data={"description": "a" + "heart " * 400})["sensitive_text"]
    assert {*text.split()} == {"heart"}


def test_a_bare_image():
    assert made(title=None, creator=None, url=None, filetype=None, width=None, meta_data=None) == {
        "id": 7,
        "identifier": str(KEY),
        "created_on": WHEN,
        "provider": "smk",
        "source": "smk",
        "license": "by-sa",
        "mature": False,
        "max_boost": 1,
        "min_boost": 1,
        "tags": [],
    }


def test_a_whole_audio():
    assert made(
        "audio",
        duration=30_000,
        filetype="mp3",
        alt_files=[{"filetype": "ogg"}, {"url": "x"}, {"filetype": "flac"}],
        provider="jamendo",
        meta_data={"authority_boost": "12.5", "mature": True},
        standardized_popularity=0.02,
    ) == {
        "id": 7,
        "identifier": str(KEY),
        "created_on": WHEN,
        "title": "A",
        "creator": "B",
        "url": "https://example.org/a.JPG",
        "provider": "jamendo",
        "source": "smk",
        "license": "by-sa",
        "mature": True,
        "standardized_popularity": 2.0,
        "authority_boost": 12.5,
        "max_boost": 12.5,
        "min_boost": 2.0,
        "length": "short",
        "extension": ["ogg", "flac"],
        "filetype": "mp3",
        "tags": [],
    }


@pytest.mark.parametrize(
    ("width", "height", "ratio", "size"),
    [
        (640, 480, "wide", "medium"),
        (639, 480, "wide", "small"),
        (480, 640, "tall", "medium"),
        (1600, 900, "wide", "large"),
        (1599, 900, "wide", "medium"),
        (1200, 1200, "square", "large"),
        (1, 1, "square", "small"),
        (1, 2, "tall", "small"),
        (None, 5, None, None),
        (5, None, None, None),
    ],
)
def test_sizes(width, height, ratio, size):
    found = made(width=width, height=height)
    assert (found.get("aspect_ratio"), found.get("size")) == (ratio, size)


@pytest.mark.parametrize(
    ("duration", "length"),
    [
        (None, None),
        (0, None),
        (1, "shortest"),
        (29_999, "shortest"),
        (30_000, "short"),
        (119_999, "short"),
        (120_000, "medium"),
        (599_999, "medium"),
        (600_000, "long"),
        (9_000_000, "long"),
    ],
)
def test_lengths(duration, length):
    assert made("audio", duration=duration).get("length") == length


@pytest.mark.parametrize(
    ("score", "scaled"),
    [
        (None, None),
        (0, None),
        (-0.1, None),
        (0.001, 0.1),
        (0.5, 50),
        (1, 100),
        (1.7, 100),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_popularity(score, scaled):
    found = made(standardized_popularity=score)
    assert found.get("standardized_popularity") == (None if scaled is None else pytest.approx(scaled))
    assert found["max_boost"] == pytest.approx(max(scaled or 1, 1))


@pytest.mark.parametrize(
    ("provider", "meta", "boost"),
    [
        ("flickr", {}, 75),
        ("stocksnap", {}, 85),
        ("rawpixel", {}, 85),
        ("met", {}, 90),
        ("rijksmuseum", {}, 90),
        ("smk", {}, None),
        (None, {}, None),
        ("flickr", {"authority_boost": 10}, 10),
        ("flickr", {"authority_boost": "abc"}, None),
        ("flickr", {"authority_boost": None}, None),
        ("smk", {"authority_boost": 250}, 100),
        ("smk", {"authority_boost": -3}, None),
        ("smk", {"authority_boost": "99.5"}, 99.5),
        ("smk", {"authority_boost": "nan"}, None),
        ("smk", {"authority_boost": 0}, None),
    ],
)
def test_authority(provider, meta, boost):
    assert authority_boost(provider, meta) == boost


@pytest.mark.parametrize(
    ("url", "ending"),
    [
        ("https://example.org/a.jpg", "jpg"),
        ("https://example.org/a.JPG?size=l.xl", "jpg"),
        ("https://example.org/a", None),
        ("https://example.org/a.tar.gz", "gz"),
        ("https://example.org/a.b/c", None),
        ("https://example.org/a.", None),
        ("https://example.org", None),
        ("", None),
        (None, None),
        ("https://example.org/a.png#x.y", "png"),
        ("https://[bad/a.jpg", None),
    ],
)
def test_extensions(url, ending):
    assert extension(url) == ending


@pytest.mark.parametrize(
    ("meta", "mature_table", "mature"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"mature": True}, False, True),
        ({"mature": False}, False, False),
        ({"mature": "false"}, False, False),
        ({"mature": None}, False, False),
        ("no object", False, False),
    ],
)
def test_maturity(meta, mature_table, mature):
    assert made(meta_data=meta, mature=mature_table)["mature"] is mature


@pytest.mark.parametrize("description", [None, "", 5, ["a"], {"a": 1}])
def test_an_invalid_description_is_left_out(description):
    assert "description" not in made(meta_data={"description": description})


@pytest.mark.parametrize(
    ("files", "ending"),
    [(None, "mp3"), ([], "mp3"), ([{"url": "x"}], "mp3"), ("x", "mp3"), ([{"filetype": "ogg"}], ["ogg"])],
)
def test_audio_endings(files, ending):
    assert made("audio", filetype="mp3", alt_files=files)["extension"] == ending
