"""The search engine: a client for either kind, and what a refresh does with indexes and aliases.

Elasticsearch 8 and 9 and OpenSearch 3 are spoken to by one client; for the latter a small node class translates media types.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import orjson
from elastic_transport import ApiError, HttpHeaders, JsonSerializer, TransportError, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elasticsearch import Elasticsearch, NotFoundError

from catalog.ingestion.errors import Fatal, Interrupted, Retry
from catalog.ingestion.records import MediaType

Engine = Literal["elasticsearch", "opensearch"]
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,199}")
_COMPATIBLE = re.compile(r"application/vnd\.elasticsearch\+(json|x-ndjson)\s*;\s*compatible-with=\d+")


class OpenSearchNode(Urllib3HttpNode):
    """Plain JSON media types out, and in the header by which the client knows its server."""

    def perform_request(self, method: str, target: str, body: Any = None, headers: Any = None, request_timeout: Any = None) -> Any:
        plain = HttpHeaders(headers or {})
        for name in ("accept", "content-type"):
            if name in plain:
                plain[name] = _COMPATIBLE.sub(r"application/\1", plain[name])
        timeout = {} if request_timeout is None else {"request_timeout": request_timeout}
        meta, data = super().perform_request(method, target, body=body, headers=plain, **timeout)
        if "x-elastic-product" not in meta.headers:
            object.__setattr__(meta, "headers", HttpHeaders({**meta.headers, "x-elastic-product": "Elasticsearch"}))
        return NodeApiResponse(meta, data)


class _Orjson(JsonSerializer):
    def json_dumps(self, data: Any) -> bytes:
        return orjson.dumps(data, default=self.default, option=orjson.OPT_NON_STR_KEYS)

    def json_loads(self, data: bytes) -> Any:
        return orjson.loads(data)


def connect(url: str, *, engine: Engine = "elasticsearch", login: tuple[str, str] | None = None, **options: Any) -> Elasticsearch:
    """A client that does not retry by itself. options: of the client, for example `ca_certs`, `verify_certs`, `api_key`."""
    if engine == "opensearch":
        options["node_class"] = OpenSearchNode
    if login:
        options["basic_auth"] = login
    return Elasticsearch(
        url, serializers={"application/json": _Orjson(), "application/vnd.elasticsearch+json": _Orjson()}, request_timeout=120,
        http_compress=False, max_retries=0, **options,
    )  # fmt: skip


class Indexes:
    """What a refresh asks of the engine. Errors come as Retry (it may work later) or Fatal."""

    def __init__(self, client: Elasticsearch, pause: Callable[[float], None] = time.sleep) -> None:
        self.client, self._pause = client, pause

    def create(self, name: str, body: Mapping[str, Any]) -> None:
        """A new, empty index; one of that name that no alias points at is replaced (an earlier try made it)."""
        if not NAME.fullmatch(name):
            raise Fatal(f"{name!r} cannot be the name of an index: small letters, digits, - and _ only.")
        self.delete([name])
        with engine_errors():
            self.client.indices.create(index=name, settings=body["settings"], mappings=body["mappings"])

    def behind(self, alias: str) -> str | None:
        """The index that an alias points at, None when there is no such alias. Raises Fatal when it points at several."""
        with engine_errors():
            try:
                found = sorted(self.client.indices.get_alias(name=alias).body)
            except NotFoundError:
                return None
        if len(found) > 1:
            raise Fatal(f"the alias {alias} points at {', '.join(found)}; point it at one of them by hand.")
        return str(found[0])

    def aliases(self, name: str) -> list[str]:
        """Aliases that point at an index; [] when there is no such index."""
        with engine_errors():
            try:
                return sorted(self.client.indices.get_alias(index=name).body[name]["aliases"])
            except (NotFoundError, KeyError):
                return []

    def exists(self, name: str) -> bool:
        with engine_errors():
            return bool(self.client.indices.exists(index=name))

    def meta(self, name: str) -> dict[str, Any]:
        """`_meta` of an index or of what an alias points at; {} when there is none."""
        with engine_errors():
            try:
                [mapping] = self.client.indices.get_mapping(index=name).body.values()
            except (NotFoundError, ValueError):
                return {}
        return dict(mapping["mappings"].get("_meta") or {})

    def sources(self, name: str) -> dict[str, int]:
        """Source → number of documents; {} when there is no such index."""
        with engine_errors():
            try:
                found = self.client.search(index=name, size=0, aggs={"sources": {"terms": {"field": "source", "size": 10_000}}})
            except NotFoundError:
                return {}
        return {bucket["key"]: bucket["doc_count"] for bucket in found["aggregations"]["sources"]["buckets"]}

    def count(self, name: str, query: Mapping[str, Any] | None = None) -> int:
        with engine_errors():
            return int(self.client.count(index=name, query=query)["count"])

    def refresh(self, name: str) -> None:
        """Make what was written visible to searches and counts."""
        with engine_errors():
            self.client.indices.refresh(index=name)

    def open(self, name: str, replicas: int, seconds: float) -> None:
        """Ready to serve: replicas made, refreshes as usual, healthy. Raises Retry when it is not within `seconds`."""
        with engine_errors():
            self.client.indices.put_settings(index=name, settings={"index": {"number_of_replicas": replicas, "refresh_interval": None}})
            patient = self.client.options(request_timeout=seconds + 30)
            health = patient.cluster.health(index=name, wait_for_status="green", timeout=f"{int(seconds)}s")
        if health["timed_out"]:
            raise Retry(f"{name} is {health['status']} after {seconds:.0f} s; does the cluster have nodes for {replicas} replicas?")

    def point(self, targets: Mapping[str, str]) -> None:
        """Point aliases at indexes, all in one step: whoever searches finds the old ones or the new ones. targets: alias → index."""
        actions: list[dict[str, Any]] = []
        for alias, index in targets.items():
            if alias == index:
                raise Fatal(f"an alias cannot have the name of its index, {index}.")
            with engine_errors():
                if self.client.indices.exists(index=alias) and not self.client.indices.exists_alias(name=alias):
                    raise Fatal(f"{alias} is an index, so it cannot be an alias; rename or delete that index.")
            before = self.behind(alias)
            if before and before != index:
                actions.append({"remove": {"index": before, "alias": alias}})
            actions.append({"add": {"index": index, "alias": alias}})
        with engine_errors():
            self.client.indices.update_aliases(actions=actions)

    def delete(self, names: Iterable[str]) -> list[str]:
        """Delete indexes; those that are there and that no alias points at. Returns their names."""
        gone = []
        for name in names:
            with engine_errors():
                try:
                    aliases = self.client.indices.get_alias(index=name).body[name]["aliases"]
                except (NotFoundError, KeyError):
                    continue
                if aliases:
                    raise Fatal(f"{name} is in use: {', '.join(sorted(aliases))} points at it.")
                self.client.indices.delete(index=name)
                gone.append(name)
        return gone

    def orphans(self, made_by: Iterable[str], media_type: MediaType) -> list[str]:
        """Indexes of a medium that DAGs of these ids made and that no alias points at."""
        wanted = set(made_by)
        with engine_errors():
            found = self.client.indices.get(index=f"{media_type}-*", expand_wildcards="all").body
        return sorted(
            name
            for name, about in found.items()
            if not about.get("aliases") and (about["mappings"].get("_meta") or {}).get("dag_id") in wanted
        )

    def reindex(
        self, origin: str, destination: str, query: Mapping[str, Any], *, per_second: float = -1, task: str | None = None,
        started: Callable[[str], None] = lambda _: None, should_stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> int:  # fmt: skip
        """Copy the documents that a query finds into another index, on the server. Number of documents copied.

        task: of a call that was stopped, to go on waiting for it. started: is told the task. per_second: documents, -1 for no limit.
        """
        if task is None:
            with engine_errors():
                task = str(
                    self.client.reindex(
                        source={"index": origin, "query": query}, dest={"index": destination}, slices="auto", wait_for_completion=False,
                        requests_per_second=per_second, refresh=False,
                    )["task"]
                )  # fmt: skip
            started(task)
        while True:
            with engine_errors():
                try:
                    found = self.client.tasks.get(task_id=task)
                except NotFoundError:
                    raise Retry(f"the engine does not know the task {task} any more; it has probably been restarted.") from None
            if found["completed"]:
                break
            status = found["task"]["status"]
            progress(int(status.get("created", 0)), int(status.get("total", 0)))
            if should_stop():
                raise Interrupted("asked to stop; the engine goes on copying and the next try waits for it.")
            self._pause(1)
        response = found.get("response", {})
        if found.get("error") or response.get("failures") or response.get("canceled"):
            problem = found.get("error") or response.get("failures") or response.get("canceled")
            raise Retry(f"the engine could not copy {origin} to {destination}: {str(problem)[:500]}")
        return int(response["created"]) + int(response["updated"])


class engine_errors:  # noqa: N801 - used like a function
    """The client's errors as ours: what may pass is Retry, the rest is Fatal."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: Any, error: BaseException | None, _traceback: Any) -> None:
        if isinstance(error, ApiError):
            text = f"the search engine answered {error.meta.status}: {str(error)[:500]}"
            raise (Retry if error.meta.status in (408, 429) or error.meta.status >= 500 else Fatal)(text) from None
        if isinstance(error, TransportError):
            raise Retry(f"the search engine does not answer: {type(error).__name__}") from None
