"""A record that cannot become a document is left out; many such records fail the task."""

import pytest

from catalog.core.errors import Fatal
from catalog.data_refresh.search import document_rows
from catalog.data_refresh.search.documents import document
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.indexing import IdRange, find_count_mismatches
from catalog.tests.data_refresh.indexes import image_indexer, make

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


@pytest.fixture
def indexer(filled, search):
    make(search, "image-a")
    return image_indexer(filled, search)


def test_a_row_that_cannot_be_read(filled, indexer, search):
    """Python has no infinite date; reading fewer and fewer rows isolates the bad one."""
    filled.execute("update image set created_on = 'infinity' where id = 42")
    done = indexer.run()
    search.refresh("image-a")
    assert done.rejected == {"the row cannot be read": 1}
    assert done.documents == search.count("image-a") == 498


def test_a_few_rows_that_cannot_be_read_cost_a_few_queries(filled, indexer, search):
    """The number of queries stays small: an adopted catalog may have one bad row in every thousand."""

    class Counted:
        queries = 0

        def execute(self, *query):
            self.queries += 1
            return filled.execute(*query)

    filled.execute(
        "update image set created_on = '-infinity', removed_from_source = id = 250 where id in (1, 250, 500)"
    )
    indexer._api = Counted()
    done = indexer.run()
    search.refresh("image-a")
    assert (done.rejected, done.removed) == ({"the row cannot be read": 2}, 2)  # one is missing at its source
    assert done.documents == search.count("image-a") == 496
    assert find_count_mismatches(filled, search, "image-a", "image", [IdRange(1, 500)], rejected=[2]) == []
    assert indexer._api.queries < 70


def poisoned(monkeypatch, filled, where):
    def made(media_type, media, tags):
        if media.title == "poison":
            raise KeyError("what nobody has thought of")
        return document(media_type, media, tags)

    monkeypatch.setattr(document_rows, "document", made)
    filled.execute(f"update image set title = 'poison' where {where}")


def test_a_record_that_cannot_become_a_document(monkeypatch, filled, indexer, search):
    poisoned(monkeypatch, filled, "id = 42")
    done = indexer.run()
    search.refresh("image-a")
    assert done.rejected == {"no document can be made: KeyError": 1}
    assert done.documents == search.count("image-a") == 498


def test_many_records_without_a_document_fail_the_task(monkeypatch, filled, indexer):
    poisoned(monkeypatch, filled, "id <= 20")
    with pytest.raises(Fatal, match="records of image have no document, more than 1%"):
        indexer.run()


def test_an_index_with_an_alias_is_not_deleted(search):
    make(search, "image-a")
    make(search, "image-b")
    search.swap_aliases({"image": "image-a"})
    assert search.delete_unless_aliased("image-a") == ["image"]
    assert search.delete_unless_aliased("image-b") == []
    assert (search.exists("image-a"), search.exists("image-b")) == (True, False)


def test_a_document_that_the_engine_refuses(filled, search, faulty):
    """It is not sent again, because the engine will never accept it."""
    proxy, indexes = faulty
    (key,) = filled.execute("select identifier::text from image where id = 42").fetchone()
    proxy.items(99, lambda found: found == key, 400, "mapper_parsing_exception")
    make(search, "image-a")
    waits: list[float] = []
    indexer = image_indexer(filled, Indexes(indexes.client, pause=waits.append))
    done = indexer.run()
    assert done.rejected == {"mapper_parsing_exception": 1}
    assert (done.documents, set(waits)) == (498, {1.0})  # to learn which it is, and for its deletion
