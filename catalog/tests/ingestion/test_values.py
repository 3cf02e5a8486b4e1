"""One rule for each kind of value, for every provider: numbers, texts, file types, titles, dates, parts."""

import math
from collections import Counter

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.core.columns import COLUMNS
from catalog.core.licenses import CC0
from catalog.core.media import MediaType
from catalog.ingestion import fields, filetypes, tsv
from catalog.ingestion.cleaning import tidy
from catalog.ingestion.fields import meta_field, plain_meta, plain_tags, tags_field
from catalog.ingestion.html import first_link, links, text_of
from catalog.ingestion.records import Audio, AudioFile, Image, audio_files
from catalog.ingestion.tsv import Encoder, Reject, Unwanted
from catalog.ingestion.urls import UrlCleaner
from catalog.ingestion.values import milliseconds, size_in_bytes, tags_of, width_and_height

BASE = {"foreign_identifier": "1", "foreign_landing_url": "https://example.org/1", "license": CC0}
RANGE = "is not a number, or is out of range"


def image(**values):
    return Image(**{**BASE, "url": "https://example.org/1.jpg", **values})


def audio(**values):
    return Audio(**{**BASE, "url": "https://example.org/1.mp3", **values})


def row(record):
    """The fields that are not NULL, as COPY and then JSON reads them, and what was cleaned."""
    media_type: MediaType = "image" if isinstance(record, Image) else "audio"
    encoder = Encoder(media_type, "example", UrlCleaner())
    written = dict(zip(COLUMNS[media_type], encoder.line(record)[:-1].split("\t"), strict=True))
    found = {name: value.replace("\\\\", "\\") for name, value in written.items() if value != r"\N"}
    for name in {"meta_data", "tags", "audio_set", "alt_files"} & found.keys():
        found[name] = orjson.loads(found[name])
    return found, dict(encoder.cleaned)


# Conversions


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (None, None),
        (0, 0),
        (61.5, 61_500),
        ("1.5", 1500),
        ("2", 2000),
        ("5:46", 346_000),
        (" 1:05:46.5 ", 3_946_500),
        ("0:00:00", 0),
        (-1.012, -1012),
        ("1,234.5", 1_234_500),
        ("1,234,567", 1_234_567_000),
    ],
)
def test_a_duration_in_milliseconds(duration, expected):
    assert milliseconds(duration) == expected


@pytest.mark.parametrize(
    "duration", ["", "long", [], math.inf, "1:2:3:4", "5:x", {}, "1,5", "1,234", "1e999"]
)
def test_what_is_no_duration_is_dropped_and_counted_when_it_is_written(duration):
    found, cleaned = row(audio(duration=milliseconds(duration)))
    assert "duration" not in found
    assert cleaned == ({f"duration {RANGE}": 1} if duration != "" else {})


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("27.31849kB", 27_318),
        ("1.5 MB", 1_500_000),
        ("2 GB", 2 * 10**9),
        ("1.5 TB", 15 * 10**11),
        ("10 B", 10),
        ("10 bytes", 10),
        (" 2345678 ", 2_345_678),
        (7, 7),
        (None, None),
        ("2,345,678", 2_345_678),
        ("2.345.678 bytes", 2_345_678),
        ("1 234 567", 1_234_567),
        ("1\u202f234\u202f567 B", 1_234_567),
        ("1'234'567", 1_234_567),
        ("2,345", 2345),
        ("2,345 KB", 2_345_000),
        ("2 345 kB", 2_345_000),
        ("1,234.5 kB", 1_234_500),
        ("1.234,5 kB", 1_234_500),
        ("1,234.5 MB", 1_234_500_000),
        ("1 KiB", 1024),
        ("2.4 MiB", 2_516_582),
        ("1 gib", 1024**3),
        ("1,024 KiB", 1024**2),
    ],
)
def test_a_size_in_bytes(size, expected):
    assert size_in_bytes(size) == expected


@pytest.mark.parametrize(
    "size",
    [
        *("large", "MB", "1.5.2 MB", [], "", "1 iB5", "-5 MB", "1e999 MB", "9" * 400),
        *(
            "1,5",
            "1,5 MB",
            "2,345 MB",
            "2 345 MB",
            "2,345 MiB",
            "1,23,456",
            "1,234.567.890",
            "0,123",
            "12,34 kB",
        ),
        "1,234 567",
    ],
)
def test_what_is_no_size_or_may_be_two_is_returned_as_it_is(size):
    """It is not stored, and is counted; a wrong size would be."""
    assert size_in_bytes(size) == size


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((None,), []),
        (("",), []),
        (("storm, evening,,",), ["storm", "evening"]),
        ((["London, England", "", None], "sky"), ["London, England", "sky"]),
        (([{"name": "a"}],), [{"name": "a"}]),
        ((5, {"a": 1}), [5, {"a": 1}]),  # dropped and counted when the row is written
    ],
)
def test_tags_of_lists_and_strings(values, expected):
    assert tags_of(*values) == expected
    assert tags_of("a;b", separator=";") == ["a", "b"]


def test_the_first_of_several_files_is_the_recording():
    files = [AudioFile(url=f"https://example.org/1.{kind}", filetype=kind) for kind in ("ogg", "flac", "wav")]
    found, _ = row(audio(**audio_files(*files)))
    assert (found["url"], found["filetype"]) == ("https://example.org/1.ogg", "ogg")
    assert [file["filetype"] for file in found["alt_files"]] == ["flac", "wav"]
    assert "alt_files" not in row(audio(**audio_files(files[0])))[0]


# Numbers

POSITIVE = [("image", "width"), ("image", "height"), ("image", "filesize"), ("audio", "filesize")]
POSITIVE += [("audio", "bit_rate"), ("audio", "sample_rate")]
NOT_NEGATIVE = [("audio", "duration"), ("audio", "set_position")]


@pytest.mark.parametrize(("media_type", "column"), POSITIVE + NOT_NEGATIVE)
@pytest.mark.parametrize(
    ("value", "stored", "fault"),
    [
        (1, "1", None),
        ("7", "7", None),
        (2**31 - 1, "2147483647", None),
        (2**31, None, RANGE),
        (-(2**31) - 1, None, RANGE),
        (math.nan, None, RANGE),
        ([], None, RANGE),
        ("", None, None),
        (None, None, None),
    ],
)
def test_numbers_of_every_column(media_type, column, value, stored, fault):
    found, cleaned = row({"image": image, "audio": audio}[media_type](**{column: value}))
    assert found.get(column) == stored
    assert cleaned == ({f"{column} {fault}": 1} if fault else {})


@pytest.mark.parametrize("value", [0, -1, "0", "-3", 0.5, -(2**31)])
@pytest.mark.parametrize(("media_type", "column"), POSITIVE)
def test_nothing_has_a_size_or_a_rate_of_zero(media_type, column, value):
    found, cleaned = row({"image": image, "audio": audio}[media_type](**{column: value}))
    assert column not in found
    assert cleaned == {f"{column} is not positive": 1}


@pytest.mark.parametrize("column", ["duration", "set_position"])
def test_a_length_and_a_position_may_be_zero(column):
    assert row(audio(**{column: 0}))[0][column] == "0"
    for value in (-1, -1.012, -0.001, "-5"):
        found, cleaned = row(audio(**{column: value}))
        assert column not in found
        assert cleaned == {f"{column} is negative": 1}


def test_numbers_of_alternative_files_obey_the_same_rule():
    numbers = {
        "filesize": 0,
        "bit_rate": -1,
        "sample_rate": "x",
        "duration": -1.012,
        "width": 0,
        "height": 2**31,
    }
    found, cleaned = row(audio(alt_files=[{"url": "https://example.org/2.wav", **numbers}]))
    assert found["alt_files"] == [{"url": "https://example.org/2.wav", **dict.fromkeys(numbers)}]
    assert cleaned == {
        "alternative file: filesize is not positive": 1,
        "alternative file: bit_rate is not positive": 1,
        "alternative file: sample_rate is not a number, or is out of range": 1,
        "alternative file: duration is negative": 1,
        "alternative file: width is not positive": 1,
        "alternative file: height is not a number, or is out of range": 1,
    }


# Text out of HTML

HIDDEN = '<span style="display: none;">hidden</span>'


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("plain", "plain"),
        ("<b>H</b>ello", "Hello"),
        ("Ann<br>Bob", "Ann Bob"),
        ("Ann<BR/>Bob", "Ann Bob"),
        ("<p>a</p><p>b</p>", "a b"),
        ("<ul><li>a<li>b</ul>c", "a b c"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</table>", "a b c"),
        ('<a href="x?a=1&amp;b=2">link</a>, text', "link, text"),
        ("10<sup>2</sup>", "102"),
        # entities
        ("AT&T", "AT&T"),
        ("AT&amp;T", "AT&T"),
        ("&amp;lt;b&amp;gt;", "&lt;b&gt;"),
        ("&lt;b&gt;", "<b>"),
        ("&copy 2020 &notit; &;", "&copy 2020 &notit; &;"),
        ("&eacute;&#233;&#xE9;&nbsp;x", "ééé x"),
        ("&#0;&#xD800;&#99999999999;", "\N{REPLACEMENT CHARACTER}" * 2 + "&#99999999999;"),
        # what is not an element of HTML
        ("a < b > c", "a < b > c"),
        ("<3", "<3"),
        ("<unknown>", "<unknown>"),
        ("<Ann@example.org>", "<Ann@example.org>"),
        ("i <b", "i <b"),
        ("1<2 <em>really</em>", "1<2 really"),
        ("<unknown title='<b>'>x</unknown>", "<unknown title=''>x</unknown>"),
        ("<\u017fpan>", "<\u017fpan>"),
        ("<b\u2003c>", "<b\u2003c>".replace("\u2003", " ")),
        # what is not displayed
        (f"Unknown author{HIDDEN}", "Unknown author"),
        (f"<div>{HIDDEN}</div>", None),
        ("a<div hidden>b<div>c</div>d</div>e", "a e"),
        ("a<i HIDDEN>b</i>c", "ac"),
        ('a<i style="visibility:hidden">b</i>c', "ac"),
        ("a<i style=display:none>b</i>c", "ac"),
        ('a<i style="display&#58;none">b</i>c', "ac"),
        ("<div>a<i style='display:none'>b</div>c", "a c"),
        ("<p hidden>a<p>b", "b"),
        ("<p hidden>a<br>b</p>c", "c"),
        ("<tr><td hidden>a<td>b<tr>c", "b c"),
        ("<span hidden/>a", "a"),
        ("<br hidden>a", "a"),
        ("</i></div>a", "a"),
        ('<i class="hidden" title="a hidden gem" aria-hidden="true" data-style="display:none">a</i>', "a"),
        ("a<style>p > b { color: red }</style>b<script>if (a<b) '</i>'</script>c", "abc"),
        ("a<template><p>b</p></template>c<!-- d > -->e<!-->f<!---->g", "acefg"),
        ("a<!-- open <b>b", "a"),
        ("a<style>b", "a"),
        ("<script>'<!--' + '<script>'</script>a", "a"),
        ("<!DOCTYPE html><?xml version='1.0'?><html><body>a</body></html>", "a"),
        ("<![if !supportLists]>a<![endif]><o:p></o:p>", "a"),
        # attributes
        ('<img alt="a > b" src=x>c', "c"),
        ("<p class=o'clock>Ann's</p>", "Ann's"),
        ("", None),
        ("<b></b>", None),
        (7, None),
        (None, None),
    ],
)
def test_text_of_html(markup, text):
    assert text_of(markup) == text


@pytest.mark.parametrize(
    ("markup", "names"),
    [
        ("Ann<br>Bob", "Ann; Bob"),
        ("<ul><li>Ann</li><li>Bob</li></ul>", "Ann; Bob"),
        ("<div>Ann,</div> <p>Bob;</p>", "Ann; Bob"),
        ("<b>Ann</b> and <i>Bob</i>", "Ann and Bob"),
        ("Ann &amp; Bob", "Ann & Bob"),
        ("Ann <3, Bob;", "Ann <3, Bob;"),
    ],
)
def test_creators_are_separated_by_semicolons(markup, names):
    assert row(image(creator=markup))[0]["creator"] == names
    assert row(audio(audio_set={"creator": markup}))[0]["audio_set"] == {"creator": names}


SEGMENTS = {  # what it is in HTML → what is read
    "word": "word",
    " ": " ",
    "\n": " ",
    "<b>": "",
    "</b>": "",
    "</i>": "",
    "<br>": " ",
    "<p>": " ",
    "</div>": " ",
    "<li>": " ",
    "&amp;": "&",
    "&lt;b&gt;": "<b>",
    "&nbsp;": " ",
    "a < b": "a < b",
    "<3 ": "<3 ",
    "<unknown>": "<unknown>",
    "AT&T ": "AT&T ",
    HIDDEN: "",
    "<i hidden><b>x</i>": "",
    "<style>b {}</style>": "",
    "<!-- <p> -->": "",
    "\ud800": "\ud800",
    "\0": "\0",
    "é'\\": "é'\\",
}


@given(st.lists(st.sampled_from(sorted(SEGMENTS)), max_size=25))
def test_pieces_of_html_are_read_in_any_order(pieces):
    read = " ".join("".join(SEGMENTS[piece] for piece in pieces).split())
    found = text_of("".join(pieces))
    assert " ".join((found or "").split()) == read


@settings(max_examples=300)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                "< > </ /> <b <i> </b> <!-- --> & ; &# &#x \" ' = style hidden <style> </style".split()
            ),
            st.text(max_size=3),
            st.characters(categories=["Cs", "Cc"]),
        ),
        max_size=30,
    ).map("".join)
)
def test_no_text_is_too_wild(text):
    text_of(text)
    links(text)
    encoder = Encoder("image", "example", UrlCleaner())
    line = encoder.line(image(title=text, creator=text, tags=[text], meta_data={"text": [text]}))
    assert line.encode().count(b"\n") == 1


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "&",
        "&amp",
        "<b>",
        "</b>",
        "<b '\"",
        "<b \" ='",
        "<!--",
        "<!doctype ",
        "<style>",
        "<div hidden>",
        "<x '\"'\">",
        "<p>",
    ],
)
def test_a_megabyte_is_read_in_proportional_time(unit):
    """Each of these took hours if any step were quadratic; the suite's time-out would end it."""
    text = unit * (1_000_000 // len(unit))
    text_of(text)
    text_of("<b>" * 100_000 + text[:500_000] + "</i>" * 100_000)
    links(text)


@pytest.mark.parametrize(
    ("markup", "found"),
    [
        (
            '<a href="https://a.org/?x=1&amp;y=2">a</a> <A HREF=//b.org>b</A>',
            ["https://a.org/?x=1&y=2", "//b.org"],
        ),
        ("<a>a</a><a href=''>b</a><!-- <a href='https://c.org'> -->", []),
        ("<a title='href=x' data-href='https://c.org' href='https://d.org'>", ["https://d.org"]),
        ("https://a.org", []),
        (None, []),
    ],
)
def test_links(markup, found):
    assert links(markup) == found
    assert first_link(markup) == (found[0] if found else None)


def test_the_rule_holds_for_every_text_of_a_record():
    found, _ = row(
        audio(
            title="<i>A</i> &amp; B",
            creator="Ann<br>Bob",
            tags=["<b>x</b>", {"name": "y &lt; z", "provider": "clarifai"}, "<br>"],
            genres=["Drum &amp; Bass", "Drum & Bass", HIDDEN],
            audio_set={"title": "<i>Set</i>", "creator": "Ann<br>Bob", "foreign_identifier": "a&amp;b"},
            meta_data={
                "description": f"<p>a</p><p>b{HIDDEN}</p>",
                "nested": {"list": ["<b>c</b>", {"d": "e &amp; f"}]},
                "description_html": "<p>a</p>",
                "page_url": "https://example.org/?a=1&copy;=2",
                "download": "https://example.org/?a=1&copy;=2",
                "links": {"by_url": ["a &amp; b"]},
                "only": HIDDEN,
                "empty": "",
            },
        )
    )
    assert found["title"] == "A & B"
    assert found["creator"] == "Ann; Bob"
    assert [tag["name"] for tag in found["tags"]] == ["x", "y < z"]
    assert found["genres"] == '{"Drum & Bass"}'
    assert found["audio_set"] == {"title": "Set", "creator": "Ann; Bob", "foreign_identifier": "a&amp;b"}
    meta = {key: value for key, value in found["meta_data"].items() if "license" not in key}
    assert meta == {
        "description": "a b",
        "nested": {"list": ["c", {"d": "e & f"}]},
        "description_html": "<p>a</p>",
        "page_url": "https://example.org/?a=1&copy;=2",
        "download": "https://example.org/?a=1&copy;=2",
        "links": {"by_url": ["a &amp; b"]},
        "only": None,
        "empty": "",
    }


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("".join(map(chr, range(0x09))), ""),
        ("rock\x01\x0e\x1b\x7fx", "rockx"),
        ("a\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028b", "a b"),
    ],
)
def test_control_characters(text, kept):
    assert tidy(text) == kept


# File types and media


@pytest.mark.parametrize(
    ("media_type", "given", "url", "stored"),
    [
        ("image", "jpg", "1", "jpg"),
        ("image", ".JPEG ", "1", "jpg"),
        ("image", "image/jpeg", "1", "jpg"),
        ("image", "jpeg;charset=utf-8", "1", "jpg"),
        ("image", "IMAGE/JPEG; charset=utf-8", "1", "jpg"),
        ("image", "image/svg+xml", "1", "svg"),
        ("image", "svg+xml", "1", "svg"),
        ("image", "image/vnd.microsoft.icon", "1", "ico"),
        ("image", "x-icon", "1", "ico"),
        ("image", "image/x-ms-bmp", "1", "bmp"),
        ("image", "image/jp2", "1", "jp2"),
        ("image", "image/x-something-long", "1.png", "png"),
        ("image", "image/*", "1.png", "png"),
        ("image", "image", "1.png", "png"),
        ("image", None, "1.TIF?size=2", "tiff"),
        ("image", None, "show.php?file=1.png", "png"),
        ("image", None, "1.png?name=2.jpg", "png"),
        ("image", None, "1", None),
        ("image", "mp3", "1.jpg", "jpg"),
        ("image", "mp3", "1", None),
        ("image", "pdf", "1", None),
        ("image", "application/octet-stream", "1.jpg", "jpg"),
        ("image", ["jpg"], "1.gif", "gif"),
        ("audio", "mp32", "1", "mp32"),
        ("audio", "mp32", "1.mp3", "mp32"),
        ("audio", "audio/mpeg", "1", "mp3"),
        ("audio", "mpeg", "1", "mp3"),
        ("audio", "audio/x-wav", "1", "wav"),
        ("audio", "audio/vnd.wave", "1", "wav"),
        ("audio", "audio/ogg; codecs=opus", "1", "ogg"),
        ("audio", "audio/x-m4a", "1", "m4a"),
        ("audio", "jpg", "1.flac", "flac"),
        ("audio", "jpg", "1", None),
        ("audio", None, "1.webm", "webm"),
        ("audio", None, "1.mp4", "mp4"),
        ("audio", "application/ogg", "1.ogg", "ogg"),
    ],
)
def test_file_types(media_type, given, url, stored):
    record = {"image": image, "audio": audio}[media_type](filetype=given, url=f"https://example.org/{url}")
    assert row(record)[0].get("filetype") == stored


@pytest.mark.parametrize(
    ("media_type", "given", "url"),
    [
        ("image", None, f"1.{e}")
        for e in "ogv OGV pdf webm mpg stl djvu mp3 mp4 html ogg?x=1 zip 3gp mov".split()
    ]
    + [("audio", None, f"1.{e}") for e in "jpg JPEG svg pdf ogv mpg html zip".split()]
    + [
        ("image", "application/pdf", "1.jpg"),
        ("image", "text/html; charset=utf-8", "viewer?id=1"),
        ("image", "video/ogg", "1"),
        ("image", "audio/mpeg", "1.jpg"),
        ("image", "image/vnd.djvu", "1"),
        ("image", "application/ogg", "1"),
        ("image", "application/json", "1.jpg"),
        ("image", "jpg", "1.pdf"),
        ("image", None, "1.pdf?name=2.jpg"),
        ("image", None, "1.pdf#2.jpg"),
        ("audio", "image/png", "1.mp3"),
        ("audio", "video/mp4", "1.mp4"),
        ("audio", "application/zip", "1"),
    ],
)
def test_a_file_of_another_medium_is_not_wanted(media_type, given, url):
    """On both paths; and nothing is counted as cleaned for a record that is not written."""
    make = {"image": image, "audio": audio}[media_type]
    encoder = Encoder(media_type, "example", UrlCleaner())
    for number in range(2):  # the second time, the hosts are known
        with pytest.raises(Unwanted, match=r"^file of another medium$"):
            encoder.line(
                make(filetype=given, url=f"https://example.org/{url}", title="x" * 6000 * (1 - number))
            )
        encoder.line(make())
    assert not encoder.cleaned


@pytest.mark.parametrize(
    ("media_type", "given", "url"),
    [
        ("image", "image/jpeg", "1.pdf"),
        ("image", None, "viewer.php?id=1"),
        ("image", None, "v1.2/photo"),
        ("image", None, "1.unknown"),
        ("image", None, "show?file=1.mp3"),
        ("audio", "audio/mpeg", "1.jpg"),
        ("audio", None, "1.3gp"),
    ],
)
def test_what_says_nothing_is_accepted(media_type, given, url):
    row({"image": image, "audio": audio}[media_type](filetype=given, url=f"https://example.org/{url}"))


def test_a_domain_is_no_extension():
    assert filetypes.extension_of("https://example.zip") == ""
    assert filetypes.extension_of("https://example.zip/a") == ""
    assert filetypes.extension_of("https://example.org/a.B?c.d#e.f") == "b"


# Titles


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("Map of X.svg", "Map of X"),
        ("Song.mp3", "Song"),
        ("IMG_1.JPG", "IMG_1"),
        ("Song.ogv", "Song"),
        ("Clip.mpeg", "Clip"),
        ("a.jpg.TIFF", "a"),
        ("<i>Map</i>.png", "Map"),
        ("A.b", "A.b"),
        ("No. 5", "No. 5"),
        ("end.", "end."),
        (".jpg", ".jpg"),
        ("what is .mp3", "what is .mp3"),
        ("jpg", "jpg"),
        ("a.jpgs", "a.jpgs"),
    ],
)
def test_titles_lose_the_extension_of_a_file(given, stored):
    assert row(image(title=given))[0]["title"] == stored
    assert row(audio(title=given))[0]["title"] == stored


# Dates that nobody knows


@pytest.mark.parametrize(
    "date",
    ["0000-00-00 00:00:00", "0000-00-00", " 0000-00-00T00:00:00Z", "0000:00:00 00:00:00", "0000-00-00 00:00"],
)
def test_dates_of_zeros_are_left_out(date):
    found, cleaned = row(
        image(meta_data={"taken": date, "all": [date, "1999"], "title": f"since {date}", "n": 1})
    )
    assert "taken" not in found["meta_data"]
    assert found["meta_data"]["all"] == ["1999"]
    assert found["meta_data"]["title"] == f"since {date}".replace("  ", " ")
    assert cleaned == {"meta_data holds a date of zeros": 2}
    found, cleaned = row(image(meta_data={"taken": date}))  # nothing is left but the license
    assert sorted(found["meta_data"]) == ["license_url", "raw_license_url"]


@pytest.mark.parametrize("date", ["0000", "0000-00-01", "00000-00-00", "0000-00-00 12:00:00"])
def test_other_dates_stay(date):
    assert row(image(meta_data={"taken": date}))[0]["meta_data"]["taken"] == date


def test_metadata_nested_without_end_is_cut():
    nested: list[object] = []
    for _ in range(5_000):
        nested = [nested]
    found, cleaned = row(image(meta_data={"a": nested, "b": "kept"}))
    assert found["meta_data"]["b"] == "kept"
    assert cleaned == {"meta_data is nested too deeply": 1}


# Parts of audio


def test_an_alternative_file_is_there_once_by_its_url():
    found, cleaned = row(
        audio(
            alt_files=[
                {"url": "http://ccmixter.org/a.wav", "filesize": 1, "filetype": "audio/x-wav"},
                {"url": "https://example.org/b/", "filetype": None, "note": "&amp;"},
                {"filesize": 1},
                {"url": "not a url"},
                "https://example.org/c.wav",
                {"url": "https://ccmixter.org/a.wav", "filesize": 2, "filetype": "audio/x-wav"},
            ]
        )
    )
    assert found["alt_files"] == [
        {"url": "https://ccmixter.org/a.wav", "filesize": "2", "filetype": "wav"},
        {"url": "https://example.org/b/", "filetype": None, "note": "&amp;"},
    ]
    assert cleaned == {"alternative file without a URL": 3}


@pytest.mark.parametrize("files", [None, [], [{}], "x", {"filesize": 1}])
def test_without_a_url_there_is_no_alternative_file(files):
    assert "alt_files" not in row(audio(alt_files=files))[0]


def test_urls_of_an_audio_set_are_urls():
    found, cleaned = row(
        audio(
            audio_set={
                "title": "Set",
                "foreign_landing_url": "http://freesound.org/packs/1/",
                "creator_url": "https://127.0.0.1/",
                "thumbnail": None,
            }
        )
    )
    assert found["audio_set"] == {
        "title": "Set",
        "foreign_landing_url": "https://freesound.org/packs/1/",
        "creator_url": None,
        "thumbnail": None,
    }
    assert cleaned == {"audio_set creator_url is not a URL": 1}
    assert row(audio(audio_set=["Set"]))[1] == {"audio_set is not an object": 1}


def test_genres():
    found, cleaned = row(audio(genres=["a\\b", 'q"q', "rock\x01x", "NULL", "{a,b}", "x" * 81, {}, None, 7]))
    assert found["genres"] == r'{"a\\b","q' + "'" + r'q","rockx","NULL","{a,b}","7"}'
    assert cleaned == {"genre malformed or too long": 2}
    assert row(audio(genres="pop"))[0]["genres"] == '{"pop"}'


@pytest.mark.parametrize("accuracy", [math.nan, math.inf, 10**400, -1, "high", "nan", True, None])
def test_an_accuracy_is_a_number(accuracy):
    found, _ = row(image(tags=[{"name": "cat", "provider": "clarifai", "accuracy": accuracy}]))
    assert found["tags"] == [{"name": "cat", "provider": "clarifai"}]


def test_an_accuracy_may_be_the_text_of_a_number():
    found, _ = row(image(tags=[{"name": "cat", "provider": "clarifai", "accuracy": "0.9"}]))
    assert found["tags"] == [{"name": "cat", "provider": "clarifai", "accuracy": 0.9}]


# What is not text


@pytest.mark.parametrize("value", [[], {}, ["a"], {"en": "a"}])
def test_lists_and_objects_are_no_text(value):
    found, cleaned = row(image(title=value, creator=value))
    assert not found.keys() & {"title", "creator"}
    assert cleaned == {"title is not text": 1, "creator is not text": 1}
    with pytest.raises(Reject, match=r"^foreign_identifier is not text$"):
        row(image(foreign_identifier=value))


# The fast path and the slow one


class Slow(Encoder):
    """Cleans every record value by value."""

    _texts_and_urls = Encoder._clean_each


texts = st.one_of(
    st.none(),
    st.lists(
        st.sampled_from(
            [*SEGMENTS, ".jpg", ".Mp3", ".", " ", '"', "\x7f", "\x01", "\u00a0", "|", ",", "0000-00-00"]
        ),
        max_size=4,
    ).map("".join),
    st.text(max_size=6),
)
addresses = st.sampled_from(
    [
        f"https://{host}/{path}"
        for host in ("example.org", "www.example.com")
        for path in ("", "1", "1.jpg", "a/", "1.pdf#a.jpg", "1?a.png")
    ]
    + [
        "https://example.org",
        "http://example.org/1",
        "https://example.org/a b",
        "https://example.com",
        "nowhere",
        None,
    ]
)


@settings(max_examples=500)
@given(
    records=st.lists(
        st.builds(
            image,
            foreign_identifier=texts,
            foreign_landing_url=addresses,
            url=addresses,
            creator_url=addresses,
            creator=texts,
            title=texts,
            tags=st.lists(texts, max_size=4),
            meta_data=st.dictionaries(
                st.one_of(st.sampled_from(["license_url", "a_url", "b_html", "c"]), st.text(max_size=3)),
                st.one_of(texts, st.integers(), st.booleans(), st.floats()),
                max_size=4,
            ),
            width=st.one_of(st.integers(-(2**31) - 2, 2**31 + 2), texts),
        ),
        max_size=4,
    ),
    strip=st.booleans(),
)
def test_the_fast_path_writes_what_the_slow_one_writes(records, strip):
    fast = Encoder("image", "example", UrlCleaner(strip_slashes=strip))
    slow = Slow("image", "example", UrlCleaner(strip_slashes=strip))
    with pytest.MonkeyPatch.context() as patch:
        for record in [image(url="https://www.example.com/1.jpg"), *records, *records]:
            expected = written(slow, record, patch)
            assert written(fast, record, None) == expected
    assert fast.cleaned == slow.cleaned


@pytest.mark.parametrize(
    "odd",
    [
        {column: text}
        for column in ("title", "creator")
        for text in ("a &amp; b", "a &lt;b> c", "<b>a</b>", "a\x7f")
    ]
    + [{"title": "a.jpg"}, {"foreign_identifier": "a\x7f"}, {"tags": ["a &amp; b"]}, {"tags": ["a\x7f"]}]
    + [{column: "https://example.coz"} for column in ("foreign_landing_url", "url", "creator_url")],
)
def test_what_looks_ordinary_is_cleaned_when_hosts_are_known(odd):
    first, second = Encoder("image", "example", UrlCleaner()), Encoder("image", "example", UrlCleaner())
    for url in ("https://example.org/1", "https://example.co/1"):
        second.line(image(url=url))
    assert written(first, image(**odd), None) == written(second, image(**odd), None)


def written(encoder, record, patch):
    """The line, or why there is none. patch: closes the fast paths meanwhile."""
    if patch:
        patch.setattr(tsv, "plain_meta", lambda *_: None)
        patch.setattr(tsv, "plain_tags", lambda *_: None)
    try:
        return encoder.line(record)
    except (Reject, Unwanted) as reason:
        return type(reason), str(reason)
    finally:
        if patch:
            patch.undo()


small = st.lists(
    st.sampled_from([*"ab ,|;&<>\\", '"', "&amp;", "<b>", "<3", "\x7f", "\u00a0", "0000-00-00", "é"]),
    max_size=4,
).map("".join)


@settings(max_examples=1000)
@given(st.lists(small, max_size=4))
def test_the_fast_path_of_tags(names):
    fast = plain_tags(names, "example")
    assert fast is None or fast == tags_field(names, "example", Counter())


@settings(max_examples=1000)
@given(
    st.dictionaries(st.one_of(small, st.sampled_from(["license_url", "a_url", "b_html"])), small, max_size=3)
)
def test_the_fast_path_of_metadata(meta):
    fast = plain_meta(meta)
    assert fast is None or fast == meta_field(meta, Counter())


def test_ordinary_records_take_the_fast_path(monkeypatch):
    """Otherwise the test above compares the slow path with itself."""
    ordinary = image(
        title="A title No. 5.jpg",
        creator="Ann",
        creator_url="https://example.org/ann",
        tags=["a", "b c"],
        meta_data={"views": 5, "text": "words"},
        width=5,
    )
    encoder = Encoder("image", "example", UrlCleaner())
    first = encoder.line(ordinary)
    monkeypatch.setattr(Encoder, "_clean_each", None)
    monkeypatch.setattr(tsv, "tags_field", None)
    monkeypatch.setattr(tsv, "meta_field", None)
    monkeypatch.setattr(tsv, "number_for", None)
    monkeypatch.setattr(tsv, "kind_of", None)
    assert encoder.line(ordinary) == first


def test_no_extension_is_longer_than_the_fast_path_expects():
    assert max(map(len, filetypes._IN_TITLES)) + 1 == filetypes.LONGEST_EXTENSION
    assert fields.MAX_DEPTH < 1000  # Python's own limit


@pytest.mark.parametrize(
    "text",
    [
        *("4000 x 3000", "4000x3000px", "4000*3000 pixels", "4000 \u00d7 3000", " 4000 X 3000 "),
        *("4,000 x 3,000 px", "4,000x3000 pixels"),
    ],
)
def test_a_size_in_pixels(text):
    assert width_and_height(text) == (4000, 3000)


@pytest.mark.parametrize(
    "text",
    ["30 x 40 cm", "large", "4000 x 3000 x 10", [4000, 3000], "4,000 x 3,000", "1,5 x 2 px", "4,0 x 3000 px"],
)
def test_what_is_no_size_in_pixels_stays(text):
    assert width_and_height(text) == (text, text)


@pytest.mark.parametrize("value", [None, "", "4000", " 4000.5", 4000, 40.5])
def test_a_single_number_is_neither_width_nor_height(value):
    assert width_and_height(value) == (None, None)
