"""Adoption refuses what it does not know before any change, all problems at once, with solutions."""

import re
from uuid import uuid4

import msgspec
import pytest

from catalog.core.errors import Refused
from catalog.database import schema
from catalog.database.adoption import adopt, inspect
from catalog.database.adoption.reading import read_inventory
from catalog.database.adoption.refusals import refusals
from catalog.tests.conftest import database_of_its_own
from catalog.tests.database.adopted import OLDEST, connected, old, shape_of_theirs
from catalog.tests.database.generations import make

pytestmark = pytest.mark.database
__all__ = ["old"]

REFUSALS = [
    ("alter table image rename column license to licence", "image has no column license"),
    (
        "drop materialized view image_view; alter table image alter meta_data type json",
        "image.meta_data is of type json, not jsonb",
    ),
    (
        "drop materialized view audio_view cascade; alter table audio alter updated_on type timestamp",
        "audio.updated_on is of type timestamp, not timestamptz",
    ),
    (
        (
            "alter table image add column theirs int not null default 0; "
            "alter table image alter theirs drop default"
        ),
        "image.theirs is NOT NULL",
    ),
    (
        "delete from image where title is null; alter table image alter title set not null",
        "image.title is NOT NULL",
    ),
    (
        "create view their_titles as select identifier, title from image_view",
        "view their_titles depends on the materialized view image_view",
    ),
    (
        "create view their_sets as select * from audioset_view",
        "view their_sets depends on the view audioset_view",
    ),
    (
        "create function their_function(image_view) returns int language sql as 'select 1'",
        "function their_function(image_view) depends on",
    ),
    ("create table api_deletedimage (identifier uuid)", "the API's database, which has api_deletedimage"),
    ("alter table audio add column view_count int", "the API's database, which has audio.view_count"),
    ("create table turn (id int)", "table turn has a name"),
    ("create type refresh as enum ('yes')", "type refresh has a name"),
    (
        "create function metric_value() returns int language sql as 'select 1'",
        "function metric_value has a name",
    ),
    (
        "create index image_url_key on image (width)",
        "image_url_key exists, but is not a unique index of image",
    ),
    (
        "create table image_duplicate_parent (like image); alter table image inherit image_duplicate_parent",
        "image is a table with children",
    ),
    (
        (
            "drop materialized view audio_popularity_constants cascade; "
            "create table audio_popularity_constants (id int)"
        ),
        "audio_popularity_constants is a table",
    ),
    ("create sequence image_duplicates", "image_duplicates is a sequence"),
    (
        "alter table image add constraint image_url_key unique (url) deferrable",
        "image_url_key exists, but is not a unique index of image",
    ),
    (
        (
            "alter table image_popularity_metrics drop constraint image_popularity_metrics_pkey; "
            "insert into image_popularity_metrics values ('flickr', 'x', 0.5)"
        ),
        "image_popularity_metrics: 1 duplicate row has the same provider",
    ),
]


TOGETHER = [
    (
        (
            "create function their_event() returns event_trigger language plpgsql as 'begin end'; "
            "create event trigger their_event on ddl_command_end execute function their_event()"
        ),
        "event trigger their_event fires on",
    ),
    (
        "create publication theirs for table image; alter table image replica identity nothing",
        "image is published, but without a key of its rows",
    ),
    (
        (
            "alter table image_popularity_metrics add column theirs int; "
            "update image_popularity_metrics set theirs = 1; "
            "alter table image_popularity_metrics alter theirs set not null"
        ),
        "image_popularity_metrics.theirs is NOT NULL",
    ),
    (
        "create procedure audio_popularity_percentile() language sql as 'select 1'",
        "audio_popularity_percentile() is a procedure",
    ),
    (
        "create aggregate standardized_audio_popularity(int) (sfunc = int4pl, stype = int)",
        "popularity(integer) is an aggregate",
    ),
    ("create sequence deleted_image_identifier_key", "sequence deleted_image_identifier_key has a name"),
    ("create sequence deleted_audio_provider_fid_idx", "sequence deleted_audio_provider_fid_idx has a name"),
    ("create type deleted_audio as enum ('yes')", "type deleted_audio has a name"),
    (
        "create table catalog_version (version_num varchar(32), theirs int)",
        "catalog_version has the columns version_num character varying,",
    ),
    (
        (
            "alter table image add constraint theirs unique (url) deferrable; "
            "create index image_url_key on image (url)"
        ),
        "image_url_key exists, but is not a unique index of image",
    ),
]
OF_ROWS = [
    (
        (
            "insert into audio (created_on, updated_on, license, removed_from_source, url) "
            "select now(), now(), 'by', false, string_agg(md5(n::text), '') from generate_series(1, 90) n"
        ),
        "audio: 1 row has a url that is too long for an index",
    ),
    (
        (
            "create function seen() returns trigger language plpgsql as 'begin return null; end'; "
            "create trigger seen before update on audio for each row execute function seen()"
        ),
        "trigger seen of audio fires on UPDATE",
    ),
]


@pytest.mark.parametrize("cases", [TOGETHER, OF_ROWS], ids=["of the schema", "of rows"])
def test_what_would_stop_an_adoption_half_way_is_refused(old, cases):
    dsn = old(OLDEST, rows=30, cluttered=False)
    with connected(dsn) as connection:
        for statements, _ in cases:
            connection.execute(statements)
        before = shape_of_theirs(connection)
        obstacles = inspect(connection).obstacles
        assert [text for _, text in cases if not any(text in found for found in obstacles)] == []
        assert len(obstacles) == len(cases)
        with pytest.raises(Refused, match="nothing was changed"):
            adopt(dsn)
        assert shape_of_theirs(connection) == before


def encoded(server, encoding):
    """Create an empty database in an encoding; return its name."""
    name = f"encoded_{uuid4().hex[:12]}"
    with connected(server.dsn("postgres")) as connection:
        connection.execute(
            f"create database {name} template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'"
        )
    return name


def test_a_database_in_another_encoding(server):
    """No query of the inspection has signs that the encoding lacks."""
    with connected(server.dsn(encoded(server, "LATIN1"))) as connection:
        connection.execute("create table image (identifier uuid)")
        assert any(text.startswith("the encoding is LATIN1") for text in inspect(connection).obstacles)


def test_a_url_at_the_limit_of_an_index(old):
    """All accepted URLs fit into the index; URLs that compress well are accepted at any length."""
    dsn = old(OLDEST, rows=1, cluttered=False)
    with connected(dsn) as connection:
        connection.execute("""
            insert into image (created_on, updated_on, license, removed_from_source, url)
            select now(), now(), 'by', false,
                   left((select string_agg(md5(n::text), '') from generate_series(1, 90) n), size)
              from generate_series(2600, 2684) size
            union all select now(), now(), 'by', false, repeat('x', 3000)
        """)
        assert inspect(connection).obstacles == []
        assert adopt(dsn).pending == ()


def test_deleted_media_whose_column_a_foreign_view_keeps_narrow(old):
    dsn = old("October 2023", rows=10, cluttered=False)
    with connected(dsn) as connection:
        connection.execute(
            "alter table deleted_image alter url type varchar(2600), alter title type varchar(5000)"
        )
        assert inspect(connection).obstacles == []
        assert any("as wide as image" in step.title for step in inspect(connection).steps)
        connection.execute("create view theirs as select url from deleted_image")
        [obstacle] = inspect(connection).obstacles
        assert obstacle.startswith(
            "deleted_image.url is of type varchar(2600), narrower than image.url, and cannot be widened"
        )
        assert "view theirs" in obstacle


def test_a_current_catalog_without_its_revision(server):
    with connected(database_of_its_own(server, "migrated")) as connection:
        head = connection.execute("delete from catalog_version returning version_num").fetchone()[0]
        [obstacle] = inspect(connection).obstacles
        assert (
            f"a current catalog whose table catalog_version is empty: insert its revision (probably {head},"
            in obstacle
        )


def test_a_current_catalog_without_its_version_table(server):
    """None of its tables is mistaken for a foreign one, and the suggested statement repairs it."""
    dsn = database_of_its_own(server, "migrated")
    with connected(dsn) as connection:
        head = connection.execute("select version_num from catalog_version").fetchone()[0]
        connection.execute("drop table catalog_version")
        [obstacle] = inspect(connection).obstacles
        assert "whose table catalog_version is missing" in obstacle
        assert head in obstacle
        connection.execute(obstacle.split("`")[1])
        connection.execute("insert into catalog_version values (%s)", [head])
    assert schema.upgrade(dsn).pending == ()


def test_partitions(server):
    with connected(database_of_its_own(server, "template0")) as connection:
        connection.execute(
            "create table image (identifier uuid, provider text) partition by list (provider);"
            "create table image_flickr partition of image for values in ('flickr');"
            "create table audio (identifier uuid)"
        )
        assert any(
            text == "image is a partitioned table: replace it with a plain table."
            for text in inspect(connection).obstacles
        )


@pytest.mark.parametrize("kind", ["view", "materialized view"])
@pytest.mark.parametrize("name", ["image", "deleted_image", "image_popularity_metrics"])
def test_views_in_place_of_tables(old, kind, name):
    dsn = old("October 2023", rows=10, cluttered=False)
    with connected(dsn) as connection:
        connection.execute(f"alter table {name} rename to base")
        connection.execute(f"create {kind} {name} as select * from base")
        assert f"{name} is a {kind}: replace it with a plain table." in inspect(connection).obstacles
        with pytest.raises(Refused, match="nothing was changed"):
            adopt(dsn)


def test_what_would_lose_rows_or_changes_later_is_refused_with_statements_that_help(old):
    dsn = old(OLDEST, rows=10, cluttered=False)
    with connected(dsn) as connection:
        connection.execute("""
            alter table image set unlogged;
            alter table audio_popularity_metrics set unlogged;
            create rule "Theirs" as on delete to image do instead nothing;
            create rule theirs as on update to audio where new.title is null do instead nothing;
            create rule harmless as on delete to image do instead nothing;
            alter table image disable rule harmless;
        """)
        obstacles = inspect(connection).obstacles
        unlogged = " is an unlogged table, which PostgreSQL empties after a crash and standbys lack"
        assert [text.partition(":")[0] for text in obstacles] == [
            f"image{unlogged}",
            f"audio_popularity_metrics{unlogged}",
            "rule theirs of audio does something else instead of UPDATE, so that rows would not be changed",
            'rule "Theirs" of image does something else instead of DELETE, so that rows would not be changed',
        ]
        with pytest.raises(Refused, match="nothing was changed"):
            adopt(dsn)
        for text in obstacles:
            remedy = text.partition(": ")[2].rstrip(".")
            connection.execute(remedy.partition(", or ")[2] or remedy.partition(", which")[0])
        assert adopt(dsn).pending == ()


def test_rows_that_the_owner_does_not_see(old):
    dsn = old(OLDEST, rows=10, cluttered=False)
    role = f"owner_{uuid4().hex[:8]}"
    with connected(dsn) as connection:
        connection.execute(f"create role {role}; alter table image owner to {role}")
        connection.execute("alter table image enable row level security")
        connection.execute(f"set role {role}")
        assert not [text for text in inspect(connection).obstacles if "row-level" in text]
        connection.execute("alter table image force row level security")
        assert (
            f"row-level security of image applies to {role} as well, so that rows are hidden: "
            "alter table image no force row level security."
        ) in inspect(connection).obstacles


def test_triggers_that_may_suppress_changes_are_named(old):
    with connected(old(OLDEST, rows=10, cluttered=False)) as connection:
        connection.execute("""
            create function theirs() returns trigger language plpgsql as 'begin return NULL; end';
            create function fine() returns trigger language plpgsql as 'begin return new; end';
            create trigger theirs before insert on image for each row execute function theirs();
            create trigger fine before insert on image for each row execute function fine();
            create trigger later after insert on image for each row execute function theirs();
            create trigger disabled before insert on image for each row execute function theirs();
            alter table image disable trigger disabled;
        """)
        found = inspect(connection)
        assert found.obstacles == []
        [note] = [text for text in found.notes if "runs before each row" in text]
        assert note.startswith("trigger theirs of image runs before each row")
        assert "has RETURN NULL" in note


@pytest.mark.parametrize(
    ("body", "event", "named"),
    [
        ("return old;", "update", "has RETURN OLD"),
        ("return old;", "delete", None),  # as each such trigger does
        ("new.title := old.title; return new;", "update", "has NEW.<column> := OLD.<column>"),
        (
            "if new.url = 'x' then new.url = OLD.url; end if; return new;",
            "update",
            "has NEW.<column> := OLD.<column>",
        ),
        ("new.updated_on := now(); return new;", "update", None),
        ("if new.title = old.title then new.updated_on = now(); end if; return new;", "update", None),
    ],
)
def test_triggers_that_may_change_values_back_are_named(old, body, event, named):
    with connected(old(OLDEST, rows=10, cluttered=False)) as connection:
        connection.execute(f"""
            create function theirs() returns trigger language plpgsql as $$ begin {body} end $$;
            create trigger theirs before {event} on image for each row execute function theirs();
        """)
        notes = [text for text in inspect(connection).notes if "runs before each row" in text]
        assert [named in note for note in notes] == [True] * bool(named)


@pytest.mark.parametrize(
    "kind", ["table image_popularity_metrics", "view audioset_view", "table catalog_version"]
)
def test_what_belongs_to_a_superuser_is_given_to_the_role_and_not_the_other_way_round(old, kind):
    dsn = old("2022", rows=10, cluttered=False)
    role = f"owner_{uuid4().hex[:8]}"
    with connected(dsn) as connection:
        connection.execute("create table if not exists catalog_version (version_num varchar(32))")
        connection.execute(f"create role {role}; grant create, usage on schema public to {role}")
        for owned, name in connection.execute(
            "select case relkind when 'm' then 'materialized view' when 'v' then 'view' else 'table' end, "
            "relname from pg_class "
            "where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm')"
        ).fetchall():
            if f"{owned} {name}" != kind:
                connection.execute(f"alter {owned} {name} owner to {role}")
        connection.execute(f"set role {role}")
        obstacles = inspect(connection).obstacles
        name = kind.split()[1]
        remedy = f"alter {kind} owner to {role}"
        assert [text for text in obstacles if remedy in text and text.startswith(name)]
        assert not [text for text in obstacles if "grant postgres" in text]


def test_a_revision_that_is_not_known(server):
    dsn = database_of_its_own(server, "migrated")
    with connected(dsn) as connection:
        connection.execute("update catalog_version set version_num = '9999'")
    with pytest.raises(Refused, match="the revision 9999, which this release does not know"):
        adopt(dsn)


def test_a_role_that_does_not_own_the_tables(old):
    """It would own the objects that it creates, so it must become the owner of the tables first."""
    dsn = old("2022", rows=10, cluttered=False)
    role = f"owner_{uuid4().hex[:8]}"
    with connected(dsn) as connection:
        connection.execute(f"create role {role}; grant create, usage on schema public to {role}")
        for kind, name in connection.execute(
            "select case relkind when 'm' then 'materialized view' when 'v' then 'view' else 'table' end, "
            "relname from pg_class "
            "where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm')"
        ).fetchall():
            connection.execute(f"alter {kind} {name} owner to {role}")
        for (name,) in connection.execute(
            "select oid::regprocedure::text from pg_proc where pronamespace = 'public'::regnamespace"
        ).fetchall():
            connection.execute(f"alter function {name} owner to {role}")
        [obstacle] = inspect(connection).obstacles
        assert f"the media tables belong to {role}" in obstacle
        assert f"PGOPTIONS='-c role={role}'" in obstacle
        assert adopt(f"{dsn}?options=-c%20role%3D{role}").pending == ()
        assert connection.execute(
            "select distinct pg_get_userbyid(relowner) from pg_class "
            "where relnamespace = 'public'::regnamespace"
        ).fetchall() == [(role,)]


@pytest.mark.parametrize(("statements", "refusal"), REFUSALS)
def test_what_is_refused_is_refused_before_anything_is_changed(old, statements, refusal):
    dsn = old(OLDEST, rows=30, cluttered=False)
    with connected(dsn) as connection:
        connection.execute(statements)
        before = shape_of_theirs(connection)
        found = inspect(connection)
        assert [text for text in found.obstacles if refusal in text]
        assert len(found.obstacles) <= 2
        with pytest.raises(Refused, match="nothing was changed"):
            adopt(dsn)
        assert shape_of_theirs(connection) == before


def test_the_database_of_the_api_is_not_adopted(api_dsn):
    with connected(api_dsn) as connection:
        before = shape_of_theirs(connection)
        with pytest.raises(Refused, match="nothing was changed"):
            adopt(api_dsn)
        assert "the API's database" in " ".join(inspect(connection).obstacles)
        assert shape_of_theirs(connection) == before


def test_everything_is_refused_at_once(old):
    dsn = old("2022", rows=10, cluttered=False)
    with connected(dsn) as connection:
        for statements in (s for s, text in REFUSALS if " depends on " in text or "has a name" in text):
            connection.execute(statements)
        assert len(inspect(connection).obstacles) == 5


def test_a_role_without_rights(old, server):
    dsn = old("2022", rows=10, cluttered=False)
    role = f"guest_{uuid4().hex[:8]}"
    with connected(dsn) as connection:
        connection.execute(f"create role {role} login password 'guest'")
        connection.execute("revoke create on schema public from public")  # as it is since version 15
        connection.execute(f"grant select on all tables in schema public to {role}")
    with connected(re.sub("//.*@", f"//{role}:guest@", dsn)) as connection:
        obstacles = inspect(connection).obstacles
        assert (
            f"role {role} may not create objects in the schema public: "
            f"grant create on schema public to {role}."
        ) in obstacles
        for name in (
            "image",
            "image_view",
            "audioset_view",
            "image_popularity_metrics",
            "standardized_image_popularity(text, jsonb)",
        ):
            assert any(text.startswith(f"{name} belongs to ") for text in obstacles)


def test_databases_that_are_not_older_catalogs(server, dsn):
    with pytest.raises(Refused, match=r"a current catalog already, at revision .*`catalog db upgrade`"):
        adopt(dsn)
    with pytest.raises(Refused, match=r"neither a table image nor a table audio.*`catalog db upgrade`"):
        adopt(database_of_its_own(server, "template0"))


def test_a_server_that_is_too_old(old):
    with connected(old("2022", rows=1, cluttered=False)) as connection:
        inventory = read_inventory(connection)
    inventory.session = msgspec.structs.replace(inventory.session, server=120_022)
    assert refusals(inventory) == ["the server is PostgreSQL 12: upgrade it to 13 or a newer one."]


def test_another_encoding_and_a_database_that_only_reads(server):
    name = encoded(server, "SQL_ASCII")
    with connected(server.dsn(name)) as connection:
        make(connection, "2022")
        connection.execute(f"alter database {name} set default_transaction_read_only = on")
    with connected(server.dsn(name)) as connection:
        obstacles = inspect(connection).obstacles
    assert [text.partition(":")[0].partition(" (")[0] for text in obstacles] == [
        "the encoding is SQL_ASCII",
        "the database is read-only",
    ]
