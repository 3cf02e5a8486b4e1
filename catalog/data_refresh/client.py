"""A client for the search engine, of either kind, and its errors as ours.

Elasticsearch 8 and 9 and OpenSearch 3 are spoken to by one client; for all but the second a small node class
translates media types.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import orjson
from elastic_transport import ApiError, HttpHeaders, JsonSerializer, TransportError, Urllib3HttpNode
from elastic_transport._node import NodeApiResponse
from elasticsearch import Elasticsearch, NotFoundError

from catalog.core.errors import Fatal, Retry

Engine = Literal["elasticsearch", "elasticsearch8", "opensearch"]
_COMPATIBLE = re.compile(r"application/vnd\.elasticsearch\+(json|x-ndjson)\s*;\s*compatible-with=\d+")
_ALREADY_THERE = "resource_already_exists_exception"
_SETTINGS = (  # what an engine says about a limit, where it does not name the setting
    (
        re.compile(r"max_?clause_?count|too_many(_nested)?_clauses", re.IGNORECASE),
        "indices.query.bool.max_clause_count",
    ),
    (re.compile(r"max_terms_count", re.IGNORECASE), "index.max_terms_count"),
    (re.compile(r"max_result_window|result window is too large", re.IGNORECASE), "index.max_result_window"),
    (re.compile(r"maximum [\w ]*shards open", re.IGNORECASE), "cluster.max_shards_per_node"),
    (re.compile(r"content_too_long|content length", re.IGNORECASE), "http.max_content_length"),
)


class PlainNode(Urllib3HttpNode):
    """Sends plain JSON media types, which every engine accepts, and adds the header that the client expects."""

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
    """Return a client that does not retry; `options` are the client's, such as `ca_certs` or `api_key`."""
    if (
        engine != "elasticsearch"
    ):  # the client is of version 9, and says so in its media types, which others refuse
        options["node_class"] = PlainNode
    if login:
        options["basic_auth"] = base64.b64encode(
            ":".join(login).encode()
        ).decode()  # the client knows ASCII only
    return Elasticsearch(
        url,
        serializers={"application/json": _Orjson(), "application/vnd.elasticsearch+json": _Orjson()},
        request_timeout=120,
        http_compress=False,
        max_retries=0,
        **options,
    )


def connect_to(
    host: str | None,
    port: int | None = None,
    scheme: str | None = None,
    login: str | None = None,
    password: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Elasticsearch:
    """Return a client for the parts of an Airflow connection; its extra may have `engine` and options."""
    host, extra = host or "localhost", extra or {}
    base = host if "://" in host else f"{scheme if scheme in ('http', 'https') else 'http'}://{host}"
    options = {key: extra[key] for key in ("ca_certs", "verify_certs", "api_key") if key in extra}
    return connect(
        f"{base}:{port or 9200}",
        engine=extra.get("engine", "elasticsearch"),
        login=(login, password or "") if login else None,
        **options,
    )


def may_pass(error: BaseException) -> bool:
    """Whether the same work may succeed later.

    An index that is there although it was not a moment ago was made by a request whose answer was lost, also
    within a cluster that is restarting; the next attempt replaces it.
    """
    return isinstance(error, TransportError) or (
        isinstance(error, ApiError)
        and (error.meta.status in (408, 429, 502, 503, 504) or getattr(error, "error", "") == _ALREADY_THERE)
    )


def too_small(text: str) -> str | None:
    """The setting of the engine that an error's text complains about."""
    return next((name for pattern, name in _SETTINGS if pattern.search(text)), None)


def ask(call: Callable[..., Any], *values: Any, **named: Any) -> Any:
    """Make a request.

    Raises:
        NotFoundError: as it comes, for those who expect it.
        Retry: for what may pass.
        Fatal: for the rest; a limit of the engine is named by its setting.
    """
    try:
        return call(*values, **named)
    except NotFoundError:
        raise
    except ApiError as error:
        text = f"the search engine answered {error.meta.status}: {str(error)[:500]}"
        if setting := too_small(str(error)):
            raise Fatal(f"{text}; the engine's setting {setting} is too small.") from None
        raise (Retry if may_pass(error) or error.meta.status >= 500 else Fatal)(text) from None
    except TransportError as error:
        raise Retry(f"the search engine does not answer: {type(error).__name__}") from None
