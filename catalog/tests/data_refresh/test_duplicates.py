"""Unique values that move from one record to another while a copy is running."""

import pytest

from catalog.core.errors import Fatal
from catalog.data_refresh import copy, progress
from catalog.data_refresh.building import build_indexes
from catalog.data_refresh.copy import TableCopy
from catalog.data_refresh.promotion import promote
from catalog.database import sample_data
from catalog.tests.values import present

pytestmark = pytest.mark.database


@pytest.fixture
def filled(catalog, api):
    sample_data.fill(catalog, "catalog", 120)
    sample_data.fill(api, "api", 100)
    return catalog, api


def keys_of(catalog):
    return [key for (key,) in catalog.execute("select identifier from image order by identifier").fetchall()]


def url_of(connection, key):
    return connection.execute("select url from image where identifier = %s", [key]).fetchone()[0]


@pytest.fixture
def moved(filled, monkeypatch):
    """A copy during which the last record took over the first one's URL: (copy, first key, last key, URL)."""
    catalog, api = filled
    monkeypatch.setattr(copy, "RANGE", 40)
    first, last = (keys_of(catalog)[place] for place in (0, -1))
    url = url_of(catalog, first)

    def move(copied):
        if copied.rows <= 40:
            catalog.execute("update image set url = 'https://example.org/new' where identifier = %s", [first])
            catalog.execute("update image set url = %s where identifier = %s", [url, last])

    job = TableCopy(catalog, api, "image", "run", progress=move)
    job.run()
    return job, first, last, url


def test_a_url_that_moved_between_records(filled, moved):
    """Both records are copied again, and neither loses list entries or views."""
    _, api = filled
    job, first, last, url = moved
    before = dict(api.execute("select identifier, id from image").fetchall())
    build_indexes(api, "image", again=job.again)
    promote(api, ["image"], "run")
    assert (url_of(api, first), url_of(api, last)) == ("https://example.org/new", url)
    after = dict(api.execute("select identifier, id from image").fetchall())
    assert len(after) == 120
    assert {key: after[key] for key in before} == before
    assert job.run().rejected == {}


def test_without_the_catalog_one_of_the_duplicates_is_left_out(filled, moved):
    _, api = filled
    _, first, last, url = moved
    build_indexes(api, "image")
    state = present(progress.read(api, "image"))
    assert state.copied.rows == 119
    assert state.copied.rejected == {"another record has the same value of the unique index image_url_key": 1}
    assert progress.rejects(api, "image")[0][0] in (str(first), str(last))
    assert api.execute("select count(*) from temp_import_image where url = %s", [url]).fetchone() == (1,)


def test_duplicate_values_of_the_catalog_are_left_out(filled):
    """The API has a unique index that the catalog does not have."""
    catalog, api = filled
    api.execute(
        "update image set title = null; create unique index titles on image (lower(title)) where id > 0"
    )
    catalog.execute("update image set title = null")
    keys = keys_of(catalog)
    catalog.execute(
        "update image set title = 'Twice' where identifier = any(%s)", [[keys[3], keys[70], keys[71]]]
    )
    job = TableCopy(catalog, api, "image", "run")
    job.run()
    build_indexes(api, "image", again=job.again)
    assert api.execute("select count(*) from temp_import_image where title = 'Twice'").fetchone() == (1,)
    assert present(progress.read(api, "image")).copied.rejected == {
        "another record has the same value of the unique index titles": 2
    }


def test_many_duplicates_fail_the_refresh(filled):
    catalog, api = filled
    api.execute("update image set title = null; create unique index titles on image (title)")
    catalog.execute("update image set title = 'Often'")
    TableCopy(catalog, api, "image", "run").run()
    with pytest.raises(
        Fatal, match=r"unique index titles of image cannot be built.*120 records share.*drop the index"
    ):
        build_indexes(api, "image")


def test_a_duplicate_that_only_the_api_has_fails_the_refresh(filled):
    catalog, api = filled
    api.execute("create function one() returns integer language sql as 'select 1'")
    api.execute(
        "alter table image alter id set default one(); delete from imagelist_images; "
        "delete from image where id = 1"
    )
    TableCopy(catalog, api, "image", "run").run()
    with pytest.raises(
        Fatal, match=r"unique index image_pkey of image cannot be built: Key \(id\)=\(1\) is duplicated"
    ):
        build_indexes(api, "image")
