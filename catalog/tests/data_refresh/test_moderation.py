"""Decisions that moderators make while an index is built, on a real database and search engine."""

from datetime import timedelta

import psycopg
import pytest

from catalog.core.errors import Fatal, Retry
from catalog.data_refresh.search import moderation
from catalog.data_refresh.search.indexing import IdRange, RangeIndexer
from catalog.data_refresh.search.moderation import follow, unmoderated
from catalog.data_refresh.search.recount import recount
from catalog.data_refresh.search.tag_policy import DEFAULT
from catalog.moderation.decisions import EVER, decided, moderation_moment
from catalog.tests.data_refresh.indexes import make
from catalog.tests.values import present

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


def fill(api, search, name="image-a"):
    uuid = make(search, name)
    RangeIndexer(api, search, name, "image", "image", DEFAULT, IdRange(1, 500)).run()
    search.refresh(name)
    return uuid


def decide(api, deleted="false", mature="false", when="now()"):
    api.execute(f"insert into api_deletedimage select {when}, now(), identifier from image where {deleted}")
    api.execute(
        f"insert into api_matureimage select {when}, identifier from image "
        f"where {mature} on conflict do nothing"
    )


def harmless(search, index="image-a"):
    return search.count(index, {"term": {"mature": False}})


def left(api, search, index="image-a"):
    deleted, mature = unmoderated(api, search, index, "image")
    return deleted + mature


def test_decisions_during_indexing(filled, search):
    since = moderation_moment(filled)
    uuid = fill(filled, search)
    before = harmless(search)
    decide(filled, "id = 50", "id = 51")
    assert len(left(filled, search)) == 2
    assert follow(filled, search, "image-a", "image", since, uuid=uuid) == 2
    assert left(filled, search) == []
    assert (search.count("image-a"), harmless(search)) == (498, before - 2)
    assert follow(filled, search, "image-a", "image", since, uuid=uuid) == 0


def test_long_lists(filled, search, monkeypatch):
    """No request ends between an action and its document, and no batch is lost."""
    monkeypatch.setattr(moderation, "BATCH", 7)
    since = moderation_moment(filled)
    uuid = fill(filled, search)
    decide(filled, "id <= 101", "id > 90 and id < 400")
    assert len([key for batch in decided(filled, "deleted", "image", since) for key in batch]) == 106
    assert follow(filled, search, "image-a", "image", since, uuid=uuid) > 300
    assert left(filled, search) == []
    assert search.count("image-a", {"range": {"id": {"lte": 101}}}) == 0
    assert (
        search.count(
            "image-a",
            {"bool": {"filter": [{"range": {"id": {"gt": 101, "lt": 400}}}, {"term": {"mature": False}}]}},
        )
        == 0
    )


@pytest.mark.parametrize("when", ["now() - interval '3 hours'", "now() + interval '2 days'"])
def test_decisions_of_another_clock(filled, search, when):
    """The application's clock is hours off, or a decision was committed long after it was made."""
    since = moderation_moment(filled)
    uuid = fill(filled, search)
    decide(filled, "id = 50", "id = 51", when)
    follow(filled, search, "image-a", "image", since, uuid=uuid)
    assert left(filled, search) == []


@pytest.mark.parametrize(("when", "explained"), [("2 days", False), ("9 hours", True)])
def test_documents_are_not_missing_because_of_decisions_of_a_wrong_clock(filled, search, when, explained):
    """An old decision with a time to come would explain one missing document in each refresh."""
    filled.execute("delete from api_deletedimage")
    since = moderation_moment(filled)
    fill(filled, search)
    counted = search.count("image-a")
    decide(filled, "id = 50", when=f"now() + interval '{when}'")
    search.client.delete(index="image-a", id=next(search.found("image-a", {"match_all": {}}, 1))[0])
    assert recount(search, filled, "image", "image-a", counted, since).explained is explained
    assert recount(search, filled, "image", "image-a", counted, EVER).explained
    assert recount(search, filled, "image", "image-a", counted, None).explained


def test_the_moment(filled, api_dsn):
    """It is before the start of the oldest open transaction, whose rows have earlier timestamps."""
    now = filled.execute("select now()").fetchone()[0]
    with psycopg.connect(api_dsn) as other:
        [began] = present(other.execute("select now()").fetchone())
        assert moderation_moment(filled) <= began - timedelta(hours=1)
    assert moderation_moment(filled) >= now - timedelta(hours=1, minutes=5)


def test_marks_that_are_removed(filled, search, monkeypatch):
    """Marks from before the refresh are removed too; marks that the record itself has, stay."""
    monkeypatch.setattr(moderation, "BATCH", 3)
    filled.execute("update image set meta_data = meta_data - 'mature'")
    filled.execute(
        """update image set meta_data = coalesce(meta_data, '{}') || '{"mature": true}' where id = 60"""
    )
    filled.execute("delete from api_matureimage")
    decide(filled, mature="id between 50 and 62")
    since = moderation_moment(filled)
    uuid = fill(filled, search)
    before = harmless(search)
    filled.execute(
        "delete from api_matureimage where identifier in (select identifier from image where id < 61)"
    )
    filled.execute("delete from imagelist_images where image_id = 50")
    filled.execute("delete from image where id = 50")
    assert follow(filled, search, "image-a", "image", since, uuid=uuid) == 9
    assert harmless(search) == before + 9  # 51 to 59
    assert left(filled, search) == []
    assert follow(filled, search, "image-a", "image", since, uuid=uuid) == 0


def test_a_record_that_calls_itself_mature_in_any_way(filled, search):
    """With a number that Python does not parse, too: one record must not stop each refresh."""
    filled.execute("update image set meta_data = meta_data - 'mature'")
    for number, own in enumerate(["1" + "0" * 5000, '"yes"', "[0]", "0", '"False"', "null"], 60):
        filled.execute(
            "update image set meta_data = coalesce(meta_data, '{}') || %s::jsonb where id = %s",
            [f'{{"mature": {own}}}', number],
        )
    filled.execute("delete from api_matureimage")
    decide(filled, mature="id between 60 and 65")
    since = moderation_moment(filled)
    uuid = fill(filled, search)
    before = harmless(search)
    filled.execute("delete from api_matureimage")
    assert follow(filled, search, "image-a", "image", since, uuid=uuid) == 3
    assert harmless(search) == before + 3


@pytest.mark.parametrize(
    ("status", "kind"), [(429, "rejected"), (503, "unavailable"), (409, "version_conflict")]
)
def test_an_engine_that_does_not_accept_a_decision(filled, search, faulty, status, kind):
    """It is sent until it is accepted; if it never is, the task fails and no alias is moved."""
    proxy, indexes = faulty
    since = moderation_moment(filled)
    uuid = fill(filled, search)
    decide(filled, "id between 50 and 60", "id between 55 and 70")
    proxy.items(3, lambda _: True, status, kind)
    assert follow(filled, indexes, "image-a", "image", since, uuid=uuid) > 20
    assert left(filled, search) == []
    decide(filled, "id = 80")
    proxy.items(99, lambda _: True, status, kind)
    proxy.faults = proxy.faults[-1:]
    with pytest.raises(Retry, match="no room"):
        follow(filled, indexes, "image-a", "image", since, uuid=uuid)
    assert len(left(filled, search)) == 1


def test_an_engine_that_refuses_a_decision(filled, search, faulty):
    proxy, indexes = faulty
    since = moderation_moment(filled)
    uuid = fill(filled, search)
    decide(filled, mature="id = 80")
    proxy.items(1, lambda _: True, 400, "mapper_parsing_exception")
    with pytest.raises(Fatal, match=r"rejects a moderator.s decision about .*mapper_parsing"):
        follow(filled, indexes, "image-a", "image", since, uuid=uuid)


def test_an_engine_that_acknowledges_and_does_nothing(filled, search, faulty):
    """The result of a search afterwards is what counts."""
    proxy, indexes = faulty
    since = moderation_moment(filled)
    uuid = fill(filled, search)
    decide(filled, "id = 50", "id = 51")
    proxy.items(99, lambda _: True, 200, "")
    with pytest.raises(Retry, match="still shows media as they were before moderation"):
        follow(filled, indexes, "image-a", "image", since, uuid=uuid)


def test_decisions_create_no_index(filled, search):
    """Marking a document of a missing index must not create the index with a guessed mapping."""
    since = moderation_moment(filled)
    uuid = fill(filled, search)
    decide(filled, "id = 50", "id = 51")
    search.delete(["image-a"])
    with pytest.raises(Fatal, match="missing"):
        follow(filled, search, "image-a", "image", since, uuid=uuid)
    assert not search.exists("image-a")
    make(search, "image-a")
    with pytest.raises(Fatal, match="not the one"):
        follow(filled, search, "image-a", "image", since, uuid=uuid)


def test_decisions_are_applied_behind_an_alias(filled, search):
    """They are applied again after the aliases have moved; media without a document are skipped."""
    since = moderation_moment(filled)
    uuid = fill(filled, search)
    search.swap_aliases({"image": "image-a"})
    decide(filled, "id = 50")
    assert left(filled, search, "image") != []
    assert follow(filled, search, "image-a", "image", since, uuid=uuid) == 1
    assert left(filled, search, "image") == []
    assert search.aliases("image-a") == ["image"]
