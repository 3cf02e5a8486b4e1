"""The order of visits: one request at a time for each host, and pauses for hosts that are in trouble.

A host that does not answer, or asks to be left alone, is tried again after pauses that grow, within the same
run, so that a short outage costs no record. Other hosts are checked meanwhile; when only long pauses are
left, the work ends, to be resumed later. Only a host that has been silent through all pauses is given up, or
one that asks for a longer wait than these, and its records stay unclear.

A link whose redirect leads to a host in trouble waits for that host; the others of its own host go on.
"""

import heapq
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from catalog.core.errors import Interrupted
from catalog.links.answers import BUSY, PAUSED, Verdict
from catalog.links.pauses import PATIENCE, Pauses

STRIKES = 3  # failures in a row after which a host is paused
# Seconds for which the work waits while all hosts are paused; the second pause is shorter.
LONGEST_WAIT = 330.0
_LOOK = 1.0  # seconds between two looks for a host that may be asked again


class OnlyPauses(Exception):
    """All remaining hosts are paused for long.

    Attributes:
        seconds: Until the first pause ends.
    """

    def __init__(self, seconds: float, links: int) -> None:
        super().__init__(
            f"all remaining hosts are paused, the first one for {seconds:,.0f} s; {links:,} links wait"
        )
        self.seconds = seconds


class Link(msgspec.Struct, frozen=True):
    """A link to check.

    Attributes:
        number: Identifies its row of `link_check`.
        url: The URL.
        host: Its host.
        again: Whether the file was gone before.
    """

    number: int
    url: str
    host: str
    again: bool = False


class _Host:
    """The links that wait for a host, and how it fares.

    Attributes:
        name: Its name.
        pending: Links to check.
        failed: Number of a link that failed once → number of answers of the host by then.
        answers: Answers of the host so far.
        strikes: Failures since the last answer or pause.
        ready: Moment from which it may be asked.
        given_up: Why it is not asked any more; None if it is.
        listed: Whether it is in the queue, or visited.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.pending: deque[Link] = deque()
        self.failed: dict[int, int] = {}
        self.answers = self.strikes = 0
        self.ready = 0.0
        self.given_up: str | None = None
        self.listed = False


class Visits:
    """Checks links, host by host.

    Args:
        check: Checks a URL.
        check_again: Checks a URL whose file was gone before; by default as others.
        save: Stores what the check of a link found.
        pauses: The pauses of hosts.
        clock: The time in seconds.
        sleep: Waits the given number of seconds.
        seed: Determines the random order.
        workers: Hosts that are visited at the same time.
        should_stop: Called before each visit; True ends the work there.
    """

    def __init__(
        self,
        check: Callable[[str], Verdict],
        save: Callable[[Link, Verdict], None],
        pauses: Pauses,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        check_again: Callable[[str], Verdict] | None = None,
        seed: str = "",
        workers: int = 8,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._check, self._check_again = check, check_again or check
        self._save, self._pauses = save, pauses
        self._clock, self._sleep, self._seed = clock, sleep, seed
        self._workers, self._should_stop = workers, should_stop
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}
        self._queue: list[tuple[float, int, _Host]] = []
        self._order = self._busy = 0
        self._ended = False

    def run(self, links: Iterable[Link]) -> None:
        """Check all links, those of a host in random order: neighbours often fail together.

        The order is another one for each seed, so that a host that says the same to everything after a while
        does so for other files in each run. `judging` relies on it, too.

        Raises:
            Interrupted: `should_stop` returned True; what is checked is saved.
            OnlyPauses: The others are to be checked by another call, after a pause.
        """
        for link in links:
            self._host(link.host).pending.append(link)
        hosts = [*self._hosts.values()]
        for name, seconds in self._pauses.own().items():
            host = self._host(name)
            host.strikes, host.ready = STRIKES - 1, self._clock() + seconds
        for host in hosts:
            self._put(host)
            shuffled = [*host.pending]  # in a deque, an exchange takes longer, the more links there are
            random.Random(self._seed).shuffle(shuffled)  # noqa: S311 - no secret
            host.pending = deque(shuffled)
        workers = max(1, min(self._workers, len(hosts)))
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(self._work) for _ in range(workers)]:
                done.result()
        if waiting := sum(len(host.pending) for host in self._hosts.values()):
            if self._should_stop():
                raise Interrupted("stopped between two links; the next attempt checks the others.")
            first = min(host.ready for _, _, host in self._queue)
            raise OnlyPauses(max(0.0, first - self._clock()), waiting)

    def _host(self, name: str) -> _Host:
        if name not in self._hosts:
            self._hosts[name] = _Host(name)
        return self._hosts[name]

    def _work(self) -> None:
        try:
            while (host := self._next()) is not None:
                self._visit(host)
                with self._lock:
                    self._busy -= 1
                    host.listed = False
                    self._put(host)
        except BaseException:
            self._ended = True
            raise

    def _put(self, host: _Host) -> None:
        """Queue a host that has links, unless it is queued or visited already."""
        if host.pending and not host.listed:
            host.listed = True
            self._order += 1
            heapq.heappush(self._queue, (host.ready, self._order, host))

    def _next(self) -> _Host | None:
        """Wait for the host that may be asked next; None if nothing is left to do, or only after a pause."""
        while not self._ended and not self._should_stop():
            with self._lock:
                while self._queue and self._queue[0][0] < (ready := self._queue[0][2].ready):
                    _, order, host = heapq.heappop(self._queue)  # it was paused meanwhile
                    heapq.heappush(self._queue, (ready, order, host))
                wait = self._queue[0][0] - self._clock() if self._queue else _LOOK
                if self._queue and wait <= 0:
                    self._busy += 1
                    return heapq.heappop(self._queue)[2]
                if not self._busy and (not self._queue or wait > LONGEST_WAIT):
                    return None
            self._sleep(min(wait, _LOOK))
        return None

    def _visit(self, host: _Host) -> None:
        """Check the next link of a host."""
        with self._lock:
            if not host.pending:
                return  # it was given up meanwhile
            link = host.pending.popleft()
        verdict = (self._check_again if link.again else self._check)(link.url)
        if not verdict.passing:
            self._answered({link.host, host.name, verdict.host})
            self._save(link, verdict)
            return
        with self._lock:
            about = self._host(verdict.host or link.host)
        if about.given_up:
            self._save(link, Verdict("unclear", about.given_up))
        elif (
            verdict.reason not in (BUSY, PAUSED)
            and about.failed.get(link.number, about.answers) < about.answers
        ):
            self._save(link, verdict)  # the host has answered between two failures, so this is about the link
        else:
            self._wait(about, link, verdict)

    def _answered(self, names: Iterable[str]) -> None:
        for name in names:
            if host := self._hosts.get(name):
                with self._lock:
                    host.answers += 1
                    host.strikes = 0
            self._pauses.answered(name)

    def _wait(self, host: _Host, link: Link, verdict: Verdict) -> None:
        """Let a link wait for the host that has not answered, and pause this host if it is in trouble."""
        with self._lock:
            host.pending.append(link)
            if verdict.reason != PAUSED:
                host.failed.setdefault(link.number, host.answers)
                host.strikes += 1
            again = all(waiting.number in host.failed for waiting in host.pending)
            asks = verdict.reason in (BUSY, PAUSED)
        if asks or host.strikes >= STRIKES or again:
            self._pause(host, verdict)
        with self._lock:
            self._put(host)

    def _pause(self, host: _Host, verdict: Verdict) -> None:
        """Leave a host alone for a while, or give it up."""
        if verdict.reason == PAUSED:
            seconds = paused = max(verdict.wait or 0.0, _LOOK)
        else:
            pause = self._pauses.begin(host.name, asked=verdict.reason == BUSY, least=verdict.wait or 0.0)
            seconds, paused = self._pauses.rest_of(pause), pause.seconds
        with self._lock:
            host.strikes = STRIKES - 1  # after a pause, one failure is enough for the next one
            host.ready = self._clock() + seconds
            given_up: list[Link] = []
            if paused > PATIENCE:
                host.given_up = PAUSED if verdict.reason == BUSY else verdict.reason
                given_up = [*host.pending]
                host.pending.clear()
        for link in given_up:  # the status and the redirect belong to one link only
            self._save(link, Verdict("unclear", host.given_up))
