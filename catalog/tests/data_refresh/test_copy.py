"""Copying and swapping tables, on two real databases."""

import psycopg
import pytest

from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.data_refresh.tables import locks, merge, promotion, ranges
from catalog.data_refresh.tables.catch_up import catch_up
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.database import sample_data
from catalog.database.refusals import accept_all

pytestmark = pytest.mark.database
SHARED = (
    "identifier, provider, url, title, license, meta_data, tags, width, standardized_popularity, "
    "removed_from_source"
)


@pytest.fixture
def filled(catalog, api):
    """A catalog of 400 images and 40 audio files; the API has three quarters of them."""
    sample_data.fill(catalog, "catalog", 400)
    sample_data.fill(api, "api", 300)
    return catalog, api


def refresh(catalog, api, *tables, run="run", **options):
    copied = {}
    for table in tables:
        copied[table] = TableCopy(catalog, api, table, run, **options).run()
        build_indexes(api, table)
        catch_up(api, table)
    promoted = promotion.promote(api, tables, run, number=1, judge=accept_all)
    promotion.drop_leftovers(api, tables)
    return copied, promoted


def shape(api, table):
    """Describe everything that is attached to a table, by name and definition."""
    one = "select array_agg(x order by x) from ("
    return {
        "columns": api.execute(
            "select array_agg((attname, format_type(atttypid, atttypmod), attnotnull, "
            "pg_get_expr(adbin, adrelid))::text order by attnum) "
            "from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum "
            "where attrelid = %s::regclass and attnum > 0",
            [table],
        ).fetchone(),
        "indexes": api.execute(
            one + "select indexdef as x from pg_indexes where tablename = %s) s", [table]
        ).fetchone(),
        "constraints": api.execute(
            one
            + "select (conname, conrelid::regclass, pg_get_constraintdef(oid))::text as x from pg_constraint "
            "where %s::regclass in (conrelid, confrelid)) s",
            [table],
        ).fetchone(),
        "about": api.execute(
            "select relacl::text, reloptions, pg_get_userbyid(relowner) from pg_class "
            "where oid = %s::regclass",
            [table],
        ).fetchone(),
        "sequence": api.execute("select pg_get_serial_sequence(%s, 'id')", [table]).fetchone(),
        "triggers": api.execute(
            one + "select pg_get_triggerdef(oid) as x from pg_trigger "
            "where tgrelid = %s::regclass and not tgisinternal) s",
            [table],
        ).fetchone(),
    }


def test_everything_arrives_and_what_is_known_keeps_its_id(filled):
    catalog, api = filled
    catalog.execute("alter table image add view_count integer")  # as some adopted catalogs have it
    api.execute("update image set view_count = id where id % 3 = 0")
    before = dict(api.execute("select identifier, (id, view_count)::text from image").fetchall())
    copied, _ = refresh(catalog, api, "image")
    assert (copied["image"].rows, copied["image"].new, copied["image"].rejected) == (400, 100, {})
    query = f"select {SHARED} from image order by identifier"
    assert api.execute(query).fetchall() == catalog.execute(query).fetchall()
    after = dict(api.execute("select identifier, (id, view_count)::text from image").fetchall())
    assert {k: after[k] for k in before} == before
    assert len({v.split(",")[0] for v in after.values()}) == 400
    assert api.execute("select min(id), max(id), max(view_count) from image where id > 300").fetchone() == (
        301,
        400,
        0,
    )


def test_a_refresh_keeps_the_definition_of_a_table(filled):
    """All attached objects keep name and definition, and lists keep their media, after two refreshes."""
    catalog, api = filled
    api.execute(
        "alter table image add column extra text default 'only here', alter column extra set storage external"
    )
    api.execute("alter table image set (fillfactor = 90)")
    api.execute(
        "create role image_reader; grant select on image to image_reader; "
        "grant update (view_count) on image to image_reader with grant option"
    )
    api.execute("alter table image add constraint wide check (width is null or width > 0)")
    api.execute("create table tied (identifier uuid references image (identifier))")
    api.execute("create function nothing() returns trigger language plpgsql as 'begin return new; end'")
    api.execute("create trigger watched before update on image for each row execute function nothing()")
    api.execute("insert into tied select identifier from image limit 10")
    api.execute("update image set extra = 'changed' where id = 7")
    listed = (
        "select identifier, imagelist_id from imagelist_images join image on image.id = image_id "
        "order by 1, 2"
    )
    try:
        before, lists = (
            {t: shape(api, t) for t in ("image", "audio", "audioset")},
            api.execute(listed).fetchall(),
        )
        for run in ("first", "second"):
            refresh(catalog, api, "image", run=run)
            refresh(catalog, api, "audioset", "audio", run=run)
            assert {t: shape(api, t) for t in ("image", "audio", "audioset")} == before
            assert api.execute(listed).fetchall() == lists
            assert api.execute("select extra from image where id = 7").fetchone() == ("changed",)
        assert len(lists) == 300
        left = "select relname from pg_class where relname like '%temp_import%'"
        assert api.execute(left).fetchall() == []
        assert api.execute(
            "insert into image (created_on, updated_on, identifier, license, removed_from_source) "
            "values (now(), now(), gen_random_uuid(), 'by', false) returning id"
        ).fetchone() == (401,)
    finally:
        api.execute("drop owned by image_reader; drop role image_reader")


def test_many_new_rows_among_known_ones(filled, monkeypatch):
    """New rows are written separately, because they have other columns."""
    catalog, api = filled
    monkeypatch.setattr(ranges, "PAGES", 20)
    monkeypatch.setattr(merge, "ROWS", 7)
    copied, _ = refresh(catalog, api, "image")
    assert (copied["image"].rows, copied["image"].new) == (400, 100)
    query = f"select {SHARED} from image order by identifier"
    assert api.execute(query).fetchall() == catalog.execute(query).fetchall()


def test_orphans_are_deleted_and_counted(filled):
    catalog, api = filled
    catalog.execute(
        "delete from image where mod(('x' || substr(identifier::text, 1, 4))::bit(16)::int, 2) = 0"
    )
    listed = api.execute("select count(*) from imagelist_images").fetchone()[0]
    _, promoted = refresh(catalog, api, "image")
    left = api.execute("select count(*) from imagelist_images").fetchone()[0]
    assert promoted.orphans == {"imagelist_images_image_id_fk_image_id": listed - left}
    assert 0 < left < listed


def test_audio_sets_and_positions(filled):
    catalog, api = filled
    ids = dict(api.execute("select foreign_identifier || provider, id from audioset").fetchall())
    catalog.execute(
        'update audio set audio_set = audio_set || \'{"url": "https://example.org/same"}\' '
        "where audio_set_foreign_identifier = 'set-1'"
    )
    copied, _ = refresh(catalog, api, "audioset", "audio")
    sets = catalog.execute("select count(*), count(distinct url) from audioset_view").fetchone()
    assert copied["audioset"].rows == sets[1]
    assert copied["audioset"].rejected == {"url is another set's as well": sets[0] - sets[1]}
    after = dict(api.execute("select foreign_identifier || provider, id from audioset").fetchall())
    assert {k: after[k] for k in ids if k in after} == {k: v for k, v in ids.items() if k in after}
    ours = "select identifier, set_position from audio order by 1"
    assert (
        catalog.execute(ours).fetchall()
        == api.execute(ours.replace("set_position", "audio_set_position")).fetchall()
    )


def test_moderated_and_too_wide_rows_stay_out(filled):
    catalog, api = filled
    api.execute("insert into api_deletedimage select now(), now(), identifier from image where id <= 20")
    catalog.execute("update image set url = url || repeat('x', 1000) where foreign_identifier like '%-99'")
    catalog.execute("update image set creator = repeat('ö', 2000) where foreign_identifier like '%-98'")
    copied, _ = refresh(catalog, api, "image")
    assert (copied["image"].rows, copied["image"].deleted, copied["image"].rejected) == (
        379,
        20,
        {"url is too long for the API's table": 1},
    )
    assert api.execute("select count(*) from image where creator = repeat('ö', 2000)").fetchone() == (1,)


def delete_as_moderators(api, ids):
    api.execute(
        "insert into api_deletedimage select now(), now(), identifier from image where id = any(%s)", [ids]
    )
    api.execute("delete from imagelist_images where image_id = any(%s)", [ids])
    api.execute("delete from image where id = any(%s)", [ids])


def test_moderation_and_views_during_a_refresh(filled):
    catalog, api = filled
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    api.execute("update image set view_count = 77 where id = 5")
    delete_as_moderators(api, [6])
    assert catch_up(api, "image") == 1
    promotion.promote(api, ["image"], "run", number=1)
    assert api.execute("select id, view_count from image where id in (5, 6)").fetchall() == [(5, 77)]


def test_a_reader_who_waits_for_the_exchange_finds_no_deleted_medium(filled, api_dsn, monkeypatch):
    """The reader's snapshot is older than the swap, so it does not see what moderators deleted since."""
    catalog, api = filled
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    delete_as_moderators(api, [6, 7])
    with psycopg.connect(api_dsn) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        exchange = promotion._exchange_all

        def exchanged_after_a_snapshot(*values):
            reader.execute("select count(*) from api_deletedimage")
            exchange(*values)

        monkeypatch.setattr(promotion, "_exchange_all", exchanged_after_a_snapshot)
        promotion.promote(api, ["image"], "run", number=1)
        query = "select count(*), count(*) filter (where id in (6, 7)) from image"
        assert reader.execute(query).fetchone() == (398, 0)


def test_a_limit(filled):
    catalog, api = filled
    copied, _ = refresh(catalog, api, "image", limit=150)
    assert (copied["image"].rows, api.execute("select count(*) from image").fetchone()) == (150, (150,))


def test_a_copy_goes_on_where_it_was_stopped(filled, monkeypatch):
    catalog, api = filled
    monkeypatch.setattr(ranges, "PAGES", 10)
    monkeypatch.setattr(ranges, "ROWS", 70)  # on PostgreSQL 13
    with pytest.raises(Interrupted, match=r"after \d+ rows"):
        TableCopy(catalog, api, "image", "run", should_stop=lambda: True).run()
    seen = []
    copied = TableCopy(catalog, api, "image", "run", report=lambda c: seen.append(c.rows)).run()
    assert seen == sorted(set(seen))
    assert seen[0] < 350
    assert (copied.rows, copied.new) == (400, 100)
    again = TableCopy(catalog, api, "image", "another run", should_stop=lambda: True)
    with pytest.raises(Interrupted):
        again.run()
    with pytest.raises(Fatal, match="another run's"):
        promotion.promote(api, ["image"], "run", number=1)


def test_a_repeated_promotion_changes_nothing(filled):
    catalog, api = filled
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    promoted = promotion.promote(api, ["image"], "run", number=1)
    assert promoted.orphans
    ids = api.execute("select identifier, id from image order by 1").fetchall()
    assert catch_up(api, "image") == 0
    assert promotion.promote(api, ["image"], "run", number=1) == promoted
    assert api.execute("select identifier, id from image order by 1").fetchall() == ids


def test_an_unknown_dependent_object_keeps_the_old_table_live(filled):
    catalog, api = filled
    api.execute("create view newest as select * from image order by created_on desc limit 10")
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    before = shape(api, "image")
    with pytest.raises(Fatal, match="newest depends on table image"):
        promotion.promote(api, ["image"], "run", number=1)
    assert shape(api, "image") == before
    assert api.execute("select count(*) from image").fetchone() == (300,)


def test_a_table_that_somebody_holds(filled, api_dsn, monkeypatch):
    """The promotion waits in short attempts; if all fail, the old table stays live."""
    catalog, api = filled
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(locks, "LOCK_ATTEMPTS", 3)
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    waits: list[float] = []
    with psycopg.connect(api_dsn) as holder:
        holder.execute("select 1 from image limit 1")
        with pytest.raises(Retry, match="could not be locked"):
            promotion.promote(api, ["image"], "run", number=1, pause=waits.append)
    assert len(waits) == 3
    assert api.execute("select count(*) from image").fetchone() == (300,)
    promotion.promote(api, ["image"], "run", number=1)
    assert api.execute("select count(*) from image").fetchone() == (400,)


def test_ids_without_a_sequence(filled):
    """The `id` column may have no default, as after a manual promotion, or be an identity column."""
    catalog, api = filled
    api.execute("alter table image alter id drop default; drop sequence image_id_seq")
    refresh(catalog, api, "image")
    assert api.execute("select count(distinct id), max(id) from image").fetchone() == (400, 400)
    api.execute(
        "alter table audio alter id drop default; drop sequence audio_id_seq; "
        "alter table audio alter id add generated always as identity"
    )
    api.execute("select setval(pg_get_serial_sequence('audio', 'id'), 30)")
    refresh(catalog, api, "audioset", "audio")
    assert api.execute("select count(distinct id), max(id) from audio").fetchone() == (40, 40)


def test_a_column_that_only_the_catalog_generates(filled):
    catalog, api = filled
    catalog.execute("alter table image add shouted text generated always as (upper(title)) stored")
    api.execute("alter table image add shouted text")
    try:
        assert TableCopy(catalog, api, "image", "generated").run().done
        wrong = "select count(*) from temp_import_image where shouted is distinct from upper(title)"
        assert api.execute(wrong).fetchone() == (0,)
    finally:
        api.execute("drop table if exists temp_import_image")
        api.execute("alter table image drop column shouted")
        catalog.execute("alter table image drop column shouted")
