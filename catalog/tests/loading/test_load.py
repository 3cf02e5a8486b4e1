"""TSV parts into a real PostgreSQL: merging, classifying, rejecting, reporting, repeating."""

import threading
from datetime import UTC, datetime, timedelta

import msgspec
import orjson
import psycopg
import pytest
from psycopg import sql
from upath import UPath

from catalog.core.columns import COLUMNS
from catalog.core.errors import Fatal, Interrupted
from catalog.core.session import interruptible
from catalog.database import schema
from catalog.database.deletion import Deletion, restore
from catalog.database.statements import parse_condition
from catalog.ingestion.completeness import Expectations
from catalog.ingestion.parts import Counts, Manifest
from catalog.ingestion.reasons import ALTERED, DELETED, SEEN, SUPERSEDED, SUPPRESSED, URL_TAKEN
from catalog.ingestion.records import AudioSet
from catalog.loading.load import Load
from catalog.loading.report import LoadKey, LoadReport
from catalog.loading.statements import Statements, from_file
from catalog.tests.conftest import database_of_its_own
from catalog.tests.database.media import change_back, change_back_after, suppress
from catalog.tests.database.test_schema import upgrade_to
from catalog.tests.loading.loader import Loader, audio, delete, image, jpg, outcome

pytestmark = pytest.mark.database
FILES = ("https://example.org/1.ogg", "https://example.org/2.flac")


def row(catalog, number, table="image"):
    with catalog.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute(
            f"select * from {table} where foreign_identifier = %s", [f"id{number}"]
        ).fetchone()


def test_new_changed_unchanged(load, catalog):
    first = load([image(1, title="one"), image(2, title="two"), image(3)])
    assert outcome(first) == (3, 0, 0, 0, 0)
    before = {n: row(catalog, n) for n in (1, 2, 3)}
    second = load([image(1, title="one"), image(2, title="zwei"), image(3), image(4)])
    assert outcome(second) == (1, 1, 2, 0, 0)
    after = {n: row(catalog, n) for n in (1, 2, 3)}
    assert after[1] == before[1]
    assert after[3] == before[3]
    assert after[2]["title"] == "zwei"
    assert after[2]["created_on"] == before[2]["created_on"]
    assert after[2]["updated_on"] > before[2]["updated_on"]
    assert after[2]["last_synced_with_source"] > before[2]["last_synced_with_source"]
    assert after[2]["identifier"] == before[2]["identifier"]


def test_a_load_that_is_stopped_leaves_nothing_and_is_repeated(load, catalog, dsn, monkeypatch):
    """Its INSERT waits for a lock here, for ever."""
    run, records = Load.run, [image(1), image(2)]

    def stopped(job):
        with interruptible(job._connection, lambda: True):
            return run(job)

    with psycopg.connect(dsn) as other, monkeypatch.context() as patch:
        other.execute("lock table image in share mode")
        patch.setattr(Load, "run", stopped)
        with pytest.raises(Interrupted, match="the statement was cancelled"):
            load(records, run_id="run", token="token")
    left = "select count(*) from pg_class where relname ~ '^loading_' union all select count(*) from %s"
    assert catalog.execute(left % "ingestion_report").fetchall() == [(0,), (0,)]
    assert outcome(load(records, run_id="run", token="token")) == (2, 0, 0, 0, 0)


def test_null_never_overwrites(load, catalog):
    load([image(1, title="kept", creator="kept", width=5, meta_data={"a": "1", "b": "2"}, tags=["x"])])
    assert outcome(load([image(1)])) == (0, 0, 1, 0, 0)
    assert outcome(load([image(1, meta_data={"a": "9", "c": None})])) == (0, 1, 0, 0, 0)
    found = row(catalog, 1)
    assert (found["title"], found["creator"], found["width"], found["tags"][0]["name"]) == (
        "kept",
        "kept",
        5,
        "x",
    )
    assert {k: found["meta_data"].get(k) for k in "abc"} == {"a": "9", "b": "2", "c": None}
    assert "c" not in found["meta_data"]
    assert outcome(load([image(1, meta_data={"a": "9", "c": None})])) == (0, 0, 1, 0, 0)


def album(key, **fields):
    return AudioSet(title=key, foreign_identifier=key, **fields)


PAGE = "https://example.org/page"
FILE_OF_IMAGE = {"thumbnail": "https://example.org/s.jpg", "filesize": 9, "width": 5, "height": 6}
FILE_OF_AUDIO = {"filesize": 9, "duration": 5, "bit_rate": 6, "sample_rate": 7}
SET = {"audio_set": album("A", foreign_landing_url=PAGE), "set_position": 3}
SAME_FILE = {"url": "http://example.org/same.jpg"}
OTHER_FILE = {"url": "https://example.org/other"}


@pytest.mark.parametrize(
    ("record", "stored", "brought", "kept"),
    [
        (image, {"creator": "A", "creator_url": PAGE}, {"title": "t"}, True),
        (image, {"creator": "A", "creator_url": PAGE}, {"creator": "A", "title": "t"}, True),
        (image, {"creator": "A", "creator_url": PAGE}, {"creator": "B"}, False),
        (image, {"creator_url": PAGE}, {"creator": "B"}, False),
        (image, FILE_OF_IMAGE, {"title": "t"}, True),
        (image, FILE_OF_IMAGE | SAME_FILE, {"url": SAME_FILE["url"].replace("http:", "https:")}, True),
        (image, FILE_OF_IMAGE, OTHER_FILE, False),
        (image, {"filetype": "jpg"}, OTHER_FILE, False),
        (audio, FILE_OF_AUDIO | {"thumbnail": PAGE}, {"title": "t"}, True),
        (audio, FILE_OF_AUDIO | {"filetype": "mp3"}, OTHER_FILE, False),
        (audio, {"thumbnail": PAGE, "creator": "A", "creator_url": PAGE}, OTHER_FILE, True),
        (audio, {"creator": "A", "creator_url": PAGE}, {"creator": "B"}, False),
        (audio, SET, {"title": "t"}, True),
        (audio, SET, {"audio_set": album("A", creator="C")}, True),
        (audio, SET, {"audio_set": album("B")}, False),
    ],
)
def test_null_keeps_nothing_that_describes_another_value(load, catalog, record, stored, brought, kept):
    """Such as the page of another person, the size of another file, or the place in another album."""
    table = record(1).media_type
    load([record(1, **stored)], media_type=table)
    before, new = row(catalog, 1, table), record(1, **brought)
    assert outcome(load([new], media_type=table)) == (0, 1, 0, 0, 0)
    after = row(catalog, 1, table)
    for name in stored.keys() - brought.keys():
        assert before[name] is not None
        assert after[name] == (before[name] if kept else None), name
    if "audio_set" in brought:
        assert after["audio_set"].get("foreign_landing_url") == (PAGE if kept else None)
        assert after["audio_set"].items() >= brought["audio_set"].given().items()
    assert outcome(load([new], media_type=table)) == (0, 0, 1, 0, 0)


def test_tags_of_the_provider_are_replaced_and_machine_tags_stay(load, catalog):
    load([image(1, tags=["old", "both"])])
    machine = {"name": "cat", "provider": "clarifai", "accuracy": 0.95}
    catalog.execute("update image set tags = tags || %s::jsonb", [orjson.dumps([machine]).decode()])
    assert outcome(load([image(1, tags=["both", "old"])])) == (0, 0, 1, 0, 0)  # as sets, nothing changed
    assert outcome(load([image(1, tags=["both", "new"])])) == (0, 1, 0, 0, 0)
    assert [t["name"] for t in row(catalog, 1)["tags"]] == ["both", "new", "cat"]
    assert outcome(load([image(1, tags=["both", "new"])])) == (0, 0, 1, 0, 0)


def test_audio_sets_genres_and_alternatives_are_merged(load, catalog):
    one = audio(
        1,
        genres=["a", "b"],
        alt_files=[{"url": FILES[0]}],
        audio_set=AudioSet(title="Set", creator=None, foreign_identifier="s1"),
    )
    assert outcome(load([one], media_type="audio")) == (1, 0, 0, 0, 0)
    assert outcome(load([one], media_type="audio")) == (0, 0, 1, 0, 0)
    two = audio(
        1,
        genres=["b", "c"],
        alt_files=[{"url": FILES[1]}, {"url": FILES[0]}],
        audio_set=AudioSet(title=None, creator="C", foreign_identifier="s1"),
    )
    assert outcome(load([two], media_type="audio")) == (0, 1, 0, 0, 0)
    found = row(catalog, 1, "audio")
    assert (found["genres"], found["alt_files"]) == (["a", "b", "c"], [{"url": FILES[0]}, {"url": FILES[1]}])
    assert found["audio_set"] == {"title": "Set", "creator": "C", "foreign_identifier": "s1"}
    assert outcome(load([two], media_type="audio")) == (0, 0, 1, 0, 0)
    assert catalog.execute(
        "select foreign_identifier, title, creator, provider from audioset_view"
    ).fetchall() == [("s1", "Set", "C", "example")]


def file(number, **more):
    return {"url": FILES[number], **more}


def files(catalog):
    """Return the stored files with numbers as strings: the encoder chooses how JSON holds them."""
    found = row(catalog, 1, "audio")["alt_files"]
    return [{k: str(v) for k, v in f.items()} if isinstance(f, dict) else f for f in found]


def test_an_alternative_file_is_known_by_its_url(load, catalog):
    """A file whose size changes replaces the stored one; it is not added to it."""

    def loaded(*brought):
        report = load([audio(1, alt_files=list(brought) or None)], media_type="audio")
        return outcome(report), files(catalog)

    big, small = file(0, filesize="9"), file(0, filesize="5")
    assert loaded(big, file(1)) == ((1, 0, 0, 0, 0), [big, file(1)])
    assert loaded(small) == ((0, 1, 0, 0, 0), [small, file(1)])
    assert loaded(file(1), small) == ((0, 0, 1, 0, 0), [small, file(1)])
    assert loaded() == ((0, 0, 1, 0, 0), [small, file(1)])
    assert loaded(file(1, filesize="1"), big) == ((0, 1, 0, 0, 0), [big, file(1, filesize="1")])


def test_two_files_with_one_url_in_one_record(load, catalog):
    """The encoder does not write such lines; a second load finds what the first one stored."""
    fields = load.lines([audio(1)], media_type="audio")[0].rstrip("\n").split("\t")
    both = [file(0, filesize="5"), file(1), file(0, filesize="9")]
    fields[COLUMNS["audio"].index("alt_files")] = orjson.dumps(both).decode()
    lines = ["\t".join(fields) + "\n"]
    assert outcome(load([], lines=lines, media_type="audio")) == (1, 0, 0, 0, 0)
    assert files(catalog) == [file(0, filesize="9"), file(1)]
    assert outcome(load([], lines=lines, media_type="audio")) == (0, 0, 1, 0, 0)


@pytest.mark.parametrize("stored", ["null", "{}", '"text"', "7", "[]", '["text", [1], null, {"name": "x"}]'])
def test_stored_files_of_another_json_type(load, catalog, stored):
    """A value other than an array counts as absent; elements without a URL stay."""
    load([audio(1)], media_type="audio")
    catalog.execute("update audio set alt_files = %s::jsonb", [stored])
    assert outcome(load([audio(1)], media_type="audio")) == (0, 0, 1, 0, 0)
    assert outcome(load([audio(1, alt_files=[file(0)])], media_type="audio")) == (0, 1, 0, 0, 0)
    kept = orjson.loads(stored) if stored.startswith("[") else []
    assert files(catalog) == [*kept, file(0)]
    assert outcome(load([audio(1, alt_files=[file(0)])], media_type="audio")) == (0, 0, 1, 0, 0)


def test_files_that_were_stored_several_times_become_one(load, catalog):
    load([audio(1, alt_files=[file(0)])], media_type="audio")
    grown = orjson.dumps([file(0, filesize=n) for n in range(5)]).decode()
    catalog.execute("update audio set alt_files = %s::jsonb", [grown])
    assert outcome(load([audio(1, alt_files=[file(0)])], media_type="audio")) == (0, 1, 0, 0, 0)
    assert files(catalog) == [file(0)]


def test_a_removed_record_that_comes_again_is_there_again(load, catalog):
    load([image(1)])
    catalog.execute("update image set removed_from_source = true")
    assert outcome(load([image(1)])) == (0, 1, 0, 0, 0)
    assert row(catalog, 1)["removed_from_source"] is False


def test_the_last_of_several_with_one_identifier_is_kept(load, catalog):
    report = load(
        [image(1, title="first"), image(2), image(1, title="last", url="https://example.org/other.jpg")]
    )
    assert outcome(report) == (2, 0, 0, 0, 1)
    assert row(catalog, 1)["title"] == "last"
    assert load.rejects()[0]["reason"] == "duplicate identifier in the batch"
    assert load.rejects()[0]["record"]["title"] == "first"


def test_a_url_has_one_owner(load, catalog):
    load([image(1)], provider="other")
    report = load(
        [
            image(1, foreign_landing_url="https://example.org/mine"),
            image(2),
            image(3, url="https://example.org/2.jpg"),
        ]
    )
    assert outcome(report) == (1, 0, 0, 0, 2)
    assert report.rejected == {"URL belongs to another record": 2}
    assert catalog.execute("select provider, foreign_identifier from image order by 1, 2").fetchall() == [
        ("example", "id2"),
        ("other", "id1"),
    ]


def urls(catalog):
    return dict(catalog.execute("select foreign_identifier, url from image").fetchall())


@pytest.mark.parametrize(
    ("brought", "refused"),
    [
        # The owner keeps its URL.
        ({1: jpg(2)}, {1}),
        # One record takes the URL that another one leaves.
        ({1: jpg("new"), 2: jpg(1)}, set()),
        # Two records exchange their URLs.
        ({1: jpg(2), 2: jpg(1)}, set()),
        # Three records exchange theirs in a ring.
        ({1: jpg(2), 2: jpg(3), 3: jpg(1), 4: jpg(5)}, {4}),
        # Each moves by one, and the last URL is taken.
        ({n: jpg(n + 1) for n in range(1, 5)}, {1, 2, 3, 4}),
        # Each moves by one, and the last URL is free.
        ({n: jpg(n + 1) for n in range(1, 6)}, set()),
        # The record that should move is refused: its new URL belongs to another provider's record.
        ({1: jpg(2), 2: jpg(9)}, {1, 2}),
        # A new record takes the URL that another one leaves.
        ({6: jpg(1), 1: jpg("new")}, set()),
        # Two records bring one URL: one half of the exchange is missing.
        ({6: jpg(2), 1: jpg(2), 2: jpg(1)}, {6, 1, 2}),
    ],
)
def test_records_may_exchange_urls(load, catalog, brought, refused):
    load([image(9)], provider="other")
    load([image(n) for n in range(1, 6)])
    before = urls(catalog)
    report = load([image(n, url=url) for n, url in brought.items()])
    accepted = {f"id{n}": url for n, url in brought.items() if n not in refused}
    assert urls(catalog) == before | accepted
    assert report.rejected == ({"URL belongs to another record": len(refused)} if refused else {})
    assert report.inserted == (6 in brought and 6 not in refused)
    holders = {(r["record"]["foreign_identifier"], r["belongs_to"]["identifier"]) for r in load.rejects()}
    held = dict(catalog.execute("select url, identifier::text from image").fetchall())
    assert holders == {(f"id{n}", held[brought[n]]) for n in refused}
    again = load([image(n, url=brought[n]) for n in brought if n not in refused])
    assert outcome(again) == (0, 0, len(brought) - len(refused), 0, 0)


def test_a_reject_names_the_record_that_holds_its_url(load, catalog):
    """The report explains what that means."""
    load([image(1)], provider="other")
    progress: list[str] = []
    report = load([image(2, url=jpg(1))], progress=progress.append)
    (reject,) = load.rejects()
    identifier = str(catalog.execute("select identifier from image").fetchone()[0])
    assert reject["reason"] == "URL belongs to another record"
    assert reject["belongs_to"] == {
        "identifier": identifier,
        "provider": "other",
        "foreign_identifier": "id1",
    }
    assert "image: 1 rejected, URL belongs to another record. Each of these items has the URL" in progress[-1]
    assert report.advice() == [progress[-1]]
    assert load([image(3)]).advice() == []


def test_deleted_records_stay_deleted_unless_asked_for(load, catalog):
    load([image(1), image(2)])
    delete(catalog, 1)
    report = load([image(1), image(2)])
    assert outcome(report) == (0, 0, 1, 1, 0)
    assert report.skipped == {DELETED: 1}
    assert outcome(load([image(1), image(2)], include_deleted=True)) == (1, 0, 1, 0, 0)


def test_a_deleted_record_under_another_identifier_stays_deleted(load, catalog):
    load([image(1), image(2)])
    delete(catalog, 1)
    again = [image(7, url=jpg(1)), image(8)]
    report = load(again)
    assert outcome(report) == (1, 0, 0, 1, 0)
    assert report.skipped == {DELETED: 1}
    assert load([image(7, url=jpg(1))], provider="other").skipped == {DELETED: 1}
    assert outcome(load(again, include_deleted=True)) == (1, 0, 1, 0, 0)
    assert outcome(load(again)) == (0, 0, 2, 0, 0)  # it is there now


def test_addresses_of_a_set_and_of_other_files_keep_https(load, catalog):
    """So they do not change to and fro, load by load."""

    def record(scheme, **more):
        of = f"{scheme}://example.org"
        return audio(
            1,
            audio_set=album("A", foreign_landing_url=f"{of}/a", creator_url=f"{of}/c", **more),
            alt_files=[{"url": f"{of}/1.ogg", "filetype": "ogg"}],
            meta_data={"page": f"{of}/page"},
        )

    load([record("http")], media_type="audio")
    assert load([record("https")], media_type="audio").updated == 1
    for _ in range(2):
        assert load([record("http")], media_type="audio").unchanged == 1
        assert load([record("https")], media_type="audio").unchanged == 1
    assert load([record("http", creator="C")], media_type="audio").updated == 1
    row = catalog.execute("select audio_set, alt_files, meta_data from audio").fetchone()
    assert "http:" not in str(row)
    assert row[0]["creator"] == "C"


@pytest.mark.parametrize(("deleted", "comes"), [("http", "https"), ("https", "http")])
def test_a_deleted_file_stays_deleted_with_another_scheme(load, catalog, deleted, comes):
    """Adopted catalogs have http where a pull writes https."""
    old, new = (f"{scheme}://files.example.org/1.jpg" for scheme in (deleted, comes))
    load([image(1, url=old), image(2)])
    delete(catalog, 1)
    assert load([image(7, url=new), image(8)]).skipped == {DELETED: 1}
    assert load([image(2, url=new)]).skipped == {DELETED: 1}
    assert load([image(1, url=old)], include_deleted=True).inserted == 1
    assert load([image(1, url=new)]).updated == (comes == "https")  # its own
    assert row(catalog, 1)["url"].startswith("https:")
    assert load([image(7, url=row(catalog, 1)["url"])], include_deleted=True).inserted == 0
    assert load([image(9, url=new + "?size=large")]).inserted == 1


def insecure(record, *names):
    """Return a record of which these addresses have http."""
    return msgspec.structs.replace(
        record, **{n: getattr(record, n).replace("https:", "http:") for n in names}
    )


def test_an_address_does_not_fall_back_to_http(load, catalog):
    """A host that is away for a moment when it is asked whether it has https, changes nothing."""
    names = ("url", "foreign_landing_url", "thumbnail", "creator_url")
    stored = image(1, thumbnail=jpg("small"), creator="c", creator_url="https://example.org/c")
    load([stored])
    before = row(catalog, 1)
    assert outcome(load([insecure(stored, *names)])) == (0, 0, 1, 0, 0)
    assert row(catalog, 1) == before
    titled = msgspec.structs.replace(insecure(stored, *names), title="new")
    assert outcome(load([titled])) == (0, 1, 0, 0, 0)
    assert {n: row(catalog, 1)[n] for n in names} == {n: before[n] for n in names}
    moved = insecure(image(1, url=jpg("moved"), thumbnail=jpg("small")), "url", "thumbnail")
    assert outcome(load([moved])) == (0, 1, 0, 0, 0)
    assert [row(catalog, 1)[n] for n in names[:3]] == [moved.url, before["foreign_landing_url"], jpg("small")]
    load([image(1, url=jpg("moved"))])
    assert row(catalog, 1)["url"] == jpg("moved")  # the host has https now


def test_an_address_that_stays_does_not_ask_for_the_url_of_a_twin(load, catalog):
    load([image(1), insecure(image(2, url=jpg(1)), "url")])
    assert outcome(load([insecure(image(1, title="new"), "url")])) == (0, 1, 0, 0, 0)
    assert (row(catalog, 1)["url"], row(catalog, 1)["title"]) == (jpg(1), "new")


@pytest.mark.parametrize("deleted", ["https", "http"])
def test_a_record_keeps_its_file_when_a_twin_with_another_scheme_is_deleted(load, catalog, deleted):
    """Adopted catalogs hold such pairs; one of them is deleted as a duplicate."""
    http, https = (f"{scheme}://files.example.org/1.jpg" for scheme in ("http", "https"))
    load([image(1, url=http), image(2, url=https)])
    delete(catalog, 2 if deleted == "https" else 1)
    left = 1 if deleted == "https" else 2
    report = load([image(left, url=https if deleted == "https" else http, title="better")])
    assert (report.updated, report.skipped) == (1, {})
    assert row(catalog, left)["title"] == "better"


def test_a_pull_of_deleted_records_only_is_not_an_empty_one(load, catalog):
    load([image(1)], expected=Expectations(), whole=True)
    delete(catalog, 1)
    report = load([image(1)], expected=Expectations(), whole=True)
    assert (report.skipped, report.unusual) == ({DELETED: 1}, [])
    assert len(load([], expected=Expectations(), whole=True).unusual) == 1


def test_a_stored_record_does_not_take_over_a_deleted_ones_url(load, catalog):
    load([image(1), image(2)])
    delete(catalog, 1)
    assert load([image(2, url=jpg(1), title="moved")]).skipped == {DELETED: 1}
    assert (row(catalog, 2)["url"], row(catalog, 2)["title"]) == (jpg(2), None)
    assert outcome(load([image(2, url=jpg(1))], include_deleted=True)) == (0, 1, 0, 0, 0)


def test_the_urls_of_each_deletion_of_a_record_stay_deleted(load, catalog):
    """As when a record whose file was taken down comes back with another file, which is deleted, too."""
    first = parse_condition("image", "WHERE foreign_identifier = 'id1'")

    def delete_it(run):
        job = Deletion(catalog, run, "image", first, run)
        assert job.run(job.select()).updated == 1
        job.finish()

    load([image(1)])
    delete_it("takedown")
    load([image(1, url=jpg("other"))], include_deleted=True)
    delete_it("second")
    found = catalog.execute("select url, deleted_reason, record ->> 'foreign_identifier' from deleted_before")
    assert found.fetchall() == [(jpg(1), "takedown", "id1")]
    assert load([image(5, url=jpg(1)), image(6, url=jpg("other"))]).skipped == {DELETED: 2}
    assert load([image(5, url=jpg(1).replace("https:", "http:"))]).skipped == {DELETED: 1}
    assert load([image(1), image(2), image(3)]).skipped == {DELETED: 1}
    assert load([image(2, url=jpg(1))]).skipped == {DELETED: 1}
    assert load([audio(1)], media_type="audio").inserted == 1
    assert restore(catalog, "image", first, pause=0).freed == 1
    assert load([image(1)]).updated == 1  # its own
    assert load([image(5, url=jpg(8)), image(6, url=jpg("other"))]).inserted == 2


def test_who_waits_for_the_url_of_one_that_takes_a_deleted_ones(load, catalog):
    """No record of a chain moves if it ends at the URL of a deleted record."""
    load([image(n) for n in (1, 2, 3)])
    delete(catalog, 3)
    before = urls(catalog)
    report = load([image(1, url=jpg(2)), image(2, url=jpg(3))])
    assert (report.skipped, report.rejected) == ({DELETED: 1}, {"URL belongs to another record": 1})
    assert urls(catalog) == before


def test_a_record_that_was_brought_back_may_have_its_own_url(load, catalog):
    load([image(1)])
    delete(catalog, 1)
    load([image(1, url=jpg("other"))], include_deleted=True)
    assert outcome(load([image(1)])) == (0, 1, 0, 0, 0)


def test_deleted_urls_are_looked_up_by_index(load, catalog):
    """A load does not read the whole table of deleted records."""
    load([image(n) for n in range(3)])
    for number in range(3):
        delete(catalog, number)
    catalog.execute(
        """
        insert into deleted_image (
            identifier, created_on, updated_on, removed_from_source, license, url, provider,
            foreign_identifier, deleted_on
        )
        select gen_random_uuid(), now(), now(), false, 'cc0', 'https://example.net/' || n, 'x', n::text, now()
        from generate_series(1, 50000) n
        """
    )
    catalog.execute("vacuum analyze deleted_image")
    reads = "select seq_scan from pg_stat_xact_user_tables where relname = 'deleted_image'"
    seen = []
    load(
        [image(n, url=jpg(n - 10)) for n in range(10, 15)],
        progress=lambda _: seen.append(load.connection.execute(reads).fetchone()),
    )
    assert len(urls(catalog)) == 2
    assert seen[-1] == (0,)


def test_urls_of_earlier_deletions_are_looked_up_by_index(load, catalog):
    """With a million of them, each load, however small, would take seconds to hash all."""
    catalog.execute(
        "insert into deleted_before (media_type, url, provider, foreign_identifier, record)"
        " select 'image', 'http://example.net/' || n, 'x', n::text, '{}' from generate_series(1, 50000) n"
    )
    catalog.execute("vacuum analyze deleted_before")
    reads = "select seq_tup_read from pg_stat_xact_user_tables where relname = 'deleted_before'"
    seen = []
    report = load(
        [image(1), image(2, url="https://example.net/7")],
        progress=lambda _: seen.append(load.connection.execute(reads).fetchone()),
    )
    assert (report.inserted, report.skipped) == (1, {DELETED: 1})
    assert seen[-1][0] < 100


def test_new_records_get_their_popularity(load, catalog):
    catalog.execute("update image_popularity_metrics set constant = 50 where provider = 'flickr'")
    load(
        [image(1, meta_data={"views": 150}), image(2, meta_data={"views": "many"}), image(3)],
        provider="flickr",
    )
    assert [row(catalog, n)["standardized_popularity"] for n in (1, 2, 3)] == [0.75, None, None]
    load([image(1, meta_data={"views": 50})], provider="flickr")
    assert row(catalog, 1)["standardized_popularity"] == 0.5
    assert catalog.execute(
        "select standardized_image_popularity('flickr', '{\"views\": \"150\"}')"
    ).fetchone() == (0.75,)


def test_the_report_is_in_the_table_and_adds_up(load, catalog):
    counts = Counts(
        fetched=6,
        written=2,
        skipped={"no license": 3},
        rejected={"missing url": 1},
        cleaned={"title too long": 1},
    )
    report = load([image(1), image(2)], counts=counts, run_id="r1")
    assert report.accounted()
    found = catalog.execute(
        """
        select fetched, inserted, skipped, rejected,
               skipped_reasons, rejected_reasons, cleaned_reasons, pull_seconds, complete
        from ingestion_report where run_id = 'r1'
        """
    ).fetchone()
    assert found == (6, 2, 3, 1, {"no license": 3}, {"missing url": 1}, {"title too long": 1}, 1.5, True)


def test_counts_that_do_not_add_up_are_refused(load, catalog):
    with pytest.raises(Fatal, match="2 rows came from 1 parts, but the manifest lists 3"):
        load([image(1), image(2)], counts=Counts(fetched=3, written=3))
    assert catalog.execute("select count(*) from image").fetchone() == (0,)


def test_a_part_that_was_deleted_after_it_was_listed_is_named(catalog, tmp_path):
    gone = UPath(tmp_path) / "gone.tsv"
    manifest = Manifest(
        "p", "r", None, False, datetime(2024, 1, 1, tzinfo=UTC), "t", counts={"image": Counts(1, 1)}
    )
    loading = Load(catalog, "image", "p", [gone], manifest, LoadKey("d", "r"))
    with pytest.raises(Fatal, match=r"gone.tsv was deleted; nothing was loaded: clear the pull"):
        loading.run()


def test_counts_that_leave_an_item_out_are_refused(load, catalog):
    """The parts have as many rows as the manifest lists, but a fetched item is not counted anywhere."""
    with pytest.raises(Fatal, match="the counts do not add up; nothing was loaded"):
        load([image(1), image(2)], counts=Counts(fetched=3, written=2))
    assert catalog.execute("select count(*) from image").fetchone() == (0,)


@pytest.mark.parametrize(
    ("left_out", "nothing"),
    [("inserted", 0), ("updated", 0), ("unchanged", 0), ("skipped", {}), ("rejected", {})],
)
def test_a_report_counts_every_item(left_out, nothing):
    report = LoadReport(
        "example",
        "image",
        True,
        63,
        inserted=1,
        updated=2,
        unchanged=4,
        skipped={"a": 8, "b": 16},
        rejected={"c": 32},
        cleaned={"d": 64},
        pull_seconds=0,
        load_seconds=0,
    )
    assert report.accounted()
    setattr(report, left_out, nothing)
    assert not report.accounted()


def test_new_rows_that_a_trigger_puts_into_a_partition_are_new(load, catalog):
    catalog.execute("create table part (like image including all) inherits (image)")
    catalog.execute("""
        create function route() returns trigger language plpgsql as
            $$ begin insert into part select new.*; return null; end $$;
        create trigger route before insert on image for each row
            when (new.foreign_identifier <> 'id3') execute function route();
        create function keep_out() returns trigger language plpgsql as $$ begin return null; end $$;
        create trigger keep_out before insert on part for each row
            when (new.foreign_identifier = 'id4') execute function keep_out();
    """)
    report = load([image(n) for n in (1, 2, 3, 4)])
    assert (report.inserted, report.skipped) == (3, {SUPPRESSED: 1})
    assert catalog.execute("select count(*) from image").fetchone() == (3,)


def test_a_row_whose_update_a_trigger_suppresses_is_not_counted_as_deleted(load, catalog):
    load([image(1), image(2), image(3)])
    suppress(catalog, "id2", "id3")
    report = load([image(1, title="new"), image(2, title="new"), image(3, title="new")])
    assert (report.updated, report.skipped) == (1, {SUPPRESSED: 2})
    assert row(catalog, 2)["title"] is None


@pytest.mark.parametrize(
    ("body", "skipped", "cleaned"),
    [
        ("return null;", {SUPPRESSED: 2}, {}),
        ("return old;", {SUPPRESSED: 2}, {}),
        ("if new.title = 'TWO' then return old; end if;", {SUPPRESSED: 1}, {}),
        ("new.title := old.title;", {}, {ALTERED: 2}),
        ("new.updated_on := clock_timestamp();", {}, {}),  # what many tables have
        ("new.creator := upper(new.creator);", {}, {}),
    ],
)
def test_what_a_trigger_keeps_is_not_reported_as_changed(load, catalog, body, skipped, cleaned):
    load([image(1, title="one"), image(2, title="two"), image(3)])
    change_back(catalog, body)
    for _ in range(2 if skipped else 1):  # as often as they are loaded
        report = load([image(1, title="ONE"), image(2, title="TWO"), image(3)])
        assert (report.updated + sum(report.skipped.values()) + report.unchanged) == 3
        assert (report.skipped, report.cleaned) == (skipped, cleaned)


def test_what_a_trigger_changes_back_afterwards_is_reported(load, catalog):
    load([image(1, title="one")])
    change_back_after(catalog)
    for _ in range(2):
        assert load([image(1, title="ONE")]).cleaned == {ALTERED: 1}


def test_new_rows_that_a_trigger_keeps_out_are_counted(load, catalog):
    change_back(catalog, "if new.title = 'ad' then return null; end if;", "insert")
    report = load([image(1, title="ad"), image(2)])
    assert (report.inserted, report.skipped) == (1, {SUPPRESSED: 1})


@pytest.mark.parametrize(
    "body",
    [
        "if new.title <> old.title then return null; end if;",  # not before it made way
        "if new.title <> old.title then return old; end if;",
        "if new.url like '%#%' then return null; end if;",  # when it makes way
        "if old.foreign_identifier = 'id2' then return null; end if;",
        "if old.foreign_identifier = 'id2' then new.url := old.url; end if;",
    ],
)
def test_a_record_that_cannot_give_up_its_url_keeps_it(load, catalog, body):
    """2 brings another URL, 1 and then 5 bring the one that it has; 3 and 4 exchange theirs."""
    load([image(n, title=f"{n}") for n in range(1, 5)])
    change_back(catalog, body)
    brought = {1: jpg(2), 2: jpg(6), 3: jpg(4), 4: jpg(3), 5: jpg(1)}
    for _ in range(3):
        report = load([image(n, title="new" if n == 2 else f"{n}", url=url) for n, url in brought.items()])
        assert report.accounted()
    found = urls(catalog)
    assert [url for url in found.values() if not url.startswith("https://")] == []
    assert {found["id3"], found["id4"]} == {jpg(3), jpg(4)}
    if "#" not in body:
        assert (found["id1"], found["id2"], found["id3"]) == (jpg(1), jpg(2), jpg(4))
        assert report.rejected == {"URL belongs to another record": 2}  # 1, and 5, which waits for it


@pytest.mark.parametrize(
    ("constraint", "exchanged"), [("url ~ '^https?://[^ ]+$'", True), ("url ~ '[.]jpg$'", False)]
)
def test_a_constraint_on_addresses_does_not_end_a_load_with_an_exchange(load, catalog, constraint, exchanged):
    load([image(1), image(2)])
    catalog.execute(f"alter table image add constraint form check ({constraint})")
    report = load([image(1, url=jpg(2)), image(2, url=jpg(1)), image(3)])
    assert report.inserted == 1
    found = urls(catalog)
    if exchanged:
        assert (found["id1"], found["id2"], report.rejected) == (jpg(2), jpg(1), {})
    else:
        assert (found["id1"], found["id2"], report.rejected) == (jpg(1), jpg(2), {URL_TAKEN: 2})
        assert {line["record"]["url"] for line in load.rejects()} == {jpg(1), jpg(2)}


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        ("add constraint tall check (height > 10)", "violates the check constraint tall"),
        ("add constraint tall check (coalesce(meta_data ->> 'size', '') <> '{9}')", "violates the check"),
        ("alter column title set not null", "no title, which the table requires"),
    ],
)
@pytest.mark.parametrize("trigger", [True, False])
def test_rows_that_a_constraint_refuses_are_rejected_and_the_rest_is_loaded(
    load, catalog, constraint, reason, trigger
):
    """2 would be changed, 3 would be new; null changes nothing that is stored."""
    load([image(1, title="one", height=11), image(2, title="two", height=12)])
    catalog.execute(f"alter table image {constraint}")
    if trigger:
        change_back(catalog, "new.updated_on := clock_timestamp();", "insert or update")
    bad = {"height": 9, "meta_data": {"size": "{9}"}}
    new = [image(3, title=None if "not null" in constraint else "three", **bad), image(4, title="four")]
    changed = [image(1, title="uno"), image(2, title="due", **bad)]
    report = load([*changed, *new])
    changes = 2 if "not null" in constraint else 1
    assert (report.inserted, report.updated, sum(report.rejected.values())) == (1, changes, 3 - changes)
    assert all(text.startswith(reason) for text in report.rejected)
    assert {line["record"]["foreign_identifier"] for line in load.rejects()} == {"id3", "id2"} - (
        {"id2"} if changes == 2 else set()
    )
    assert row(catalog, 1)["title"] == "uno"


@pytest.mark.parametrize(
    ("column", "condition"),
    [
        ("theirs text default 'new'", "theirs is not null and {}"),
        ("theirs timestamptz default now()", "theirs is not null and {}"),
        ("theirs bigserial", "coalesce(theirs, 0) > 0 and {}"),
        ("theirs bigint generated always as identity", "coalesce(theirs, 0) > 0 and {}"),
        ("theirs text generated always as (left(url, 6)) stored", "theirs is not null and {}"),
        ("theirs boolean not null default true", "case when theirs then {} else true end"),
    ],
)
def test_a_constraint_on_a_column_that_no_load_fills_costs_only_the_rows_that_violate_it(
    load, catalog, column, condition
):
    """2 would be changed, 3 would be new."""
    load([image(1), image(2, url=jpg("another"))])
    catalog.execute(f"alter table image add {column}")
    condition = condition.format("url like 'https:%'")
    catalog.execute(f"alter table image add constraint https check ({condition})")
    bad = [image(n, url=jpg(n).replace("https:", "http:")) for n in (2, 3)]
    report = load([image(1, title="one"), *bad, *(image(n) for n in range(4, 10))])
    assert outcome(report) == (6, 1, 0, 0, 2)
    assert report.rejected == {"violates the check constraint https": 2}
    assert {line["record"]["foreign_identifier"] for line in load.rejects()} == {"id2", "id3"}


def test_a_record_that_stays_deleted_violates_nothing(load, catalog):
    """4 and 5 bring one URL, and both violate the constraint. 7 keeps its URL, so that 8 cannot have it."""
    load([image(1), image(2), image(7, height=11)])
    delete(catalog, 2)
    catalog.execute("alter table image add constraint tall check (height > 10)")
    low = [image(n, url=jpg(url), height=9) for n, url in ((3, 2), (4, 4), (5, 4), (7, 8))]
    report = load([image(1, url=jpg(6)), image(6, url=jpg(1)), image(8, url=jpg(7)), *low])
    assert report.skipped == {DELETED: 1}
    assert report.rejected == {"violates the check constraint tall": 3, URL_TAKEN: 1}
    assert urls(catalog) == {"id1": jpg(6), "id6": jpg(1), "id7": jpg(7)}


def test_a_row_that_is_deleted_during_the_load_is_not_counted_as_updated(load, catalog):
    load([image(1), image(2), image(3)])

    def meanwhile(text):
        if "2 changed" in text:
            delete(catalog, 1)

    report = load(
        [image(1, title="new"), image(2, title="new"), image(3), image(4)], progress=meanwhile, run_id="r"
    )
    assert outcome(report) == (1, 1, 1, 1, 0)
    assert report.skipped == {DELETED: 1}
    assert row(catalog, 1) is None
    assert catalog.execute("select updated from ingestion_report where run_id = 'r'").fetchone() == (1,)


def test_loading_the_same_pull_again_does_nothing(load, catalog):
    first = load([image(1), image(2)], token="t", run_id="r")
    catalog.execute("update image set title = 'changed since'")
    again = load([image(1, title="x"), image(2)], token="t", run_id="r")
    assert again == first
    assert row(catalog, 1)["title"] == "changed since"


def test_a_pull_that_is_loaded_late_changes_nothing_that_a_later_one_has_brought(load, catalog):
    """As when a failed run is cleared after a newer one: the parts of its first pages are old by then."""
    began = datetime.now(UTC)
    load([image(n, title="stored") for n in (1, 2, 4)], started=began - timedelta(days=30))
    load([image(1, title="newer", url=jpg("newer")), image(2, title="stored")])
    before = row(catalog, 1)
    progress: list[str] = []
    old = [image(1, title="old"), image(2, title="old"), image(3, title="old"), image(4, title="stored")]
    report = load(old, started=began, progress=progress.append)
    assert outcome(report) == (1, 1, 1, 1, 0)
    assert report.skipped == {SUPERSEDED: 1}
    assert row(catalog, 1) == before
    assert row(catalog, 2)["title"] == "old"  # no other pull has changed it since
    assert any("image: 1 rows are superseded and stay as they are: a pull that" in text for text in progress)
    assert load([image(1, title="newest")]).updated == 1


YEAR = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
MAY = (datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("later", "own", "whole", "stays"),
    [
        (None, None, True, True),
        (None, MAY, True, True),
        (YEAR, MAY, True, True),
        (MAY, MAY, True, True),
        (MAY, YEAR, True, False),
        (MAY, None, True, False),
        (None, None, False, False),
    ],
)
def test_what_a_later_whole_pull_found_to_be_right_stays(load, catalog, later, own, whole, stays):
    """Its load did not write the record, because nothing had changed."""
    now = datetime.now(UTC)
    load([image(1, title="right")], started=now - timedelta(days=9))
    catalog.execute("update image set last_synced_with_source = now() - interval '9 days'")
    both = [image(1, title="right"), image(3)]
    load(both, started=now - timedelta(days=1), window=later, whole=whole)
    late = load([image(1, title="old"), image(2)], started=now - timedelta(days=5), window=own)
    assert outcome(late) == ((1, 0, 0, 1, 0) if stays else (1, 1, 0, 0, 0))
    assert row(catalog, 1)["title"] == ("right" if stays else "old")


@pytest.mark.parametrize(
    ("fields", "stays"),
    [({}, True), ({"fetched": 199}, True), ({"fetched": 190}, False), ({"shortfalls": '["some"]'}, False)],
)
def test_what_a_later_pull_may_not_have_read_is_loaded(load, catalog, fields, stays):
    """The later pull brought fewer records, or fewer than it announced, and somebody has accepted that."""
    now = datetime.now(UTC)
    load([image(1, title="stored")], started=now - timedelta(days=9))
    catalog.execute("update image set last_synced_with_source = now() - interval '9 days'")
    others = [image(n) for n in range(3, 202)]
    load([*others, image(202)], started=now - timedelta(days=1), whole=True, run_id="later")
    for name, value in fields.items():
        catalog.execute(
            f"update ingestion_report set {name} = %s, inserted = %s, accepted = true where run_id = 'later'",
            [value, fields.get("fetched", 200)],
        )
    late = load([image(1, title="newer"), *others], started=now - timedelta(days=5))
    assert outcome(late) == ((0, 0, 199, 1, 0) if stays else (0, 1, 199, 0, 0))
    assert row(catalog, 1)["title"] == ("stored" if stays else "newer")


@pytest.mark.parametrize(
    ("own", "own_twice", "later", "later_twice", "stays"),
    [
        (20, 0, 20, 0, True),
        (20, 100, 20, 0, True),  # the late pull has read pages again
        (20, 0, 15, 0, True),
        (20, 0, 14, 0, False),
        (20, 0, 10, 10, False),  # the later pull has read each of its records twice
        (4, 0, 2, 0, True),
        (4, 0, 1, 0, False),
    ],
)
def test_what_a_pull_read_twice_is_no_second_record(load, catalog, own, own_twice, later, later_twice, stays):
    """A later pull has read about as many records; of a short list, a few may have been deleted meanwhile."""
    now = datetime.now(UTC)
    right = [image(n, title="right") for n in range(own)]
    load(right, started=now - timedelta(days=9))
    catalog.execute("update image set last_synced_with_source = now() - interval '9 days'")
    for records, twice, options in (
        (right[:later], later_twice, {"started": now - timedelta(days=1), "whole": True}),
        ([image(n, title="old") for n in range(own)], own_twice, {"started": now - timedelta(days=5)}),
    ):
        number = len(records)
        counts = Counts(fetched=number + twice, written=number, skipped={SEEN: twice} if twice else {})
        late = load(records, counts=counts, **options)
    assert (late.updated, late.skipped.get(SUPERSEDED, 0)) == ((0, own) if stays else (own, 0))


def test_what_a_pull_reads_after_a_later_one_began_is_newer(load, catalog):
    """As when a pull that failed is resumed after another one, or still runs while another one begins."""
    now = datetime.now(UTC)
    load([image(n, title="stored") for n in range(5)], started=now - timedelta(days=30))
    load([image(n, title="later") for n in range(4)], started=now - timedelta(days=3))
    read = [(0, now - timedelta(days=5)), (2, now - timedelta(days=4)), (3, now - timedelta(days=1))]
    titled = [image(n, title="resumed") for n in range(5)]
    report = load(titled, started=now - timedelta(days=5), times=read)
    assert (outcome(report), report.skipped) == ((0, 2, 0, 3, 0), {SUPERSEDED: 3})
    titles = dict(catalog.execute("select foreign_identifier, title from image").fetchall())
    assert list(map(titles.get, ("id0", "id1", "id2", "id3", "id4"))) == [*["later"] * 3, *["resumed"] * 2]


def test_what_a_later_whole_pull_left_unchanged_is_older_than_what_is_read_now(load, catalog):
    now = datetime.now(UTC)
    stored = [image(n, title="stored") for n in range(3)]
    load(stored, started=now - timedelta(days=30))
    catalog.execute("update image set last_synced_with_source = now() - interval '30 days'")
    load([*stored, image(8)], started=now - timedelta(days=3), whole=True)
    read = [(0, now - timedelta(days=5)), (1, now - timedelta(days=1))]
    bad = load.lines([image(9)])[0].replace("https://example.org/9.jpg", "https://example.org/9.jpg\t")
    lines = [*load.lines([image(n, title="resumed") for n in range(3)]), bad]
    report = load([], lines=lines, started=now - timedelta(days=5), times=read)
    assert outcome(report) == (0, 2, 0, 1, 1)
    assert row(catalog, 0)["title"] == "stored"


def test_what_was_loaded_of_a_later_pull_before_it_ended_stays(load, catalog):
    """Its last load does not write the rows of the first one again."""
    now = datetime.now(UTC)
    load([image(1, title="stored")], started=now - timedelta(days=9))
    later = {"token": "t", "run_id": "r", "started": now - timedelta(days=1)}
    for records in ([image(1, title="later")], [image(1, title="later"), image(2)]):
        load(records, complete=len(records) > 1, **later)
    assert load([image(1, title="old")], started=now - timedelta(days=5)).skipped == {SUPERSEDED: 1}


@pytest.mark.parametrize("second", [{"complete": False}, {"complete": True}])
def test_what_an_earlier_pull_of_a_later_run_has_brought_stays(load, catalog, second):
    """The later run was cleared, and its next pull has not read everything; each pull has its own start."""
    now = datetime.now(UTC)
    load([image(n, title="stored") for n in range(4)], started=now - timedelta(days=9))
    for title, days, records, fields in (
        ("first", 5, (1, 2), {"complete": False}),
        ("second", 1, (2, 3), second),
        ("third", 0, (), {"complete": False}),
    ):
        brought = [image(n, title=title) for n in records]
        load(brought, token=title, run_id="r", started=now - timedelta(days=days), **fields)
    for title, days, stay in (("between", 3, (2, 3)), ("old", 7, (0, 1, 2, 3))):
        cleared = load([image(n, title=title) for n in range(4)], started=now - timedelta(days=days))
        assert cleared.skipped == {SUPERSEDED: len(stay)}
    titles = dict(catalog.execute("select foreign_identifier, title from image").fetchall())
    assert [titles[f"id{n}"] for n in range(4)] == ["between", "between", "second", "second"]


@pytest.mark.parametrize("next_pull", [{"complete": False}, {"complete": True}])
def test_what_an_earlier_whole_pull_of_a_later_run_left_unchanged_stays(load, catalog, next_pull):
    now = datetime.now(UTC)
    right = [image(n, title="right") for n in range(20)]
    load(right, started=now - timedelta(days=9))
    catalog.execute("update image set last_synced_with_source = now() - interval '9 days'")
    load(right, run_id="r", started=now - timedelta(days=3), whole=True)
    load(right[:1], run_id="r", started=now - timedelta(days=1), **next_pull)
    late = load([image(n, title="old") for n in range(20)], started=now - timedelta(days=5))
    assert late.skipped == {SUPERSEDED: 20}


def test_loads_that_a_release_before_has_noted_count(server, tmp_path):
    """It notes the moments of earlier loads of the same pull in the report."""
    dsn = database_of_its_own(server, "template0")
    upgrade_to(dsn, "0024")
    with psycopg.connect(dsn, autocommit=True) as catalog:
        catalog.execute("""
            insert into ingestion_report (dag_id, run_id, provider, media_type, manifest_token,
                manifest_pages, complete, fetched, inserted, updated, unchanged, skipped, rejected,
                pull_began, finished_on, loaded_before)
            select 'example_workflow', 'r', 'example', 'image', 't', 1, true, 1, 0, 0, 1, 0, 0,
                   now() - interval '3 days', now() - interval '1 day', array[now() - interval '2 days']
        """)
        schema.upgrade(dsn)
        load, now = Loader(dsn, tmp_path), datetime.now(UTC)
        load([image(n, title="later") for n in range(2)], started=now - timedelta(days=9))
        catalog.execute(
            "update image set last_synced_with_source = loaded_before[1]"
            " from ingestion_report where run_id = 'r'"
        )
        old = now - timedelta(days=5)
        assert load([image(0, title="old")], started=old).skipped == {SUPERSEDED: 1}
        load([], token="another", run_id="r", complete=False)  # the run was cleared
        assert load([image(1, title="old")], started=old).skipped == {SUPERSEDED: 1}
        assert load([image(1, title="new")], started=now - timedelta(days=2.5)).updated == 1


@pytest.mark.parametrize(
    ("began", "days", "stays"),
    [
        (None, 3, True),  # a report of a release that did not note it
        (None, 1.4, False),
        ("now() + interval '400 days'", 3, True),  # the clock was wrong
        ("now() + interval '400 days'", 1.4, False),
    ],
)
def test_a_pull_of_which_no_start_is_known_began_before_its_load(load, catalog, began, days, stays):
    """The time that its pages took is known: half a day."""
    now = datetime.now(UTC)
    load([image(1, title="later")], run_id="r")
    catalog.execute("update image set last_synced_with_source = now() - interval '1 day'")
    catalog.execute(
        f"update ingestion_report set pull_began = {began or 'null'}, pull_seconds = 12 * 60 * 60,"
        " finished_on = image.last_synced_with_source from image"
    )
    cleared = load([image(1, title="cleared")], started=now - timedelta(days=days))
    assert cleared.skipped == ({SUPERSEDED: 1} if stays else {})


@pytest.mark.parametrize(
    ("started", "times", "stay"),
    [
        (400, [(0, 400)], (0, 1, 2)),  # nothing is known of its time
        (400, [(0, 400), (1, 400), (2, -1)], (0, 1)),  # the clock was right when the last page was read
        (-5, [(0, -5), (1, 400), (2, -4)], (0, 1, 2)),
        (-1, [(0, -1), (2, -5)], (0, 1, 2)),  # the clock was set back, so that the first pages are older
    ],
)
def test_an_old_pull_whose_clock_was_ahead_is_not_new(load, catalog, started, times, stay):
    """The times are in days from now; the later pull began three days ago."""
    now = datetime.now(UTC)
    load([image(n, title="stored") for n in range(4)], started=now - timedelta(days=30))
    load([image(n, title="later") for n in range(3)], started=now - timedelta(days=3))
    read = [(page, now + timedelta(days=days)) for page, days in times]
    cleared = [image(n, title="cleared") for n in (0, 1, 2, 8)]
    report = load(cleared, started=now + timedelta(days=started), times=read)
    assert (report.inserted, report.skipped) == (1, {SUPERSEDED: len(stay)})
    titles = dict(catalog.execute("select foreign_identifier, title from image").fetchall())
    assert [n for n in range(4) if titles[f"id{n}"] == "later"] == [*stay]


@pytest.mark.parametrize(("known", "stays"), [(0, False), (94, False), (95, True), (100, True)])
def test_a_later_whole_pull_of_other_records_has_not_read_these(load, catalog, known, stays):
    """It read as many: `known` of those that are loaded late, and for the others, some that were new."""
    now = datetime.now(UTC)
    load([image(n, title="stored") for n in range(100)], started=now - timedelta(days=9))
    catalog.execute("update image set last_synced_with_source = now() - interval '9 days'")
    records = [image(n, title="stored" if n % 2 else "later") for n in range(known)]
    others = [image(n) for n in range(200, 300 - known)]
    load([*records, *others], started=now - timedelta(days=1), whole=True)
    late = load([image(n, title="late") for n in range(100)], started=now - timedelta(days=5))
    changed = sum(n % 2 == 0 for n in range(known))
    assert late.skipped.get(SUPERSEDED, 0) == (100 if stays else changed)


@pytest.mark.parametrize(("ages", "stays"), [((3, 2, 1), True), ((3,), True), ((2,), False), ((2, 1), False)])
def test_of_several_later_whole_pulls_each_is_compared(load, catalog, ages, stays):
    """Those of three days ago have read these records and changed half; the later ones, others."""
    now = datetime.now(UTC)
    load([image(n, title="stored") for n in range(100)], started=now - timedelta(days=9))
    catalog.execute("update image set last_synced_with_source = now() - interval '9 days'")
    for age in ages:
        first = 0 if age == 3 else 1000 * age
        brought = [image(n, title="stored" if n % 2 else f"{age}") for n in range(first, first + 100)]
        load(brought, started=now - timedelta(days=age), whole=True, run_id=f"{age}")
        moment = now - timedelta(days=age)
        catalog.execute("update ingestion_report set finished_on = %s where run_id = %s", [moment, f"{age}"])
        catalog.execute(
            "update image set last_synced_with_source = %s where last_synced_with_source > %s", [moment, now]
        )
    late = load([image(n, title="late") for n in range(100)], started=now - timedelta(days=5))
    assert late.skipped.get(SUPERSEDED, 0) == (100 if stays else 0)


def test_rows_are_not_compared_with_each_later_load(load, catalog):
    """Each row is counted once, whatever the number of moments: no step of the statement handles more."""
    rows, loads = 1_000, 25
    load([image(n) for n in range(rows)])
    catalog.execute(
        "update image set last_synced_with_source = date_trunc('hour', now())"
        " - substr(foreign_identifier, 3)::int * interval '1 hour'"
    )
    catalog.execute("create table loading as select *, null::text as rejected from image")
    catalog.execute("analyze image; analyze loading")
    [(newest,)] = catalog.execute("select max(last_synced_with_source) from image").fetchall()
    moments = [newest - timedelta(hours=40 * n) for n in reversed(range(loads))]
    statements = Statements(catalog, {"loading": sql.Identifier("loading"), "table": sql.Identifier("image")})
    statements.set(moments=sql.Literal(moments), oldest=sql.Literal(moments[0]))
    found = dict(statements.run("written_since").fetchall())
    assert found == {moment: 1 + 40 * n for n, moment in enumerate(reversed(moments))}

    explain = statements.compose(from_file("written_since"))
    [([plan],)] = catalog.execute(sql.SQL("explain (analyze, format json) ") + explain).fetchall()
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan["Plan"])) <= rows


def nodes(plan):
    """Yield the nodes of a plan."""
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def test_loads_that_were_late_together_end_with_the_newest_version(load, catalog):
    """As when pulls of three days were made while the database was away, and their loads are cleared."""
    now = datetime.now(UTC)
    for age, title in ((3, "monday"), (2, "tuesday"), (1, "wednesday")):
        assert load([image(1, title=title)], started=now - timedelta(days=age)).unchanged == 0
        assert row(catalog, 1)["title"] == title
    assert load([image(1, title="tuesday")], started=now - timedelta(days=2)).skipped == {SUPERSEDED: 1}
    assert row(catalog, 1)["title"] == "wednesday"


def test_a_pull_that_ends_after_an_earlier_one_was_loaded_replaces_it(load, catalog):
    """A reingestion is loaded while the daily pull, which began later, still runs."""
    now = datetime.now(UTC)
    load([image(1, title="reingestion")], started=now - timedelta(hours=2))
    assert load([image(1, title="daily")], started=now - timedelta(hours=1)).updated == 1


def test_a_pull_that_was_loaded_in_part_is_not_older_than_itself(load, catalog):
    began = datetime.now(UTC) - timedelta(days=1)
    load([image(1, title="a")], token="t", run_id="r", complete=False, started=began)
    resumed = load([image(1, title="b")], token="t", run_id="r", started=began)
    assert (resumed.updated, row(catalog, 1)["title"]) == (1, "b")
    again = load([image(1, title="c")], token="t", run_id="other", started=began - timedelta(days=1))
    assert again.updated == 1


def test_rows_with_a_time_in_the_future_are_updated(load, catalog):
    """As after the server's clock was wrong, or in an adopted catalog."""
    load([image(1, title="a")])
    catalog.execute("update image set last_synced_with_source = now() + interval '400 days'")
    catalog.execute("update ingestion_report set pull_began = now() + interval '400 days'")
    assert load([image(1, title="b")]).updated == 1
    catalog.execute("update image set last_synced_with_source = now() + interval '401 days'")
    catalog.execute(
        "update ingestion_report set pull_began = now() + interval '400 days',"
        " finished_on = last_synced_with_source, whole = true from image"
    )
    assert load([image(1, title="c")]).updated == 1


def test_a_partial_load_is_followed_by_the_whole_one(load, catalog):
    load([image(1)], token="t", run_id="r", complete=False)
    whole = load([image(1), image(2)], token="t", run_id="r")
    assert outcome(whole) == (1, 0, 1, 0, 0)
    assert catalog.execute("select count(*), bool_and(complete) from ingestion_report").fetchone() == (
        1,
        True,
    )


def leftovers(catalog):
    return catalog.execute(
        "select relname from pg_class where relname like 'load_%' or relname = 'verdict'"
    ).fetchall()


def test_one_bad_row_of_each_kind_costs_no_other(load, catalog):
    """Lines among 1,000 that would stop a COPY, also such that our encoder does not write."""
    good = load.lines([image(n, title=f"title {n}", tags=["a"], width=n) for n in range(1000)])
    columns = COLUMNS["image"]

    def spoilt(number, column, value):
        fields = good[number].rstrip("\n").encode().split(b"\t")
        fields[columns.index(column)] = value
        return b"\t".join(fields) + b"\n"

    bad = {
        10: (spoilt(10, "title", b"nul \\000"), "title: NUL"),
        20: (spoilt(20, "title", b"latin \xff"), "title: not UTF-8"),
        30: (spoilt(30, "width", b"99999999999"), "width: integer out of range"),
        40: (spoilt(40, "width", b"NaN"), "width: not an integer"),
        50: (spoilt(50, "meta_data", b"{broken"), "meta_data: not JSON"),
        60: (spoilt(60, "tags", b'["\\\\u0000"]'), "tags: NUL in JSON"),
        70: (good[70].rstrip("\n").encode() + b"\tone too many\n", "21 fields instead of 20"),
        80: (b"just words\n", "1 fields instead of 20"),
        90: (spoilt(90, "license", b"x" * 51), "license: longer than 50 characters"),
        100: (spoilt(100, "watermarked", b"perhaps"), "watermarked: not a boolean"),
        110: (spoilt(110, "license", rb"\N"), "missing license"),
        120: (spoilt(120, "url", rb"\N"), "missing url"),
        130: (spoilt(130, "foreign_identifier", b"id131"), "duplicate identifier in the batch"),
        # The first of two with one URL; 141 is the one without a URL of its own.
        140: (spoilt(140, "url", b"https://example.org/141.jpg"), None),
        150: (spoilt(150, "title", b"tab\\tline\\nback\\\\slash \\x41"), None),
    }
    reasons = {reason: 1 for _, reason in bad.values() if reason} | {"URL belongs to another record": 1}
    report = load([], lines=[bad[n][0] if n in bad else line for n, line in enumerate(good)])
    assert report.rejected == reasons
    assert report.inserted == 1000 - sum(reasons.values())
    assert report.accounted()
    assert sorted(r["reason"] for r in load.rejects()) == sorted(reasons)
    assert row(catalog, 150)["title"] == "tab\tline\nback\\slash A"
    assert leftovers(catalog) == []


def test_lines_that_only_postgresql_finds_bad(load, catalog):
    """They are found wherever they are, consecutive or single."""
    columns = COLUMNS["audio"]
    good = load.lines([audio(n) for n in range(500)], media_type="audio")

    def spoilt(number, column, value):
        fields = good[number].rstrip("\n").split("\t")
        fields[columns.index(column)] = value
        return "\t".join(fields) + "\n"

    bad = {0: "{broken", 1: "{broken", 2: "{a", 250: '{"}', 498: "{broken", 499: "{broken"}
    lines = [spoilt(n, "genres", bad[n]) if n in bad else line for n, line in enumerate(good)]
    report = load([], lines=lines, media_type="audio")
    assert report.inserted == 494
    assert all(reason.startswith("refused by PostgreSQL: ") for reason in report.rejected)
    refused = [r["line"].partition("\t")[0] for r in load.rejects()]
    assert sorted(refused, key=lambda i: int(i[2:])) == ["id0", "id1", "id2", "id250", "id498", "id499"]


def test_too_many_lines_that_only_postgresql_finds_bad(load, catalog):
    columns = COLUMNS["audio"]
    fields = load.lines([audio(1)], media_type="audio")[0].rstrip("\n").split("\t")
    fields[columns.index("genres")] = "{broken"
    with pytest.raises(
        Fatal, match="PostgreSQL refuses more than 1,000 lines; the reason for the last one: malformed array"
    ):
        load([], lines=["\t".join(fields) + "\n"] * 1001, media_type="audio")
    assert load.rejects() == []


def test_a_url_that_is_too_long_for_the_index(load, catalog):
    """Our encoder does not write such a line; if one comes, only its record is rejected."""
    long = "https://example.org/" + "".join(f"{n}" for n in range(1000))
    lines = [load.lines([image(1)])[0].replace(jpg(1), long), *load.lines([image(2)])]
    report = load([], lines=lines)
    assert (report.inserted, report.rejected) == (1, {"url too long": 1})
    assert load.rejects()[0]["record"]["url"] == long


def test_bad_records_are_refused_before_they_are_lines(load, catalog):
    """The encoder cleans or refuses records with the same faults, so that they never reach a COPY."""
    cleaned = [
        image(1, title="nul\0"),
        image(2, title="half \ud800"),
        image(3, title="x" * 1_000_000),
        image(4, tags=[f"t{n}" for n in range(10_000)]),
        image(5, width=2**40),
        image(6, filesize=float("nan")),
        image(7, title="tab\tnewline\nback\\slash \\N"),
        image(8, meta_data={"a": "\0"}),
    ]
    assert outcome(load(cleaned)) == (8, 0, 0, 0, 0)
    assert row(catalog, 3)["title"] == "x" * 5000
    assert len(row(catalog, 4)["tags"]) == 2000
    assert row(catalog, 7)["title"] == "tab newline back\\slash \\N"


def test_two_loads_of_one_provider_take_turns(load, catalog, dsn):
    """All of them succeed, and nothing is inserted twice."""
    reports: list[LoadReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(load([image(n) for n in range(200)])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome(r)[:3] for r in reports) == [(0, 0, 200)] * 3 + [(200, 0, 0)]


def test_a_load_waits_for_another_one_of_its_provider(load, dsn, tmp_path):
    """It waits before it copies anything.

    Two loads that copy at once would both classify against what was stored before either of them.
    """
    began, go_on, copied = threading.Event(), threading.Event(), threading.Event()

    def holding(text):
        if "copied" in text:
            began.set()
            go_on.wait()

    first = threading.Thread(target=lambda: load([image(1)], progress=holding))
    first.start()
    began.wait()
    second = threading.Thread(
        target=lambda: Loader(dsn, tmp_path)([image(1)], progress=lambda _: copied.set())
    )
    second.start()
    waits = "select 1 from pg_locks where locktype = 'advisory' and not granted"
    with psycopg.connect(dsn, autocommit=True) as watching:
        while not copied.wait(0.01) and not watching.execute(waits).fetchone():
            pass
    overtook = copied.is_set()
    go_on.set()
    first.join()
    second.join()
    assert not overtook


def test_loads_of_two_providers_do_not_wait_for_each_other(load, dsn, tmp_path):
    reports: list[LoadReport] = []

    def meanwhile(_):
        if not reports:
            reports.append(Loader(dsn, tmp_path)([image(2)], provider="other"))

    assert outcome(load([image(1)], progress=meanwhile)) == (1, 0, 0, 0, 0)
    assert outcome(reports[0]) == (1, 0, 0, 0, 0)


def test_another_writer_is_met_with_a_second_look(load, catalog, dsn):
    """The insert waits for a row that another session has not committed yet, then classifies again."""
    load([image(2)])
    done: list[LoadReport] = []
    with psycopg.connect(dsn) as other:
        other.execute(
            """
            insert into image (
                created_on, updated_on, removed_from_source, license, url, provider, foreign_identifier
            )
            values (now(), now(), false, 'cc0', 'https://example.org/1.jpg', 'example', 'id1')
            """
        )
        thread = threading.Thread(target=lambda: done.append(load([image(1), image(2)])))
        thread.start()
        while not catalog.execute("select 1 from pg_locks where not granted").fetchone():
            thread.join(0.01)
            assert thread.is_alive()
        other.commit()
    thread.join()
    assert outcome(done[0]) == (0, 1, 1, 0, 0)
    assert catalog.execute("select count(*) from image").fetchone() == (2,)
