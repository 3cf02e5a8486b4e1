"""Each oracle accepts a right state and reports a wrong one, in real databases and a real engine."""

import threading

import psycopg
import pytest

from catalog.core.session import Connection
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.mapping import index_body, index_meta
from catalog.data_refresh.search.tag_policy import policy_from
from catalog.soak import made_up
from catalog.soak.journal import Journal
from catalog.soak.made_up import SOURCES
from catalog.soak.model import Model, Update
from catalog.soak.oracles import content, published, remains
from catalog.soak.readers import AliasReader, TableReader
from catalog.soak.visitors import Visits, leave_lists, make_list
from catalog.soak.world import World, relations
from catalog.tests.values import present

pytestmark = pytest.mark.database
NAPPY = SOURCES["nappy"]
RUN = "a-run"
TERMS = ["water"]


def insert(connection, source, groups, generation=0, table=None):
    """Insert the records that a pull of this generation stores."""
    rows = [
        (source.catalog_name, identifier, made_up.title(number, generation))
        for group in groups
        for number, identifier in enumerate(source.identifiers(group))
    ]
    more = (", deleted_on", ", now()") if table and table.startswith("deleted_") else ("", "")
    with connection.cursor() as cursor:
        cursor.executemany(
            f"insert into {table or source.media_type} (created_on, updated_on, removed_from_source, license,"
            f" url, source, provider, foreign_identifier, title, identifier{more[0]})"
            f" select now(), now(), false, 'cc0', 'https://example.org/' || p || i, p, p, i, t,"
            f" md5(p || i)::uuid{more[1]} from (values (%s, %s, %s)) v (p, i, t)",
            rows,
        )


def report(connection, **changed):
    listed, odd = len(made_up.items("nappy", 0)), made_up.odd("nappy", 0)
    values = {
        "dag_id": "nappy_workflow",
        "run_id": RUN,
        "provider": "nappy",
        "media_type": "image",
        "manifest_token": "t",
        "manifest_pages": 1,
        "complete": True,
        "whole": True,
        "fetched": listed,
        "inserted": listed - odd,
        "updated": 0,
        "unchanged": 0,
        "skipped": odd,
        "rejected": 0,
        **changed,
    }
    names = ", ".join(values)
    marks = ", ".join(["%s"] * len(values))
    connection.execute(f"insert into ingestion_report ({names}) values ({marks})", list(values.values()))


@pytest.fixture
def model():
    """A model after one pull of one provider."""
    model = Model()
    model.pull_begins(NAPPY, made_up.groups(0), 0)
    model.pull_ends(NAPPY, made_up.groups(0), 0)
    return model


@pytest.fixture
def pulled(catalog, model):
    """A catalog that matches the model."""
    insert(catalog, NAPPY, made_up.groups(0))
    report(catalog)
    return catalog


def whole(catalog, model):
    return content.check_pull(catalog, RUN, NAPPY, 0, model)


def named(found):
    return [oracle for oracle, _ in found]


def test_a_whole_pull(pulled, model):
    assert whole(pulled, model) == []


@pytest.mark.parametrize(
    ("statement", "oracle", "text"),
    [
        (
            "delete from image where foreign_identifier = 'corex00007'",
            "content",
            "lacks 1 records: corex00007",
        ),
        (
            "update image set title = 'Made G5' where foreign_identifier = 'corex00007'",
            "content",
            "not of [0]",
        ),
        (
            "update image set foreign_identifier = 'else' where foreign_identifier = 'corex00007'",
            "content",
            "never had",
        ),
        (
            "update ingestion_report set fetched = fetched - 1, skipped = skipped - 1",
            "accounts",
            "the API listed",
        ),
        ("update ingestion_report set skipped = skipped - 1, rejected = 1", "accounts", "1 rejected"),
        ("update ingestion_report set complete = false", "states", "complete False"),
        ("update ingestion_report set whole = false", "states", "whole False"),
        ("delete from ingestion_report", "accounts", "0 reports"),
    ],
)
def test_a_pull_that_is_not_whole(pulled, model, statement, oracle, text):
    pulled.execute(statement)
    found = whole(pulled, model)
    assert any(text in words for name, words in found if name == oracle), found


def test_an_account_that_does_not_add_up(pulled):
    assert content.check_accounts(pulled) == []
    pulled.execute("alter table ingestion_report drop constraint everything_accounted_for")
    pulled.execute("update ingestion_report set inserted = inserted - 1")
    assert named(content.check_accounts(pulled)) == ["accounts"]


def test_a_deletion_and_a_restore(pulled, model):
    model.change_begins(NAPPY, "deletable1")
    assert content.check_records(pulled, NAPPY, model) == []  # uncertain, so not judged
    model.change_ends(NAPPY, "deletable1", live=False)
    assert named(content.check_records(pulled, NAPPY, model)) == ["content"]
    assert named(content.check_deletion(pulled, NAPPY, "deletable1")) == ["content", "content"]
    pulled.execute("delete from image where foreign_identifier like 'deletable1x%'")
    insert(pulled, NAPPY, ["deletable1"], table="deleted_image")
    assert content.check_records(pulled, NAPPY, model) == []
    assert content.check_deletion(pulled, NAPPY, "deletable1") == []
    # One record is in neither table.
    pulled.execute("delete from deleted_image where foreign_identifier = 'deletable1x00000'")
    assert named(content.check_deletion(pulled, NAPPY, "deletable1")) == ["content"]
    assert named(content.check_restoration(pulled, NAPPY, "deletable1")) == ["content", "content"]


def test_a_restored_group_may_have_the_generation_of_its_deletion_until_the_next_pull(pulled, model):
    model.pull_begins(NAPPY, made_up.groups(1), 1)
    model.change_begins(NAPPY, "deletable1")
    model.change_ends(NAPPY, "deletable1", live=False)
    model.change_begins(NAPPY, "deletable1")
    model.change_ends(NAPPY, "deletable1", live=True)
    model.pull_ends(NAPPY, made_up.groups(1), 1)
    assert model.generations(("nappy", "deletable1")) == {0, 1}
    assert model.generations(("nappy", "core")) == {1}
    model.pull_begins(NAPPY, made_up.groups(2), 2)
    model.pull_ends(NAPPY, made_up.groups(2), 2)
    assert model.generations(("nappy", "deletable1")) == {2}


@pytest.mark.parametrize(
    ("statement", "right"),
    [
        ("true", True),
        # One row too few, and one too many.
        ("foreign_identifier <> 'corex00013'", False),
        ("foreign_identifier like 'corex%%' or foreign_identifier = 'deletable0x00003'", False),
    ],
)
def test_an_update(pulled, statement, right):
    pulled.execute(
        "update image set meta_data = jsonb_build_object('q', 1)"
        " where (foreign_identifier like 'corex%%3' and "
        f"{statement.partition(' or ')[0]}) or {statement.partition(' or ')[2] or 'false'}"
    )
    found = content.check_update(pulled, "q", Update(NAPPY, 3))
    assert named(found) == ([] if right else ["content"])
    pulled.execute(
        "update image set meta_data = jsonb_build_object('q', 2) where foreign_identifier = 'corex00003'"
    )
    assert "content" in named(content.check_update(pulled, "q", Update(NAPPY, 3)))  # changed twice


def test_scores(pulled):
    pulled.execute("""
        update image_popularity_metrics set constant = 10, refreshed_constant = 10 where provider = 'nappy';
        update image set meta_data = '{"downloads": 30}', standardized_popularity = 0.75
    """)
    assert content.check_scores(pulled) == []
    pulled.execute("update image set standardized_popularity = 0.5 where foreign_identifier = 'corex00003'")
    assert named(content.check_scores(pulled)) == ["content"]
    pulled.execute("update image set standardized_popularity = 1.5 where foreign_identifier = 'corex00003'")
    assert named(content.check_scores(pulled)) == ["content", "content"]


def test_a_key_twice(pulled):
    assert content.check_keys(pulled, is_catalog=True) == []
    insert(pulled, NAPPY, ["deletable0"], table="deleted_image")
    assert named(content.check_keys(pulled, is_catalog=True)) == ["keys"]
    pulled.execute(
        "alter table image drop constraint image_identifier_key;"
        " drop index image_provider_fid_idx, image_url_key"
    )
    pulled.execute("insert into image select * from image where foreign_identifier = 'corex00003'")
    assert named(content.check_keys(pulled, is_catalog=False)) == ["keys", "keys"]


@pytest.mark.parametrize(
    ("delivered", "retries", "right"),
    [(20, 0, True), (21, 0, False), (21, 1, True), (22, 1, False), (19, 0, True)],
)
def test_pages_that_are_requested_again(delivered, retries, right):
    assert named(content.check_requests(RUN, delivered, 20, retries)) == ([] if right else ["requests"])


def test_what_is_left_over(pulled):
    before = relations(pulled)
    assert remains.check_leftovers(pulled, "catalog", before, relations(pulled)) == []
    pulled.execute("create table q_rows_to_update (); select pg_advisory_lock(7)")
    found = remains.check_leftovers(pulled, "catalog", before, relations(pulled))
    assert [text for _, text in found] == [
        "left over in catalog: q_rows_to_update",
        "1 advisory locks are held in catalog",
    ]
    pulled.execute("drop table q_rows_to_update; drop view whole_pull; select pg_advisory_unlock_all()")
    [(oracle, text)] = remains.check_leftovers(pulled, "catalog", before, relations(pulled))
    assert (oracle, text) == ("leftovers", "missing from catalog: whole_pull")


def test_a_statement_that_still_runs(pulled, dsn):
    with psycopg.connect(dsn, application_name="catalog") as other:
        other.execute("select 1 as left_open")  # in a transaction
        [(oracle, text)] = remains.check_leftovers(pulled, "catalog", set(), set())
    assert (oracle, text) == ("leftovers", "still running in catalog: select 1 as left_open")


def test_a_partial_file(tmp_path):
    (tmp_path / "part_1.tsv").touch()
    assert remains.check_partial_files(tmp_path) == []
    (tmp_path / "part_2.tsv.partial").touch()
    assert named(remains.check_partial_files(tmp_path)) == ["leftovers"]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("nothing", True),
        ("client_id=songbird/Key+9", False),
        ("client_id=songbird%2FKey%2B9", False),
        ("c29uZ2JpcmQvS2V5Kzk=", False),
    ],
)
def test_the_canary(catalog, tmp_path, text, right):
    canary = "songbird/Key+9"

    def found(files=(), connections=(), texts=()):
        return named(remains.check_canary(canary, files, connections, texts))

    (tmp_path / "a.log").write_text(f"GET https://api.example.org/?{text} failed")
    assert found(files=[tmp_path / "a.log"]) == ([] if right else ["secrets"])
    assert found(texts=[f"failed: {text}"]) == ([] if right else ["secrets"])
    report(catalog, skipped_reasons=f'{{"{text}": 1}}')
    assert found(connections=[("catalog", catalog)]) == ([] if right else ["secrets"])


def test_states(catalog):
    """The tables are like Airflow's."""
    catalog.execute("""
        create table dag_run (dag_id text, run_id text, state text);
        create table task_instance (dag_id text, run_id text, task_id text, state text);
        insert into dag_run values ('d', 'r', 'success');
        insert into task_instance values ('d', 'r', 'pull', 'success'), ('d', 'r', 'load', 'skipped')
    """)
    assert remains.check_states(catalog) == []
    catalog.execute("update task_instance set state = 'failed' where task_id = 'pull'")
    assert named(remains.check_states(catalog)) == ["states"]
    catalog.execute("insert into dag_run values ('d', 'r2', 'running')")
    assert named(remains.check_states(catalog)) == ["states", "states"]


# the API and the engine


@pytest.fixture
def refreshed(pulled, api):
    """An API database that matches the catalog."""
    insert(api, NAPPY, made_up.groups(0))
    return api


@pytest.mark.parametrize(
    "statement",
    [
        "delete from image where foreign_identifier = 'corex00003'",
        "update image set title = 'Made G9' where foreign_identifier = 'corex00003'",
        "update image set identifier = gen_random_uuid() where foreign_identifier = 'corex00003'",
    ],
)
def test_an_api_table_that_is_not_the_catalog(pulled, refreshed, statement):
    assert published.check_api_table(pulled, refreshed, "image", []) == []
    refreshed.execute(statement)
    assert named(published.check_api_table(pulled, refreshed, "image", [])) == ["content"]


def test_a_moderated_medium_must_be_deleted(pulled, refreshed):
    [(deleted,)] = refreshed.execute("select identifier::text from image limit 1").fetchall()
    assert named(published.check_api_table(pulled, refreshed, "image", [deleted])) == ["content"]
    refreshed.execute("delete from image where identifier = %s", [deleted])
    assert published.check_api_table(pulled, refreshed, "image", [deleted]) == []


@pytest.fixture
def indexed(refreshed, search):
    """Both indexes, matching the table."""
    client = search.client
    rows = refreshed.execute("select id, identifier::text, title from image").fetchall()
    meta = index_meta("image", "image_data_refresh", RUN, policy_from(None))
    for alias in ("image", "image-filtered"):
        index = f"image-1{alias[5:]}"
        search.create(index, index_body("image", meta, 1))
        lines = []
        for id_, identifier, title in rows:
            if alias == "image" or "Water" not in title:
                lines += [
                    {"index": {"_id": identifier}},
                    {"id": id_, "identifier": identifier, "title": title},
                ]
        client.bulk(index=index, operations=lines, refresh=True)
        search.swap_aliases({alias: index})
    return search


def judge_index(refreshed, indexed, marked=()):
    return published.check_indexes(refreshed, indexed, "image", marked, TERMS)


def test_an_index_that_is_not_the_table(refreshed, indexed):
    assert judge_index(refreshed, indexed) == []
    assert remains.check_left_indexes(indexed) == []
    [(water,)] = refreshed.execute(
        "select identifier::text from image where title like 'Water%' limit 1"
    ).fetchall()
    [(made,)] = refreshed.execute(
        "select identifier::text from image where title like 'Made%' limit 1"
    ).fetchall()
    # The mark is missing from both documents.
    assert named(judge_index(refreshed, indexed, [made])) == ["content", "content"]
    document = {"id": 1, "identifier": water, "title": "Water"}
    indexed.client.index(index="image-filtered", id=water, document=document, refresh=True)
    # There is one document too many, and a sensitive one.
    assert named(judge_index(refreshed, indexed)) == ["content", "content"]
    indexed.client.delete(index="image-filtered", id=water, refresh=True)
    indexed.client.delete(index="image", id=made, refresh=True)
    assert named(judge_index(refreshed, indexed)) == ["content"]
    indexed.client.indices.create(index="image-orphan")
    assert named(remains.check_left_indexes(indexed)) == ["leftovers"]


def test_an_index_that_the_engine_has_created(refreshed, indexed):
    indexed.client.index(index="image-guessed", document={"id": 1, "title": "Made"}, refresh=True)
    swap = [
        {"remove": {"index": "image-1", "alias": "image"}},
        {"add": {"index": "image-guessed", "alias": "image"}},
    ]
    indexed.client.indices.update_aliases(actions=swap)
    assert "readers" in named(judge_index(refreshed, indexed))


class Databases(World):
    """A world without a stack: an API database and, for some readers, a search engine."""

    def __init__(self, connection: Connection, search: Indexes | None = None) -> None:
        self._connection, self._search = connection, search

    def connect(self, database: str = "catalog") -> Connection:
        return self._connection

    def search(self) -> Indexes:
        return present(self._search)


@pytest.fixture
def table(refreshed, api_dsn, model):
    journal = Journal()
    with psycopg.connect(api_dsn, autocommit=True) as own:
        reader = TableReader(Databases(own), journal, model, lambda _: threading.TIMEOUT_MAX, "image")
        reader.read()
        assert journal.violations == []
        yield reader, journal


def exchange(api, condition):
    """Replace the live table by a new one with some of its rows."""
    with api.transaction():
        api.execute(f"create table other as select * from image where {condition}")
        api.execute("drop table image cascade")
        api.execute("alter table other rename to image")


def moderate(api, model, identifier, when=0.0):
    api.execute("insert into api_deletedimage values (now(), now(), %s)", [identifier])
    model.deleted["image"][identifier] = when


def test_a_reader_of_whole_tables(refreshed, table, model):
    reader, journal = table
    exchange(refreshed, "true")
    reader.read()
    [(deleted,)] = refreshed.execute("select identifier::text from image limit 1").fetchall()
    moderate(refreshed, model, deleted)
    refreshed.execute("delete from image where identifier = %s", [deleted])
    reader.read()
    exchange(refreshed, "true")
    reader.read()
    assert journal.violations == []


def test_a_reader_of_a_partial_table(refreshed, table):
    reader, journal = table
    exchange(refreshed, "foreign_identifier <> 'corex00003'")
    reader.read()
    assert ["lacks 1 of" in v.message for v in journal.violations] == [True]


def test_a_reader_of_a_table_that_is_filled_while_it_is_live(refreshed, table):
    reader, journal = table
    refreshed.execute("delete from image where foreign_identifier = 'corex00003'")
    reader.read()
    assert ["1 rows left the live table" in v.message for v in journal.violations] == [True]


def test_a_reader_of_a_table_with_a_moderated_medium(refreshed, table, model):
    reader, journal = table
    [(deleted,)] = refreshed.execute("select identifier::text from image limit 1").fetchall()
    moderate(refreshed, model, deleted)
    exchange(refreshed, "true")
    reader.read()
    assert ["holds moderated media" in v.message for v in journal.violations] == [True]


@pytest.fixture
def alias(indexed, model, api_dsn, monkeypatch):
    monkeypatch.setattr("catalog.soak.readers.GRACE", 0.0)
    monkeypatch.setattr("catalog.soak.readers.RACING", 0)
    journal = Journal()
    with psycopg.connect(api_dsn, autocommit=True) as own:
        reader = AliasReader(Databases(own, indexed), journal, model, "image", TERMS)
        reader.read()
        reader.read()
        assert journal.violations == []
        yield reader, journal


def test_a_reader_of_a_moderated_document(refreshed, indexed, alias, model):
    reader, journal = alias
    [(deleted,)] = refreshed.execute(
        "select identifier::text from image where title like 'Made%' limit 1"
    ).fetchall()
    model.deleted["image"][deleted] = 0.0
    reader.read()
    reader.read()
    assert [v.message.split(",")[0] for v in journal.violations] == [
        f"image shows {deleted}",
        f"image-filtered shows {deleted}",
    ]


def test_a_reader_of_an_index_that_changes_its_size(refreshed, indexed, alias):
    reader, journal = alias
    [(one,)] = refreshed.execute(
        "select identifier::text from image where title like 'Made%' limit 1"
    ).fetchall()
    indexed.client.delete(index="image", id=one, refresh=True)
    reader.read()
    assert ["1,140 documents and has 1,139" in v.message for v in journal.violations] == [True]


def test_a_reader_of_an_index_with_a_guessed_mapping(indexed, alias):
    reader, journal = alias
    indexed.client.index(index="image-guessed", document={"source": "nappy", "title": "Made"}, refresh=True)
    swap = [
        {"remove": {"index": "image-1", "alias": "image"}},
        {"add": {"index": "image-guessed", "alias": "image"}},
    ]
    indexed.client.indices.update_aliases(actions=swap)
    reader.read()
    assert any("answers 400" in v.message for v in journal.violations)


def test_a_reader_of_a_missing_alias(indexed, alias):
    reader, journal = alias
    indexed.client.indices.delete(index="image-1-filtered")
    reader.read()
    assert ["no such alias" in v.message for v in journal.violations] == [True]


def test_views_and_lists(refreshed):
    listed = make_list(refreshed, "image")
    visits = Visits()
    visits.sure.update(listed)
    visits.unsure[listed[0]] = 1

    def found(*deleted):
        return named(published.check_visits(refreshed, "image", visits, listed, deleted))

    assert found() == ["content"]  # no view was counted
    refreshed.execute("update image set view_count = 1 where identifier = any(%s::uuid[])", [listed])
    assert found() == []
    refreshed.execute("update image set view_count = 2 where identifier = any(%s::uuid[])", [listed[:1]])
    assert found() == []
    refreshed.execute("update image set view_count = 2 where identifier = any(%s::uuid[])", [listed[1:2]])
    assert found() == ["content"]
    assert found(listed[1]) == []
    leave_lists(refreshed, "image", listed[1:3])
    assert found(listed[1]) == ["content"]
    assert found(*listed[1:3]) == []
