"""All operations work on rows of an adopted catalog with unusual values, and lose none of them."""

import uuid

import psycopg
import pytest

from catalog.core.licenses import CC0
from catalog.core.media import MediaType
from catalog.data_refresh.search.indexing import RangeIndexer, find_count_mismatches, ranges
from catalog.data_refresh.search.tag_policy import DEFAULT
from catalog.data_refresh.tables import promotion
from catalog.data_refresh.tables.catch_up import catch_up
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.database.adoption import adopt
from catalog.database.batched_update import BatchedUpdate
from catalog.database.deletion import Deletion, preview, restore
from catalog.database.license_urls import groups
from catalog.database.refusals import accept_all
from catalog.database.statements import parse_condition, parse_update, verify
from catalog.ingestion.records import Audio, AudioFile, AudioSet, Image
from catalog.popularity import popularity
from catalog.tests.conftest import database_of_its_own
from catalog.tests.data_refresh.indexes import make as make_index
from catalog.tests.database.generations import clutter, fill, make
from catalog.tests.database.next_release import NextRelease
from catalog.tests.loading.loader import Loader

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
ROWS = 1500
MEDIA: tuple[MediaType, ...] = ("image", "audio")


@pytest.fixture(scope="module", params=[("2022", False), ("October 2023", False), ("2024", True)], ids=str)
def template(server, request, tmp_path_factory):
    """Return the name of an adopted database, with this release's schema or the next one's."""
    generation, migrated = request.param
    dsn = database_of_its_own(server, "template0")
    with psycopg.connect(dsn, autocommit=True) as connection:
        make(connection, generation)
        for media in MEDIA:
            fill(connection, media, ROWS)
        clutter(connection)
    adopt(dsn)
    if migrated:
        assert NextRelease(tmp_path_factory.mktemp("next")).run("db", "upgrade", dsn=dsn)[0] == 0
    return dsn.rpartition("/")[2]


@pytest.fixture
def old_dsn(server, template):
    return database_of_its_own(server, template)


@pytest.fixture
def old(old_dsn):
    with psycopg.connect(old_dsn, autocommit=True) as connection:
        yield connection


def contents(connection, table, without=()):
    left_out = list(without)
    return dict(
        connection.execute(
            f"select identifier, to_jsonb(t) - %s::text[] from {table} t", [left_out]
        ).fetchall()
    )


def apply(connection, update, key):
    verify(connection, update)
    job = BatchedUpdate(connection, key, key, update, pause=0)
    progress = job.run(job.claim() or job.select())
    job.finish()
    return progress


def object_of(value: object) -> dict[str, object]:
    """Return the object that migration 0005 makes of a stored value."""
    if isinstance(value, dict):
        return value
    merged: dict[str, object] = {}
    for element in value if isinstance(value, list) else []:
        merged |= element if isinstance(element, dict) else {}
    return merged


def stripped(value):
    """Remove keys whose value is null, at any depth."""
    return {k: stripped(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def record(media: MediaType, foreign_identifier: str) -> Image | Audio:
    """Return a record with new values in all fields that a load merges."""
    page, url = "https://example.org/page", f"https://example.org/{uuid.uuid4()}"
    if media == "image":
        return Image(
            foreign_identifier=foreign_identifier,
            foreign_landing_url=page,
            url=url,
            license=CC0,
            meta_data={"new": "1"},
            tags=["new"],
            title="New",
            creator="New",
        )
    return Audio(
        foreign_identifier=foreign_identifier,
        foreign_landing_url=page,
        url=url,
        license=CC0,
        meta_data={"new": "1"},
        tags=["new"],
        title="New",
        creator="New",
        audio_set=AudioSet(foreign_identifier="new", title="New"),
        genres=["new"],
        alt_files=[AudioFile(url="https://example.org/new.ogg")],
    )


@pytest.mark.parametrize("media", MEDIA)
def test_a_load_updates_each_row(old, old_dsn, tmp_path, media):
    load = Loader(old_dsn, tmp_path)
    found = old.execute(
        f"select provider, foreign_identifier, identifier, meta_data from {media} "
        "where provider is not null and foreign_identifier is not null"
    ).fetchall()
    before = {identifier: meta for _, _, identifier, meta in found}
    for provider in {provider for provider, *_ in found}:
        records = [record(media, fid) for other, fid, *_ in found if other == provider]
        if not provider:  # an empty text; our providers all have a name
            continue
        first = load(records, provider=provider, media_type=media)
        assert (first.updated, first.inserted, first.rejected) == (len(records), 0, {})
        assert load(records, provider=provider, media_type=media).unchanged == len(records)
    for identifier, meta, tags in old.execute(
        f"select identifier, meta_data, tags from {media} "
        "where provider <> '' and foreign_identifier is not null"
    ):
        kept = {
            k: v
            for k, v in stripped(object_of(before[identifier])).items()
            if k not in ("new", "license_url")
        }
        assert {"new": "1", **kept}.items() <= meta.items()
        assert "new" in {tag["name"] for tag in tags if isinstance(tag, dict) and "name" in tag}


@pytest.mark.parametrize("media", MEDIA)
def test_a_batched_update_of_each_row(old, media):
    before = contents(old, media, ["title"])
    progress = apply(old, parse_update(media, "SET title = left(title, 10)", "WHERE true"), "titles")
    assert (progress.updated, progress.missing) == (len(before), 0)
    assert contents(old, media, ["title"]) == before


@pytest.mark.parametrize("media", MEDIA)
def test_a_deletion_of_each_row_and_its_restoration(old, media):
    score = ["standardized_popularity"]
    before, gone_before = contents(old, media, score), contents(old, f"deleted_{media}")
    condition = parse_condition(media, "WHERE true")
    assert preview(old, media, condition).rows == len(before)
    job = Deletion(old, "run", media, condition, "to try it", pause=0)
    assert job.run(job.claim() or job.select()).updated == len(before)
    job.finish()
    assert old.execute(f"select count(*) from {media}").fetchone() == (0,)
    assert len(contents(old, f"deleted_{media}")) == len(before) + len(gone_before)
    back = restore(
        old, media, parse_condition(media, "WHERE deleted_reason = 'to try it'", "--where"), pause=0
    )
    assert (back.updated, back.missing) == (len(before), 0)
    assert contents(old, media, score) == before
    assert contents(old, f"deleted_{media}") == gone_before
    # also what the older catalog had deleted
    restored = restore(old, media, parse_condition(media, "WHERE true", "--where"), pause=0)
    assert (restored.updated, restored.missing) == (len(gone_before), 0)


@pytest.mark.parametrize("media", MEDIA)
def test_popularity(old, media):
    before = contents(old, media, ["standardized_popularity", "updated_on"])
    providers = popularity.update_metrics(old, media)
    assert providers
    for provider in providers:
        popularity.refresh_constant(old, media, provider, 60)
    for metric in popularity.due(old, media, providers, force=True):
        conf = popularity.update_conf(media, metric.provider)
        apply(old, parse_update(media, conf["update_query"], conf["select_query"]), conf["query_id"])
        popularity.note_refreshed(old, media, metric.provider, 60)
    assert popularity.due(old, media, providers) == []
    assert contents(old, media, ["standardized_popularity", "updated_on"]) == before
    scores = old.execute(
        f"select count(*), count(*) filter (where standardized_popularity between 0 and 1) from {media} "
        "where provider = any(%s) and standardized_popularity is not null",
        [providers],
    ).fetchone()
    assert scores[0] == scores[1] > 0


def test_license_urls(old):
    touched = ["meta_data", "updated_on", "license"]
    before, metas = (
        contents(old, "image", touched),
        dict(old.execute("select identifier, meta_data from image")),
    )
    changed = sum(apply(old, group.update(), group.query_id).updated for group in groups(old) if group.url)
    assert changed
    assert contents(old, "image", touched) == before
    for identifier, meta in old.execute("select identifier, meta_data from image"):
        was = metas[identifier]
        if meta != was:
            assert meta.pop("license_url")
            assert meta == {k: v for k, v in object_of(was).items() if k != "license_url"}
            assert not isinstance(was, (str, int))
    assert [group for group in groups(old) if group.url and group.rows > group.left] == []


def test_a_refresh_and_its_documents(old, api, search):
    for table in ("image", "audioset", "audio"):
        copied = TableCopy(old, api, table, "run").run()
        build_indexes(api, table)
        catch_up(api, table)
        assert copied.rows
    promotion.promote(api, ["image", "audioset", "audio"], "run", number=1, judge=accept_all)
    for media in MEDIA:
        rows = dict(api.execute(f"select identifier, meta_data from {media}").fetchall())
        there = dict(old.execute(f"select identifier, meta_data from {media}").fetchall())
        assert rows.items() <= there.items()
        assert len(there) - len(rows) <= len(there) // 100  # texts that are wider than the API's columns
        index = f"{media}-old"
        make_index(search, index, media)
        parts = ranges(api, media, 1)
        done = [RangeIndexer(api, search, index, media, media, DEFAULT, part).run() for part in parts]
        search.refresh(index)
        assert sum(d.documents for d in done) > len(rows) * 0.9
        assert (
            find_count_mismatches(
                api, search, index, media, parts, rejected=[sum(d.rejected.values()) for d in done]
            )
            == []
        )
