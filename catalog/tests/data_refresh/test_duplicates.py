"""Records that share a value of a unique index that only the API has."""

import pytest

from catalog.core.errors import Fatal
from catalog.data_refresh.tables import progress
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
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
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
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
