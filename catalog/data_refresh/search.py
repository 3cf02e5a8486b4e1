"""What a refresh does with the indexes and aliases of a search engine.

An index counts only when the catalog made it and it still is the same one (`identity.py`). What fills an
index writes to an alias that only this index has, so that an engine that creates missing indexes
automatically, with a guessed mapping, has nothing to create.
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
POLL = 20.0  # seconds that one request may wait for the engine; a proxy cuts one that is silent for a minute


class Indexes:
    """What a refresh asks of the engine. Errors come as Retry (it may work later) or Fatal.

    patience: seconds to go on asking an engine that does not answer, for what may be asked twice. pause:
    sleeps.
    """

    def __init__(
        self, client: Elasticsearch, patience: float = 120, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.client, self._patience, self._pause = client, patience, pause

    def _ask(self, call: Callable[..., Any], **values: Any) -> Any:
        """A request that may be repeated. A NotFoundError comes through, for those who expect it."""
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
            name: small letters, digits, - and _.
            body: settings and mappings, as `index_body` makes them.

        Returns:
            The uuid that the engine gave it.

        Raises:
            Fatal: the name is taken by what the catalog did not make, or a template of the engine changed the
                mapping.
        """
        if not NAME.fullmatch(name):
            raise Fatal(f"{name!r} cannot be the name of an index: small letters, digits, - and _ only.")
        there = self.identity(name)
        if there is None and self.exists(name):
            raise Fatal(f"{name} is {self._kind(name)}, so no index can have that name; choose another one.")
        if there and not there.dag_id:
            raise Fatal(
                f"there is an index {name} that the catalog did not make; delete it or choose another name."
            )
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
            raise Retry(f"the engine does not show the index {name} that it has made.")
        try:
            _require_as_wanted(name, writer, about, body)
        except Fatal:  # nobody shall find it, not even for a moment longer
            with suppress(NotFoundError):
                self._ask(self.client.indices.delete, index=name)
            raise
        return identity_of(name, about).uuid

    def _kind(self, name: str) -> str:
        """What has a name that no index of ours has, in words."""
        if behind := self._behind(name):
            return f"an alias of {', '.join(behind)}"
        return "an index" if self._about(name) else "a data stream"

    def _about(self, name: str) -> dict[str, Any] | None:
        """Settings, mappings and aliases of an index; None for an alias."""
        try:
            return self._ask(self.client.indices.get, index=name, expand_wildcards="all").body.get(name)  # type: ignore[no-any-return]
        except NotFoundError:
            return None

    def identity(self, name: str) -> IndexIdentity | None:
        """Which index of that name is there; None when there is none. An alias is not an index."""
        about = self._about(name)
        return identity_of(name, about) if about else None

    def require(self, name: str, uuid: str | None = None) -> IndexIdentity:
        """Prove that an index is there and that the catalog made it.

        Args:
            name: of the index, no alias.
            uuid: as `create` gave it; None where any index that the catalog made will do.

        Raises:
            Fatal: it is gone, another one, or made by the engine itself or by somebody else.
        """
        found = self.identity(name)
        if found is None:
            self.require_index(name)
            raise Fatal(f"the index {name} is gone: {WAY_OUT}.")
        if not found.dag_id:
            raise Fatal(
                f"the catalog did not make the index {name} (its mapping has no `_meta`), so it does not count: delete it, then {WAY_OUT}."
            )
        if uuid and found.uuid != uuid:
            raise Fatal(f"the index {name} is not the one that this run made (uuid {uuid}): {WAY_OUT}.")
        return found

    def require_index(self, name: str) -> None:
        """Raises Fatal when what has a name is an alias or a data stream."""
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
        """Aliases by which an index is found, without its private one; [] when there is no such index."""
        found = self.identity(name)
        return public(found.aliases, name) if found else []

    def exists(self, name: str) -> bool:
        return bool(self._ask(self.client.indices.exists, index=name))

    def meta(self, name: str) -> dict[str, Any]:
        """`_meta` of an index or of what an alias points at; {} when there is none."""
        try:
            [mapping] = self._ask(self.client.indices.get_mapping, index=name).body.values()
        except (NotFoundError, ValueError):
            return {}
        return dict(mapping["mappings"].get("_meta") or {})

    def sources(self, name: str) -> dict[str, int]:
        """Source → number of documents; {} when there is no such index."""
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
        """Return those of at most 10 000 identifiers with a visible document that `but`, a query, does not find."""
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
        """Make what was written visible to searches and counts."""
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
        """Make an index ready to serve: replicas made, refreshes as usual, healthy.

        Args:
            name: of an index that the catalog made.
            replicas: copies of each shard, beside the first.
            seconds: how long that may take. It is asked for in short requests.
            uuid: as `create` gave it.
            should_stop: asked between requests; then Interrupted is raised.

        Raises:
            Retry: it is not ready in time; the text says what is missing.
        """
        self.require(name, uuid)
        settings = {"index": {"number_of_replicas": replicas, "refresh_interval": None}}
        self._ask(self.client.indices.put_settings, index=name, settings=settings)
        deadline, told = time.monotonic() + seconds, ""
        while True:
            left = deadline - time.monotonic()
            state = self._health(name, max(1.0, min(POLL, left)))
            if state is None:
                return
            if state != told:
                log.info("%s is not ready to serve: %s", name, state)
                told = state
            if should_stop():
                raise Interrupted(f"asked to stop while {name} gets ready; the next try waits for it.")
            if time.monotonic() >= deadline:
                raise Retry(
                    f"{name} is not ready to serve after {seconds:.0f} s ({state}); does the cluster have nodes for {replicas} replicas? "
                    f"The extra `replicas` of the connection says how many are made."
                )

    def _health(self, name: str, seconds: float) -> str | None:
        """Wait a little for an index to be healthy: None when it is, else what is missing, in words."""
        client = self.client.options(ignore_status=408, request_timeout=seconds + 30)
        try:
            found = ask(client.cluster.health, index=name, wait_for_status="green", timeout=f"{seconds:.0f}s")
        except Retry as error:
            self._pause(1)
            return str(error)
        if found["status"] == "green" and not found["timed_out"]:
            return None
        waiting = found["unassigned_shards"] + found["initializing_shards"]
        return f"{found['status']}, {found['active_shards']:,} shards are there, {waiting:,} are not"

    def swap_aliases(self, targets: Mapping[str, str], uuids: Mapping[str, str] | None = None) -> None:
        """Point aliases at indexes, all in one step: whoever searches finds the old ones or the new ones.

        Args:
            targets: alias → index. Each must have been made by the catalog.
            uuids: index → uuid, as `create` gave it; indexes that are left out may be any of that name.

        Raises:
            Fatal: a target is not what it should be, or an alias is an index. Nothing has been pointed.
            Retry: the engine does not show the result.
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
        """Delete indexes; those that are there and by which nobody searches. Returns their names."""
        gone = []
        for name in names:
            if aliases := self.aliases(name):
                raise Fatal(f"{name} is in use: {', '.join(aliases)} points at it.")
            try:
                self._ask(self.client.indices.delete, index=name)
            except NotFoundError:
                continue
            gone.append(name)
        return gone

    def delete_unless_aliased(self, name: str) -> list[str]:
        """Delete an index unless an alias points at it; return the aliases that do."""
        keepers = self.aliases(name)
        if not keepers:
            self.delete([name])
        return keepers

    def marked(self, name: str, size: int) -> Iterator[list[str]]:
        """Identifiers of the visible documents that are mature, `size` (WINDOW at most) at a time."""
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
        """Return indexes without alias that these DAGs made for a media type, except the uuids `kept`."""
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
        """Copy the documents that a query finds into another index, on the server.

        Args:
            origin: index or alias that is copied from.
            destination: an index that the catalog made.
            query: finds what is copied.
            uuid: of the destination, as `create` gave it.
            per_second: documents; -1 for no limit.
            task: of a call that was stopped, to go on waiting for it.
            started: is told the task.
            should_stop: asked each second; then Interrupted is raised.
            progress: is told documents copied, and of how many.

        Returns:
            Number of documents copied.
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
        """Wait for work on the server: what the engine says of it when it has ended, well or not."""
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
                raise Interrupted("asked to stop; the engine goes on working and the next try waits for it.")
            self._pause(1)


def _require_as_wanted(name: str, writer: str, about: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Raises Fatal when a template has added to a new index, or changed it."""
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
    """(name, type) of each field of a mapping."""
    found = set()
    for kind in ("properties", "fields"):
        for name, about in mappings.get(kind, {}).items():
            found.add((f"{path}{name}", str(about.get("type", "object"))))
            found |= _fields(about, f"{path}{name}.")
    return found
