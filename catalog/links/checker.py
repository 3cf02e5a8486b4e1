"""Checks of links: what robots.txt allows, where redirects lead, and what the answers say.

Redirects are followed one by one, so that each hop meets the same rules.
"""

import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import msgspec
from protego import Protego

from catalog.ingestion.addresses import host_of
from catalog.links import answers
from catalog.links.answers import Verdict, judge, unclear
from catalog.links.web import Unanswered, Web

MAX_REDIRECTS = 5
ROBOTS_BYTES = 512 << 10  # of robots.txt that are read
MAX_RULES = 1_000_000  # of robots.txt, for all agents together
ROBOTS_KEPT = 86_400.0  # seconds for which robots.txt is not read again
LONGEST_DELAY = 60.0  # seconds between two requests; a host that asks for more is not checked
PROOFS = 20  # answers of a host to HEAD that are proved by a GET; after that, they are believed
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


class Checker:
    """Checks links; thread-safe.

    Args:
        web: Sends the requests.
        agent: The name that robots.txt may use for this program.
        clock: The time in seconds.
    """

    def __init__(self, web: Web, agent: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._web, self._agent, self._clock = web, agent, clock
        # Host → its answers to HEAD that a GET has proved; None: one was not true.
        self._proofs: dict[str, int | None] = {}
        self._proving = threading.Lock()
        # Origin → until when they are used, and the rules, or why there will be none.
        self._robots: dict[str, tuple[float, Protego | Verdict]] = {}

    def check(self, url: str) -> Verdict:
        """Return what becomes of a request for a file.

        HEAD costs the server least, but many refuse it or answer anything. So it is believed only if it says
        that the file is there, and if a GET for the first byte has said the same for the first files of the
        host; otherwise such a GET decides.
        """
        try:
            head = self._follow("HEAD", url, {})
            proofs = self._proofs.get(head.host, 0)
            if head.reason in FINAL or (head.outcome == "there" and proofs is not None and proofs >= PROOFS):
                return head
            verdict = self._follow("GET", url, FIRST_BYTE)
            if head.outcome == "there" and not verdict.passing:
                self._prove(head.host, verdict)
            return verdict
        except ValueError:  # parsers of URLs raise it for what they cannot read
            return unclear(answers.INVALID)

    def check_again(self, url: str) -> Verdict:
        """Do the same for a file that was gone, by a GET only: for others, HEAD may be true."""
        try:
            return self._follow("GET", url, FIRST_BYTE)
        except ValueError:
            return unclear(answers.INVALID)

    def _prove(self, host: str, verdict: Verdict) -> None:
        """Note whether a GET has said the same as HEAD; what was not true once is not forgotten."""
        with self._proving:  # redirects of several hosts may lead to this one
            if (proofs := self._proofs.get(host, 0)) is not None:
                self._proofs[host] = proofs + 1 if verdict.outcome == "there" else None

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
