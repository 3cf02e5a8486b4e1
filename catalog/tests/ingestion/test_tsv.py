"""Lines of TSV parts: what a column keeps, what is refused, and that PostgreSQL reads back what was meant."""

import math
import re
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.core.columns import COLUMNS
from catalog.core.licenses import CC0, license_from_url
from catalog.ingestion.fields import array_field
from catalog.ingestion.json_reader import read_json
from catalog.ingestion.records import Audio, AudioFile, AudioSet, Image
from catalog.ingestion.tsv import Encoder, Reject
from catalog.ingestion.urls import UrlCleaner


def image(**fields):
    base = {
        "foreign_identifier": "1",
        "foreign_landing_url": "https://example.org/1",
        "url": "https://example.org/1.jpg",
        "license": CC0,
    }
    return Image(**{**base, **fields})


def encoded(record, media_type="image"):
    encoder = Encoder(media_type, "example", UrlCleaner())
    line = encoder.line(record)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    fields = dict(zip(COLUMNS[media_type], line[:-1].split("\t"), strict=True))
    return {name: value for name, value in fields.items() if value != r"\N"}, dict(encoder.cleaned)


def test_what_a_rejected_record_has_is_not_counted_as_cleaned():
    fields: dict[str, Any] = {
        "foreign_identifier": "1",
        "foreign_landing_url": "https://example.org/1",
        "license": None,
    }
    picture = Image(**fields, url="https://example.org/1.jpg", width="abc", height="99999999999")
    sound = Audio(**fields, url="https://example.org/1.mp3", duration="abc")
    for encoder, record in (
        (Encoder("image", "example", UrlCleaner()), picture),
        (Encoder("audio", "example", UrlCleaner()), sound),
    ):
        with pytest.raises(Reject, match="missing license"):
            encoder.line(record)
        assert not encoder.cleaned


@pytest.mark.parametrize(
    ("fields", "column", "stored", "cleaned"),
    [
        ({"title": ' A "fine"\t\n title '}, "title", "A 'fine' title", {}),
        ({"title": "a\\b"}, "title", r"a\\b", {}),
        ({"title": "x" * 5001}, "title", "x" * 5000, {"title too long": 1}),
        ({"title": "nul\0 back\b unit\x1f\x01"}, "title", "nul back unit", {}),
        ({"title": "half \ud83d"}, "title", "half", {"title with characters that cannot be decoded": 1}),
        ({"tags": ["caf\udce9"]}, "provider", "example", {"tags with characters that cannot be decoded": 1}),
        (
            {"meta_data": {"a": "caf\udce9"}},
            "provider",
            "example",
            {"meta_data with characters that cannot be decoded": 1},
        ),
        ({"title": ""}, "title", None, {}),
        ({"creator": 7}, "creator", "7", {}),
        ({"foreign_identifier": 7}, "foreign_identifier", "7", {}),
        ({"width": "12.9"}, "width", "12", {}),
        ({"width": 2**31}, "width", None, {"width is not a number, or is out of range": 1}),
        ({"width": math.nan}, "width", None, {"width is not a number, or is out of range": 1}),
        ({"width": math.inf}, "width", None, {"width is not a number, or is out of range": 1}),
        ({"width": "wide"}, "width", None, {"width is not a number, or is out of range": 1}),
        ({"filesize": 2147483647}, "filesize", "2147483647", {}),
        ({"creator_url": "nowhere"}, "creator_url", None, {"creator_url is not a URL": 1}),
        ({"thumbnail": "//example.org/t.jpg"}, "thumbnail", "https://example.org/t.jpg", {}),
        ({"url": "https://example.org/a.JPEG?x=1"}, "filetype", "jpg", {}),
        ({"url": "https://example.org/a.tif"}, "filetype", "tiff", {}),
        ({"url": "https://example.org/a"}, "filetype", None, {}),
        ({"filetype": "JPEG"}, "filetype", "jpg", {}),
        ({"category": "photograph"}, "category", "photograph", {}),
        ({"source": "nasa"}, "source", "nasa", {}),
        ({"watermarked": True}, "watermarked", "t", {}),
        ({"source": "commoncrawl"}, "ingestion_type", "commoncrawl", {}),
        ({"tags": []}, "tags", None, {}),
        ({"tags": "one"}, "tags", None, {"tag malformed or over the limit": 1}),
    ],
)
def test_fields(fields, column, stored, cleaned):
    row, counted = encoded(image(**fields))
    assert row.get(column) == stored
    assert counted == cleaned


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"license": None}, "missing license"),
        ({"foreign_identifier": None}, "missing foreign_identifier"),
        ({"foreign_identifier": " \t"}, "missing foreign_identifier"),
        ({"foreign_identifier": "x" * 3001}, "foreign_identifier too long"),
        ({"foreign_identifier": "a\udce9"}, "foreign_identifier with characters that cannot be decoded"),
        ({"foreign_identifier": 17.0}, "foreign_identifier is neither a text nor a whole number of 64 bits"),
        ({"foreign_identifier": True}, "foreign_identifier is neither a text nor a whole number of 64 bits"),
        (
            {"foreign_identifier": read_json(b"12345678901234567890123")},
            "foreign_identifier is neither a text nor a whole number of 64 bits",
        ),
        ({"url": None}, "missing url"),
        ({"url": "https://example.org/" + "x" * 100_000}, "url too long"),
        ({"url": "https://example.org/" + "é" * 1400}, "url too long"),
        ({"url": "mailto:x@example.org"}, "url is not a URL"),
        ({"foreign_landing_url": "https://example.org/" + "x" * 1000}, "foreign_landing_url too long"),
        ({"foreign_landing_url": 'https://example.org/"'}, "foreign_landing_url is not a URL"),
    ],
)
def test_rejected(fields, reason):
    with pytest.raises(Reject, match=f"^{reason}$"):
        encoded(image(**fields))


def test_tags_keep_everything_that_has_a_name():
    """Nothing is dropped for taste here; order stays, doubles go, machine tags keep provider and accuracy."""
    tags = [
        "by",
        "CC0",
        "uploaded:by=x",
        " two  words ",
        "by",
        'q"q',
        "",
        None,
        7,
        {"name": "cat", "provider": "clarifai", "accuracy": 0.9},
        {"name": ""},
    ]
    row, cleaned = encoded(image(tags=tags))
    assert [(t["name"], t["provider"], t.get("accuracy")) for t in orjson.loads(row["tags"])] == [
        ("by", "example", None),
        ("CC0", "example", None),
        ("uploaded:by=x", "example", None),
        ("two words", "example", None),
        ("q'q", "example", None),
        ("cat", "clarifai", 0.9),
    ]
    assert cleaned == {"tag malformed or over the limit": 4}


def test_ten_thousand_tags_are_cut_and_counted():
    row, cleaned = encoded(image(tags=[f"t{n}" for n in range(10_000)]))
    assert len(orjson.loads(row["tags"])) == 2000
    assert cleaned == {"tag malformed or over the limit": 8000}


def test_meta_data_scalars_are_text_and_the_license_is_ours():
    license_ = license_from_url("http://creativecommons.org/licenses/by/4.0/deed.de")
    row, _ = encoded(
        image(
            license=license_,
            meta_data={"n": 1, "yes": True, "none": None, "l": [1.5, {"x": "y\n"}], "license_url": "lie"},
        )
    )
    assert orjson.loads(row["meta_data"]) == {
        "n": "1",
        "yes": "True",
        "none": None,
        "l": ["1.5", {"x": "y"}],
        "license_url": "https://creativecommons.org/licenses/by/4.0/",
        "raw_license_url": "http://creativecommons.org/licenses/by/4.0/deed.de",
    }


def test_audio():
    row, _ = encoded(
        Audio(
            foreign_identifier="1",
            foreign_landing_url="https://example.org/1",
            url="https://example.org/1.mp3",
            license=CC0,
            duration=1500.7,
            bit_rate=2**31,
            genres=["pop", 'a"b', "x" * 81],
            audio_set=AudioSet(title="Set", foreign_identifier=9, creator=None),
            set_position="3",
            alt_files=[AudioFile(url="https://example.org/1.ogg")],
        ),
        "audio",
    )
    assert (row["duration"], row["genres"], row["set_position"], row["audio_set_foreign_identifier"]) == (
        "1500",
        '{"pop","a\'b"}',
        "3",
        "9",
    )
    assert (orjson.loads(row["audio_set"]), orjson.loads(row["alt_files"])) == (
        {"title": "Set", "foreign_identifier": "9", "creator": None},
        [{"url": "https://example.org/1.ogg"}],
    ), "fields that were not given are left out, those that are None are not"
    assert "bit_rate" not in row


# What a provider may send, and what is read back: the cleaning rules in slow words.
MARKUP = {
    "<b>": "",
    "</b>": "",
    "&amp;": "&",
    "&quot;": "'",
    "&#92;": "\\",
    "&lt;br&gt;": "<br>",
    '<i style="display:none">hidden</i>': "",
    "a < b": "a < b",
    "<3 ": "<3 ",
    "AT&T ": "AT&T ",
}


def tidied(text):
    text = "".join(c for c in text.replace('"', "'") if c.isspace() or not (c < " " or c == "\x7f"))
    return " ".join("".join(c for c in text if not 0xD800 <= ord(c) <= 0xDFFF).split())


raw = st.one_of(
    st.text(
        st.one_of(
            st.sampled_from('\t\n\r\\"\b\0\v\x01\x1f\x7f\u2028\u00a0\ud800\udfff N.{},'),
            st.characters(exclude_characters="<&"),
        ),
        max_size=30,
    ),
    st.sampled_from([r"\N", r"\.", "\\", "\\\\n", "a\\", " ", "\ufeff", "x" * 6000, "é" * 2100, "NULL"]),
).map(lambda text: (text, tidied(text)))
marked_up = st.lists(st.sampled_from([*MARKUP, " ", "\n", "é", "\\"]), max_size=8).map(
    lambda pieces: ("".join(pieces), tidied("".join(MARKUP.get(piece, piece) for piece in pieces)))
)
wild = st.one_of(st.just((None, None)), raw, marked_up)


def meant(value, size=10**6):
    """What is read back of a pair of `wild`."""
    return (value[1] or "")[:size].rstrip() or None


metadata = st.dictionaries(st.text(max_size=5), wild, max_size=3)


def given_(values):
    """The first halves of pairs, at any depth of lists and dicts."""
    if isinstance(values, dict):
        return {key: given_(value) for key, value in values.items()}
    return [given_(value) for value in values] if isinstance(values, list) else values[0]


@pytest.mark.database
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.tuples(wild, wild, st.lists(wild, max_size=4), metadata), min_size=1, max_size=12))
def test_postgres_reads_back_what_was_meant(catalog, batch):
    encoder, lines = Encoder("image", "example", UrlCleaner()), []
    for number, (title, creator, tags, meta) in enumerate(batch):
        record = image(
            foreign_identifier=number,
            title=title[0],
            creator=creator[0],
            tags=given_(tags),
            meta_data=given_(meta),
        )
        lines.append(encoder.line(record))
    found = read_back(catalog, "image", lines, "title, creator, tags, meta_data")
    for (title, creator, tags, meta), row in zip(batch, found, strict=True):
        assert row[0] == without_extension_slowly(meant(title, 5000))
        assert row[1] == meant(creator, 2000)
        names = list(dict.fromkeys(n for tag in tags if (n := meant(tag))))
        assert [t["name"] for t in row[2] or []] == names
        for key, value in meta.items():
            alone = sum(tidied(other) == key for other in meta) == 1
            if tidied(key) == key and alone and key not in ("license_url", "raw_license_url"):
                assert (row[3][key] or None) == meant(value)


def without_extension_slowly(title):
    return title and re.sub(r"(?<=\S)\.(?:jpg|mid)$", "", title)


def read_back(catalog, media_type, lines, columns):
    with catalog.transaction(force_rollback=True), catalog.cursor() as cursor:
        names = ", ".join(COLUMNS[media_type])
        cursor.execute(f"create temp table part as select {names} from {media_type} with no data")
        with cursor.copy("copy part from stdin") as copy:
            copy.write("".join(lines).encode())
        return cursor.execute(f"select {columns} from part order by foreign_identifier::int").fetchall()


numbers = st.one_of(
    st.none(),
    st.integers(-(2**31) - 2, 2**31 + 2),
    st.sampled_from([0, 1, -1, 2**31 - 1, 2**31, -(2**31), 2**64]),
    st.floats(),
)


def stored_number(value, least):
    """The column's number, in slow words."""
    if value is None or not math.isfinite(value) or not -(2**31) <= math.floor(value) < 2**31:
        return None
    return math.floor(value) if math.floor(value) >= least else None


@pytest.mark.database
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    genres=st.lists(wild, max_size=6),
    title=wild,
    duration=numbers,
    bit_rate=numbers,
    filesize=numbers,
    files=st.lists(st.tuples(st.sampled_from("abc"), numbers, numbers), max_size=4),
)
def test_postgres_reads_back_what_was_meant_of_audio(
    catalog, genres, title, duration, bit_rate, filesize, files
):
    record = Audio(
        foreign_identifier="1",
        foreign_landing_url="https://example.org/1",
        url="https://example.org/1.mp3",
        license=CC0,
        genres=given_(genres),
        audio_set=AudioSet(title=title[0], foreign_identifier=None),
        duration=duration,
        bit_rate=bit_rate,
        filesize=filesize,
        alt_files=[
            AudioFile(url=f"https://example.org/{name}", filesize=size, duration=length)
            for name, size, length in files
        ],
    )
    line = Encoder("audio", "example", UrlCleaner()).line(record)
    columns = "genres, audio_set, duration, bit_rate, filesize, alt_files"
    [found] = read_back(catalog, "audio", [line], columns)
    names = [name for genre in genres if (name := meant(genre)) and len(name) <= 80]
    assert found[0] == list(dict.fromkeys(names))
    assert (found[1]["title"] or None) == meant(title)
    assert found[2:5] == (stored_number(duration, 0), stored_number(bit_rate, 1), stored_number(filesize, 1))
    last = {name: (stored_number(size, 1), stored_number(length, 0)) for name, size, length in files}
    assert [
        (file["url"], *(number and int(number) for number in (file["filesize"], file["duration"])))
        for file in found[5] or []
    ] == [(f"https://example.org/{name}", *values) for name, values in last.items()]


@pytest.mark.database
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)))
def test_postgres_reads_back_any_array(catalog, names):
    """Whatever cleaning lets through one day."""
    with catalog.transaction(force_rollback=True), catalog.cursor() as cursor:
        cursor.execute("create temp table part (names text[])")
        with cursor.copy("copy part from stdin") as copy:
            copy.write((escape_line_ends(array_field(names)) + "\n").encode())
        assert cursor.execute("select names from part").fetchall() == [(names,)]


def escape_line_ends(field):
    """Tidy text has no tabs and line ends."""
    return field.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
