"""Which copy is promoted, and changes of the live table until then."""

import psycopg
import pytest

from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.data_refresh import exchange, progress, promotion, ranges
from catalog.data_refresh.copy import TableCopy
from catalog.data_refresh.index_building import build_indexes
from catalog.database import sample_data

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
        promotion.promote(api, ["image"], "run")
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
    assert promotion.promote(api, ["image"], "run").carried == {"image": 1}
    assert views(api, 7) == 88


def test_views_of_a_transaction_that_was_open_before_the_copy(filled, api_dsn):
    """The copy does not see what the transaction commits later under an older transaction id."""
    catalog, api = filled
    with psycopg.connect(api_dsn) as reader:
        reader.execute("update image set view_count = 99 where id = 8")
        api.execute("update image set view_count = 1 where id = 9")  # others come and go
        TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    promotion.promote(api, ["image"], "run")
    assert (views(api, 8), views(api, 9)) == (99, 1)


def test_a_migration_between_the_copy_and_the_exchange_is_kept(filled):
    catalog, api = filled
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    api.execute("alter table image add column extra text default 'new'")
    with pytest.raises(Fatal, match="column extra was added"):
        promotion.promote(api, ["image"], "run")
    assert api.execute("select count(*) from image where extra = 'new'").fetchone() == (150,)


def test_an_exchange_that_would_lose_an_attached_object_is_rolled_back(filled, monkeypatch):
    """Comparing the new table with the old one reveals any object that was not carried over."""
    catalog, api = filled
    api.execute("alter table image enable row level security")
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    monkeypatch.setattr(exchange, "attach", lambda *_: None)
    with pytest.raises(Fatal, match=r"would change more than its rows: .*row security"):
        promotion.promote(api, ["image"], "run")
    assert api.execute("select count(*) from image").fetchone() == (150,)
