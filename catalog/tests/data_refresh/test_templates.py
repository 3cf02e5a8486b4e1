"""What index templates add is found before anything is written, on a real search engine."""

from contextlib import contextmanager
from typing import Any

import pytest

from catalog.core.errors import Fatal, Retry
from catalog.data_refresh.search.preflight import preflight_search
from catalog.data_refresh.search.templates import WINDOW
from catalog.moderation.decisions import BATCH
from catalog.tests.data_refresh.engine_proxy import answer
from catalog.tests.data_refresh.indexes import make

pytestmark = pytest.mark.enable_socket


@contextmanager
def template(search, older=False, pattern="image-*", **content):
    client = search.client.indices
    if older:
        client.put_template(name="tt", index_patterns=[pattern], **content)
    else:
        client.put_index_template(name="tt", index_patterns=[pattern], priority=100, template=content)
    try:
        yield
    finally:
        (client.delete_template if older else client.delete_index_template)(name="tt")


@contextmanager
def pipeline(search, *processors):
    search.client.ingest.put_pipeline(id="pp", processors=list(processors))
    try:
        yield
    finally:
        search.client.ingest.delete_pipeline(id="pp")


def look(search, terms=("water",)):
    return preflight_search(search, terms, "image", dag_id="image_data_refresh")


def names(search):
    return sorted(n for n in search.client.indices.get(index="image-*", expand_wildcards="all").body)


ADDED: dict[str, tuple[dict[str, Any], str]] = {
    "alias": ({"aliases": {"image": {}}}, "the alias image, under which it would be searched at once"),
    "another alias": ({"aliases": {"image.x": {}}}, "the alias image.x"),
    "final pipeline": ({"settings": {"index.final_pipeline": "pp"}}, "index.final_pipeline"),
    "default pipeline": ({"settings": {"index": {"default_pipeline": "pp"}}}, "index.default_pipeline"),
    "hidden": ({"settings": {"index.hidden": True}}, "index.hidden"),
    "window": ({"settings": {"index.max_result_window": 10}}, "index.max_result_window of 10"),
    "block": ({"settings": {"index.blocks.write": True}}, "index.blocks"),
    "sort": ({"settings": {"index.sort.field": "id", "index.sort.order": "desc"}}, "index.sort"),
    "allocation": (
        {"settings": {"index.routing.allocation.enable": "none"}},
        "index.routing.allocation.enable: none",
    ),
}


@pytest.mark.parametrize("older", [False, True], ids=["a template", "an older template"])
@pytest.mark.parametrize("what", ADDED)
def test_what_a_template_adds(search, what, older):
    """It is found without creating an index; an index created despite a later template is deleted."""
    content, named = ADDED[what]
    content = {"mappings": {"properties": {"id": {"type": "long"}}}, **content} if what == "sort" else content
    with pipeline(search, {"drop": {}}):
        make(search, "image-live")
        search.swap_aliases({"image": "image-live"})
        with template(search, older, **content):
            with pytest.raises(Fatal, match=named):
                look(search)
            with pytest.raises(Fatal, match=named):
                make(search, "image-new")
        assert names(search) == ["image-live"]
        assert search.resolve_alias("image") == "image-live"
    look(search)


@pytest.mark.parametrize("older", [False, True], ids=["a template", "an older template"])
def test_no_scratch_index_is_seen(search, faulty, older):
    """The preflight creates no index that a template would put behind a live alias."""
    proxy, indexes = faulty
    with template(search, older, aliases={"image": {}}), pytest.raises(Fatal, match="the alias image"):
        look(indexes)
    assert [request.path for request in proxy.seen if request.method == "PUT"] == []


def test_harmless_templates(search):
    """Settings that the index body overrides, and settings of storage, are left to the operator."""
    settings = {
        "number_of_replicas": 3,
        "codec": "best_compression",
        "blocks.write": False,
        "max_result_window": 50_000,
    }
    with template(search, settings={"index": settings}):
        look(search)
        make(search, "image-new")
    assert BATCH <= WINDOW


@pytest.mark.parametrize(
    ("mappings", "named"),
    [
        ({"_routing": {"required": True}}, "_routing"),
        (
            {"dynamic_templates": [{"a": {"match": "x*", "mapping": {"type": "keyword"}}}]},
            "dynamic_templates",
        ),
    ],
)
def test_mapping_parameters_outside_the_fields(search, mappings, named):
    with template(search, mappings=mappings), pytest.raises(Fatal, match=named):
        make(search, "image-new")
    assert names(search) == []


@pytest.mark.parametrize(
    ("processor", "named"),
    [({"drop": {}}, "is missing"), ({"set": {"field": "mature", "value": False}}, "another mature")],
)
def test_a_document_is_read_back(search, monkeypatch, processor, named):
    """Any change is noticed; here, a pipeline is set on the index right after its creation."""
    create = search.create

    def with_pipeline(name, body):
        uuid = create(name, body)
        search.client.indices.put_settings(index=name, settings={"index": {"final_pipeline": "pp"}})
        return uuid

    monkeypatch.setattr(search, "create", with_pipeline)
    with pipeline(search, processor):
        with pytest.raises(
            Fatal, match=f"a document .*{named}.* after it was written; look for an ingest pipeline"
        ):
            look(search)
        assert names(search) == []


@pytest.mark.parametrize(
    ("value", "replicas", "what"),
    [("none", 0, "a new shard"), ("new_primaries", 1, "the replica of a shard")],
)
def test_a_cluster_that_allocates_no_shard(search, value, replicas, what):
    """It is reported at once, instead of after a document has waited for minutes."""
    key = "cluster.routing.allocation.enable"
    search.client.cluster.put_settings(persistent={key: value})
    try:
        with pytest.raises(Fatal, match=f"{key} is {value}, so no node allocates {what}; set it to null"):
            preflight_search(search, ["water"], "image", dag_id="d", replicas=replicas)
    finally:
        search.client.cluster.put_settings(persistent={key: None})
    assert names(search) == []


def test_an_index_that_no_node_accepts(search, monkeypatch):
    """The engine's explanation is reported within seconds."""
    monkeypatch.setattr("catalog.data_refresh.search.preflight.NODE_TIMEOUT", 1.0)
    with (
        template(search, settings={"index.routing.allocation.require.box": "none"}),
        pytest.raises(Fatal, match=r"no node allocates a shard: .*box"),
    ):
        look(search)
    assert names(search) == []


def test_a_shard_that_no_node_accepts(search, monkeypatch):
    """The explanation is that of the shard without a node, whichever it is."""
    monkeypatch.setattr("catalog.data_refresh.search.preflight.NODE_TIMEOUT", 1.0)
    with (
        template(search, settings={"index.routing.allocation.total_shards_per_node": 1}),
        pytest.raises(Fatal, match=r"no node allocates a shard: .*total_shards_per_node"),
    ):
        preflight_search(search, ["water"], "image", dag_id="d", shards=2)
    assert names(search) == []


def test_an_engine_that_starts_shards_late(search, faulty):
    """It is busy, not broken: the task tries again."""
    proxy, indexes = faulty
    late = {"timed_out": True, "status": "yellow"}
    proxy.at("_cluster/health/", lambda *_: answer(408, late))
    with pytest.raises(Retry, match="has not started a new index within 10s"):
        look(indexes)
    assert names(search) == []


def test_a_data_stream_named_like_an_alias(search):
    """It is found at the start, and called a data stream."""
    client = search.client.indices
    client.put_index_template(name="ds", index_patterns=["image"], priority=500, data_stream={}, template={})
    client.create_data_stream(name="image")
    try:
        with pytest.raises(Fatal, match="image is a data stream, so it cannot be an alias; delete it"):
            look(search)
        make(search, "image-a")
        with pytest.raises(Fatal, match="image is a data stream, so it cannot be an alias"):
            search.swap_aliases({"image": "image-a"})
    finally:
        client.delete_data_stream(name="image")
        client.delete_index_template(name="ds")


def test_an_alias_is_not_an_index(search):
    make(search, "image-a-filtered")
    search.swap_aliases({"image-filtered": "image-a-filtered"})
    for ask in (search.require, search.require_index):
        with pytest.raises(Fatal, match="image-filtered is an alias of image-a-filtered, not an index"):
            ask("image-filtered")
    with pytest.raises(Fatal, match="image-filtered is an alias of image-a-filtered, so no index"):
        make(search, "image-filtered")


def test_a_window_that_is_too_small(search):
    """The live index will not change by itself, so the task fails without retries."""
    make(search, "image-a")
    search.client.indices.put_settings(index="image-a", settings={"index": {"max_result_window": 10}})
    with pytest.raises(Fatal, match=r"index\.max_result_window is too small"):
        search.matching("image-a", [str(n) for n in range(11)])
