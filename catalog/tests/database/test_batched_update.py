"""Batched updates on a real PostgreSQL: each row is updated once, whatever happens meanwhile."""

import re
import signal
import threading

import psycopg
import pytest

from catalog.core.errors import Fatal, Interrupted, Refused, Retry
from catalog.database.batched_update import BatchedUpdate, preview
from catalog.database.statements import parse_update
from catalog.database.suppression import suppressors
from catalog.tests.database.media import (
    change_back,
    change_back_after,
    count_updates,
    fill,
    killed_until_done,
    suppress,
)

SET, WHERE = "SET title = title || '!', updated_on = now()", "WHERE provider = 'flickr'"


def update(set_=SET, where=WHERE):
    return parse_update("image", set_, where)


def engine(connection, run="run-1", what=None, **more):
    return BatchedUpdate(connection, "test", run, what or update(), **{"batch_size": 100, "pause": 0, **more})


def whole(connection, **more):
    job = engine(connection, **more)
    progress = job.run(job.claim(resume=False) or job.select())
    job.finish()
    return progress


def titles(connection):
    return {r[0] for r in connection.execute("select title from image where provider = 'flickr'")}


def touched_once(connection, rows):
    found = connection.execute("select count(*), count(distinct identifier) from touched").fetchone()
    return found == (rows, rows)


def test_all_selected_rows_once_and_no_others(catalog):
    fill(catalog)
    count_updates(catalog)
    progress = whole(catalog)
    assert (progress.total, progress.updated, progress.missing, progress.waiting) == (1000, 1000, 0, 0)
    assert titles(catalog) == {f"Title {n}!" for n in range(1, 1001)}
    assert touched_once(catalog, 1000)
    assert catalog.execute(
        "select count(*) from image where provider = 'smk' and title like '%!'"
    ).fetchone() == (0,)
    assert catalog.execute(
        "select to_regclass('test_rows_to_update'), to_regclass('test_rows_left')"
    ).fetchone() == (None, None)
    assert catalog.execute("select total, updated, next_row from batched_update").fetchone() == (
        1000,
        1000,
        1001,
    )
    assert whole(catalog, run="run-2").updated == 1000  # its name is free again


@pytest.mark.parametrize("size", [1, 2, 7, 999, 5000])
def test_any_batch_size(catalog, size):
    fill(catalog, 50 if size < 7 else 1000)
    count_updates(catalog)
    assert touched_once(catalog, whole(catalog, batch_size=size).updated)
    assert all(t.endswith("!") for t in titles(catalog))


def test_few_rows_far_apart(catalog):
    fill(catalog, 3000)
    assert (
        whole(
            catalog, what=update(where="WHERE provider = 'flickr' AND foreign_identifier LIKE '%000'")
        ).updated
        == 3
    )


def test_nothing_to_do(catalog):
    assert whole(catalog, what=update(where="WHERE provider = 'nobody'")).updated == 0


def test_stopping_after_any_stripe_and_going_on(catalog):
    fill(catalog, 450)
    count_updates(catalog)
    steps = 0
    while True:
        job = engine(catalog, should_stop=lambda: True)
        progress = job.claim(resume=False) or job.select()
        steps += 1
        try:
            job.run(progress)
        except Interrupted:
            continue
        break
    assert steps >= 5 * 4
    job.finish()
    assert touched_once(catalog, 450)


def test_rows_that_move_or_are_deleted_meanwhile(catalog):
    """Between selection and batch, some rows are updated, so that they move, and some are deleted."""
    fill(catalog, 400)
    job = engine(catalog)
    progress = job.claim(resume=False) or job.select()
    catalog.execute("update image set creator = 'x' where foreign_identifier like 'flickr%5'")
    catalog.execute("delete from image where foreign_identifier like 'flickr%7'")
    progress = job.run(progress)
    assert (progress.updated, progress.missing) == (360, 40)
    assert all(t.endswith("!") and not t.endswith("!!") for t in titles(catalog))


def test_locked_rows_are_taken_later_and_nobody_waits(catalog, dsn):
    fill(catalog, 400)
    count_updates(catalog)
    with psycopg.connect(dsn) as other:
        other.execute("update image set creator = 'busy' where foreign_identifier like 'flickr%5'")
        job = engine(catalog, pause=0.2)
        done = threading.Event()

        def release():
            done.wait(0.6)
            other.commit()

        threading.Thread(target=release).start()
        progress = job.run(job.claim(resume=False) or job.select())
        assert (progress.updated, progress.waiting) == (400, 0)
    assert all(t.endswith("!") and not t.endswith("!!") for t in titles(catalog))
    assert catalog.execute(
        "select count(*) from image where provider = 'flickr' and creator = 'busy'"
    ).fetchone() == (40,)


@pytest.mark.parametrize("name", ["free", "changed", "gone", "source", "picked"])
def test_a_table_of_any_name_may_be_read(catalog, dsn, name):
    """Names that the library uses internally do not conflict with tables, even if rows are skipped."""
    fill(catalog, 300)
    catalog.execute(f"create table {name} as select identifier, 'F' as title from image limit 7")
    what = update(f"SET width = (SELECT count(*) FROM {name}), title = (SELECT max(f.title) FROM {name} f)")
    with psycopg.connect(dsn) as holder:
        holder.execute("select from image where provider = 'flickr' and title like '%5' for update")

        def release(progress):
            if progress.next_row > progress.total:
                holder.rollback()

        progress = whole(catalog, what=what, batch_size=50, progress=release)
    assert (progress.updated, progress.missing, progress.waiting) == (300, 0, 0)
    found = catalog.execute("select distinct width, title from image where provider = 'flickr'").fetchall()
    assert found == [(7, "F")]


@pytest.mark.parametrize(
    ("set_", "where", "message"),
    [
        ("SET width = width / (height - height)", WHERE, "update_query: PostgreSQL: division by zero"),
        ("SET url = 'x'", WHERE, "update_query: PostgreSQL: duplicate key value violates unique constraint"),
        ("SET license = NULL", WHERE, "update_query: PostgreSQL: null value in column"),
        (
            SET,
            "WHERE title::int > 5",
            'select_query: PostgreSQL: invalid input syntax for type integer: "Title',
        ),
    ],
)
def test_an_error_of_a_row_names_the_field(catalog, set_, where, message):
    """The update fails without retries; a corrected statement continues with the same selection."""
    fill(catalog, 20)
    catalog.execute("update image set width = 3, height = 4")
    what = update(set_, where)
    with pytest.raises(Fatal, match=re.escape(message)):
        preview(catalog, what)
    job = engine(catalog, what=what)
    with pytest.raises(Fatal, match=re.escape(message)):
        job.run(job.claim() or job.select())
    catalog.execute("select pg_advisory_unlock_all()")
    if where == WHERE:
        other = engine(catalog, "run-2")
        assert other.run(other.claim(resume=True)).updated == 20


def test_rows_that_stay_locked_are_reported_and_can_be_updated_later(catalog, dsn):
    fill(catalog, 100)
    with psycopg.connect(dsn) as other:
        other.execute("select from image where foreign_identifier in ('flickr3', 'flickr4') for update")
        job = engine(catalog)
        with pytest.raises(Retry, match="2 rows stayed locked by other sessions"):
            job.run(job.claim(resume=False) or job.select())
    progress = job.run(job.claim(resume=False))
    assert (progress.updated, progress.waiting) == (100, 0)
    assert all(t.endswith("!") and not t.endswith("!!") for t in titles(catalog))


@pytest.mark.parametrize("change", ["insert", "update", "delete"])
@pytest.mark.parametrize(
    ("events", "body", "does"),
    [
        ("before update", "", "update"),
        ("before delete", "", "delete"),
        ("before insert", "", "insert"),
        ("after update", "", None),
        ("after update", "if tg_op = 'UPDATE' then insert into audit values (1); end if;", None),
        ("after update", "update images set title = old.title;", None),
        ("after update", "UPDATE  public.image i set title = old.title;", "update"),
        ("after insert", "update image set title = old.title;", None),
    ],
)
def test_triggers_that_can_suppress_a_change(catalog, events, body, does, change):
    catalog.execute(f"""
        create function f() returns trigger language plpgsql as $$ begin {body} return new; end $$;
        create trigger own {events} on image for each row execute function f();
    """)
    named = "trigger own of image" if does == change else ""
    assert suppressors(catalog, "image", change) == named


def test_rows_whose_change_a_trigger_suppresses_were_not_deleted(catalog):
    fill(catalog, 100)
    suppress(catalog, "flickr3", "flickr4")
    job = engine(catalog)
    progress = job.select()
    catalog.execute("delete from image where foreign_identifier = 'flickr5'")
    with pytest.raises(Fatal, match=r"2 rows of image are not locked.* trigger keep of image suppresses"):
        job.run(progress)
    assert (progress.updated, progress.missing) == (97, 1)


@pytest.mark.parametrize(
    ("body", "set_", "kept"),
    [
        ("new.title := old.title;", SET, 50),
        ("return old;", SET, 50),
        ("new.title := old.title;", "SET creator = 'somebody', title = 'same'", 50),
        ("if old.title like '%7' then new.title := old.title; end if;", SET, 5),
        ("new.title := old.title;", "SET creator = 'somebody'", 0),
        ("new.title := old.title;", "SET creator = 'somebody', title = title", 0),
        ("new.updated_on := old.updated_on;", SET, 0),
        ("new.title := upper(new.title);", SET, 0),
    ],
)
def test_an_update_that_a_trigger_changes_back_is_not_made(catalog, caplog, body, set_, kept):
    fill(catalog, 50)
    change_back(catalog, body)
    before = catalog.execute("select * from image").fetchall()
    job = engine(catalog, what=update(set_))
    if kept == 50:
        with pytest.raises(Fatal, match=r"50 of 50 rows in a trial keep old values.*trigger theirs of image"):
            job.run(job.claim() or job.select())
        assert catalog.execute("select * from image").fetchall() == before
        catalog.execute("drop trigger theirs on image")
    assert job.run(job.claim() or job.select()).updated == 50
    assert ("rows in a trial keep" in caplog.text) == (kept == 5)


def test_a_trigger_that_changes_values_back_after_an_update(catalog):
    fill(catalog, 50)
    change_back_after(catalog)
    job = engine(catalog)
    with pytest.raises(Fatal, match=r"50 of 50 rows in a trial keep old values.*trigger after_it of image"):
        job.run(job.claim() or job.select())


def test_a_trial_waits_for_a_lock_of_the_table_as_its_update_does(catalog, dsn, monkeypatch):
    """As while an index is built."""
    fill(catalog, 50)
    change_back(catalog, "new.updated_on := now();")
    job = engine(catalog)
    progress = job.claim() or job.select()
    with psycopg.connect(dsn) as building:
        building.execute("lock table image in share mode")
        monkeypatch.setattr("catalog.database.batch_job.LOCK_TIMEOUT", 0.05)
        with pytest.raises(Retry, match=r"image is locked by other sessions .* trigger theirs of image; it"):
            job.run(progress)
    assert job.run(progress).updated == 50


def test_a_trial_of_a_large_update_costs_few_rows(catalog):
    fill(catalog, 1000)
    catalog.execute("create sequence counted")
    change_back(catalog, "perform nextval('counted');")
    assert whole(catalog).updated == 1000
    assert catalog.execute("select last_value from counted").fetchone() == (1100,)


def test_a_second_run_is_refused_while_the_first_is_at_work(catalog, dsn):
    fill(catalog, 10)
    job = engine(catalog)
    job.claim(resume=False) or job.select()
    with (
        psycopg.connect(dsn, autocommit=True) as other,
        pytest.raises(Refused, match="another run of 'test' is at work"),
    ):
        engine(other, run="run-2").claim(resume=True)


def test_rows_of_an_earlier_run_block_others_unless_it_is_resumed(catalog, dsn):
    fill(catalog, 200)
    with psycopg.connect(dsn, autocommit=True) as first:
        job = engine(first, should_stop=lambda: True, stripes=4)
        with pytest.raises(Interrupted):
            job.run(job.claim(resume=False) or job.select())
    with pytest.raises(Refused, match=r"resume_update.*DROP TABLE test_rows_to_update") as raised:
        engine(catalog, run="run-2").claim(resume=False)
    assert "Either continue with it" in str(raised.value)
    other = engine(catalog, run="run-2", what=update("SET title = title || '?'"))
    progress = other.claim(resume=True)
    assert (progress.updated, progress.stripe) == (25, 1)
    progress = other.run(progress)
    assert progress.updated == 200
    assert catalog.execute("select count(*) from image where title like '%!'").fetchone() == (25,)
    assert catalog.execute("select count(*) from image where title like '%?'").fetchone() == (175,)


@pytest.mark.parametrize("sizes", [(40, 7), (7, 40), (3, 100), (100, 1), (1, 9)])
def test_another_batch_size_half_way(catalog, sizes):
    """The batch in progress keeps its size, so that no row is missed or updated twice."""
    fill(catalog, 300)
    count_updates(catalog)
    for number in range(1000):
        job = engine(catalog, batch_size=sizes[number % 2], should_stop=lambda: True)
        try:
            job.run(job.claim(resume=False) or job.select())
        except Interrupted:
            continue
        break
    assert touched_once(catalog, 300)
    assert all(t.endswith("!") for t in titles(catalog))


def test_a_task_that_dies_right_after_it_had_finished(catalog):
    fill(catalog, 50)
    count_updates(catalog)
    whole(catalog)
    job = engine(catalog)
    progress = job.run(job.claim(resume=False))
    job.finish()
    assert (progress.total, progress.updated) == (50, 50)
    assert touched_once(catalog, 50)


def test_rows_of_one_table_are_not_mistaken_for_those_of_another(catalog, dsn):
    fill(catalog, 50)
    with psycopg.connect(dsn, autocommit=True) as first:
        job = engine(first)
        job.claim(resume=False) or job.select()
    other = BatchedUpdate(catalog, "test", "run-2", parse_update("audio", "SET title = 'x'", "WHERE true"))
    with pytest.raises(Refused, match="table_name: the rows of 'test' were selected from image"):
        other.claim(resume=True)


def test_a_stripe_that_takes_too_long(catalog):
    fill(catalog, 200)
    # 200³ combinations for each row: minutes on any machine, so that only the limit can end it.
    slow = (
        "SET title = (SELECT count(*)::text FROM image a, image b, image c"
        " WHERE a.title || b.title || c.title <> image.title)"
    )
    with pytest.raises(Fatal, match=r"longer than 0\.1 s; raise update_timeout or lower batch_size"):
        whole(catalog, what=update(slow), timeout=0.1)


def test_a_preview_changes_nothing(catalog):
    fill(catalog, 20)
    count_updates(catalog)
    found = preview(
        catalog, update("SET title = upper(title), width = 5", "WHERE provider = 'smk' AND title = 'Title 7'")
    )
    assert found.rows == 1
    assert found.sample[0]["before"] == {"title": "Title 7", "width": None}
    assert found.sample[0]["after"] == {"title": "TITLE 7", "width": 5}
    assert found.statement.startswith(
        "UPDATE image SET title = upper(title), width = 5 WHERE provider = 'smk'"
    )
    assert catalog.execute("select count(*) from touched").fetchone() == (0,)


@pytest.mark.parametrize("number", ["1e100000", "1e-16000", "-1e5000"])
def test_a_preview_of_a_number_with_very_many_digits_is_short(catalog, number):
    fill(catalog, 2)
    catalog.execute(f"update image set meta_data = jsonb_build_object('n', {number}::numeric, 'm', 1.5)")
    what = update("SET meta_data = meta_data || '{\"k\": 12345678901234567890}'", "WHERE provider = 'smk'")
    row = preview(catalog, what).sample[0]
    assert len(row["before"]["meta_data"]["n"]) < 50
    assert row["after"]["meta_data"] == row["before"]["meta_data"] | {"k": 12345678901234567890}
    assert row["after"]["meta_data"]["m"] == 1.5


WORKER = """
import signal, sys, threading, psycopg
from catalog.database.batched_update import BatchedUpdate
from catalog.database.statements import parse_update
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    what = parse_update("image", "SET title = title || '!'", "WHERE provider = 'flickr'")
    job = BatchedUpdate(connection, "killed", "run-1", what, batch_size=40, should_stop=stop.is_set)
    progress = job.claim(resume=False) or job.select()
    print("at work", flush=True)
    job.run(progress)
    print("done", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_again_and_again(catalog, dsn, how):
    """The update is killed later each time; at the end, every row was changed exactly once."""
    fill(catalog, 4000)
    count_updates(catalog)
    assert killed_until_done(WORKER, dsn, how) >= 3
    assert touched_once(catalog, 4000)
    assert titles(catalog) == {f"Title {n}!" for n in range(1, 4001)}


def test_braces_and_percent_signs_in_texts(catalog):
    fill(catalog, 20)
    what = update(
        "SET title = '{sure} 100 % %s {{}}', meta_data = meta_data || '{\"a\": \"{}\"}'::jsonb",
        "WHERE title LIKE '%7' OR title = '{}'",
    )
    assert preview(catalog, what).sample[0]["after"]["title"] == "{sure} 100 % %s {{}}"
    assert whole(catalog, what=what).updated == 4
    found = catalog.execute(
        "select distinct title, meta_data ->> 'a' from image where meta_data ? 'a'"
    ).fetchall()
    assert found == [("{sure} 100 % %s {{}}", "{}")]
