"""Search with filters, and what is known about a record, on real databases and a real engine."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from catalog.data_refresh.search import queries
from catalog.data_refresh.search.client import ask
from catalog.data_refresh.search.indexes import SeveralIndexes
from catalog.data_refresh.search.tag_policy import DEFAULT
from catalog.database import sample_data
from catalog.monitoring import aliases, explore
from catalog.monitoring.explore import Search
from catalog.tests.monitoring.reports import report
from catalog.tests.plugins.searchable import make_searchable
from catalog.tests.values import present

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
NOBODY = UUID("00000000-0000-0000-0000-000000000000")


@pytest.fixture
def filled(api, search):
    sample_data.fill(api, "api", 300)
    make_searchable(api, search)
    return api


def shown(search, **terms):
    """Return the number of documents that are not mature and have these values."""
    having = [{"term": {field: value}} for field, value in terms.items()]
    query = {"bool": {"filter": having, "must_not": [{"term": {"mature": True}}]}}
    return search.count("image", query)


def test_everything_is_found_and_counted_by_facet(filled, search):
    found = explore.find(search.client, Search("image"))
    assert found.total == shown(search) > 250
    assert len(found.documents) == explore.PAGE
    assert found.pages == -(-found.total // explore.PAGE)
    for facet, field in (("license", "license"), ("source", "source"), ("category", "category")):
        assert len(found.facets[facet]) > 1
        assert all(number == shown(search, **{field: value}) for value, number in found.facets[facet].items())


def test_the_values_that_are_not_shown_are_counted(filled, search, monkeypatch):
    every = explore.find(search.client, Search("image"))
    monkeypatch.setattr(explore, "VALUES", 1)
    most = explore.find(search.client, Search("image"))
    for facet, values in most.facets.items():
        assert len(values) == 1
        assert sum(every.facets[facet].values()) == sum(values.values()) + most.others[facet]
    assert set(every.others.values()) == {0}
    assert sum(most.others.values()) > 0


def test_filters_are_combined(filled, search):
    wanted = Search("image", filters={"license": "cc0", "category": "photograph", "type": "jpg"})
    found = explore.find(search.client, wanted)
    assert 0 < found.total == shown(search, license="cc0", category="photograph", extension="jpg")
    assert {document["license"] for document in found.documents.values()} == {"cc0"}


def test_pages_do_not_overlap(filled, search):
    pages = [list(explore.find(search.client, Search("image", page=n)).documents) for n in (1, 2)]
    assert len(set(pages[0]) & set(pages[1])) == 0
    assert all(len(page) == explore.PAGE for page in pages)


def test_words_are_searched_and_the_filtered_index_is_another_one(filled, search):
    [(title,)] = filled.execute("select title from image where title is not null limit 1").fetchall()
    assert explore.find(search.client, Search("image", title)).total >= 1
    assert explore.find(search.client, Search("image", "nothing-has-this-word")).total == 0
    assert (
        explore.find(search.client, Search("image", filtered=True)).total
        < explore.find(search.client, Search("image")).total
    )


def test_facets_that_are_not_counted_in_time_are_said_to_be_a_part(filled, search, monkeypatch):
    """The engine looks at the time every few hundred milliseconds, which no small index takes."""

    def out_of_time(request, **options):
        answer = ask(request, **options)
        return {**answer, "timed_out": True} if "timeout" in options else answer

    assert explore.find(search.client, Search("image")).counted
    monkeypatch.setattr(explore, "ask", out_of_time)
    found = explore.find(search.client, Search("image"))
    assert not found.counted
    assert found.total == shown(search)  # the total is never a part


def test_without_an_index_nothing_is_found(search):
    found = explore.find(search.client, Search("audio"))
    assert (found.total, found.pages, found.documents) == (0, 0, {})
    assert set(found.facets) == set(explore.FACETS)


def test_a_record_and_the_loads_that_wrote_it(catalog):
    sample_data.fill(catalog, "catalog", 50)
    [(key, created)] = catalog.execute(
        "select identifier, created_on from image where provider = 'flickr' limit 1"
    ).fetchall()
    report(catalog, "flickr", created, inserted=3)
    report(catalog, "flickr", created + timedelta(days=1), inserted=4)
    found = present(explore.record(catalog, "image", key))
    assert found.fields["identifier"] == key
    assert not found.deleted
    assert found.source
    assert found.source.provider == "flickr"
    assert [load.inserted for load in found.loads] == [3]


def test_a_deleted_record_is_found_as_such(catalog):
    sample_data.fill(catalog, "catalog", 50)
    [(key,)] = catalog.execute("select identifier from image limit 1").fetchall()
    catalog.execute(
        "insert into deleted_image select image.*, now(), 'takedown' from image where identifier = %s", [key]
    )
    catalog.execute("delete from image where identifier = %s", [key])
    found = present(explore.record(catalog, "image", key))
    assert (found.deleted, found.fields["deleted_reason"]) == (True, "takedown")
    assert explore.record(catalog, "audio", key) is None


def test_tags_say_why_they_are_not_searched():
    stored = [
        {"name": "dog", "provider": "rekognition", "accuracy": 0.2},
        {"name": "cat", "provider": "flickr"},
        "not an object",
    ]
    found = explore.tags(stored, DEFAULT)
    assert [(tag.name, bool(tag.rule)) for tag in found] == [
        ("cat", False),
        ("dog", True),
        ('"not an object"', True),
    ]
    assert explore.tags({"name": "x"}, DEFAULT) == explore.tags(None, DEFAULT) == []


def test_moderation(api):
    sample_data.fill(api, "api", 50)
    [(key, row)] = api.execute("select identifier, id from image limit 1").fetchall()
    before = explore.in_api(api, "image", key)
    assert before.row_id == row
    assert explore.in_api(api, "image", NOBODY).row_id is None
    api.execute("insert into api_matureimage values (now(), %s) on conflict do nothing", [key])
    api.execute(
        "insert into nsfw_reports (created_at, identifier, reason) values (%s, %s, 'dmca')",
        [datetime(2030, 1, 1, tzinfo=UTC), key],
    )
    after = explore.in_api(api, "image", key)
    assert after.mature_on
    assert len(after.reports) == len(before.reports) + 1
    assert after.reports[0]["reason"] == "dmca"
    assert after.reports[0]["status"] == "pending_review"


def test_documents_of_a_record(filled, search):
    [(key,)] = filled.execute("select identifier from image where not removed_from_source limit 1").fetchall()
    assert explore.documents(search.client, "image", key)["image"] == "found"
    assert set(explore.documents(search.client, "image", NOBODY).values()) == {"missing"}
    assert set(explore.documents(search.client, "audio", key).values()) == {"no index"}
    search.client.update(index="image", id=str(key), doc={"mature": True}, refresh=True)
    assert explore.documents(search.client, "image", key)["image"] == "mature"
    assert explore.find(search.client, Search("audio", "x", filters={"license": "cc0"})).index is None


def test_an_alias_on_two_indexes_is_not_searched(filled, search):
    """Each record would be found twice."""
    search.client.indices.create(index="image-second", aliases={"image": {}})
    try:
        with pytest.raises(SeveralIndexes):
            explore.find(search.client, Search("image"))
        with pytest.raises(SeveralIndexes):
            queries.search(search, "image", "bridge")
        with pytest.raises(SeveralIndexes):
            search.live_meta("image")
        assert "image" not in aliases.live(search.client).documents
    finally:
        search.client.indices.delete(index="image-second")
