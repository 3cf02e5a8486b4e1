"""A dry run, a run and one plain statement select the same rows.

A cleared task goes on with its selection, or explains why it cannot.
"""

import threading
import time

import psycopg
import pytest
from psycopg import sql

from catalog.core.errors import Fatal, Interrupted, Refused, Retry
from catalog.core.session import limit_statements
from catalog.database import batch_job
from catalog.database.abandoned_selections import drop_given_up, give_up
from catalog.database.batched_update import BatchedUpdate
from catalog.database.batched_update import preview as preview_update
from catalog.database.deletion import Deletion, Restoration, preview, restore
from catalog.database.statements import parse_condition, parse_update, verify, verify_condition
from catalog.tests.database.media import count_updates, fill

# {t}: the table whose rows are selected. Each condition selects other rows once some are deleted or changed.
CONDITIONS = {
    "limit": "identifier IN (SELECT identifier FROM {t} ORDER BY foreign_identifier LIMIT 7)",
    "limit by date": "identifier IN (SELECT identifier FROM {t} WHERE provider = 'flickr' "
    "ORDER BY created_on, identifier LIMIT 10)",
    "offset": "identifier IN (SELECT identifier FROM {t} ORDER BY foreign_identifier OFFSET 50)",
    "percentile": "filesize > (SELECT percentile_disc(0.9) WITHIN GROUP (ORDER BY filesize) FROM {t})",
    "window": "identifier IN (SELECT i FROM (SELECT identifier AS i, "
    "row_number() OVER (PARTITION BY creator ORDER BY filesize, url) AS n FROM {t}) x WHERE n > 1)",
    "ntile": "identifier IN (SELECT identifier FROM (SELECT identifier, "
    "ntile(3) OVER (ORDER BY filesize, identifier) AS n FROM {t}) x WHERE n = 1)",
    "exists": "exists (SELECT FROM {t} o WHERE o.creator = image.creator "
    "AND o.identifier <> image.identifier)",
    "not exists": "NOT exists (SELECT FROM {t} o WHERE o.creator = image.creator "
    "AND o.filesize > image.filesize)",
    "not in": "identifier NOT IN (SELECT identifier FROM {t} ORDER BY filesize, identifier LIMIT 20)",
    "average": "filesize > (SELECT avg(filesize) FROM {t})",
    "max": "filesize = (SELECT max(filesize) FROM {t})",
    "count": "(SELECT count(*) FROM {t} o WHERE o.provider = image.provider) > 30",
    "correlated count": "(SELECT count(*) FROM {t} o WHERE o.creator = image.creator "
    "AND o.filesize < image.filesize) % 2 = 1",
    "having": "creator IN (SELECT creator FROM {t} GROUP BY creator HAVING count(*) > 5)",
    "recursive": "foreign_identifier IN (WITH RECURSIVE r AS (SELECT min(foreign_identifier) AS f "
    "FROM {t} UNION ALL SELECT (SELECT min(foreign_identifier) FROM {t} WHERE foreign_identifier > f) "
    "FROM r WHERE f IS NOT NULL) SELECT f FROM r LIMIT 9)",
    "group of all": "(SELECT sum(filesize) FROM {t}) > filesize * 50",
}
SMALL = 4  # rows of a batch, so that there are many


def stock(connection):
    """Insert 60 images of two providers, with sizes, by 12 creators."""
    fill(connection, 30)
    connection.execute(
        "update image set filesize = hashtext(foreign_identifier) & 4095, "
        "creator = 'c' || abs(hashtext(url)) % 12"
    )


@pytest.fixture
def stocked(catalog):
    stock(catalog)
    return catalog


def ids(connection, table):
    return {
        i for (i,) in connection.execute(sql.SQL("select identifier from {}").format(sql.Identifier(table)))
    }


def by_one_statement(connection, statement, table):
    """Return the content of the table after one plain statement, which is rolled back."""
    with connection.transaction(force_rollback=True):
        connection.execute(statement)
        return ids(connection, table)


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_deletion_is_one_plain_delete(stocked, name):
    text = CONDITIONS[name].format(t="image")
    condition = parse_condition("image", f"WHERE {text}")
    verify_condition(stocked, "image", condition)
    wanted = by_one_statement(stocked, f"delete from image where {text}", "image")
    dry = preview(stocked, "image", condition)
    job = Deletion(stocked, "run", "image", condition, "r", batch_size=SMALL)
    progress = job.run(job.claim() or job.select())
    assert 0 < dry.rows < 60 or name == "count"
    assert ids(stocked, "image") == wanted
    assert dry.rows == progress.total == progress.updated == 60 - len(wanted)


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_restoration_is_one_plain_statement(stocked, name):
    job = Deletion(stocked, "run", "image", "true", "r")
    job.run(job.select())
    text = CONDITIONS[name].format(t="deleted_image")
    condition = parse_condition("image", f"WHERE {text}")
    verify_condition(stocked, "image", condition, of="deleted_image")
    wanted = by_one_statement(stocked, f"delete from deleted_image as image where {text}", "deleted_image")
    dry = Restoration(stocked, "image", condition).count()
    progress = restore(stocked, "image", condition, batch_size=SMALL)
    assert ids(stocked, "deleted_image") == wanted
    assert dry == progress.total == progress.updated == 60 - len(wanted)


@pytest.mark.parametrize("name", CONDITIONS)
def test_an_update_is_one_plain_update(stocked, name):
    """The update changes columns that the condition reads."""
    change, text = "SET filesize = 0, creator = NULL, title = 'changed'", CONDITIONS[name].format(t="image")
    update = parse_update("image", change, f"WHERE {text}")
    verify(stocked, update)
    stocked.execute("create view changed as select identifier from image where title = 'changed'")
    wanted = by_one_statement(stocked, f"update image {change} where {text}", "changed")
    dry = preview_update(stocked, update)
    job = BatchedUpdate(stocked, "test", "run", update, batch_size=SMALL)
    progress = job.run(job.claim() or job.select())
    assert ids(stocked, "changed") == wanted
    assert dry.rows == progress.total == progress.updated == len(wanted)


@pytest.mark.parametrize(
    "text",
    [
        "random() < 0.5",
        "identifier IN (SELECT identifier FROM image TABLESAMPLE system (50))",
        "identifier IN (SELECT identifier FROM image TABLESAMPLE bernoulli (50) REPEATABLE (1))",
        "clock_timestamp() > created_on",
        "gen_random_uuid() > identifier",
    ],
)
def test_a_condition_with_another_answer_each_time_is_refused(catalog, text):
    with pytest.raises(Refused, match=r"^select_query: .*(volatile|TABLESAMPLE)"):
        verify_condition(catalog, "image", parse_condition("image", f"WHERE {text}"))


@pytest.mark.parametrize(
    "change",
    [
        "SET filesize = (SELECT max(filesize) FROM image) + 1",
        "SET filesize = (SELECT max(o.filesize) FROM image o WHERE o.creator = image.creator)",
        "SET (filesize, width) = (SELECT o.filesize, 1 FROM image o LIMIT 1)",
        "SET filesize = (SELECT count(*) FROM every_image)::int",
        "SET standardized_popularity = image_popularity_percentile(provider, 'views', 0.85)",
        "SET filesize = (WITH audio AS (SELECT * FROM image) SELECT count(*) FROM audio)::int",
        "SET filesize = (SELECT sum(updated) FROM batched_update)::int",
    ],
)
def test_a_set_that_reads_the_table_it_changes_is_refused(catalog, change):
    """Later batches would see changes of earlier ones."""
    catalog.execute("create view every_image as select filesize from image")
    with pytest.raises(Refused, match=r"^update_query: SET reads .*Put the values into a table"):
        verify(catalog, parse_update("image", change, "WHERE true"))


def test_a_set_may_read_other_tables(catalog):
    verify(catalog, parse_update("image", "SET filesize = (SELECT max(filesize) FROM audio)", "WHERE true"))


def engine(connection, run="run-1", change="SET title = title || '!'", **more):
    what = parse_update("image", change, "WHERE provider = 'flickr'")
    return BatchedUpdate(connection, "test", run, what, **{"batch_size": 10, "pause": 0, **more})


def whole(job, **claim):
    progress = job.run(job.claim(**claim) or job.select())
    job.finish()
    return progress


def stopped(job, **claim):
    with pytest.raises(Interrupted):
        job.run(job.claim(**claim) or job.select())


def most_marks(connection):
    found = connection.execute(
        "select max(length(title) - length(replace(title, '!', ''))) from image"
    ).fetchone()
    return found[0]


def released(connection):
    """Release the locks of a job, as when the session of a task ends."""
    connection.execute("select pg_advisory_unlock_all()")


class TestClearing:
    """A finished or failed task is cleared, at once or after another run with the same query_id."""

    def test_a_finished_run_does_nothing_more(self, stocked):
        whole(engine(stocked))
        assert whole(engine(stocked)).updated == 30
        assert most_marks(stocked) == 1

    def test_a_finished_run_after_another_one(self, stocked):
        whole(engine(stocked))
        released(stocked)
        whole(engine(stocked, "run-2", "SET title = title || '?'"))
        released(stocked)
        progress = engine(stocked).claim()
        assert (progress.updated, progress.done) == (30, True)
        assert engine(stocked, "run-2", "SET title = title || '?'").claim().done
        assert most_marks(stocked) == 1

    def test_a_finished_run_takes_no_rows_of_a_later_one(self, stocked):
        """The later run has failed half way, and the earlier one is cleared meanwhile."""
        whole(engine(stocked))
        released(stocked)
        later = engine(stocked, "run-2", should_stop=lambda: True)
        stopped(later)
        released(stocked)
        job = engine(stocked)
        progress = job.claim()
        assert job.finished(progress)
        assert job.run(progress).updated == 30
        job.finish()
        released(stocked)
        assert whole(engine(stocked, "run-2")).updated == 30
        assert most_marks(stocked) == 2

    def test_a_finished_run_takes_no_locked_rows_of_a_later_one(self, stocked, dsn):
        """The later run has only rows left that were locked; its statement is another one."""
        set_later = "SET title = title || '?'"
        whole(engine(stocked))
        released(stocked)
        with psycopg.connect(dsn) as other:
            other.execute("select from image where foreign_identifier = 'flickr7' for update")
            with pytest.raises(Retry):
                whole(engine(stocked, "run-2", set_later))
        released(stocked)
        assert whole(engine(stocked)).updated == 30
        released(stocked)
        assert whole(engine(stocked, "run-2", set_later)).updated == 30
        titles = stocked.execute("select distinct right(title, 2) from image where provider = 'flickr'")
        assert titles.fetchall() == [("!?",)]

    def test_a_run_whose_rows_were_taken_over_changes_nothing_more(self, stocked):
        """As when its session has lost the lock."""
        former = engine(stocked)
        progress = former.select()
        released(stocked)
        later = engine(stocked, "run-2", "SET title = title || '?'")
        taken = later.claim(resume=True)
        with pytest.raises(Refused, match="the rows of 'test' belong to another run now"):
            former.run(progress)
        former.finish(forget=True)
        assert most_marks(stocked) == 0
        assert later.run(taken).updated == 30

    def test_an_unfinished_run_that_was_taken_over(self, stocked):
        stopped(engine(stocked, should_stop=lambda: True))
        released(stocked)
        whole(engine(stocked, "run-2"), resume=True)
        released(stocked)
        with pytest.raises(
            Refused,
            match=r"were taken over or given up by a later run; \d of 30 were done\. Trigger a new run",
        ):
            engine(stocked).claim()
        assert most_marks(stocked) == 1

    @pytest.mark.parametrize("later", [False, True], ids=["last", "followed by another"])
    def test_a_new_run_with_the_id_of_a_finished_one_does_its_work(self, stocked, later):
        """Airflow makes a deleted run again with its id; the earlier result would be reported as new."""
        assert whole(engine(stocked)).updated == 30
        if later:
            whole(engine(stocked, "run-2"))
        job = engine(stocked)
        assert job.claim(first=True) is None
        assert job.select().total == 30
        job = engine(stocked)
        assert whole(job).updated == 30
        assert engine(stocked).claim().done  # a cleared run has nothing to do
        assert most_marks(stocked) == 2 + later
        assert stocked.execute(
            "select count(*) from batched_update where run_id like 'run-1 before 2%'"
        ).fetchone() == (1,)

    def test_a_new_run_with_the_id_of_an_unfinished_one_continues(self, stocked):
        stopped(engine(stocked, should_stop=lambda: True))
        job = engine(stocked)
        assert job.claim(first=True).begun
        assert whole(job).updated == 30
        assert most_marks(stocked) == 1

    def test_an_unfinished_run_whose_rows_were_dropped(self, stocked):
        stopped(engine(stocked, should_stop=lambda: True))
        stocked.execute("drop table test_rows_to_update")
        with pytest.raises(Refused, match=r"were dropped; \d of 30 were done\. Trigger a new run"):
            engine(stocked).claim()

    def test_a_run_that_has_changed_nothing_yet_selects_again(self, stocked):
        engine(stocked).select()
        stocked.execute("drop table test_rows_to_update")
        assert engine(stocked).claim() is None

    def test_rows_that_stayed_locked_are_not_selected_again(self, stocked, dsn):
        """All batches are done except a few rows: a cleared selection task finds the old selection."""
        with psycopg.connect(dsn) as other:
            other.execute("select from image where foreign_identifier = 'flickr7' for update")
            with pytest.raises(Retry):
                whole(engine(stocked))
        assert whole(engine(stocked)).updated == 30
        assert most_marks(stocked) == 1

    def test_another_statement_of_the_same_run_is_another_update(self, stocked):
        whole(engine(stocked))
        assert engine(stocked, change="SET title = 'x'").claim() is None

    def test_a_deletion_deletes_its_selection_once(self, stocked):
        seven = parse_condition("image", "WHERE " + CONDITIONS["limit"].format(t="image"))

        def job(run="run-1", **more):
            return Deletion(stocked, run, "image", seven, "r", batch_size=2, **more)

        stopped(job(should_stop=lambda: True))
        assert whole(job()).updated == 7
        assert whole(job("run-2")).updated == 7
        assert whole(job()).updated == 7
        assert len(ids(stocked, "image")) == 60 - 14

    def test_a_statement_that_may_be_applied_again_replaces_what_was_left(self, stocked):
        stopped(engine(stocked, should_stop=lambda: True))
        released(stocked)
        assert engine(stocked, "run-2").claim(replace=True) is None


class TestGivenUp:
    def test_old_selections_are_dropped_when_a_new_run_selects(self, stocked):
        engine(stocked).select()
        released(stocked)
        stocked.execute("update batched_update set renewed_on = now() - interval '31 days'")
        BatchedUpdate(
            stocked, "other", "run-2", parse_update("image", "SET title = 'x'", "WHERE true")
        ).select()
        tables = stocked.execute(
            "select to_regclass('test_rows_to_update'), to_regclass('test_rows_left'), "
            "to_regclass('other_rows_to_update')::text"
        ).fetchone()
        assert tables == (None, None, "other_rows_to_update")
        assert stocked.execute("select total from batched_update where query_id = 'test'").fetchone() == (30,)

    @pytest.mark.parametrize("by_hand", [False, True], ids=["abandoned", "dropped by hand"])
    def test_rows_that_stayed_locked_are_not_done(self, stocked, dsn, by_hand):
        """All batches are done, so only these rows tell that the run has not ended."""

        def job(run):
            return Deletion(stocked, run, "image", "true", "r", pause=0.01)

        with psycopg.connect(dsn) as other:
            other.execute("select from image limit 1 for update")
            with pytest.raises(Retry, match="1 rows stayed locked"):
                whole(job("run-1"))
        released(stocked)
        stocked.execute("update batched_update set renewed_on = now() - interval '31 days'")
        if by_hand:
            [(name,)] = stocked.execute("select query_id from batched_update").fetchall()
            stocked.execute(f"drop table {name}_rows_to_update")
        else:
            assert len(drop_given_up(stocked)) == 1
        with pytest.raises(Refused, match=r"were dropped; 59 of 60 were done\. Trigger a new run"):
            job("run-1").claim()
        released(stocked)
        assert whole(job("run-2")).updated == 1

    def test_a_restoration_that_was_given_up_is_begun_again(self, stocked):
        """A command has no other run that could do so."""
        whole(Deletion(stocked, "run-1", "image", "true", "r"))
        with pytest.raises(Interrupted):
            restore(stocked, "image", "true", batch_size=20, should_stop=lambda: True)
        released(stocked)
        stocked.execute("update batched_update set renewed_on = now() - interval '31 days'")
        assert len(drop_given_up(stocked)) == 1
        assert restore(stocked, "image", "true").updated == 40
        assert len(ids(stocked, "image")) == 60

    def test_one_that_was_worked_on_lately_stays(self, stocked):
        engine(stocked).select()
        released(stocked)
        stocked.execute("update batched_update set renewed_on = now() - interval '29 days'")
        assert drop_given_up(stocked) == []
        assert drop_given_up(stocked, days=28) == ["test"]

    def test_one_that_is_at_work_stays(self, stocked, dsn):
        with psycopg.connect(dsn, autocommit=True) as other:
            job = engine(other)
            job.claim()
            job.select()
            stocked.execute("update batched_update set renewed_on = now() - interval '90 days'")
            assert drop_given_up(stocked) == []

    def test_one_that_cannot_be_dropped_stops_nobody(self, stocked, dsn, caplog):
        engine(stocked).select()
        released(stocked)
        stocked.execute("update batched_update set renewed_on = now() - interval '90 days'")
        with psycopg.connect(dsn) as other:
            other.execute("select count(*) from test_rows_to_update")
            assert drop_given_up(stocked) == []
        assert "The abandoned selection test cannot be dropped" in caplog.text

    @pytest.mark.parametrize(
        ("keep", "at_work", "there"), [("run-1", False, True), ("run-2", True, True), ("run-2", False, False)]
    )
    def test_rows_of_another_run_are_given_up_unless_it_is_at_work(self, stocked, dsn, keep, at_work, there):
        with psycopg.connect(dsn, autocommit=True) as other:
            job = engine(other)
            job.claim()
            job.select()
            if not at_work:
                released(other)
            give_up(stocked, "test", keep)
            assert stocked.execute("select to_regclass('test_rows_to_update') is not null").fetchone() == (
                there,
            )


SLOW = (
    "SET width = (SELECT count(*) FROM generate_series(1, 200000000) g WHERE md5(g::text || image.url) = 'x')"
)


def at_work(connection):
    """Wait until an attempt executes a statement on the table."""
    query = (
        "select 1 from pg_stat_activity where datname = current_database() and state = 'active' "
        "and query like 'update%'"
    )
    while not connection.execute(query).fetchone():
        time.sleep(0.01)


class TestAnEarlierTry:
    def test_whose_statement_still_runs_is_ended(self, stocked, dsn):
        """As after `kill -9` of a task: the server goes on with its statement."""
        failed = []

        def first():
            with psycopg.connect(dsn, autocommit=True) as connection:
                job = engine(connection, change=SLOW)
                progress = job.claim() or job.select()
                try:
                    job.run(progress)
                except psycopg.errors.AdminShutdown:
                    failed.append("ended")

        thread = threading.Thread(target=first)
        thread.start()
        at_work(stocked)
        progress = engine(stocked, change=SLOW).claim(max_wait=0.3)
        thread.join()
        assert failed == ["ended"]
        assert (progress.total, progress.updated) == (30, 0)

    def test_that_ends_in_time_is_waited_for(self, stocked, dsn):
        other = psycopg.connect(dsn, autocommit=True)
        engine(other).claim()
        timer = threading.Timer(0.5, other.close)
        timer.start()
        assert engine(stocked).claim(max_wait=60) is None
        timer.join()
        assert other.closed

    def test_of_another_run_is_not_touched(self, stocked, dsn):
        with psycopg.connect(dsn, autocommit=True) as other:
            engine(other, "run-2").claim()
            with pytest.raises(Refused, match="another run of 'test' is at work"):
                engine(stocked).claim(max_wait=0)
            assert other.execute("select 1").fetchone() == (1,)

    def test_that_has_the_number_of_a_process_that_ended_is_not_touched(self, stocked, dsn):
        """Process ids are reused, so sessions are identified by their start time as well."""
        with psycopg.connect(dsn, autocommit=True) as other:
            job = engine(other)
            job.claim()
            holder = engine(stocked)._lock._holder()
            assert holder.pid == other.info.backend_pid
            engine(stocked)._lock._end(holder._replace(started=holder.started.replace(year=2000)))
            assert other.execute("select 1").fetchone() == (1,)


class TestWaitingAndTime:
    def test_a_cancelled_statement_does_not_count_as_too_slow(self, stocked, dsn):
        def cancel():
            with psycopg.connect(dsn, autocommit=True) as admin:
                at_work(admin)
                admin.execute(
                    "select pg_cancel_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and query like 'update%generate_series%'"
                )

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(Fatal, match=r"was cancelled by another session \(pg_cancel_backend\)\."):
            whole(engine(stocked, change=SLOW))
        thread.join()

    def test_a_selection_that_takes_too_long(self, stocked):
        what = parse_update(
            "image",
            "SET title = 'x'",
            "WHERE (SELECT count(*) FROM generate_series(1, 200000000) g "
            "WHERE md5(g::text || image.url) = 'x') = 0",
        )
        with pytest.raises(Fatal, match=r"the selection took longer than 0\.2 s; narrow the condition"):
            BatchedUpdate(stocked, "test", "run", what).select(timeout=0.2)

    def test_a_lock_on_the_table_is_tried_again_later(self, stocked, dsn, monkeypatch):
        """This also holds for a role with its own lock_timeout."""
        monkeypatch.setattr(batch_job, "LOCK_TIMEOUT", 0.05)
        stocked.execute("set lock_timeout = '5ms'")
        job = engine(stocked)
        progress = job.select()
        with psycopg.connect(dsn) as other:
            other.execute("lock table image in access exclusive mode")
            with pytest.raises(Retry, match="image is locked by other sessions"):
                job.run(progress)
        assert whole(engine(stocked)).updated == 30

    @pytest.mark.parametrize("timeout", [0, 0.0001, -1, 2_147_484, 1e300, float("nan")])
    def test_a_timeout_that_postgresql_cannot_keep(self, catalog, timeout):
        with pytest.raises(Refused, match=r"update_timeout: .* it must be between 0.001 and 2147483 s"):
            engine(catalog, timeout=timeout)

    @pytest.mark.parametrize("timeout", [0.001, 2_147_483])
    def test_the_longest_and_the_shortest(self, catalog, timeout):
        with catalog.transaction():
            engine(catalog, timeout=timeout)
            limit_statements(catalog, timeout)


def test_a_schema_named_like_the_user_hides_nothing(stocked):
    stocked.execute("create schema authorization current_user")
    stocked.execute(f"create table {stocked.info.user}.image (like public.image)")
    count_updates(stocked)
    assert whole(engine(stocked)).updated == 30


def test_backslashes_mean_what_the_grammar_took_them_for(stocked):
    """The role's settings have no effect; otherwise, `OR true` would select all rows."""
    stocked.execute("set standard_conforming_strings = off")
    text = parse_condition(
        "image", "WHERE title = '\\' AND title <> ' OR true OR title <> ' AND title <> ' '"
    )
    assert Deletion(stocked, "run", "image", text, "r").select().total == 0
