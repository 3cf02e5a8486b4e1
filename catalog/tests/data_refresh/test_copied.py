"""Copies of indexes in other forms and sizes, on a real search engine."""

import random
import re
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.core.errors import Fatal, Interrupted, Refused, Retry
from catalog.data_refresh.refresh import Copy
from catalog.data_refresh.search import proportions
from catalog.data_refresh.search.attempts import Attempt
from catalog.data_refresh.search.bulk import BulkSender, index_action
from catalog.data_refresh.search.customizing import customized, rehearse, require_customizable
from catalog.data_refresh.search.index_copy import CopiedIndex
from catalog.data_refresh.search.mapping import index_body, index_meta
from catalog.data_refresh.search.proportions import proportional, select, share_of
from catalog.data_refresh.search.tag_policy import DEFAULT
from catalog.tests.data_refresh.indexes import Progress, keep, make
from catalog.tests.data_refresh.test_filtered import titled

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
ALL: dict[str, Any] = {"match_all": {}}


def body(settings=None, mapping=None):
    own = index_body("image", index_meta("image", "create_new_staging_es_index", "run", DEFAULT), 1)
    return customized(own, settings or {}, mapping or {})


def job(search, query=ALL, settings=None, mapping=None, **options):
    copy = Copy("image-a", search.identity("image-a").uuid, query)

    def create():
        return search.create("image-b", body(settings, mapping))

    return CopiedIndex(search, "image-b", copy, create, **options)


def test_a_copy_with_another_form_and_fewer_documents(search):
    titled(search, ["red kite", "red bus", "blue whale"])
    mapping = {"properties": {"title": {"similarity": "BM25"}, "filetype": None}}
    settings = {
        "index.number_of_shards": 2,
        "analysis": {"filter": {"english_stop": {"stopwords": "_none_"}}},
    }
    copied = job(search, {"match": {"title": "red"}}, settings, mapping).run()
    assert copied.documents == search.count("image-b") == 2
    made = search.client.indices.get(index="image-b")["image-b"]
    assert made["settings"]["index"]["number_of_shards"] == "2"
    analysis = made["settings"]["index"]["analysis"]["filter"]
    assert analysis["english_stop"] == {"type": "stop", "stopwords": "_none_"}
    assert "english_stemmer" in analysis
    fields = made["mappings"]["properties"]
    assert fields["title"]["analyzer"] == "custom_english"
    assert "filetype" not in fields
    assert made["mappings"]["_meta"]["dag_id"] == "create_new_staging_es_index"
    assert search.aliases("image-b") == []


def test_a_copy_goes_on_where_it_was_stopped(search):
    titled(search, [f"t{n}" for n in range(60)])
    state: Progress = {}
    with pytest.raises(Interrupted):
        job(search, per_second=20, **keep(state, should_stop=lambda: True)).run()
    before, task = search.identity("image-b").uuid, state["at"]["task"]
    assert task
    assert job(search, **keep(state)).run()[:2] == (60, before)
    assert job(search, **keep(state)).run()[:2] == (60, before)  # killed before it could report


def test_an_index_that_is_deleted_while_it_is_filled_leaves_nothing(search):
    """The engine goes on, and creates an index of the alias that it was told to write to."""
    titled(search, [f"t{n}" for n in range(3000)])
    made: list[str] = []

    def delete(done):
        if done and search.exists("image-b"):
            search.client.indices.delete(index="image-b")
        made[:] = search.client.indices.get(index="image-b*").body

    with pytest.raises(Fatal, match="image-b is missing: clear create_index"):
        job(search, per_second=1500, attempt=Attempt(report=delete)).run()
    assert made
    assert list(search.client.indices.get(index="image-*").body) == ["image-a"]


def test_strays_are_orphans_of_any_dag(search):
    titled(search, ["a"])
    search.client.indices.create(index="image-b.writer-0123456789ab")
    search.client.indices.create(index="image-b.somebodys")
    for name in ("image-backup.202611301200", "image-b.writer", "image-b.writer-0123456789ab.old"):
        search.client.indices.create(index=name)  # by a person
    assert search.orphans(["no_dag"], "image") == ["image-b.writer-0123456789ab"]


def test_another_query_or_origin_begins_again(search):
    titled(search, ["red", "blue"])
    state: Progress = {}
    first = job(search, **keep(state)).run()
    second = job(search, {"match": {"title": "red"}}, **keep(state)).run()
    assert (second.documents, second.uuid == first.uuid) == (1, False)


def test_documents_that_the_engine_did_not_copy_are_noticed(search):
    titled(search, ["red", "blue"])
    state: Progress = {}
    job(search, **keep(state)).run()
    search.client.delete(index="image-b", id="0", refresh=True)
    with pytest.raises(Retry, match="image-b holds 1 documents instead of 2; another attempt recreates"):
        job(search, **keep(state)).run()
    assert job(search, **keep(state)).run().documents == 2


def test_documents_that_are_deleted_from_the_origin_meanwhile(search):
    """The copy may have them, or not."""
    titled(search, ["red", "blue", "green"])
    copy = Copy("image-a", search.identity("image-a").uuid, ALL)

    def create():
        search.client.delete(index="image-a", id="0", refresh=True)
        return search.create("image-b", body())

    state: Progress = {}
    assert CopiedIndex(search, "image-b", copy, create, **keep(state)).run().documents == 2
    search.client.delete(index="image-a", id="1", refresh=True)
    assert job(search, **keep(state)).run().documents == 2


def test_documents_of_the_copy_that_others_exchanged_are_noticed(search):
    """Their number is right."""
    titled(search, ["red", "blue"])
    state: Progress = {}
    job(search, **keep(state)).run()
    search.client.delete(index="image-b", id="0")
    search.client.index(index="image-b", id="x", document={"title": "made up"}, refresh=True)
    with pytest.raises(
        Retry, match="holds 2 documents after 4 writes, so the engine or another program repeated some"
    ):
        job(search, **keep(state)).run()
    assert job(search, **keep(state)).run().documents == 2
    assert search.matching("image-b", ["0", "1", "x"]) == ["0", "1"]


def test_an_origin_that_was_replaced_meanwhile(search):
    titled(search, ["red"])
    copy = job(search)
    titled(search, ["blue"])
    with pytest.raises(Fatal, match="image-a is missing, or was replaced; trigger a new run"):
        copy.run()


def test_documents_that_do_not_fit_the_mapping_fail_at_once(search):
    titled(search, ["red"])
    mapping = {
        "properties": {"title": {"type": "date", "fields": None, "analyzer": None, "similarity": None}}
    }
    with pytest.raises(Fatal, match=r"could not copy image-a to image-b: .*title"):
        job(search, mapping=mapping).run()


@pytest.mark.parametrize(
    ("settings", "mapping", "reason"),
    [
        ({"number_of_replicas": 2}, {}, "settings: index.number_of_replicas comes from the extra `replicas`"),
        (
            {"index": {"refresh_interval": "5s"}},
            {},
            "settings: index.refresh_interval is the engine's default",
        ),
        ({"index.default_pipeline": "p"}, {}, "settings: index.default_pipeline, which changes or drops"),
        ({"index": {"blocks": {"write": True}}}, {}, "settings: index.blocks, which forbids"),
        ({}, {"_meta": {"dag_id": "x"}}, "mapping: _meta says which run made the index"),
        ({}, {"_source": {"enabled": False}}, "mapping: _source is what decisions of moderators are written"),
        ({}, {"properties": {"mature": None}}, "mapping: mature must stay as they are"),
        ({}, {"properties": {"source": {"type": "text"}}}, "mapping: source must stay"),
        ({}, {"properties": None}, "mapping: id, identifier, mature, source must stay"),
    ],
)
def test_changes_that_would_break_the_catalog_are_refused(settings, mapping, reason):
    with pytest.raises(Refused, match=re.escape(reason)):
        require_customizable("image", settings, mapping)


def test_changes_that_are_allowed():
    settings = {"index": {"number_of_shards": 3, "max_result_window": 50_000}}
    require_customizable("image", settings, {"dynamic": "strict", "properties": {"title": None}})
    own = index_body("audio", {}, 1)
    assert customized(own, {}, {})["mappings"] == own["mappings"]


@pytest.mark.parametrize(
    ("settings", "mapping"),
    [
        ({"index": {"number_of_shards": 0}}, {}),
        ({"nonsense": 1}, {}),
        ({}, {"properties": {"x": {"type": "y"}}}),
    ],
)
def test_the_engine_checks_the_form_before_anything_is_created(search, settings, mapping):
    with pytest.raises(Fatal, match="the search engine answered 400"):
        rehearse(search, "image", body(settings, mapping))
    rehearse(search, "image", body())
    assert search.client.indices.get(index="image-*", expand_wildcards="all").body == {}


COUNTS = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 10_000), min_size=1)


@given(COUNTS, st.data())
def test_a_number_is_divided_exactly_and_fairly(sources, data):
    total = sum(sources.values())
    if not total:
        with pytest.raises(Refused, match="1 documents were asked for, of 0"):
            proportional(sources, 1)
        return
    number = data.draw(st.integers(1, total))
    divided = proportional(sources, number)
    assert sum(divided.values()) == number
    for source, documents in sources.items():
        assert abs(divided.get(source, 0) - number * documents / total) < 1
        assert divided.get(source, 0) <= documents


@given(COUNTS, st.data())
def test_each_source_has_one_if_asked(sources, data):
    there = {source for source, documents in sources.items() if documents}
    if not there:
        return
    number = data.draw(st.integers(len(there), sum(sources.values())))
    divided = proportional(sources, number, each=True)
    assert sum(divided.values()) == number
    assert {source for source, documents in divided.items() if documents} == there
    assert all(documents <= sources[source] for source, documents in divided.items())
    if number > 1:
        with pytest.raises(Refused, match=r"are too few for one of each|were asked for"):
            proportional(dict.fromkeys((str(n) for n in range(number + 1)), 5), number, each=True)


def test_a_percentage():
    assert share_of({"a": 150, "b": 50}, 12.5) == 25
    assert share_of({"a": 10}, 0.001) == 1
    assert share_of({"a": 1000}, 0.15) == 2  # 1.5, although 0.15 has no exact binary form


def fill_sources(search, counts, name="image-a"):
    """Create an index of documents with random identifiers, written in random order."""
    make(search, name)
    made = random.Random(5)
    keys = {}
    for source, number in counts.items():
        keys[source] = sorted(str(uuid.UUID(int=made.getrandbits(128), version=4)) for _ in range(number))
    actions = [
        index_action(key, {"identifier": key, "source": source}) for source in keys for key in keys[source]
    ]
    made.shuffle(actions)
    BulkSender(search, search.require(name).writer).send(actions)
    search.refresh(name)
    return keys


def found(search, query):
    return {key for batch in search.found("image-a", query, 5_000) for key in batch}


def test_a_random_sample_of_each_source_is_chosen(search, monkeypatch):
    """A few, all, none, and more than there are. With few random numbers, many documents share one."""
    keys = fill_sources(search, {"flickr": 6_000, "met": 40, "nypl": 9, "small": 3, "rest": 5})
    wanted = {"flickr": 3_000, "met": 11, "nypl": 9, "small": 8, "absent": 2, "rest": 0}
    chosen = select(search, "image-a", wanted)
    assert chosen.documents == {"flickr": 3_000, "met": 11, "nypl": 9, "small": 3}
    assert chosen.missing == {"small": 5, "absent": 2}
    assert select(search, "image-a", wanted) == chosen
    assert search.count("image-a", chosen.query) == sum(chosen.documents.values())
    sample = found(search, chosen.query)
    assert {source: len(sample & set(own)) for source, own in keys.items()} == {**chosen.documents, "rest": 0}
    oldest = sorted(keys["flickr"])[:3_000]  # identifiers grow with time
    assert 1_300 < len(sample & set(oldest)) < 1_700
    larger = select(search, "image-a", {**wanted, "flickr": 4_567, "met": 12})
    assert found(search, larger.query) > sample
    monkeypatch.setattr(proportions, "_DRAWS", 16)
    few = select(search, "image-a", wanted)
    assert search.count("image-a", few.query) == sum(few.documents.values())
    assert select(search, "image-a", wanted) == few
    with pytest.raises(Refused, match="image-a has no documents of the sources absent"):
        select(search, "image-a", {"absent": 3})
