"""The HTTP client of all providers: limits of time, size and rate, retries, and errors that say what to do.

Retried: connection errors, time-outs, broken bodies, 408, 425, 429, 5xx, and a 200 that is not the JSON it
should be or says that it failed. `Retry-After` is honoured up to a cap; otherwise the wait doubles, with
jitter. All other 4xx are Fatal at once. No text holds a secret, secrets go to the provider's own hosts only,
and only hosts on the public internet are asked at all.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
import requests
from requests.adapters import BaseAdapter

from catalog.core.errors import BadAddress, Fatal, HttpStatus, Retry, StopsPull
from catalog.core.secrets import Credentials, Signed
from catalog.ingestion.answers import as_count
from catalog.ingestion.deadline import deadline
from catalog.ingestion.json_reader import read_json
from catalog.ingestion.judgement import GONE, is_json, judge_status, refuse_failure, require
from catalog.ingestion.rate import LocalThrottle, NoThrottle, Rate, Throttle
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.retries import RetryPolicy, retry_after
from catalog.ingestion.signing import Signer
from catalog.ingestion.transport import LIBRARY_ERRORS, Session, Transport, as_ours

log = logging.getLogger(__name__)
T = TypeVar("T")
U = TypeVar("U")

USER_AGENT = "OpenMediaCatalog/0.1 (+https://github.com/open-media-catalog/catalog; catalog@example.org)"
_MOST_REDIRECTS = 10
_CHUNK = 1 << 16


class Limits(msgspec.Struct, frozen=True):
    """Seconds and bytes a request may take."""

    connect: float = 10
    read: float = 60  # between two chunks of the answer
    total: float = 300  # for one answer, however slowly it drips, over all redirects
    max_bytes: int = 64 << 20
    max_wait: float = 900  # cap of a single Retry-After
    budget: float = 3600  # for all tries of one request


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer with a body that was read whole. `url` is the address after redirects."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes

    def json(self, decode: Callable[[bytes], Any] = read_json) -> Any:
        """The body as JSON. Raises Retry when it is none: a proxy's error page, a cut body."""
        try:
            return decode(self.body)
        except ValueError as error:
            kind = self.headers.get("content-type", "no content type")
            raise Retry(
                f"the answer ({self.status}, {kind}, {len(self.body)} bytes) is not JSON: {error}"
            ) from None


class Decoded(msgspec.Struct, frozen=True):
    """The JSON of one answer, and its headers."""

    body: Any
    headers: Mapping[str, str]


class FileFacts(msgspec.Struct, frozen=True):
    """What a HEAD told about a file.

    Attributes:
        gone: The server says that there is no such file, which a fault of the server does not say.
        size: In bytes; None when the server does not tell, or does not answer.
    """

    gone: bool = False
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
        courtesy: Rate | None = None,
        throttle: Throttle | None = None,
        transport: BaseAdapter | None = None,
        limits: Limits | None = None,
        user_agent: str = USER_AGENT,
        sleep: Callable[[float], None] = time.sleep,
        private_hosts: Collection[str] = (),
        blocking_statuses: Mapping[int, float] | None = None,
    ) -> None:
        """Make a client.

        Args:
            headers: Sent with every request.
            credentials: Sign the requests to the API (`keyed`) that go to its own hosts. Their secrets are
                hidden from every text.
            retries: Tries of a request after the first one.
            rate: The API's limit, kept by this process.
            courtesy: The limit for everything else: file servers, web pages.
            throttle: The API's limit, shared with others; takes the place of `rate`.
            transport: A ReplayAdapter (no sockets) or a RecordingAdapter in place of the network.
            limits: Seconds and bytes a request may take.
            user_agent: Names the operator to the API.
            sleep: Waits between tries.
            private_hosts: Names of hosts that may be at private addresses and be sent keys over http, such as
                an API inside the operator's network.
            blocking_statuses: Status → seconds to wait at least. An answer of the API's with such a status
                and no JSON is a firewall's in front of it, and temporary.
        """
        self.replayed = isinstance(transport, ReplayAdapter)
        self.requests = 0
        self._headers = {"User-Agent": user_agent, "Accept": "application/json", **(headers or {})}
        self._limits = limits = limits or Limits()
        pause = (lambda _: None) if self.replayed else sleep
        self._policy = RetryPolicy(retries + 1, limits.budget, limits.max_wait, pause)
        self._throttle = throttle or LocalThrottle(rate or Rate(per_second=1))
        self._courtesy: Throttle = LocalThrottle(courtesy or Rate(per_second=10, burst=4))
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
        params: Mapping[str, Any] | None = None,
        *,
        check: Callable[[Any], None] | None = None,
        decode: Callable[[bytes], Any] | None = None,
        keyed: bool = True,
        expect: str | None = None,
        may_fail: bool = False,
    ) -> Any:
        """The JSON that GET `url` answers.

        Args:
            url: Address; a query it has stays.
            params: Query parameters.
            check: Raises Retry or Fatal when the body reports an error of the API's own.
            decode: Reads a body that even `read_json` refuses; raises ValueError when it is no answer at all.
            keyed: The API's: signed where it goes to the API's own hosts, and counted against its limit.
            expect: Dotted path of what every good answer has.
            may_fail: Hand on an answer that says it failed (`error`, `errors`, `success: false`) for the
                caller to read.

        Raises:
            Fatal: Asking again cannot help; HttpStatus for a 4xx, BadAddress for an address that cannot be
                asked.
            Retry: All tries are used up.
        """

        def judge(body: Any) -> None:
            if not may_fail:
                refuse_failure(body, self.redact)
            if expect is not None:
                require(body, expect, self.redact)
            if check:
                check(body)

        return self._decoded(url, params, judge, keyed=keyed, decode=decode).body

    def get_decoded(
        self, url: str, params: Mapping[str, Any] | None = None, *, check: Callable[[Any], None] | None = None
    ) -> Decoded:
        """As `get_json`, for an API that tells something in its headers."""

        def judge(body: Any) -> None:
            refuse_failure(body, self.redact)
            if check:
                check(body)

        return self._decoded(url, params, judge)

    def _decoded(
        self,
        url: str,
        params: Mapping[str, Any] | None,
        judge: Callable[[Any], None],
        *,
        keyed: bool = True,
        decode: Callable[[bytes], Any] | None = None,
    ) -> Decoded:
        def once() -> Decoded:
            answer = self._send("GET", url, params, keyed)
            body = answer.json(decode or (lambda raw: self._lenient(url, raw)))
            judge(body)
            return Decoded(body, answer.headers)

        return self._retrying(f"GET {url}", once)

    def get(self, url: str, params: Mapping[str, Any] | None = None, *, keyed: bool = False) -> Answer:
        """GET without reading meaning into the body; redirects are followed. Raises what `get_json` does."""
        return self._retrying(f"GET {url}", lambda: self._send("GET", url, params, keyed))

    def head(self, url: str, params: Mapping[str, Any] | None = None, *, keyed: bool = False) -> Answer:
        """HEAD, redirects followed. Raises what `get_json` does."""
        return self._retrying(f"HEAD {url}", lambda: self._send("HEAD", url, params, keyed))

    def file_facts(self, url: str) -> FileFacts:
        """Whether a file is gone, and its size. Raises StopsPull only: what is not told is not known."""
        try:
            return FileFacts(size=_size(self.head(url)))
        except StopsPull:
            raise
        except HttpStatus as error:
            return FileFacts(gone=error.status in GONE)
        except (Fatal, Retry):
            return FileFacts()

    def file_size(self, url: str) -> int | None:
        """The size of a file in bytes; None when the server does not tell, or refuses, or cannot be asked."""
        try:
            return _size(self.head(url))
        except StopsPull:
            raise
        except (Fatal, Retry) as error:
            if self.replayed and isinstance(error, Retry):
                raise
            return None

    def map(self, function: Callable[[T], U], items: Iterable[T], concurrency: int = 4) -> list[U]:
        """Function over items, some at a time inside the rate limit, results in order."""
        listed = list(items)
        if len(listed) < 2 or concurrency < 2:
            return [function(item) for item in listed]
        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(function, listed))

    # tries

    def _retrying(self, what: str, once: Callable[[], T]) -> T:
        def failed(number: int, error: BaseException | None) -> None:
            log.warning("%s", self.redact(f"{what}, try {number} of {self._policy.tries}: {error}"))

        try:
            return self._policy.run(once, failed)
        except (Retry, Fatal) as error:
            text = f"{what}: {error}" if isinstance(error, Retry) else str(error)
            error.args = (self.redact(text),)
            raise error from None

    def _lenient(self, url: str, body: bytes) -> Any:
        def warn(complaint: str) -> None:
            log.warning(
                "%s", self.redact(f"GET {url}: the answer is not strict JSON and was repaired: {complaint}")
            )

        return read_json(body, warn)

    # one try

    def _send(self, method: str, url: str, params: Mapping[str, Any] | None, keyed: bool) -> Answer:
        signed = self._signer.sign(url, params or {}) if keyed else None
        (self._throttle if keyed else self._courtesy).wait()
        self.requests += 1
        try:
            with deadline(self._limits.total) as until:
                response, body = self._exchange(method, url, params or {}, signed)
        except BadAddress as error:
            raise BadAddress(f"{method} {url}: {error}") from None
        except LIBRARY_ERRORS as error:
            raise as_ours(error, until, self.redact, f"{method} {url}") from None
        if response.status_code == 401 and signed and self._signer.renew():
            raise Retry("the token had expired; there is a new one now")
        self._judge(f"{method} {url}", response, body, keyed)
        return Answer(response.status_code, response.url, response.headers, body)

    def _exchange(
        self, method: str, url: str, params: Mapping[str, Any], signed: Signed | None
    ) -> tuple[requests.Response, bytes]:
        """Send a request, and follow redirects up to an answer. Raises Fatal or one of `LIBRARY_ERRORS`."""
        session, timeout = self._session(), (self._limits.connect, self._limits.read)
        sent = signed or Signed(params)
        query, headers = sent.params, sent.headers
        for _ in range(_MOST_REDIRECTS + 1):
            response = session.request(
                method, url, params=query, headers=headers, stream=True, timeout=timeout
            )
            with response:
                target = session.redirect(response)
                if target is None:
                    return response, self._read(response)
                _drain(response)
            url, headers = self._signer.redirected(target, sent.headers, sent.params.keys() - params.keys())
            query = {}
        raise Fatal(f"{method} {url}: TooManyRedirects: more than {_MOST_REDIRECTS}")

    def _session(self) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = Session(self._transport)
            session.headers.update(self._headers)
            session.trust_env = not self.replayed
        return session

    def _read(self, response: requests.Response) -> bytes:
        if getattr(response, "_content_consumed", False):  # a replay's, or one that was just recorded
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
        judge_status(status, self.redact.excerpt(body, 200), wait, request=request, blocked=blocked)


def _drain(response: requests.Response) -> None:
    """Read the short body that a redirect may have, so that its connection can be used again."""
    if not getattr(response, "_content_consumed", False):
        for _ in range(2):
            response.raw.read1(_CHUNK, decode_content=False)


def _size(answer: Answer) -> int | None:
    return as_count(answer.headers.get("content-length")) or None


def user_agent(contact: str | None = None) -> str:
    """The User-Agent with the operator's address in place of the project's."""
    return USER_AGENT.replace("catalog@example.org", contact) if contact else USER_AGENT


__all__ = ["Answer", "Client", "Decoded", "FileFacts", "Limits", "user_agent"]
