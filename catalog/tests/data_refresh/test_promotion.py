"""Which copy is promoted, and changes of the live table until then."""

import os
import signal
from contextlib import closing

import psycopg
import pytest

from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.data_refresh.tables import exchange, progress, promotion, ranges
from catalog.data_refresh.tables.catch_up import leave_out_deleted
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.database import sample_data, schema
from catalog.database.refusals import accept_all
from catalog.local.postgres import Postgres

pytestmark = pytest.mark.database


@pytest.fixture
def filled(catalog, api):
    sample_data.fill(catalog, "catalog", 200)
    sample_data.fill(api, "api", 150)
    return catalog, api


def views(api, number):
    return api.execute("select view_count from image where id = %s", [number]).fetchone()[0]


def test_a_second_session_does_not_work_on_a_copy(filled, api_dsn):
    _, api = filled
    with psycopg.connect(api_dsn, autocommit=True) as other:
        progress.claim(other, "image")
        with pytest.raises(Retry, match="another session is copying image"):
            progress.claim(api, "image", patience=0)
    progress.claim(api, "image")


def test_a_copy_that_is_not_complete_is_not_exchanged(filled, monkeypatch):
    catalog, api = filled
    monkeypatch.setattr(ranges, "PAGES", 10)
    with pytest.raises(Interrupted):
        TableCopy(catalog, api, "image", "run", should_stop=lambda: True).run()
    build_indexes(api, "image")
    with pytest.raises(Fatal, match="the copy of image is not complete"):
        promotion.promote(api, ["image"], "run", number=1)
    assert api.execute("select count(*) from image").fetchone() == (150,)


def test_views_that_are_counted_until_the_lock_are_carried_over(filled, api_dsn, monkeypatch):
    """Another view is counted after most of them were carried over, and before the table is locked."""
    catalog, api = filled
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    passing = promotion._pass_readers

    def one_more(*args):
        with psycopg.connect(api_dsn, autocommit=True) as reader:
            reader.execute("update image set view_count = 88 where id = 7")
        passing(*args)

    monkeypatch.setattr(promotion, "_pass_readers", one_more)
    assert promotion.promote(api, ["image"], "run", number=1).carried == {"image": 1}
    assert views(api, 7) == 88


def test_views_of_a_transaction_that_was_open_before_the_copy(filled, api_dsn):
    """The copy does not see what the transaction commits later under an older transaction id."""
    catalog, api = filled
    with psycopg.connect(api_dsn) as reader:
        reader.execute("update image set view_count = 99 where id = 8")
        api.execute("update image set view_count = 1 where id = 9")  # others come and go
        TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    promotion.promote(api, ["image"], "run", number=1)
    assert (views(api, 8), views(api, 9)) == (99, 1)


def test_a_migration_between_the_copy_and_the_exchange_is_kept(filled):
    catalog, api = filled
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    api.execute("alter table image add column extra text default 'new'")
    with pytest.raises(Fatal, match="column extra was added"):
        promotion.promote(api, ["image"], "run", number=1)
    assert api.execute("select count(*) from image where extra = 'new'").fetchone() == (150,)


def test_an_exchange_that_would_lose_an_attached_object_is_rolled_back(filled, monkeypatch):
    """Comparing the new table with the old one reveals any object that was not carried over."""
    catalog, api = filled
    api.execute("alter table image enable row level security")
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    monkeypatch.setattr(exchange, "attach", lambda *_: None)
    with pytest.raises(Fatal, match=r"would change more than its rows: .*row security"):
        promotion.promote(api, ["image"], "run", number=1)
    assert api.execute("select count(*) from image").fetchone() == (150,)


def crash(server):
    """End a server like a power failure, and start it again."""
    pid = int((server.state / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)  # like `pg_ctl stop -m immediate`
    server.stop()  # waits until it has ended
    server.start()


def test_a_crash_of_the_server_that_empties_the_new_tables(world_readable, monkeypatch):
    """The new tables are unlogged, as the live ones are, which are empty, too, and so cannot shrink."""
    server = Postgres(world_readable / "unlogged", "test")
    server.start(("catalog", "api"))
    try:
        schema.upgrade(server.dsn("catalog"))
        schema.upgrade(server.dsn("api"), "api")

        def connect(name):
            return closing(psycopg.connect(server.dsn(name), autocommit=True))

        with connect("catalog") as catalog, connect("api") as api:
            sample_data.fill(catalog, "catalog", 200)
            sample_data.fill(api, "api", 150)
            api.execute("alter table imagelist_images set unlogged; alter table image set unlogged")
            assert TableCopy(catalog, api, "image", "run").run().done
            build_indexes(api, "image")
            crash(server)
        with connect("catalog") as catalog, connect("api") as api:
            assert api.execute("select count(*) from image").fetchone() == (0,)
            lost = "the copy of image holds 0 of 200 rows that were .*a crash of the server has emptied it"
            with pytest.raises(Fatal, match=f"{lost}.; clear copy_tables and all tasks after it"):
                promotion.promote(api, ["image"], "run", number=1, judge=accept_all)
            monkeypatch.setattr(ranges, "PAGES", 10)
            with pytest.raises(Interrupted):  # what was copied is copied again
                TableCopy(catalog, api, "image", "run", should_stop=lambda: True).run()
            assert ranges.left(api, "image")
            crash(server)
        with connect("catalog") as catalog, connect("api") as api:
            copied = TableCopy(catalog, api, "image", "run").run()
            assert copied.done
            build_indexes(api, "image")
            promotion.promote(api, ["image"], "run", number=1)
            assert api.execute("select count(*) from image").fetchone() == (copied.rows,)
    finally:
        server.stop()


def test_rows_that_moderators_have_deleted_are_not_lost(filled):
    """An exchange that fails after it has left them out is tried again."""
    catalog, api = filled
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    api.execute("insert into api_deletedimage select now(), now(), identifier from temp_import_image limit 5")
    leave_out_deleted(api, "image")
    left = api.execute("select count(*) from temp_import_image").fetchone()
    promotion.promote(api, ["image"], "run", number=1, judge=accept_all)
    assert api.execute("select count(*) from image").fetchone() == left
