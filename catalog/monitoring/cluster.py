"""Reads the state of a search engine's cluster.

An engine that does not answer, and a part that cannot be read, are states of their own: nobody has seen that
they are well.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from elasticsearch import Elasticsearch, NotFoundError

from catalog.core.errors import CatalogError, Fatal
from catalog.core.media import MediaType
from catalog.core.wording import join_first
from catalog.data_refresh.search.client import ask
from catalog.data_refresh.search.findable import unfindable
from catalog.data_refresh.search.identity import identity_of, public
from catalog.data_refresh.search.indexes import Indexes
from catalog.monitoring.aliases import Alias, loss, read_aliases
from catalog.monitoring.cluster_state import Cluster, Known, Problem, State

WAIT = 20  # seconds for a status that is only briefly not green, as while an index is created
PATIENCE = 30.0  # seconds for which requests are repeated if the engine does not answer
MARGIN = 0.02  # share of a disk that must be free beyond a watermark until it counts as left
# Ids of the engine's blocks of an index that is read-only; the second one is set at the flood stage.
_READ_ONLY = {"5": "read-only", "12": "read-only, because a disk is or was full"}
# Others, which people set. Only an index with an alias counts: one without may be kept closed for later.
_BLOCKED = {
    "4": "closed: searches of it fail",
    "7": "blocked for reading (index.blocks.read): searches of it fail",
    "8": "blocked for writing (index.blocks.write): decisions of moderators and refreshes fail",
    "9": "blocked for changes of its settings (index.blocks.metadata): refreshes fail",
}
FLOOD = "flood_stage"
_LEVELS = {  # watermark → what the engine does there; the highest first
    FLOOD: "makes the indexes on it read-only",
    "high": "puts no more shards there, and moves those away for which another node has room",
    "low": "puts no more replicas there",
}
_WATERMARK = "cluster.routing.allocation.disk.watermark"
_BYTES = re.compile(r"(\d+(?:\.\d+)?)(b|kb|mb|gb|tb|pb)", re.IGNORECASE)
_UNITS = {"b": 0, "kb": 1, "mb": 2, "gb": 3, "tb": 4, "pb": 5}


class Readers(NamedTuple):
    """What the readers of the aliases need, as far as others than the engine know it.

    Attributes:
        promoted: Returns the media types whose aliases must exist.
        counted: Returns the number of documents that an alias should have; None if it is unknown.
    """

    promoted: Callable[[], Collection[MediaType]]
    counted: Callable[[Alias], int | None] = lambda _: None


def look(
    client: Elasticsearch,
    expected: int | None,
    before: Known | None = None,
    readers: Readers | None = None,
    *,
    patience: float = PATIENCE,
    wait: float = WAIT,
) -> Cluster:
    """Return the state of a cluster, as `examine` does, but an engine that does not answer is a state too."""
    try:
        return examine(client, expected, before, readers, patience=patience, wait=wait)
    except (CatalogError, NotFoundError) as error:
        return Cluster("unreachable", (Problem("unreachable", str(error)),))


def examine(
    client: Elasticsearch,
    expected: int | None = None,
    before: Known | None = None,
    readers: Readers | None = None,
    *,
    patience: float = 0.0,
    wait: float = 0.0,
) -> Cluster:
    """Return the state of a cluster. A part of it that cannot be read is a problem.

    Args:
        client: Client of the engine.
        expected: Number of nodes; None if any number is right.
        before: The state that was reported last. A disk that is about to leave a watermark stays there.
        readers: What the readers of the aliases need; None if aliases are not looked at.
        patience: Seconds for which requests are repeated.
        wait: Seconds for which a status that is not green may become green.

    Raises:
        CatalogError: The engine does not answer, or refuses the user.
    """
    # With nobody to wait for the status, the client's own limit of time is right.
    limited = client.options(request_timeout=wait + 20) if wait else client
    indexes = Indexes(limited.options(ignore_status=408), patience=patience)
    health: dict[str, Any] = indexes.ask(
        indexes.client.cluster.health, level="indices", wait_for_status="green", timeout=f"{wait:.0f}s"
    ).body
    found = cache(lambda: read_aliases(client))
    problems = [
        *_read("indexes that are being built", lambda: _of_status(indexes, health)),
        *_of_nodes(health["number_of_nodes"], expected),
        *_read("disks", lambda: _of_disks(client, before.problems if before else ())),
        *_read("blocks", lambda: _of_blocks(client)),
    ]
    if readers:
        promoted = cache(readers.promoted)
        problems += _read("aliases", lambda: _of_aliases(found(), promoted()))
        problems += _read("documents", lambda: _of_documents(client, found(), readers.counted))
        problems += _read("searches", lambda: _of_searches(client, found(), promoted()))
    state: State = "well"
    if problems:
        state = "critical" if any(problem.critical for problem in problems) else "degraded"
    about = (
        f"status {health['status']}, {health['number_of_nodes']:,} nodes, "
        f"{health['active_shards']:,} active and {health['unassigned_shards']:,} unassigned shards"
    )
    return Cluster(state, tuple(problems), about)


def _read(part: str, problems: Callable[[], Iterator[Problem]]) -> list[Problem]:
    """Return the problems of a part; if the rest of it cannot be read, those found until then and that."""
    found = []
    try:
        for problem in problems():
            found.append(problem)
    except Exception as error:  # an answer of the engine, the catalog database or its connection is anything
        why = f"{type(error).__name__}: {str(error)[:300]}"
        found.append(Problem(f"unread {part}", f"{part} could not be read: {why}", runbook="unknown"))
    return found


def _of_status(indexes: Indexes, health: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what unassigned shards mean; indexes of the catalog without an alias do not count.

    These are being built, or kept for later: no reader uses them, and the task that builds one waits for its
    shards and reports if they stay away.
    """
    wrong = {name: one for name, one in health["indices"].items() if one["status"] != "green"}
    if not wrong:
        return
    found = indexes.ask(indexes.client.indices.get, index="image-*,audio-*", expand_wildcards="all").body
    aside = {
        identity.name
        for identity in (identity_of(name, about) for name, about in found.items() if name in wrong)
        if identity.dag_id and not public(identity.aliases, identity.name)
    }
    counted = {name: one for name, one in wrong.items() if name not in aside}
    shards = sum(one["unassigned_shards"] + one["initializing_shards"] for one in counted.values())
    names = join_first(sorted(counted), most=5)
    which = " ".join(sorted(counted))  # so that another index that fails later is a change
    if any(one["status"] == "red" for one in counted.values()):
        text = f"the status is red: documents cannot be searched; {shards:,} shards have no node ({names})"
        yield Problem(f"status red {which}", text, critical=True)
    elif counted:
        text = f"the status is yellow: replicas are missing; {shards:,} shards have no node ({names})"
        yield Problem(f"status yellow {which}", text)


def _of_nodes(nodes: int, expected: int | None) -> Iterator[Problem]:
    if expected is not None and nodes != expected:
        are = "node is" if nodes == 1 else "nodes are"
        yield Problem(f"nodes {nodes}", f"{nodes:,} {are} in the cluster, {expected:,} expected")


def _of_disks(client: Elasticsearch, before: Collection[str]) -> Iterator[Problem]:
    """Yield the nodes whose disk has reached a watermark, each with its highest one.

    Watermarks are about shards. A node without any still writes the cluster's state and its log, so a disk
    that is nearly full is a problem there, too.
    """
    settings = _settings(client)
    if settings.get("cluster.routing.allocation.disk.threshold_enabled") == "false":
        return
    answer = ask(client.nodes.stats, metric="fs")
    nodes: dict[str, Any] = answer["nodes"]
    if silent := answer.get("_nodes", {}).get("failed"):
        yield Problem(
            "unread nodes", f"{silent:,} nodes did not say how full their disks are", runbook="unknown"
        )
    elif not nodes:
        raise Fatal("the engine names no node.")
    for node in sorted(nodes.values(), key=lambda one: str(one["name"])):
        disk = node["fs"]["total"]
        total, free = disk["total_in_bytes"], disk["available_in_bytes"]
        holds_shards = _holds_shards(node)
        for level, effect in _LEVELS.items() if holds_shards else [(FLOOD, "")]:
            key = f"disk {node['name']} {level}"
            needed = _needed(settings, level, total)
            if free < needed + (MARGIN * total if key in before else 0):
                text = f"the disk of {node['name']} is {1 - free / total:.0%} full: " + (
                    f"at the watermark {level}, the engine {effect}"
                    if holds_shards
                    else "the node holds no shards, but the cluster's state needs room"
                )
                yield Problem(key, text, critical=level == FLOOD, runbook="engine-disk")
                break


def _holds_shards(node: Mapping[str, Any]) -> bool:
    """Return whether a node may have shards, by its roles: `data`, those of tiers, or `search`."""
    roles = node.get("roles")
    return roles is None or any(role == "search" or role.startswith("data") for role in roles)


def _settings(client: Elasticsearch) -> dict[str, str]:
    """Return the settings of the cluster that are in force, by their flat names."""
    found = ask(client.cluster.get_settings, flat_settings=True, include_defaults=True).body
    layers = (found.get(layer) or {} for layer in ("defaults", "persistent", "transient"))
    return {key: str(value) for layer in layers for key, value in layer.items()}


def _needed(settings: Mapping[str, str], level: str, total: int) -> float:
    """Return how many bytes of a disk are free at a watermark.

    Args:
        settings: Settings of the cluster.
        level: A key of `_LEVELS`.
        total: Size of the disk.

    Raises:
        ValueError: The engine's setting cannot be understood.
    """
    value = settings[f"{_WATERMARK}.{level}"]
    if (size := _bytes(value)) is not None:
        return size
    share = float(value.removesuffix("%")) / 100 if value.endswith("%") else float(value)
    headroom = _bytes(settings.get(f"{_WATERMARK}.{level}.max_headroom", ""))
    needed = total * (1 - share)
    return needed if headroom is None else min(needed, headroom)


def _bytes(text: str) -> float | None:
    """Return the bytes that a setting such as `50gb` means; None if it is not a size."""
    match = _BYTES.fullmatch(text.strip())
    return float(match[1]) * 1024 ** _UNITS[match[2].lower()] if match else None


def _of_blocks(client: Elasticsearch) -> Iterator[Problem]:
    """Yield blocks of the whole cluster, and indexes that cannot be read or written."""
    blocks = ask(client.cluster.state, metric="blocks")["blocks"]
    for number, block in sorted(blocks.get("global", {}).items()):
        text = f"the whole cluster is blocked: {block['description']}"
        yield Problem(f"block {number}", text, critical=True)
    blocked = blocks.get("indices", {})
    aliases = _aliases_of_indexes(client) if blocked else {}
    for name, numbers in sorted(blocked.items()):
        if what := next((what for number, what in _READ_ONLY.items() if number in numbers), None):
            yield Problem(
                f"read-only {name}", f"the index {name} is {what}", critical=True, runbook="engine-disk"
            )
        for number, what in _BLOCKED.items() if public(aliases.get(name, ()), name) else ():
            if number in numbers:
                yield Problem(f"block {number} of {name}", f"the index {name} is {what}", critical=True)


def _of_aliases(found: Iterable[Alias], promoted: Collection[MediaType]) -> Iterator[Problem]:
    """Yield the aliases of readers that do not lead to the one index that they should."""
    for alias in found:
        if text := alias.fault(promoted=alias.media_type in promoted):
            yield Problem(
                f"alias {alias.name}", f"the alias {alias.name}: {text}", critical=True, runbook="alias"
            )


def _of_documents(
    client: Elasticsearch, found: Iterable[Alias], counted: Callable[[Alias], int | None]
) -> Iterator[Problem]:
    """Yield the aliases of readers of which many documents are missing."""
    indexes = Indexes(client, patience=0)
    for alias in found:
        before = counted(alias) if alias.index and not alias.problem else None
        if before and (text := loss(alias, before, indexes.count(alias.name))):
            said = f"the alias {alias.name}: {text}"
            yield Problem(f"documents {alias.name}", said, critical=True, runbook="shrinking")


def _of_searches(
    client: Elasticsearch, found: Iterable[Alias], promoted: Collection[MediaType]
) -> Iterator[Problem]:
    """Yield the aliases of refreshed media types whose documents the API's search does not find."""
    indexes = Indexes(client, patience=0)
    for alias in found:
        if alias.index is None or alias.problem or alias.media_type not in promoted:
            continue
        try:
            texts = [found.text for found in unfindable(indexes, alias.name, alias.index)]
        except NotFoundError:  # a refresh has just exchanged the index
            texts = []
        except Fatal as error:
            texts = [f"the API's search fails: {error}"]
        if texts:
            said = f"the alias {alias.name}: {join_first(texts, separator='; ')}"
            yield Problem(f"search {alias.name}", said, critical=True, runbook="alias")


def _aliases_of_indexes(client: Elasticsearch) -> dict[str, list[str]]:
    """Return the aliases of all indexes, from the cluster's state: an index may refuse to tell its own."""
    wanted = "metadata.indices.*.aliases"
    found = ask(client.cluster.state, metric="metadata", filter_path=wanted)["metadata"]["indices"]
    return {name: about["aliases"] for name, about in found.items()}
