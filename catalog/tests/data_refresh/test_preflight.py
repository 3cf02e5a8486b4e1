"""The preflight names, on a real search engine, what the engine would refuse hours later."""

import pytest

from catalog.core.errors import Fatal
from catalog.data_refresh.search.preflight import preflight_search
from catalog.tests.data_refresh.engine_proxy import answer
from catalog.tests.data_refresh.indexes import make
from catalog.tests.data_refresh.test_filtered import MANY

pytestmark = pytest.mark.enable_socket
TERMS = ["water", "fire brigade"]


def look(search, terms=TERMS, **options):
    return preflight_search(search, terms, "image", dag_id="image_data_refresh", **options)


@pytest.fixture
def live(search):
    for name in ("image-a", "image-a-filtered"):
        make(search, name)
    search.swap_aliases({"image": "image-a", "image-filtered": "image-a-filtered"})
    return search


def left(search):
    return sorted(
        n for n in search.client.indices.get(index="image-*", expand_wildcards="all") if "preflight" in n
    )


def test_a_healthy_engine_passes(live):
    assert look(live, MANY, shards=2, replicas=1) == [
        "1 sensitive terms contain no word, so they hide nothing: $$$"
    ]
    assert left(live) == []
    live.swap_aliases({"image": "image-a"})  # nothing has changed
    assert look(live, [*TERMS, "❤"]) == []


def test_before_the_first_refresh(search):
    assert look(search) == []
    assert left(search) == []


def test_where_no_filtered_index_is_made(search):
    assert look(search, [], aliases=["image-full"]) == []
    assert left(search) == []


def test_an_index_named_like_an_alias(search):
    search.client.indices.create(index="image-filtered")
    with pytest.raises(Fatal, match="image-filtered is an index, so it cannot be an alias"):
        look(search)
    assert left(search) == []


@pytest.mark.parametrize(
    ("details", "named"),
    [
        ({"filter": {"term": {"mature": False}}}, "has filter"),
        ({"routing": "a"}, "has index_routing, search_routing"),
        ({"is_write_index": True}, "has is_write_index"),
    ],
)
def test_an_alias_with_more_than_a_name(live, details, named):
    live.client.indices.update_aliases(actions=[{"add": {"index": "image-a", "alias": "image", **details}}])
    with pytest.raises(Fatal, match=f"the alias image {named}.*make it a plain alias"):
        look(live)


def test_an_alias_of_several_indexes(live):
    live.client.indices.update_aliases(actions=[{"add": {"index": "image-a-filtered", "alias": "image"}}])
    with pytest.raises(Fatal, match="the alias image points at image-a, image-a-filtered"):
        look(live)


@pytest.mark.parametrize("block", ["read_only", "read_only_allow_delete", "metadata"])
def test_a_block(live, block):
    settings = {"index": {"blocks": {block: True}}}
    live.client.indices.put_settings(index="image-a", settings=settings)
    try:
        with pytest.raises(
            Fatal,
            match=rf"image-a has index\.blocks\.{block}, so image cannot be moved away"
            rf"|image-a is blocked .*{block}",
        ):
            look(live)
    finally:
        live.client.indices.put_settings(index="image-a", settings={"index": {"blocks": {block: None}}})


def test_a_closed_index(live):
    live.client.indices.close(index="image-a")
    with pytest.raises(Fatal, match="image-a is closed; open it"):
        look(live)


def test_a_limit_of_the_live_index(live):
    live.client.indices.put_settings(index="image-a", settings={"index": {"max_terms_count": 100}})
    with pytest.raises(Fatal, match=r"searched in image: .*index\.max_terms_count"):
        look(live, MANY)


def cluster(search, **settings):
    search.client.cluster.put_settings(persistent=settings)


@pytest.mark.parametrize(
    ("settings", "terms", "named"),
    [
        ({"cluster.max_shards_per_node": 4}, TERMS, r"cluster\.max_shards_per_node"),
        ({"cluster.blocks.read_only": True}, TERMS, "read-only"),
        ({"indices.query.bool.max_clause_count": 300}, MANY, r"indices\.query\.bool\.max_clause_count"),
    ],
)
def test_a_limit_of_the_engine(live, settings, terms, named):
    cluster(live, **settings)
    try:
        with pytest.raises(Fatal, match=named):
            look(live, terms, shards=3)
    finally:
        cluster(live, **dict.fromkeys(settings))
    assert left(live) == []


@pytest.mark.parametrize("path", ["_reindex", "_delete_by_query", "_bulk"])
def test_a_missing_permission(live, faulty, path):
    """The account may search, but lacks one of the permissions that a refresh needs."""
    proxy, indexes = faulty
    why = {"type": "security_exception", "reason": f"action [{path}] is unauthorized"}
    refusal = {"error": {**why, "root_cause": [why]}, "status": 403}
    proxy.at(path, lambda *_: answer(403, refusal))
    with pytest.raises(Fatal, match=rf"action \[{path}\] is unauthorized"):
        look(indexes, [*MANY, "preflight zz", "zz preflight"])
    assert left(live) == []
