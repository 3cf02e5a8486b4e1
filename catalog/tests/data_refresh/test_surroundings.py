"""Settings, roles and objects around the refreshed tables are refused at the start, or have no effect."""

from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import SETTINGS
from catalog.data_refresh.search.indexing import ranges
from catalog.data_refresh.tables import promotion
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.data_refresh.tables.preflight import preflight_tables
from catalog.data_refresh.tables.shape import shape
from catalog.database.refusals import accept_all
from catalog.moderation.decisions import decided
from catalog.tests.data_refresh.test_exchange import api_dsn, filled, pair, refresh

__all__ = ["api_dsn", "filled", "pair"]
pytestmark = pytest.mark.database


@contextmanager
def of_database(dsn, **settings):
    """Make the settings the database's defaults during the block."""
    name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]))
    with psycopg.connect(dsn, autocommit=True) as own:
        for key, value in settings.items():
            own.execute(
                sql.SQL("alter database {} set {} = {}").format(name, sql.SQL(key), sql.Literal(value))
            )
        try:
            yield
        finally:
            own.execute("set default_transaction_read_only = off")
            own.execute(sql.SQL("alter database {} reset all").format(name))


def refused(api, catalog, tables=("image",)):
    with pytest.raises(Fatal) as error:
        preflight_tables(api, catalog, tables)
    return str(error.value)


def test_a_schema_named_like_the_role_hides_no_table(filled):
    catalog, api = filled
    api.execute("update image set view_count = id")
    kept = api.execute("select id, identifier, view_count from image order by id").fetchall()
    for connection in filled:
        connection.execute("create schema authorization current_user")
        for name in ("image", "audio", "audioset", "api_deletedimage"):
            connection.execute(
                sql.SQL(
                    "do $$ begin if to_regclass('public.{0}') is not null "
                    "then create table {1}.{0} (like public.{0} including all);"
                    " end if; end $$"
                ).format(sql.SQL(name), sql.Identifier(connection.info.user))
            )
        connection.execute("create temporary table image (like public.image)")
    gone = kept[0][1]
    api.execute("insert into public.api_deletedimage values (now(), now(), %s)", [gone])
    try:
        assert str(gone) in next(decided(api, "deleted", "image"))
        assert ranges(api, "image", 1)[0].last == 100
        preflight_tables(api, catalog, ["image", "audioset", "audio"])
        refresh(catalog, api)
        TableCopy(catalog, api, "audioset", "run").run()
        assert (
            api.execute(
                "select id, identifier, view_count from public.image where id <= 100 order by id"
            ).fetchall()
            == kept[1:]
        )
        assert api.execute("select count(*) from public.image").fetchone() == (119,)
        assert api.execute("select count(*) > 0 from public.temp_import_audioset").fetchone() == (True,)
    finally:
        for connection in filled:
            connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(connection.info.user)))


def test_defaults_of_the_database_do_not_affect_a_refresh(filled, api_dsn):
    """Among them timeouts, and an isolation level whose snapshot is older than the lock.

    The statement timeout is long: the statement that replaces it may take a while itself.
    """
    catalog, api = filled
    api.execute(
        "create trigger watched before update on image for each row execute function "
        "suppress_redundant_updates_trigger()"
    )
    with (
        of_database(
            api_dsn,
            statement_timeout="1min",
            default_transaction_isolation="repeatable read",
            quote_all_identifiers="on",
            idle_in_transaction_session_timeout="1ms",
            lock_timeout="1ms",
        ),
        psycopg.connect(api_dsn, autocommit=True) as theirs,
    ):
        before = shape(api, "image")
        preflight_tables(theirs, catalog, ["image"])
        refresh(catalog, theirs)
        known = theirs.execute("select name, setting from pg_settings where name = any(%s)", [list(SETTINGS)])
        found: dict[str, str] = dict(known.fetchall())
        assert found == {name: SETTINGS[name] for name in found}
        assert "statement_timeout" in found
    assert shape(api, "image") == before


def test_a_database_that_only_reads_is_refused(filled, api_dsn):
    catalog, _ = filled
    with (
        of_database(api_dsn, default_transaction_read_only="on"),
        psycopg.connect(api_dsn, autocommit=True) as theirs,
    ):
        assert "the API database is read-only (default_transaction_read_only)" in refused(theirs, catalog)


@pytest.mark.parametrize("name", ["api_deletedimage", "api_matureimage", "imagelist_images"])
def test_rows_hidden_by_row_security_do_not_count_as_missing(filled, pair, name):
    catalog, api = filled
    api.execute(f"""
        alter role reader login password 'x'; grant create on schema public to reader;
        alter table image owner to reader; alter table imagelist_images owner to reader;
        alter table content_provider owner to reader;
        grant select on api_deletedimage, api_matureimage to reader;
        insert into api_deletedimage select now(), now(), identifier from image where id = 1;
        alter table {name} enable row level security; alter table {name} force row level security""")
    with psycopg.connect(pair[1], user="reader", password="x", autocommit=True) as theirs:
        assert f"row security hides rows of {name} from reader: give that role BYPASSRLS" in refused(
            theirs, catalog
        )
    if name == "api_deletedimage":  # also when it is switched on later
        with (
            psycopg.connect(pair[1], user="reader", password="x", autocommit=True) as theirs,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
        ):
            TableCopy(catalog, theirs, "image", "run").run()


def test_rights_that_are_missing_in_the_catalog(filled, pair):
    catalog, api = filled
    catalog.execute("alter role reader login password 'x'")
    with psycopg.connect(pair[0], user="reader", password="x", autocommit=True) as theirs:
        said = refused(api, theirs, ["image", "audioset"])
        assert "reader may not read the catalog's image: grant select on it to reader" in said
        assert "reader may not read the catalog's audioset_view: grant select" in said
        catalog.execute("grant select (identifier, title) on image to reader")
        assert "may not read the catalog's image (category, created_on, " in refused(api, theirs)
        catalog.execute("grant select on image to reader; alter table image enable row level security")
        assert "catalog: row security hides rows of image from reader" in refused(api, theirs)
    catalog.execute("alter table image disable row level security; revoke all on image from reader")
    catalog.execute("revoke select (identifier, title) on image from reader")


def test_rights_on_what_foreign_keys_name(filled, pair):
    catalog, api = filled
    api.execute("""
        alter role reader login password 'x'; grant create on schema public to reader;
        create table shelf (id integer primary key);
        alter table image add shelf integer references shelf;
        grant select on api_deletedimage, api_matureimage to reader;
        alter table image owner to reader; alter table imagelist_images owner to reader""")
    with psycopg.connect(pair[1], user="reader", password="x", autocommit=True) as theirs:
        said = refused(theirs, catalog)
    assert "shelf cannot be read: grant select on it to reader" in said
    assert "shelf cannot be named by a foreign key: grant references on it to reader" in said


# sequences


def test_a_sequence_that_is_used_up_is_named_at_the_start_and_by_the_copy(filled):
    catalog, api = filled
    api.execute("select setval('image_id_seq', 2147483640); analyze image")
    assert (
        'sequence "public"."image_id_seq" has 7 values left for column id, '
        "and about 20 new records are to come" in refused(api, catalog)
    )
    with pytest.raises(
        Fatal,
        match=r"cannot store new records: the default of column id, nextval.*reached maximum value of seq",
    ):
        TableCopy(catalog, api, "image", "run").run()


def test_a_failing_default_does_not_reject_records(filled):
    catalog, api = filled
    api.execute("""
        create function broken() returns integer language plpgsql as 'begin raise exception ''broken''; end';
        alter table image add shelf integer; alter table image alter shelf set default broken()""")
    with pytest.raises(Fatal, match=r"the default of column shelf, broken\(\), fails: broken"):
        TableCopy(catalog, api, "image", "run").run()


def test_a_record_that_a_function_of_a_check_refuses_is_left_out(filled):
    catalog, api = filled
    api.execute("""
        create function strict(title text) returns boolean immutable language plpgsql as
            $$ begin if title = 'bad' then raise exception 'a bad title'; end if; return true; end $$;
        alter table image add constraint strict check (strict(title))""")
    catalog.execute(
        "update image set title = 'bad' where identifier = (select identifier from image order by 1 limit 1)"
    )
    try:
        copied = TableCopy(catalog, api, "image", "run").run()
        assert (copied.rows, sum(copied.rejected.values())) == (119, 1)
    finally:
        catalog.execute("update image set title = 'good' where title = 'bad'")


@pytest.mark.parametrize("identity", [False, True])
def test_a_sequence_that_is_behind_is_corrected(filled, identity):
    catalog, api = filled
    if identity:
        api.execute("alter table image alter id drop default; drop sequence image_id_seq")
        api.execute("alter table image alter id add generated by default as identity")
    else:
        api.execute("select setval('image_id_seq', 1, false)")
    preflight_tables(api, catalog, ["image"])
    refresh(catalog, api)
    assert api.execute("select count(distinct id), max(id) from image").fetchone() == (120, 120)


# keys


def test_records_whose_foreign_key_names_nothing_are_left_out(filled):
    catalog, api = filled
    query = "select identifier, id from image where id in (5, 6) order by id"
    (first, _), (second, _) = api.execute(query).fetchall()
    api.execute(
        "create table known (title varchar(2000) primary key); update image set title = null; "
        "insert into known values ('good')"
    )
    api.execute("alter table image add constraint titled foreign key (title) references known")
    kept = catalog.execute("select identifier, title from image").fetchall()
    try:
        catalog.execute(
            "update image set title = case identifier when %s then 'nothing' when %s then 'good' end",
            [first, second],
        )
        copied = TableCopy(catalog, api, "image", "run").run()
    finally:
        with catalog.cursor() as cursor:
            cursor.executemany("update image set title = %s where identifier = %s", [(b, a) for a, b in kept])
    assert copied.rejected == {"foreign key titled of the API names nothing in known": 1}
    build_indexes(api, "image")
    promotion.promote(api, ["image"], "run", number=1, judge=accept_all)
    assert api.execute(query).fetchall() == [(second, 6)]
    assert api.execute("select count(*) from image").fetchone() == (copied.rows,)


def test_a_foreign_key_that_many_records_do_not_satisfy_ends_the_copy(filled):
    catalog, api = filled
    api.execute("create table known (title varchar(2000) primary key); update image set title = null")
    api.execute("alter table image add constraint titled foreign key (title) references known")
    with pytest.raises(
        Fatal, match=r"foreign key titled of the API names nothing in known.*Correct the records"
    ):
        TableCopy(catalog, api, "image", "run").run()


def test_rows_of_lists_that_cannot_go_are_found_after_the_copy(filled):
    catalog, api = filled
    api.execute("""
        create table pin (id integer primary key, image_id integer references image);
        insert into pin select id, id from image;
        create table note (pin integer references pin); insert into note select id from pin;
        insert into api_deletedimage select now(), now(), identifier from image where id <= 3""")
    with pytest.raises(
        Fatal,
        match=r"3 rows of pin refer to missing media of image.*note refers to them by its key "
        r"note_pin_fkey.*ON DELETE CASCADE",
    ):
        TableCopy(catalog, api, "image", "run").run()
    api.execute(
        "alter table note drop constraint note_pin_fkey, "
        "add foreign key (pin) references pin on delete cascade"
    )
    refresh(catalog, api)
    assert api.execute("select count(*) from note").fetchone() == (97,)


def test_errors_of_the_swap_name_the_cause_and_a_solution(filled):
    catalog, api = filled
    api.execute("""
        create table pin (id integer primary key, image_id integer references image);
        insert into pin select id, id from image;
        create table note (pin integer references pin)""")
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    api.execute(
        "insert into note select id from pin; "
        "insert into api_deletedimage select now(), now(), identifier from image where id = 3"
    )
    with pytest.raises(Fatal) as error:
        promotion.promote(api, ["image"], "run", number=1)
    said = str(error.value)
    assert ".." not in said
    assert (
        "Correct the rows that violate key note_pin_fkey of note, or drop the key, then clear this task."
        in said
    )


def test_an_event_trigger_that_keeps_the_table_is_found_at_the_start(filled):
    catalog, api = filled
    api.execute("""
        create function keeps() returns event_trigger language plpgsql as $$ begin
            if exists (select from pg_event_trigger_dropped_objects()
              where object_identity = 'public.image') then
                raise exception 'nobody drops image'; end if; end $$;
        create event trigger keeper on sql_drop execute function keeps()""")
    try:
        said = refused(api, catalog)
        assert "it cannot be dropped: nobody drops image: disable the event trigger (keeper)" in said
        TableCopy(catalog, api, "image", "run").run()
        build_indexes(api, "image")
        with pytest.raises(Fatal, match=r"nobody drops image\. Nothing was changed.*disable the trigger"):
            promotion.promote(api, ["image"], "run", number=1)
        api.execute("alter event trigger keeper disable")
        preflight_tables(api, catalog, ["image"])
        api.execute(
            "create or replace function keeps() returns event_trigger language plpgsql as 'begin end'"
        )
        api.execute("alter event trigger keeper enable")
        preflight_tables(api, catalog, ["image"])
    finally:
        api.execute("drop event trigger keeper")


# what is attached


def test_names_that_look_like_a_definition(filled):
    catalog, api = filled
    api.execute("""
        create trigger "a ON public.image b" before update on image for each row execute function
          suppress_redundant_updates_trigger();
        create rule "x TO public.image y" as on insert to image where new.id < 0 do instead nothing""")
    before = shape(api, "image")
    preflight_tables(api, catalog, ["image"])
    refresh(catalog, api)
    assert shape(api, "image") == before
    assert len(before["trigger"]) == len(before["rule"]) == 1


def test_comments_on_the_row_type_and_dependence_on_extensions(filled):
    catalog, api = filled
    api.execute("""
        comment on type image is 'a row'; create trigger t before update on image
          for each row execute function
            suppress_redundant_updates_trigger();
        alter trigger t on image depends on extension plpgsql;
        alter index image_provider_7d11f847 depends on extension plpgsql""")
    wanted = """
        select obj_description('public.image'::regtype), (select count(*) from pg_depend where deptype = 'x')
    """
    assert api.execute(wanted).fetchone() == ("a row", 2)
    preflight_tables(api, catalog, ["image"])
    refresh(catalog, api)
    assert api.execute(wanted).fetchone() == ("a row", 2)


def test_rights_on_the_row_type_are_refused(filled):
    catalog, api = filled
    api.execute("revoke usage on type image from public")
    assert "privileges on its row type are not the default" in refused(api, catalog)
    api.execute("grant usage on type image to public")
    preflight_tables(api, catalog, ["image"])


def test_usual_rights_of_a_sequence_are_not_written_out(filled):
    catalog, api = filled
    api.execute("alter table image alter id drop default; drop sequence image_id_seq")
    api.execute("alter table image alter id add generated by default as identity")
    refresh(catalog, api)
    assert api.execute("select relacl from pg_class where relname = 'image_id_seq'").fetchone() == (None,)


# audio sets


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "alter table audioset alter title set not null",
            "title is empty, which the API's table does not allow",
        ),
        (
            "alter table audioset add constraint short check (title <> 'bad')",
            "check short of the API is violated",
        ),
        ("alter table audioset alter filesize type smallint", "a value does not fit the API's table"),
    ],
)
def test_one_set_that_the_table_refuses_is_left_out(filled, statement, said):
    catalog, api = filled
    bad = catalog.execute(
        "select foreign_identifier, provider from audioset_view order by 1, 2 limit 1"
    ).fetchone()
    values = {"not null": '{"title": null}', "check": '{"title": "bad"}', "smallint": '{"filesize": "99999"}'}
    value = next(text for word, text in values.items() if word in statement)
    api.execute("update audioset set filesize = 1, title = 'x'; " + statement)
    kept = catalog.execute("select identifier, audio_set from audio").fetchall()
    try:
        catalog.execute("""update audio set audio_set = audio_set || '{"filesize": "7"}'""")
        catalog.execute(
            f"update audio set audio_set = audio_set || '{value}' "
            "where (audio_set_foreign_identifier, provider) = (%s, %s)",
            bad,
        )
        sets = TableCopy(catalog, api, "audioset", "run").run()
        assert sum(n for reason, n in sets.rejected.items() if said in reason) == 1
        assert sets.rows == api.execute("select count(*) from temp_import_audioset").fetchone()[0] > 0
        TableCopy(catalog, api, "audio", "run").run()
        query = """
            select count(*) from temp_import_audio a where audio_set_foreign_identifier is not null
              and not exists (
                select from temp_import_audioset s
                 where s.foreign_identifier = a.audio_set_foreign_identifier and s.provider = a.provider)
        """
        assert api.execute(query).fetchone() == (0,)
        for table in ("audioset", "audio"):
            build_indexes(api, table)
        promotion.promote(api, ["audioset", "audio"], "run", number=1, judge=accept_all)
    finally:
        for identifier, value in kept:
            catalog.execute(
                "update audio set audio_set = %s where identifier = %s",
                [psycopg.types.json.Jsonb(value) if value is not None else None, identifier],
            )
