"""The state of a search engine's cluster: a real one, and one whose answers a proxy changes."""

import json
import re
from functools import partial

import orjson
import psycopg
import pytest

from catalog.data_refresh.search.client import connect
from catalog.monitoring import cluster
from catalog.monitoring.cluster_state import Cluster, Known, Problem, differs, known
from catalog.monitoring.engine_health import engine_findings
from catalog.notifications.alerts import engine_state
from catalog.tests.data_refresh.engine_proxy import Answer
from catalog.tests.data_refresh.indexes import make
from catalog.tests.data_refresh.test_filtered import titled
from catalog.tests.data_refresh.test_findable import MUTE, described

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
look = partial(cluster.look, patience=0.0, wait=1.0)
DISK_FULL = {"index": {"blocks": {"read_only_allow_delete": True}}}


def keys(found):
    return [problem.key for problem in found.problems]


@pytest.fixture
def roomy(search):
    """An engine to which the disk of this machine is never full."""
    disk = "cluster.routing.allocation.disk"
    settings = dict.fromkeys((f"{disk}.watermark.{level}" for level in ("low", "high", "flood_stage")), "1b")
    search.client.cluster.put_settings(transient={**settings, f"{disk}.threshold_enabled": "true"})
    yield search
    search.client.cluster.put_settings(transient=dict.fromkeys((*settings, f"{disk}.threshold_enabled")))


def test_an_engine_that_is_well(roomy):
    make(roomy, "image-a")
    roomy.swap_aliases({"image": "image-a"})
    found = look(roomy.client, 1)
    assert (found.state, found.problems) == ("well", ())
    assert "status green, 1 nodes" in found.about


def test_replicas_without_a_node(roomy):
    """An index without an alias is being built, and does not count; nor does an index in another state."""
    for name in ("image-a", "image-b"):
        make(roomy, name)
        roomy.client.indices.put_settings(index=name, settings={"index": {"number_of_replicas": 1}})
    found = look(roomy.client, None)
    assert (found.state, found.problems) == ("well", ())
    roomy.swap_aliases({"image": "image-a"})
    found = look(roomy.client, None)
    assert (found.state, keys(found)) == ("degraded", ["status yellow image-a"])
    assert found.problems[0].text.endswith("1 shards have no node (image-a)")


def test_documents_without_a_node(roomy):
    make(roomy, "image-a")
    roomy.swap_aliases({"image": "image-a"})
    nowhere = {"index": {"number_of_shards": 1, "routing.allocation.require._name": "nobody"}}
    roomy.client.options(ignore_status=408).indices.create(
        index="image-by-hand", settings=nowhere, timeout="1s", wait_for_active_shards="0"
    )
    found = look(roomy.client, 1)
    assert (found.state, keys(found)) == ("critical", ["status red image-by-hand"])
    assert [(one.severity, one.runbook) for one in engine_findings(found)] == [("error", "engine-status")]


def test_another_index_that_turns_yellow_is_a_change(roomy):
    for name, alias in (("image-a", "image"), ("audio-a", "audio")):
        make(roomy, name)
        roomy.swap_aliases({alias: name})
    replicas = {"index": {"number_of_replicas": 1}}
    roomy.client.indices.put_settings(index="image-a", settings=replicas)
    before = known(look(roomy.client, 1))
    assert not differs(look(roomy.client, 1), before)
    roomy.client.indices.put_settings(index="audio-a", settings=replicas)
    assert differs(look(roomy.client, 1), before)


@pytest.mark.parametrize(
    ("number", "what"), [("4", "closed"), ("7", "reading"), ("8", "writing"), ("9", "its settings")]
)
def test_a_live_index_that_cannot_be_used(roomy, number, what):
    """An index without an alias may be closed, or locked, for later."""
    indices = roomy.client.indices
    for name in ("image-a", "image-b"):
        make(roomy, name)
    roomy.swap_aliases({"image": "image-a"})
    kinds = {"7": "read", "8": "write", "9": "metadata"}

    def block(name):
        if number == "4":
            indices.close(index=name)
        else:
            indices.put_settings(index=name, settings={f"index.blocks.{kinds[number]}": True})

    block("image-b")
    try:
        assert look(roomy.client, 1).problems == ()
        block("image-a")
        found = look(roomy.client, 1)
    finally:
        for name in ("image-a", "image-b") if number != "4" else ():
            indices.put_settings(index=name, settings={f"index.blocks.{kinds[number]}": None})
    assert (found.state, keys(found)) == ("critical", [f"block {number} of image-a"])
    assert what in found.problems[0].text


def test_an_alias_that_leads_nowhere(roomy):
    def found(*promoted):
        return look(roomy.client, 1, readers=cluster.Readers(lambda: promoted))

    for name in ("image-a", "image-a-filtered"):
        make(roomy, name)
    assert found().state == "well", "nothing was ever refreshed"
    assert keys(found("image")) == ["alias image", "alias image-filtered"]
    roomy.swap_aliases({"image": "image-a", "image-filtered": "image-a-filtered"})
    assert found("image").state == "well"
    roomy.client.indices.put_alias(index="image-a", name="image-filtered")
    assert (found("image").state, keys(found("image"))) == ("critical", ["alias image-filtered"])
    roomy.client.indices.delete(index="image-a,image-a-filtered")
    assert keys(found("image")) == ["alias image", "alias image-filtered"]
    assert "no index is behind it" in found("image").problems[0].text


def test_an_alias_whose_documents_are_gone(roomy):
    def found(*counted):
        readers = cluster.Readers(lambda: ["image"], lambda alias: dict(counted).get(alias.uuid))
        return look(roomy.client, 1, readers=readers)

    for name in ("image-a", "image-a-filtered"):
        titled(roomy, [f"t{n}" for n in range(5)], name)
    roomy.swap_aliases({"image": "image-a", "image-filtered": "image-a-filtered"})
    counted = [(roomy.require(name).uuid, 5) for name in ("image-a", "image-a-filtered")]
    assert found(*counted).state == found().state == "well"
    roomy.client.delete_by_query(index="image-filtered", query={"match_all": {}}, refresh=True)
    assert (found(*counted).state, keys(found(*counted))) == ("critical", ["documents image-filtered"])
    assert "0 documents are searched, 5 when image-a-filtered was counted" in found(*counted).problems[0].text


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"title": MUTE}, "the API's search fails: .* 400"),
        ({"tags": None}, "image-a finds 0 of 20 documents by words of their tags"),
    ],
)
def test_an_alias_in_which_no_search_works(roomy, mapping, said):
    described(roomy, "image-a", {"properties": mapping})
    roomy.swap_aliases({"image": "image-a"})
    found = look(roomy.client, 1, readers=cluster.Readers(lambda: ["image"]))
    assert (found.state, keys(found)) == ("critical", ["alias image-filtered", "search image"])
    assert re.search(f"the alias image: {said}", found.problems[1].text)
    before_a_refresh = cluster.Readers(list)  # another program's index has a mapping of its own
    assert look(roomy.client, 1, readers=before_a_refresh).state == "well"


@pytest.mark.parametrize("error", [psycopg.OperationalError("no server"), RuntimeError("no connection")])
def test_aliases_without_the_catalog_database_are_not_well(roomy, error):
    def unreachable():
        raise error

    found = look(roomy.client, 1, readers=cluster.Readers(unreachable))
    assert (found.state, keys(found)) == ("degraded", ["unread aliases", "unread searches"])


def test_the_number_of_nodes(roomy):
    assert look(roomy.client, 3).problems == (Problem("nodes 1", "1 node is in the cluster, 3 expected"),)
    assert look(roomy.client, None).state == "well"


def test_an_index_that_is_read_only(roomy):
    make(roomy, "image-a")
    roomy.client.indices.put_settings(index="image-a", settings=DISK_FULL)
    try:
        found = look(roomy.client, 1)
    finally:
        roomy.client.indices.put_settings(
            index="image-a", settings={"index": {"blocks": {"read_only_allow_delete": None}}}
        )
    assert (found.state, keys(found)) == ("critical", ["read-only image-a"])
    assert [(one.severity, one.runbook) for one in engine_findings(found)] == [("error", "engine-disk")]


@pytest.mark.usefixtures("roomy")
def test_what_was_found_before_a_part_became_unreadable_counts(faulty):
    """A full disk is not hidden by another node that does not tell how full its disk is."""
    between, search = faulty
    full = {"name": "a", "roles": ["data"], "fs": {"total": {"total_in_bytes": 100, "available_in_bytes": 0}}}
    nodes = {"1": full, "2": {"name": "b", "roles": ["data"], "fs": {}}}
    between.at("GET /_nodes/stats", lambda *_: Answer(200, orjson.dumps({"nodes": nodes})))
    found = look(search.client, None)
    assert (found.state, keys(found)) == ("critical", ["disk a flood_stage", "unread disks"])


@pytest.mark.usefixtures("roomy")
def test_a_node_that_does_not_answer_is_not_well(faulty):
    between, search = faulty
    stats = {"_nodes": {"total": 2, "successful": 1, "failed": 1}, "nodes": {}}
    between.at("GET /_nodes/stats", lambda *_: Answer(200, orjson.dumps(stats)))
    found = look(search.client, None)
    assert (found.state, keys(found)) == ("degraded", ["unread nodes"])


GB = 1024**3
PERCENT = {"low": "85%", "high": "0.9", "flood_stage": "95%"}
BYTES = {"low": "300gb", "high": "200gb", "flood_stage": "100gb"}
HEADROOM = {
    **PERCENT,
    "low.max_headroom": "90gb",
    "high.max_headroom": "60gb",
    "flood_stage.max_headroom": "30gb",
}


@pytest.mark.parametrize(
    ("watermarks", "free", "level"),
    [
        (PERCENT, 151, None),
        (PERCENT, 149, "low"),
        (PERCENT, 99, "high"),
        (PERCENT, 49, "flood_stage"),
        (BYTES, 301, None),
        (BYTES, 299, "low"),
        (BYTES, 99, "flood_stage"),
        (HEADROOM, 91, None),
        (HEADROOM, 89, "low"),
        (HEADROOM, 29, "flood_stage"),
    ],
)
def test_watermarks_of_disks(faulty, watermarks, free, level):
    """Of a disk of 1,000 GB; thresholds are shares, sizes, or shares with a limit."""
    between, search = faulty
    full(between, free, watermarks)
    found = look(search.client, 1)
    assert keys(found) == ([f"disk node-1 {level}"] if level else [])
    assert found.state == {None: "well", "flood_stage": "critical"}.get(level, "degraded")


@pytest.mark.parametrize(
    ("roles", "free", "problem"),
    [
        (["master", "ingest"], 99, ""),
        (["master", "ingest"], 49, "holds no shards"),
        (["data_hot", "ingest"], 99, "watermark high"),
        (["data"], 49, "watermark flood_stage"),
        (["search"], 49, "watermark flood_stage"),
    ],
)
def test_watermarks_are_for_nodes_that_hold_shards(faulty, roles, free, problem):
    between, search = faulty
    full(between, free, roles=roles)
    found = look(search.client, 1)
    assert problem in "".join(one.text for one in found.problems)
    assert bool(found.problems) == bool(problem)


def full(between, free, watermarks=PERCENT, **about):
    """Let the engine say how much of its disk is free."""
    between.faults.clear()
    total = {"total_in_bytes": 1000 * GB, "available_in_bytes": free * GB}
    nodes = {"nodes": {"x": {"name": "node-1", "fs": {"total": total}, **about}}}
    between.at("GET /_nodes/stats", lambda *_: Answer(200, orjson.dumps(nodes)))
    named = {f"cluster.routing.allocation.disk.watermark.{key}": value for key, value in watermarks.items()}
    answer = {"defaults": named, "persistent": {}, "transient": {}}
    between.at("GET /_cluster/settings", lambda *_: Answer(200, orjson.dumps(answer)))


def test_a_disk_does_not_leave_a_watermark_by_a_hair(faulty):
    """It would be reported every 15 minutes."""
    between, search = faulty
    full(between, 149)
    before = known(look(search.client, 1))
    full(between, 155)
    assert look(search.client, 1).state == "well"
    assert not differs(look(search.client, 1, before), before)
    full(between, 171)
    assert look(search.client, 1, before).state == "well"


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_an_engine_that_refuses_is_not_well(faulty, status):
    between, search = faulty
    between.times("GET /_cluster/health", 99, status)
    found = look(search.client, 1)
    assert (found.state, keys(found)) == ("unreachable", ["unreachable"])


def test_an_engine_that_does_not_answer_is_not_well():
    assert look(connect("http://127.0.0.1:9", engine="opensearch"), 1).state == "unreachable"


@pytest.mark.parametrize(
    ("path", "part"),
    [("/_nodes/stats", "disks"), ("/_cluster/settings", "disks"), ("/_cluster/state", "blocks")],
)
@pytest.mark.parametrize("body", [None, {}])
@pytest.mark.usefixtures("roomy")
def test_a_part_that_cannot_be_read_is_not_well(faulty, path, part, body):
    between, search = faulty
    if body is None:
        between.times(f"GET {path}", 99, 403)
    else:
        between.at(f"GET {path}", lambda *_: Answer(200, json.dumps(body).encode()))
    found = look(search.client, 1)
    assert found.state == "degraded"
    assert f"unread {part}" in keys(found)
    assert [(one.severity, one.runbook) for one in engine_findings(found)] == [("error", "unknown")]


WELL = Cluster("well", (), "status green")
YELLOW = Cluster("degraded", (Problem("status yellow", "5 shards have no node"),))
WORSE = Cluster("degraded", (Problem("status yellow", "9 shards have no node"),))
FEWER = Cluster("degraded", (*YELLOW.problems, Problem("nodes 2", "2 nodes")))
ABSENT = Cluster("not configured")


@pytest.mark.parametrize(
    ("found", "before", "expected"),
    [
        (WELL, None, False),
        (ABSENT, None, False),
        (YELLOW, None, True),
        (YELLOW, WELL, True),
        (WORSE, YELLOW, False),
        (FEWER, YELLOW, True),
        (YELLOW, FEWER, True),
        (WELL, YELLOW, True),
        (WELL, WELL, False),
        (ABSENT, WELL, True),
        (ABSENT, ABSENT, False),
    ],
)
def test_what_is_reported(found, before, expected):
    assert differs(found, before and known(before)) is expected


def test_the_alert():
    message = engine_state("d", "t", "staging", FEWER, "well")
    assert message.alert
    assert message.text.splitlines() == [
        "*Search engine: degraded*: The staging search engine is degraded.",
        "*Before*: well",
        "  - 5 shards have no node",
        "  - 2 nodes",
    ]
    many = Cluster("critical", tuple(Problem(str(n), f"<{n}>") for n in range(23)))
    assert engine_state("d", "t", "staging", many, None).text.endswith("  - &lt;19&gt;\n  - and 3 more")


def test_what_is_remembered_can_be_stored():
    assert known(FEWER) == Known("degraded", ("nodes 2", "status yellow"))
