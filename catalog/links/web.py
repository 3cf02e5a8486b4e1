"""Polite requests for links: a rate per host, robots.txt, public addresses only.

Each request takes a slot of its host: checks, redirects and robots.txt alike. Redirects are
followed one by one, so that each hop meets the same rules.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import msgspec
import requests
from protego import Protego
from requests.structures import CaseInsensitiveDict

from catalog.core.errors import BadAddress
from catalog.ingestion.addresses import host_of
from catalog.ingestion.deadline import deadline
from catalog.ingestion.library_errors import LIBRARY_ERRORS
from catalog.ingestion.retries import retry_after
from catalog.ingestion.sessions import Session
from catalog.ingestion.transport import Transport
from catalog.links import answers
from catalog.links.answers import Verdict, judge, unclear

MAX_REDIRECTS = 5
ROBOTS_BYTES = 512 << 10  # of robots.txt that are read
MAX_RULES = 1_000_000  # of robots.txt, for all agents together
ROBOTS_KEPT = 86_400.0  # seconds for which robots.txt is not read again
LONGEST_DELAY = 60.0  # seconds between two requests; a host that asks for more is not checked
# Hosts to which a connection stays open; a new one for each request would cost both sides more.
KEPT_HOSTS = 250
SHORT = 16 << 10  # bytes of a body that are read to keep a connection
FIRST_BYTE = {"Range": "bytes=0-0"}
# After these answers to HEAD, a GET would say nothing else, or is not welcome.
FINAL = frozenset(
    (
        answers.BUSY,
        answers.PAUSED,
        answers.ROBOTS,
        answers.NO_ROBOTS,
        answers.SLOW_ROBOTS,
        answers.LONG_ROBOTS,
        answers.PRIVATE,
        answers.INVALID,
        answers.NO_NAME,
    )
)


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
        return retry_after(self.headers.get("retry-after"))


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
    chain, names = [error], set[str]()
    while chain:
        one = chain.pop()
        names |= {cls.__name__ for cls in type(one).__mro__}
        inner = (getattr(one, "reason", None), one.__cause__, one.__context__, *one.args)
        chain += [e for e in inner if isinstance(e, BaseException)][:4] if len(names) < 200 else []
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


class Checker:
    """Checks links; thread-safe.

    Args:
        web: Sends the requests.
        agent: The name that robots.txt may use for this program.
        clock: The time in seconds.
    """

    def __init__(self, web: Web, agent: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._web, self._agent, self._clock = web, agent, clock
        # Origin → until when they are used, and the rules, or why there will be none.
        self._robots: dict[str, tuple[float, Protego | Verdict]] = {}

    def check(self, url: str) -> Verdict:
        """Return what becomes of a request for a file.

        HEAD costs the server least, but many refuse it or answer anything. So it is believed only if it says
        that the file is there; otherwise a GET for the first byte decides.
        """
        try:
            verdict = self._follow("HEAD", url, {})
            if verdict.outcome == "there" or verdict.reason in FINAL:
                return verdict
            return self._follow("GET", url, FIRST_BYTE)
        except ValueError:  # parsers of URLs raise it for what they cannot read
            return unclear(answers.INVALID)

    def _follow(self, method: str, first: str, headers: Mapping[str, str]) -> Verdict:
        url = first
        for _ in range(MAX_REDIRECTS + 1):
            if refusal := self._refusal(url):
                return _last(refusal, first, url)
            try:
                answer = self._web.ask(method, url, headers)
            except Unanswered as error:
                return _last(unclear(error.reason, wait=error.wait), first, url)
            if answer.target is None:
                return _last(judge(answer.status, answer.headers, answer.wait), first, url)
            url = answer.target
        return _last(unclear(answers.REDIRECTS), first, url)

    def _refusal(self, url: str) -> Verdict | None:
        """Return why robots.txt does not let a URL be requested; None if it does."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        until, rules = self._robots.get(origin, (0.0, None))
        if rules is None or until < self._clock():
            try:
                robots = self._read_rules(f"{origin}/robots.txt")
            except Unanswered as error:
                same = error.reason in (answers.PRIVATE, answers.INVALID, answers.NO_NAME, answers.PAUSED)
                return unclear(error.reason if same else answers.NO_ROBOTS, wait=error.wait, host=error.host)
            if isinstance(robots, Verdict) and robots.passing:
                return robots
            rules = robots
            self._robots[origin] = self._clock() + ROBOTS_KEPT, rules
            if isinstance(rules, Protego) and 0 < (delay := _delay(rules, self._agent)) <= LONGEST_DELAY:
                self._web.slow_down(host_of(url), delay)
        if isinstance(rules, Verdict):
            return rules
        if _delay(rules, self._agent) > LONGEST_DELAY:
            return unclear(answers.SLOW_ROBOTS)
        return None if rules.can_fetch(url, self._agent) else unclear(answers.ROBOTS)

    def _read_rules(self, url: str) -> Protego | Verdict:
        """Read robots.txt as RFC 9309 says: none (4xx) allows everything, a failing server nothing."""
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._web.ask("GET", url, read=ROBOTS_BYTES)
            if answer.target is None:
                break
            url = answer.target
        else:
            return Protego.parse("")  # redirects without an end count as no robots.txt
        if answer.status == 429 or (answer.status == 503 and answer.wait is not None):
            return unclear(answers.BUSY, answer.status, answer.wait, host_of(url))
        if answer.status >= 500:
            return unclear(answers.NO_ROBOTS, answer.status, host=host_of(url))
        text = answer.body.decode("utf-8", "replace") if 200 <= answer.status < 300 else ""
        if _too_many_rules(text):
            return unclear(answers.LONG_ROBOTS, answer.status)
        return Protego.parse(text)


def _too_many_rules(text: str) -> bool:
    """Return whether robots.txt could cost more memory than its size: each rule is kept for each agent."""
    lines = text.splitlines()
    agents = sum(line.lstrip()[:10].lower() == "user-agent" for line in lines)
    return agents * (len(lines) - agents) > MAX_RULES


def _delay(rules: Protego, agent: str) -> float:
    """Return the least seconds between two requests: the longer of Crawl-delay and Request-rate.

    A rate that is only for some hours of the day is kept at all hours.
    """
    rate = rules.request_rate(agent)
    return max(
        float(rules.crawl_delay(agent) or 0), rate.seconds / rate.requests if rate and rate.requests else 0
    )


def _last(found: Verdict, first: str, last: str) -> Verdict:
    """Note which host the outcome is about, and the redirect if there was one."""
    redirect = None if last == first else last
    return msgspec.structs.replace(found, redirect=redirect, host=found.host or host_of(last))
