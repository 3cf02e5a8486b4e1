"""Each oracle lets a right state pass, and fails on a wrong one: in real databases and on a real engine."""

import threading

import psycopg
import pytest

from catalog.data_refresh.mapping import index_body, index_meta
from catalog.data_refresh.tag_policy import policy_from
from catalog.soak import made_up, oracles
from catalog.soak.journal import Journal
from catalog.soak.made_up import SOURCES
from catalog.soak.model import Model, Update
from catalog.soak.readers import AliasReader, TableReader
from catalog.soak.visitors import Visits, leave_lists, make_list
from catalog.soak.world import relations

pytestmark = pytest.mark.database
NAPPY = SOURCES["nappy"]
RUN = "a-run"
TERMS = ["water"]


def insert(connection, source, groups, generation=0, table=None):
    """Records as a pull of this generation leaves them."""
    rows = [
        (source.string, identifier, made_up.title(number, generation))
        for group in groups
        for number, identifier in enumerate(source.identifiers(group))
    ]
    more = (", deleted_on", ", now()") if table and table.startswith("deleted_") else ("", "")
    with connection.cursor() as cursor:
        cursor.executemany(
            f"insert into {table or source.media_type} (created_on, updated_on, removed_from_source, license, url, "
            f"source, provider, foreign_identifier, title, identifier{more[0]}) select now(), now(), false, 'cc0', "
            f"'https://example.org/' || p || i, p, p, i, t, md5(p || i)::uuid{more[1]} from (values (%s, %s, %s)) v (p, i, t)",
            rows,
        )


def report(connection, **changed):
    listed, odd = len(made_up.items("nappy", 0)), made_up.odd("nappy", 0)
    values = {
        "dag_id": "nappy_workflow", "run_id": RUN, "provider": "nappy", "media_type": "image", "manifest_token": "t",
        "manifest_pages": 1, "complete": True, "whole": True, "fetched": listed, "inserted": listed - odd, "updated": 0,
        "unchanged": 0, "skipped": odd, "rejected": 0, **changed,
    }  # fmt: skip
    names = ", ".join(values)
    marks = ", ".join(["%s"] * len(values))
    connection.execute(f"insert into ingestion_report ({names}) values ({marks})", list(values.values()))


@pytest.fixture
def model():
    """After one pull of one provider."""
    model = Model()
    model.pull_begins(NAPPY, made_up.groups(0), 0)
    model.pull_ends(NAPPY, made_up.groups(0), 0)
    return model


@pytest.fixture
def pulled(catalog, model):
    """A catalog that is as the model says."""
    insert(catalog, NAPPY, made_up.groups(0))
    report(catalog)
    return catalog


def whole(catalog, model):
    return oracles.pull_is_whole(catalog, RUN, NAPPY, 0, model)


def named(found):
    return [oracle for oracle, _ in found]


def test_a_whole_pull(pulled, model):
    assert whole(pulled, model) == []


@pytest.mark.parametrize(
    ("statement", "oracle", "text"),
    [
        ("delete from image where foreign_identifier = 'corex00007'", "O1", "lacks 1 records: corex00007"),
        ("update image set title = 'Made G5' where foreign_identifier = 'corex00007'", "O1", "not of [0]"),
        (
            "update image set foreign_identifier = 'else' where foreign_identifier = 'corex00007'",
            "O1",
            "never had",
        ),
        ("update ingestion_report set fetched = fetched - 1, skipped = skipped - 1", "O3", "the API listed"),
        ("update ingestion_report set skipped = skipped - 1, rejected = 1", "O3", "1 rejected"),
        ("update ingestion_report set complete = false", "O7", "complete False"),
        ("update ingestion_report set whole = false", "O7", "whole False"),
        ("delete from ingestion_report", "O3", "0 reports"),
    ],
)
def test_a_pull_that_is_not_whole(pulled, model, statement, oracle, text):
    pulled.execute(statement)
    found = whole(pulled, model)
    assert any(text in words for name, words in found if name == oracle), found


def test_an_account_that_does_not_add_up(pulled):
    assert oracles.accounts_add_up(pulled) == []
    pulled.execute("alter table ingestion_report drop constraint everything_accounted_for")
    pulled.execute("update ingestion_report set inserted = inserted - 1")
    assert named(oracles.accounts_add_up(pulled)) == ["O3"]


def test_a_deletion_and_a_restore(pulled, model):
    model.change_begins(NAPPY, "gone1")
    assert oracles.records_are_right(pulled, NAPPY, model) == []  # not certain now
    model.change_ends(NAPPY, "gone1", live=False)
    assert named(oracles.records_are_right(pulled, NAPPY, model)) == ["O1"]
    assert named(oracles.group_is_deleted(pulled, NAPPY, "gone1")) == ["O1", "O1"]
    pulled.execute("delete from image where foreign_identifier like 'gone1x%'")
    insert(pulled, NAPPY, ["gone1"], table="deleted_image")
    assert oracles.records_are_right(pulled, NAPPY, model) == []
    assert oracles.group_is_deleted(pulled, NAPPY, "gone1") == []
    pulled.execute("delete from deleted_image where foreign_identifier = 'gone1x00000'")  # one is nowhere
    assert named(oracles.group_is_deleted(pulled, NAPPY, "gone1")) == ["O1"]
    assert named(oracles.group_is_restored(pulled, NAPPY, "gone1")) == ["O1", "O1"]


def test_a_group_may_be_of_the_generation_of_its_deletion_until_the_next_pull(pulled, model):
    model.pull_begins(NAPPY, made_up.groups(1), 1)
    model.change_begins(NAPPY, "gone1")
    model.change_ends(NAPPY, "gone1", live=False)
    model.change_begins(NAPPY, "gone1")
    model.change_ends(NAPPY, "gone1", live=True)
    model.pull_ends(NAPPY, made_up.groups(1), 1)
    assert model.generations(("nappy", "gone1")) == {0, 1}
    assert model.generations(("nappy", "core")) == {1}
    model.pull_begins(NAPPY, made_up.groups(2), 2)
    model.pull_ends(NAPPY, made_up.groups(2), 2)
    assert model.generations(("nappy", "gone1")) == {2}


@pytest.mark.parametrize(
    ("statement", "right"),
    [
        ("true", True),
        ("foreign_identifier <> 'corex00013'", False),  # one is left out
        ("foreign_identifier like 'corex%%' or foreign_identifier = 'gone0x00003'", False),  # one too many
    ],
)
def test_an_update(pulled, statement, right):
    pulled.execute(
        "update image set meta_data = jsonb_build_object('q', 1) where (foreign_identifier like 'corex%%3' and "
        f"{statement.partition(' or ')[0]}) or {statement.partition(' or ')[2] or 'false'}"
    )
    found = oracles.update_is_whole(pulled, "q", Update(NAPPY, 3))
    assert named(found) == ([] if right else ["O1"])
    pulled.execute(
        "update image set meta_data = jsonb_build_object('q', 2) where foreign_identifier = 'corex00003'"
    )
    assert "O1" in named(oracles.update_is_whole(pulled, "q", Update(NAPPY, 3)))  # one was changed twice


def test_scores(pulled):
    pulled.execute("""
        update image_popularity_metrics set constant = 10, refreshed_constant = 10 where provider = 'nappy';
        update image set meta_data = '{"downloads": 30}', standardized_popularity = 0.75
    """)
    assert oracles.scores_are_right(pulled) == []
    pulled.execute("update image set standardized_popularity = 0.5 where foreign_identifier = 'corex00003'")
    assert named(oracles.scores_are_right(pulled)) == ["O1"]
    pulled.execute("update image set standardized_popularity = 1.5 where foreign_identifier = 'corex00003'")
    assert named(oracles.scores_are_right(pulled)) == ["O1", "O1"]


def test_a_key_twice(pulled):
    assert oracles.no_key_twice(pulled, is_catalog=True) == []
    insert(pulled, NAPPY, ["gone0"], table="deleted_image")
    assert named(oracles.no_key_twice(pulled, is_catalog=True)) == ["O2"]
    pulled.execute(
        "alter table image drop constraint image_identifier_key; drop index image_provider_fid_idx, image_url_key"
    )
    pulled.execute("insert into image select * from image where foreign_identifier = 'corex00003'")
    assert named(oracles.no_key_twice(pulled, is_catalog=False)) == ["O2", "O2"]


@pytest.mark.parametrize(
    ("delivered", "more_tries", "right"),
    [(20, 0, True), (21, 0, False), (21, 1, True), (22, 1, False), (19, 0, True)],
)
def test_pages_that_are_asked_for_again(delivered, more_tries, right):
    assert named(oracles.requested_again(RUN, delivered, 20, more_tries)) == ([] if right else ["O4"])


def test_what_is_left_over(pulled):
    before = relations(pulled)
    assert oracles.nothing_left(pulled, "catalog", before, relations(pulled)) == []
    pulled.execute("create table q_rows_to_update (); select pg_advisory_lock(7)")
    found = oracles.nothing_left(pulled, "catalog", before, relations(pulled))
    assert [text for _, text in found] == [
        "left over in catalog: q_rows_to_update",
        "1 advisory locks are held in catalog",
    ]
    pulled.execute("drop table q_rows_to_update; drop view whole_pull; select pg_advisory_unlock_all()")
    [(oracle, text)] = oracles.nothing_left(pulled, "catalog", before, relations(pulled))
    assert (oracle, text) == ("O5", "missing from catalog: whole_pull")


def test_a_statement_that_still_runs(pulled, dsn):
    with psycopg.connect(dsn, application_name="catalog") as other:
        other.execute("select 1 as left_open")  # in a transaction
        [(oracle, text)] = oracles.nothing_left(pulled, "catalog", set(), set())
    assert (oracle, text) == ("O5", "still running in catalog: select 1 as left_open")


def test_a_partial_file(tmp_path):
    (tmp_path / "part_1.tsv").touch()
    assert oracles.no_partial_file(tmp_path) == []
    (tmp_path / "part_2.tsv.partial").touch()
    assert named(oracles.no_partial_file(tmp_path)) == ["O5"]


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
        return named(oracles.canary_is_nowhere(canary, files, connections, texts))

    (tmp_path / "a.log").write_text(f"GET https://api.example.org/?{text} failed")
    assert found(files=[tmp_path / "a.log"]) == ([] if right else ["O6"])
    assert found(texts=[f"failed: {text}"]) == ([] if right else ["O6"])
    report(catalog, skipped_reasons=f'{{"{text}": 1}}')
    assert found(connections=[("catalog", catalog)]) == ([] if right else ["O6"])


def test_states(catalog):
    """In tables of Airflow's shape."""
    catalog.execute("""
        create table dag_run (dag_id text, run_id text, state text);
        create table task_instance (dag_id text, run_id text, task_id text, state text);
        insert into dag_run values ('d', 'r', 'success');
        insert into task_instance values ('d', 'r', 'pull', 'success'), ('d', 'r', 'load', 'skipped')
    """)
    assert oracles.states_tell_the_truth(catalog) == []
    catalog.execute("update task_instance set state = 'failed' where task_id = 'pull'")
    assert named(oracles.states_tell_the_truth(catalog)) == ["O7"]
    catalog.execute("insert into dag_run values ('d', 'r2', 'running')")
    assert named(oracles.states_tell_the_truth(catalog)) == ["O7", "O7"]


# the API and the engine


@pytest.fixture
def refreshed(pulled, api):
    """An API database that holds what the catalog does."""
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
    assert oracles.api_is_the_catalog(pulled, refreshed, "image", []) == []
    refreshed.execute(statement)
    assert named(oracles.api_is_the_catalog(pulled, refreshed, "image", [])) == ["O1"]


def test_a_moderated_medium_must_be_gone(pulled, refreshed):
    [(gone,)] = refreshed.execute("select identifier::text from image limit 1").fetchall()
    assert named(oracles.api_is_the_catalog(pulled, refreshed, "image", [gone])) == ["O1"]
    refreshed.execute("delete from image where identifier = %s", [gone])
    assert oracles.api_is_the_catalog(pulled, refreshed, "image", [gone]) == []


@pytest.fixture
def indexed(refreshed, search):
    """Both indexes, of the table."""
    client, rows = (
        search.client,
        refreshed.execute("select id, identifier::text, title from image").fetchall(),
    )
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
    return oracles.index_is_the_table(refreshed, indexed, "image", marked, TERMS)


def test_an_index_that_is_not_the_table(refreshed, indexed):
    assert judge_index(refreshed, indexed) == []
    assert oracles.no_index_left(indexed) == []
    [(water,)] = refreshed.execute(
        "select identifier::text from image where title like 'Water%' limit 1"
    ).fetchall()
    [(made,)] = refreshed.execute(
        "select identifier::text from image where title like 'Made%' limit 1"
    ).fetchall()
    assert named(judge_index(refreshed, indexed, [made])) == ["O1", "O1"]  # its mark is in neither document
    document = {"id": 1, "identifier": water, "title": "Water"}
    indexed.client.index(index="image-filtered", id=water, document=document, refresh=True)
    assert named(judge_index(refreshed, indexed)) == ["O1", "O1"]  # too many, and a sensitive one
    indexed.client.delete(index="image-filtered", id=water, refresh=True)
    indexed.client.delete(index="image", id=made, refresh=True)
    assert named(judge_index(refreshed, indexed)) == ["O1"]
    indexed.client.indices.create(index="image-orphan")
    assert named(oracles.no_index_left(indexed)) == ["O5"]


def test_an_index_that_the_engine_made_by_itself(refreshed, indexed):
    indexed.client.index(index="image-guessed", document={"id": 1, "title": "Made"}, refresh=True)
    swap = [
        {"remove": {"index": "image-1", "alias": "image"}},
        {"add": {"index": "image-guessed", "alias": "image"}},
    ]
    indexed.client.indices.update_aliases(actions=swap)
    assert "O8" in named(judge_index(refreshed, indexed))


class OneStack:
    """What readers need of a world."""

    def __init__(self, dsn, search=None):
        self._dsn, self._search = dsn, search

    def connect(self, _):
        return psycopg.connect(self._dsn, autocommit=True)

    def search(self):
        return self._search


@pytest.fixture
def table(refreshed, api_dsn, model):
    journal = Journal()
    reader = TableReader(OneStack(api_dsn), journal, model, lambda _: threading.TIMEOUT_MAX, "image")
    reader.look()
    assert journal.violations == []
    return reader, journal


def exchange(api, condition):
    """A new table takes the live one's place, with some of its rows."""
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
    reader.look()
    [(gone,)] = refreshed.execute("select identifier::text from image limit 1").fetchall()
    moderate(refreshed, model, gone)
    refreshed.execute("delete from image where identifier = %s", [gone])
    reader.look()
    exchange(refreshed, "true")
    reader.look()
    assert journal.violations == []


def test_a_reader_of_a_partial_table(refreshed, table):
    reader, journal = table
    exchange(refreshed, "foreign_identifier <> 'corex00003'")
    reader.look()
    assert ["lacks 1 of" in v.text for v in journal.violations] == [True]


def test_a_reader_of_a_table_that_is_filled_while_it_is_live(refreshed, table):
    reader, journal = table
    refreshed.execute("delete from image where foreign_identifier = 'corex00003'")
    reader.look()
    assert ["1 rows left the live table" in v.text for v in journal.violations] == [True]


def test_a_reader_of_a_table_with_a_moderated_medium(refreshed, table, model):
    reader, journal = table
    [(gone,)] = refreshed.execute("select identifier::text from image limit 1").fetchall()
    moderate(refreshed, model, gone)
    exchange(refreshed, "true")
    reader.look()
    assert ["holds moderated media" in v.text for v in journal.violations] == [True]


@pytest.fixture
def alias(indexed, model, api_dsn, monkeypatch):
    monkeypatch.setattr("catalog.soak.readers.GRACE", 0.0)
    monkeypatch.setattr("catalog.soak.readers.RACING", 0)
    journal = Journal()
    reader = AliasReader(OneStack(api_dsn, indexed), journal, model, "image", TERMS)
    reader.look()
    reader.look()
    assert journal.violations == []
    return reader, journal


def test_a_reader_of_a_moderated_document(refreshed, indexed, alias, model):
    reader, journal = alias
    [(gone,)] = refreshed.execute(
        "select identifier::text from image where title like 'Made%' limit 1"
    ).fetchall()
    model.deleted["image"][gone] = 0.0
    reader.look()
    reader.look()
    assert [v.text.split(",")[0] for v in journal.violations] == [
        f"image shows {gone}",
        f"image-filtered shows {gone}",
    ]


def test_a_reader_of_an_index_that_changes_its_size(refreshed, indexed, alias):
    reader, journal = alias
    [(one,)] = refreshed.execute(
        "select identifier::text from image where title like 'Made%' limit 1"
    ).fetchall()
    indexed.client.delete(index="image", id=one, refresh=True)
    reader.look()
    assert ["1,140 documents and has 1,139" in v.text for v in journal.violations] == [True]


def test_a_reader_of_an_index_with_a_guessed_mapping(indexed, alias):
    reader, journal = alias
    indexed.client.index(index="image-guessed", document={"source": "nappy", "title": "Made"}, refresh=True)
    swap = [
        {"remove": {"index": "image-1", "alias": "image"}},
        {"add": {"index": "image-guessed", "alias": "image"}},
    ]
    indexed.client.indices.update_aliases(actions=swap)
    reader.look()
    assert any("answers 400" in v.text for v in journal.violations)


def test_a_reader_of_an_alias_that_is_gone(indexed, alias):
    reader, journal = alias
    indexed.client.indices.delete(index="image-1-filtered")
    reader.look()
    assert ["no such alias" in v.text for v in journal.violations] == [True]


def test_views_and_lists(refreshed):
    listed = make_list(refreshed, "image")
    visits = Visits()
    visits.sure.update(listed)
    visits.unsure[listed[0]] = 1

    def found(*deleted):
        return named(oracles.visits_are_kept(refreshed, "image", visits, listed, deleted))

    assert found() == ["O1"]  # none was counted
    refreshed.execute("update image set view_count = 1 where identifier = any(%s::uuid[])", [listed])
    assert found() == []
    refreshed.execute("update image set view_count = 2 where identifier = any(%s::uuid[])", [listed[:1]])
    assert found() == []
    refreshed.execute("update image set view_count = 2 where identifier = any(%s::uuid[])", [listed[1:2]])
    assert found() == ["O1"]
    assert found(listed[1]) == []
    leave_lists(refreshed, "image", listed[1:3])
    assert found(listed[1]) == ["O1"]
    assert found(*listed[1:3]) == []
