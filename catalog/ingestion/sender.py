"""One attempt of a request: signed, within the limits of rate, time and size, with its redirects.

Messages hold no secrets, secrets are sent only to the provider's own hosts, and requests go only to hosts on
the public internet.
"""

import threading
from collections.abc import Mapping

import msgspec
import requests
from requests.adapters import BaseAdapter

from catalog.core.errors import BadAddress, Fatal, Retry
from catalog.core.jsontypes import Json, Params
from catalog.ingestion.credentials import Signed
from catalog.ingestion.deadline import deadline
from catalog.ingestion.http_response import Response
from catalog.ingestion.library_errors import LIBRARY_ERRORS, to_catalog_error
from catalog.ingestion.rate import LocalThrottle, NoThrottle, Rate, Throttle
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.response_errors import is_json, raise_for_status
from catalog.ingestion.retries import retry_after
from catalog.ingestion.sessions import Session
from catalog.ingestion.signing import Signer

_COURTESY = Rate(per_second=10, burst=4)  # of requests to other servers than the API: files, web pages
_MAX_REDIRECTS = 10
_CHUNK = 1 << 16  # bytes


class Limits(msgspec.Struct, frozen=True):
    """Limits of a request; times in seconds.

    Attributes:
        connect: For connecting.
        read: Between two chunks of a response.
        total: For one response, including redirects, however slowly it arrives.
        max_bytes: Size of a decompressed body.
        max_wait: Cap of a single `Retry-After`.
        budget: For all attempts of one request.
    """

    connect: float = 10
    read: float = 60
    total: float = 300
    max_bytes: int = 64 << 20
    max_wait: float = 900
    budget: float = 3600


class Sender:
    """Sends the requests of a client, each once.

    Attributes:
        transport: Sends them, or replays recorded responses.
        requests: Number of requests so far, without redirects.
    """

    def __init__(
        self,
        transport: BaseAdapter,
        signer: Signer,
        throttle: Throttle,
        *,
        headers: Mapping[str, str],
        limits: Limits,
        blocking_statuses: Mapping[int, float],
    ) -> None:
        """Create a sender.

        Args:
            transport: A `Transport`, or what takes its place.
            signer: Signs the requests to the API.
            throttle: The API's rate limit.
            headers: Sent with every request.
            limits: Time and size limits of a request.
            blocking_statuses: See `Client`.
        """
        self.transport, self.requests = transport, 0
        self._signer, self._headers, self._limits = signer, headers, limits
        self._redact = signer.redact
        self._throttle: Throttle = throttle
        self._courtesy: Throttle = LocalThrottle(_COURTESY)
        if isinstance(transport, ReplayAdapter):
            self._throttle = self._courtesy = NoThrottle()
        self._blocking_statuses = blocking_statuses
        self._local = threading.local()

    def send(
        self, method: str, url: str, params: Params | None, *, keyed: bool, json: Json = None
    ) -> Response:
        """Send a request, when the rate limit allows it, and follow redirects.

        Args:
            method: GET, HEAD or POST.
            url: The URL; an existing query is kept.
            params: Query parameters.
            keyed: The request goes to the API: it is signed and counts against the API's rate limit.
            json: The body of a POST.

        Returns:
            The response, whose status is 2xx.

        Raises:
            Fatal: The same request cannot succeed: `HttpStatus` for a 4xx, `BadAddress` for an address that
                cannot be requested.
            Retry: The failure is temporary, or the token had expired and has been renewed.
        """
        signed = self._signer.sign(url, params or {}) if keyed else None
        (self._throttle if keyed else self._courtesy).wait()
        self.requests += 1
        try:
            with deadline(self._limits.total) as until:
                response, body = self._exchange(method, url, params or {}, signed, json)
        except BadAddress as error:
            raise type(error)(f"{method} {url}: {error}") from None
        except LIBRARY_ERRORS as error:
            raise to_catalog_error(error, until, self._redact, f"{method} {url}") from None
        if response.status_code == 401 and signed and self._signer.renew():
            raise Retry("the token had expired and has been renewed")
        self._judge(f"{method} {url}", response, body, keyed)
        return Response(response.status_code, response.url, response.headers, body)

    def _exchange(
        self, method: str, url: str, params: Params, signed: Signed | None, json: Json
    ) -> tuple[requests.Response, bytes]:
        """Send a request and follow its redirects, with its body. Raises Fatal or one of `LIBRARY_ERRORS`."""
        session, timeout = self._session(), (self._limits.connect, self._limits.read)
        sent = signed or Signed(params)
        # A HEAD request asks for the facts of a file as it is, not of a compressed response.
        plain = {"Accept-Encoding": "identity"} if method == "HEAD" else {}
        query, headers = sent.params, sent.headers
        for _ in range(_MAX_REDIRECTS + 1):
            response = session.request(
                method,
                url,
                params=query,
                headers={**plain, **headers},
                json=json,
                stream=True,
                timeout=timeout,
            )
            with response:
                target = session.redirect(response)
                if target is None:
                    return response, self._read(response)
                _drain(response)
            url, headers = self._signer.redirected(target, sent.headers, sent.params.keys() - params.keys())
            query = {}
        raise Fatal(f"{method} {url}: TooManyRedirects: more than {_MAX_REDIRECTS}")

    def _session(self) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = Session(self.transport)
            session.headers.update(self._headers)
            session.trust_env = not isinstance(self.transport, ReplayAdapter)
        return session

    def _read(self, response: requests.Response) -> bytes:
        if getattr(response, "_content_consumed", False):  # by a replay or a recording
            return response.content
        parts, size = [], 0
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            size += len(chunk)
            if size > self._limits.max_bytes:
                asked = f"{response.request.method} {response.url}"
                raise Fatal(f"{asked}: the body is larger than {self._limits.max_bytes:,} bytes")
            parts.append(chunk)
        return b"".join(parts)

    def _judge(self, request: str, response: requests.Response, body: bytes, keyed: bool) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        blocked = self._blocking_statuses.get(status) if keyed and not is_json(body) else None
        wait = retry_after(response.headers)
        raise_for_status(status, self._redact.excerpt(body, 200), wait, request=request, blocked=blocked)


def _drain(response: requests.Response) -> None:
    """Read the short body of a redirect, so that its connection can be reused."""
    if not getattr(response, "_content_consumed", False):
        for _ in range(2):
            response.raw.read1(_CHUNK, decode_content=False)
