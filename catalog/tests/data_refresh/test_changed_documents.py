"""The live indexes after an incremental refresh: documents, the filtered index, and their numbers."""

import msgspec
import pytest

from catalog.core.errors import Fatal, Interrupted, Refused, Retry
from catalog.data_refresh.refresh import CreatedIndex, begin, note_index, read, replan
from catalog.data_refresh.search import changed_documents, document_rows
from catalog.data_refresh.search.attempts import Attempt
from catalog.data_refresh.search.changed_documents import ChangedDocuments, count_documents
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.refresh_indexes import RefreshIndexes
from catalog.data_refresh.search.tag_policy import DEFAULT
from catalog.moderation.decisions import moderation_moment
from catalog.tests.data_refresh.indexes import keep, make
from catalog.tests.data_refresh.test_exchange import api_dsn, filled, pair  # noqa: F401 - fixtures
from catalog.tests.data_refresh.test_incremental import FIRST, LATER, NEW, Refreshes
from catalog.tests.data_refresh.test_refresh import plan, turn

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
INDEX, FILTERED = "image-a", "image-a-filtered"
INDEXES = {"image": INDEX, "image-filtered": FILTERED}
TERMS = [*(f"term{number}" for number in range(1500)), "zzterm", "fire brigade"]  # several queries


class Published:
    """Tables and both indexes after a full refresh, and the steps of an incremental one."""

    def __init__(self, catalog, api, search):
        self.catalog, self.api, self.search = catalog, api, search
        self.refreshes = Refreshes(catalog, api)
        self.refreshes.refill()
        self.refreshes.full()
        catalog.execute("delete from refresh")
        self.uuids = {name: make(search, name) for name in INDEXES.values()}
        api.execute("create table temp_import_image_changes as select identifier from image")
        self.update({})
        api.execute("drop table temp_import_image_changes")
        # Decisions of this moment would widen the limits of every number.
        api.execute("update api_deletedimage set created_on = now() - interval '9 days'")

    def begin(self, run_id):
        """Begin a refresh, and apply the changes to the table."""
        self.turn = turn(self.catalog, run_id)
        counts = {alias: self.search.count(index) for alias, index in INDEXES.items()}
        found = begin(
            self.catalog,
            self.turn,
            msgspec.structs.replace(
                plan("image-a", mode="incremental", counts=counts),
                aliases=INDEXES,
                filtered="image-a-filtered",
                since=moderation_moment(self.api),
            ),
        )
        for name, uuid in self.uuids.items():
            note_index(self.catalog, found, name, CreatedIndex(uuid))
        own = self.refreshes.copy()
        replaced = {
            alias: count_documents(self.api, self.search, "image", index) for alias, index in INDEXES.items()
        }
        replan(self.catalog, found, msgspec.structs.replace(found.plan, replaced=replaced))
        self.refreshes.apply(own)

    def update(self, state, **options):
        return self.job(**keep(state, **options)).run()

    def job(self, **options):
        return ChangedDocuments(
            self.api, self.search, "image", INDEX, FILTERED, DEFAULT, TERMS, records=120, **options
        )

    def check(self, updated):
        """Follow the moderators, and compare both indexes with the table."""
        own = RefreshIndexes(read(self.catalog, self.turn), self.search)
        for name in INDEXES.values():
            own.follow_moderation(self.api, name)
        counts = own.count_updated(self.api, updated)
        rows = self.api.execute(
            "select identifier::text, title ~* 'zzterm|fire +brigade|term1499' from image"
            " where not removed_from_source"
        ).fetchall()
        found = {name: counted.documents for name, counted in counts.items()}
        assert found == {"image-a": len(rows), "image-a-filtered": sum(not hidden for _, hidden in rows)}


@pytest.fixture
def published(filled, search):  # noqa: F811 - the fixture
    catalog, api = filled
    return Published(catalog, api, search)


TITLES = (
    NEW.format("{0}", 5),
    f"update image set title = 'a zzterm {{0}}' where identifier in {FIRST.format(6)}",
    f"update image set title = 'Fire  BRIGADE {{0}}' where identifier in {LATER.format(10, 3)}",
    f"update image set title = 'term1499 {{0}}' where identifier in {LATER.format(20, 2)}",
    f"""
    update image set removed_from_source = not removed_from_source
     where identifier in {LATER.format(30, 4)}
    """,
    f"delete from image where identifier in {LATER.format(40, 3)}",
    f"update image set title = 'harmless {{0}}' where identifier in {FIRST.format(3)}",
)


def write(published, number):
    for statement in TITLES:
        published.catalog.execute(statement.format(number))


def test_an_index_that_was_made_after_the_others_were_opened(published):
    published.begin("one")
    begun = read(published.catalog, published.turn)
    for name, uuid in published.uuids.items():
        made = CreatedIndex(uuid, published.search.count(name))
        note_index(published.catalog, begun, name, made)
    own = RefreshIndexes(read(published.catalog, published.turn), published.search)
    own.open(0)
    own.require_complete(published.api)
    filling = {"index": {"refresh_interval": "-1"}}  # as `create` makes it
    published.search.client.indices.put_settings(index=FILTERED, settings=filling)
    with pytest.raises(Refused, match="image-a-filtered was made after open_indexes"):
        own.require_complete(published.api)
    own.open(0)
    own.require_complete(published.api)


def test_documents_follow_the_rows(published):
    for number in (1, 2):
        write(published, number)
        published.begin(str(number))
        published.check(published.update({}))


@pytest.mark.parametrize("index", [INDEX, FILTERED])
def test_documents_that_are_not_those_that_were_written(published, index):
    """An ingest pipeline has its own idea of a title."""
    client = published.search.client
    client.ingest.put_pipeline(id="theirs", processors=[{"set": {"field": "title", "value": "theirs"}}])
    write(published, 1)
    published.begin("1")
    client.indices.put_settings(index=index, settings={"index.final_pipeline": "theirs"})
    with pytest.raises(Retry, match=f"of {index} is not the one that was written: title differ"):
        published.update({})
    client.indices.put_settings(index=index, settings={"index.final_pipeline": None})
    published.check(published.update({}))


def test_a_document_that_a_moderator_marks_meanwhile_is_the_one_that_was_written(published, monkeypatch):
    client, documents = published.search.client, Indexes.documents

    def marked(engine, name, keys):
        for key in keys:
            client.update(index=name, id=key, doc={"mature": True}, refresh=True)
        return documents(engine, name, keys)

    write(published, 1)
    published.begin("1")
    monkeypatch.setattr(Indexes, "documents", marked)
    published.update({})


def test_a_kill_before_the_state_is_saved(published):
    """Documents were written, but nobody knows: they are written again, and counted once."""
    write(published, 1)
    published.begin("1")

    def killed(_):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        published.job(attempt=Attempt(save=killed)).run()
    published.check(published.update({}))
    published.check(published.update({}))  # the task is cleared after its success


def test_an_update_that_is_stopped_resumes(published, monkeypatch):
    monkeypatch.setattr(changed_documents, "BATCH", 7)
    monkeypatch.setattr(document_rows, "CHUNK", 3)
    write(published, 1)
    published.begin("1")
    state: dict[str, dict[str, object]] = {}
    with pytest.raises(Interrupted, match="resumes there"):
        published.update(state, should_stop=lambda: True)
    first = state["at"]["after"]
    updated = published.update(state)
    assert str(updated.after) > str(first)
    published.check(updated)


def test_many_records_without_a_document_stop_the_update(published):
    """As they stop the filling of a new index; their earlier documents stay."""
    before = published.search.count(INDEX)
    published.catalog.execute(
        f"update image set created_on = '12000-01-01' where identifier in {FIRST.format(30)}"
    )
    published.begin("1")
    with pytest.raises(Fatal, match=r"\d\d of 120 records of image have no document, more than 1%"):
        published.update({})
    published.search.refresh(INDEX)
    assert published.search.count(INDEX) == before


def test_moderation_between_two_refreshes(published):
    """The API deletes rows and documents itself, days before the refresh."""
    keys = [
        str(key)
        for (key,) in published.api.execute(
            "select identifier from image where id not in (select image_id from imagelist_images) limit 3"
        )
    ]
    published.api.execute("delete from image where identifier = any(%s::uuid[])", [keys])
    published.api.execute(
        "insert into api_deletedimage (created_on, updated_on, identifier)"
        " select now() - interval '3 days', now(), unnest(%s::uuid[])",
        [keys],
    )
    for index in INDEXES.values():
        for key in keys:
            published.search.client.delete(index=index, id=key, refresh=True)
    write(published, 1)
    published.begin("1")
    published.check(published.update({}))


def test_a_row_that_another_program_deletes_meanwhile(published):
    """No later attempt could find its document, so the message says what helps."""
    write(published, 1)
    published.begin("1")
    updated = published.update({})
    published.api.execute(
        "delete from image where id = (select max(id) from image"
        " where not removed_from_source and id not in (select image_id from imagelist_images))"
    )
    with pytest.raises(Refused, match=r"another program has changed .* Trigger a new run"):
        published.check(updated)
