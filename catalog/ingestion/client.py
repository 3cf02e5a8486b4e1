"""The HTTP client of all providers: time, size and rate limits, retries, and errors that say what to do.

It retries connection errors, timeouts, truncated bodies, 408, 425, 429, 5xx, and a 200 whose body is not the
expected JSON or reports an error. `Retry-After` is honoured up to a cap; otherwise the wait doubles, with
jitter. All other 4xx are `Fatal` at once. Messages hold no secrets, secrets are sent only to the provider's
own hosts, and requests go only to hosts on the public internet.
"""

import logging
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
import requests
from requests.adapters import BaseAdapter

from catalog.core.errors import (
    BadAddress,
    CatalogError,
    Fatal,
    HttpStatus,
    Retry,
    StopsPull,
    UnexpectedResponse,
)
from catalog.core.jsontypes import Json, Params
from catalog.ingestion.credentials import Credentials, Signed
from catalog.ingestion.deadline import deadline
from catalog.ingestion.json_reader import read_json
from catalog.ingestion.library_errors import LIBRARY_ERRORS, to_catalog_error
from catalog.ingestion.rate import LocalThrottle, NoThrottle, Rate, Throttle
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.response_errors import is_json, raise_for_reported_error, raise_for_status
from catalog.ingestion.responses import as_count
from catalog.ingestion.retries import RetryPolicy, retry_after
from catalog.ingestion.sessions import Session
from catalog.ingestion.signing import Signer
from catalog.ingestion.transport import Transport

log = logging.getLogger(__name__)
T = TypeVar("T")
U = TypeVar("U")
Check = Callable[[Json], None]  # raises Retry or Fatal if a body reports an error

USER_AGENT = "OpenMediaCatalog/0.1 (+https://github.com/open-media-catalog/catalog; catalog@example.org)"
WEB_PAGE_TYPES = ("text/html", "application/xhtml+xml")
_COURTESY = Rate(per_second=10, burst=4)  # of requests to other servers than the API: files, web pages
_MAX_REDIRECTS = 10
_CHUNK = 1 << 16


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


class Response(msgspec.Struct, frozen=True):
    """An HTTP response whose body was read completely.

    Attributes:
        status: The status code.
        url: The URL after redirects.
        headers: The headers of the response.
        body: The decompressed body.
    """

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes

    def json(self, repaired: Callable[[str], None] | None = None) -> Json:
        """Decode the body as JSON.

        Args:
            repaired: Called with what was wrong with a body that is not strict JSON but can be read.

        Raises:
            Retry: The body is not JSON, such as a proxy's error page or a truncated body.
        """
        try:
            return read_json(self.body, repaired)
        except ValueError as error:
            kind = self.headers.get("content-type", "no content type")
            raise Retry(
                f"the response ({self.status}, {kind}, {len(self.body)} bytes) is not JSON: {error}"
            ) from None


class Decoded(msgspec.Struct, frozen=True):
    """The decoded JSON of a response, and its headers."""

    body: Json
    headers: Mapping[str, str]


class FileFacts(msgspec.Struct, frozen=True):
    """The result of a HEAD request for a file.

    Attributes:
        deleted: The server reports 404 or 410; server errors do not count.
        size: In bytes; None if the server does not report it or does not respond.
    """

    deleted: bool = False
    size: int | None = None


class Client:
    """Sends requests for one pull."""

    def __init__(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: Credentials | None = None,
        retries: int = 3,
        rate: Rate | None = None,
        throttle: Throttle | None = None,
        transport: BaseAdapter | None = None,
        limits: Limits | None = None,
        user_agent: str = USER_AGENT,
        sleep: Callable[[float], None] = time.sleep,
        private_hosts: Collection[str] = (),
        blocking_statuses: Mapping[int, float] | None = None,
    ) -> None:
        """Create a client.

        Args:
            headers: Sent with every request.
            credentials: Sign the requests to the API (`keyed`) that go to its own hosts. Their secrets are
                redacted from all messages.
            retries: Attempts after the first one.
            rate: The API's rate limit, enforced within this process.
            throttle: The API's rate limit, shared with other processes; replaces `rate`.
            transport: A `ReplayAdapter` (no sockets) or a `RecordingAdapter` in place of the network.
            limits: Time and size limits of a request.
            user_agent: Identifies the operator to the API.
            sleep: Waits between attempts.
            private_hosts: Names of hosts that may have private addresses and may receive keys over http, such
                as an API inside the operator's network.
            blocking_statuses: Status → minimum wait in seconds. A response of the API with such a status and
                without JSON comes from a firewall in front of it and is temporary.
        """
        self.replayed = isinstance(transport, ReplayAdapter)
        self.source: str | None = getattr(transport, "source", None)  # of the responses; None: the API
        self.requests = 0
        self._headers = {"User-Agent": user_agent, "Accept": "application/json", **(headers or {})}
        self._limits = limits = limits or Limits()
        pause = (lambda _: None) if self.replayed else sleep
        self._policy = RetryPolicy(retries + 1, limits.budget, limits.max_wait, pause)
        self._throttle = throttle or LocalThrottle(rate or Rate(per_second=1))
        self._courtesy: Throttle = LocalThrottle(_COURTESY)
        if self.replayed:
            self._throttle = self._courtesy = NoThrottle()
        self._signer = Signer(credentials, frozenset(host.lower() for host in private_hosts))
        self.redact = self._signer.redact
        self._blocking_statuses = blocking_statuses or {}
        self._transport = transport or Transport(private_hosts)
        self._local = threading.local()

    def get_json(
        self,
        url: str,
        params: Params | None = None,
        *,
        check: Check | None = None,
        may_fail: bool = False,
        json: Json = None,
    ) -> Json:
        """Send a request like `get_decoded` and return the JSON of the response."""
        return self.get_decoded(url, params, check=check, may_fail=may_fail, json=json).body

    def get_decoded(
        self,
        url: str,
        params: Params | None = None,
        *,
        check: Check | None = None,
        may_fail: bool = False,
        json: Json = None,
    ) -> Decoded:
        """Send a GET request to the API; return the JSON and the headers of the response.

        The request is signed, if it goes to the API's own hosts, and counts against the API's rate limit.

        Args:
            url: The URL; an existing query is kept.
            params: Query parameters.
            check: Raises Retry or Fatal if the body reports an error in the API's own way.
            may_fail: Return a response that reports an error (`error`, `errors`, `success: false`) for the
                caller to interpret.
            json: A body, for an API that is searched by POST; it may be sent more than once.

        Raises:
            Fatal: Another attempt cannot help: `HttpStatus` for a 4xx, `BadAddress` for an address that
                cannot be requested.
            Retry: All attempts failed.
        """
        method = "GET" if json is None else "POST"
        request = f"{method} {url}"

        def repaired(complaint: str) -> None:
            text = f"{request}: the response is not strict JSON and was repaired: {complaint}"
            log.warning("%s", self.redact(text))

        def judge(body: Json) -> None:
            if not may_fail:
                raise_for_reported_error(body, self.redact)
            if check:
                check(body)

        def once() -> Decoded:
            answer = self._send(method, url, params, keyed=True, json=json)
            body = answer.json(repaired)
            _apply(judge, body)
            return Decoded(body, answer.headers)

        return self._retrying(request, once)

    def get(self, url: str, params: Params | None = None) -> Response:
        """Send a GET request to any server and follow redirects; the body is not interpreted.

        Raises like `get_decoded`.
        """
        return self._retrying(f"GET {url}", lambda: self._send("GET", url, params, keyed=False))

    def head(self, url: str, params: Params | None = None, *, keyed: bool = False) -> Response:
        """Send a HEAD request, `keyed` if it goes to the API, and follow redirects.

        Raises like `get_decoded`.
        """
        return self._retrying(f"HEAD {url}", lambda: self._send("HEAD", url, params, keyed))

    def file_facts(self, url: str) -> FileFacts:
        """Request the facts of a file. Raises only StopsPull; after other errors they are unknown."""
        try:
            return FileFacts(size=_size(self.head(url)))
        except StopsPull:
            raise
        except HttpStatus as error:
            return FileFacts(deleted=error.is_gone)
        except (Fatal, Retry):
            return FileFacts()

    def map(self, function: Callable[[T], U], items: Iterable[T], concurrency: int = 4) -> list[U]:
        """Apply a function to items in parallel, within the rate limit; return the results in order."""
        listed = list(items)
        if len(listed) < 2 or concurrency < 2:
            return [function(item) for item in listed]
        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(function, listed))

    # Attempts

    def _retrying(self, what: str, once: Callable[[], T]) -> T:
        before = ""

        def failed(number: int, error: BaseException | None) -> None:
            nonlocal before
            said, before = "the same" if str(error) == before else f"{error}", str(error)
            log.warning("%s", self.redact(f"{what}, attempt {number} of {self._policy.attempts}: {said}"))

        try:
            return self._policy.run(once, failed)
        except (Retry, Fatal) as error:
            text = f"{what}: {error}" if isinstance(error, Retry) else str(error)
            error.args = (self.redact(text),)
            raise error from None

    # One attempt

    def _send(self, method: str, url: str, params: Params | None, keyed: bool, json: Json = None) -> Response:
        signed = self._signer.sign(url, params or {}) if keyed else None
        (self._throttle if keyed else self._courtesy).wait()
        self.requests += 1
        try:
            with deadline(self._limits.total) as until:
                response, body = self._exchange(method, url, params or {}, signed, json)
        except BadAddress as error:
            raise type(error)(f"{method} {url}: {error}") from None
        except LIBRARY_ERRORS as error:
            raise to_catalog_error(error, until, self.redact, f"{method} {url}") from None
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
            session = self._local.session = Session(self._transport)
            session.headers.update(self._headers)
            session.trust_env = not self.replayed
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
        wait = retry_after(response.headers.get("retry-after"))
        raise_for_status(status, self.redact.excerpt(body, 200), wait, request=request, blocked=blocked)


def _apply(judge: Check, body: Json) -> None:
    """Judge a body, whatever it holds.

    Raises:
        CatalogError: The check raised it.
        UnexpectedResponse: The check met a value of a type that it does not expect.
    """
    try:
        judge(body)
    except CatalogError:
        raise
    except Exception as error:
        line = traceback.extract_tb(error.__traceback__)[-1]
        raise UnexpectedResponse(
            f"the response has a value of an unexpected type ({type(error).__name__}: {error}, at "
            f"{Path(line.filename).name}, line {line.lineno})"
        ) from error


def _drain(response: requests.Response) -> None:
    """Read the short body of a redirect, so that its connection can be reused."""
    if not getattr(response, "_content_consumed", False):
        for _ in range(2):
            response.raw.read1(_CHUNK, decode_content=False)


def _size(answer: Response) -> int | None:
    """Return the size of a media file; None if the length is that of something else.

    A compressed response has the length of what is sent, and a page is none of the files that a catalog has,
    but the one to log in, or an error with status 200.
    """
    encoded = answer.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if encoded or kind in WEB_PAGE_TYPES:
        return None
    return as_count(answer.headers.get("content-length")) or None


def user_agent(contact: str | None = None) -> str:
    """Return the User-Agent, with the operator's address in place of the project's if it is given."""
    return USER_AGENT.replace("catalog@example.org", contact) if contact else USER_AGENT


__all__ = ["Check", "Client", "Decoded", "FileFacts", "Limits", "Response", "user_agent"]
