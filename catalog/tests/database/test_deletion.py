"""Deleting and restoring on a real PostgreSQL."""

import signal

import psycopg
import pytest

from catalog.database.deletion import delete, preview, restore
from catalog.database.statements import parse_condition
from catalog.ingestion.errors import Interrupted, Retry
from catalog.tests.database.media import fill, killed_until_done

WHERE = parse_condition("image", "WHERE provider = 'flickr'")


def count(connection, table):
    return connection.execute(f"select count(*) from {table} where provider = 'flickr'").fetchone()[0]


def test_records_move_with_reason_and_date(catalog):
    fill(catalog, 250)
    before = dict(
        catalog.execute("select identifier, to_jsonb(image) from image where provider = 'flickr'").fetchall()
    )
    assert delete(catalog, "image", WHERE, "x" * 100, batch=100) == 250
    assert (count(catalog, "image"), count(catalog, "deleted_image")) == (0, 250)
    kept = dict(
        catalog.execute(
            "select identifier, to_jsonb(d) - 'deleted_on' - 'deleted_reason' from deleted_image d"
        ).fetchall()
    )
    assert kept == before
    assert catalog.execute(
        "select distinct deleted_reason, deleted_on > now() - interval '1 minute' from deleted_image"
    ).fetchall() == [("x" * 80, True)]
    assert catalog.execute("select count(*) from image where provider = 'smk'").fetchone() == (250,)


def test_a_second_deletion_keeps_the_first_row(catalog):
    fill(catalog, 3)
    delete(catalog, "image", WHERE, "first")
    catalog.execute("update deleted_image set deleted_on = '2020-01-01'")
    fill(catalog, 3, ("flickr",))  # they came back by another way
    assert delete(catalog, "image", WHERE, "second") == 3
    found = catalog.execute(
        "select distinct deleted_reason, deleted_on::date::text, count(*) over () from deleted_image"
    ).fetchall()
    assert found == [("first", "2020-01-01", 3)]


def test_a_preview_changes_nothing(catalog):
    fill(catalog, 20)
    found = preview(catalog, "image", parse_condition("image", "WHERE title LIKE '%1'"), rows=2)
    assert (found.rows, found.providers) == (4, {"flickr": 2, "smk": 2})
    assert [set(row) for row in found.sample] == [{"identifier", "provider", "title", "url"}] * 2
    assert count(catalog, "deleted_image") == 0


def test_locked_rows_are_taken_later_and_those_that_stay_locked_are_reported(catalog, dsn):
    fill(catalog, 50)
    with psycopg.connect(dsn) as other:
        other.execute("select from image where foreign_identifier = 'flickr7' for update")
        with pytest.raises(Retry, match="1 rows stayed locked by others in 30 passes; 49 were deleted"):
            delete(catalog, "image", WHERE, "r", pause=0)
    assert delete(catalog, "image", WHERE, "r") == 1


def test_stopping_between_batches(catalog):
    fill(catalog, 50)
    with pytest.raises(Interrupted, match="after 20 rows"):
        delete(catalog, "image", WHERE, "r", batch=20, should_stop=lambda: True)
    assert delete(catalog, "image", WHERE, "r", batch=20) == 30


def test_restoring(catalog):
    fill(catalog, 20)
    before = dict(
        catalog.execute("select identifier, to_jsonb(image) from image where provider = 'flickr'").fetchall()
    )
    delete(catalog, "image", WHERE, "by mistake")
    catalog.execute(
        "update image set url = 'https://example.org/flickr3.jpg' where foreign_identifier = 'smk1'"
    )  # its URL is taken now
    assert restore(catalog, "image", WHERE, batch=7) == 19
    after = dict(
        catalog.execute("select identifier, to_jsonb(image) from image where provider = 'flickr'").fetchall()
    )
    assert {k: v for k, v in before.items() if v["foreign_identifier"] != "flickr3"} == after
    assert count(catalog, "deleted_image") == 1


WORKER = """
import signal, sys, threading, psycopg
from catalog.database.deletion import delete
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    print("at work", flush=True)
    delete(connection, "image", "provider = 'flickr'", "killed", batch=50, should_stop=stop.is_set)
    print("done", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_again_and_again(catalog, dsn, how):
    fill(catalog, 3000)

    def none_is_lost():
        assert count(catalog, "image") + count(catalog, "deleted_image") == 3000

    assert killed_until_done(WORKER, dsn, how, none_is_lost) >= 2
    assert (count(catalog, "image"), count(catalog, "deleted_image")) == (0, 3000)
