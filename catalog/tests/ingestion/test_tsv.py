"""Lines of TSV parts: what a column keeps, what is refused, and that PostgreSQL reads back exactly what was meant."""

import math
import re

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.ingestion.licenses import CC0, license_from_url
from catalog.ingestion.records import Audio, Image
from catalog.ingestion.tsv import COLUMNS, Encoder, Reject
from catalog.ingestion.urls import UrlCleaner


def image(**fields):
    given_ = {
        "foreign_identifier": "1", "foreign_landing_url": "https://example.org/1", "url": "https://example.org/1.jpg", "license": CC0,
    }  # fmt: skip
    return Image(**{**given_, **fields})


def encoded(record, media_type="image"):
    encoder = Encoder(media_type, "example", UrlCleaner())
    line = encoder.line(record)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    fields = dict(zip(COLUMNS[media_type], line[:-1].split("\t"), strict=True))
    return {name: value for name, value in fields.items() if value != r"\N"}, dict(encoder.cleaned)


@pytest.mark.parametrize(
    ("fields", "column", "stored", "cleaned"),
    [
        ({"title": ' A "fine"\t\n title '}, "title", "A 'fine' title", {}),
        ({"title": "a\\b"}, "title", r"a\\b", {}),
        ({"title": "x" * 5001}, "title", "x" * 5000, {"title too long": 1}),
        ({"title": "nul\0 back\b"}, "title", "nul back", {}),
        ({"title": "half \ud83d"}, "title", "half", {}),
        ({"title": ""}, "title", None, {}),
        ({"creator": 7}, "creator", "7", {}),
        ({"foreign_identifier": 7}, "foreign_identifier", "7", {}),
        ({"width": "12.9"}, "width", "12", {}),
        ({"width": 2**31}, "width", None, {"width is no number of the column's range": 1}),
        ({"width": math.nan}, "width", None, {"width is no number of the column's range": 1}),
        ({"width": math.inf}, "width", None, {"width is no number of the column's range": 1}),
        ({"width": "wide"}, "width", None, {"width is no number of the column's range": 1}),
        ({"filesize": 2147483647}, "filesize", None, {"filesize is no number of the column's range": 1}),
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
)  # fmt: skip
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
        ("by", "example", None), ("CC0", "example", None), ("uploaded:by=x", "example", None), ("two words", "example", None),
        ("q'q", "example", None), ("cat", "clarifai", 0.9),
    ]  # fmt: skip
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
        "n": "1", "yes": "True", "none": None, "l": ["1.5", {"x": "y"}], "license_url": "https://creativecommons.org/licenses/by/4.0/",
        "raw_license_url": "http://creativecommons.org/licenses/by/4.0/deed.de",
    }  # fmt: skip


def test_audio():
    row, _ = encoded(
        Audio(
            foreign_identifier="1", foreign_landing_url="https://example.org/1", url="https://example.org/1.mp3", license=CC0,
            duration=1500.7, bit_rate=2**31, genres=["pop", 'a"b', "x" * 81], audio_set={"title": "Set", "n": 1}, set_position="3",
            alt_files=[{"url": "https://example.org/1.ogg"}], audio_set_foreign_identifier=9,
        ),
        "audio",
    )  # fmt: skip
    assert (row["duration"], row["genres"], row["set_position"], row["audio_set_foreign_identifier"]) == (
        "1500",
        '{"pop","a\'b"}',
        "3",
        "9",
    )
    assert "bit_rate" not in row


wild = st.one_of(
    st.none(),
    st.text(
        st.one_of(st.sampled_from('\t\n\r\\"\b\0\v\u2028\u00a0\ud800\udfff N.{},'), st.characters()),
        max_size=30,
    ),
    st.sampled_from([r"\N", r"\.", "\\", "\\\\n", "a\\", " ", "\ufeff", "x" * 6000, "é" * 2100]),
)


metadata = st.dictionaries(st.text(max_size=5), wild, max_size=3)


def meant(text, size):
    """The cleaning rule in slow words."""
    text = re.sub(r"[\0\b]", "", text.replace('"', "'"))
    text = "".join(c for c in text if not 0xD800 <= ord(c) <= 0xDFFF)
    return " ".join(text.split())[:size].rstrip() or None


@pytest.mark.database
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.tuples(wild, wild, st.lists(wild, max_size=4), metadata), min_size=1, max_size=12))
def test_postgres_reads_back_what_was_meant(catalog, batch):
    encoder, lines = Encoder("image", "example", UrlCleaner()), []
    for number, (title, creator, tags, meta) in enumerate(batch):
        lines.append(
            encoder.line(
                image(foreign_identifier=number, title=title, creator=creator, tags=tags, meta_data=meta)
            )
        )
    with catalog.transaction(force_rollback=True), catalog.cursor() as cursor:
        cursor.execute(
            f"create temp table part as select {', '.join(COLUMNS['image'])} from image with no data"
        )
        with cursor.copy("copy part from stdin") as copy:
            copy.write("".join(lines).encode())
        cursor.execute("select title, creator, tags, meta_data from part order by foreign_identifier::int")
        for (title, creator, tags, meta), row in zip(batch, cursor.fetchall(), strict=True):
            assert row[0] == (None if title is None else meant(title, 5000))
            assert row[1] == (None if creator is None else meant(creator, 2000))
            names = list(dict.fromkeys(n for t in tags if t is not None and (n := meant(t, 10**6))))
            assert [t["name"] for t in row[2] or []] == names
            for key, value in meta.items():
                if meant(key, 10**6) == key and key not in ("license_url", "raw_license_url"):
                    assert row[3][key] == (None if value is None else meant(value, 10**6) or "")
