"""A refresh loses no views, no large share of the rows, and no record without naming it."""

import threading

import psycopg
import pytest

from catalog.core import loss_limits
from catalog.core.errors import Fatal
from catalog.data_refresh.tables import locks, progress, promotion, ranges
from catalog.data_refresh.tables.catch_up import catch_up
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.data_refresh.tables.shrinkage import shrinkage
from catalog.database import sample_data
from catalog.database.refusals import accept_all

pytestmark = pytest.mark.database


def lost(api):
    """Return what a refresh of the images would remove beyond the usual, in words."""
    return [finding.text for findings in shrinkage(api, ["image"]).values() for finding in findings]


@pytest.fixture
def filled(catalog, api):
    sample_data.fill(catalog, "catalog", 2000)
    sample_data.fill(api, "api", 2000)
    return catalog, api


def test_no_view_is_lost(filled, api_dsn, monkeypatch):
    """Views are counted all the time, by an old transaction too, and while a reader delays the swap."""
    catalog, api = filled
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.3)
    counted, stop = [0] * 3, threading.Event()

    def count(number):
        with psycopg.connect(api_dsn, autocommit=True) as mine:
            while not stop.is_set():
                try:
                    key = 1 + (counted[number] * 3 + number) % 500
                    mine.execute("update image set view_count = view_count + 1 where id = %s", [key])
                    counted[number] += 1
                except psycopg.errors.DeadlockDetected:
                    pass

    before = api.execute("select sum(view_count) from image").fetchone()[0]
    writers = [threading.Thread(target=count, args=(number,)) for number in range(3)]
    with (
        psycopg.connect(api_dsn) as old,
        psycopg.connect(api_dsn) as reader,
        psycopg.connect(api_dsn, autocommit=True) as ours,
    ):
        old.execute("update image set view_count = view_count + 1000 where id = 1900")
        for writer in writers:
            writer.start()
        try:
            TableCopy(catalog, ours, "image", "run").run()
            old.commit()
            build_indexes(ours, "image")
            reader.execute("select 1 from image limit 1")
            attempts: list[int] = []

            def pause(_):
                attempts.append(1)
                if len(attempts) == 3:
                    reader.rollback()

            promoted = promotion.promote(ours, ["image"], "run", number=1, pause=pause)
            assert len(attempts) >= 3
            assert promoted.carried["image"] > 0
        finally:
            stop.set()
            for writer in writers:
                writer.join()
    assert sum(counted) > 50
    assert api.execute("select sum(view_count) from image").fetchone() == (before + 1000 + sum(counted),)


def test_row_versions_after_the_transaction_counter_wraps_around(filled):
    """Transaction ids are compared modulo 2³²: after half a cycle, every row counts as changed."""
    catalog, api = filled
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    now = int(api.execute("select pg_current_xact_id()::text").fetchone()[0])
    for began, found in ((now, 1), (now - 2**31, 2), (now - 2**32 - 5, 3)):
        api.execute("update temp_import_image_progress set began = %s::text::xid8", [str(max(began, 3))])
        api.execute("update image set view_count = view_count + 1 where id = 7")
        assert catch_up(api, "image") == 1, found
    last = "select view_count from {} where id = 7"
    assert (
        api.execute(last.format("temp_import_image")).fetchone()
        == api.execute(last.format("image")).fetchone()
    )


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("true", "image: 0 rows, 1,999 are live"),
        ("mod(width, 5) = 0", "rows, 1,999 are live"),
        ("source = 'flickr'", "image: 0 rows of flickr"),
        (
            "identifier in (select md5('1image' || n)::uuid from generate_series(1, 100) n)",
            "rows of imagelist_images refer to missing media",
        ),
    ],
)
def test_a_table_that_lacks_many_records_is_not_promoted(filled, loss, said):
    catalog, api = filled
    if "flickr" in loss:
        ours = "select md5('1' || 'image' || n)::uuid from generate_series(1, 1500) n"
        for connection in filled:
            connection.execute(f"update image set source = 'flickr' where identifier in ({ours})")
    catalog.execute(f"delete from image where {loss}")
    lists = api.execute("select count(*) from imagelist_images").fetchone()
    TableCopy(catalog, api, "image", "run").run()
    findings = lost(api)
    assert any(said in finding for finding in findings), findings
    build_indexes(api, "image")
    with pytest.raises(Fatal, match=r"suspiciously many records would be lost.* The old tables are live\.$"):
        promotion.promote(api, ["image"], "run", number=1)
    assert api.execute("select count(*) from image").fetchone() == (2000,)
    assert api.execute("select count(*) from imagelist_images").fetchone() == lists
    promotion.promote(api, ["image"], "run", number=1, judge=accept_all)
    assert (
        api.execute("select count(*) from image").fetchone()
        == catalog.execute("select count(*) from image").fetchone()
    )


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ("true", "image: 0 rows, 2,000 are live, and 2,000 others are new"),
        ("source = 'flickr'", "image: 0 rows of flickr, 1,200 are live, and 1,200 others are new"),
    ],
)
def test_other_records_in_the_place_of_those_that_are_live(filled, monkeypatch, replaced, said):
    """The wrong database, or one that was filled again: view counts would be lost, and deletions undone."""
    monkeypatch.setattr(loss_limits, "TOTAL", 0.9)
    catalog, api = filled
    for connection in filled:
        connection.execute("update image set removed_from_source = false, source = 'met'")
        connection.execute(
            "update image set source = 'flickr' where identifier in (select md5('1image' || n)::uuid"
            " from generate_series(1, 1200) n)"
        )
    catalog.execute(f"update image set identifier = gen_random_uuid() where {replaced}")
    TableCopy(catalog, api, "image", "run").run()
    assert lost(api)[0] == said


def test_a_source_whose_records_are_all_removed_is_not_promoted(filled):
    """Searches do not find them: the source is lost as if its records were deleted."""
    catalog, api = filled
    ours = "select md5('1' || 'image' || n)::uuid from generate_series(1, 1500) n"
    for connection in filled:
        connection.execute(f"update image set source = 'flickr' where identifier in ({ours})")
    catalog.execute("update image set removed_from_source = true where source = 'flickr'")
    TableCopy(catalog, api, "image", "run").run()
    assert any("image: 0 rows of flickr" in finding for finding in lost(api))
    api.execute("update image set removed_from_source = true where source = 'flickr'")
    assert lost(api) == []  # they were not live before


def test_a_copy_that_is_gone_is_not_taken_for_promoted(filled):
    """Somebody may drop it, or restore the API database, while the indexes are built."""
    catalog, api = filled
    TableCopy(catalog, api, "image", "run").run()
    build_indexes(api, "image")
    promoted = promotion.promote(api, ["image"], "run", number=4)
    assert promotion.promote(api, ["image"], "run", number=4) == promoted
    with pytest.raises(Fatal, match=r"the copy of image is gone, .* clear copy_tables"):
        promotion.promote(api, ["image"], "run", number=5)
    promotion.drop_leftovers(api, ["image"])
    TableCopy(catalog, api, "image", "run").run()
    api.execute("drop table temp_import_image")
    with pytest.raises(Fatal, match=r"the copy of image is gone, .* clear copy_tables"):
        promotion.promote(api, ["image"], "run", number=5)


ODD = {
    "null": (
        "alter table image alter title set not null",
        "title = null",
        "title is empty, which the API's table does not allow",
    ),
    "check": (
        "alter table image add check (width < 5000)",
        "width = 6000",
        "check image_width_check of the API is violated",
    ),
    "smallint": (
        "alter table image alter height type smallint",
        "height = 40000",
        "height does not fit the API's table: smallint out of range",
    ),
    "real": (
        "alter table image alter standardized_popularity type real",
        "standardized_popularity = 1e-50",
        "standardized_popularity does not fit",
    ),
    "domain": (
        "create domain short as text check (length(value) < 40); alter table image alter creator type short",
        f"creator = '{'x' * 50}'",
        "check short_check of the API is violated",
    ),
    "width": (
        "alter table image alter thumbnail type varchar(60)",
        f"thumbnail = '{'x' * 90}'",
        "thumbnail is too long for the API's table",
    ),
}


@pytest.mark.parametrize("what", ODD)
def test_a_record_that_cannot_be_stored_is_named_and_left_out(filled, what, monkeypatch):
    catalog, api = filled
    monkeypatch.setattr(ranges, "PAGES", 100)
    migration, change, reason = ODD[what]
    catalog.execute(
        "update image set title = 'x', height = 7, width = 7, creator = 'c', thumbnail = 't', "
        "standardized_popularity = 0.5"
    )
    catalog.execute("alter table image alter title drop not null")
    api.execute("truncate image cascade")
    api.execute(migration)
    bad = [
        row[0]
        for row in catalog.execute(
            f"update image set {change} where identifier in (select identifier from image "
            "order by md5(url) limit 3) returning identifier::text"
        )
    ]
    copied = TableCopy(catalog, api, "image", "run").run()
    assert copied.rows == 1997
    assert copied.rejected == {
        reason.partition(": ")[0] if ":" in reason or what != "real" else next(iter(copied.rejected)): 3
    }
    assert sorted(key for key, _ in progress.rejects(api, "image")) == sorted(bad)
    assert all(why.startswith(reason) for _, why in progress.rejects(api, "image"))
    catalog.execute(
        f"update image set {change} where identifier in (select identifier from image "
        "order by identifier limit 30)"
    )
    with pytest.raises(Fatal, match=r"more than 1%: .*trigger a new run"):
        TableCopy(catalog, api, "image", "second").run()
