"""The order of visits: one request at a time for each host, and pauses for hosts that are in trouble.

A host that does not answer, or asks to be left alone, is tried again after pauses that grow, within the same
run, so that a short outage costs no record. Other hosts are checked meanwhile. Only a host that has been
silent through all pauses is given up, and its records stay unclear.
"""

import heapq
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from catalog.core.errors import Interrupted
from catalog.links.answers import BUSY, Verdict

STRIKES = 3  # failures in a row after which a host is paused
PAUSES = (60.0, 300.0, 600.0, 1200.0, 2400.0, 3600.0)  # seconds, since the last answer
PATIENCE = 9000.0  # seconds of pauses without an answer, after which a host is given up
_LOOK = 1.0  # seconds between two looks for a host that may be asked again


class Link(msgspec.Struct, frozen=True):
    """A link to check.

    Attributes:
        number: Identifies its row of `link_check`.
        url: The URL.
        host: Its host.
    """

    number: int
    url: str
    host: str


class _Host:
    """The links of a host that are left, and how it fares.

    Attributes:
        left: Links to check.
        failed: Number of a link that failed once → number of answers of the host by then.
        answers: Answers of the host so far.
        strikes: Failures since the last answer or pause.
        pauses: Pauses since the last answer.
        paused: Seconds of these pauses.
        ready: Moment from which it may be asked.
    """

    def __init__(self) -> None:
        self.left: deque[Link] = deque()
        self.failed: dict[int, int] = {}
        self.answers = self.strikes = self.pauses = 0
        self.paused = self.ready = 0.0


class Visits:
    """Checks links, host by host.

    Args:
        check: Checks a URL.
        save: Stores what the check of a link found.
        clock: The time in seconds.
        sleep: Waits the given number of seconds.
        workers: Hosts that are visited at the same time.
        should_stop: Called before each visit; True ends the work there.
    """

    def __init__(
        self,
        check: Callable[[str], Verdict],
        save: Callable[[Link, Verdict], None],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        workers: int = 8,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._check, self._save, self._clock, self._sleep = check, save, clock, sleep
        self._workers, self._should_stop = workers, should_stop
        self._lock = threading.Lock()
        self._queue: list[tuple[float, int, _Host]] = []
        self._order = self._busy = 0
        self._ended = False

    def run(self, links: Iterable[Link]) -> None:
        """Check all links, those of a host in random order: neighbours often fail together.

        Raises:
            Interrupted: `should_stop` returned True; what is checked is saved.
        """
        hosts: dict[str, _Host] = {}
        for link in links:
            hosts.setdefault(link.host, _Host()).left.append(link)
        for host in hosts.values():
            self._put(host)
            random.Random(len(host.left)).shuffle(host.left)  # noqa: S311 - no secret
        workers = max(1, min(self._workers, len(hosts)))
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(self._work) for _ in range(workers)]:
                done.result()
        if any(host.left for host in hosts.values()):
            raise Interrupted("stopped between two links; the next attempt checks the others.")

    def _work(self) -> None:
        try:
            while (host := self._next()) is not None:
                self._visit(host)
                with self._lock:
                    self._busy -= 1
                    if host.left:
                        self._put(host)
        except BaseException:
            self._ended = True
            raise

    def _put(self, host: _Host) -> None:
        self._order += 1
        heapq.heappush(self._queue, (host.ready, self._order, host))

    def _next(self) -> _Host | None:
        """Wait for the host that may be asked next; None if nothing is left to do."""
        while not self._ended and not self._should_stop():
            with self._lock:
                wait = self._queue[0][0] - self._clock() if self._queue else _LOOK
                if self._queue and wait <= 0:
                    self._busy += 1
                    return heapq.heappop(self._queue)[2]
                if not self._queue and not self._busy:
                    return None
            self._sleep(min(wait, _LOOK))
        return None

    def _visit(self, host: _Host) -> None:
        """Check the next link of a host."""
        link = host.left.popleft()
        found = self._check(link.url)
        if not found.passing:
            host.answers += 1
            host.strikes = host.pauses = 0
            host.paused = 0.0
            self._save(link, found)
        elif found.reason != BUSY and host.failed.get(link.number, host.answers) < host.answers:
            self._save(link, found)  # the host has answered between two failures, so this is about the link
        else:
            host.failed.setdefault(link.number, host.answers)
            host.left.append(link)
            host.strikes += 1
            again = all(left.number in host.failed for left in host.left)
            if found.reason == BUSY or host.strikes >= STRIKES or again:
                self._pause(host, found)

    def _pause(self, host: _Host, found: Verdict) -> None:
        """Leave a host alone for a while, or give it up."""
        seconds = max(PAUSES[min(host.pauses, len(PAUSES) - 1)], found.wait or 0.0)
        host.pauses += 1
        host.paused += seconds
        host.strikes = STRIKES - 1  # after a pause, one failure is enough for the next one
        host.ready = self._clock() + seconds
        if host.paused > PATIENCE:
            while host.left:  # the status and the redirect belong to one link only
                self._save(host.left.popleft(), Verdict("unclear", found.reason))
