"""The engine of computed values: each selected row once, from its newest version, beside other writers."""

import signal

import psycopg
import pytest

from catalog.cleaning.job import CleaningJob
from catalog.cleaning.rules import RULES, rules_before
from catalog.cleaning.survey import URL_TAKEN, survey
from catalog.core.errors import Fatal, Interrupted, Refused, Retry
from catalog.tests.cleaning.test_rules import clean, insert
from catalog.tests.database.media import change_back, count_updates, fill, killed_until_done, suppress
from catalog.tests.values import present

pytestmark = pytest.mark.database
DIRTY = "update image set title = 'A &amp; ' || title where foreign_identifier not like '%3'"
WORKER = """
import sys, psycopg
from catalog.cleaning.job import CleaningJob
from catalog.cleaning.rules import RULES
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    print("begins", flush=True)
    job = CleaningJob(connection, "run", RULES["texts"], "image", batch_size=40)
    progress = job.run(job.claim() or job.select())
    job.finish()
    print("done", progress.updated, flush=True)
"""


@pytest.fixture
def images(catalog):
    """Two thousand images, most of them dirty; updates of them are counted."""
    fill(catalog, 1000)
    catalog.execute(DIRTY)
    count_updates(catalog)
    return catalog


def titles(connection):
    return [t for (t,) in connection.execute("select title from image")]


def touched(connection):
    """Return the number of updates, and of rows that were updated."""
    return connection.execute("select count(*), count(distinct identifier) from touched").fetchone()


@pytest.mark.parametrize("size", [7, 100, 5000])
def test_rows_that_differ_are_written_once_and_no_others(dsn, images, size):
    progress = clean(dsn, "texts", batch_size=size)
    assert (progress.updated, progress.missing) == (1800, 0)
    assert progress.looked_at() == progress.total  # rows that need no change are progress, too
    assert touched(images) == (1800, 1800)
    assert sum(t.startswith("A & Title") for t in titles(images)) == 1800
    assert clean(dsn, "texts").updated == 0


def test_rows_whose_change_a_trigger_suppresses_are_not_locked(dsn, images):
    suppress(images, "flickr1", "flickr2")
    with pytest.raises(Fatal, match=r"2 rows of image are not locked.* trigger keep of image suppresses"):
        clean(dsn, "texts")


@pytest.mark.parametrize("body", ["return old;", "new.title := old.title;"])
def test_rows_that_a_trigger_changes_back_are_not_reported_as_cleaned(dsn, images, body):
    change_back(images, f"if old.foreign_identifier in ('flickr1', 'smk2') then {body} end if;")
    with psycopg.connect(dsn, autocommit=True) as connection:
        job = CleaningJob(connection, "run", RULES["texts"], "image", pause=0.01)
        with pytest.raises(Fatal, match=r"2 rows of image are not locked.* trigger theirs of image sup"):
            job.run(job.claim() or job.select())
        assert images.execute("select updated from batched_update").fetchone() == (1798,)
        assert touched(images) <= (1800 + 2 * 4, 1800)  # few passes
        images.execute("drop trigger theirs on image")
        assert job.run(present(job.claim())).updated == 1800
    assert sum(t.startswith("A & Title") for t in titles(images)) == 1800


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_killed_again_and_again(dsn, images, how):
    assert killed_until_done(WORKER, dsn, how) > 0
    assert touched(images) == (1800, 1800)
    assert images.execute("select updated from batched_update").fetchone() == (1800,)


def test_rows_that_move_change_or_go_after_the_selection(dsn, images):
    with psycopg.connect(dsn, autocommit=True) as connection:
        job = CleaningJob(connection, "run", RULES["texts"], "image", batch_size=100, pause=0.01)
        progress = job.select()
        images.execute("delete from image where foreign_identifier like '%1'")
        images.execute("update image set title = 'B &amp; C' where foreign_identifier like '%2'")
        images.execute("update image set title = 'clean' where foreign_identifier like '%4'")
        images.execute("truncate touched")
        progress = job.run(progress)
    assert (progress.updated, progress.missing) == (1800 - 200 - 200, 200)
    assert touched(images) == (1400, 1400)
    assert images.execute("select count(*) from image where title = 'B & C'").fetchone() == (200,)
    assert images.execute("select count(*) from image where title = 'clean'").fetchone() == (200,)


def test_a_row_that_changes_while_its_value_is_computed_keeps_the_change(dsn, images, monkeypatch):
    """Another program writes between the reading and the writing of a stripe; nothing it wrote is lost."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        job = CleaningJob(connection, "run", RULES["texts"], "image", batch_size=100, pause=0.01)
        progress, compute = job.select(), job._compute
        changed: list[bool] = []

        def beside(rows):
            if not changed:
                changed.append(True)
                images.execute("update image set title = title || '!', creator = 'new'")
            return compute(rows)

        monkeypatch.setattr(job, "_compute", beside)
        assert job.run(progress).updated == 1800
    assert all(t.endswith("!") for t in titles(images))
    assert images.execute("select count(*) from image where creator = 'new'").fetchone() == (2000,)
    assert not any("&amp;" in t for t in titles(images))


def test_locked_rows_are_cleaned_later_and_nobody_waits(dsn, images):
    with psycopg.connect(dsn) as other, psycopg.connect(dsn, autocommit=True) as connection:
        other.execute("select from image where foreign_identifier like '%5' for update")
        job = CleaningJob(connection, "run", RULES["texts"], "image", batch_size=100, pause=0.001)
        with pytest.raises(Retry, match="200 rows stayed locked"):
            job.run(job.select())
        assert touched(images) == (1600, 1600)
        other.rollback()
        again = CleaningJob(connection, "run", RULES["texts"], "image", pause=0.001)
        assert again.run(present(again.claim())).updated == 1800
    assert touched(images) == (1800, 1800)


def test_stopping_after_each_stripe_and_going_on(dsn, images):
    stops = 0
    while True:
        with psycopg.connect(dsn, autocommit=True) as connection:
            job = CleaningJob(
                connection, "run", RULES["texts"], "image", batch_size=400, should_stop=lambda: True
            )
            try:
                job.run(job.claim() or job.select())
            except Interrupted:
                stops += 1
                continue
            break
    assert stops > 8
    assert touched(images) == (1800, 1800)


def test_another_run_waits_for_its_turn(dsn, images):
    with psycopg.connect(dsn, autocommit=True) as one, psycopg.connect(dsn, autocommit=True) as two:
        CleaningJob(one, "run", RULES["texts"], "image").claim()
        with pytest.raises(Refused, match="another run of 'clean_image_texts' is at work"):
            CleaningJob(two, "other", RULES["texts"], "image").claim(replace=True, max_wait=0.1)


def test_no_two_records_get_one_url(dsn, catalog):
    """Neither a URL that a record has, nor one that another record of the run gets."""
    url = "https://example.org/a"
    forms = [{"url": "/" * n + "example.org/b"} for n in range(40)]  # several are in one stripe
    kept, *_ = insert(catalog, rows=[{"url": url}, {"url": "example.org/a"}, *forms])
    assert clean(dsn, "urls", batch_size=100).updated == 1
    found = sorted(u for (u,) in catalog.execute("select url from image"))
    assert found[-2:] == [url, "https://example.org/b"]
    assert len({*found}) == 42
    assert catalog.execute("select url from image where identifier = %s", [kept]).fetchone() == (url,)
    assert clean(dsn, "urls", batch_size=1).updated == 0
    assert survey(catalog, [RULES["urls"]], "image")["urls"].left == {URL_TAKEN: 40}


@pytest.mark.parametrize(
    ("chosen", "rows"),
    [(list(RULES), 4), (["numbers", "urls"], 3), (["urls"], 2), (["texts"], 2), (["texts", "numbers"], 3)],
)
def test_a_row_counts_once_for_several_rules(catalog, chosen, rows):
    """Also if one of two records gets a URL, and the other one is changed by another rule."""
    insert(
        catalog,
        rows=[
            {"title": "A &amp; B", "width": 0, "url": "example.org/a"},
            {"width": 0, "url": "//example.org/a"},
            {"url": "example.org/b"},
            {"title": "A &amp; C"},
            {"title": "clean"},
        ],
    )
    found = {
        name: survey(catalog, [RULES[name]], "image", first=rules_before(name, chosen))[name]
        for name in chosen
    }
    assert sum(one.rows - one.again for one in found.values()) == rows
    assert {found[name].rows for name in {"texts", "numbers", "urls"} & found.keys()} == {2}


def test_a_record_that_comes_with_the_url_meanwhile_keeps_it(dsn, catalog, monkeypatch):
    insert(catalog, rows=[{"url": "example.org/a"}, {"url": "example.org/b"}])
    with psycopg.connect(dsn, autocommit=True) as connection:
        job = CleaningJob(connection, "run", RULES["urls"], "image")
        progress, compute = job.select(), job._compute
        calls: list[int] = []  # numbers of rows, of which other records get the URLs during the first call

        def beside(rows):
            found = compute(rows)
            if not calls and found:
                insert(catalog, rows=[{"url": "https://example.org/a"}, {"url": "https://example.org/b"}])
            calls.extend([len(found)] if found else [])
            return found

        monkeypatch.setattr(job, "_compute", beside)
        assert job.run(progress).updated == 0
    assert len(calls) > 1
    assert catalog.execute("select count(*), count(distinct url) from image").fetchone() == (4, 4)
