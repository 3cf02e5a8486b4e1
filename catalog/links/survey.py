"""The checks of a survey: those that are planned and not done, those of controls, and some once more."""

import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql

from catalog.core.errors import Later
from catalog.core.session import Connection
from catalog.ingestion.addresses import host_of
from catalog.links.answers import Verdict
from catalog.links.controls import add_controls, to_ask_again
from catalog.links.judging import STOPPED
from catalog.links.pauses import Pauses
from catalog.links.plan import READ, Survey
from catalog.links.visits import Link, OnlyPauses, Visits

log = logging.getLogger(__name__)
# Results are written together if they come faster than this. As long, those of a killed task may be lost.
TOGETHER = 0.25  # seconds
_BATCH = 500  # results that are written at once
_Visit = Callable[[Iterable[Link], Callable[[Link, Verdict], None]], None]


class _Results:
    """Writes results; thread-safe.

    Args:
        connection: Connection to the catalog database, in autocommit.
        now: The time.
        clock: The time in seconds.
    """

    def __init__(
        self, connection: Connection, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        self._connection, self._now, self._clock = connection, now, clock
        self._lock = threading.Lock()
        self._waiting: list[tuple[Any, ...]] = []
        self._written: float | None = None

    def add(self, link: Link, verdict: Verdict) -> None:
        """Note a result, and write it with those that wait, unless the last ones have just been written."""
        row = (
            link.number,
            self._now(),
            verdict.outcome,
            verdict.reason,
            verdict.status,
            verdict.redirect,
            verdict.size,
            verdict.host or link.host,
        )
        with self._lock:
            self._waiting.append(row)
            early = self._written is not None and self._clock() - self._written < TOGETHER
            if early and len(self._waiting) < _BATCH:
                return
        self.write()

    def write(self) -> None:
        """Write all results that wait."""
        with self._lock:
            rows, self._waiting, self._written = self._waiting, [], self._clock()
        if rows:
            self._connection.execute(
                """
                update link_check c
                   set checked_on = found.checked_on, outcome = found.outcome, reason = found.reason,
                       status = found.status, redirect = found.redirect, size = found.size,
                       host = found.host
                  from unnest(%s::bigint[], %s::timestamptz[], %s::text[], %s::text[], %s::integer[],
                              %s::text[], %s::bigint[], %s::text[])
                       found (number, checked_on, outcome, reason, status, redirect, size, host)
                 where c.number = found.number and c.checked_on is null
                """,
                [[*column] for column in zip(*rows, strict=True)],
            )


def check_links(
    connection: Connection,
    survey: Survey,
    check: Callable[[str], Verdict],
    pauses: Pauses,
    *,
    now: Callable[[], datetime],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    progress: Callable[[int, int], object] = lambda done, total: None,
    **options: Any,
) -> None:
    """Check what a survey has planned, or what earlier attempts have left; each result is stored soon.

    Args:
        connection: Connection to the catalog database, in autocommit.
        survey: The survey, which is planned.
        check: Checks a URL.
        pauses: The pauses of hosts.
        now: The time.
        clock: The time in seconds.
        sleep: Waits the given number of seconds.
        progress: Called after each check with the number of checks done and planned.
        options: Others of `Visits`.

    Raises:
        Interrupted: See `Visits.run`.
        Later: All remaining hosts are paused; another call checks the others.
    """
    done, total = _numbers(connection, survey)
    results = _Results(connection, now, clock)

    def save(link: Link, found: Verdict) -> None:
        nonlocal done
        results.add(link, found)
        done += 1
        progress(done, total)

    def write_and_sleep(seconds: float) -> None:
        results.write()
        sleep(seconds)

    def visit(links: Iterable[Link], save: Callable[[Link, Verdict], None]) -> None:
        seed = f"{survey.run_id} {survey}"
        visits = Visits(check, save, pauses, clock=clock, sleep=write_and_sleep, seed=seed, **options)
        try:
            visits.run(links)
        except OnlyPauses as error:
            raise Later(f"{survey}: {error}.", now() + timedelta(seconds=error.seconds)) from None
        finally:
            results.write()

    visit(_unchecked(connection, survey), save)
    while number := add_controls(connection, survey):
        log.info("%s: %s controls", survey, f"{number:,}")
        total += number
        visit(_unchecked(connection, survey), save)
    _ask_again(connection, survey, visit)


def _ask_again(connection: Connection, survey: Survey, visit: _Visit) -> None:
    """Ask hosts again for some files that were there; unless most are, those that are gone become unclear.

    That a host has stopped is stored also if others are paused: when the task goes on, it may be well again.
    """
    hosts = {number: (url, host) for number, url, host in to_ask_again(connection, survey)}
    failed: list[str] = []

    def count(link: Link, verdict: Verdict) -> None:
        if verdict.outcome != "there":
            failed.append(hosts[link.number][1])

    try:
        visit([Link(number, url, host_of(url)) for number, (url, _) in hosts.items()], count)
    finally:
        balance = Counter(host for _, host in hosts.values())  # as if those that wait were there
        for host in failed:
            balance[host] -= 2
        _doubt(connection, survey, [host for host, votes in balance.items() if votes <= 0])


def _doubt(connection: Connection, survey: Survey, stopped: list[str]) -> None:
    """Let files of hosts that have stopped be unclear instead of gone."""
    if stopped:
        log.warning("%s: %s: %s", survey, STOPPED, ", ".join(stopped[:10]))
        statement = sql.SQL(
            "update link_check set outcome = 'unclear', reason = %(reason)s"
            " where {of_survey} and host = any(%(hosts)s) and outcome = 'gone' and not judged"
        )
        connection.execute(
            statement.format(**survey.names), {**survey.key, "reason": STOPPED, "hosts": stopped}
        )


def _numbers(connection: Connection, survey: Survey) -> tuple[int, int]:
    query = sql.SQL("select count(checked_on), count(*) from link_check where {of_survey}")
    [(done, total)] = connection.execute(query.format(**survey.names), survey.key).fetchall()
    return done, total


def _unchecked(connection: Connection, survey: Survey) -> Iterator[Link]:
    query = sql.SQL(
        "select number, url, host, purpose = 'again' from link_check"
        " where checked_on is null and {of_survey} order by number"
    ).format(**survey.names)
    with connection.transaction(), connection.cursor("unchecked_links") as cursor:
        cursor.itersize = READ
        for number, url, host, again in cursor.execute(query, survey.key):
            yield Link(number, url, sys.intern(host), again)  # one string for all links of a host
