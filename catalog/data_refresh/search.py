"""The search engine: a client for either kind, and what a refresh does with indexes and aliases.

Elasticsearch 8 and 9 and OpenSearch 3 are spoken to by one client; for all but the second a small node class translates media types.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import orjson
from elastic_transport import ApiError, HttpHeaders, JsonSerializer, TransportError, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elasticsearch import Elasticsearch, NotFoundError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from catalog.ingestion.errors import Fatal, Interrupted, Retry
from catalog.ingestion.records import MediaType

Engine = Literal["elasticsearch", "elasticsearch8", "opensearch"]
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,199}")
_COMPATIBLE = re.compile(r"application/vnd\.elasticsearch\+(json|x-ndjson)\s*;\s*compatible-with=\d+")


class PlainNode(Urllib3HttpNode):
    """Plain JSON media types out, which every engine takes, whatever its version; in, the header by which the client knows its server."""

    def perform_request(
        self, method: str, target: str, body: Any = None, headers: Any = None, request_timeout: Any = None
    ) -> Any:
        plain = HttpHeaders(headers or {})
        for name in ("accept", "content-type"):
            if name in plain:
                plain[name] = _COMPATIBLE.sub(r"application/\1", plain[name])
        timeout = {} if request_timeout is None else {"request_timeout": request_timeout}
        meta, data = super().perform_request(method, target, body=body, headers=plain, **timeout)
        if "x-elastic-product" not in meta.headers:
            object.__setattr__(
                meta, "headers", HttpHeaders({**meta.headers, "x-elastic-product": "Elasticsearch"})
            )
        return NodeApiResponse(meta, data)


class _Orjson(JsonSerializer):
    def json_dumps(self, data: Any) -> bytes:
        return orjson.dumps(data, default=self.default, option=orjson.OPT_NON_STR_KEYS)

    def json_loads(self, data: bytes) -> Any:
        return orjson.loads(data)


def connect(
    url: str, *, engine: Engine = "elasticsearch", login: tuple[str, str] | None = None, **options: Any
) -> Elasticsearch:
    """A client that does not retry by itself. options: of the client, for example `ca_certs`, `verify_certs`, `api_key`."""
    if (
        engine != "elasticsearch"
    ):  # the client is of version 9, and says so in its media types, which others refuse
        options["node_class"] = PlainNode
    if login:
        options["basic_auth"] = login
    return Elasticsearch(
        url, serializers={"application/json": _Orjson(), "application/vnd.elasticsearch+json": _Orjson()}, request_timeout=120,
        http_compress=False, max_retries=0, **options,
    )  # fmt: skip


def connect_to(
    host: str | None, port: int | None = None, scheme: str | None = None, login: str | None = None, password: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Elasticsearch:  # fmt: skip
    """A client from the parts of an Airflow connection. extra: `engine`, `ca_certs`, `verify_certs`, `api_key`."""
    host, extra = host or "localhost", extra or {}
    base = host if "://" in host else f"{scheme if scheme in ('http', 'https') else 'http'}://{host}"
    options = {key: extra[key] for key in ("ca_certs", "verify_certs", "api_key") if key in extra}
    return connect(
        f"{base}:{port or 9200}",
        engine=extra.get("engine", "elasticsearch"),
        login=(login, password or "") if login else None,
        **options,
    )


class Indexes:
    """What a refresh asks of the engine. Errors come as Retry (it may work later) or Fatal.

    patience: seconds to go on asking an engine that does not answer, for what may be asked twice. pause: sleeps.
    """

    def __init__(
        self, client: Elasticsearch, patience: float = 120, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.client, self._patience, self._pause = client, patience, pause

    def _ask(self, call: Callable[..., Any], **values: Any) -> Any:
        """A request that may be repeated. A NotFoundError comes through, for those who expect it."""
        again = Retrying(
            retry=retry_if_exception(_may_pass), stop=stop_after_delay(self._patience), wait=wait_exponential(max=10), sleep=self._pause,
            reraise=True,
        )  # fmt: skip
        return ask(again, call, **values)

    def create(self, name: str, body: Mapping[str, Any]) -> None:
        """A new, empty index; one of that name that no alias points at is replaced (an earlier try made it)."""
        if not NAME.fullmatch(name):
            raise Fatal(f"{name!r} cannot be the name of an index: small letters, digits, - and _ only.")
        self.delete([name])
        ask(self.client.indices.create, index=name, settings=body["settings"], mappings=body["mappings"])

    def behind(self, alias: str) -> str | None:
        """The index that an alias points at, None when there is no such alias. Raises Fatal when it points at several."""
        try:
            found = sorted(self._ask(self.client.indices.get_alias, name=alias).body)
        except NotFoundError:
            return None
        if len(found) > 1:
            raise Fatal(f"the alias {alias} points at {', '.join(found)}; point it at one of them by hand.")
        return str(found[0])

    def aliases(self, name: str) -> list[str]:
        """Aliases that point at an index; [] when there is no such index."""
        try:
            return sorted(self._ask(self.client.indices.get_alias, index=name).body[name]["aliases"])
        except (NotFoundError, KeyError):
            return []

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

    def refresh(self, name: str) -> None:
        """Make what was written visible to searches and counts."""
        self._ask(self.client.indices.refresh, index=name)

    def open(self, name: str, replicas: int, seconds: float) -> None:
        """Ready to serve: replicas made, refreshes as usual, healthy. Raises Retry when it is not within `seconds`."""
        settings = {"index": {"number_of_replicas": replicas, "refresh_interval": None}}
        self._ask(self.client.indices.put_settings, index=name, settings=settings)
        patient = self.client.options(request_timeout=seconds + 30)
        health = self._ask(
            patient.cluster.health, index=name, wait_for_status="green", timeout=f"{int(seconds)}s"
        )
        if health["timed_out"]:
            raise Retry(
                f"{name} is {health['status']} after {seconds:.0f} s; does the cluster have nodes for {replicas} replicas?"
            )

    def point(self, targets: Mapping[str, str]) -> None:
        """Point aliases at indexes, all in one step: whoever searches finds the old ones or the new ones. targets: alias → index."""
        actions: list[dict[str, Any]] = []
        for alias, index in targets.items():
            before = self.behind(alias)
            if before is None and self.exists(alias):
                raise Fatal(f"{alias} is an index, so it cannot be an alias; rename or delete that index.")
            if before and before != index:
                actions.append({"remove": {"index": before, "alias": alias}})
            actions.append({"add": {"index": index, "alias": alias}})
        ask(self.client.indices.update_aliases, actions=actions)

    def delete(self, names: Iterable[str]) -> list[str]:
        """Delete indexes; those that are there and that no alias points at. Returns their names."""
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

    def retire(self, name: str) -> list[str]:
        """Delete an index that is not needed any more, unless an alias points at it: the aliases that keep it."""
        keepers = self.aliases(name)
        if not keepers:
            self.delete([name])
        return keepers

    def orphans(self, made_by: Iterable[str], media_type: MediaType) -> list[str]:
        """Indexes of a medium that DAGs of these ids made and that no alias points at."""
        wanted = set(made_by)
        found = self._ask(self.client.indices.get, index=f"{media_type}-*", expand_wildcards="all").body
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
            task = str(
                ask(
                    self.client.reindex, source={"index": origin, "query": query}, dest={"index": destination}, slices="auto",
                    wait_for_completion=False, requests_per_second=per_second, refresh=False,
                )["task"]
            )  # fmt: skip
            started(task)
        while True:
            try:
                found = self._ask(self.client.tasks.get, task_id=task)
            except NotFoundError:
                raise Retry(
                    f"the engine does not know the task {task} any more; it has probably been restarted."
                ) from None
            if found["completed"]:
                break
            status = found["task"]["status"]
            progress(int(status.get("created", 0)), int(status.get("total", 0)))
            if should_stop():
                raise Interrupted("asked to stop; the engine goes on copying and the next try waits for it.")
            self._pause(1)
        response = found.get("response", {})
        if problem := found.get("error") or response.get("failures") or response.get("canceled"):
            raise Retry(f"the engine could not copy {origin} to {destination}: {str(problem)[:500]}")
        return int(response["created"]) + int(response["updated"])


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, TransportError) or (
        isinstance(error, ApiError) and error.meta.status in (429, 502, 503, 504)
    )


def ask(call: Callable[..., Any], *values: Any, **named: Any) -> Any:
    """The client's errors as ours: what may pass is Retry, the rest is Fatal; a NotFoundError comes through."""
    try:
        return call(*values, **named)
    except NotFoundError:
        raise
    except ApiError as error:
        text = f"the search engine answered {error.meta.status}: {str(error)[:500]}"
        raise (Retry if _may_pass(error) or error.meta.status >= 500 else Fatal)(text) from None
    except TransportError as error:
        raise Retry(f"the search engine does not answer: {type(error).__name__}") from None
