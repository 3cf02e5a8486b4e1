"""Deleting and restoring on a real PostgreSQL."""

import re
import signal

import psycopg
import pytest
from typer.testing import CliRunner

from catalog.cli.app import app
from catalog.core.errors import Fatal, Interrupted, Refused, Retry
from catalog.database.deletion import Deletion, preview, restore
from catalog.database.statements import parse_condition
from catalog.database.suppression import refusing_indexes
from catalog.tests.database.media import fill, killed_until_done, suppress

WHERE = parse_condition("image", "WHERE provider = 'flickr'")


def delete(connection, condition=WHERE, reason="r", run="run-1", **options):
    """Delete rows; return how many all attempts of the run have deleted."""
    job = Deletion(connection, run, "image", condition, reason, **{"pause": 0, **options})
    progress = job.run(job.claim() or job.select())
    job.finish()
    return progress.updated


def count(connection, table):
    return connection.execute(f"select count(*) from {table} where provider = 'flickr'").fetchone()[0]


def records(connection, table="image"):
    return dict(
        connection.execute(
            f"select identifier, to_jsonb(t) - 'deleted_on' - 'deleted_reason' from {table} t "
            "where provider = 'flickr'"
        ).fetchall()
    )


def test_records_move_with_reason_and_date(catalog):
    fill(catalog, 250)
    before = records(catalog)
    assert delete(catalog, reason="x" * 100, batch_size=100) == 250
    assert (count(catalog, "image"), count(catalog, "deleted_image")) == (0, 250)
    assert records(catalog, "deleted_image") == before
    assert catalog.execute(
        "select distinct deleted_reason, deleted_on > now() - interval '1 minute' from deleted_image"
    ).fetchall() == [("x" * 80, True)]
    assert catalog.execute("select count(*) from image where provider = 'smk'").fetchone() == (250,)


def test_what_is_deleted_again_is_kept_as_it_was_the_last_time(catalog):
    """Records that came back by another way have other values, and usually another identifier."""
    fill(catalog, 4)
    delete(catalog, reason="first")
    catalog.execute("update deleted_image set deleted_on = '2020-01-01'")
    catalog.execute("create temp table back as select * from deleted_image")
    fill(catalog, 3, ("flickr",))  # flickr1 to flickr3, with new identifiers
    catalog.execute(
        "update image i set identifier = b.identifier from back b"
        " where b.foreign_identifier = 'flickr3' and i.foreign_identifier = 'flickr3'"
    )
    catalog.execute("update image set title = 'corrected ' || foreign_identifier where provider = 'flickr'")
    before = records(catalog)
    assert delete(catalog, reason="second", run="run-2") == 3
    kept = catalog.execute(
        "select foreign_identifier, deleted_reason, deleted_on > '2020-01-02' from deleted_image order by 1"
    ).fetchall()
    assert kept == [(f"flickr{n}", "second", True) for n in (1, 2, 3)] + [("flickr4", "first", False)]
    assert restore(catalog, "image", parse_condition("image", "WHERE deleted_reason = 'second'")).updated == 3
    assert records(catalog) == before


def test_a_preview_changes_nothing(catalog):
    fill(catalog, 20)
    found = preview(catalog, "image", parse_condition("image", "WHERE title LIKE '%1'"), rows=2)
    assert (found.rows, found.providers) == (4, {"flickr": 2, "smk": 2})
    assert [set(row) for row in found.sample] == [{"identifier", "provider", "title", "url"}] * 2
    assert count(catalog, "deleted_image") == 0


def test_a_column_that_deleted_media_lack_is_named_before_anything_is_deleted(catalog):
    """A later release, for example, may have added a column only to the media table."""
    fill(catalog, 10)
    catalog.execute("alter table image add column noted_on timestamptz, add column theirs varchar(7)")
    job = Deletion(catalog, "run-1", "image", WHERE, "r")
    job.claim() or job.select()
    for attempt in (
        lambda: preview(catalog, "image", WHERE),
        job.selected,
        lambda: delete(catalog, run="run-2"),
    ):
        with pytest.raises(Fatal, match="deleted_image lacks columns of image") as raised:
            attempt()
    assert count(catalog, "image") == 10
    catalog.execute(str(raised.value).partition("values: ")[2].partition(";")[0])
    assert delete(catalog, run="run-3") == 10


def test_what_is_selected_is_shown(catalog):
    fill(catalog, 20)
    job = Deletion(catalog, "run-1", "image", parse_condition("image", "WHERE title LIKE '%1'"), "r")
    assert job.select().total == 4
    found = job.selected(rows=3)
    assert (found.rows, found.providers, len(found.sample)) == (4, {"flickr": 2, "smk": 2}, 3)


def test_locked_rows_are_taken_later_and_those_that_stay_locked_are_reported(catalog, dsn):
    fill(catalog, 50)
    with psycopg.connect(dsn) as other:
        other.execute("select from image where foreign_identifier = 'flickr7' for update")
        with pytest.raises(
            Retry, match=r"1 rows stayed locked by other sessions in 30 passes; all other rows are done"
        ):
            delete(catalog)
        assert count(catalog, "image") == 1
    assert delete(catalog) == 50
    assert count(catalog, "deleted_image") == 50


def test_rows_whose_deletion_a_trigger_suppresses_are_not_locked(catalog):
    fill(catalog, 50)
    suppress(catalog, "flickr3", "flickr4")
    with pytest.raises(Fatal, match=r"2 rows of image are not locked.* trigger keep of image suppresses"):
        delete(catalog)
    assert count(catalog, "image") == 2


def test_rows_that_are_free_too_late_are_not_suppressed(catalog, dsn):
    """The other session ends after the third pass, before the rows are looked at."""
    fill(catalog, 5)
    suppress(catalog, "none of them")
    with psycopg.connect(dsn) as other:
        other.execute("select from image where foreign_identifier = 'flickr1' for update")
        reports = []

        def release(progress):
            reports.append(progress.waiting)
            if len(reports) == 4:  # the batch, and three passes
                other.rollback()

        assert delete(catalog, progress=release) == 5
    assert reports[:4] == [1, 1, 1, 1]


def test_what_a_lock_of_a_table_prevents_is_not_suppressed(catalog, dsn, monkeypatch):
    """As while an index is built. No trigger and no index of this table refuses anything."""
    monkeypatch.setattr("catalog.database.batch_job.LOCK_TIMEOUT", 0.05)
    monkeypatch.setattr("catalog.database.batch_job.PASSES", 5)
    fill(catalog, 5)
    catalog.execute("create unique index theirs on image (foreign_identifier, title)")
    delete(catalog)
    with psycopg.connect(dsn) as other, psycopg.connect(dsn) as building:
        other.execute("select from deleted_image where foreign_identifier = 'flickr1' for update")

        def build(_):
            other.rollback()
            building.execute("lock table deleted_image in share mode")

        with pytest.raises(Retry, match="1 rows stayed locked by other sessions in 5 passes"):
            restore(catalog, "image", WHERE, pause=0, progress=build)
    assert restore(catalog, "image", WHERE, pause=0).updated == 5


def test_only_indexes_that_are_not_the_catalogs_refuse_records(catalog):
    assert refusing_indexes(catalog, "image") == ""
    catalog.execute("create unique index theirs on image (lower(title))")
    catalog.execute("create unique index implied on image (provider, url)")
    assert refusing_indexes(catalog, "image") == "unique index theirs of image"


NOWHERE = "create function no() returns trigger language plpgsql as $$ begin return null; end $$; "
ARCHIVE = """
    create table archive (like deleted_image);
    alter table archive inherit deleted_image;
    create function no() returns trigger language plpgsql as
        $$ begin insert into archive select new.*; return null; end $$;
"""


@pytest.mark.parametrize(
    ("function", "before", "on", "message"),
    [
        (NOWHERE, "insert", "deleted_image", "5 records would be lost: trigger no of deleted_image keeps"),
        (NOWHERE, "delete", "image", "5 rows of image are not locked.* trigger no of image suppresses"),
        (ARCHIVE, "insert", "deleted_image", None),
    ],
)
def test_what_is_deleted_is_kept_whatever_triggers_there_are(catalog, function, before, on, message):
    fill(catalog, 5)
    made = f"create trigger no before {before} on {on} for each row execute function no()"
    catalog.execute(function + made)
    if message:
        with pytest.raises(Fatal, match=message):
            delete(catalog)
        assert (count(catalog, "image"), count(catalog, "deleted_image")) == (5, 0)
        catalog.execute(f"drop trigger no on {on}")
    assert delete(catalog) == 5
    assert (count(catalog, "image"), count(catalog, "deleted_image")) == (0, 5)


@pytest.mark.parametrize(
    ("before", "on", "message"),
    [
        ("insert", "image", "5 rows of deleted_image are not locked.* trigger no of image suppresses"),
        (
            "delete",
            "deleted_image",
            "5 records would be in image and in deleted_image: trigger no of deleted_im",
        ),
        (None, "image", "5 rows of deleted_image are not locked.* unique index theirs of image"),
    ],
)
def test_what_is_restored_is_in_one_table_whatever_triggers_there_are(catalog, before, on, message):
    fill(catalog, 5)
    delete(catalog)
    if before:
        made = f"create trigger theirs before {before} on {on} for each row execute function no()"
        catalog.execute(NOWHERE + made.replace("theirs", "no"))
    else:
        catalog.execute(
            "create unique index theirs on image (title)"
        )  # the same as those of another provider
    with pytest.raises(Fatal, match=message):
        restore(catalog, "image", WHERE, pause=0)
    assert (count(catalog, "image"), count(catalog, "deleted_image")) == (0, 5)
    catalog.execute(f"drop trigger no on {on}" if before else "drop index theirs")
    assert restore(catalog, "image", WHERE, pause=0).updated == 5
    assert (count(catalog, "image"), count(catalog, "deleted_image")) == (5, 0)


def test_an_index_that_keeps_a_record_out_of_the_deleted_ones_is_named(catalog):
    """An adopted table may be stricter. The other record with the URL must not be replaced."""
    fill(catalog, 3)
    catalog.execute("create unique index theirs on deleted_image (url)")
    delete(catalog)
    catalog.execute(
        "update image set url = 'https://example.org/flickr1.jpg' where foreign_identifier = 'smk1'"
    )
    smk = parse_condition("image", "WHERE provider = 'smk'")
    with pytest.raises(Fatal, match=r"the index theirs, which is not the catalog's.*flickr1\.jpg"):
        delete(catalog, smk, run="run-2")
    assert catalog.execute("select count(*) from image").fetchone() == (3,)
    assert catalog.execute("select count(*) from deleted_image").fetchone() == (3,)


def test_rows_that_change_or_are_deleted_after_the_selection(catalog):
    """Selected rows are deleted even if they no longer match; missing rows are counted."""
    fill(catalog, 50)
    condition = parse_condition("image", "WHERE provider = 'flickr' AND creator IS NULL")
    job = Deletion(catalog, "run-1", "image", condition, "r")
    progress = job.select()
    catalog.execute("update image set creator = 'new' where foreign_identifier = 'flickr1'")
    catalog.execute("delete from image where foreign_identifier = 'flickr2'")
    progress = job.run(progress)
    assert (progress.updated, progress.missing) == (49, 1)
    assert catalog.execute(
        "select creator from deleted_image where foreign_identifier = 'flickr1'"
    ).fetchone() == ("new",)


def test_stopping_between_batches(catalog):
    fill(catalog, 50)
    with pytest.raises(Interrupted, match="at row 21 of 50"):
        delete(catalog, batch_size=20, should_stop=lambda: True)
    assert delete(catalog, batch_size=20) == 50


def test_restoring(catalog):
    fill(catalog, 20)
    before = records(catalog)
    delete(catalog, reason="by mistake")
    catalog.execute(
        "update image set url = 'https://example.org/flickr3.jpg' where foreign_identifier = 'smk1'"
    )  # its URL is taken now
    progress = restore(catalog, "image", WHERE, batch_size=7)
    assert (progress.total, progress.updated, progress.missing) == (20, 19, 1)
    assert {k: v for k, v in before.items() if v["foreign_identifier"] != "flickr3"} == records(catalog)
    assert count(catalog, "deleted_image") == 1
    assert restore(catalog, "image", WHERE).updated == 0  # the next command makes a new selection


def test_a_restored_record_has_the_score_of_todays_constant(catalog):
    """The constant changed after the deletion, and no popularity refresh would rescore the provider."""
    fill(catalog, 20)
    catalog.execute("update image set standardized_popularity = 0.123")
    delete(catalog)
    constant = "update image_popularity_metrics set constant = %s where provider = 'flickr'"
    catalog.execute(constant, [30])
    assert restore(catalog, "image", WHERE).updated == 20
    query = """
        select distinct round((standardized_popularity / (n / (n + 30)))::numeric, 9)
          from image, lateral (values ((meta_data ->> 'views')::float)) as v (n)
    """
    assert catalog.execute(f"{query} where provider = 'flickr'").fetchall() == [(1,)]
    delete(catalog, run="run-2")
    catalog.execute(constant, [None])
    restore(catalog, "image", WHERE)
    scored = "select count(standardized_popularity) from image where provider = 'flickr'"
    assert catalog.execute(scored).fetchone() == (0,)


def test_a_restoration_frees_the_urls_of_earlier_deletions_of_its_records(catalog, dsn):
    fill(catalog, 3, ("flickr",))
    before = "insert into deleted_before (media_type, url, provider, foreign_identifier, record) values"
    for media, provider, name in [
        ("image", "flickr", "flickr1"),
        ("image", "flickr", "flickr2"),
        ("image", "smk", "flickr1"),
        ("audio", "flickr", "flickr1"),
    ]:
        catalog.execute(f"{before} (%s, 'https://example.org/old', %s, %s, '{{}}')", [media, provider, name])
    delete(catalog)
    where = "WHERE foreign_identifier IN ('flickr1', 'flickr3')"
    done = CliRunner().invoke(app, ["db", "restore", "--dsn", dsn, "--where", where])
    assert "2 records of image restored; 1 URLs of earlier deletions of them are free again" in done.output
    left = catalog.execute(
        "select media_type, provider, foreign_identifier from deleted_before order by 1, 2, 3"
    )
    assert left.fetchall() == [
        ("audio", "flickr", "flickr1"),
        ("image", "flickr", "flickr2"),
        ("image", "smk", "flickr1"),
    ]


def test_restoring_waits_for_rows_that_are_locked(catalog, dsn):
    fill(catalog, 20)
    delete(catalog)
    with psycopg.connect(dsn) as other:
        other.execute("select from deleted_image where foreign_identifier = 'flickr7' for update")
        with pytest.raises(Retry, match="1 rows stayed locked"):
            restore(catalog, "image", WHERE, pause=0)
    assert restore(catalog, "image", WHERE).updated == 20  # of both commands together
    assert count(catalog, "deleted_image") == 0


def test_a_restoration_that_was_stopped_goes_on_with_its_selection(catalog):
    fill(catalog, 20)
    delete(catalog)
    five = parse_condition(
        "image",
        "WHERE identifier IN (SELECT identifier FROM deleted_image ORDER BY foreign_identifier LIMIT 5)",
    )
    with pytest.raises(Interrupted):
        restore(catalog, "image", five, batch_size=2, should_stop=lambda: True)
    assert restore(catalog, "image", five, batch_size=2).updated == 5
    assert count(catalog, "image") == 5


def test_the_command_restores_what_it_counts_and_refuses_what_is_not_the_catalogs(catalog, dsn):
    fill(catalog, 20)
    delete(catalog)

    def command(where, *more):
        return CliRunner().invoke(app, ["db", "restore", "--dsn", dsn, "--where", where, *more])

    five = (
        "WHERE identifier IN (SELECT identifier FROM deleted_image ORDER BY deleted_on, identifier LIMIT 5)"
    )
    assert "5 records of deleted_image match; nothing was changed" in command(five, "--dry-run").output
    assert count(catalog, "image") == 0
    assert "5 records of image restored" in command(five).output
    assert count(catalog, "image") == 5
    nobody = command("WHERE provider = 'flikcr'")
    assert nobody.exit_code == 1
    assert "no record of deleted_image matches, so nothing was restored" in str(nobody.exception)
    nobody = command("WHERE provider = 'flikcr'", "--dry-run")
    assert nobody.exit_code == 1
    assert "no record of deleted_image matches, so nothing would be restored" in str(nobody.exception)
    assert "--where: pg_catalog.pg_shadow cannot be read" in str(
        command("WHERE title IN (SELECT usename::text FROM pg_shadow)").exception
    )
    assert "refused: --where: it must begin with WHERE" in str(command("true").exception)
    named = "Columns of deleted_image are named without a table, or as image.<column>"
    assert named in str(command("WHERE deleted_image.provider = 'flickr'").exception)
    for dry_run in ("--dry-run", None):
        broken = command("WHERE title::int > 5", *([dry_run] if dry_run else []))
        assert "--where: PostgreSQL: invalid input syntax for type integer" in str(broken.exception)
    catalog.execute("update catalog_version set version_num = '0001'")
    assert "the schema of the catalog database is at revision 0001" in str(command(five).exception)


WORKER = """
import signal, sys, threading, psycopg
from catalog.database.deletion import Deletion
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    print("at work", flush=True)
    some = (
        "identifier IN (SELECT identifier FROM image WHERE provider = 'flickr' "
        "ORDER BY foreign_identifier LIMIT 2000)"
    )
    job = Deletion(connection, "killed", "image", some, "killed", batch_size=50, should_stop=stop.is_set)
    job.run(job.claim(max_wait=0.2) or job.select())
    print("done", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_again_and_again(catalog, dsn, how):
    """A condition with a LIMIT of 2000 deletes 2000 rows, however often the task is killed."""
    fill(catalog, 3000)

    def none_is_lost():
        assert count(catalog, "image") + count(catalog, "deleted_image") == 3000

    assert killed_until_done(WORKER, dsn, how, none_is_lost) >= 2
    assert (count(catalog, "image"), count(catalog, "deleted_image")) == (1000, 2000)


def test_a_run_with_the_id_of_an_unfinished_one_and_another_condition(catalog):
    """It does not continue with the other's rows; when they are dropped, it selects its own."""
    fill(catalog, 8)
    Deletion(catalog, "run-1", "image", WHERE, "r").select()
    other = parse_condition("image", "WHERE foreign_identifier = 'none'")
    again = Deletion(catalog, "run-1", "image", other, "r")
    with pytest.raises(Refused, match="by another condition") as raised:
        again.claim(first=True)
    assert "resume_update" not in str(raised.value)
    found = re.search(r"DROP TABLE \w+;", str(raised.value))
    assert found is not None
    catalog.execute(found[0])
    assert again.claim(first=True) is None
    assert again.select().total == 0
