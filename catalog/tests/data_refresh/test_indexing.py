"""Indexing rows as documents, on a real database and a real search engine."""

import json

import pytest

from catalog.core import loss_limits
from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.data_refresh.search import document_rows
from catalog.data_refresh.search.attempts import Attempt
from catalog.data_refresh.search.documents import document
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.indexing import IdRange, RangeIndexer, find_count_mismatches, ranges
from catalog.data_refresh.search.tag_policy import DEFAULT
from catalog.tests.data_refresh.engine_proxy import answer
from catalog.tests.data_refresh.indexes import Progress, image_indexer, keep, make

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


def fill(api, search, name, media_type="image", number=1, **options):
    make(search, name, media_type)
    parts = ranges(api, media_type, number)
    done = [
        RangeIndexer(api, search, name, media_type, media_type, DEFAULT, part, **options).run()
        for part in parts
    ]
    search.refresh(name)
    return parts, done


def test_all_rows_become_documents(filled, search, monkeypatch):
    monkeypatch.setattr(document_rows, "CHUNK", 60)
    parts, done = fill(filled, search, "image-a", number=4)
    assert len(parts) == 4
    assert [p.first for p in parts[1:]] == [p.last + 1 for p in parts[:-1]]
    assert sum(d.documents for d in done) == 499
    assert sum(d.removed for d in done) == 1
    assert find_count_mismatches(filled, search, "image-a", "image", parts) == []
    assert search.sources("image-a") == dict(
        filled.execute(
            "select source, count(*) from image where not removed_from_source group by 1"
        ).fetchall()
    )
    row = filled.execute("select identifier, id, title from image where id = 42").fetchone()
    found = search.client.get(index="image-a", id=str(row[0]))["_source"]
    assert (found["id"], found["title"]) == row[1:]
    tags = filled.execute(
        "select sum(jsonb_array_length(tags)) from image where not removed_from_source"
    ).fetchone()[0]
    assert sum(sum(d.tags.values()) for d in done) == tags
    matures = filled.execute("select identifier::text from api_matureimage").fetchall()
    hits = search.client.search(index="image-a", query={"ids": {"values": [m for (m,) in matures]}})["hits"][
        "hits"
    ]
    assert matures
    assert all(h["_source"]["mature"] for h in hits)


def test_audio(filled, search):
    parts, _ = fill(filled, search, "audio-a", "audio")
    assert find_count_mismatches(filled, search, "audio-a", "audio", parts) == []
    lengths = search.client.search(index="audio-a", size=0, aggs={"l": {"terms": {"field": "length"}}})[
        "aggregations"
    ]["l"]["buckets"]
    assert {b["key"] for b in lengths} == {"short", "medium", "long"}


def test_a_missing_document_is_noticed(filled, search):
    parts, _ = fill(filled, search, "image-a")
    gone = filled.execute("select identifier::text from image where id = 10").fetchone()[0]
    search.client.delete(index="image-a", id=gone, refresh=True)
    assert find_count_mismatches(filled, search, "image-a", "image", parts) == [
        "ids 1 to 500: 500 rows (1 removed from their source), 498 documents"
    ]


def test_rows_that_moderators_have_deleted_need_no_document(filled, search):
    """Their table was restored beside rows that are there again."""
    parts, _ = fill(filled, search, "image-a")
    query = "select identifier::text from image where not removed_from_source order by id limit 3"
    keys = [key for (key,) in filled.execute(query)]
    for key in keys[:2]:
        filled.execute(
            "insert into api_deletedimage (identifier, created_on, updated_on) values (%s, now(), now())",
            [key],
        )
        search.client.delete(index="image-a", id=key, refresh=True)
    assert find_count_mismatches(filled, search, "image-a", "image", parts) == [
        "ids 1 to 500: 500 rows (1 removed from their source), 497 documents"
    ]
    assert find_count_mismatches(filled, search, "image-a", "image", parts, moderated="image") == []
    search.client.delete(index="image-a", id=keys[2], refresh=True)
    assert find_count_mismatches(filled, search, "image-a", "image", parts, moderated="image") == [
        "ids 1 to 500: 500 rows (1 removed from their source, 2 deleted by moderators), 496 documents"
    ]


def test_a_document_without_a_row_is_noticed(filled, search):
    """Its id is outside all compared ranges, so only the total count reveals it."""
    parts, _ = fill(filled, search, "image-a")
    document = search.client.search(index="image-a", size=1)["hits"]["hits"][0]["_source"]
    search.client.index(index="image-a", id="stray", document={**document, "id": 501}, refresh=True)
    assert find_count_mismatches(filled, search, "image-a", "image", parts) == [
        "in all: 499 documents are expected, 500 exist"
    ]


@pytest.mark.parametrize("row", [1, 500])
def test_a_row_outside_all_ranges_is_noticed(filled, search, row):
    """The table was copied again, or has grown, since it was split."""
    filled.execute("delete from imagelist_images")
    filled.execute(f"create temp table later as select * from image where id = {row}")
    filled.execute(f"delete from image where id = {row}")
    parts, _ = fill(filled, search, "image-a", number=2)
    filled.execute("insert into image select * from later")
    assert find_count_mismatches(filled, search, "image-a", "image", parts) == [
        "1 rows outside all ranges; clear split_ranges and all tasks after it instead"
    ]


def test_an_empty_table(api, search):
    make(search, "image-a")
    assert ranges(api, "image", 8) == []
    assert find_count_mismatches(api, search, "image-a", "image", []) == []


def test_a_range_goes_on_where_it_was_stopped(filled, search, monkeypatch):
    monkeypatch.setattr(document_rows, "CHUNK", 50)
    make(search, "image-a")
    state: Progress = {}
    options = keep(state)
    part = IdRange(1, 500)
    stopped(filled, search, state)
    assert 0 < state["at"]["done"]["after"] < 500
    filled.execute("update image set title = 'changed' where id = 1")
    done = RangeIndexer(filled, search, "image-a", "image", "image", DEFAULT, part, **options).run()
    search.refresh("image-a")
    assert done.documents == search.count("image-a") == 499
    first = filled.execute("select identifier::text from image where id = 1").fetchone()[0]
    assert search.client.get(index="image-a", id=first)["_source"]["title"] != "changed"
    assert (
        sum(done.tags.values())
        == filled.execute(
            "select sum(jsonb_array_length(tags)) from image where not removed_from_source"
        ).fetchone()[0]
    )


def odd(key):
    """About half of all identifiers."""
    return int(key[-1], 16) % 2 == 1


@pytest.mark.parametrize(
    ("status", "times", "outcome"),
    [(429, 3, None), (429, 99, Retry), (503, 2, None), (409, 2, None), (403, 2, Fatal)],
)
def test_documents_that_are_refused_for_now(filled, search, faulty, status, times, outcome):
    """Documents that a successful bulk request refused are sent again, alone, until they are accepted."""
    proxy, indexes = faulty
    proxy.items(times, odd, status, "made_up")
    make(search, "image-a")
    waits: list[float] = []
    indexer = image_indexer(filled, Indexes(indexes.client, pause=waits.append))
    if outcome:
        with pytest.raises(outcome, match="no room"):
            indexer.run()
        return
    assert indexer.run().documents == 499
    assert waits == [1.0, 2.0, 4.0][:times]
    search.refresh("image-a")
    assert search.count("image-a") == 499
    last = [
        json.loads(line) for line in [r for r in proxy.seen if "_bulk" in r.path][-1].body.splitlines()[0::2]
    ]
    assert {odd(one["index"]["_id"]) for one in last} == {True}


@pytest.mark.parametrize(
    ("status", "times", "outcome"), [(503, 3, None), (429, 3, None), (500, 99, Retry), (400, 1, Fatal)]
)
def test_requests_that_are_refused_for_now(filled, search, faulty, status, times, outcome):
    proxy, indexes = faulty
    proxy.times("/_bulk", times, status)
    make(search, "image-a")
    indexer = image_indexer(filled, indexes)
    if outcome:
        with pytest.raises(outcome, match=str(status) if outcome is Retry else "refused"):
            indexer.run()
        return
    assert indexer.run().documents == 499


def test_an_engine_that_closes_the_connection(filled, search, faulty):
    """Only the response was lost: the documents are stored, and sending them again changes nothing."""
    proxy, indexes = faulty
    proxy.at(
        "/_bulk",
        lambda request, forward: forward(request) and None if proxy.count("_bulk") < 4 else forward(request),
    )
    make(search, "image-a")
    done = image_indexer(filled, indexes).run()
    search.refresh("image-a")
    assert done.documents == search.count("image-a") == 499


def test_an_engine_that_is_away(filled, search, faulty):
    proxy, indexes = faulty
    proxy.at("/_bulk", lambda *_: None)
    make(search, "image-a")
    waits: list[float] = []
    with pytest.raises(Retry, match="does not answer"):
        image_indexer(filled, Indexes(indexes.client, pause=waits.append)).run()
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_request_that_is_too_large_is_halved(filled, search, faulty):
    """Some engines accept at most 10 MB; a document that is larger than the limit is rejected."""
    proxy, indexes = faulty

    def small(request, forward):
        return answer(413, {"error": "too much"}) if len(request.body) > 20_000 else forward(request)

    proxy.at("/_bulk", small)
    filled.execute(
        "update image set tags = (select jsonb_agg(jsonb_build_object('name', n || 'tag')) "
        "from generate_series(1, 2000) n) where id = 7"
    )
    make(search, "image-a")
    done = image_indexer(filled, indexes).run()
    assert done.rejected == {"too large": 1}
    search.refresh("image-a")
    assert done.documents == search.count("image-a") == 498
    assert find_count_mismatches(filled, search, "image-a", "image", [IdRange(1, 500)], rejected=[1]) == []
    assert proxy.count("_bulk") > 8


def stopped(api, search, state):
    with pytest.raises(Interrupted, match="row id"):
        image_indexer(api, search, **keep(state, should_stop=lambda: True)).run()


@pytest.mark.parametrize("change", ["index", "range", "table", "shape"])
def test_progress_of_something_else_does_not_count(filled, search, monkeypatch, caplog, change):
    """A cleared task ignores saved progress of another index, range or table."""
    monkeypatch.setattr(document_rows, "CHUNK", 50)
    make(search, "image-a")
    state: Progress = {}
    part, table = IdRange(1, 500), "image"
    stopped(filled, search, state)
    assert state["at"]["done"]["documents"] > 0
    if change == "index":
        make(search, "image-a")
    elif change == "range":
        part = IdRange(40, 400)
    elif change == "table":
        table = "copied"
        filled.execute("create table copied as select * from image")
    else:
        state["at"] = {"after": 300, "documents": 300}
    done = RangeIndexer(filled, search, "image-a", table, "image", DEFAULT, part, **keep(state)).run()
    rows = filled.execute(
        "select count(*) from image where id between %s and %s", [part.first, part.last]
    ).fetchone()[0]
    assert done.rows == rows
    assert "starts over" in caplog.text


def test_a_missing_index_is_an_error(filled, search):
    uuid = make(search, "image-a")
    search.delete(["image-a"])
    with pytest.raises(Fatal, match="image-a is missing: clear create_index"):
        image_indexer(filled, search, uuid=uuid).run()
    assert not search.exists("image-a")


@pytest.mark.parametrize("later", ["nothing", "by itself", "another"])
def test_an_index_that_is_deleted_while_it_is_filled(filled, search, monkeypatch, later):
    """Filling an index never makes the engine create a missing one with a guessed mapping."""
    monkeypatch.setattr(document_rows, "CHUNK", 50)
    uuid = make(search, "image-a")
    steps: list[int] = []

    def progress(done):
        if not steps:
            steps.append(done)
            search.client.indices.delete(index="image-a")
            if later == "by itself":
                search.client.index(index="image-a", id="x", document={"title": "guessed"}, refresh=True)
            elif later == "another":
                make(search, "image-a")

    with pytest.raises(Fatal, match="missing"):
        RangeIndexer(
            filled,
            search,
            "image-a",
            "image",
            "image",
            DEFAULT,
            IdRange(1, 500),
            uuid=uuid,
            attempt=Attempt(report=progress),
        ).run()
    if later == "nothing":
        assert not search.exists("image-a")
    else:
        search.refresh("image-a")
        assert search.count("image-a") == (later == "by itself")
    with pytest.raises(Fatal, match="clear create_index"):
        find_count_mismatches(filled, search, "image-a", "image", [IdRange(1, 500)], uuid=uuid)


def test_an_index_that_is_replaced_after_the_last_document(filled, search):
    uuid = make(search, "image-a")
    with pytest.raises(Fatal, match="not the one that this run created"):
        RangeIndexer(
            filled,
            search,
            "image-a",
            "image",
            "image",
            DEFAULT,
            IdRange(1, 500),
            uuid=uuid,
            attempt=Attempt(report=lambda _: make(search, "image-a")),
        ).run()


REJECTS = [
    ("audio", 'alt_files = \'[{"filetype": {"a": 1}}, {"filetype": 7}, 5, null]\'', None),
    ("audio", 'alt_files = \'{"filetype": "ogg"}\'', None),
    ("audio", f'alt_files = \'[{{"filetype": "{"x" * 40_000}"}}]\'', None),
    ("image", "standardized_popularity = 1e-39", None),
    ("image", "standardized_popularity = 1e-42", None),
    ("image", "standardized_popularity = 'NaN'", None),
    ("image", "standardized_popularity = 'Infinity'", None),
    ("image", "meta_data = '{\"authority_boost\": 1e-300}'", None),
    ("image", "meta_data = '{\"authority_boost\": 1e400}'", None),
    ("image", 'meta_data = \'{"views": 1e400, "n": 123456789012345678901234567890}\'', None),
    ("image", "meta_data = ('{\"views\": 1' || repeat('0', 9000) || '}')::jsonb", None),
    ("image", "meta_data = '[1]'", None),
    ("image", 'meta_data = \'{"description": {"a": 1}, "mature": [1]}\'', None),
    (
        "image",
        "meta_data = (repeat('{\"a\":', 3000) || '1' || repeat('}', 3000))::jsonb",
        "no document can be made: ValueError",
    ),
    ("image", 'tags = \'{"name": "a"}\'', None),
    (
        "image",
        (
            'tags = \'[[], {"name": {"a": 1}}, {"name": "b", "accuracy": 1e39}, {"name": "c", '
            '"accuracy": [1]}]\''
        ),
        None,
    ),
    ("image", 'tags = \'[{"name": "b", "accuracy": 1e400}]\'', None),
    ("image", "created_on = 'infinity'", "the row cannot be read"),
    ("image", "created_on = '-infinity'", "the row cannot be read"),
    ("image", "created_on = '12345-01-01'", "the row cannot be read"),
    ("image", "created_on = '0044-03-15 BC'", "the row cannot be read"),
    ("image", "url = 'https://example.org/a.' || repeat('x', 900)", None),
    ("image", "width = 2147483647, height = 2147483647", None),
    ("image", "license = null", "no document can be made: AttributeError"),
]


@pytest.mark.parametrize(("media_type", "change", "kind"), REJECTS, ids=[r[1][:60] for r in REJECTS])
def test_one_bad_record(filled, search, media_type, change, kind):
    """The record has a document without the bad value, or a reason for having none.

    All other records have a document, and every row is accounted for.
    """
    filled.execute(f"alter table {media_type} alter column license drop not null")
    filled.execute(f"update {media_type} set {change} where id = 42")
    parts, done = fill(filled, search, "image-a", media_type)
    rejected = {kind: 1} if kind else {}
    assert done[0].rejected == rejected
    counts = [sum(rejected.values())]
    assert find_count_mismatches(filled, search, "image-a", media_type, parts, rejected=counts) == []
    key = filled.execute(f"select identifier::text from {media_type} where id = 42").fetchone()[0]
    assert [e.split(":")[0] for e in done[0].examples] == [key] * len(rejected)
    assert search.matching("image-a", [key]) == ([] if kind else [key])
    if kind:
        wrong = find_count_mismatches(filled, search, "image-a", media_type, parts)
        assert wrong
        assert "documents" in wrong[0]


def test_a_document_that_the_engine_always_refuses(filled, search, monkeypatch):
    """The engine refuses only this document, and the one that an earlier attempt stored is deleted."""
    parts, _ = fill(filled, search, "image-a")

    def bad(media_type, row, tags):
        return document(media_type, row, tags) | ({"filetype": {"a": 1}} if row.id == 42 else {})

    monkeypatch.setattr(document_rows, "document", bad)
    done = RangeIndexer(
        filled, Indexes(search.client, pause=lambda _: None), "image-a", "image", "image", DEFAULT, parts[0]
    ).run()
    search.refresh("image-a")
    assert done.rejected == {"mapper_parsing_exception in filetype": 1}
    assert "Can't get text on a START_OBJECT" in done.examples[0]
    assert find_count_mismatches(filled, search, "image-a", "image", parts, rejected=[1]) == []


def make_unreadable(api, number):
    """Make this many rows unreadable, all of which need a document."""
    api.execute(
        "update image set created_on = 'infinity' where id in"
        " (select id from image where not removed_from_source order by id limit %s)",
        [number],
    )


@pytest.mark.parametrize(("bad", "stops"), [(10, False), (11, True)])
def test_many_bad_records_fail_the_task(filled, search, bad, stops):
    """No progress is saved, so that the range starts over when it is cleared after a fix."""
    make_unreadable(filled, bad)
    make(search, "image-a")
    state: Progress = {}

    def run():
        return image_indexer(filled, search, **keep(state)).run()

    if not stops:
        assert run().rejected == {"the row cannot be read": 10}
        return
    with pytest.raises(
        Fatal, match="11 of 500 records of image have no document, more than 1%: 11 the row cannot be read"
    ):
        run()
    filled.execute("update image set created_on = now() where created_on = 'infinity'")
    assert run().rejected == {}


def test_rejects_are_listed_up_to_a_bound(filled, search, monkeypatch):
    monkeypatch.setattr(loss_limits, "FEW_REJECTS", 400)
    make_unreadable(filled, 300)
    _, [done] = fill(filled, search, "image-a")
    assert (done.rejected, len(done.examples)) == ({"the row cannot be read": 300}, 300)
    assert [":" in text for text in done.examples] == [True] * 100 + [False] * 200
    assert len({text.partition(":")[0] for text in done.examples}) == 300
    assert done.rows == 500
