"""An index that another program has rewritten is neither copied nor pointed at, on a real search engine."""

import msgspec
import pytest
from psycopg.types.json import Jsonb

from catalog.core.errors import Fatal, Refused
from catalog.core.settings import API_DB
from catalog.dags.common.environments import PRODUCTION, STAGING
from catalog.data_refresh.refresh import Copy, CreatedIndex, begin, note_index, read
from catalog.data_refresh.refresh_history import last_writes
from catalog.data_refresh.search.index_writes import contents_of
from catalog.data_refresh.search.moderation import follow
from catalog.data_refresh.search.refresh_indexes import RefreshIndexes
from catalog.data_refresh.tables.marks import marked_by, set_mark
from catalog.moderation.decisions import EVER
from catalog.tests.data_refresh.test_changed_documents import INDEX
from catalog.tests.data_refresh.test_exchange import api_dsn, filled, pair  # noqa: F401 - fixtures
from catalog.tests.data_refresh.test_index_writes import (
    change_titles,
    decide,
    exchange,
    left,  # noqa: F401 - a fixture
)
from catalog.tests.data_refresh.test_refresh import plan, turn

pytestmark = [pytest.mark.airflow, pytest.mark.database, pytest.mark.enable_socket]


@pytest.fixture
def refuse(left, pair, monkeypatch):  # noqa: F811 - the fixtures
    """Asks whether the index of a finished refresh is refused."""
    from catalog.dags.groups import index_checks

    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", pair[0])
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_API", pair[1])
    monkeypatch.setattr(index_checks, "indexes", lambda conn_id: left.search)
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_API_STAGING", pair[1])
    left.catalog.execute("update refresh set stage = 'promoted'")
    return lambda where=PRODUCTION, index=INDEX: index_checks.refuse_rewritten(
        where, "image", left.search.require(index), field="index"
    )


@pytest.fixture
def origin(left, refuse, monkeypatch):  # noqa: F811 - the fixture
    """Chooses the index from which a filtered one is made."""
    from catalog.dags import create_filtered_index

    monkeypatch.setattr(create_filtered_index, "indexes", lambda: left.search)
    return create_filtered_index._origin


def lose_documents(left, name):  # noqa: F811 - the fixture
    """More than moderators have deleted."""
    first = left.search.client.search(index=name, size=1, sort=["id"])["hits"]["hits"][0]["_source"]["id"]
    later = {"range": {"id": {"gt": first}}}
    left.search.client.delete_by_query(index=name, query=later, refresh=True)


def promote_nothing(left, name):  # noqa: F811 - the fixture
    left.catalog.execute("update refresh set stage = 'working'")


@pytest.mark.parametrize("suffix", ["a", None], ids=["named", "live"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (exchange, "another program has written documents"),
        (lose_documents, "but [0-9]+ when it was counted"),
        (promote_nothing, "image-a was never complete, or belongs to tables that are not live"),
    ],
)
def test_no_filtered_index_is_made_from_it(left, origin, suffix, change, reason):  # noqa: F811 - the fixture
    assert origin("image", suffix, INDEX) == INDEX
    change(left, INDEX)
    with pytest.raises(Refused, match=f"^origin_index_suffix: .*{reason}"):
        origin("image", suffix, INDEX)


def test_no_filtered_index_is_made_from_another(left, origin):  # noqa: F811 - the fixture
    with pytest.raises(Refused, match="image-a-filtered lacks sensitive media already"):
        origin("image", "a-filtered", INDEX)
    left.search.client.indices.create(index="image-somebodys")
    with pytest.raises(Fatal, match="the catalog did not create the index image-somebodys"):
        origin("image", "somebodys", INDEX)


@pytest.mark.parametrize("change", [exchange, change_titles])
def test_an_index_that_another_program_has_rewritten(left, refuse, change):  # noqa: F811 - the fixture
    refuse()
    before = left.search.count(INDEX)
    change(left, INDEX)
    assert left.search.count(INDEX) == before
    with pytest.raises(Refused, match=r"index: another program has written documents .*make another one"):
        refuse()


def test_decisions_of_moderators_rewrite_nothing(left, refuse):  # noqa: F811 - the fixture
    key, other = left.keys(INDEX, 2)
    decide(left, "mature", key)
    decide(left, "deleted", other)
    follow(left.api, left.search, INDEX, "image", EVER)
    refuse()


def test_a_copy_that_was_rewritten_after_it_was_finished(left, refuse, monkeypatch):  # noqa: F811 - the fixture
    from catalog.dags.groups import copies

    uuid, key = left.search.require(INDEX).uuid, left.keys(INDEX, 1)[0]
    planned = msgspec.structs.replace(
        plan(INDEX), mode="copy", since=EVER, copy=Copy("image-origin", "u", {}), aliases={}, api=API_DB
    )
    mine = turn(left.catalog, "copy")
    documents, writes = contents_of(left.search, INDEX)
    made = CreatedIndex(uuid, documents, None, writes)
    note_index(left.catalog, begin(left.catalog, mine, planned), INDEX, made)
    monkeypatch.setattr(copies, "current_refresh", lambda *stages: read(left.catalog, mine))
    monkeypatch.setattr(copies, "indexes_of", lambda refresh: RefreshIndexes(refresh, left.search))
    monkeypatch.setattr(copies, "indexes", lambda conn_id: left.search)
    monkeypatch.setattr(copies, "open_for_search", lambda refresh: None)
    monkeypatch.setattr(copies, "notify", lambda *texts, **more: "")
    decide(left, "mature", key)
    copies.finish_index.function(documents)
    assert left.search.client.get(index=INDEX, id=key)["_source"]["mature"]
    assert last_writes(left.catalog, uuid) == contents_of(left.search, INDEX).writes != writes
    refuse()
    exchange(left, INDEX)
    with pytest.raises(Refused, match="another program has written documents"):
        refuse()


def made_of_staging(left, *, copied=False):  # noqa: F811 - the fixture
    """Let the index be of staging: made of the rows that its database has, or a copy of such an index."""
    known = {"marked": marked_by(left.api, "image"), "table": "image"}
    left.catalog.execute("update refresh set plan = plan || %s", [Jsonb(known)])
    if copied:
        left.catalog.execute(
            "update refresh set indexes = jsonb_build_object('image-origin', indexes -> %s || %s)",
            [INDEX, Jsonb({"uuid": "u"})],
        )
        planned = msgspec.structs.replace(
            plan(INDEX),
            table="",
            mode="copy",
            since=EVER,
            copy=Copy("image-origin", "u", {}),
            aliases={},
            api=API_DB,
        )
        refresh = begin(left.catalog, turn(left.catalog, "copy"), planned)
        documents, writes = contents_of(left.search, INDEX)
        made = CreatedIndex(left.search.require(INDEX).uuid, documents, None, writes)
        note_index(left.catalog, refresh, INDEX, made)
        left.catalog.execute("update refresh set stage = 'promoted'")


@pytest.mark.parametrize("copied", [False, True])
def test_a_restore_of_the_database_of_staging_makes_nobody_another_program(left, refuse, copied):  # noqa: F811 - the fixture
    """Its rows explain no document that was made before, as one that a moderator of staging has marked."""
    made_of_staging(left, copied=copied)
    decide(left, "mature", key := left.keys(INDEX, 1)[0])
    left.patch(INDEX, key, mature=True)
    assert refuse(STAGING) == []
    left.api.execute("update image set title = 'of the next month'")
    with pytest.raises(Refused, match="another program has written documents"):
        refuse(STAGING)
    set_mark(left.api, "image", marked_by(left.api, "image") + 7)  # as production's had when it was saved
    [warning] = refuse(STAGING)
    assert "the database of staging has rows of another data refresh than image-a, as after a" in warning
    with pytest.raises(Refused, match="another program has written documents"):
        refuse(PRODUCTION)


def test_an_index_of_staging_that_another_program_has_rewritten(left, refuse):  # noqa: F811 - the fixture
    made_of_staging(left)
    change_titles(left, INDEX)
    with pytest.raises(Refused, match="another program has written documents"):
        refuse(STAGING)


def test_an_index_of_an_earlier_release_is_not_compared(left, refuse):  # noqa: F811 - the fixture
    left.catalog.execute("update refresh set indexes = indexes #- %s", [["image-a", "writes"]])
    change_titles(left, INDEX)
    refuse()
