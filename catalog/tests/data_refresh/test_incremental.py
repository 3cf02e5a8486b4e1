"""An incremental refresh leaves tables and indexes as a full one would, whatever was changed, by whomever."""

import os
import uuid

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from catalog.core import loss_limits
from catalog.core.errors import Fatal
from catalog.core.queries import value
from catalog.data_refresh.tables import changes, changes_copy, key_groups, promotion
from catalog.data_refresh.tables.apply import apply_changes
from catalog.data_refresh.tables.changes import TooManyChanges
from catalog.data_refresh.tables.changes_copy import ChangesCopy
from catalog.data_refresh.tables.copy import TABLES, TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.data_refresh.tables.shape import shape
from catalog.database import sample_data
from catalog.database.refusals import accept_all, refuse_all
from catalog.database.row_versions import horizon
from catalog.tests.data_refresh.test_exchange import api_dsn, filled, pair  # noqa: F401 - fixtures
from catalog.tests.data_refresh.test_oversized import LONG

pytestmark = pytest.mark.database


class Refreshes:
    """Refreshes of one media type, one after the other."""

    def __init__(self, catalog, api, media_type="image"):
        self.catalog, self.api, self.tables = catalog, api, TABLES[media_type]
        self.number, self.horizon = 0, 0

    def refill(self):
        """Replace the records of the catalog, which all tests of this module change."""
        self.catalog.execute("truncate image, audio")
        sample_data.fill(self.catalog, "catalog", 120)

    def full(self):
        self.number += 1
        began = horizon(self.catalog)
        for table in self.tables:
            TableCopy(self.catalog, self.api, table, str(self.number)).run()
            build_indexes(self.api, table)
        promotion.promote(self.api, self.tables, str(self.number), number=self.number, judge=accept_all)
        promotion.drop_leftovers(self.api, self.tables)
        self.horizon = began

    def incremental(self, most=1000, accept=True, why=str):
        following = horizon(self.catalog)
        applied = self.apply(self.copy(most), accept, why)
        promotion.drop_leftovers(self.api, self.tables)
        self.horizon = following
        return applied

    def copy(self, most=1000):
        """Copy the changed records, and return the columns that only the API has."""
        self.number += 1
        own = {}
        for table in self.tables:
            if table == "audioset":
                own[table] = TableCopy(self.catalog, self.api, table, str(self.number)).run().own
            else:
                job = ChangesCopy(self.catalog, self.api, table, str(self.number))
                own[table] = job.copy(self.horizon, rejected=[], most=most).own
        return own

    def apply(self, own, accept=True, why=str):
        shapes = {table: shape(self.api, table) for table in self.tables}
        judge = accept_all if accept else refuse_all
        applied = apply_changes(
            self.api, self.tables, self.number, own, expected=shapes, judge=judge, why=why
        )
        assert {table: shape(self.api, table) for table in self.tables} == shapes
        # An attempt that was ended before it could report the numbers leaves them to the next one.
        assert apply_changes(self.api, self.tables, self.number, own, expected=shapes) == applied
        return applied

    def expected(self, table):
        """Return the rows that a full refresh would make, without the ids of new ones."""
        job = TableCopy(self.catalog, self.api, table, "expected")
        job.run()
        build_indexes(self.api, table)
        rows = self.rows(f"temp_import_{table}")
        promotion.drop_leftovers(self.api, [table])
        return rows

    def rows(self, table):
        query = sql.SQL("select to_jsonb(t) - 'id' from {} t").format(sql.Identifier("public", table))
        return sorted(map(str, (row for (row,) in self.api.execute(query))))


@pytest.fixture
def image(filled):  # noqa: F811 - the fixture
    catalog, api = filled
    found = Refreshes(catalog, api)
    found.refill()
    found.full()
    return found


@pytest.fixture
def audio(filled):  # noqa: F811 - the fixture
    catalog, api = filled
    found = Refreshes(catalog, api, "audio")
    found.refill()
    found.full()
    return found


def ids(api, table="image"):
    return dict(api.execute(f"select identifier, id from {table}").fetchall())


def changed(refreshes, *statements, api=()):
    """Change the catalog and the API's tables by SQL, refresh, and compare with a full refresh."""
    for statement in statements:
        refreshes.catalog.execute(statement)
    for statement in api:
        refreshes.api.execute(statement)
    before = ids(refreshes.api)
    applied = refreshes.incremental()["image"]
    assert refreshes.rows("image") == refreshes.expected("image")
    after = ids(refreshes.api)
    assert {key: after[key] for key in before.keys() & after.keys()} == {
        key: before[key] for key in before.keys() & after.keys()
    }
    return applied


NEW = """
    insert into image (identifier, created_on, updated_on, provider, foreign_identifier, foreign_landing_url,
                       url, license, title, removed_from_source)
    select gen_random_uuid(), now(), now(), provider, foreign_identifier || '-{0}', foreign_landing_url,
           url || '?{0}', license, 'new {0}', false from image where title not like 'new %' limit {1}
"""
FIRST = "(select identifier from image order by identifier limit {})"
LATER = "(select identifier from image order by identifier offset {} limit {})"
LAST = "(select identifier from image order by identifier desc limit 1)"


def test_values_that_are_too_long_for_an_index(image):
    """Of a new record and of a known one, as in a full refresh."""
    image.catalog.execute(
        "insert into image select (jsonb_populate_record(i, jsonb_build_object('identifier', "
        "gen_random_uuid(), 'url', i.url || '/new', 'foreign_identifier', %s::text))).* from image i limit 1",
        [LONG],
    )
    image.catalog.execute(
        "update image set foreign_identifier = %s, updated_on = now() where identifier ="
        " (select identifier from image where foreign_identifier <> %s limit 1)",
        [LONG[::-1], LONG],
    )
    assert changed(image).deleted == 1


def test_nothing_changed(image):
    applied = changed(image)
    assert (applied.inserted, applied.updated, applied.deleted) == (0, 0, 0)


def test_changes_by_anybody_are_found(image):
    """New, changed and deleted rows, without any date being set."""
    applied = changed(
        image,
        f"delete from image where identifier in {LATER.format(20, 3)}",
        f"update image set title = gen_random_uuid() where identifier in {FIRST.format(5)}",
        NEW.format(uuid.uuid4().hex, 7),
    )
    assert (applied.inserted, applied.updated, applied.deleted) == (7, 5, 3)
    assert changed(image).updated == 0


UNLISTED = """
    delete from image where identifier in (
        select identifier from image where id not in (select image_id from imagelist_images)
         order by identifier desc limit 4)
"""
KEYS_OF_ONE_DATABASE = {
    "deleted from the catalog": (
        [f"delete from image where identifier in {LATER.format(20, 30)}"],
        [],
        (0, 0, 30),
    ),
    "deleted from the API's table": ([], [UNLISTED], (4, 0, 0)),
    "inserted into the API's table": (
        [],
        [
            """
            insert into image (identifier, created_on, updated_on, url, provider, foreign_identifier,
                               foreign_landing_url, license, removed_from_source, view_count)
            select gen_random_uuid(), now(), now(), url || '?' || id, provider, foreign_identifier || id,
                   foreign_landing_url, license, false, 0 from image limit 3
            """
        ],
        (0, 0, 3),
    ),
    "moderated and not in the catalog": (
        [f"delete from image where identifier in {FIRST.format(2)}"],
        [
            """
            insert into api_deletedimage
            select now(), now(), identifier from image order by identifier limit 2
            """
        ],
        (0, 0, 2),
    ),
    "of both kinds": (
        [f"delete from image where identifier in {LATER.format(10, 3)}", NEW.format("k", 3)],
        [UNLISTED],
        (7, 0, 3),
    ),
}


@pytest.mark.parametrize("few", [True, False], ids=["looked up", "read at once"])
@pytest.mark.parametrize("what", KEYS_OF_ONE_DATABASE)
def test_keys_that_one_database_has(image, what, few, monkeypatch):
    """Few keys are looked up in the catalog one by one; of many, the groups that differ are read."""
    if not few:
        monkeypatch.setattr(key_groups.KeyComparison, "_look_up", lambda _: False)
    monkeypatch.setattr(key_groups, "MIN_GROUPS", 32)  # several of 120 keys are in one group
    catalog, api, expected = KEYS_OF_ONE_DATABASE[what]
    applied = changed(image, *catalog, api=api)
    assert (applied.inserted, applied.updated, applied.deleted) == expected


def test_deletions_are_found_without_reading_the_catalogs_keys_again(image, monkeypatch):
    """Whatever moderators have deleted, new records and rejected ones: none of them makes a group differ."""
    monkeypatch.setattr(key_groups.KeyComparison, "_compare", lambda *_: pytest.fail("reads all keys again"))
    image.api.execute("insert into api_deletedimage select now(), now(), gen_random_uuid()")
    image.catalog.execute(f"delete from image where identifier in {LATER.format(40, 9)}")
    image.catalog.execute(NEW.format("n", 5))
    applied = image.incremental()["image"]
    assert (applied.inserted, applied.deleted) == (5, 9)


def test_a_transaction_that_was_open_during_a_refresh(image, pair):  # noqa: F811 - the fixture
    """Its number is lower than those of transactions that the refresh has seen."""
    with psycopg.connect(pair[0]) as other:
        other.execute(f"update image set title = gen_random_uuid() where identifier in {FIRST.format(1)}")
        changed(image, f"update image set title = gen_random_uuid() where identifier in {LATER.format(8, 2)}")
    assert changed(image).updated == 1


def test_changes_during_the_copy_are_left_to_the_next_refresh(image, pair, monkeypatch):  # noqa: F811
    """All changes are read in one snapshot, whatever is committed meanwhile."""
    find = changes.find_changes

    def found(*arguments, **options):
        number = find(*arguments, **options)
        with psycopg.connect(pair[0]) as other:
            other.execute(f"delete from image where identifier in {LATER.format(8, 1)}")
            other.execute(NEW.format(uuid.uuid4().hex, 2))
        return number

    monkeypatch.setattr(changes_copy, "find_changes", found)
    image.catalog.execute(
        f"update image set title = gen_random_uuid() where identifier in {LATER.format(8, 2)}"
    )
    applied = image.incremental()["image"]
    assert (applied.inserted, applied.updated, applied.deleted) == (0, 2, 0)
    monkeypatch.undo()
    applied = changed(image)
    assert (applied.inserted, applied.updated, applied.deleted) == (2, 0, 1)


@pytest.mark.parametrize("column", ["url", "foreign_identifier"])
def test_records_exchange_a_unique_value(image, column):
    changed(image, f"update image set provider = 'one' where identifier in {FIRST.format(2)}")
    query = f"select identifier, {column} from image order by identifier limit 2"
    (first, its), (second, other) = image.catalog.execute(query).fetchall()
    applied = changed(
        image,
        f"update image set {column} = 'between' where identifier = '{first}'",
        f"update image set {column} = '{its}' where identifier = '{second}'",
        f"update image set {column} = '{other}' where identifier = '{first}'",
    )
    assert applied.updated == 2


def test_an_identifier_is_changed(image):
    applied = changed(image, f"update image set identifier = gen_random_uuid() where identifier in {LAST}")
    assert (applied.inserted, applied.deleted) == (1, 1)


def test_the_api_s_rows_are_changed(image):
    """Edits and deletions in the API's table are undone; moderation and columns of the API stay."""
    unlisted = (
        "(select identifier from image where id not in (select image_id from imagelist_images) limit 2)"
    )
    deleted = f"delete from image where identifier in {unlisted}"
    changed(
        image,
        api=(
            f"update image set title = 'edited', view_count = 7 where identifier in {FIRST.format(4)}",
            deleted,
            f"""
            with taken as ({deleted} returning identifier)
            insert into api_deletedimage (created_on, updated_on, identifier)
            select now(), now(), identifier from taken
            """,
        ),
    )
    assert image.api.execute("select count(*) from image where view_count = 7").fetchone() >= (4,)
    back = changed(image, api=("delete from api_deletedimage where created_on > now() - interval '1 hour'",))
    assert back.inserted == 2


def test_lists_lose_the_entries_of_deleted_media(image):
    image.api.execute("""
        insert into imagelist_images (imagelist_id, image_id)
        select (select min(id) from imagelist), id from image on conflict do nothing
    """)
    applied = changed(image, f"delete from image where identifier in {LAST}")
    assert applied.deleted == 1
    assert sum(applied.orphans.values()) >= 1


SETS = (
    # a set that is new, one that loses its last file, one whose title changes, one that is renamed
    "update audio set audio_set_foreign_identifier = 'new', audio_set = {new} where identifier in {first}",
    """
    delete from audio where audio_set_foreign_identifier =
        (select max(audio_set_foreign_identifier) from audio)
    """,
    """
    update audio set audio_set = audio_set || '{{"title": "Other"}}' where audio_set_foreign_identifier =
        (select min(audio_set_foreign_identifier) from audio)
    """,
    """
    update audio set audio_set_foreign_identifier = 'renamed' where audio_set_foreign_identifier =
        (select min(audio_set_foreign_identifier) from audio)
    """,
)


@pytest.mark.parametrize("statement", SETS)
def test_audio_sets(audio, statement):
    new = """jsonb_build_object('foreign_identifier', 'new', 'title', 'New', 'url', 'https://new.example.org')"""
    audio.catalog.execute(statement.format(new=new, first=FIRST.format(2).replace("image", "audio")))
    applied = audio.incremental()
    assert sum(one.inserted + one.updated + one.deleted for one in applied.values()) > 0
    for table in audio.tables:
        TableCopy(audio.catalog, audio.api, table, "expected").run()
    expected = {table: audio.rows(f"temp_import_{table}") for table in audio.tables}
    promotion.drop_leftovers(audio.api, audio.tables)
    assert {table: audio.rows(table) for table in audio.tables} == expected
    assert all(one == type(one)() for one in audio.incremental().values())


@pytest.mark.parametrize(
    "unique", ["(lower(creator))", "(creator, license)", "(creator) where license = 'by'"]
)
def test_unique_indexes_that_only_the_api_has(image, unique):
    """Of several records with one value, the same one is kept as by a full refresh."""
    others = "identifier not in (select identifier from image order by identifier limit 4)"
    image.catalog.execute("update image set creator = identifier::text, license = 'by'")
    image.full()
    image.api.execute(f"create unique index only_here on image {unique}")
    first, second, third = (key for (key,) in image.catalog.execute(FIRST.format(3)))
    same = "update image set creator = 'The Same' where identifier = '{}'"
    changed(image, same.format(second))
    changed(image, same.format(first))  # which has a smaller identifier
    changed(image, same.format(third))  # which has a greater one, so it takes the place of the second
    changed(image, NEW.format("n", 1), "update image set creator = 'The Same' where title like 'new n%'")
    changed(image, f"update image set creator = 'Another' where identifier = '{third}'")
    changed(image, f"delete from image where identifier = '{second}' or creator = 'none' and {others}")


def test_writes_to_the_api_s_table_during_a_refresh_are_found_by_the_next(image, monkeypatch):
    find = changes.find_changes

    def found(*arguments, **options):
        number = find(*arguments, **options)
        with psycopg.connect(image.api.info.dsn, password=image.api.info.password) as other:
            other.execute(f"update image set title = 'late' where identifier in {LATER.format(8, 2)}")
        return number

    monkeypatch.setattr(changes_copy, "find_changes", found)
    image.incremental()
    monkeypatch.undo()
    assert changed(image).updated == 2


def test_media_that_moderators_list_without_deleting_them(image):
    """Before a refresh, and between its copy and its end."""
    listing = """
        insert into api_deletedimage (created_on, updated_on, identifier)
        select now(), now(), identifier from image
         where id not in (select image_id from imagelist_images) limit 2
    """
    assert changed(image, api=(listing,)).deleted == 2
    assert changed(image, api=(listing,)).deleted == 2


def test_many_records_with_one_value_are_refused(image):
    image.catalog.execute("update image set creator = identifier::text")
    image.full()
    image.api.execute("create unique index only_here on image (lower(creator))")
    image.catalog.execute(
        "update image set creator = 'same' where identifier in (select identifier from image limit 60)"
    )
    with pytest.raises(Fatal, match=r"unique index only_here of image: .* records have the same values"):
        image.incremental()


def test_a_refresh_that_would_remove_much_is_refused(image):
    """As by a full refresh: the rows stay, until somebody accepts the loss."""
    before = image.rows("image")
    image.catalog.execute("delete from image where identifier in (select identifier from image limit 100)")
    image.catalog.execute(f"update image set title = gen_random_uuid() where identifier in {FIRST.format(2)}")
    with pytest.raises(
        Fatal, match=r"suspiciously many records would be lost: image: \d+ rows, \d+ are live"
    ):
        image.incremental(accept=False)
    assert image.rows("image") == before
    assert image.incremental()["image"].deleted >= 90


@pytest.mark.parametrize(
    "loss",
    ["delete from image", "update image set identifier = gen_random_uuid()"],
    ids=["deleted", "replaced by others"],
)
def test_a_source_that_loses_its_records_is_refused(image, monkeypatch, loss):
    monkeypatch.setattr(loss_limits, "SOURCE_SIZE", 10)
    monkeypatch.setattr(loss_limits, "TOTAL", 0.9)
    (source, rows) = image.api.execute(
        "select source, count(*) from image group by 1 having count(*) >= 10 order by 2 limit 1"
    ).fetchone()
    image.catalog.execute(f"{loss} where source = %s", [source])
    with pytest.raises(Fatal, match=f"image: 0 rows of {source}, {rows} are live"):
        image.incremental(accept=False)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            "set removed_from_source = true where identifier in (select identifier from image limit 100)",
            "rows",
        ),
        ("set source = 'renamed' where source = 'flickr'", "0 rows of flickr"),
    ],
)
def test_records_that_updates_hide_are_counted_as_lost(image, monkeypatch, change, match):
    """They stay in the table, but searches do not find them any more, or not in their source."""
    monkeypatch.setattr(loss_limits, "SOURCE_SIZE", 5)
    before = image.rows("image")
    image.catalog.execute(f"update image {change}")
    with pytest.raises(Fatal, match=f"suspiciously many records would be lost: .*{match}"):
        image.incremental(accept=False)
    assert image.rows("image") == before
    assert image.incremental()["image"].updated >= 5


def test_the_refusal_says_why_records_are_missing(image, monkeypatch):
    monkeypatch.setattr(loss_limits, "SOURCE_SIZE", 5)
    image.catalog.execute("delete from image where identifier in (select identifier from image limit 10)")
    image.catalog.execute(
        "update image set removed_from_source = true"
        " where identifier in (select identifier from image where not removed_from_source limit 90)"
    )
    with pytest.raises(
        Fatal,
        match=r"are live; image: \d+ records are deleted; image: 90 records are marked as removed from their "
        r"source.*\. Because of this\. The old tables are live",
    ):
        image.incremental(accept=False, why=lambda: "Because of this.")


def test_a_small_loss_of_a_small_table_is_refused(image):
    image.catalog.execute("delete from image where identifier in (select identifier from image limit 30)")
    with pytest.raises(
        Fatal, match=r"suspiciously many records would be lost: image: \d+ rows, \d+ are live"
    ):
        image.incremental(accept=False)


SWAPS = {
    "providers of one foreign identifier": (
        "",
        "update image set foreign_identifier = '77' where identifier in ({a}, {b})",
        (
            "update image set provider = 'x' where identifier = {a};"
            "update image set provider = (select provider from before where identifier = {a})"
            " where identifier = {b};"
            "update image set provider = (select provider from before where identifier = {b})"
            " where identifier = {a}"
        ),
    ),
    "URLs that must have a form": (
        "alter table image add constraint form check (url like 'http%')",
        "select 1",
        (
            "update image set url = 'https://x' where identifier = {a};"
            "update image set url = (select url from before where identifier = {a}) where identifier = {b};"
            "update image set url = (select url from before where identifier = {b}) where identifier = {a}"
        ),
    ),
    "values that are unique only in the API": (
        "create unique index landing on image (foreign_landing_url)",
        "select 1",
        (
            "update image i set foreign_landing_url = b.foreign_landing_url from before b"
            " where (i.identifier, b.identifier) in (({a}, {b}), ({b}, {a}))"
        ),
    ),
}


@pytest.mark.parametrize("what", SWAPS)
def test_two_records_exchange_unique_values(image, what):
    api, prepare, change = SWAPS[what]
    (one,), (two,) = image.catalog.execute(
        "select quote_literal(min(identifier::text)) || '::uuid' from image"
        " where provider in (select provider from image group by 1 order by count(*) desc limit 2)"
        " group by provider"
    ).fetchall()
    for statement in ("drop index if exists landing", "alter table image drop constraint if exists form"):
        image.api.execute(statement)
    try:
        image.api.execute(api) if api else None
        image.catalog.execute(prepare.format(a=one, b=two))
        image.full()
        image.catalog.execute("create temporary table before as table image")
        image.catalog.execute(change.format(a=one, b=two))
        assert image.incremental()["image"].updated == 2
        assert image.rows("image") == image.expected("image")
    finally:
        image.catalog.execute("drop table if exists before")
        image.api.execute("drop index if exists landing")
        image.api.execute("alter table image drop constraint if exists form")


def test_many_orphans_are_refused(image, monkeypatch):
    monkeypatch.setattr(loss_limits, "TOTAL", 0.9)
    image.api.execute("""
        insert into imagelist_images (imagelist_id, image_id)
        select (select min(id) from imagelist), id from image on conflict do nothing
    """)
    image.catalog.execute("delete from image where identifier in (select identifier from image limit 30)")
    with pytest.raises(Fatal, match="rows of imagelist_images refer to missing media"):
        image.incremental(accept=False)


@pytest.mark.parametrize("media_type", ["image", "audio"])
def test_tables_that_somebody_emptied_are_filled_again(request, media_type):
    refreshes = request.getfixturevalue(media_type)
    for table in refreshes.tables:
        refreshes.api.execute(f"truncate {table} cascade")
    applied = refreshes.incremental(accept=False)
    assert applied[media_type].inserted == len(refreshes.rows(media_type)) > 0
    assert refreshes.rows(media_type) == refreshes.expected(media_type)


def test_too_many_changes(image):
    image.catalog.execute("update image set title = title")
    with pytest.raises(TooManyChanges, match="more than 50 records have changed"):
        image.incremental(most=50)


def test_far_too_many_changes_are_seen_in_a_sample(image, monkeypatch):
    """A catalog that was changed as a whole is not read as a whole, and no more changes are counted."""
    image.catalog.execute("update image set title = title")
    image.catalog.execute("analyze image")
    pages = value(image.catalog, "select relpages from pg_class where relname = 'image'")
    monkeypatch.setattr(changes, "SAMPLE", pages - 1)
    monkeypatch.setattr(key_groups.KeyComparison, "read_catalog", lambda *_: pytest.fail("reads all keys"))
    with pytest.raises(TooManyChanges, match="more than 10 records have changed"):
        image.incremental(most=10)


# Statements for the catalog and for the API's tables; `{n}` and `{u}` choose rows and values.
WRITES = [
    ("catalog", NEW.format("{n}-{u}", 3)),
    ("catalog", f"update image set title = gen_random_uuid() where identifier in {LATER.format('{n}', 3)}"),
    (
        "catalog",
        f"update image set meta_data = null, tags = '[]' where identifier in {LATER.format('{n}', 2)}",
    ),
    ("catalog", f"update image set removed_from_source = true where identifier in {LATER.format('{n}', 1)}"),
    ("catalog", f"update image set width = null where identifier in {LATER.format('{n}', 2)}"),
    ("catalog", f"delete from image where identifier in {LATER.format('{n}', 2)}"),
    (
        "catalog",
        f"update image set identifier = gen_random_uuid() where identifier in {LATER.format('{n}', 1)}",
    ),
    ("catalog", f"update image set url = url || '{{u}}' where identifier in {LATER.format('{n}', 1)}"),
    ("catalog", f"update image set creator = repeat('x', 3000) where identifier in {LATER.format('{n}', 1)}"),
    ("catalog", "vacuum freeze image"),
    ("api", f"update image set view_count = view_count + 1 where identifier in {LATER.format('{n}', 9)}"),
    ("api", f"update image set title = 'edited' where identifier in {LATER.format('{n}', 2)}"),
    (
        "api",
        f"""
        with taken as (
            delete from image where identifier in {LATER.format("{n}", 3)}
               and id not in (select image_id from imagelist_images) returning identifier
        )
        insert into api_deletedimage (created_on, updated_on, identifier)
        select now(), now(), identifier from taken on conflict do nothing
        """,
    ),
    (
        "api",
        "delete from api_deletedimage where identifier in (select identifier from api_deletedimage limit 1)",
    ),
    ("api", "vacuum image"),
]
HISTORY = st.lists(st.tuples(st.sampled_from(range(len(WRITES))), st.integers(0, 60)), max_size=8)


@settings(
    max_examples=int(os.environ.get("HISTORIES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=HISTORY)
def test_any_history_ends_as_a_full_refresh_would(image, history):
    # The records of earlier histories, of which only few may be rejected.
    image.catalog.execute("update image set creator = 'nobody' where length(creator) > 2000")
    for write, number in history:
        where, statement = WRITES[write]
        text = statement.replace("{n}", str(number)).replace("{u}", uuid.uuid4().hex[:8])
        (image.catalog if where == "catalog" else image.api).execute(text)
    changed(image)
