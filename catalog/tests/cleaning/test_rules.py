"""Rules of cleaning write what ingestion writes, and their conditions miss no row that they change."""

import json
import uuid
from contextlib import suppress

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from catalog.cleaning.job import CleaningJob
from catalog.cleaning.licenses import NO_LICENSE
from catalog.cleaning.meta_data import SAME_KEYS, object_of
from catalog.cleaning.rule import UNSTORABLE
from catalog.cleaning.rules import RULES
from catalog.cleaning.survey import survey
from catalog.cleaning.tags import NO_ACCURACY
from catalog.core.columns import COLUMNS
from catalog.core.licenses import license_from_pair
from catalog.ingestion.records import Image
from catalog.ingestion.tsv import Encoder, Reject
from catalog.ingestion.urls import UrlCleaner

pytestmark = pytest.mark.database
LICENSE_URL = "https://creativecommons.org/licenses/by/4.0/"
ROW = {
    "provider": "flickr",
    "source": "flickr",
    "license": "by",
    "license_version": "4.0",
    "meta_data": {"license_url": LICENSE_URL},
    "removed_from_source": False,
    "ingestion_type": "provider_api",
    "watermarked": False,
}


def insert(connection, media="image", rows=()):
    """Insert rows as another program may have written them; return their identifiers."""
    identifiers = []
    for row in rows:
        key = uuid.uuid4()
        full = {
            "foreign_identifier": key.hex,
            "foreign_landing_url": f"https://example.org/{key.hex}",
            "url": f"https://example.org/{key.hex}.jpg",
            **ROW,
            **row,
            "identifier": str(key),
        }
        columns = ", ".join(full)
        values = [
            json.dumps(v) if k in ("meta_data", "tags") and v is not None else v for k, v in full.items()
        ]
        connection.execute(
            f"insert into {media} (created_on, updated_on, {columns})"
            f" values ('2020-01-01', '2020-01-01', {', '.join(['%s'] * len(values))})",
            values,
        )
        identifiers.append(key)
    return identifiers


def clean(dsn, rule, media="image", **options):
    """Clean a table by a rule; return the progress."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        job = CleaningJob(connection, uuid.uuid4().hex, RULES[rule], media, pause=0.01, **options)
        progress = job.run(job.claim(replace=True) or job.select())
        job.finish()
    return progress


def stored(connection, media, key):
    columns = [*COLUMNS[media], "updated_on"]
    row = connection.execute(
        f"select {', '.join(columns)} from {media} where identifier = %s", [key]
    ).fetchone()
    return dict(zip(columns, row, strict=True))


@pytest.mark.parametrize(
    ("rule", "raw", "expected"),
    [
        ("texts", {"title": " A &amp; <b>B</b>\n.jpg"}, {"title": "A & B .jpg"}),
        ("texts", {"title": "B.JPG", "creator": "Ann<br>Bob"}, {"title": "B", "creator": "Ann; Bob"}),
        ("texts", {"title": "  ", "creator": ""}, {"title": None, "creator": None}),
        ("texts", {"title": "a &amp;amp; b"}, {}),
        ("texts", {"title": "a\u3000b\u00a0", "creator": 'A "B"'}, {"title": "a b", "creator": "A 'B'"}),
        ("escapes", {"title": r"caf\u00e9 \\u00e0 \ud83d\ude00"}, {"title": "café à 😀"}),
        ("escapes", {"title": "cafu00e9", "creator": "eu2014"}, {"title": "café"}),
        ("escapes", {"title": "mu0142ody"}, {}),
        ("escapes", {"title": "Cafu00e9 menu2014", "creator": "Andru00e9"}, {"creator": "André"}),
        ("escapes", {"title": "su00e9rie rubbed"}, {"title": "série rubbed"}),
        ("escapes", {"title": r"\u003cb\u003eA\u003c/b\u003e \u0026amp; B"}, {"title": "A & B"}),
        ("escapes", {"title": r"\u0026amp;amp;"}, {}),
        ("escapes", {"title": r"\ud83d alone"}, {}),
        ("escapes", {"title": r"\u005cu00e9"}, {}),
        (
            "escapes",
            {"tags": [{"name": r"caf\u00e9", "provider": "p"}, {"name": "café", "provider": "p"}]},
            {"tags": [{"name": "café", "provider": "p"}]},
        ),
        (
            "tags",
            {"tags": [" a ", {"name": "a"}, {"name": "b", "provider": "p", "accuracy": "0.5"}, None, ""]},
            {"tags": [{"name": "a", "provider": "flickr"}, {"name": "b", "provider": "p", "accuracy": 0.5}]},
        ),
        ("tags", {"tags": []}, {"tags": None}),
        ("tags", {"tags": {"name": "a", "provider": "p"}}, {"tags": [{"name": "a", "provider": "p"}]}),
        ("tags", {"tags": '[{"name": "a", "provider": "p"}]'}, {"tags": [{"name": "a", "provider": "p"}]}),
        ("tags", {"tags": "a, b"}, {}),
        ("tags", {"tags": [{"name": 5, "provider": "p"}, " a "]}, {}),
        ("tags", {"tags": [{"name": " a ", "provider": "p", "accuracy": "high"}]}, {}),
        ("tags", {"tags": [{"name": " a ", "provider": "p", "accuracy": True}]}, {}),
        ("tags", {"tags": [{"name": " a ", "provider": "p", "lang": "en"}]}, {}),
        ("tags", {"tags": [{"name": " a ", "provider": "p", "accuracy": "1_0"}]}, {}),
        (
            "meta_data",
            {"meta_data": '{"views": 5, "license_url": "x"}'},
            {"meta_data": {"views": "5", "license_url": "x"}},
        ),
        ("meta_data", {"meta_data": [{"a": "1"}, None, {"a": "2"}]}, {"meta_data": {"a": "2"}}),
        ("meta_data", {"meta_data": {"a": True, "b": [1.5]}}, {"meta_data": {"a": "True", "b": ["1.5"]}}),
        ("meta_data", {"meta_data": {"a": 10**200}}, {"meta_data": {"a": "1" + "0" * 200}}),
        ("meta_data", {"meta_data": "text"}, {}),
        ("meta_data", {"meta_data": '{"a": 90071992547409.923}'}, {"meta_data": {"a": "90071992547409.923"}}),
        ("meta_data", {"meta_data": {"a": 1, "a ": 2}}, {}),
        ("meta_data", {"meta_data": {"day": "0000-00-00", "a": 1}}, {}),
        ("licenses", {"license": "BY", "license_version": "4"}, {"license": "by", "license_version": "4.0"}),
        ("licenses", {"license_version": None}, {"license_version": "4.0"}),
        ("licenses", {"license": "by-sa"}, {}),
        ("licenses", {"license": "gpl"}, {}),
        ("licenses", {"license": "", "license_version": None}, {}),
        ("licenses", {"meta_data": {"a": "1"}}, {"meta_data": {"a": "1", "license_url": LICENSE_URL}}),
        ("licenses", {"meta_data": None}, {"meta_data": {"license_url": LICENSE_URL}}),
        (
            "licenses",
            {"meta_data": {"license_url": "http://creativecommons.org/licenses/by/4.0/deed.de"}},
            {
                "meta_data": {
                    "license_url": LICENSE_URL,
                    "raw_license_url": "http://creativecommons.org/licenses/by/4.0/deed.de",
                }
            },
        ),
        ("licenses", {"meta_data": {"license_url": "https://example.org/"}}, {}),
        ("licenses", {"license": "By", "meta_data": "text"}, {"license": "by"}),
        (
            "urls",
            {"url": "example.org/a b.jpg", "thumbnail": "", "creator_url": "//www.flickr.com/x/"},
            {
                "url": "https://example.org/a%20b.jpg",
                "thumbnail": None,
                "creator_url": "https://www.flickr.com/x",
            },
        ),
        ("urls", {"url": "http://live.staticflickr.com/1.jpg"}, {"url": "https://live.staticflickr.com/1.jpg"}),
        ("urls", {"url": "http://example.org/1.jpg"}, {}),
        ("urls", {"url": "https://bücher.example/1.jpg", "creator_url": "nowhere"}, {}),
        ("urls", {"foreign_landing_url": "https://x.org/a/", "provider": "wordpress"}, {}),
        ("urls", {"foreign_landing_url": "https://x.org/a/", "provider": "nobody_knows"}, {}),
        ("numbers", {"width": 0, "height": -1, "filesize": 7}, {"width": None, "height": None}),
    ],
)  # fmt: skip
def test_a_value(dsn, catalog, rule, raw, expected):
    """A value becomes what is expected, and nothing else changes; a second run changes nothing."""
    [key] = insert(catalog, rows=[raw])
    before = stored(catalog, "image", key)
    found = survey(catalog, [RULES[rule]], "image")[rule]
    assert found.rows == bool(expected)
    assert clean(dsn, rule).updated == bool(expected)
    after = stored(catalog, "image", key)
    changed = {name: value for name, value in after.items() if value != before[name]}
    assert (changed.pop("updated_on", None) is not None) == bool(expected)
    assert changed == expected
    assert clean(dsn, rule).updated == 0
    assert survey(catalog, [RULES[rule]], "image")[rule].rows == 0


@pytest.mark.parametrize(
    ("rule", "raw", "reason"),
    [
        ("texts", {"title": "a &amp;amp; b"}, "title: encoded more than once, perhaps"),
        ("texts", {"title": " x" * 4000}, "title too long"),
        ("escapes", {"title": "mu0142ody"}, "title: may be an escaped character or a number"),
        ("escapes", {"title": "Cafu00e9 menu2014"}, "title: may be an escaped character or a number"),
        ("escapes", {"title": r"\ud83d alone"}, "title: an escape that stands for no character"),
        ("tags", {"tags": "a, b"}, "tags that are not an array"),
        ("tags", {"tags": [{"name": 5, "provider": "p"}]}, "a tag whose name is not text"),
        ("tags", {"tags": [{"name": "a", "accuracy": "x"}]}, NO_ACCURACY),
        ("tags", {"tags": [{"name": "a", "lang": "en"}]}, "a tag with other keys"),
        ("tags", {"tags": [{"name": "<br>"}]}, "a tag of markup alone, or too many tags"),
        ("tags", {"tags": ["a"], "provider": None}, "a tag without a provider, of a record without one"),
        ("meta_data", {"meta_data": 5}, "meta_data that is not an object"),
        ("meta_data", {"meta_data": {"day": "0000-00-00"}}, "meta_data holds a date of zeros"),
        ("meta_data", {"meta_data": {"a": [{" b": 1, "b": 2}]}}, SAME_KEYS),
        ("meta_data", {"meta_data": '{"a": Infinity}'}, "meta_data that is not an object"),
        ("licenses", {"meta_data": r'{"a": "\ud800"}'}, f"meta_data: {UNSTORABLE}"),
        ("licenses", {"meta_data": r'{"\u0000": ""}'}, f"meta_data: {UNSTORABLE}"),
        ("licenses", {"meta_data": '{"a": NaN}'}, "meta_data that is not an object"),
        ("licenses", {"license": "gpl"}, "a license that Creative Commons does not have"),
        ("licenses", {"license": "by-sa"}, "a license_url of another license"),
        ("licenses", {"meta_data": {"license_url": "https://x.org"}}, NO_LICENSE),
        ("licenses", {"license": "By", "meta_data": "text"}, "meta_data that is not an object"),
        ("meta_data", {"meta_data": json.loads("[" * 400 + "]" * 400)}, "meta_data that is not an object"),
        ("urls", {"url": "nowhere"}, "url is not a URL"),
        ("urls", {"creator_url": "ftp://example.org/"}, "creator_url is not a URL"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_cleaned_is_counted_and_kept(dsn, catalog, rule, raw, reason):
    [key] = insert(catalog, rows=[raw])
    before = stored(catalog, "image", key)
    found = survey(catalog, [RULES[rule]], "image")[rule]
    assert found.left == {reason: 1}
    assert [example.identifier for example in found.left_examples[reason]] == [str(key)]
    clean(dsn, rule)
    after = stored(catalog, "image", key)
    assert {k: after[k] for k in raw if k != "license"} == {k: before[k] for k in raw if k != "license"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dvou0159u00e1k u2013 Hudba", "Dvořák \u2013 Hudba"),
        ("Antonu00edn Dvou0159ak", "Antonín Dvořak"),
        ("lu2019u00e9tu00e9 du2019Avignon", "l\u2019été d\u2019Avignon"),
        ("Cafu00e9u2014Paris, 1990u20132000", "Café\u2014Paris, 1990\u20132000"),
        ("u5317u4eac u00e0 14", "北京 à 14"),
        ("su00e9rie stuffed subaccount, studded", "série stuffed subaccount, studded"),
        ("rubbed, menu2014, uface", "rubbed, menu2014, uface"),
        ("Mu00e1cha a Beneu0161", "Mácha a Beneš"),
        ("Paweu0142 Gu00f3ra", "Paweł Góra"),
        ("Poznau0144, Rynek Gu0142u00f3wny", "Poznań, Rynek Główny"),
        ("uc2dcuc7a5 ubcbd", "시장 벽"),
        ("uac00 ubabb uc2dcuc7a5", "가 못 시장"),
        ("Exposiciu00f3n de Honolulu2014", None),
        ("Mu00fcnchen Lulu2020, su00e9rie", None),
        ("Cafu00e9 menu20145", None),
        ("su00e9rie Plateau2013 final", None),
        ("menu2014u20132015", None),
        ("stuffedu2014bear", None),
        ("Peru0042, su00e9rie", None),
    ],
)
def test_escapes_that_have_lost_their_backslashes(text, expected):
    """Nothing that may be a word or a number is changed; such a text stays whole, and is counted."""
    row = {"title": text, "creator": None, "tags": None, "provider": "flickr"}
    found = RULES["escapes"].judge(row)
    assert found.changes.get("title", text) == (text if expected is None else expected)
    assert found.left == (["title: may be an escaped character or a number"] if expected is None else [])


def test_a_text_that_was_escaped_twice_stays():
    row = {"title": r"\u005cu00e9", "creator": None, "tags": None, "provider": "flickr"}
    found = RULES["escapes"].judge(row)
    assert (found.changes, found.left) == ({}, ["title: encoded more than once, perhaps"])


# Texts that look like the dirt of older catalogs, and any other.
PIECES = st.sampled_from(
    ["&amp;", "&lt;b&gt;", "<b>", "</b>", "<br>", "<script>x</script>", '"', "'", "\\", "\u00a0", "\u3000",
     "\u2028", " ", "  ", "\t", "\n", "\x7f", "\x85", "\x01", r"\u00e9", "u00e9", ".jpg", ".", "a", "Ä",
     "0000-00-00", "http://", "u2014"]
)  # fmt: skip
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
TEXT = st.one_of(st.lists(PIECES, max_size=6).map("".join), st.text(CHARACTERS, max_size=12))
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**6), st.sampled_from([0.5, 1.25]), TEXT)
ANY_JSON = st.recursive(
    SCALAR, lambda c: st.one_of(st.lists(c, max_size=3), st.dictionaries(TEXT, c, max_size=3)), max_leaves=5
)
# JSON in a string may hold what PostgreSQL refuses: lone surrogates, NUL, NaN.
INNER_TEXT = st.one_of(TEXT, st.sampled_from(["\ud800", "a\0", "\udc80b"]))
INNER_SCALAR = st.one_of(SCALAR, INNER_TEXT, st.floats())
INNER_JSON = st.one_of(
    st.dictionaries(INNER_TEXT, INNER_SCALAR, max_size=3),
    st.lists(st.fixed_dictionaries({"name": INNER_TEXT, "provider": INNER_TEXT}), max_size=3),
).map(json.dumps)
TAG = st.one_of(
    SCALAR,
    st.fixed_dictionaries(
        {"name": TEXT},
        optional={"provider": st.one_of(TEXT, st.just("p")), "accuracy": SCALAR, "lang": st.just("en")},
    ),
    st.fixed_dictionaries({"name": TEXT, "provider": st.just("p")}),
)
URL = st.one_of(
    TEXT,
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["http://", "https://", "", "//", "HTTPS://", "https:///", " http://", "ftp://"]),
        st.sampled_from(
            ["archive.org", "example.org", "bücher.example", "a", "WWW.Flickr.com", "x.org:80", "x.org:"]
        ),
        st.one_of(TEXT, st.sampled_from(["/", "/a", "/a b/", "//a", "/a?b=/", "/ü ", "/a\u3000", "#x"])),
    ),
)
RAW = st.fixed_dictionaries(
    {},
    optional={
        "title": TEXT,
        "creator": TEXT,
        "tags": st.one_of(st.lists(TAG, max_size=4), ANY_JSON, INNER_JSON),
        "meta_data": st.one_of(st.dictionaries(TEXT, ANY_JSON, max_size=4), ANY_JSON, INNER_JSON),
        "url": URL,
        "foreign_landing_url": URL,
        "thumbnail": URL,
        "creator_url": URL,
        "width": st.integers(-3, 9),
        "filesize": st.integers(-3, 9),
    },
)
FEW = settings(
    max_examples=15,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # an example takes a second
)


@pytest.fixture
def dirty(catalog):
    """Return a function that fills the table with rows, and returns the rows by their keys."""

    def fill(rows):
        catalog.execute("truncate image")
        unique = {row.get("url", index): row for index, row in enumerate(rows)}
        return dict(zip(insert(catalog, rows=unique.values()), unique.values(), strict=True))

    return fill


@FEW
@given(rows=st.lists(RAW, min_size=20, max_size=80))
def test_a_condition_misses_nothing_that_its_rule_changes(catalog, dirty, rows):
    dirty(rows)
    for rule in RULES.values():
        columns = rule.needs("image")
        read = ", ".join(f"{c}::text" if c in ("meta_data", "tags") else c for c in columns)
        query = psycopg.sql.SQL(f"select coalesce(({rule.where('image')}), false), {read} from image")
        for found, *values in catalog.execute(query).fetchall():
            changes = rule.judge(dict(zip(columns, values, strict=True))).changes
            assert found or not changes, (rule.name, values, changes)


def written(raw):
    """Return the line that ingestion writes for a raw record; None if it rejects the record.

    A stored value of another JSON type stands for the object or array that the loader takes it for.
    """
    raw = dict(raw)
    if "meta_data" in raw:
        raw["meta_data"] = object_of(json.dumps(raw["meta_data"]))
    if isinstance(raw.get("tags"), str):
        with suppress(ValueError):
            raw["tags"] = json.loads(raw["tags"])
    if isinstance(raw.get("tags"), dict):
        raw["tags"] = [raw["tags"]]
    record = Image(
        foreign_identifier="1",
        foreign_landing_url=raw.get("foreign_landing_url", "https://example.org/1"),
        url=raw.get("url", "https://example.org/1.jpg"),
        license=license_from_pair("by", "4.0"),
        **{k: v for k, v in raw.items() if k not in ("url", "foreign_landing_url")},
    )
    try:
        return Encoder("image", "flickr", UrlCleaner()).line(record)
    except Reject:
        return None


CHECKED = (
    "title",
    "creator",
    "tags",
    "meta_data",
    "url",
    "foreign_landing_url",
    "thumbnail",
    "creator_url",
    "width",
    "filesize",
)


@FEW
@given(rows=st.lists(RAW, min_size=10, max_size=40))
def test_a_cleaned_value_is_what_ingestion_writes(dsn, catalog, dirty, rows):
    """Each cleaned value is read back from PostgreSQL beside that of a load of the same raw record."""
    raws = dirty(rows)
    before = {key: stored(catalog, "image", key) for key in raws}
    rules = [name for name in RULES if name != "escapes"]  # ingestion meets no escapes
    for rule in rules:
        clean(dsn, rule)
    catalog.execute("drop table if exists loaded")
    catalog.execute("create temp table loaded (like image)")
    for column in ("identifier", "created_on", "updated_on", "removed_from_source"):
        catalog.execute(f"alter table loaded alter {column} drop not null")
    columns = ", ".join(CHECKED)
    for key, raw in raws.items():
        if (line := written(raw)) is None:
            continue
        with catalog.cursor().copy(f"copy loaded ({', '.join(COLUMNS['image'])}) from stdin") as copy:
            copy.write(line)
        loaded = catalog.execute(f"select {columns} from loaded").fetchone()
        catalog.execute("delete from loaded")
        now = stored(catalog, "image", key)
        meta = json.dumps(raw.get("meta_data"))
        stays = {"meta_data"} if RULES["meta_data"].judge({"meta_data": meta}).left else set()
        for column, value in zip(CHECKED, loaded, strict=True):
            # The URL of the license is added to metadata whose other values stay.
            if now[column] != before[key][column] and column not in stays:
                assert now[column] == value, (column, raw, before[key][column])
    again = survey(catalog, [RULES[name] for name in rules], "image")
    assert not any(found.rows for found in again.values()), again
