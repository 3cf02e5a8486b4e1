"""A refresh keeps all objects that are attached to the API's tables, or is refused.

Runs on real databases, with real migrations between the steps of the refresh.
"""

import contextlib
import uuid
from pathlib import Path

import psycopg
import pytest

from catalog.core.errors import Fatal
from catalog.data_refresh.tables import locks, promotion
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.data_refresh.tables.shape import Shape, differences, early, shape
from catalog.database import sample_data, schema
from catalog.tests.values import need

API_SCHEMA = Path(schema.__file__).parent / "migrations/api_versions/0001_api.sql"
pytestmark = pytest.mark.database


@pytest.fixture(scope="module")
def pair(server):
    """A filled catalog, and an API database whose schema is rebuilt for each test.

    Creating another database would take seconds.
    """
    names = [f"{which}_{uuid.uuid4().hex[:12]}" for which in ("catalog", "api")]
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        for role in ("reader", "keeper"):  # of the server: another module's tests may have made them
            if not connection.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone():
                connection.execute(f"create role {role}")
        for name, template in zip(names, ("migrated", "empty"), strict=True):
            connection.execute(f"create database {name} template {template} strategy file_copy")
    with psycopg.connect(server.dsn(names[0]), autocommit=True) as catalog:
        sample_data.fill(catalog, "catalog", 120)
    return [server.dsn(name) for name in names]


@pytest.fixture
def api_dsn(pair):
    with psycopg.connect(pair[1], autocommit=True) as api:
        for (name,) in api.execute("select pubname from pg_publication").fetchall():
            api.execute(f"drop publication {name}")
        api.execute(
            "drop schema public cascade; drop owned by reader, keeper; create schema public; "
            "grant usage on schema public to public"
        )
        api.execute(API_SCHEMA.read_bytes())
        sample_data.fill(api, "api", 100)
    return pair[1]


@pytest.fixture
def filled(pair, api):
    with psycopg.connect(pair[0], autocommit=True) as catalog:
        yield catalog, api


def refresh(catalog, api, table="image", run="run"):
    TableCopy(catalog, api, table, run).run()
    build_indexes(api, table)
    promotion.promote(api, [table], run, number=1)
    promotion.drop_leftovers(api, [table])


CARRIED = {
    "policy": "create policy own on image as restrictive for update to reader, keeper using (id > 3) "
    "with check (id in (select 5))",
    "row security": "alter table image enable row level security; alter table image force row level security",
    "triggers in every state": """
        create function nothing() returns trigger language plpgsql as 'begin return new; end';
        create trigger a before update on image for each row when (old.id > 4) execute function nothing();
        create trigger b before update of title on image for each row execute function nothing();
        create trigger c before insert on image for each row execute function nothing();
        create constraint trigger d after insert on image deferrable for each row execute function nothing();
        alter table image disable trigger a, enable replica trigger b, enable always trigger c""",
    "rule": "create rule quiet as on insert to image where new.id < 0 do instead nothing; "
    "alter table image disable rule quiet",
    "publication": "create publication part for table image (id, title) where (id > 5); "
    "create publication whole for table image",
    "publication of all": "create publication everything for all tables; "
    "create publication these for tables in schema public",
    "replica identity": "alter table image alter url set not null, "
    "replica identity using index image_url_key",
    "replica identity full": "alter table image replica identity full",
    "cluster mark": "alter table image cluster on image_provider_7d11f847",
    "comments": """
        comment on table image is 'pictures, with a '' in it';
        comment on column image.title is 'what it is called';
        comment on index image_url_key is 'once'; comment on constraint image_pkey on image is 'key';
        comment on constraint imagelist_images_image_id_fk_image_id on imagelist_images is 'tie'""",
    "statistics": """
        alter table image alter title set statistics 500, alter provider set (n_distinct = 20);
        create index lower_title on image (lower(title));
        alter index lower_title alter column 1 set statistics 300;
        create statistics both_of_them (ndistinct) on provider, source from image;
        alter statistics both_of_them set statistics 7""",
    "options": "alter table image set (fillfactor = 90, autovacuum_enabled = false, "
    "toast.autovacuum_enabled = false)",
    "check that is not valid": "alter table image add constraint wide check (width > 999999) not valid, "
    "add constraint ok check (id > 0)",
    "exclusion constraint": "alter table image add constraint once exclude using btree (identifier with =) "
    "where (id > 0)",
    "deferred unique constraint": "alter table image add constraint again unique (identifier) include (id) "
    "deferrable initially deferred",
    "odd indexes": """
        create unique index "Odd ""one"" " on image using btree
            (title collate "C" desc nulls last, id) include (width)
            with (fillfactor = 70) where (id > 0); create index hashed on image using hash (creator)""",
    "own column": "alter table image add seen jsonb not null default '{}', add place point, add note json; "
    "alter table image alter seen set storage external, alter seen set compression pglz; "
    "update image set place = '(1,2)', note = '[1]'",
    "generated column": "alter table image add size integer generated always as (width * height) stored",
    "second sequence": "create sequence more owned by image.id; "
    "alter table image add number bigint default nextval('more')",
    "identity": """
        alter table image alter id drop default; drop sequence image_id_seq;
        alter table image alter id add generated by default as identity
            (sequence name ids increment by 3 cache 5);
        select setval('ids', 1000); grant usage on sequence ids to reader""",
    "grants": """
        grant select on image to public; grant select, update on image to keeper with grant option;
        revoke delete on image from current_user;
        grant update (view_count), select (id) on image to reader; set role keeper;
        grant select on image to reader; reset role""",
    "default privileges": "alter default privileges grant select on tables to reader; "
    "grant insert on image to reader",
    "owner": "alter table image owner to keeper; grant create on schema public to keeper",
    "unlogged": "drop table imagelist_images; alter table image set unlogged",
    "foreign keys": """
        create table shelf (id integer primary key); insert into shelf values (1);
        alter table image add shelf integer default 1 references shelf;
        create table tied (identifier uuid references image (identifier) on delete set null, n integer);
        alter table tied add constraint late foreign key (n) references image not valid""",
    "enum and domain": "create type mood as enum ('by', 'x'); create domain name80 "
    "as varchar(80) check (value <> '');"
    "alter table image alter provider type name80, add feeling mood default 'by'",
}


# What the statements need.
SINCE = {"publication": 15, "publication of all": 15, "own column": 14}


@pytest.mark.parametrize("what", CARRIED)
def test_attached_objects_are_recreated_exactly(filled, what):
    catalog, api = filled
    need(api, SINCE.get(what, 13))
    api.execute(CARRIED[what])
    before = shape(api, "image")
    for run in ("first", "second"):
        refresh(catalog, api, run=run)
        assert differences(before, shape(api, "image")) == []
        assert api.execute("select count(*) from image").fetchone() == (120,)
    assert api.execute("select count(*) from pg_class where relname like '%temp_import_%'").fetchone() == (0,)


def test_rewriting_a_table_does_not_change_its_shape(filled, api):
    before = shape(api, "image")
    for statement in (
        "reindex table concurrently image",
        "vacuum full image",
        "analyze image",
        "cluster image using image_pkey",
    ):
        api.execute(statement)
    assert differences(early(before), early(shape(api, "image"))) == []


MIGRATIONS = {
    "add column": "alter table image add extra text default 'kept'",
    "drop column": "alter table image drop category",
    "rename column": "alter table image rename creator to author",
    "retype column": "alter table image alter title type text",
    "default": "alter table image alter view_count set default 7",
    "not null": "alter table image alter url set not null",
    "check": "alter table image add constraint positive check (id > 0)",
    "add index": "create index concurrently new_one on image (title)",
    "drop index": "drop index concurrently image_source_d5a89e97",
    "rename index": "alter index image_source_d5a89e97 rename to other",
    "another index of that name": "drop index image_source_d5a89e97; "
    "create index image_source_d5a89e97 on image (source, id)",
    "reindex": "reindex table concurrently image",
    "trigger": "create function nothing() returns trigger language plpgsql as 'begin return new; end';"
    "create trigger t before update on image for each row execute function nothing()",
    "policy": "alter table image enable row level security; create policy p on image using (id > 0)",
    "publication": "create publication part for table image",
    "publication of all": "create publication everything for all tables",
    "comment": "comment on column image.title is 'new'",
    "grant": "grant select on image to reader",
    "owner": "alter table image owner to keeper",
    "view": "create view newest as select * from image",
    "foreign key": "create table tied (id integer references image)",
    "rename table": "alter table image rename to picture",
}
STEPS = ("before the copy", "in the copy", "after the copy", "after the indexes", "while the exchange waits")


def run_steps(catalog, api, dsn, migrate, monkeypatch):
    """Run a refresh; call `migrate` with the name of each step."""
    expected = {"image": shape(api, "image")}
    migrate("before the copy")
    monkeypatch.setattr("catalog.data_refresh.tables.ranges.PAGES", 8)
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.2)
    with psycopg.connect(dsn, autocommit=True) as ours, psycopg.connect(dsn) as reader:
        TableCopy(
            catalog, ours, "image", "run", expected=expected["image"], report=lambda _: migrate("in the copy")
        ).run()
        migrate("after the copy")
        build_indexes(ours, "image", expected=expected)
        migrate("after the indexes")
        with contextlib.suppress(psycopg.errors.UndefinedTable):
            reader.execute("select 1 from image limit 1")

        def pause(_):
            reader.rollback()
            migrate("while the exchange waits")

        promotion.promote(ours, ["image"], "run", number=1, pause=pause, expected=expected)


@pytest.mark.parametrize("when", STEPS)
@pytest.mark.parametrize("what", MIGRATIONS)
def test_a_migration_during_a_refresh_is_never_undone(filled, api_dsn, what, when, monkeypatch):
    """The migration is kept: the refresh is refused, or carries it over."""
    catalog, api = filled
    before = early(shape(api, "image"))
    made: dict[str, Shape] = {}

    def migrate(step):
        if step == when and not made:
            statements = MIGRATIONS[what]
            for statement in statements.split(";") if "concurrently" in statements else [statements]:
                api.execute(statement)
            made.update({table: shape(api, table) for table in ("image", "picture")})

    refused = False
    try:
        run_steps(catalog, api, api_dsn, migrate, monkeypatch)
    except Fatal as error:
        refused = True
        assert "Trigger a new run" in str(error)
    assert {table: shape(api, table) for table in made} == made != {}
    assert refused == bool(differences(before, early(made["image"])))
    assert refused or api.execute("select count(*) from image").fetchone() == (120,)
