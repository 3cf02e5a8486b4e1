"""Several sessions that share a copy, and the creation of its indexes, while rows are written and move."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Barrier

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.core.errors import Interrupted, Retry
from catalog.core.session import interruptible
from catalog.data_refresh.tables import copy, index_building, locks, progress, ranges
from catalog.data_refresh.tables.columns import own_name, ranges_name
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.data_refresh.tables.promotion import promote
from catalog.data_refresh.tables.shape import shape
from catalog.database import sample_data
from catalog.tests.values import need

pytestmark = pytest.mark.database
COLUMNS = "identifier, url, title, provider, meta_data, tags"
PAGES = 5


@pytest.fixture
def filled(catalog, api, monkeypatch):
    """A catalog of 300 images, of which the API has 200."""
    monkeypatch.setattr(ranges, "PAGES", PAGES)
    monkeypatch.setattr(ranges, "ROWS", 40)  # of a range on PostgreSQL 13
    sample_data.fill(catalog, "catalog", 300)
    sample_data.fill(api, "api", 200)
    return catalog, api


@pytest.fixture
def connect(dsn, api_dsn):
    """Return new connections to the catalog and the API database."""
    with ExitStack() as stack:
        yield lambda: [stack.enter_context(psycopg.connect(one, autocommit=True)) for one in (dsn, api_dsn)]


def rows_of(connection, table="image"):
    return connection.execute(f"select {COLUMNS} from {table} order by identifier, url").fetchall()


def move(catalog, which="true"):
    """Rewrite rows, so that each moves to another page."""
    catalog.execute(f"update image set title = left(repeat('x', 400) || title, 900) where {which}")


def job(session, **options):
    upstream, api = session
    return TableCopy(upstream, api, "image", "run", **options)


def interrupted(session):
    with pytest.raises(Interrupted):
        job(session, should_stop=lambda: True).run()


def test_sessions_share_the_ranges(filled, connect):
    catalog, api = filled
    start = Barrier(3)
    met: list[int] = []

    def session(connections):
        started: list[int] = []

        def meet(copied):
            if not started:
                start.wait(60)  # nobody goes on before all have copied a range
            started.append(copied.rows)

        copied = job(connections, report=meet).run()
        met.append(len(started))
        return copied

    with ThreadPoolExecutor(3) as pool:
        copies = list(pool.map(session, [connect() for _ in range(3)]))
    assert rows_of(api, "temp_import_image") == rows_of(catalog)
    pages = catalog.execute("select pg_relation_size('image') / 8192").fetchone()[0]
    assert sum(met) == -(-pages // PAGES)
    assert [(one.rows, one.new, one.deleted) for one in copies if one.done][:1] == [(300, 100, 0)]
    assert api.execute(
        "select to_regclass(%s), to_regclass(%s)", [own_name("image"), ranges_name("image")]
    ).fetchone() == (None, None)


def refresh(session, step):
    """Do a step of a refresh."""
    _, target = session
    if step == "copy":
        job(session).run()
    elif step == "indexes":
        build_indexes(target, "image")
    else:
        promote(target, ["image"], "run", number=1)


def stopped_refresh(session, step):
    """Begin a step of a refresh, and stop it as a task does."""
    with ExitStack() as stack:
        for connection in session:
            stack.enter_context(connection)
            stack.enter_context(interruptible(connection, lambda: True))
        refresh(session, step)


LOCKED = {
    "copy": ("catalog", "image", "access exclusive"),
    "indexes": ("api", "temp_import_image", "row exclusive"),
    "exchange": ("api", "image", "row exclusive"),
}


@pytest.mark.parametrize("stopped", LOCKED)
def test_a_refresh_that_is_stopped_leaves_nothing_half_done(filled, connect, monkeypatch, stopped):
    """A statement of one step waits for a lock here; the next attempt does its work."""
    catalog, api = filled
    monkeypatch.setattr(locks, "LOCK_SECONDS", 300)
    live = rows_of(api), shape(api, "image")
    for step, (database, table, mode) in LOCKED.items():
        if step == stopped:
            other = dict(zip(("catalog", "api"), connect(), strict=True))[database]
            with other.transaction():
                other.execute(f"lock table {table} in {mode} mode")
                with pytest.raises(Interrupted, match="the statement was cancelled"):
                    stopped_refresh(connect(), step)
            assert (rows_of(api), shape(api, "image")) == live
        refresh(connect(), step)
    assert rows_of(api) == rows_of(catalog)


def test_sessions_that_begin_later_read_the_same_snapshot(filled, connect):
    """Rows that move while a session is copying are neither lost nor doubled."""
    catalog, api = filled
    before = rows_of(catalog)
    seen: list[int] = []

    def move_and_join(copied):
        if not seen:
            seen.append(copied.rows)
            move(catalog)
            catalog.execute("delete from image where url like '%7'")
            interrupted(connect())

    copied = job(connect(), report=move_and_join).run()
    assert rows_of(api, "temp_import_image") == before
    assert len(copied.snapshots) == 1


def test_a_session_that_comes_when_the_copy_is_complete(filled, connect, monkeypatch):
    """It began to wait for its part when there was still work."""
    catalog, api = filled
    late = job(connect())
    start = late._start

    def while_another_finishes():
        copied = start()
        job(connect()).run()
        return copied

    monkeypatch.setattr(late, "_start", while_another_finishes)
    assert late.run().rows == 300
    assert rows_of(api, "temp_import_image") == rows_of(catalog)


def test_an_interrupted_copy_neither_loses_nor_doubles_rows_that_move(filled, connect, monkeypatch):
    catalog, api = filled
    monkeypatch.setattr(copy, "MAX_MOVED_SHARE", 1.0)
    api.execute("insert into api_deletedimage select now(), now(), identifier from image where id <= 20")
    api.execute("delete from imagelist_images where image_id <= 20; delete from image where id <= 20")
    catalog.execute("update image set url = url || repeat('x', 1000) where foreign_identifier like '%-99'")
    interrupted(connect())
    first = [key for (key,) in api.execute("select identifier from temp_import_image").fetchall()]
    assert first
    move(catalog, "identifier in (select identifier from image order by identifier limit 25)")
    for key in first[:5]:
        move(catalog, f"identifier = '{key}'")
    one, two = [row[0] for row in catalog.execute("select identifier from image order by ctid desc limit 2")]
    urls = dict(catalog.execute("select identifier, url from image where identifier in (%s, %s)", [one, two]))
    for key, url in ((one, "https://example.org/x"), (two, urls[one]), (one, urls[two])):
        catalog.execute("update image set url = %s where identifier = %s", [url, key])
    catalog.execute("delete from image where identifier = any(%s)", [first[5:8]])
    catalog.execute("vacuum image")
    move(catalog, "identifier in (select identifier from image order by identifier desc limit 3)")
    copied = job(connect()).run()
    out_of = [key for (key,) in api.execute("select identifier from api_deletedimage").fetchall()]
    expected = [row for row in rows_of(catalog) if row[0] not in out_of and len(row[1]) < 1000]
    assert rows_of(api, "temp_import_image") == expected
    assert copied.rows == len(expected)
    assert copied.rejected == {"url is too long for the API's table": 1}
    assert len(copied.snapshots) == 2


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.sampled_from(("range", "move", "move some", "delete", "insert", "vacuum", "rewrite")), max_size=9
    )
)
def test_any_interruptions_end_with_each_record_once(filled, connect, steps):
    """The new table has what the catalog had at the moment of the last snapshot."""
    catalog, api = filled
    copy_moved, copy.MAX_MOVED_SHARE = copy.MAX_MOVED_SHARE, 100.0
    sessions = connect()
    api.execute("drop table if exists temp_import_image, temp_import_image_progress")
    deleted = set()
    try:
        for number, step in enumerate(steps):
            if step == "range":
                with suppress(Interrupted):
                    job(sessions, should_stop=lambda: True).run()
            elif step == "move":
                move(catalog)
            elif step == "move some":
                move(catalog, f"get_byte(uuid_send(identifier), 3) % 5 = {number % 5}")
            elif step == "delete":
                gone = "delete from image where get_byte(uuid_send(identifier), 5) %% 40 = %s"
                deleted |= {key for (key,) in catalog.execute(f"{gone} returning identifier", [number])}
            elif step == "insert":
                catalog.execute(
                    "insert into image select (jsonb_populate_record(i, jsonb_build_object("
                    "'identifier', gen_random_uuid(), 'url', url || gen_random_uuid(), "
                    "'foreign_identifier', gen_random_uuid()))).* from image i limit 3"
                )
            elif step == "vacuum":
                catalog.execute("vacuum image")
            else:
                catalog.execute("vacuum full image")
        copied = job(sessions).run()
        found = rows_of(api, "temp_import_image")
        assert [row for row in found if row[0] not in deleted] == rows_of(catalog)
        assert len(copied.snapshots) < 2 or found == rows_of(catalog)
        assert len({row[0] for row in found}) == len(found) == copied.rows
    finally:
        copy.MAX_MOVED_SHARE = copy_moved


def test_a_record_that_returns_under_another_key(filled, connect):
    """The old record is not kept, and the new one is not rejected for having the same URL."""
    catalog, api = filled
    interrupted(connect())
    first = [key for (key,) in api.execute("select identifier from temp_import_image limit 3").fetchall()]
    catalog.execute(
        "create temporary table returned as select (jsonb_populate_record(i, jsonb_build_object('identifier',"
        " gen_random_uuid()))).* from image i where identifier = any(%s)",
        [first],
    )
    catalog.execute("delete from image where identifier = any(%s)", [first])
    catalog.execute("insert into image select * from returned")
    copied = job(connect()).run()
    assert rows_of(api, "temp_import_image") == rows_of(catalog)
    build_indexes(api, "image")
    assert rows_of(api, "temp_import_image") == rows_of(catalog)
    assert (copied.rows, copied.rejected) == (len(rows_of(catalog)), {})


def test_a_row_that_was_copied_twice_and_then_deleted(filled, connect):
    catalog, api = filled
    need(catalog, 14)  # older servers are read by key, which copies no row twice
    interrupted(connect())
    (key,) = api.execute("select identifier from temp_import_image limit 1").fetchone()
    move(catalog, f"identifier = '{key}'")
    while ranges.left(api, "image"):
        interrupted(connect())
    copies = "select count(*) from temp_import_image where identifier = %s"
    assert api.execute(copies, [key]).fetchone() == (2,)
    catalog.execute("delete from image where identifier = %s", [key])
    copied = job(connect()).run()
    assert rows_of(api, "temp_import_image") == rows_of(catalog)
    assert copied.rows == 299


def test_a_table_that_was_rewritten_is_copied_from_the_start(filled, connect):
    catalog, api = filled
    need(catalog, 14)  # a reading by key goes on
    interrupted(connect())
    catalog.execute("vacuum full image")
    copied = job(connect()).run()
    assert rows_of(api, "temp_import_image") == rows_of(catalog)
    assert (copied.rows, len(copied.snapshots)) == (300, 1)


def test_a_copy_of_which_most_rows_have_moved_starts_over(filled, connect):
    catalog, api = filled
    interrupted(connect())
    move(catalog)
    with pytest.raises(
        Retry, match=r"more than \d\d records have changed since the copy began; it starts over"
    ):
        job(connect()).run()
    assert job(connect()).run().rows == 300
    assert rows_of(api, "temp_import_image") == rows_of(catalog)


def test_each_page_is_read_once(filled, connect):
    """In the catalog and in the API's table, whatever the order of the keys is in either."""
    need(filled[0], 15)  # which has statistics that are not late
    for connection in filled:
        # Autovacuum would read the pages, too, and be counted.
        connection.execute("alter table image set (autovacuum_enabled = false)")
        connection.execute("vacuum analyze image")
    read = """
        select coalesce(sum(heap_blks_read + heap_blks_hit), 0), pg_relation_size('image') / 8192
          from pg_statio_user_tables where relname = 'image'
    """
    sessions = connect()

    def pages(place):
        # A session reports what it has read when it ends.
        connection = filled[place]
        connection.execute("select pg_stat_force_next_flush()")
        return connection.execute(read).fetchone()

    before = [pages(place)[0] for place in (0, 1)]
    job(sessions).run()
    for session in sessions:
        session.execute("select pg_stat_force_next_flush()")
        session.close()
    for place in (0, 1):
        now, size = pages(place)
        assert now - before[place] <= 1.3 * size + 5


def test_a_view_and_the_first_rows_of_a_table_are_read_by_key(filled, monkeypatch):
    catalog, _ = filled
    monkeypatch.setattr(ranges, "ROWS", 70)
    catalog.execute("create view some_images as select * from image")
    parts = ranges.split(catalog, "some_images", 0)
    assert [part.by for part in parts] == ["identifier"] * 5
    parts = ranges.split(catalog, "image", 150)
    assert [part.by for part in parts] == ["identifier"] * 3
    total = 0
    for part in parts:
        query = psycopg.sql.SQL("select count(*) from image where {}").format(part.condition)
        total += catalog.execute(query).fetchone()[0]
    assert total == 150


def test_sessions_share_the_indexes(filled, connect, monkeypatch):
    catalog, api = filled
    TableCopy(catalog, api, "image", "run").run()
    start, built = Barrier(2), list[tuple[psycopg.Connection, str]]()
    create = index_building._create_index

    def create_together(session, *values):
        if session not in [s for s, _ in built]:
            start.wait(60)  # both create an index at the same time
        built.append((session, values[1]))
        create(session, *values)

    monkeypatch.setattr(index_building, "_create_index", create_together)
    sessions = [connect()[1] for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        complete = list(pool.map(lambda session: build_indexes(session, "image"), sessions))
    assert True in complete
    names = [name for _, name in built]
    assert sorted(names) == sorted(set(names))
    assert len(names) == len(shape(api, "image")["index"])
    before = shape(api, "image")
    promote(api, ["image"], "run", number=1)
    assert shape(api, "image")["index"] == before["index"]


def test_another_run_takes_over(filled, connect):
    """A session of an earlier run stops, and writes nothing to the tables of the later one."""
    _, api = filled

    def take_over(copied):
        progress.replace_rejects(api, "image", [])
        api.execute("update temp_import_image_progress set run_id = 'another'")

    with pytest.raises(Retry, match="another run"):
        job(connect(), report=take_over).run()
