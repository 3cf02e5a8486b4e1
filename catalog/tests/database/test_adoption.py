"""Adoption of databases of older generations: nothing is lost, and all operations work on them."""

import itertools
import re
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from catalog.core.errors import Fatal, Refused
from catalog.database import schema
from catalog.database.adoption import adopt, inspect, work
from catalog.database.adoption.first_revision import names_of_later_revisions
from catalog.database.adoption.uniqueness import UNIQUE
from catalog.database.deletion import Deletion, restore
from catalog.database.revision import require
from catalog.tests.database.adopted import (
    OLDEST,
    connected,
    contents,
    duplicate,
    files,
    lost,
    old,
    shape,
    shape_of_theirs,
)
from catalog.tests.database.generations import GENERATIONS, fill, make
from catalog.tests.loading.loader import Loader, image
from catalog.tests.values import present

pytestmark = pytest.mark.database
__all__ = ["old"]


# The current schema has one index for the key of a medium, and text without a limit where an index with an
# expression would have to be rebuilt.
EXPECTED = re.compile(
    r"column (deleted_)?(image|audio)\.(identifier|foreign_identifier)|column \w+_popularity_metrics\.raw_val"
    r"|(index|constraint (deleted_)?(image|audio)) (deleted_)?(image|audio)_(pkey|identifier_key)"
    r"|index (deleted_)?\w+_provider_fid_idx"
    r"|function uuid_generate_v4\(\)|.*\b(their_|load_image|fix_titles|old_image).*"
)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_nothing_is_lost_and_nothing_is_rewritten(old, server, generation):
    dsn = old(generation)
    with connected(dsn) as connection:
        found = inspect(connection)
        assert (found.state, found.obstacles) == ("older", [])
        assert present(found.generation).name == generation
        columns, before = contents(connection)
        lay = files(connection)
        after = adopt(dsn)
        assert (after.current, after.pending) == (after.head, ())
        assert lost(before, contents(connection, columns)[1]) == {}
        assert files(connection).items() >= lay.items()
        require(connection)
        assert inspect(connection).state == "current"
        theirs = shape(connection)
    with connected(server.dsn("migrated")) as fresh:
        ours = shape(fresh)
    different = {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}
    assert {name for name in different if not EXPECTED.fullmatch(name)} == set()
    if generation == "2024":
        assert not [
            name
            for name in different
            if re.search(r" (deleted_)?(image|audio)(\.foreign_identifier|_provider_fid_idx)$", name)
        ]


def test_every_name_of_the_catalog_is_known(catalog):
    """No foreign object is mistaken for an object of the catalog."""
    made = {
        name.split()[1].partition("(")[0]
        for name in shape(catalog)
        if name.split()[0] in ("relation", "index", "function", "view")
    }
    known = names_of_later_revisions() | {name for wanted in UNIQUE.values() for name, _ in wanted}
    assert {name for name in made - known if not name.endswith(("_pkey", "_number_seq"))} == set()


class Stopped(Exception):
    pass


def killed_after(step):
    """Return a callback that ends the adoption after the step of this number."""
    done = itertools.count()

    def after(_):
        if next(done) == step:
            raise Stopped

    return after


@pytest.mark.parametrize("generation", [OLDEST, "October 2023"])
def test_killed_after_each_step_and_repeated(old, generation):
    dsn = old(generation, rows=100)
    with connected(dsn) as connection:
        duplicate(connection)
        columns, before = contents(connection)
        columns = {
            table: [c for c in names if c != "deleted_on"] for table, names in columns.items()
        }  # of duplicates: now
        steps = len(inspect(connection, move_duplicates=True).steps)
    assert steps >= 6
    copy = dsn.rpartition("/")[2]
    ends = []
    for step in range(steps):
        with connected(dsn.replace(copy, "postgres")) as connection:
            connection.execute(f"create database {copy}_{step} template {copy} strategy file_copy")
        again = f"{dsn}_{step}"
        with pytest.raises(Stopped):
            adopt(again, move_duplicates=True, done=killed_after(step))
        if step + 1 < steps:
            adopt(again, move_duplicates=True)
        else:  # the last one notes the revision
            with pytest.raises(Refused, match="catalog db upgrade"):
                adopt(again)
            schema.upgrade(again)
        with connected(again) as connection:
            ends.append((shape(connection), contents(connection, columns)[1]))
    assert [end for end in ends if end != ends[0]] == []
    assert lost({"audio": before["audio"]}, ends[0][1]) == {}


def test_audio_without_an_identifier_keeps_no_batch_from_its_end(old, monkeypatch):
    monkeypatch.setattr(work, "FILL_BATCH", 7)
    dsn = old("2022")
    nameless = "select count(*) from audio where identifier is null"
    with connected(dsn) as connection:
        key = "select conname from pg_constraint where contype = 'p' and conrelid = 'audio'::regclass"
        [(name,)] = connection.execute(key).fetchall()
        connection.execute(f"alter table audio drop constraint {name} cascade")
        connection.execute("alter table audio alter column identifier drop not null")
        connection.execute(
            "update audio set identifier = null where jsonb_typeof(audio_set -> 'foreign_identifier') "
            "in ('string', 'number') and audio_set ->> 'foreign_identifier' <> ''"
        )
        before = connection.execute(nameless).fetchone()
        assert before > (7,)
        adopt(dsn)
        assert connection.execute(nameless).fetchone() == before


def test_killed_while_sets_are_filled(old, monkeypatch):
    monkeypatch.setattr(work, "FILL_BATCH", 7)
    dsn = old("2022")
    calls = itertools.count()

    def progress(_what, _done, _total):
        if next(calls) == 2:
            raise Stopped

    filled = "select count(*) from audio where audio_set_foreign_identifier is not null"
    with connected(dsn) as connection:
        wanted = connection.execute(
            "select count(*) from audio where jsonb_typeof(audio_set -> 'foreign_identifier') "
            "in ('string', 'number') and audio_set ->> 'foreign_identifier' <> ''"
        ).fetchone()
        with pytest.raises(Stopped):
            adopt(dsn, progress=progress)
        assert connection.execute(filled).fetchone() == (21,)
        before = contents(connection)[1]["audio"]
        adopt(dsn)
        assert connection.execute(filled).fetchone() == wanted
        assert contents(connection)[1]["audio"] == before
        sets = connection.execute(
            "select foreign_identifier, title, filesize from audioset_view "
            "where foreign_identifier like 'set%'"
        ).fetchall()
    assert sets
    assert [found for found in sets if found != (found[0], f"Set {found[0][3:]}", 12)] == []


def test_an_index_that_a_killed_run_left_is_rebuilt(old):
    dsn = old(OLDEST, rows=50)
    with connected(dsn) as connection:
        connection.execute(
            "insert into image (created_on, updated_on, url, license, removed_from_source) "
            "values (now(), now(), 'u', 'by', false),"
            " (now(), now(), 'u', 'by', false)"
        )
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("create unique index concurrently image_url_key on image (url)")
        connection.execute("delete from image where url = 'u'")
        [step] = [s for s in inspect(connection).steps if s.title.startswith("make url unique in image,")]
        assert step.statements[0] == "drop index concurrently public.image_url_key"
        adopt(dsn)
        assert connection.execute(
            "select indisvalid from pg_index where indexrelid = 'image_url_key'::regclass"
        ).fetchone() == (True,)


def test_a_missing_media_table_is_created(old):
    """A catalog of audio only, whose table of deleted images is still there."""
    dsn = old("October 2023", rows=50)
    with connected(dsn) as connection:
        connection.execute("drop table image cascade")
        assert inspect(connection).obstacles == []
        after = adopt(dsn)
        assert (after.current, after.pending) == (after.head, ())
        require(connection)
        assert connection.execute("select count(*) from image").fetchone() == (0,)


def test_foreign_objects_are_named_and_kept(old):
    dsn = old("2024", rows=20)
    with connected(dsn) as connection:
        connection.execute("grant select on audioset_view to pg_monitor")
        unmanaged = "\n".join(inspect(connection).unmanaged)
        for name in (
            "load_image_20230101_flickr: loading",
            "fix_titles_rows_to_update: rows",
            "old_image: a legacy",
            "schema aws_s3",
            "their_notes",
            "their_view",
            "their_images",
            "their_source_idx",
            "their_function",
            "trigger their_trigger on image",
            "type their_mood",
            "column image.their_column",
            "metric of their_provider",
        ):
            assert name in unmanaged
        mine = (
            "select relname, relkind, relfilenode from pg_class "
            "where relname ~ '^(their|load_|fix_titles|old_)' order by 1"
        )
        before = connection.execute(mine).fetchall()
        adopt(dsn)
        assert connection.execute(mine).fetchall() == before
        assert connection.execute(
            "select has_table_privilege('pg_monitor', 'audioset_view', 'select')"
        ).fetchone() == (True,)
        assert connection.execute(
            "select metric, percentile from image_popularity_metrics where provider = 'their_provider'"
        ).fetchall() == [("likes", 0.5)]
        assert connection.execute(
            "select val, constant from image_popularity_metrics where provider = 'flickr'"
        ).fetchall() == [(40, 7.0588)]


def test_constants_of_a_materialized_view_are_kept_and_what_is_lost_is_listed(old):
    dsn = old("2022", rows=400, cluttered=False)
    constants = (
        "select provider, metric, percentile, val, constant from image_popularity_constants order by 1"
    )
    with connected(dsn) as connection:
        connection.execute("""
            drop materialized view image_view;
            update image set meta_data = '{"views": "12"}' where provider = 'flickr';
            update image_popularity_metrics set percentile = 0.5 where provider = 'flickr';
            refresh materialized view image_popularity_constants;
            update image_popularity_metrics set percentile = null where provider = 'flickr';
            grant select on image_popularity_constants to pg_monitor;
            grant insert, select on audioset_view to pg_monitor;
            grant select (title) on audioset_view to pg_monitor;
            comment on view audioset_view is 'theirs';
            alter view audioset_view set (security_barrier);
            create rule theirs as on insert to audioset_view do instead nothing;
            revoke execute on function standardized_image_popularity(text, jsonb) from public;
        """)
        before = connection.execute(constants).fetchall()
        assert [row for row in before if row[3] is not None]
        assert inspect(connection).lost == [
            (
                "EXECUTE on function standardized_image_popularity(provider_name text, meta jsonb), "
                "which was granted to its owner only"
            ),
            "INSERT on audioset_view, granted to pg_monitor",
            "SELECT on column audioset_view.title, granted to pg_monitor",
            "options of audioset_view: security_barrier=true",
            "rule theirs on audioset_view",
            "the comment on view audioset_view",
        ]
        adopt(dsn)
        after = connection.execute(constants).fetchall()
    assert [row for row in after if row[0] in {provider for provider, *_ in before}] == before


def test_deleted_media_of_a_table_with_columns_of_others(old):
    """Types are copied exactly, and a generated column does not become a plain one."""
    theirs = (
        'add column price numeric(10, 2), add column code char(3), add column odd "char", '
        "add column span interval(3),"
        "add column lower_url text not null generated always as (lower(url)) stored"
    )
    written = (
        "select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attname) "
        "from pg_attribute "
        "where attrelid = 'deleted_image'::regclass "
        "and attname in ('price', 'code', 'odd', 'span', 'lower_url')"
    )
    for generation in (OLDEST, "October 2023"):
        dsn = old(generation, rows=20, cluttered=False)
        with connected(dsn) as connection:
            if generation == OLDEST:
                connection.execute("delete from image where octet_length(url) > 2600")
            connection.execute(f"alter table image {theirs}")
            adopt(dsn)
            assert connection.execute(written).fetchone() == (
                'code character(3), odd "char", price numeric(10,2), span interval(3)',
            )
            rows = connection.execute("select count(*) from image").fetchone()[0]
            job = Deletion(connection, "run", "image", "true", "r", pause=0)
            assert job.run(job.claim() or job.select()).updated == rows


def test_a_check_changes_nothing(old):
    dsn = old("2022", rows=30)
    with connected(dsn) as connection:
        columns, before = contents(connection)
        shape_before = shape_of_theirs(connection)
        found = inspect(connection)
        assert (contents(connection, columns)[1], shape_of_theirs(connection)) == (before, shape_before)
    assert {o.name: o.outcome for o in found.objects}["image_view"] == "dropped"
    unexpected = {(o.table, o.description): o.rows for o in found.unexpected}
    with connected(dsn) as connection:
        for table, what, test in (
            ("image", "provider IS NULL", "provider is null"),
            ("audio", "tags that are not an array", "jsonb_typeof(tags) <> 'array'"),
            ("image", "a license that is empty or has capitals", "license <> lower(license) or license = ''"),
        ):
            assert connection.execute(f"select count(*) from {table} where {test}").fetchone() == (
                unexpected[table, what],
            )


class TestLocks:
    def test_reports_whom_it_waits_for_and_gives_up(self, old):
        dsn = old("2022", rows=20)
        said: list[str] = []
        with connected(dsn) as connection, psycopg.connect(dsn, application_name="their report") as other:
            other.execute("select count(*) from image")
            with pytest.raises(
                Fatal,
                match=r"image: add standardized_popularity has waited 0 s "
                r"for process \d+ of .*their report.*",
            ):
                adopt(dsn, notify=said.append, max_wait=0)
            assert inspect(connection).state == "older"
            other.rollback()
            adopt(dsn, notify=said.append)

    @pytest.mark.parametrize(
        ("generation", "theirs"),
        [
            ("2022", "select count(*) from audio"),
            # An index waits for older transactions.
            ("October 2023", "insert into deleted_image select * from deleted_image limit 0"),
        ],
    )
    def test_reports_whom_it_waits_for_and_goes_on_afterwards(self, old, generation, theirs):
        dsn = old(generation, rows=20)
        said: list[str] = []
        with psycopg.connect(dsn) as other:
            other.execute(theirs)
            pid = other.info.backend_pid

            def say(text):
                said.append(text)
                if "waits for" in text:
                    other.rollback()

            adopt(dsn, notify=say)
        assert [text for text in said if f"waits for process {pid} of " in text]

    def test_readers_go_on_while_a_vacuum_is_waited_for(self, old):
        """An autovacuum gives way after a second; until then no reader has to wait."""
        dsn = old("2022", rows=20)
        said: list[str] = []
        with psycopg.connect(dsn) as other, connected(dsn) as reader, ThreadPoolExecutor() as threads:
            other.execute("lock table audio in share update exclusive mode")  # as a vacuum does
            adoption = threads.submit(adopt, dsn, notify=said.append)
            reader.execute("set lock_timeout = '500ms'")
            while not [text for text in said if "waits for" in text]:
                reader.execute("select count(*) from image, audio")
                assert not adoption.done()
                time.sleep(0.01)
            other.rollback()
            assert adoption.result().pending == ()

    def test_a_check_reports_whom_it_waits_for(self, old):
        dsn = old("2022", rows=20)
        with psycopg.connect(dsn) as other, connected(dsn) as connection:
            other.execute("lock table image in access exclusive mode")
            with pytest.raises(
                Fatal, match=f"the inspection has waited 0 s for process {other.info.backend_pid} of "
            ):
                inspect(connection, max_wait=0)
            assert inspect(connection, notify=lambda _: other.rollback()).obstacles == []

    def test_an_index_waits_no_longer_than_it_may(self, old):
        """The build waits for an older transaction and gives up; the next adoption starts it again."""
        dsn = old(OLDEST, rows=20, cluttered=False)
        theirs = "insert into audio select * from audio limit 0"
        with psycopg.connect(dsn) as other:
            pid = other.info.backend_pid

            def done(step):
                if step.title == "create deleted_audio":
                    other.execute(theirs)

            with pytest.raises(
                Fatal,
                match=f"make url unique in image.* has waited 2 s for process {pid} of |"
                f"make url unique in audio.* has waited 2 s for process {pid} of ",
            ):
                adopt(dsn, max_wait=2, done=done)
            other.rollback()
        assert adopt(dsn).pending == ()

    def test_a_second_adoption_waits(self, old):
        dsn = old("2022", rows=20)
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute("select pg_advisory_lock(hashtext('catalog schema upgrade'))")
            with pytest.raises(
                Fatal, match=f"adoption has waited 0 s for process {other.info.backend_pid} of "
            ):
                adopt(dsn, max_wait=0)


def test_a_column_width_that_a_foreign_view_needs_is_kept(old, tmp_path):
    """A foreign view reads the column: the column keeps its width, and wider records are listed."""
    dsn = old("2022", rows=20, cluttered=False)
    with connected(dsn) as connection:
        connection.execute("drop materialized view image_view")
        connection.execute(
            "alter table image alter creator_url type varchar(60), alter title type varchar(10) "
            "using left(title, 10)"
        )
        connection.execute("create view their_images as select identifier, creator_url, title from image")
        found = inspect(connection)
        assert found.obstacles == []
        assert any(
            text.startswith("image.creator_url keeps the type varchar(60) because of view their_images")
            and "rejected when they are loaded" in text
            for text in found.notes
        )
        adopt(dsn)
        load = Loader(dsn, tmp_path)
        wide = [image(n, creator_url=f"https://example.org/{'x' * 60}") for n in range(1500)]
        report = load([*wide, image(2000, title="short")])
        assert (report.inserted, report.rejected) == (1, {"creator_url: longer than 60 characters": 1500})


def test_foreign_columns_with_a_default(old):
    """Foreign columns with a default block neither deletion nor restoration."""
    dsn = old("December 2023", rows=40, cluttered=False)
    with connected(dsn) as connection:
        connection.execute(
            "alter table image add column their_title text generated always as (lower(title)) stored, "
            "add column their_number bigint generated always as identity"
        )
        adopt(dsn)
        before = dict(connection.execute("select identifier, to_jsonb(i) from image i").fetchall())
        job = Deletion(connection, "run", "image", "true", "r", pause=0)
        assert job.run(job.claim() or job.select()).updated == len(before)
        job.finish()
        restore(connection, "image", "deleted_reason = 'r'", pause=0)
        after = dict(connection.execute("select identifier, to_jsonb(i) from image i").fetchall())
    score = "standardized_popularity"
    assert {k: {**v, score: 0} for k, v in after.items()} == {k: {**v, score: 0} for k, v in before.items()}


def test_the_owner_needs_no_other_right(server):
    """Neither superuser rights nor an extension are needed."""
    name = f"owner_{uuid4().hex[:12]}"
    with connected(server.dsn("postgres")) as connection:
        connection.execute(f"create role {name} login password 'owner'")
        connection.execute(f"create database {name} owner {name} template template0")
    dsn = re.sub("//.*@", f"//{name}:owner@", server.dsn(name))
    with connected(dsn) as connection:
        make(connection, "2022")
        fill(connection, "image", 50)
        fill(connection, "audio", 50)
        assert adopt(dsn).pending == ()
        assert connection.execute(
            "select rolsuper from pg_roles where rolname = current_user"
        ).fetchone() == (False,)
