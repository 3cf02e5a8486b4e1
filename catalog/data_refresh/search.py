"""Operations on the indexes and aliases of a search engine.

Operations require an index that the catalog created and that has not been replaced since (`identity.py`).
Documents are written to a private alias of the index. Otherwise the engine might create a missing index
automatically, with a guessed mapping.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.core.media import MediaType
from catalog.data_refresh.client import ask, may_pass
from catalog.data_refresh.identity import NAME, WAY_OUT, IndexIdentity, identity_of, public, writer_name
from catalog.data_refresh.templates import mapping_problems, template_problems

log = logging.getLogger(__name__)
POLL = 20.0  # seconds that a request waits for the engine; proxies cut requests that are silent for a minute


class Indexes:
    """Indexes of a search engine. Errors are raised as Retry (it may work later) or Fatal.

    Args:
        client: Client of the engine.
        patience: Seconds for which idempotent requests are repeated if the engine does not answer.
        pause: Sleeps for a number of seconds.
    """

    def __init__(
        self, client: Elasticsearch, patience: float = 120, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.client, self._patience, self._pause = client, patience, pause

    def _ask(self, call: Callable[..., Any], **values: Any) -> Any:
        """Make an idempotent request, repeated if necessary. Raises NotFoundError unchanged."""
        again = Retrying(
            retry=retry_if_exception(may_pass),
            stop=stop_after_delay(self._patience),
            wait=wait_exponential(max=10),
            sleep=self._pause,
            reraise=True,
        )
        return ask(again, call, **values)

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Create a new, empty index, replacing one of that name if the catalog made it and it has no alias.

        Args:
            name: Name of the index: lower-case letters, digits, - and _.
            body: Settings and mappings, from `index_body`.

        Returns:
            The engine's uuid of the index.

        Raises:
            Fatal: Something that the catalog did not create has the name, or a template of the engine changed
                the mapping.
        """
        if not NAME.fullmatch(name):
            raise Fatal(f"{name!r} cannot be the name of an index: use lower-case letters, digits, - and _.")
        there = self.identity(name)
        if there is None and self.exists(name):
            raise Fatal(f"{name} is {self._kind(name)}, so no index can have that name; choose another one.")
        if there and not there.dag_id:
            raise Fatal(f"the catalog did not create the index {name}; delete it or choose another name.")
        self.delete([name])
        writer = writer_name(name)
        ask(
            self.client.indices.create,
            index=name,
            settings=body["settings"],
            mappings=body["mappings"],
            aliases={writer: {}},
        )
        about = self._about(name)
        if about is None or writer not in about.get("aliases", {}):
            raise Retry(f"the engine does not show the index {name} that it has created.")
        try:
            _require_as_requested(name, writer, about, body)
        except Fatal:  # a template may have made it searchable
            with suppress(NotFoundError):
                self._ask(self.client.indices.delete, index=name)
            raise
        return identity_of(name, about).uuid

    def _kind(self, name: str) -> str:
        """Describe what has a name."""
        if behind := self._behind(name):
            return f"an alias of {', '.join(behind)}"
        return "an index" if self._about(name) else "a data stream"

    def _about(self, name: str) -> dict[str, Any] | None:
        """Return settings, mappings and aliases of an index; None if there is none of that name."""
        try:
            return self._ask(self.client.indices.get, index=name, expand_wildcards="all").body.get(name)  # type: ignore[no-any-return]
        except NotFoundError:
            return None

    def identity(self, name: str) -> IndexIdentity | None:
        """Return the identity of an index; None if there is no index (an alias is none) of that name."""
        about = self._about(name)
        return identity_of(name, about) if about else None

    def require(self, name: str, uuid: str | None = None) -> IndexIdentity:
        """Check that an index exists and that the catalog created it.

        Args:
            name: Name of the index, not an alias.
            uuid: Result of `create`; None for any index that the catalog created.

        Raises:
            Fatal: It is missing, was replaced, or was created by the engine or by somebody else.
        """
        found = self.identity(name)
        if found is None:
            self.require_index(name)
            raise Fatal(f"the index {name} is missing: {WAY_OUT}.")
        if not found.dag_id:
            raise Fatal(
                f"the catalog did not create the index {name} (its mapping has no `_meta`): delete it, then "
                f"{WAY_OUT}."
            )
        if uuid and found.uuid != uuid:
            raise Fatal(f"the index {name} is not the one that this run created (uuid {uuid}): {WAY_OUT}.")
        return found

    def require_index(self, name: str) -> None:
        """Raise Fatal if an alias or a data stream has the name."""
        if self.identity(name) is None and self.exists(name):
            raise Fatal(f"{name} is {self._kind(name)}, not an index; name the index itself.")

    def resolve_alias(self, alias: str) -> str | None:
        """Return the index behind an alias; None without alias. Raises Fatal if there are several."""
        found = self._behind(alias)
        if len(found) > 1:
            raise Fatal(f"the alias {alias} points at {', '.join(found)}; point it at one of them by hand.")
        return found[0] if found else None

    def _behind(self, alias: str) -> list[str]:
        try:
            return sorted(self._ask(self.client.indices.get_alias, name=alias).body)
        except NotFoundError:
            return []

    def aliases(self, name: str) -> list[str]:
        """Return the aliases of an index without its private one; empty if the index does not exist."""
        found = self.identity(name)
        return public(found.aliases, name) if found else []

    def exists(self, name: str) -> bool:
        return bool(self._ask(self.client.indices.exists, index=name))

    def meta(self, name: str) -> dict[str, Any]:
        """Return `_meta` of an index, or of the index behind an alias; empty if there is none."""
        try:
            [mapping] = self._ask(self.client.indices.get_mapping, index=name).body.values()
        except (NotFoundError, ValueError):
            return {}
        return dict(mapping["mappings"].get("_meta") or {})

    def sources(self, name: str) -> dict[str, int]:
        """Return the number of documents by source; empty if the index does not exist."""
        by_source = {"sources": {"terms": {"field": "source", "size": 10_000}}}
        try:
            found = self._ask(self.client.search, index=name, size=0, aggs=by_source)
        except NotFoundError:
            return {}
        return {bucket["key"]: bucket["doc_count"] for bucket in found["aggregations"]["sources"]["buckets"]}

    def count(self, name: str, query: Mapping[str, Any] | None = None) -> int:
        try:
            return int(self._ask(self.client.count, index=name, query=query)["count"])
        except NotFoundError:
            raise Fatal(f"there is no index {name}.") from None

    def matching(self, name: str, keys: list[str], *, but: Mapping[str, Any] | None = None) -> list[str]:
        """Return the keys that have a visible document.

        Args:
            name: Name or alias of the index.
            keys: At most 10,000 identifiers.
            but: A query for documents that are left out.
        """
        query = {"bool": {"filter": [{"ids": {"values": keys}}], "must_not": [but] if but else []}}
        try:
            found = self._ask(
                self.client.search,
                index=name,
                query=query,
                size=len(keys),
                source=False,
                track_total_hits=False,
            )
        except NotFoundError:
            raise Fatal(f"there is no index {name}.") from None
        return [hit["_id"] for hit in found["hits"]["hits"]]

    def refresh(self, name: str) -> None:
        """Make written documents visible to searches and counts."""
        self._ask(self.client.indices.refresh, index=name)

    def finalize(
        self,
        name: str,
        replicas: int,
        seconds: float,
        *,
        uuid: str | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make an index ready to be searched: create replicas, enable refreshes, wait until it is healthy.

        Args:
            name: Name of an index of the catalog.
            replicas: Number of replicas of each shard.
            seconds: Limit for the whole; the engine is polled with short requests.
            uuid: The engine's uuid of the index.
            should_stop: Called between requests.

        Raises:
            Interrupted: `should_stop` returned True.
            Retry: It is not ready in time; the message says what is missing.
        """
        self.require(name, uuid)
        settings = {"index": {"number_of_replicas": replicas, "refresh_interval": None}}
        self._ask(self.client.indices.put_settings, index=name, settings=settings)
        deadline, logged = time.monotonic() + seconds, ""
        while True:
            left = deadline - time.monotonic()
            state = self._health(name, max(1.0, min(POLL, left)))
            if state is None:
                return
            if state != logged:
                log.info("%s is not ready to serve: %s", name, state)
                logged = state
            if should_stop():
                raise Interrupted(f"asked to stop while {name} gets ready; the next attempt waits for it.")
            if time.monotonic() >= deadline:
                raise Retry(
                    f"{name} is not ready to serve after {seconds:.0f} s ({state}); does the cluster have "
                    f"nodes for {replicas} replicas? The connection's extra `replicas` sets their number."
                )

    def _health(self, name: str, seconds: float) -> str | None:
        """Wait up to `seconds` for an index to be healthy; return what is missing, or None if it is."""
        client = self.client.options(ignore_status=408, request_timeout=seconds + 30)
        try:
            found = ask(client.cluster.health, index=name, wait_for_status="green", timeout=f"{seconds:.0f}s")
        except Retry as error:
            self._pause(1)
            return str(error)
        if found["status"] == "green" and not found["timed_out"]:
            return None
        waiting = found["unassigned_shards"] + found["initializing_shards"]
        return f"{found['status']}, {found['active_shards']:,} shards are active, {waiting:,} are not"

    def swap_aliases(self, targets: Mapping[str, str], uuids: Mapping[str, str] | None = None) -> None:
        """Move aliases to indexes in one atomic step.

        Args:
            targets: Index by alias; the catalog must have created each index.
            uuids: The engine's uuid by index; indexes without an entry are not compared.

        Raises:
            Fatal: An index is missing or was replaced, or an alias is an index. No alias has been moved.
            Retry: The engine does not show the result.
        """
        uuids = uuids or {}
        for index in targets.values():
            self.require(index, uuids.get(index))
        actions: list[dict[str, Any]] = []
        for alias, index in targets.items():
            before = self.resolve_alias(alias)
            if before is None and self.exists(alias):
                raise Fatal(f"{alias} is {self._kind(alias)}, so it cannot be an alias; rename or delete it.")
            if before and before != index:
                actions.append({"remove": {"index": before, "alias": alias}})
            actions.append({"add": {"index": index, "alias": alias}})
        ask(self.client.indices.update_aliases, actions=actions)
        for alias, index in targets.items():
            if (found := self.resolve_alias(alias)) != index:
                raise Retry(f"the alias {alias} points at {found or 'nothing'} instead of {index}.")
            self.require(index, uuids.get(index))

    def delete(self, names: Iterable[str]) -> list[str]:
        """Delete the indexes that exist, and return their names. Raises Fatal if an alias points at one."""
        deleted = []
        for name in names:
            if aliases := self.aliases(name):
                raise Fatal(f"{name} is in use: {', '.join(aliases)} points at it.")
            try:
                self._ask(self.client.indices.delete, index=name)
            except NotFoundError:
                continue
            deleted.append(name)
        return deleted

    def delete_unless_aliased(self, name: str) -> list[str]:
        """Delete an index unless an alias points at it; return the aliases that do."""
        keepers = self.aliases(name)
        if not keepers:
            self.delete([name])
        return keepers

    def marked(self, name: str, size: int) -> Iterator[list[str]]:
        """Yield batches of identifiers of visible documents that are mature.

        Args:
            name: Name of the index.
            size: Documents per batch, at most `templates.WINDOW`.
        """
        after = None
        while True:
            hits = self._ask(
                self.client.search,
                index=name,
                query={"term": {"mature": True}},
                size=size,
                source=False,
                sort=[{"id": "asc"}],
                search_after=after,
                track_total_hits=False,
            )["hits"]["hits"]
            if not hits:
                return
            yield [hit["_id"] for hit in hits]
            after = hits[-1]["sort"]

    def orphans(self, made_by: Iterable[str], media_type: MediaType, kept: Collection[str] = ()) -> list[str]:
        """Return the names of indexes without an alias that DAGs have left.

        Args:
            made_by: Ids of the DAGs that created them.
            media_type: Media type of the indexes.
            kept: Uuids of indexes that are left out.
        """
        wanted = set(made_by)
        found = self._ask(self.client.indices.get, index=f"{media_type}-*", expand_wildcards="all").body
        indexes = [identity_of(name, about) for name, about in found.items()]
        return sorted(
            i.name
            for i in indexes
            if i.dag_id in wanted and i.uuid not in kept and not public(i.aliases, i.name)
        )

    def reindex(
        self,
        origin: str,
        destination: str,
        query: Mapping[str, Any],
        *,
        uuid: str | None = None,
        per_second: float = -1,
        task: str | None = None,
        started: Callable[[str], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> int:
        """Let the engine copy the documents that match a query to another index.

        Args:
            origin: Index or alias from which documents are copied.
            destination: Name of an index of the catalog.
            query: Matches the documents to copy.
            uuid: The engine's uuid of the destination.
            per_second: Limit of documents per second; -1 for no limit.
            task: Task of an earlier call that was interrupted, to wait for.
            started: Called with the engine's task.
            should_stop: Called each second; raises Interrupted if it returns True.
            progress: Called with the number of copied documents, and of all.

        Returns:
            Number of copied documents.

        Raises:
            Retry: The engine failed to copy all documents.
        """
        target = self.require(destination, uuid)
        if task is None:
            task = str(
                ask(
                    self.client.reindex,
                    source={"index": origin, "query": query},
                    dest={"index": target.writer},
                    slices="auto",
                    wait_for_completion=False,
                    requests_per_second=per_second,
                    refresh=False,
                    require_alias=True,
                )["task"]
            )
            started(task)
        found = self.wait_for(task, should_stop, progress)
        self.require(destination, target.uuid)
        response = found.get("response", {})
        if problem := found.get("error") or response.get("failures") or response.get("canceled"):
            raise Retry(f"the engine could not copy {origin} to {destination}: {str(problem)[:500]}")
        return int(response["created"]) + int(response["updated"])

    def wait_for(
        self,
        task: str,
        should_stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> dict[str, Any]:
        """Wait for a task of the engine, and return its final status. Raises Retry if the engine lost it."""
        while True:
            try:
                found = self._ask(self.client.tasks.get, task_id=task)
            except NotFoundError:
                raise Retry(
                    f"the engine does not know the task {task} any more; it has probably been restarted."
                ) from None
            if found["completed"]:
                return dict(found)
            status = found["task"]["status"]
            progress(
                int(status.get("created", 0)) + int(status.get("deleted", 0)), int(status.get("total", 0))
            )
            if should_stop():
                raise Interrupted("asked to stop; the engine continues, and the next attempt waits for it.")
            self._pause(1)


def _require_as_requested(name: str, writer: str, about: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Raise Fatal if a template has changed a new index, or added to it."""
    others = {key: value for key, value in about["aliases"].items() if key != writer}
    if problems := template_problems(name, {**about, "aliases": others}):
        raise Fatal(f"{'; '.join(problems)}.")
    made, wanted = _fields(about["mappings"]), _fields(body["mappings"])
    different = sorted(f"{field} {kind}" for field, kind in made ^ wanted)
    different += mapping_problems(about["mappings"], body["mappings"])
    if different:
        raise Fatal(
            f"a template of the search engine changes the mapping of {name}: {', '.join(different[:10])}; "
            f"narrow its index_patterns (GET _index_template)."
        )


def _fields(mappings: Mapping[str, Any], path: str = "") -> set[tuple[str, str]]:
    """Return name and type of each field of a mapping."""
    found = set()
    for kind in ("properties", "fields"):
        for name, about in mappings.get(kind, {}).items():
            found.add((f"{path}{name}", str(about.get("type", "object"))))
            found |= _fields(about, f"{path}{name}.")
    return found
