"""Identities of indexes, aliases, and waiting for the engine, on a real search engine."""

import re
from typing import Any

import msgspec
import pytest

from catalog.core.errors import Fatal, Retry
from catalog.data_refresh.search.attempts import Attempt
from catalog.data_refresh.search.readiness import finalize
from catalog.data_refresh.search.reindexing import reindex
from catalog.data_refresh.search.tag_policy import policy_from
from catalog.tests.data_refresh.engine_proxy import answer
from catalog.tests.data_refresh.indexes import make

pytestmark = pytest.mark.enable_socket


def by_itself(search, name):
    """Make the engine create an index by writing to a name that does not exist."""
    search.client.index(index=name, id="x", document={"title": "guessed", "id": 1}, refresh=True)


def test_aliases_move_together(search):
    for name in ("image-a", "image-a-filtered", "image-b", "image-b-filtered"):
        make(search, name)
    search.swap_aliases({"image": "image-a", "image-filtered": "image-a-filtered"})
    search.swap_aliases({"image": "image-b", "image-filtered": "image-b-filtered"})
    assert (search.resolve_alias("image"), search.resolve_alias("image-filtered")) == (
        "image-b",
        "image-b-filtered",
    )
    with pytest.raises(Fatal, match="image points at it"):
        search.delete(["image-b"])
    assert search.orphans(["image_data_refresh"], "image") == ["image-a", "image-a-filtered"]
    assert search.orphans(["another"], "image") == []
    kept = search.require("image-a").uuid
    assert search.orphans(["image_data_refresh"], "image", {kept}) == ["image-a-filtered"]
    assert search.delete(["image-a", "image-none"]) == ["image-a"]
    with pytest.raises(Fatal, match="is an index, so it cannot be an alias"):
        search.swap_aliases({"image-a-filtered": "image-b"})
    search.client.indices.update_aliases(actions=[{"add": {"index": "image-a-filtered", "alias": "image"}}])
    with pytest.raises(Fatal, match="points at image-a-filtered, image-b"):
        search.resolve_alias("image")
    with pytest.raises(Fatal, match="cannot be the name"):
        search.create("Image A", {})


def test_meta_contains_the_policy(search):
    policy = policy_from({"excluded_providers": ["clarifai"]})
    make(search, "image-a", policy=policy)
    meta = search.meta("image-a")
    assert meta["tag_policy_digest"] == policy.digest
    assert meta["tag_policy"]["excluded_providers"] == ["clarifai"]
    assert search.meta("nothing") == {}


def test_the_creator_of_an_index(search):
    uuid = make(search, "image-a")
    found = search.require("image-a", uuid)
    assert (found.name, found.uuid, found.dag_id, found.run_id) == (
        "image-a",
        uuid,
        "image_data_refresh",
        "run",
    )
    assert search.identity("image-none") is None
    search.swap_aliases({"image": "image-a"})
    assert search.identity("image") is None  # an alias is not an index
    assert search.aliases("image-a") == ["image"]
    again = make(search, "image-b"), make(search, "image-b")
    assert again[0] != again[1]
    with pytest.raises(Fatal, match="is not the one that this run created"):
        search.require("image-b", again[0])
    with pytest.raises(Fatal, match="image-none is missing: clear create_index"):
        search.require("image-none", uuid)


def test_an_index_that_the_engine_made_by_itself(search):
    """It is neither counted nor given an alias, nor mistaken for an earlier attempt."""
    by_itself(search, "image-x")
    with pytest.raises(Fatal, match="did not create the index image-x"):
        search.require("image-x")
    with pytest.raises(Fatal, match="did not create the index image-x"):
        search.swap_aliases({"image": "image-x"})
    assert search.resolve_alias("image") is None
    with pytest.raises(Fatal, match=r"did not create the index .*; delete it or choose another name"):
        make(search, "image-x")
    assert search.orphans(["image_data_refresh"], "image") == []
    assert search.count("image-x") == 1


def test_aliases_point_only_at_created_indexes(search):
    """One of two target indexes was replaced meanwhile: neither alias moves."""
    first, second = make(search, "image-a"), make(search, "image-a-filtered")
    search.swap_aliases({"image": "image-a", "image-filtered": "image-a-filtered"})
    new, filtered = make(search, "image-b"), make(search, "image-b-filtered")
    search.client.indices.delete(index="image-b-filtered")
    targets, uuids = (
        {"image": "image-b", "image-filtered": "image-b-filtered"},
        {"image-b": new, "image-b-filtered": filtered},
    )
    with pytest.raises(Fatal, match="image-b-filtered is missing"):
        search.swap_aliases(targets, uuids)
    make(search, "image-b-filtered")
    with pytest.raises(Fatal, match="image-b-filtered is not the one"):
        search.swap_aliases(targets, uuids)
    assert (search.resolve_alias("image"), search.resolve_alias("image-filtered")) == (
        "image-a",
        "image-a-filtered",
    )
    search.swap_aliases(
        {"image": "image-a", "image-filtered": "image-a-filtered"},
        {"image-a": first, "image-a-filtered": second},
    )


def test_aliases_that_do_not_move(search, faulty):
    """The engine acknowledges the request without applying it; the task notices."""
    proxy, indexes = faulty
    make(search, "image-a")
    proxy.at("^POST /_aliases", lambda *_: answer(200, {"acknowledged": True}))
    with pytest.raises(Retry, match="points at nothing instead of image-a"):
        indexes.swap_aliases({"image": "image-a"})


def test_an_index_that_was_created_despite_an_error_response(search, faulty):
    """The client's repeated request meets the index that the first one created; it is created again."""
    proxy, indexes = faulty

    def twice(request, forward):
        forward(request)
        return forward(request)

    proxy.at(r"^PUT /image-a\b", twice)
    with pytest.raises(Retry, match="resource_already_exists_exception"):
        make(indexes, "image-a")
    proxy.faults.clear()
    uuid = make(indexes, "image-a")
    assert search.require("image-a", uuid).uuid == uuid


def test_a_template_that_changes_the_mapping(search):
    template = {
        "index_patterns": ["image-t*"],
        "template": {"mappings": {"properties": {"source": {"type": "text"}}}},
    }
    other = {
        "index_patterns": ["image-t*"],
        "template": {"mappings": {"properties": {"extra": {"type": "text"}}}},
    }
    for body in (other, template):
        search.client.indices.put_index_template(name="made-up", **body)
        try:
            if body is template:  # where both define a field, the index body takes precedence
                make(search, "image-t1")
                continue
            with pytest.raises(
                Fatal, match="a template of the search engine changes the mapping of image-t1: extra text"
            ):
                make(search, "image-t1")
        finally:
            search.client.indices.delete_index_template(name="made-up")


def test_a_copy_of_a_shard_that_does_not_show_what_was_written(search, faulty):
    """The engine says so in an answer that is no error."""
    between, indexes = faulty
    make(search, "image-a")
    between.times("POST /image-a/_refresh", 1, 200, {"_shards": {"total": 2, "successful": 1, "failed": 1}})
    with pytest.raises(Retry, match="1 shards of image-a do not show yet what was written"):
        indexes.refresh("image-a")
    indexes.refresh("image-a")


@pytest.mark.parametrize("segments", [False, True])
def test_replicas_that_follow_later_are_not_asked(search, faulty, segments):
    """If the engine copies segments, a refresh shows writes to the primary shards only."""
    between, indexes = faulty
    kind = "SEGMENT" if segments else "DOCUMENT"
    fields = {"id": {"type": "long"}, "source": {"type": "keyword"}}
    search.client.indices.create(
        index="image-a", settings={"index.replication.type": kind}, mappings={"properties": fields}
    )
    search.client.index(index="image-a", id="1", document={"id": 1, "source": "x"}, refresh=True)
    everything: dict[str, Any] = {"match_all": {}}
    assert indexes.count("image-a") == indexes.count("image-a", shard="0") == 1
    assert indexes.matching("image-a", ["1"]) == ["1"]
    assert list(indexes.found("image-a", everything, 1)) == [["1"]]
    indexes.sources("image-a")
    asked = [one.path for one in between.seen if re.search(r"/_(search|count)\b", one.path)]
    assert len(asked) == 6
    assert ["_primary" in path for path in asked] == [segments] * 6


def test_waiting_for_an_index_uses_short_requests(search, faulty, caplog):
    """Each request waits briefly for the index, whatever the engine, a proxy or a restart answers."""
    proxy, indexes = faulty
    uuid = make(search, "image-a")
    states = iter(
        [
            answer(
                408,
                {
                    "status": "yellow",
                    "timed_out": True,
                    "active_shards": 1,
                    "unassigned_shards": 2,
                    "initializing_shards": 1,
                },
            ),
            None,
            answer(503, {"error": "made up"}),
            answer(504, {"error": "made up"}),
            answer(
                200,
                {
                    "status": "green",
                    "timed_out": True,
                    "active_shards": 2,
                    "unassigned_shards": 0,
                    "initializing_shards": 0,
                },
            ),
        ]
    )
    proxy.at("^GET /_cluster/health", lambda request, forward: next(states, forward(request)))
    caplog.set_level("INFO")
    finalize(indexes, "image-a", 0, 60, uuid=uuid)
    assert proxy.count("health") == 6
    assert "yellow, 1 shards are active, 3 are not" in caplog.text
    assert all("timeout=20s" in r.path for r in proxy.seen if "health" in r.path)


def test_replicas_that_are_never_allocated(search):
    """A single node cannot hold replicas of its own shards; the error message says what to do."""
    make(search, "image-a")
    with pytest.raises(
        Retry, match=r"yellow, 1 shards are active, 1 are not\); does the cluster have nodes for 1 replicas"
    ):
        finalize(search, "image-a", 1, 2)
    search.client.indices.delete(index="image-a")
    with pytest.raises(Fatal, match="image-a is missing"):
        finalize(search, "image-a", 0, 2)


class At(msgspec.Struct):
    uuid: str
    task: str | None = None


@pytest.mark.parametrize("again", [False, True])
def test_a_copy_into_an_index_that_is_deleted(search, again):
    """The engine's copy goes on by itself; it must neither recreate the index nor write to a new one."""
    make(search, "image-a")
    writer = search.require("image-a").writer
    for n in range(3):
        search.client.index(index=writer, id=str(n), document={"id": n}, require_alias=True, refresh=True)
    uuid = make(search, "image-b")
    query: dict[str, Any] = {"match_all": {}}

    def gone(state):
        if not state:
            return
        search.client.indices.delete(index="image-b")
        if again:
            make(search, "image-b")

    with pytest.raises(Fatal, match="not the one" if again else "missing"):
        reindex(search, "image-a", "image-b", query, At(uuid), Attempt(save=gone), 0.5)
    if again:
        search.refresh("image-b")
        assert search.count("image-b") == 0
        with pytest.raises(Fatal, match="not the one"):
            reindex(search, "image-a", "image-b", query, At(uuid))
    else:
        assert not search.exists("image-b")
