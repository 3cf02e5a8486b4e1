"""Rows to documents, aliases and filtered indexes, on a real database and a real search engine."""

import json
from typing import Any

import pytest

from catalog.data_refresh import indexing
from catalog.data_refresh.indexing import IdRange, RangeIndexer, mismatches, ranges
from catalog.data_refresh.sensitive import insensitive, parse_terms, sensitive
from catalog.data_refresh.tag_policy import DEFAULT
from catalog.database import sample_data
from catalog.ingestion.errors import Fatal, Interrupted, Retry
from catalog.tests.data_refresh.engine_proxy import answer
from catalog.tests.data_refresh.indexes import make

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


@pytest.fixture
def filled(api):
    sample_data.fill(api, "api", 500)
    return api


def fill(api, search, name, media_type="image", number=1, **options):
    make(search, name, media_type)
    parts = ranges(api, media_type, number)
    done = [
        RangeIndexer(api, search.client, name, media_type, media_type, DEFAULT, part, **options).run()
        for part in parts
    ]
    search.refresh(name)
    return parts, done


def test_all_rows_become_documents(filled, search, monkeypatch):
    monkeypatch.setattr(indexing, "CHUNK", 60)
    parts, done = fill(filled, search, "image-a", number=4)
    assert len(parts) == 4
    assert [p.first for p in parts[1:]] == [p.last + 1 for p in parts[:-1]]
    assert sum(d.documents for d in done) == 499
    assert sum(d.removed for d in done) == 1
    assert mismatches(filled, search, "image-a", "image", parts) == []
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
    assert "sensitive_text" not in found
    matures = filled.execute("select identifier::text from api_matureimage").fetchall()
    hits = search.client.search(index="image-a", query={"ids": {"values": [m for (m,) in matures]}})["hits"][
        "hits"
    ]
    assert matures
    assert all(h["_source"]["mature"] for h in hits)


def test_audio(filled, search):
    parts, _ = fill(filled, search, "audio-a", "audio")
    assert mismatches(filled, search, "audio-a", "audio", parts) == []
    lengths = search.client.search(index="audio-a", size=0, aggs={"l": {"terms": {"field": "length"}}})[
        "aggregations"
    ]["l"]["buckets"]
    assert {b["key"] for b in lengths} == {"short", "medium", "long"}


def test_a_missing_document_is_noticed(filled, search):
    parts, _ = fill(filled, search, "image-a")
    gone = filled.execute("select identifier::text from image where id = 10").fetchone()[0]
    search.client.delete(index="image-a", id=gone, refresh=True)
    assert mismatches(filled, search, "image-a", "image", parts) == [
        "ids 1 to 500: 500 rows (1 gone at their source), 498 documents"
    ]


def test_a_document_of_no_row_is_noticed(filled, search):
    """Its id is in none of the ranges that are compared, so only the total tells."""
    parts, _ = fill(filled, search, "image-a")
    document = search.client.search(index="image-a", size=1)["hits"]["hits"][0]["_source"]
    search.client.index(index="image-a", id="stray", document={**document, "id": 501}, refresh=True)
    assert mismatches(filled, search, "image-a", "image", parts) == [
        "in all: 499 documents are wanted, 500 are there"
    ]


def test_an_empty_table(api, search):
    make(search, "image-a")
    assert ranges(api, "image", 8) == []
    assert mismatches(api, search, "image-a", "image", []) == []


def test_a_range_goes_on_where_it_was_stopped(filled, search, monkeypatch):
    monkeypatch.setattr(indexing, "CHUNK", 50)
    make(search, "image-a")
    state = {}
    options = keep(state)
    part = IdRange(1, 500)
    stopped(filled, search, state)
    assert 0 < state["at"]["done"]["after"] < 500
    filled.execute("update image set title = 'changed' where id = 1")
    done = RangeIndexer(filled, search.client, "image-a", "image", "image", DEFAULT, part, **options).run()
    search.refresh("image-a")
    assert done.documents == search.count("image-a") == 499
    first = filled.execute("select identifier::text from image where id = 1").fetchone()[0]
    assert search.client.get(index="image-a", id=first)["_source"]["title"] != "changed"
    assert sum(done.tags.values()) == filled.execute(
        "select sum(jsonb_array_length(tags)) from image where not removed_from_source"
    ).fetchone()[0]  # fmt: skip


def odd(key):
    """About half of all identifiers."""
    return int(key[-1], 16) % 2 == 1


@pytest.mark.parametrize(
    ("status", "times", "outcome"),
    [(429, 3, None), (429, 99, Retry), (503, 2, None), (409, 2, None), (403, 2, Fatal)],
)
def test_documents_that_are_not_taken(filled, search, faulty, status, times, outcome):
    """Single documents in an answer that is good as a whole are sent again, alone, until they are taken."""
    proxy, indexes = faulty
    proxy.items(times, odd, status, "made_up")
    make(search, "image-a")
    waits: list[float] = []
    indexer = RangeIndexer(
        filled, indexes.client, "image-a", "image", "image", DEFAULT, IdRange(1, 500), pause=waits.append
    )
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
def test_requests_that_are_not_taken(filled, search, faulty, status, times, outcome):
    proxy, indexes = faulty
    proxy.times("/_bulk", times, status)
    make(search, "image-a")
    indexer = RangeIndexer(
        filled, indexes.client, "image-a", "image", "image", DEFAULT, IdRange(1, 500), pause=lambda _: None
    )
    if outcome:
        with pytest.raises(outcome, match=str(status) if outcome is Retry else "refused"):
            indexer.run()
        return
    assert indexer.run().documents == 499


def test_an_engine_that_hangs_up(filled, search, faulty):
    """What was lost was an answer: the documents are there, and sending them again changes nothing."""
    proxy, indexes = faulty
    proxy.at(
        "/_bulk",
        lambda request, forward: forward(request) and None if proxy.count("_bulk") < 4 else forward(request),
    )
    make(search, "image-a")
    done = RangeIndexer(
        filled, indexes.client, "image-a", "image", "image", DEFAULT, IdRange(1, 500), pause=lambda _: None
    ).run()
    search.refresh("image-a")
    assert done.documents == search.count("image-a") == 499


def test_an_engine_that_is_away(filled, search, faulty):
    proxy, indexes = faulty
    proxy.at("/_bulk", lambda *_: None)
    make(search, "image-a")
    waits: list[float] = []
    with pytest.raises(Retry, match="does not answer"):
        RangeIndexer(
            filled, indexes.client, "image-a", "image", "image", DEFAULT, IdRange(1, 500), pause=waits.append
        ).run()
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_request_that_is_too_large_is_halved(filled, search, faulty):
    """Some engines take 10 MB at most; a document that alone is too much is rejected."""
    proxy, indexes = faulty

    def small(request, forward):
        return answer(413, {"error": "too much"}) if len(request.body) > 20_000 else forward(request)

    proxy.at("/_bulk", small)
    filled.execute(
        "update image set tags = (select jsonb_agg(jsonb_build_object('name', n || 'tag')) from generate_series(1, 2000) n) where id = 7"
    )
    make(search, "image-a")
    done = RangeIndexer(
        filled, indexes.client, "image-a", "image", "image", DEFAULT, IdRange(1, 500), pause=lambda _: None
    ).run()
    assert done.rejected == {"too large": 1}
    search.refresh("image-a")
    assert done.documents == search.count("image-a") == 498
    assert mismatches(filled, search, "image-a", "image", [IdRange(1, 500)], rejected=[1]) == []
    assert proxy.count("_bulk") > 8


def keep(state):
    return {"load": lambda: state.get("at"), "save": lambda s: state.update(at=s)}


def stopped(api, search, state):
    with pytest.raises(Interrupted, match="row id"):
        RangeIndexer(
            api,
            search.client,
            "image-a",
            "image",
            "image",
            DEFAULT,
            IdRange(1, 500),
            should_stop=lambda: True,
            **keep(state),
        ).run()


@pytest.mark.parametrize("change", ["index", "range", "table", "shape"])
def test_progress_of_something_else_does_not_count(filled, search, monkeypatch, caplog, change):
    """A cleared task finds what an attempt for another index, range or table has noted."""
    monkeypatch.setattr(indexing, "CHUNK", 50)
    make(search, "image-a")
    state: dict[str, Any] = {}
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
    done = RangeIndexer(filled, search.client, "image-a", table, "image", DEFAULT, part, **keep(state)).run()
    rows = filled.execute(
        "select count(*) from image where id between %s and %s", [part.first, part.last]
    ).fetchone()[0]
    assert done.rows == rows
    assert "starts over" in caplog.text


def test_an_index_that_is_gone(filled, search):
    uuid = make(search, "image-a")
    search.delete(["image-a"])
    with pytest.raises(Fatal, match="image-a is gone: clear create_index"):
        RangeIndexer(
            filled, search.client, "image-a", "image", "image", DEFAULT, IdRange(1, 500), uuid=uuid
        ).run()
    assert not search.exists("image-a")


@pytest.mark.parametrize("later", ["nothing", "by itself", "another"])
def test_an_index_that_goes_while_it_is_filled(filled, search, monkeypatch, later):
    """The engine makes missing indexes by itself, with a mapping it guesses; what fills an index never has it do so."""
    monkeypatch.setattr(indexing, "CHUNK", 50)
    uuid = make(search, "image-a")
    steps = []

    def progress(done):
        if not steps:
            steps.append(done.after)
            search.client.indices.delete(index="image-a")
            if later == "by itself":
                search.client.index(index="image-a", id="x", document={"title": "guessed"}, refresh=True)
            elif later == "another":
                make(search, "image-a")

    with pytest.raises(Fatal, match="gone"):
        RangeIndexer(
            filled,
            search.client,
            "image-a",
            "image",
            "image",
            DEFAULT,
            IdRange(1, 500),
            uuid=uuid,
            progress=progress,
        ).run()
    if later == "nothing":
        assert not search.exists("image-a")
    else:
        search.refresh("image-a")
        assert search.count("image-a") == (later == "by itself")
    with pytest.raises(Fatal, match="clear create_index"):
        mismatches(filled, search, "image-a", "image", [IdRange(1, 500)], uuid=uuid)


def test_an_index_that_is_exchanged_behind_the_last_document(filled, search):
    uuid = make(search, "image-a")
    with pytest.raises(Fatal, match="not the one that this run made"):
        RangeIndexer(
            filled, search.client, "image-a", "image", "image", DEFAULT, IdRange(1, 500), uuid=uuid,
            progress=lambda _: make(search, "image-a"),
        ).run()  # fmt: skip


def test_the_filtered_index(filled, search):
    """One word, several words, a word in a tag that the policy drops; words that only contain a term stay."""
    filled.execute("update image set title = 'A Water lily' where id = 30")
    filled.execute("update image set title = 'waterfall' where id = 31")
    filled.execute(
        "update image set meta_data = jsonb_build_object('description', 'the old fire  brigade, again') where id = 32"
    )
    filled.execute("update image set title = 'brigade of fire' where id = 33")
    filled.execute('update image set tags = \'[{"name": "geo:running"}]\' where id = 34')
    filled.execute('update image set tags = \'[{"name": "Mother-in-law"}]\' where id = 35')
    filled.execute("update image set title = 'Running''s fun' where id = 36")
    filled.execute("update image set title = 'the snow_water_ice' where id = 37")
    fill(filled, search, "image-a")
    make(search, "image-a-filtered")
    terms = parse_terms("water\n# a note\n\n  Fire   Brigade \nrunning\nmother-in-law\n")
    hidden = search.count("image-a", sensitive(terms))
    assert hidden == 6
    tasks = []
    assert search.reindex("image-a", "image-a-filtered", insensitive(terms), started=tasks.append) == 499 - 6
    search.refresh("image-a-filtered")
    assert search.count("image-a-filtered") == 493
    ids = filled.execute("select id, identifier::text from image where id between 30 and 37").fetchall()
    there = {i for i, key in ids if search.client.exists(index="image-a-filtered", id=key)}
    assert there == {31, 33}
    assert search.reindex("image-a", "image-a-filtered", insensitive(terms), task=tasks[0]) == 493
    with pytest.raises(Retry, match="does not know"):
        search.reindex("image-a", "image-a-filtered", insensitive(terms), task="node:1")


def test_many_terms(search):
    """More phrases than an engine's default limit of clauses."""
    make(search, "image-a")
    assert (
        search.count(
            "image-a", sensitive([f"two words{n}" for n in range(1000)] + [f"word{n}" for n in range(2000)])
        )
        == 0
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("\n# only a note\n", "is empty"), ("<html>no</html>", "not a list")],
)
def test_no_terms_is_no_list(text, message):
    with pytest.raises(Fatal, match=message):
        parse_terms(text)
