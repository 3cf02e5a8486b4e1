"""Merging stored and new JSON of any type, one row for each pair of types."""

import json

import pytest
from psycopg.types.json import Jsonb

from catalog.loading.columns import updated
from catalog.tests.loading.loader import audio, outcome

pytestmark = pytest.mark.database
OTHERS = ["null", "7", "true", '"text"']
NEW_OBJECT, NEW_TAGS, NEW_FILES = (
    {"b": "2", "c": None},
    [{"name": "n", "provider": "p"}],
    [{"url": "u", "filesize": 1}],
)


def merged(catalog, function, old, new, *more):
    """Return the result of a function for JSON strings; None is SQL's null."""
    holes = ", %s" * len(more)
    [found] = catalog.execute(f"select {function}(%s::jsonb, %s::jsonb{holes})", [old, new, *more]).fetchone()
    return found


@pytest.mark.parametrize(
    ("old", "result"),
    [
        (None, {"b": "2"}),
        *((old, {"b": "2"}) for old in OTHERS),
        ("[]", {"b": "2"}),
        ("{}", {"b": "2"}),
        ('{"a": 1, "b": 1, "d": null}', {"a": 1, "b": "2"}),
        ('["text", [1]]', {"b": "2"}),
        ('[null, {"a": 1, "b": 0}, {"a": 2}]', {"a": 2, "b": "2"}),
        ('["text", {"a": 1}]', {"a": 1, "b": "2"}),
    ],
)
def test_an_object_onto_each_type(catalog, old, result):
    """An array that earlier merging made of an object is an object again."""
    assert merged(catalog, "merged_object", old, json.dumps(NEW_OBJECT)) == result


@pytest.mark.parametrize(
    ("old", "kept"),
    [
        (None, []),
        *((old, []) for old in OTHERS),
        ("[]", []),
        ("{}", []),
        ('{"name": 7}', []),
        ('{"name": "x", "provider": "m"}', [{"name": "x", "provider": "m"}]),
        ('{"name": "x", "provider": "p"}', []),
        (
            '["text", null, [1], {"name": "x"}, {"name": "o", "provider": "p"}]',
            ["text", None, [1], {"name": "x"}],
        ),
    ],
)
def test_tags_onto_each_type(catalog, old, kept):
    assert merged(catalog, "merged_tags", old, json.dumps(NEW_TAGS), "p") == [*NEW_TAGS, *kept]


@pytest.mark.parametrize(
    ("old", "kept"),
    [
        (None, []),
        *((old, []) for old in OTHERS),
        ("[]", []),
        ("{}", []),
        ('{"url": "u"}', []),
        ('{"url": "v"}', [{"url": "v"}]),
        ('["text", null, {"name": "x"}]', ["text", None, {"name": "x"}]),
    ],
)
def test_files_onto_each_type(catalog, old, kept):
    assert merged(catalog, "merged_elements", old, json.dumps(NEW_FILES)) == [*kept, *NEW_FILES]


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ("https://a.org/1", "http://a.org/1", "https://a.org/1"),
        ("http://a.org/1", "https://a.org/1", "https://a.org/1"),
        ("http://a.org/1", "http://a.org/1", "http://a.org/1"),
        ("https://a.org/1", "http://a.org/2", "http://a.org/2"),
        ("httpx://a.org/1", "http://a.org/1", "http://a.org/1"),
        (None, "http://a.org/1", "http://a.org/1"),
    ],
)
@pytest.mark.parametrize("form", ['{{"k": 1, "page": {}, "gone": null}}', '[7, {{"k": 1, "page": {}}}]'])
def test_an_address_in_an_object_keeps_https(catalog, form, old, new, result):
    stored, comes = form.format(json.dumps(old)), {"page": new, "k": 2, "more": "http:", "none": None}
    found = merged(catalog, "merged_object", stored, json.dumps(comes))
    assert found == {"page": result, "k": 2, "more": "http:"}


def test_nothing_but_an_address_keeps_https(catalog):
    """A text that only contains one, or an object, comes as it is."""
    old = {"a": "see https://a.org", "b": {"url": "https://a.org"}, "c": ["https://a.org"], "d": 5}
    new = {"a": "see http://a.org", "b": {"url": "http://a.org"}, "c": ["http://a.org"], "d": "http://a.org"}
    assert merged(catalog, "merged_object", json.dumps(old), json.dumps(new)) == new


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        (["https:/1"], ["http:/1"], ["https:/1"]),
        (["http:/1"], ["https:/1"], ["https:/1"]),
        (["http:/1", "https:/1"], ["http:/1"], ["https:/1"]),  # as earlier releases stored them
        (["http:/1"], ["http:/1"], ["http:/1"]),
        (["https:/1", "https:/2"], ["http:/2", "http:/3"], ["https:/1", "https:/2", "http:/3"]),
        ([], ["http:/1", "https:/1"], ["https:/1"]),
    ],
)
def test_the_address_of_a_file_keeps_https(catalog, old, new, result):
    """What describes the file is the newest."""
    stored = json.dumps([{"url": url, "filesize": 1} for url in old])
    found = merged(catalog, "merged_elements", stored, json.dumps([{"url": u, "filesize": 2} for u in new]))
    assert [file["url"] for file in found] == result
    named = {url.partition(":")[2] for url in new}
    assert all(file["filesize"] == 1 + (file["url"].partition(":")[2] in named) for file in found)


STORED = [None, *OTHERS, "[]", "{}", '[1, {"a": 1}]', '{"a": null, "name": "x", "url": "u"}']


@pytest.mark.parametrize("old", STORED)
@pytest.mark.parametrize(
    ("function", "wrong", "more"),
    [("merged_object", "[]", ()), ("merged_tags", "{}", ("p",)), ("merged_elements", "{}", ())],
)
def test_what_is_of_another_type_changes_nothing(catalog, function, wrong, more, old):
    for new in (None, *OTHERS, wrong):
        assert merged(catalog, function, old, new, *more) == (None if old is None else json.loads(old)), new


JSON_COLUMNS = {
    "meta_data": {"k": "v"},
    "audio_set": {"title": "s"},
    "tags": ["t"],
    "alt_files": [{"url": "https://example.org/a.ogg"}],
}


def test_each_json_column_is_tested():
    assert {c.name for c in updated("audio") if c.merge in ("object", "tags", "elements")} == set(
        JSON_COLUMNS
    )


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("column", JSON_COLUMNS)
def test_a_load_onto_each_type(load, catalog, column, stored):
    """The load succeeds, the value has the right type afterwards, and a second load changes nothing."""
    load([audio(1)], media_type="audio")
    value = None if stored is None else Jsonb(json.loads(stored))
    catalog.execute(f"update audio set {column} = %s", [value])
    record = audio(1, **{column: JSON_COLUMNS[column]})
    assert outcome(load([record], media_type="audio"))[:3] in ((0, 1, 0), (0, 0, 1))
    [kind] = catalog.execute(f"select jsonb_typeof({column}) from audio").fetchone()
    assert kind == ("object" if column in ("meta_data", "audio_set") else "array")
    assert outcome(load([record], media_type="audio")) == (0, 0, 1, 0, 0)
