"""Polite requests for links: a rate for each host, one request at a time, public addresses only.

Each request takes a slot of its host: checks, redirects and robots.txt alike.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import msgspec
import requests
from requests.structures import CaseInsensitiveDict

from catalog.core.errors import BadAddress
from catalog.ingestion.addresses import host_of
from catalog.ingestion.deadline import deadline
from catalog.ingestion.library_errors import LIBRARY_ERRORS
from catalog.ingestion.retries import retry_after
from catalog.ingestion.sessions import Session, causes
from catalog.ingestion.transport import Transport
from catalog.links import answers

# Hosts to which a connection stays open; a new one for each request would cost both sides more.
KEPT_HOSTS = 250
SHORT = 16 << 10  # bytes of a body that are read to keep a connection


class Answer(msgspec.Struct, frozen=True):
    """The answer to one request.

    Attributes:
        status: HTTP status.
        headers: Its headers.
        target: The URL that it redirects to; None if it does not.
        body: The beginning of the body, if it was asked for.
    """

    status: int
    headers: Mapping[str, str]
    target: str | None
    body: bytes = b""

    @property
    def wait(self) -> float | None:
        """Seconds for which the server asks to wait."""
        return retry_after(self.headers)


class Unanswered(Exception):
    """A request without an answer.

    Attributes:
        reason: One of the reasons of `answers`.
        host: The host; empty if the URL has none.
        wait: Seconds for which the host asks not to be requested.
    """

    def __init__(self, reason: str, host: str = "", wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.host, self.wait = reason, host, wait


class Web:
    """Sends single requests, each after a slot of its host; thread-safe.

    Args:
        slot: Called before each request with its host, and the least number of seconds between two requests
            that the host asks for. Waits for the host's next slot, and returns the seconds for which the host
            is not to be requested; 0 if it may be.
        user_agent: Names the operator.
        private_hosts: Names of hosts that may have private addresses.
        timeout: Seconds for a whole answer.
    """

    def __init__(
        self,
        slot: Callable[[str, float], float],
        *,
        user_agent: str,
        private_hosts: Collection[str] = (),
        timeout: float = 30.0,
    ) -> None:
        self._slot, self._user_agent, self._timeout = slot, user_agent, timeout
        self._transport = Transport(private_hosts, kept_hosts=KEPT_HOSTS)
        self._turns: dict[str, threading.Lock] = {}
        self._delays: dict[str, float] = {}  # host → seconds
        self._local, self._lock = threading.local(), threading.Lock()

    def slow_down(self, host: str, seconds: float) -> None:
        """Leave at least this number of seconds between two requests for a host."""
        with self._lock:
            # The robots.txt of another port or scheme may say less.
            self._delays[host] = max(seconds, self._delays.get(host, 0.0))

    def ask(self, method: str, url: str, headers: Mapping[str, str] | None = None, read: int = 0) -> Answer:
        """Send one request; redirects are returned, not followed.

        Args:
            method: HEAD or GET.
            url: The URL.
            headers: Additional headers.
            read: Bytes of the body to return at most.

        Raises:
            Unanswered: There is no answer, or the URL may not be requested.
        """
        if not (host := host_of(url)) or urlsplit(url).scheme.lower() not in ("http", "https"):
            raise Unanswered(answers.INVALID)
        session = self._session()
        try:
            with self._turn(host):
                if (wait := self._slot(host, self._delays.get(host, 0.0))) > 0:
                    raise Unanswered(answers.PAUSED, host, wait)
                return self._send(session, method, url, headers, read)
        except BadAddress:
            raise Unanswered(answers.PRIVATE, host) from None
        except LIBRARY_ERRORS as error:
            raise Unanswered(_reason(error), host) from None

    def _send(
        self, session: Session, method: str, url: str, headers: Mapping[str, str] | None, read: int
    ) -> Answer:
        with (
            deadline(self._timeout),
            session.request(
                method, url, headers=dict(headers or {}), stream=True, timeout=self._timeout
            ) as response,
        ):
            target = session.redirect(response)
            body = b"" if target else _begin(response, read)
            _finish(response)
            return Answer(response.status_code, CaseInsensitiveDict(response.headers), target, body)

    def _turn(self, host: str) -> threading.Lock:
        """Return the lock of a host: one request at a time, also where redirects of several hosts meet."""
        with self._lock:
            return self._turns.setdefault(host, threading.Lock())

    def _session(self) -> Session:
        session: Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = Session(self._transport)
            session.headers.update({"User-Agent": self._user_agent, "Accept-Encoding": "identity"})
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # none are kept
        return session


def _begin(response: requests.Response, size: int) -> bytes:
    """Return the beginning of a body; the connection is closed if there is more."""
    parts: list[bytes] = []
    while size > 0 and (chunk := response.raw.read1(size, decode_content=True)):
        parts.append(chunk)
        size -= len(chunk)
    return b"".join(parts)


def _finish(response: requests.Response) -> None:
    """Read the rest of a body if it is short: a connection with unread bytes is closed, not used again."""
    length = response.headers.get("content-length", "")
    short = length.isascii() and length.isdigit() and len(length) < 6 and int(length) <= SHORT
    if response.request.method == "HEAD" or short:
        with suppress(*LIBRARY_ERRORS):
            response.raw.read(SHORT, decode_content=False)


def _reason(error: BaseException) -> str:
    """Return why there is no answer, from the chain of errors of the libraries."""
    names = {cls.__name__ for one in causes(error) for cls in type(one).__mro__}
    if "BadAddress" in names:
        return answers.PRIVATE
    if names & {"SSLError", "SSLCertVerificationError"}:
        return answers.TLS
    if "NameResolutionError" in names:
        return answers.NO_NAME
    if names & {"Timeout", "TimeoutError", "ConnectTimeoutError", "ReadTimeoutError"}:
        return answers.TIMEOUT
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.JSONDecodeError):
        return answers.INVALID
    return answers.NO_CONNECTION
