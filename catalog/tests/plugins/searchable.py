"""Indexes with the documents of an API database, behind the aliases that the API uses."""

from catalog.core.session import Connection
from catalog.data_refresh.search.filtered import FilteredIndex
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.indexing import IdRange, RangeIndexer
from catalog.data_refresh.search.mapping import index_body, index_meta
from catalog.data_refresh.search.tag_policy import DEFAULT

INDEX, FILTERED = "image-shown", "image-shown-filtered"


def make_searchable(api: Connection, search: Indexes, terms: tuple[str, ...] = ("bridge",)) -> None:
    """Index all images, and those without sensitive terms."""
    for name in (INDEX, FILTERED):
        search.create(name, index_body("image", index_meta("image", "image_data_refresh", "r", DEFAULT), 1))
    row = api.execute("select max(id) from image").fetchone()
    assert row
    RangeIndexer(api, search, INDEX, "image", "image", DEFAULT, IdRange(1, row[0] + 1)).run()
    search.refresh(INDEX)
    FilteredIndex(search, INDEX, FILTERED, terms, lambda: search.require(FILTERED).uuid).run()
    search.refresh(FILTERED)
    search.swap_aliases({"image": INDEX, "image-filtered": FILTERED})
