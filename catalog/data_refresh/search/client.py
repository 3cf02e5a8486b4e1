"""Client of the search engine, and the translation of its errors.

One client serves Elasticsearch 8 and 9 and OpenSearch 3. It is of version 9; for the other two, a small node
class translates the media types of its requests.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import orjson
from elastic_transport import ApiError, HttpHeaders, JsonSerializer, TransportError, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elasticsearch import Elasticsearch, NotFoundError

from catalog.core.connections import secrets_of
from catalog.core.errors import Fatal, Retry

Engine = Literal["elasticsearch", "elasticsearch8", "opensearch"]
_COMPATIBLE = re.compile(r"application/vnd\.elasticsearch\+(json|x-ndjson)\s*;\s*compatible-with=\d+")
_ALREADY_THERE = "resource_already_exists_exception"
# Messages about limits, and the settings that they do not name.
_SETTINGS = (
    (
        re.compile(r"max_?clause_?count|too_many(_nested)?_clauses", re.IGNORECASE),
        "indices.query.bool.max_clause_count",
    ),
    (re.compile(r"max_terms_count", re.IGNORECASE), "index.max_terms_count"),
    (re.compile(r"max_result_window|result window is too large", re.IGNORECASE), "index.max_result_window"),
    (re.compile(r"maximum [\w ]*shards open", re.IGNORECASE), "cluster.max_shards_per_node"),
    (re.compile(r"content_too_long|content length", re.IGNORECASE), "http.max_content_length"),
)


_BLOCK = re.compile(r"(?:index \[([^\]]+)\] )?blocked by: \[\w+/(\d+)/([^\]]*)\]")
_BLOCKS = {"5": "read_only", "7": "read", "8": "write", "9": "metadata", "12": "read_only_allow_delete"}
_OF_CLUSTER = ("6", "10", "13")  # blocks of the whole cluster that somebody has set


class PlainNode(Urllib3HttpNode):
    """Sends plain JSON media types, which every engine accepts, and adds the header that the client needs."""

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
    """Return a client that does not retry.

    Args:
        url: URL of the engine.
        engine: Its kind.
        login: User and password.
        **options: Options of the client, such as `ca_certs` or `api_key`.
    """
    if engine != "elasticsearch":
        options["node_class"] = PlainNode
    if login:
        # Encoded here, because the client accepts only ASCII.
        options["basic_auth"] = base64.b64encode(":".join(login).encode()).decode()
    return Elasticsearch(
        url,
        serializers={"application/json": _Orjson(), "application/vnd.elasticsearch+json": _Orjson()},
        request_timeout=120,
        http_compress=False,
        max_retries=0,
        **options,
    )


class Address(Protocol):
    """The fields of an Airflow connection that say where an engine is."""

    @property
    def conn_type(self) -> str | None: ...
    @property
    def host(self) -> str | None: ...
    @property
    def port(self) -> Any: ...
    @property
    def schema(self) -> str | None: ...
    @property
    def login(self) -> str | None: ...
    @property
    def password(self) -> str | None: ...
    @property
    def extra_dejson(self) -> dict[str, Any]: ...


def connect_to(address: Address) -> Elasticsearch:
    """Return a client for an Airflow connection, read by Airflow or from the environment.

    Args:
        address: The connection. Its host is a name, or a URL without port; its port is 9200 by default; its
            schema, or else its type, is `https` or `http`. Its extra may have `engine` (see `connect`),
            `ca_certs`, `verify_certs` and `api_key`.

    Raises:
        ValueError: The settings contradict each other, or are malformed.
    """
    secrets_of(address)
    host, extra = address.host or "localhost", address.extra_dejson or {}
    scheme = (address.schema or "").strip("/") or address.conn_type
    if ":" in host and "://" not in host and not host.startswith("["):  # IPv6
        host = f"[{host}]"
    base = host if "://" in host else f"{'https' if scheme == 'https' else 'http'}://{host}"
    options = {key: extra[key] for key in ("ca_certs", "verify_certs", "api_key") if key in extra}
    if isinstance(verify := options.get("verify_certs"), str):  # a connection as URI has only texts
        options["verify_certs"] = verify.lower() not in ("false", "0", "no", "off")
    return connect(
        f"{base}:{address.port or 9200}",
        engine=extra.get("engine", "elasticsearch"),
        login=(address.login, address.password or "") if address.login else None,
        **options,
    )


def may_pass(error: BaseException) -> bool:
    """Return whether the same request may succeed later.

    That includes an index that already exists although it did not a moment ago: it was created by a request
    whose answer was lost, and the next attempt replaces it.
    """
    return isinstance(error, TransportError) or (
        isinstance(error, ApiError)
        and (error.meta.status in (408, 429, 502, 503, 504) or getattr(error, "error", "") == _ALREADY_THERE)
    )


def too_small(text: str) -> str | None:
    """Return the engine's setting whose limit an error message is about; None for other errors."""
    return next((name for pattern, name in _SETTINGS if pattern.search(text)), None)


def explanation(error: Any) -> str | None:
    """Return what is wrong with an index, and the way out; None for other errors.

    Args:
        error: The engine's description of an error, or the exception of its client.
    """
    if isinstance(error, ApiError):
        error = error.body.get("error") if isinstance(error.body, Mapping) else None
    if not isinstance(error, Mapping):
        return None
    causes = [cause for cause in error.get("root_cause") or () if isinstance(cause, Mapping)]
    found = (_of_index(str(c.get("type")), str(c.get("reason")), c.get("index")) for c in (error, *causes))
    return next(filter(None, found), None)


def _of_index(kind: str, reason: str, index: str | None) -> str | None:
    if kind == "index_not_found_exception" and index:
        return f"the index {index} is missing"
    if kind == "index_closed_exception":
        return f"the index {index} is closed; open it (POST {index}/_open), then clear the failed task"
    if kind != "cluster_block_exception" or not (block := _BLOCK.search(reason)):
        return None
    name, number, text = block.groups()
    if name is None:
        if number not in _OF_CLUSTER:  # others pass by themselves, such as that of a restart
            return None
        return (
            f"the search engine is blocked ({text}); see PUT _cluster/settings, cluster.blocks, then clear "
            "the failed task"
        )
    if number == "4":
        return _of_index("index_closed_exception", reason, name)
    if (setting := _BLOCKS.get(number)) is None:
        return None
    remedy = f'remove the block (PUT {name}/_settings with {{"index.blocks.{setting}": null}})'
    if number == "12":
        remedy = f"its disk is too full (flood stage): free disk space, and if the block stays, {remedy}"
    return f"the index {name} is blocked ({text}); {remedy}, then clear the failed task"


def ask(call: Callable[..., Any], *values: Any, **named: Any) -> Any:
    """Make a request.

    Raises:
        NotFoundError: Unchanged, for callers that expect it.
        Retry: The error may be temporary.
        Fatal: All other errors. If a limit of the engine is exceeded, the message names its setting.
    """
    try:
        return call(*values, **named)
    except NotFoundError:
        raise
    except ApiError as error:
        text = explanation(error) or f"the search engine answered {error.meta.status}: {str(error)[:500]}"
        if setting := too_small(str(error)):
            raise Fatal(f"{text}; the engine's setting {setting} is too small.") from None
        raise (Retry if may_pass(error) or error.meta.status >= 500 else Fatal)(text) from None
    except TransportError as error:
        raise Retry(f"the search engine does not answer: {type(error).__name__}") from None


def complete_answer(answer: Any, *, in_time: bool = True) -> Any:
    """Return the answer of a search or count.

    Args:
        answer: Response of the engine.
        in_time: Refuse the answer of a search that ran out of time.

    Raises:
        Retry: It lacks the documents of some shards, so its numbers are too small.
    """
    failed = answer["_shards"]["failed"]
    if failed or (in_time and answer.get("timed_out")):
        raise Retry(
            f"the search engine answered for a part of the documents: {failed:,} shards failed"
            if failed
            else "the search engine ran out of time and answered for a part of the documents"
        )
    return answer
