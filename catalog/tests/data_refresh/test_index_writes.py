"""What others write to the live indexes between two refreshes, on a real search engine."""

from datetime import timedelta

import msgspec
import pytest

from catalog.core.errors import Refused, Retry
from catalog.data_refresh import modes
from catalog.data_refresh.basis import record
from catalog.data_refresh.refresh import CreatedIndex, begin, note_index, read
from catalog.data_refresh.search import index_writes
from catalog.data_refresh.search.bulk import BulkSender, update_action
from catalog.data_refresh.search.index_writes import contents_of, last_writes
from catalog.data_refresh.search.moderation import follow
from catalog.data_refresh.search.tag_policy import DEFAULT
from catalog.data_refresh.tables.marks import create_marks, set_mark
from catalog.moderation.decisions import EVER
from catalog.tests.data_refresh.test_changed_documents import FILTERED, INDEX, INDEXES, Published
from catalog.tests.data_refresh.test_exchange import api_dsn, filled, pair  # noqa: F401 - fixtures
from catalog.tests.data_refresh.test_refresh import plan, turn

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


class Left(Published):
    """Tables and indexes as a refresh has left them, the plan of the next one, and what others write."""

    def __init__(self, catalog, api, search):
        super().__init__(catalog, api, search)
        search.swap_aliases(INDEXES)
        mine = turn(catalog)
        refresh = begin(catalog, mine, plan(INDEX, horizon=7, inputs="inputs"))
        for name, uuid in self.uuids.items():
            documents, writes = contents_of(search, name)
            note_index(catalog, refresh, name, CreatedIndex(uuid, documents, [], writes))
        state = modes.completed(read(catalog, mine))
        assert state is not None
        self.basis = state
        record(catalog, self.basis)
        create_marks(api)
        set_mark(api, "image", refresh.number)

    def choose(self, wanted="auto"):
        live: dict[str, str | None] = dict(INDEXES)
        following = plan("image-b", horizon=9, inputs="inputs", live=live, shapes={"image": {}})
        following = msgspec.structs.replace(following, policy=msgspec.to_builtins(DEFAULT))
        days = timedelta(days=35)
        return modes.choose(
            wanted, following, self.catalog, self.api, self.search, number=0, limit=0, full_after=days
        )

    def keys(self, name, number):
        hits = self.search.client.search(index=name, size=number, source=False, sort=["id"])["hits"]["hits"]
        return [hit["_id"] for hit in hits]

    def write(self, name, key, document):
        self.search.client.index(index=name, id=key, document=document, refresh=True)

    def patch(self, name, key, **changes):
        self.search.client.update(index=name, id=key, doc=changes, refresh=True)

    def delete(self, name, key):
        self.search.client.delete(index=name, id=key, refresh=True)


@pytest.fixture
def left(filled, search):  # noqa: F811 - the fixture
    catalog, api = filled
    return Left(catalog, api, search)


def exchange(left, name):
    """Delete documents, and write as many that nobody has."""
    for number, key in enumerate(left.keys(name, 3)):
        document = left.search.client.get(index=name, id=key)["_source"]
        left.delete(name, key)
        left.write(name, f"00000000-0000-4000-8000-00000000000{number}", document)


def lose_sensitive_text(left, name):
    """As a program that does not know the field, and writes the rest of the document."""
    some = {"query": {"exists": {"field": "sensitive_text"}}, "size": 1}
    [found] = left.search.client.search(index=name, **some)["hits"]["hits"]
    left.write(name, found["_id"], {k: v for k, v in found["_source"].items() if k != "sensitive_text"})


def exchange_without_any_form(left, name):
    [key] = left.keys(name, 1)
    left.delete(name, key)
    left.write(name, "made up", {"title": "x"})


def change_titles(left, name):
    for key in left.keys(name, 5):
        left.patch(name, key, title="wrong")


def change_one_after_moderators(left, name):
    *marked, changed = left.keys(name, 4)
    for key in marked:
        mark(left, name, key)
    left.patch(name, changed, title="wrong")


def mark(left, name, key):
    """Mark a record as mature, as the API does."""
    decide(left, "mature", key)
    left.patch(name, key, mature=True)


def decide(left, kind, key):
    """Record a moderator's decision."""
    times = {"mature": "now()", "deleted": "now(), now()"}[kind]
    left.api.execute(f"insert into api_{kind}image values ({times}, %s) on conflict do nothing", [key])


def delete_row(left, key):
    """Delete a row, as the API does before it deletes the document."""
    left.api.execute("delete from imagelist_images")
    left.api.execute("delete from image where identifier = %s", [key])
    decide(left, "deleted", key)


@pytest.mark.parametrize("name", INDEXES.values())
@pytest.mark.parametrize(
    "changed",
    [exchange, exchange_without_any_form, change_titles, change_one_after_moderators, lose_sensitive_text],
)
def test_documents_that_others_wrote_are_noticed(left, changed, name):
    """Their number is the same."""
    assert left.choose().reason == ""
    before = {index: left.search.count(index) for index in INDEXES.values()}
    changed(left, name)
    assert {index: left.search.count(index) for index in INDEXES.values()} == before
    alias = next(alias for alias, index in INDEXES.items() if index == name)
    found = left.choose()
    assert found.mode == "full"
    assert "another program has written" in found.reason
    assert f"of the index behind {alias}, such as" in found.reason
    with pytest.raises(Refused, match="mode: an incremental refresh is impossible: another program has"):
        left.choose("incremental")


def test_a_shard_that_has_lost_writes(left):
    """As after the allocation of an empty primary shard."""
    left.basis.writes["image"]["0"] += 5
    record(left.catalog, left.basis)
    assert left.choose().reason == "the index behind image has lost writes"


def test_more_documents_than_are_compared(left, monkeypatch):
    monkeypatch.setattr(index_writes, "MOST", 2)
    for key in left.keys(INDEX, 3):
        mark(left, INDEX, key)
    assert left.choose().reason == "another program has written 3 documents of the index behind image"


def test_what_moderators_write_is_no_obstacle(left, monkeypatch):
    """The API writes to both indexes; records that it marks again, or no more, leave no other trace."""
    monkeypatch.setattr(index_writes, "CHUNK", 2)
    first, second, third, *others = left.keys(FILTERED, 9)
    for name in INDEXES.values():
        for key in (first, second, *others):
            mark(left, name, key)
        left.api.execute("delete from api_matureimage where identifier = %s", [second])
        left.patch(name, second, mature=False)
        left.patch(name, second, mature=False)
        left.delete(name, third)
    mark(left, FILTERED, first)
    delete_row(left, third)
    assert left.choose().reason == ""


def test_a_row_that_a_moderator_has_deleted_before_its_document(left):
    [key] = left.keys(INDEX, 1)
    mark(left, INDEX, key)
    delete_row(left, key)
    assert left.choose().reason == ""


def test_decisions_that_a_refresh_has_followed_are_no_obstacle(left):
    """It writes them after the documents were counted."""
    key, other = left.keys(INDEX, 2)
    decide(left, "mature", key)
    decide(left, "deleted", other)
    for name in INDEXES.values():
        follow(left.api, left.search, name, "image", left.basis.since or EVER)
    assert left.choose().reason == ""


def test_what_the_engine_does_with_an_index_is_no_write(left):
    client, before = left.search.client, {name: last_writes(left.search, name) for name in INDEXES.values()}
    [key] = left.keys(INDEX, 1)
    title = client.get(index=INDEX, id=key)["_source"].get("title")
    BulkSender(left.search, left.search.require(INDEX).writer).send([update_action(key, {"title": title})])
    for name in INDEXES.values():
        client.indices.forcemerge(index=name, max_num_segments=1)
        client.indices.put_settings(index=name, settings={"number_of_replicas": 1})
        client.indices.close(index=name)
        client.indices.open(index=name, wait_for_active_shards="1")
        client.indices.flush(index=name, force=True)
    assert {name: last_writes(left.search, name) for name in INDEXES.values()} == before
    assert left.choose().reason == ""


def test_an_earlier_release_has_recorded_no_writes(left):
    left.basis.writes.clear()
    record(left.catalog, left.basis)
    change_titles(left, INDEX)
    assert left.choose().reason == ""


def test_a_shard_that_moves_to_another_node(faulty):
    """The copy that is being made there has fewer writes, and replicas may have."""
    between, own = faulty

    def copy(primary, state, number):
        return {"routing": {"primary": primary, "state": state}, "seq_no": {"max_seq_no": number}}

    copies = [copy(False, "STARTED", 4), copy(True, "RELOCATING", 7), copy(True, "INITIALIZING", 3)]
    answer = {"_shards": {"failed": 0}, "indices": {"image-a": {"shards": {"0": copies}}}}
    between.times("GET /image-a/_stats/docs", 1, 200, answer)
    assert last_writes(own, "image-a") == {"0": 7}
    between.faults.clear()
    answer = {"_shards": {"failed": 0}, "indices": {"image-a": {"shards": {"0": copies[:1]}}}}
    between.times("GET /image-a/_stats/docs", 1, 200, answer)
    with pytest.raises(Retry, match="shows only 0 of the shards of image-a"):
        last_writes(own, "image-a")
