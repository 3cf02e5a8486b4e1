"""Checks of what the search engine would refuse hours later: names, aliases, limits, privileges."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from elasticsearch import NotFoundError

from catalog.core.errors import Fatal, Retry
from catalog.core.media import MediaType
from catalog.core.wording import join_first
from catalog.data_refresh.search.bulk import BulkSender, index_action
from catalog.data_refresh.search.client import ask
from catalog.data_refresh.search.filtered import FilteredIndex
from catalog.data_refresh.search.identity import filtered_name, preflight_prefix
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.mapping import index_body, index_meta
from catalog.data_refresh.search.sensitive import FIELDS, sensitive_groups
from catalog.data_refresh.search.tag_policy import DEFAULT
from catalog.data_refresh.search.templates import foreseen

log = logging.getLogger(__name__)
NODE_TIMEOUT = 10.0  # seconds for a node to allocate an empty index
_DOCUMENT = {
    "id": 1,
    "title": "preflight",
    "mature": True,
    "source": "preflight",
    "tags": [{"name": "preflight"}],
    "sensitive_text": ["preflight"],
}
# A query without matches, for which the engine reads no document.
_NONE: dict[str, Any] = {"term": {"identifier": "none"}}
# Properties that an alias loses when it is moved.
_LOST = ("filter", "index_routing", "search_routing", "is_write_index", "is_hidden")
# Blocks of an index that prevent its aliases from being moved.
_BLOCKS = ("read_only", "read_only_allow_delete", "metadata")


def preflight_search(
    engine: Indexes,
    terms: Sequence[str],
    media_type: MediaType,
    *,
    dag_id: str,
    run_id: str = "",
    shards: int = 1,
    replicas: int = 0,
    aliases: Iterable[str] | None = None,
) -> list[str]:
    """Rehearse all operations of a refresh on two indexes with one document, which are deleted afterwards.

    Args:
        engine: Operations on indexes.
        terms: Sensitive terms; empty if no filtered index is created.
        media_type: Media type of the indexes.
        dag_id: DAG of the run; its next refresh deletes the indexes that a killed attempt leaves.
        run_id: Id of the run.
        shards: Primary shards of the new index.
        replicas: Replicas of the new index.
        aliases: Aliases that will be moved; None for those of a data refresh.

    Returns:
        Warnings, such as terms that never match.

    Raises:
        Fatal: Something would fail; the message lists all problems and their remedies.
        Retry: The engine does not answer.
    """
    names = list(aliases) if aliases is not None else [media_type, filtered_name(media_type)]
    problems: list[str] = []
    for alias in names:
        try:
            of_alias = alias_problems(engine, alias)
            if not of_alias and engine.exists(alias):
                of_alias = _tried(
                    f"the sensitive terms, searched in {alias}", partial(_search, engine, alias, terms)
                )
        except Fatal as error:  # some blocks prevent even reading the metadata
            of_alias = [f"the alias {alias}: {error}"]
        problems += of_alias
    scratch = f"{preflight_prefix(media_type)}{uuid4().hex}"
    body = index_body(media_type, index_meta(media_type, dag_id, run_id, DEFAULT), shards)
    # Problems that are found without creating an index.
    before = [*_allocation(engine, replicas), *foreseen(engine.client, scratch)]
    before += foreseen(engine.client, filtered_name(scratch)) if terms else []
    problems += before
    try:
        if not before:
            problems += _tried("a rehearsal", partial(_rehearse, engine, scratch, body, terms, replicas))
        notes = _idle(engine, scratch, terms) if not problems else []
    finally:
        for name in (scratch, filtered_name(scratch)):
            with suppress(NotFoundError):
                ask(engine.client.indices.delete, index=name)
    if problems:
        raise Fatal("the search engine would stop this run later: " + "; ".join(dict.fromkeys(problems)))
    return notes


def _tried(what: str, work: Callable[[], Any]) -> list[str]:
    try:
        work()
    except Fatal as error:
        return [f"{what}: {error}"]
    return []


def alias_problems(engine: Indexes, alias: str) -> list[str]:
    """Return what prevents an alias from being moved; empty if nothing does, or the alias does not exist."""
    client = engine.client
    try:
        indices: dict[str, Any] = ask(client.indices.get, index=alias, expand_wildcards="all").body
    except NotFoundError:
        return []
    if alias in indices:
        return [f"{alias} is an index, so it cannot be an alias; rename or delete that index"]
    if any(alias not in about["aliases"] for about in indices.values()):
        return [
            f"{alias} is a data stream, so it cannot be an alias; delete it (DELETE _data_stream/{alias})"
        ]
    problems = []
    if len(indices) > 1:
        problems.append(f"the alias {alias} points at {', '.join(sorted(indices))}; point it at one of them")
    for name, about in sorted(indices.items()):
        details = about["aliases"].get(alias, {})
        if lost := [key for key in _LOST if key in details]:
            problems.append(
                f"the alias {alias} has {', '.join(lost)}, which moving it would lose; make it a plain alias"
            )
        problems += index_problems(name, about["settings"]["index"], f"{alias} cannot be moved away from it")
    return problems


def index_problems(name: str, settings: Mapping[str, Any], effect: str) -> list[str]:
    """Return what is wrong with an index from or to which an alias is moved: blocks, frozen, closed.

    Args:
        name: Name of the index.
        settings: Its settings below `index`.
        effect: What a block prevents.
    """
    blocks = [key for key in _BLOCKS if str(settings.get("blocks", {}).get(key, "")).lower() == "true"]
    problems = [f"the index {name} has index.blocks.{key}, so {effect}; set it to null" for key in blocks]
    if str(settings.get("frozen", "")).lower() == "true":
        problems.append(f"the index {name} is frozen; unfreeze it (POST {name}/_unfreeze)")
    if str(settings.get("verified_before_close", "")).lower() == "true":
        problems.append(f"the index {name} is closed; open it (POST {name}/_open)")
    return problems


def _search(engine: Indexes, name: str, terms: Sequence[str]) -> None:
    """Let the engine validate each query; no document is read, so the size of the index does not matter."""
    for group in sensitive_groups(terms) if terms else ():
        query = {"bool": {"must": [group], "filter": [_NONE]}}
        try:
            ask(engine.client.search, index=name, query=query, size=0)
        except NotFoundError:  # the alias points at no index
            raise Fatal(f"{name} cannot be searched.") from None


def _rehearse(engine: Indexes, name: str, body: dict[str, Any], terms: Sequence[str], replicas: int) -> None:
    engine.create(name, body)
    writer = engine.require(name).writer
    shards = body["settings"]["index"]["number_of_shards"]
    _require_a_node(engine, name, shards)
    sent = BulkSender(engine, writer).send([index_action("preflight", _DOCUMENT)])
    for one in sent.rejections:
        raise Fatal(f"a document is rejected: {one.kind}: {one.reason}")
    engine.refresh(name)
    try:
        kept = ask(engine.client.get, index=name, id="preflight")["_source"]
    except NotFoundError:
        kept = {}
    if kept != _DOCUMENT:
        changed = sorted(key for key in {*kept, *_DOCUMENT} if kept.get(key) != _DOCUMENT.get(key))
        what = f"has another {', '.join(changed)}" if kept else "is missing"
        raise Fatal(
            f"a document {what} after it was written; look for an ingest pipeline (GET _ingest/pipeline)."
        )
    made, filtered = [name], filtered_name(name)
    if terms:
        FilteredIndex(engine, name, filtered, terms, lambda: engine.create(filtered, body)).run()
        _require_a_node(engine, filtered, shards)  # it may be empty, so that no write has waited for one
        ask(engine.client.delete_by_query, index=filtered, query=_NONE)  # long lists of terms need it
        made.append(filtered)
    for index in made:  # both exist at once, as in a refresh
        settings = {"index": {"number_of_replicas": replicas}}
        ask(engine.client.indices.put_settings, index=index, settings=settings)


def _allocation(engine: Indexes, replicas: int) -> list[str]:
    """Return the cluster setting that prevents new shards; empty if the account may not read it."""
    try:
        settings = ask(engine.client.cluster.get_settings, flat_settings=True).body
    except Fatal:
        return []
    key = "cluster.routing.allocation.enable"
    value = str(settings["transient"].get(key, settings["persistent"].get(key, "all"))).lower()
    if value == "none" or (replicas and value in ("primaries", "new_primaries")):
        what = "a new shard" if value == "none" else "the replica of a shard"
        return [f"{key} is {value}, so no node allocates {what}; set it to null"]
    return []


def _require_a_node(engine: Indexes, name: str, shards: int) -> None:
    """Check that a node starts each shard of a new index; its first document would wait for minutes.

    The index's status is no answer: it is yellow before its primaries have started.

    Raises:
        Fatal: No node accepts a shard.
        Retry: A node has accepted it, but has not started it yet.
    """
    waiting = engine.client.options(ignore_status=408)
    seconds = f"{NODE_TIMEOUT:.0f}s"
    health = ask(waiting.cluster.health, index=name, wait_for_active_shards=str(shards), timeout=seconds)
    if not health["timed_out"]:
        return
    for shard in range(shards):
        found = ask(engine.client.cluster.allocation_explain, index=name, shard=shard, primary=True)
        if found["current_state"] == "unassigned":
            nodes = found.get("node_allocation_decisions") or []
            why = {decider["explanation"] for node in nodes for decider in node.get("deciders") or []}
            reasons = "; ".join(sorted(why)) or found.get(
                "allocate_explanation", "the engine gives no reason"
            )
            raise Fatal(f"no node allocates a shard: {reasons}")
    raise Retry(f"the engine has not started a new index within {seconds}; it may be busy.")


def _idle(engine: Indexes, name: str, terms: Sequence[str]) -> list[str]:
    """Return a warning about terms in which the engine finds no word."""
    analyze = engine.client.indices.analyze
    idle = [
        term
        for term in terms
        if not any(c.isalnum() for c in term)
        and not any(ask(analyze, index=name, field=field, text=term)["tokens"] for field in FIELDS)
    ]
    return (
        [f"{len(idle):,} sensitive terms contain no word, so they hide nothing: {join_first(idle)}"]
        if idle
        else []
    )
