"""An incremental refresh continues the last one only where the state of both databases is that of its end."""

import ast
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import time_machine

from catalog.core.errors import Refused
from catalog.data_refresh import basis, modes
from catalog.data_refresh.basis import MODULES, Basis, last, record
from catalog.data_refresh.refresh import (
    CreatedIndex,
    begin,
    note_code,
    note_found,
    note_index,
    reach,
    read,
    replan,
)
from catalog.data_refresh.tables.columns import Column
from catalog.data_refresh.tables.marks import create_marks, mark, set_mark
from catalog.database.row_versions import HALF, horizon, written_since
from catalog.tests.data_refresh.indexes import make
from catalog.tests.data_refresh.test_refresh import plan, turn

pytestmark = pytest.mark.database
NOW = datetime(2026, 11, 27, tzinfo=UTC)
CATALOG = Path(__file__).parents[2]


def ended(catalog, run_id="1", **more):
    """Record a promoted refresh, and return its basis."""
    refresh = begin(catalog, turn(catalog, run_id), plan())
    found = Basis(
        refresh.number,
        horizon=7,
        inputs="inputs",
        indexes={"image": "a", "image-filtered": "b"},
        full_on=NOW,
        **more,
    )
    record(catalog, found)
    return found


def test_the_state_of_the_last_refresh(catalog):
    assert last(catalog, "image") == "there was no refresh before"
    ended(catalog)
    second = ended(catalog, "2", rejected=["x"])
    assert last(catalog, "image") == second
    begin(catalog, turn(catalog, "3"), plan())  # is still working
    assert last(catalog, "image") == second


def test_a_failed_incremental_refresh_is_followed_by_a_full_one(catalog):
    """Otherwise a cause that stays would fail each refresh."""
    found = ended(catalog)
    begin(catalog, turn(catalog, "2"), plan())
    assert last(catalog, "image") == found
    failed = begin(catalog, turn(catalog, "3"), plan(mode="incremental"))
    assert last(catalog, "image", failed.number) == found  # the run itself, which is cleared
    assert last(catalog, "image") == "the last incremental refresh did not reach its end"
    again = ended(catalog, "4")
    assert last(catalog, "image") == again


@pytest.mark.parametrize("stage", ["tables", "promoted"])
def test_a_refresh_without_a_state_hides_earlier_ones(catalog, stage):
    ended(catalog)
    later = begin(catalog, turn(catalog, "2"), plan())
    reach(catalog, later, stage)
    assert last(catalog, "image") == "the last refresh was not completed, or it rebuilt only the index"


@pytest.mark.parametrize(
    ("mode", "reason"), [("full", basis.UNLISTED), ("index_only", "the last refresh was")]
)
def test_rejected_records_that_are_not_listed_are_the_reason(catalog, mode, reason):
    mine = turn(catalog)
    later = begin(catalog, mine, plan(mode=mode, inputs="inputs"))
    note_index(catalog, later, "image-1", CreatedIndex("uuid", 3, None))
    note_index(catalog, later, "image-1-filtered", CreatedIndex("uuid", 3))
    assert modes.completed(read(catalog, mine)) is None
    reach(catalog, later, "promoted")
    assert str(last(catalog, "image")).startswith(reason)


def test_a_restored_dump_is_noticed(catalog):
    """Its rows are the same, but other transactions wrote them."""
    found = ended(catalog)
    catalog.execute("create table saved as select * from refresh")
    catalog.execute("delete from refresh")
    catalog.execute("insert into refresh select * from saved")
    assert last(catalog, "image") == "the catalog database was restored from a dump since the last refresh"
    record(catalog, found)
    assert last(catalog, "image") == found


def test_the_state_of_another_release(catalog):
    ended(catalog)
    catalog.execute(
        "update refresh set basis = jsonb_build_object("
        "    'number', '{}', 'xid', pg_current_xact_id()::text::bigint & 4294967295)"
    )
    assert last(catalog, "image") == "another release recorded the last refresh"


def test_a_table_that_was_replaced_has_no_mark(api):
    assert mark(api, "image") is None
    create_marks(api)
    set_mark(api, "image", 5)
    found = mark(api, "image")
    assert found is not None
    assert (found.number, found.own) == (5, [])
    api.execute("create table other (like image including all)")
    api.execute("alter table image rename to former")
    api.execute("alter table other rename to image")
    assert mark(api, "image") is None


def test_a_column_that_was_dropped_and_added_has_no_mark(api):
    create_marks(api)
    set_mark(api, "image", 5)
    api.execute("alter table image drop column category")
    api.execute("alter table image add column category varchar(80)")
    assert mark(api, "image") is None


def test_columns_of_the_catalog_that_were_replaced(catalog):
    before = basis.source_columns(catalog, "image")
    catalog.execute("alter table image drop column title cascade")
    catalog.execute("alter table image add column title text default 'brand new'")
    after = basis.source_columns(catalog, "image")
    catalog.execute("create table other (like image including all)")
    catalog.execute("alter table image rename to former")
    catalog.execute("alter table other rename to image")
    found = [before, after, basis.source_columns(catalog, "image")]
    assert len({basis.inputs({"image": columns}, [], "p") for columns in found}) == 3


def test_row_versions_since_a_moment(catalog):
    catalog.execute("create table numbers (n int)")
    catalog.execute("insert into numbers values (1)")
    began = horizon(catalog)
    query = "select array_agg(n order by n) from numbers where "

    def newer(since):
        return catalog.execute(query + written_since(catalog, since).as_string(catalog)).fetchone()

    assert newer(began) == (None,)
    catalog.execute("insert into numbers values (2)")
    catalog.execute("vacuum freeze numbers")
    assert newer(began) == ([2],)
    assert newer(began - HALF - 1_000) == ([1, 2],)  # too long ago to tell
    assert newer(began + 1_000_000) == ([1, 2],)  # a moment that has not been yet


def test_values_of_the_catalog_that_were_renamed(catalog):
    """No row version is written."""
    catalog.execute("create type mood as enum ('calm', 'glad')")
    catalog.execute("alter table image add moods mood[]")
    before = basis.source_columns(catalog, "image")
    catalog.execute("alter type mood rename value 'calm' to 'quiet'")
    after = basis.source_columns(catalog, "image")
    assert basis.inputs({"image": before}, [], "p") != basis.inputs({"image": after}, [], "p")


def promote(catalog, api, search, documents):
    """Bring both databases and the engine into the state after a refresh; return the plan of the next one."""
    uuids = {name: make(search, name) for name in ("image-1", "image-1-filtered")}
    search.swap_aliases({"image": "image-1", "image-filtered": "image-1-filtered"})
    mine = turn(catalog)
    refresh = begin(catalog, mine, plan("image-1", horizon=7, inputs="inputs"))
    for name, uuid in uuids.items():
        note_index(catalog, refresh, name, CreatedIndex(uuid, documents, []))
    state = modes.completed(read(catalog, mine))
    assert state is not None
    record(catalog, state)
    create_marks(api)
    set_mark(api, "image", state.number)
    live = {"image": "image-1", "image-filtered": "image-1-filtered"}
    return plan("image-2", horizon=9, inputs="inputs", live=live, shapes={"image": {}})


@pytest.fixture
def promoted(catalog, api, search):
    return promote(catalog, api, search, documents=0)


def choose(wanted, following, catalog, api, search, *, limit=0, days=35):
    return modes.choose(
        wanted, following, catalog, api, search, number=0, limit=limit, full_after=timedelta(days=days)
    )


def test_auto_is_incremental_where_that_is_possible(promoted, catalog, api, search):
    found = choose("auto", promoted, catalog, api, search)
    assert (found.mode, found.index, found.filtered) == ("incremental", "image-1", "image-1-filtered")
    assert found.aliases == {"image": "image-1", "image-filtered": "image-1-filtered"}
    assert found.previous.horizon == 7
    assert choose("full", promoted, catalog, api, search) == promoted


def obstruct(kind, catalog, api, search):
    statements = {
        "mark": "update catalog_refresh set refresh = refresh - 1",
        "table": "create table n (like image including all); alter table image rename to old; "
        "alter table n rename to image",
        "trigger": "create function nothing() returns trigger language plpgsql as 'begin return new; end'; "
        "create trigger watched before update on image for each row execute function nothing()",
    }
    if kind == "index":
        make(search, "image-3")
        search.swap_aliases({"image": "image-3"})
    elif kind == "pipeline":
        settings = {"index.final_pipeline": "theirs"}
        search.client.indices.put_settings(index="image-1-filtered", settings=settings)
    elif kind == "documents":
        search.client.index(index="image-1-filtered", id="a", document={"title": "x"}, refresh=True)
    elif kind in statements:
        api.execute(statements[kind])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("mark", "the last refresh did not write the API's table image as it is now"),
        ("table", "the last refresh did not write the API's table image as it is now"),
        ("index", "the last refresh did not fill the index behind image"),
        ("pipeline", "the index behind image-filtered has index.final_pipeline theirs, which changes"),
        (
            "documents",
            "another program has changed the index behind image-filtered: 1 documents instead of 0",
        ),
        ("trigger", "the API's table image has the trigger watched, which changes of rows would run"),
        ("inputs", "columns, tag policy, sensitive terms, the index mapping or the code of documents"),
        ("limit", "DATA_REFRESH_LIMIT is set"),
    ],
)
def test_a_full_refresh_says_why(promoted, catalog, api, search, kind, reason):
    obstruct(kind, catalog, api, search)
    following = msgspec.structs.replace(promoted, inputs="others") if kind == "inputs" else promoted
    limit = 5 if kind == "limit" else 0
    found = choose("auto", following, catalog, api, search, limit=limit)
    assert found.mode == "full"
    assert reason in found.reason
    with pytest.raises(Refused, match="mode: an incremental refresh is impossible"):
        choose("incremental", following, catalog, api, search, limit=limit)


def test_documents_that_moderators_deleted_are_no_obstacle(catalog, api, search):
    following = promote(catalog, api, search, documents=1)
    assert "0 documents instead of 1" in choose("auto", following, catalog, api, search).reason
    api.execute(
        "insert into api_deletedimage (created_on, updated_on, identifier)"
        " values (now(), now(), gen_random_uuid())"
    )
    assert choose("auto", following, catalog, api, search).mode == "incremental"


def test_a_full_refresh_after_some_time(promoted, catalog, api, search):
    assert "days old" in choose("auto", promoted, catalog, api, search, days=0).reason
    assert choose("incremental", promoted, catalog, api, search, days=0).mode == "incremental"


@pytest.mark.parametrize("ahead", [-100, 100])
def test_the_clocks_of_workers_do_not_matter(catalog, api, search, ahead):
    """Of the one that ended the last full refresh, and of the one that begins the next refresh."""
    with time_machine.travel(datetime.now(UTC) + timedelta(days=ahead)):
        following = promote(catalog, api, search, documents=0)
    assert choose("auto", following, catalog, api, search).mode == "incremental"
    with time_machine.travel(datetime.now(UTC) + timedelta(days=ahead)):
        assert choose("auto", following, catalog, api, search).mode == "incremental"
        assert "days old" in choose("auto", following, catalog, api, search, days=0).reason


def test_a_full_refresh_of_a_time_to_come_is_followed_by_another(promoted, catalog, api, search):
    """An earlier release took the time from a worker, whose clock may have been wrong."""
    found = last(catalog, "image")
    assert isinstance(found, Basis)
    record(catalog, msgspec.structs.replace(found, full_on=found.full_on + timedelta(days=9)))
    assert "is yet to come" in choose("auto", promoted, catalog, api, search).reason
    record(catalog, msgspec.structs.replace(found, full_on=found.full_on + timedelta(minutes=9)))
    assert choose("auto", promoted, catalog, api, search).mode == "incremental"


def test_inputs_depend_on_columns_terms_and_policy():
    column = Column("title", "text", "text", None)
    columns = {"image": [column]}
    found = {
        basis.inputs(columns, ["a"], "policy"),
        basis.inputs(columns, ["b"], "policy"),
        basis.inputs(columns, ["a"], "other"),
        basis.inputs({"image": [msgspec.structs.replace(column, widest=5)]}, ["a"], "policy"),
    }
    assert len(found) == 4
    assert basis.inputs(columns, ["b", "a"], "p") == basis.inputs(columns, ["a", "b"], "p")


def test_a_task_that_is_cleared_after_the_refresh_forgets_nothing(catalog):
    """`begin_refresh` of an incremental refresh records the live indexes, which are counted later."""
    mine = turn(catalog)
    refresh = begin(catalog, mine, plan(inputs="inputs"))
    for name in ("image-1", "image-1-filtered"):
        note_found(catalog, refresh, name, f"uuid of {name}")
        assert read(catalog, mine).indexes[name] == CreatedIndex(f"uuid of {name}")
        note_index(catalog, refresh, name, CreatedIndex(f"uuid of {name}", 3, []))
    state = modes.completed(read(catalog, mine))
    assert state is not None
    record(catalog, state)
    before = read(catalog, mine)
    for name in ("image-1", "image-1-filtered"):
        note_found(catalog, before, name, f"uuid of {name}")
    assert read(catalog, mine) == before
    assert last(catalog, "image") == state


def test_a_filtered_index_alone_has_no_state(catalog):
    mine = turn(catalog)
    refresh = begin(catalog, mine, msgspec.structs.replace(plan(), aliases={"image-filtered": "image-2"}))
    note_index(catalog, refresh, "image-2", CreatedIndex("uuid", 3))
    assert modes.completed(read(catalog, mine)) is None


@pytest.mark.parametrize("rejected", [None, ["x"]])
def test_what_cannot_be_continued_has_no_state(catalog, rejected):
    mine = turn(catalog)
    refresh = begin(catalog, mine, plan(mode="index_only" if rejected else "full", inputs="inputs"))
    for name in ("image-1", "image-1-filtered"):
        note_index(catalog, refresh, name, CreatedIndex("uuid", 3, rejected))
    assert modes.completed(read(catalog, mine)) is None


@pytest.mark.parametrize("begun_by", ["another", "", "this"])
def test_no_refresh_continues_one_on_which_two_releases_have_worked(catalog, begun_by):
    """Some documents may be as the other one makes them, until a full refresh."""
    began = {"another": "f00", "": "", "this": basis.code()}[begun_by]
    mine = turn(catalog)
    refresh = begin(catalog, mine, plan(inputs="inputs", code=began))
    for name in ("image-1", "image-1-filtered"):
        note_index(catalog, refresh, name, CreatedIndex("uuid", 3, []))
    found = note_code(catalog, read(catalog, mine))
    mixed = begun_by != "this"
    assert found == read(catalog, mine)
    assert found.plan.mixed is mixed
    replan(catalog, refresh, refresh.plan)  # a task of the other release knows nothing of it
    assert read(catalog, mine).plan.mixed is mixed
    state = modes.completed(read(catalog, mine))
    assert (state is None) is mixed
    if state:
        record(catalog, state)
    else:
        reach(catalog, refresh, "promoted")
    assert last(catalog, "image") == (basis.MIXED if mixed else state)
    assert note_code(catalog, read(catalog, mine)).plan.mixed is mixed


# Modules that those of basis.MODULES import, but that determine neither rows nor documents.
WITHOUT_INFLUENCE = {
    "core.errors",
    "core.loss_limits",
    "core.queries",
    "core.session",
    "core.sql_files",
    "core.wording",
    "data_refresh.search.client",
    "data_refresh.search.identity",
    "data_refresh.search.indexes",
    "data_refresh.tables.progress",
    "data_refresh.tables.shape",
    "database.estimates",
}


def _imported(name):
    """Return the modules of the catalog that a module imports."""
    found = set()
    for node in ast.walk(ast.parse((CATALOG / f"{name.replace('.', '/')}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (module := node.module or "").startswith("catalog."):
            module = module.removeprefix("catalog.")
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                found.add(inner if (CATALOG / f"{inner.replace('.', '/')}.py").exists() else module)
    return found


def test_all_modules_that_determine_rows_and_documents_are_inputs():
    """A release that changes one of them needs a full refresh: otherwise old documents would stay."""
    unread, reached = list(MODULES), set[str]()
    while unread:
        name = unread.pop()
        if name not in reached | WITHOUT_INFLUENCE:
            reached.add(name)
            unread += _imported(name)
    assert reached == set(MODULES)
