"""Records whose values are too long for an index that only the API has."""

import random

import pytest

from catalog.core import loss_limits
from catalog.core.errors import Fatal
from catalog.data_refresh.tables import progress
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.database import sample_data
from catalog.tests.values import present

pytestmark = pytest.mark.database
# Noise, which cannot be compressed: as many bytes as an index of PostgreSQL holds, and some more.
FITS = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FA5), k=880)))
LONG = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FA5), k=950)))
SAME = "x" * 1000


@pytest.fixture
def filled(catalog, api):
    sample_data.fill(catalog, "catalog", 120)
    sample_data.fill(api, "api", 100)
    return catalog, api


def give(catalog, *values, column="foreign_identifier"):
    """Set a column of as many records, and return their identifiers."""
    keys = [
        key for (key,) in catalog.execute("select identifier from image order by 1 limit %s", [len(values)])
    ]
    for key, value in zip(keys, values, strict=True):
        catalog.execute(f"update image set {column} = %s where identifier = %s", [value, key])
    return keys


def test_a_record_is_left_out_whose_value_an_index_cannot_hold(filled):
    """All others are kept, also those whose values are as long, but can be compressed."""
    catalog, api = filled
    keys = give(catalog, LONG, FITS, SAME)
    copied = TableCopy(catalog, api, "image", "run").run()
    assert not copied.rejected
    assert build_indexes(api, "image")
    after = present(progress.read(api, "image")).copied
    assert (after.rows, sum(after.rejected.values())) == (copied.rows - 1, 1)
    assert next(iter(after.rejected)).startswith("a value is too long for the index ")
    assert [key for key, _ in progress.rejects(api, "image")] == [str(keys[0])]
    there = {key for (key,) in api.execute("select identifier from temp_import_image")}
    assert there & {*keys} == {*keys[1:]}


def test_an_audio_set_is_left_out_whose_value_an_index_cannot_hold(filled):
    """The audio that refers to it stays, without the set."""
    catalog, api = filled
    [(key,)] = catalog.execute("select min(foreign_identifier) from audioset_view").fetchall()
    catalog.execute(
        "update audio set audio_set = audio_set || jsonb_build_object('title', %s::text)"
        " where audio_set_foreign_identifier = %s",
        [LONG, key],
    )
    api.execute("create index theirs on audioset (title)")
    copied = TableCopy(catalog, api, "audioset", "run").run()
    TableCopy(catalog, api, "audio", "run").run()
    referring = "select count(*) from temp_import_audio where audio_set_foreign_identifier = %s"
    assert not copied.rejected
    assert api.execute(referring, [key]).fetchone() != (0,)
    assert build_indexes(api, "audioset")
    after = present(progress.read(api, "audioset")).copied
    assert after.rejected == {"a value is too long for the index theirs": copied.rows - after.rows}
    assert after.rows < copied.rows
    assert {listed.partition(" ")[2] for listed, _ in progress.rejects(api, "audioset")} == {key}
    assert api.execute(referring, [key]).fetchone() == (0,)


def test_the_column_of_a_set_that_is_too_long_is_named(filled):
    catalog, api = filled
    catalog.execute(
        "update audio set audio_set = audio_set || jsonb_build_object('creator', repeat('x', 3000))"
        " where audio_set_foreign_identifier = (select min(foreign_identifier) from audioset_view)"
    )
    copied = TableCopy(catalog, api, "audioset", "run").run()
    [reason] = copied.rejected
    assert reason == "creator is too long for the API's table"


def test_a_constraint_that_the_new_rows_violate_is_named_with_the_remedy(filled):
    catalog, api = filled
    api.execute("update image set title = identifier::text")
    api.execute("alter table image add constraint theirs exclude (title with =)")
    catalog.execute("update image set title = 'the same'")
    TableCopy(catalog, api, "image", "run").run()
    with pytest.raises(Fatal, match=r"the constraint theirs cannot be added .*the same.*drop the constraint"):
        build_indexes(api, "image")


@pytest.mark.parametrize(
    "definition",
    [
        "(provider, (title || creator))",
        "(provider) include (title)",
        "(title) where id > 0",
        "(lower(title))",
    ],
)
def test_an_index_of_any_kind(filled, definition):
    catalog, api = filled
    api.execute("update image set title = null")
    api.execute(f"create index theirs on image {definition}")
    catalog.execute("update image set title = 'a', creator = 'b'")
    give(catalog, LONG, FITS, column="title")
    TableCopy(catalog, api, "image", "run").run()
    assert build_indexes(api, "image")
    rejected = present(progress.read(api, "image")).copied.rejected
    assert rejected == {"a value is too long for the index theirs": 1}


def test_a_value_that_is_a_duplicate_or_too_long(filled):
    catalog, api = filled
    api.execute("update image set title = null; create unique index theirs on image (title)")
    catalog.execute("update image set title = null")
    give(catalog, LONG, "twice", "twice", column="title")
    TableCopy(catalog, api, "image", "run").run()
    assert build_indexes(api, "image")
    assert present(progress.read(api, "image")).copied.rejected == {
        "a value is too long for the index theirs": 1,
        "another record has the same value of the unique index theirs": 1,
    }


def test_many_such_records_fail_the_refresh(filled, monkeypatch):
    catalog, api = filled
    monkeypatch.setattr(loss_limits, "FEW_REJECTS", 2)
    give(catalog, *(LONG[:-1] + char for char in "abc"))
    TableCopy(catalog, api, "image", "run").run()
    with pytest.raises(Fatal, match=r"the values of 3 records are too long for it\. Correct them"):
        build_indexes(api, "image")
