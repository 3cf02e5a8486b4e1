"""The HTTP client of all providers: time-outs, a size cap, the rate limit, bounded retries, and errors that say what to do.

Retried: connection errors, time-outs, broken bodies, 408, 425, 429, 5xx, and a 200 that is not the JSON it should be. `Retry-After` is
honoured up to a cap; otherwise the wait doubles, with jitter. All other 4xx are Fatal at once. No error text holds a secret.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import msgspec
import orjson
import requests
import tenacity
import urllib3
from requests.adapters import BaseAdapter

from catalog.ingestion.errors import Fatal, HttpStatus, Retry
from catalog.ingestion.rate import LocalThrottle, NoThrottle, Rate, Throttle
from catalog.ingestion.replay import ReplayAdapter
from catalog.ingestion.secrets import Credentials, Redactor, Signed
from catalog.ingestion.transport import Session, Transport

log = logging.getLogger(__name__)
T = TypeVar("T")
U = TypeVar("U")

USER_AGENT = "OpenMediaCatalog/0.1 (+https://github.com/open-media-catalog/catalog; catalog@example.org)"
_MEND = frozenset((408, 425, 429))
_CHUNK = 1 << 16


class Limits(msgspec.Struct, frozen=True):
    """Seconds and bytes a request may take."""

    connect: float = 10
    read: float = 60  # between two chunks of the body
    total: float = 300  # for one answer, however slowly it drips
    max_bytes: int = 64 << 20
    max_wait: float = 900  # cap of a single Retry-After
    budget: float = 3600  # for all tries of one request


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer with a body that was read whole. `url` is the address after redirects."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes

    def json(self, decode: Callable[[bytes], Any] = orjson.loads) -> Any:
        """The body as JSON. Raises Retry when it is none: a proxy's error page, a cut body."""
        try:
            return decode(self.body)
        except ValueError as error:
            kind = self.headers.get("content-type", "no content type")
            raise Retry(
                f"the answer ({self.status}, {kind}, {len(self.body)} bytes) is not JSON: {error}"
            ) from None


class Client:
    """Sends requests for one pull.

    credentials: sign the API's requests (`keyed`); their secrets are hidden from every text. rate, throttle: the API's limit, kept by this
    process or shared with others; courtesy: the limit for everything else (file servers, web pages). transport: a ReplayAdapter (no
    sockets) or a RecordingAdapter instead of the network.
    """

    def __init__(
        self, *, headers: Mapping[str, str] | None = None, credentials: Credentials | None = None, retries: int = 3,
        rate: Rate | None = None, courtesy: Rate | None = None, throttle: Throttle | None = None,
        transport: BaseAdapter | None = None, limits: Limits | None = None, user_agent: str = USER_AGENT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self.replayed = isinstance(transport, ReplayAdapter)
        self.requests = 0
        self._headers = {"User-Agent": user_agent, "Accept": "application/json", **(headers or {})}
        self._credentials = credentials
        self.redact = Redactor(credentials.secrets() if credentials else ())
        self._retries, self._limits, self._sleep = retries, limits or Limits(), sleep
        self._throttle = (
            NoThrottle() if self.replayed else throttle or LocalThrottle(rate or Rate(per_second=1))
        )
        self._courtesy = (
            NoThrottle() if self.replayed else LocalThrottle(courtesy or Rate(per_second=10, burst=4))
        )
        self._transport = transport or Transport()
        self._local = threading.local()

    def get_json(
        self, url: str, params: Mapping[str, Any] | None = None, *, check: Callable[[Any], None] | None = None,
        decode: Callable[[bytes], Any] | None = None, keyed: bool = True,
    ) -> Any:  # fmt: skip
        """The JSON that GET `url` answers. check: raises Retry or Fatal when the body reports an error of its own.

        decode: reads a body that is not quite JSON; raises ValueError when it is none at all.
        Raises Fatal (HttpStatus for a 4xx), or Retry when all tries are used up.
        """

        def once() -> Any:
            body = self._send("GET", url, params, keyed).json(decode or orjson.loads)
            if isinstance(body, dict) and body.get("error") is not None:
                raise Retry(f"the answer reports an error: {str(body['error'])[:300]}")
            if check:
                check(body)
            return body

        return self._retrying(f"GET {url}", once)

    def get(self, url: str, params: Mapping[str, Any] | None = None, *, keyed: bool = False) -> Answer:
        """GET without reading meaning into the body; redirects are followed."""
        return self._retrying(f"GET {url}", lambda: self._send("GET", url, params, keyed))

    def head(self, url: str, params: Mapping[str, Any] | None = None, *, keyed: bool = False) -> Answer:
        """HEAD, redirects followed."""
        return self._retrying(f"HEAD {url}", lambda: self._send("HEAD", url, params, keyed))

    def file_size(self, url: str) -> int | None:
        """The Content-Length that a HEAD answers, in bytes; None when the server does not tell, or refuses."""
        try:
            size = self.head(url).headers.get("content-length", "")
        except (Fatal, Retry) as error:
            if self.replayed and not isinstance(error, HttpStatus):
                raise
            return None
        return int(size) if size.isdecimal() and int(size) > 0 else None

    def map(self, function: Callable[[T], U], items: Iterable[T], concurrency: int = 4) -> list[U]:
        """function over items, some at a time inside the rate limit, results in order."""
        listed = list(items)
        if len(listed) < 2 or concurrency < 2:
            return [function(item) for item in listed]
        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(function, listed))

    def _retrying(self, what: str, once: Callable[[], T]) -> T:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Retry),
            stop=tenacity.stop_after_attempt(self._retries + 1)
            | tenacity.stop_after_delay(self._limits.budget),
            wait=self._wait,
            sleep=(lambda _: None) if self.replayed else self._sleep,
            before_sleep=lambda state: log.warning(
                "%s, try %d of %d: %s",
                self.redact(what),
                state.attempt_number,
                self._retries + 1,
                _outcome(state),
            ),
            reraise=True,
        )
        try:
            return retrying(once)
        except Retry as error:
            raise Retry(self.redact(f"{what}: gave up after {self._retries + 1} tries: {error}")) from None
        except Fatal as error:
            error.args = (self.redact(str(error)),)
            raise error from None

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Retry) and error.retry_after is not None:
            return min(error.retry_after, self._limits.max_wait)
        return min(2.0 ** (state.attempt_number - 1), 60.0) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, no secret

    def _session(self) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = Session()
            session.headers.update(self._headers)
            session.max_redirects = 10
            session.trust_env = not self.replayed
            session.mount("https://", self._transport)
            session.mount("http://", self._transport)
        return session

    def _send(self, method: str, url: str, params: Mapping[str, Any] | None, keyed: bool) -> Answer:
        session, signed = self._session(), Signed(params or {})
        if keyed and self._credentials:
            signed = self._credentials.sign(url, signed.params)
            session.key_headers.update(signed.headers)
        (self._throttle if keyed else self._courtesy).wait()
        self.requests += 1
        try:
            response = session.request(
                method, url, params=signed.params, headers=signed.headers, stream=True, allow_redirects=True,
                timeout=(self._limits.connect, self._limits.read),
            )  # fmt: skip
            with response:
                body = self._read(response)
        except (
            requests.ConnectionError,
            requests.Timeout,
            urllib3.exceptions.ProtocolError,
            urllib3.exceptions.TimeoutError,
        ) as error:
            raise Retry(f"{type(error).__name__}: {self.redact(str(error))[:800]}") from None
        except urllib3.exceptions.DecodeError as error:
            raise Retry(f"the body could not be decompressed: {self.redact(str(error))[:200]}") from None
        except requests.RequestException as error:
            raise Fatal(f"{method} {url}: {type(error).__name__}: {self.redact(str(error))[:300]}") from None
        if response.status_code == 401 and keyed and self._credentials and self._credentials.renew():
            self.redact.add(self._credentials.secrets())
            raise Retry("the token had expired; there is a new one now")
        self._judge(method, url, response, body)
        return Answer(response.status_code, response.url, response.headers, body)

    def _read(self, response: requests.Response) -> bytes:
        if getattr(response, "_content_consumed", False):  # a replay's, or one that was just recorded
            return response.content
        deadline, parts, size = time.monotonic() + self._limits.total, [], 0
        while chunk := response.raw.read1(
            _CHUNK, decode_content=True
        ):  # what is there, so that a body that drips meets the deadline
            size += len(chunk)
            if size > self._limits.max_bytes:
                raise Fatal(f"the body is larger than {self._limits.max_bytes:,} bytes")
            if time.monotonic() > deadline:
                raise Retry(f"the body was not complete after {self._limits.total:g} s")
            parts.append(chunk)
        return b"".join(parts)

    def _judge(self, method: str, url: str, response: requests.Response, body: bytes) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        excerpt = self.redact(body[:200].decode("utf-8", "replace"))
        if status in _MEND or status >= 500:
            raise Retry(
                f"status {status} {excerpt}".strip(), _retry_after(response.headers.get("retry-after"))
            )
        raise HttpStatus(f"{method} {url}: status {status} {excerpt}".strip(), status)


def _outcome(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or an HTTP date; None when absent or unreadable, never negative."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when.tzinfo else None


def user_agent(contact: str | None = None) -> str:
    """The User-Agent with the operator's address in place of the project's."""
    return USER_AGENT.replace("catalog@example.org", contact) if contact else USER_AGENT


def answers_tls(host: str) -> bool:
    """Does the host answer https within two seconds? Used once a host; see `UrlCleaner`."""
    try:
        requests.head(f"https://{host}", timeout=2, allow_redirects=False)
    except requests.RequestException:
        return False
    return True


__all__ = ["Answer", "Client", "Limits", "answers_tls", "user_agent"]
