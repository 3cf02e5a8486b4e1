"""Operations on the indexes and aliases of a search engine.

Operations require an index that the catalog created and that has not been replaced since (`identity.py`).
Documents are written to a private alias of the index. Otherwise the engine might create a missing index
automatically, with a guessed mapping.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from catalog.core.errors import Fatal, Retry
from catalog.core.media import MediaType
from catalog.core.wording import join_first
from catalog.data_refresh.search.client import ask, complete_answer, may_pass
from catalog.data_refresh.search.identity import (
    NAME,
    REMEDY,
    IndexIdentity,
    identity_of,
    is_stray,
    public,
    writer_name,
)
from catalog.data_refresh.search.templates import mapping_problems, template_problems

SOURCES = 10_000  # that an index may have


class SeveralIndexes(Fatal):
    """An alias points at several indexes."""


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
        self.client, self._patience, self.pause = client, patience, pause
        self._late: dict[str, bool] = {}  # whether replicas of an index follow its refreshes later

    def ask(self, call: Callable[..., Any], **values: Any) -> Any:
        """Make an idempotent request, repeated if necessary. Raises NotFoundError unchanged."""
        again = Retrying(
            retry=retry_if_exception(may_pass),
            stop=stop_after_delay(self._patience),
            wait=wait_exponential(max=10),
            sleep=self.pause,
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
            wait_for_active_shards="0",  # writing waits for a node; the preflight reports that there is none
        )
        about = self._about(name)
        if about is None or writer not in about.get("aliases", {}):
            raise Retry(f"the engine does not show the index {name} that it has created.")
        try:
            _require_as_requested(name, writer, about, body)
        except Fatal:  # a template may have made it searchable
            with suppress(NotFoundError):
                self.ask(self.client.indices.delete, index=name)
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
            return self.ask(self.client.indices.get, index=name, expand_wildcards="all").body.get(name)  # type: ignore[no-any-return]
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
        identity = self.identity(name)
        if identity is None:
            self.require_index(name)
            raise Fatal(f"the index {name} is missing: {REMEDY}.")
        if not identity.dag_id:
            raise Fatal(
                f"the catalog did not create the index {name} (its mapping has no `_meta`): delete it, then "
                f"{REMEDY}."
            )
        if uuid and identity.uuid != uuid:
            raise Fatal(f"the index {name} is not the one that this run created (uuid {uuid}): {REMEDY}.")
        return identity

    def cluster(self) -> str:
        """Return the uuid of the engine's cluster."""
        return str(self.ask(self.client.info)["cluster_uuid"])

    def require_index(self, name: str) -> None:
        """Raise Fatal if an alias or a data stream has the name."""
        if self.identity(name) is None and self.exists(name):
            raise Fatal(f"{name} is {self._kind(name)}, not an index; name the index itself.")

    def resolve_alias(self, alias: str) -> str | None:
        """Return the index behind an alias; None without alias. Raises SeveralIndexes."""
        targets = self._behind(alias)
        if len(targets) > 1:
            raise SeveralIndexes(
                f"the alias {alias} points at {', '.join(targets)}; point it at one of them by hand."
            )
        return targets[0] if targets else None

    def hides(self, alias: str) -> bool:
        """Return whether an alias has a filter, so that a search does not see all documents."""
        found = self._aliases(alias).values()
        return any(about["aliases"].get(alias, {}).get("filter") for about in found)

    def _behind(self, alias: str) -> list[str]:
        return sorted(self._aliases(alias))

    def _aliases(self, alias: str) -> dict[str, Any]:
        """Return index → its aliases of that name."""
        try:
            return dict(self.ask(self.client.indices.get_alias, name=alias).body)
        except NotFoundError:
            return {}

    def aliases(self, name: str) -> list[str]:
        """Return the aliases of an index without its private one; empty if the index does not exist."""
        found = self.identity(name)
        return public(found.aliases, name) if found else []

    def exists(self, name: str) -> bool:
        return bool(self.ask(self.client.indices.exists, index=name))

    def meta(self, name: str) -> dict[str, Any]:
        """Return `_meta` of an index, or of the index behind an alias; empty if there is none."""
        return dict(self._mapping(name).get("_meta") or {})

    def _mapping(self, name: str) -> dict[str, Any]:
        """Return the mapping of an index, or of the index behind an alias; empty if there is none."""
        try:
            [about] = self.ask(self.client.indices.get_mapping, index=name).body.values()
        except (NotFoundError, ValueError):
            return {}
        return dict(about["mappings"])

    def pipeline(self, name: str) -> str:
        """Return the ingest pipeline of an index, as in `index.final_pipeline p`; "" if there is none."""
        settings = self._settings(name)
        given = (f"index.{kind}_pipeline" for kind in ("default", "final"))
        values = ((key, settings.get(key)) for key in given)
        return next((f"{key} {value}" for key, value in values if value not in (None, "_none")), "")

    def unkept(self, name: str) -> list[str]:
        """Return the fields of an index, or of the one behind an alias, that its documents do not keep.

        They are found, until another program changes any other field of the document: the engine then indexes
        what it has kept. Earlier releases made the field `sensitive_text` so.
        """
        return list(self._mapping(name).get("_source", {}).get("excludes", []))

    def is_filling(self, name: str) -> bool:
        """Return whether an index is as it was created, for filling: without replicas and refreshes."""
        return str(self._settings(name).get("index.refresh_interval")) == "-1"

    def _settings(self, name: str) -> dict[str, Any]:
        """Return the settings of an index by their dotted names."""
        [about] = self.ask(self.client.indices.get_settings, index=name, flat_settings=True).body.values()
        return dict(about["settings"])

    def live_meta(self, alias: str) -> dict[str, Any]:
        """Return `_meta` of the index behind an alias; empty if there is none. Raises SeveralIndexes."""
        index = self.resolve_alias(alias)
        return self.meta(index) if index else {}

    def sources(self, name: str) -> dict[str, int]:
        """Return the number of documents by source ("" for none); empty if the index does not exist.

        Raises:
            Fatal: There are more sources than the engine counts.
        """
        by_source = {"sources": {"terms": {"field": "source", "size": SOURCES, "missing": ""}}}
        try:
            options = self.newest(name)
            found = complete_answer(
                self.ask(self.client.search, index=name, size=0, aggs=by_source, **options)
            )
        except NotFoundError:
            return {}
        counted = found["aggregations"]["sources"]
        if counted["sum_other_doc_count"]:
            raise Fatal(f"{name} has documents of more than {SOURCES:,} sources; correct their field source.")
        return {bucket["key"]: bucket["doc_count"] for bucket in counted["buckets"]}

    def count(self, name: str, query: Mapping[str, Any] | None = None, *, shard: str | None = None) -> int:
        """Return the number of visible documents of an index, of one shard if one is given."""
        try:
            options = self.newest(name, shard)
            return int(
                complete_answer(self.ask(self.client.count, index=name, query=query, **options))["count"]
            )
        except NotFoundError:
            raise Fatal(f"there is no index {name}.") from None

    def matching(
        self,
        name: str,
        keys: list[str],
        *,
        only: Mapping[str, Any] | None = None,
        but: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Return the keys that have a visible document.

        Args:
            name: Name or alias of the index.
            keys: At most 10,000 identifiers.
            only: A query for documents that are included; None for all.
            but: A query for documents that are left out.
        """
        query = {
            "bool": {"filter": [of_keys(keys), *([only] if only else [])], "must_not": [but] if but else []}
        }
        try:
            answer = self.ask(
                self.client.search,
                index=name,
                query=query,
                size=len(keys),
                source=False,
                track_total_hits=False,
                **self.newest(name),
            )
        except NotFoundError:
            raise Fatal(f"there is no index {name}.") from None
        return [hit["_id"] for hit in complete_answer(answer)["hits"]["hits"]]

    def documents(self, name: str, keys: list[str]) -> dict[str, dict[str, Any]]:
        """Return the visible documents of keys, by key.

        Args:
            name: Name or alias of the index.
            keys: At most 10,000 identifiers.
        """
        answer = self.ask(
            self.client.search,
            index=name,
            query=of_keys(keys),
            size=len(keys),
            track_total_hits=False,
            **self.newest(name),
        )
        return {hit["_id"]: hit["_source"] for hit in complete_answer(answer)["hits"]["hits"]}

    def refresh(self, name: str) -> None:
        """Make written documents visible to searches and counts.

        Raises:
            Retry: A copy of a shard does not show them, so that a search may miss them.
        """
        failed = self.ask(self.client.indices.refresh, index=name)["_shards"]["failed"]
        if failed:
            raise Retry(f"{failed:,} shards of {name} do not show yet what was written to them")

    def newest(self, name: str, shard: str | None = None) -> dict[str, str]:
        """Return the options of a search that sees what `refresh` has made visible, whatever copy answers.

        If OpenSearch copies segments instead of documents, replicas show a write only later.

        Args:
            name: Name or alias of the index.
            shard: The only shard to search; None for all.

        Raises:
            NotFoundError: There is no such index.
        """
        if name not in self._late:
            found = self.ask(self.client.indices.get_settings, index=name, flat_settings=True).body.values()
            kinds = [about["settings"].get("index.replication.type") for about in found]
            self._late[name] = "SEGMENT" in kinds
        wanted = [f"_shards:{shard}"] if shard else []
        wanted += ["_primary"] if self._late[name] else []
        return {"preference": "|".join(wanted)} if wanted else {}

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
                self.ask(self.client.indices.delete, index=name)
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

    def found(self, name: str, query: Mapping[str, Any], size: int) -> Iterator[list[str]]:
        """Yield batches of identifiers of visible documents that match a query.

        Args:
            name: Name or alias of the index.
            query: Matches the documents.
            size: Documents per batch, at most `templates.WINDOW`.
        """
        after = None
        while True:
            answer = self.ask(
                self.client.search,
                index=name,
                query=query,
                size=size,
                source=False,
                sort=[{"id": "asc"}],
                search_after=after,
                track_total_hits=False,
                **self.newest(name),
            )
            hits = complete_answer(answer)["hits"]["hits"]
            if not hits:
                return
            yield [hit["_id"] for hit in hits]
            after = hits[-1]["sort"]

    def orphans(self, made_by: Iterable[str], media_type: MediaType, kept: Collection[str] = ()) -> list[str]:
        """Return the names of indexes without an alias that DAGs have left, strays of any DAG included.

        Args:
            made_by: Ids of the DAGs that created them.
            media_type: Media type of the indexes.
            kept: Uuids of indexes that are left out.
        """
        wanted = set(made_by)
        found = self.ask(self.client.indices.get, index=f"{media_type}-*", expand_wildcards="all").body
        indexes = [identity_of(name, about) for name, about in found.items()]
        return sorted(
            i.name
            for i in indexes
            if (i.dag_id in wanted or is_stray(i)) and i.uuid not in kept and not public(i.aliases, i.name)
        )


def of_keys(keys: list[str]) -> dict[str, Any]:
    """Return a query for the documents of these keys."""
    return {"ids": {"values": keys}}


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
            f"a template of the search engine changes the mapping of {name}: {join_first(different)}; "
            f"narrow its index_patterns (GET _index_template)."
        )


def _fields(mappings: Mapping[str, Any], path: str = "") -> set[tuple[str, str]]:
    """Return name and type of each field of a mapping."""
    fields = set()
    for kind in ("properties", "fields"):
        for name, about in mappings.get(kind, {}).items():
            fields.add((f"{path}{name}", str(about.get("type", "object"))))
            fields |= _fields(about, f"{path}{name}.")
    return fields
