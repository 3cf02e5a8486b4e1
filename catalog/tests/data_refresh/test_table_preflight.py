"""The first task names what would fail a refresh hours later and how to fix it, and accepts the rest."""

import psycopg
import pytest

from catalog.core.errors import Fatal
from catalog.data_refresh.tables import preflight
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.data_refresh.tables.preflight import preflight_tables
from catalog.data_refresh.tables.shape import shape
from catalog.database import sample_data
from catalog.tests.data_refresh.test_exchange import CARRIED, SINCE, api_dsn, filled, pair
from catalog.tests.values import need

__all__ = ["api_dsn", "filled", "pair"]
pytestmark = pytest.mark.database
REFUSED = {
    "view": ("create view newest as select * from image", "view public.newest depends on it: drop it"),
    "materialized view": (
        "create materialized view old as select id from image",
        "materialized view public.old depends on it",
    ),
    "function": (
        "create function f(image) returns int language sql as 'select 1'",
        "function public.f(public.image) depends on it",
    ),
    "child": ("create table kid () inherits (image)", "table public.kid depends on it"),
    "parent": ("create table top (id integer); alter table image inherit top", "it has parents"),
    "policy of another table": (
        "create table t (a int); create policy p on t using (a in (select id from image))",
        "policy p on table public.t depends on it",
    ),
    "key to itself": (
        "alter table image add twin integer references image",
        "foreign key image_twin_fkey points at the table itself",
    ),
    "set default": (
        "create table t (a int default 1 references image on delete set default)",
        "foreign key public.t.t_a_fkey is ON DELETE SET DEFAULT",
    ),
    "disabled key": (
        "alter table imagelist_images disable trigger all",
        "image_id_fk_image_id are disabled: enable them",
    ),
    "point": (
        "alter table image drop tags, add tags point",
        "column tags: cannot cast type jsonb to point: change its type",
    ),
    "type of the API's": (
        "create type pair as (a int, b int); alter table image drop title, add title pair",
        'column title: type "pair" does not exist',
    ),
    "no default": (
        (
            "alter table image add shelf integer; update image set shelf = 1; "
            "alter table image alter shelf set not null"
        ),
        "column shelf is NOT NULL without a default",
    ),
    "no binary form": (
        "alter table image add rights aclitem",
        "column rights of type aclitem cannot be copied in binary form",
    ),
    "name in the way": (
        "create view temp_import_image as select 1",
        "temp_import_image is in the way: rename or drop it",
    ),
    "moderation": ("drop table api_matureimage", "api_matureimage is missing"),
    "no table": ("drop table image cascade", "the API database has no table image: its migrations create it"),
    "no identifier": ("alter table image alter identifier type text", "column identifier is not a uuid"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_obstacles_are_named_at_the_start(filled, what):
    catalog, api = filled
    statement, said = REFUSED[what]
    api.execute(statement)
    before = shape(api, "image")
    with pytest.raises(Fatal) as refused:
        preflight_tables(api, catalog, ["image"])
    assert said in str(refused.value)
    assert shape(api, "image") == before


@pytest.mark.parametrize("what", CARRIED)
def test_objects_that_can_be_carried_over_are_accepted(filled, what):
    catalog, api = filled
    need(api, SINCE.get(what, 13))
    api.execute(CARRIED[what])
    before = shape(api, "image")
    assert preflight_tables(api, catalog, ["image", "audioset", "audio"]) > 100_000
    assert shape(api, "image") == before
    assert api.execute("select count(*) from pg_class where relname like '%temp_import_%'").fetchone() == (0,)


def test_a_role_that_owns_nothing(filled, pair):
    catalog, api = filled
    api.execute("grant select on all tables in schema public to reader; alter role reader login password 'x'")
    with psycopg.connect(pair[1], user="reader", password="x", autocommit=True) as theirs:
        with pytest.raises(Fatal) as refused:
            preflight_tables(theirs, catalog, ["image"])
        for said in (
            f"image belongs to {api.info.user}",
            f"imagelist_images belongs to {api.info.user}",
            "reader may not create tables",
        ):
            assert said in str(refused.value)


def test_too_few_connections(filled, monkeypatch):
    monkeypatch.setattr(preflight, "CONNECTIONS", 500)
    catalog, api = filled
    sample_data.fill(api, "api", 10)
    with pytest.raises(Fatal, match="connections left, the refresh needs 500: raise max_connections"):
        preflight_tables(api, catalog, ["image"])


def test_leftovers_of_a_failed_refresh_are_no_obstacle(filled):
    catalog, api = filled
    TableCopy(catalog, api, "image", "failed").run()
    build_indexes(api, "image")
    left = shape(api, "temp_import_image")
    preflight_tables(api, catalog, ["image"])
    assert shape(api, "temp_import_image") == left


def test_one_database_behind_both_connections_is_refused(filled, pair):
    """A refresh would replace the catalog's tables by those of the API."""
    catalog, _ = filled
    with (
        psycopg.connect(pair[0], autocommit=True) as api,
        pytest.raises(Fatal, match=r"postgres_openledger_upstream and \S+ lead to the same database"),
    ):
        preflight_tables(api, catalog, ["image"])
