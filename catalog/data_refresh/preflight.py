"""Finds what the search engine would refuse hours later: names, aliases, blocks, limits, rights."""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from elasticsearch import NotFoundError

from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.data_refresh.bulk import BulkSender, index_action
from catalog.data_refresh.client import ask
from catalog.data_refresh.filtered import FilteredIndex
from catalog.data_refresh.mapping import index_body, index_meta
from catalog.data_refresh.search import Indexes
from catalog.data_refresh.sensitive import FIELDS, sensitive_groups
from catalog.data_refresh.tag_policy import DEFAULT
from catalog.data_refresh.templates import foreseen

log = logging.getLogger(__name__)
NODE = 10.0  # seconds that a node may take to make an empty index
_DOCUMENT = {
    "id": 1,
    "title": "preflight",
    "mature": True,
    "source": "preflight",
    "tags": [{"name": "preflight"}],
}
_NONE: dict[str, Any] = {
    "term": {"identifier": "none"}
}  # what finds nothing for sure is not even read by the engine
_LOST = (
    "filter",
    "index_routing",
    "search_routing",
    "is_write_index",
    "is_hidden",
)  # of an alias, when it is pointed elsewhere
_BLOCKS = ("read_only", "read_only_allow_delete", "metadata")  # under these, an alias cannot be moved away


def preflight_search(
    indexes: Indexes,
    terms: Sequence[str],
    media_type: MediaType,
    *,
    dag_id: str,
    run_id: str = "",
    shards: int = 1,
    replicas: int = 0,
    aliases: Iterable[str] | None = None,
) -> list[str]:
    """Try everything a refresh asks of the engine, on two indexes of one document that are deleted again.

    Args:
        indexes: Of the search engine.
        terms: The sensitive terms; none if no filtered index is created.
        media_type: Of the indexes.
        dag_id: Of the run; the next refresh of that DAG deletes what a killed attempt leaves.
        run_id: Of the run.
        shards: Of the index that will be created.
        replicas: Of the index that will be created.
        aliases: The aliases that will be moved; None for those of a data refresh.

    Returns:
        What works but is worth a look, such as terms that no text can hold.

    Raises:
        Fatal: all that would not work, each by its name and with the way out.
        Retry: the engine does not answer.
    """
    names = list(aliases) if aliases is not None else [media_type, f"{media_type}-filtered"]
    problems: list[str] = []
    for alias in names:
        try:
            found = alias_problems(indexes, alias)
            if not found and indexes.exists(alias):
                found = _tried(
                    f"the sensitive terms, searched in {alias}", partial(_search, indexes, alias, terms)
                )
        except Fatal as error:  # some blocks forbid to look
            found = [f"the alias {alias}: {error}"]
        problems += found
    scratch = f"{media_type}-preflight-{uuid4().hex}"
    body = index_body(media_type, index_meta(media_type, dag_id, run_id, DEFAULT), shards)
    before = [
        *_allocation(indexes, replicas),
        *foreseen(indexes.client, scratch),
    ]  # found without making an index
    before += foreseen(indexes.client, f"{scratch}-filtered") if terms else []
    problems += before
    try:
        if not before:
            problems += _tried("a rehearsal", partial(_rehearse, indexes, scratch, body, terms, replicas))
        notes = _idle(indexes, scratch, terms) if not problems else []
    finally:
        for name in (scratch, f"{scratch}-filtered"):
            with suppress(NotFoundError):
                ask(indexes.client.indices.delete, index=name)
    if problems:
        raise Fatal("the search engine would stop this run later: " + "; ".join(dict.fromkeys(problems)))
    return notes


def _tried(what: str, work: Callable[[], Any]) -> list[str]:
    try:
        work()
    except Fatal as error:
        return [f"{what}: {error}"]
    return []


def alias_problems(indexes: Indexes, alias: str) -> list[str]:
    """Return what prevents an alias from being moved; [] if nothing does, or there is no such alias."""
    client = indexes.client
    try:
        found: dict[str, Any] = ask(client.indices.get, index=alias, expand_wildcards="all").body
    except NotFoundError:
        return []
    if alias in found:
        return [f"{alias} is an index, so it cannot be an alias; rename or delete that index"]
    if any(alias not in about["aliases"] for about in found.values()):
        return [
            f"{alias} is a data stream, so it cannot be an alias; delete it (DELETE _data_stream/{alias})"
        ]
    problems = []
    if len(found) > 1:
        problems.append(f"the alias {alias} points at {', '.join(sorted(found))}; point it at one of them")
    for name, about in sorted(found.items()):
        details = about["aliases"].get(alias, {})
        if lost := [key for key in _LOST if key in details]:
            problems.append(
                f"the alias {alias} has {', '.join(lost)}, which moving it would lose; make it a plain alias"
            )
        settings = about["settings"]["index"]
        blocks = [key for key in _BLOCKS if str(settings.get("blocks", {}).get(key, "")).lower() == "true"]
        problems += [
            f"the index {name} has index.blocks.{key}, so {alias} cannot be moved away from it; set it to null"
            for key in blocks
        ]
        if str(settings.get("frozen", "")).lower() == "true":
            problems.append(f"the index {name} is frozen; unfreeze it (POST {name}/_unfreeze)")
        if str(settings.get("verified_before_close", "")).lower() == "true":
            problems.append(f"the index {name} is closed; open it (POST {name}/_open)")
    return problems


def _search(indexes: Indexes, name: str, terms: Sequence[str]) -> None:
    """Each query, as the engine checks it, in an index of any size: no document is looked at."""
    for group in sensitive_groups(terms) if terms else ():
        query = {"bool": {"must": [group], "filter": [_NONE]}}
        try:
            ask(indexes.client.search, index=name, query=query, size=0)
        except NotFoundError:  # dangling
            raise Fatal(f"{name} cannot be searched.") from None


def _rehearse(indexes: Indexes, name: str, body: dict[str, Any], terms: Sequence[str], replicas: int) -> None:
    indexes.create(name, body)
    writer = indexes.require(name).writer
    _require_a_node(indexes, name)
    sent = BulkSender(indexes.client, writer).send([index_action("preflight", _DOCUMENT)])
    for one in sent.rejections:
        raise Fatal(f"a document is refused: {one.kind}: {one.reason}")
    indexes.refresh(name)
    try:
        kept = ask(indexes.client.get, index=name, id="preflight")["_source"]
    except NotFoundError:
        kept = {}
    if kept != _DOCUMENT:
        changed = sorted(key for key in {*kept, *_DOCUMENT} if kept.get(key) != _DOCUMENT.get(key))
        raise Fatal(
            f"a document {'has another ' + ', '.join(changed) if kept else 'is gone'} after it was written; "
            "look for an ingest pipeline (GET _ingest/pipeline)."
        )
    made, filtered = [name], f"{name}-filtered"
    if terms:
        FilteredIndex(indexes, name, filtered, terms, lambda: indexes.create(filtered, body)).run()
        ask(indexes.client.delete_by_query, index=filtered, query=_NONE)  # of a long list of terms
        made.append(filtered)
    for index in made:  # both at once, as a refresh has them beside the live ones
        settings = {"index": {"number_of_replicas": replicas}}
        ask(indexes.client.indices.put_settings, index=index, settings=settings)


def _allocation(indexes: Indexes, replicas: int) -> list[str]:
    """Return the cluster setting that prevents new shards; [] if the account may not read it."""
    try:
        settings = ask(indexes.client.cluster.get_settings, flat_settings=True).body
    except Fatal:
        return []
    key = "cluster.routing.allocation.enable"
    value = str(settings["transient"].get(key, settings["persistent"].get(key, "all"))).lower()
    if value == "none" or (replicas and value in ("primaries", "new_primaries")):
        what = "a new shard" if value == "none" else "the replica of a shard"
        return [f"{key} is {value}, so no node takes {what}; set it to null"]
    return []


def _require_a_node(indexes: Indexes, name: str) -> None:
    """Raise Fatal if no node takes a new index, for which the first document would wait for minutes."""
    waiting = indexes.client.options(ignore_status=408)
    if not ask(waiting.cluster.health, index=name, wait_for_status="yellow", timeout=f"{NODE:.0f}s")[
        "timed_out"
    ]:
        return
    found = ask(indexes.client.cluster.allocation_explain, index=name, shard=0, primary=True)
    nodes = found.get("node_allocation_decisions") or []
    why = {decider["explanation"] for node in nodes for decider in node.get("deciders") or []}
    raise Fatal(
        f"no node takes a shard: {'; '.join(sorted(why)) or found.get('allocate_explanation', 'why, the engine does not say')}"
    )


def _idle(indexes: Indexes, name: str, terms: Sequence[str]) -> list[str]:
    """A note about terms in which no searched field finds a word."""
    analyze = indexes.client.indices.analyze
    idle = [
        term
        for term in terms
        if not any(c.isalnum() for c in term)
        and not any(ask(analyze, index=name, field=field, text=term)["tokens"] for field in FIELDS)
    ]
    return (
        [f"{len(idle):,} sensitive terms hold no word, so they hide nothing: {', '.join(idle[:10])}"]
        if idle
        else []
    )
