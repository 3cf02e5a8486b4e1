"""Rows to documents, aliases and filtered indexes, on a real database and a real search engine."""

import threading
from datetime import UTC, datetime

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from catalog.data_refresh import indexing
from catalog.data_refresh.indexing import (
    IdRange,
    RangeIndexer,
    follow_moderation,
    mismatches,
    moderated_since,
    ranges,
)
from catalog.data_refresh.mapping import index_body, index_meta
from catalog.data_refresh.search import connect
from catalog.data_refresh.sensitive import insensitive, parse_terms, sensitive
from catalog.data_refresh.tag_policy import DEFAULT, policy_from
from catalog.database import sample_data
from catalog.ingestion.errors import Fatal, Interrupted, Retry

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


@pytest.fixture
def filled(api):
    sample_data.fill(api, "api", 500)
    return api


def make(search, name, media_type="image", policy=DEFAULT):
    search.create(
        name,
        index_body(media_type, index_meta(media_type, f"{media_type}_data_refresh", "run", policy), shards=1),
    )


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
    assert mismatches(filled, search, "image-a", "image", parts) == ["ids 1 to 500: 499 rows, 498 documents"]


def test_a_document_of_no_row_is_noticed(filled, search):
    """Its id is in none of the ranges that are compared, so only the total tells."""
    parts, _ = fill(filled, search, "image-a")
    document = search.client.search(index="image-a", size=1)["hits"]["hits"][0]["_source"]
    search.client.index(index="image-a", id="stray", document={**document, "id": 501}, refresh=True)
    assert mismatches(filled, search, "image-a", "image", parts) == ["in all: 499 rows, 500 documents"]


def test_an_empty_table(api, search):
    make(search, "image-a")
    assert ranges(api, "image", 8) == []
    assert mismatches(api, search, "image-a", "image", []) == []


def test_a_range_goes_on_where_it_was_stopped(filled, search, monkeypatch):
    monkeypatch.setattr(indexing, "CHUNK", 50)
    make(search, "image-a")
    state = {}
    options = {"load": lambda: state.get("at"), "save": lambda s: state.update(at=s)}
    part = IdRange(1, 500)
    with pytest.raises(Interrupted, match="row id"):
        RangeIndexer(
            filled,
            search.client,
            "image-a",
            "image",
            "image",
            DEFAULT,
            part,
            should_stop=lambda: True,
            **options,
        ).run()
    assert 0 < state["at"]["after"] < 500
    filled.execute("update image set title = 'changed' where id = 1")
    done = RangeIndexer(filled, search.client, "image-a", "image", "image", DEFAULT, part, **options).run()
    search.refresh("image-a")
    assert done.documents == search.count("image-a") == 499
    first = filled.execute("select identifier::text from image where id = 1").fetchone()[0]
    assert search.client.get(index="image-a", id=first)["_source"]["title"] != "changed"
    assert sum(done.tags.values()) == filled.execute(
        "select sum(jsonb_array_length(tags)) from image where not removed_from_source"
    ).fetchone()[0]  # fmt: skip


class Flaky:
    """A search engine that takes some documents only at the third asking, and one never."""

    def __init__(self, status, times):
        self.status, self.times, self.seen, self.lock, self.taken = status, times, 0, threading.Lock(), []

    def __call__(self, request):
        lines = request.get_data().splitlines()
        with self.lock:
            self.seen += 1
            fail = self.seen <= self.times
            self.taken += [line for n, line in enumerate(lines[0::2]) if not (fail and n % 2)]
        items = [
            {"index": {"_id": str(n), "status": self.status if fail and n % 2 else 201}}
            for n in range(len(lines) // 2)
        ]
        if fail:
            for item in items[1::2]:
                item["index"]["error"] = {"type": "es_rejected_execution_exception", "reason": "no room"}
        body = {"errors": fail} if request.args.get("filter_path") else {"errors": fail, "items": items}
        return Response(
            __import__("json").dumps(body),
            content_type="application/json",
            headers={"X-Elastic-Product": "Elasticsearch"},
        )


@pytest.mark.parametrize(
    ("status", "times", "outcome"), [(429, 3, None), (429, 99, Retry), (400, 2, Fatal), (503, 2, None)]
)
def test_documents_that_are_not_taken(filled, httpserver: HTTPServer, status, times, outcome):
    waits: list[float] = []
    flaky = Flaky(status, times)
    httpserver.expect_request("/image-a/_bulk").respond_with_handler(flaky)
    client = connect(httpserver.url_for("/"))
    indexer = RangeIndexer(
        filled, client, "image-a", "image", "image", DEFAULT, IdRange(1, 500), pause=waits.append
    )
    if outcome:
        with pytest.raises(outcome, match="no room"):
            indexer.run()
        return
    assert indexer.run().documents == 499
    assert waits == [1.0, 2.0, 4.0][:times]
    assert len(set(flaky.taken)) == 499


def test_an_engine_that_is_away(filled):
    waits = []
    client = connect("http://127.0.0.1:9")
    with pytest.raises(Retry, match="does not answer"):
        RangeIndexer(
            filled, client, "image-a", "image", "image", DEFAULT, IdRange(1, 500), pause=waits.append
        ).run()
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_aliases_move_together(search):
    for name in ("image-a", "image-a-filtered", "image-b", "image-b-filtered"):
        make(search, name)
    search.point({"image": "image-a", "image-filtered": "image-a-filtered"})
    search.point({"image": "image-b", "image-filtered": "image-b-filtered"})
    assert (search.behind("image"), search.behind("image-filtered")) == ("image-b", "image-b-filtered")
    with pytest.raises(Fatal, match="image points at it"):
        search.delete(["image-b"])
    assert search.orphans(["image_data_refresh"], "image") == ["image-a", "image-a-filtered"]
    assert search.orphans(["another"], "image") == []
    assert search.delete(["image-a", "image-none"]) == ["image-a"]
    with pytest.raises(Fatal, match="is an index, so it cannot be an alias"):
        search.point({"image-a-filtered": "image-b"})
    search.client.indices.update_aliases(actions=[{"add": {"index": "image-a-filtered", "alias": "image"}}])
    with pytest.raises(Fatal, match="points at image-a-filtered, image-b"):
        search.behind("image")
    with pytest.raises(Fatal, match="cannot be the name"):
        search.create("Image A", {})


def test_meta_says_which_policy(search):
    policy = policy_from({"excluded_providers": ["clarifai"]})
    make(search, "image-a", policy=policy)
    meta = search.meta("image-a")
    assert meta["tag_policy_digest"] == policy.digest
    assert meta["tag_policy"]["excluded_providers"] == ["clarifai"]
    assert search.meta("nothing") == {}


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


def test_moderation_while_indexing(filled, search):
    began = datetime.now(UTC)
    fill(filled, search, "image-a")
    filled.execute("insert into api_deletedimage select now(), now(), identifier from image where id = 50")
    filled.execute("insert into api_matureimage select now(), identifier from image where id = 51")
    deleted, mature = moderated_since(filled, "image", began)
    assert follow_moderation(search.client, "image-a", deleted, mature) == 2
    search.refresh("image-a")
    assert search.count("image-a") == 498
    assert search.client.get(index="image-a", id=mature[0])["_source"]["mature"] is True
    assert follow_moderation(search.client, "image-a", [], []) == 0
