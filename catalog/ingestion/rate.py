"""Rate limits per key, and quotas per calendar day or month.

A rate limit applies to all tasks and DAGs that share a key (daily run, reingestion, audit), so the bucket is
stored in the catalog database; a run without a database (`catalog ingest`) has its own. The algorithm is
GCRA, a token bucket that stores only when the next slot is free.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, LiteralString, Protocol

import msgspec

from catalog.core.connections import Reconnecting
from catalog.core.errors import QuotaExhausted
from catalog.core.session import Connection

log = logging.getLogger(__name__)
LONGEST = timedelta(hours=1)  # until a slot, beside the requests that may be waiting for earlier ones
WAITING = 100  # requests


class Rate(msgspec.Struct, frozen=True):
    """A rate limit.

    Attributes:
        per_second: Requests per second; set one of the three.
        per_minute: Requests per minute.
        per_hour: Requests per hour.
        burst: Requests that may be sent at once after a pause.
    """

    per_second: float = 0
    per_minute: float = 0
    per_hour: float = 0
    burst: int = 1

    @property
    def interval(self) -> float:
        """Seconds between two requests."""
        frequency = self.per_second + self.per_minute / 60 + self.per_hour / 3600
        return 1 / frequency if frequency else 0.0

    def __str__(self) -> str:
        for value, unit in (
            (self.per_second, "second"),
            (self.per_minute, "minute"),
            (self.per_hour, "hour"),
        ):
            if value >= 1:
                return f"{value:,g} {'an' if unit == 'hour' else 'a'} {unit}"
            if value:
                return f"1 every {1 / value:g} {unit}s"
        return "unlimited"


class Quota(msgspec.Struct, frozen=True):
    """The number of requests allowed in a calendar period (UTC)."""

    requests: int
    period: Literal["day", "month"] = "month"

    def starts(self, now: datetime) -> datetime:
        """Return the start of the current period."""
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return day if self.period == "day" else day.replace(day=1)

    def resumes(self, now: datetime) -> datetime:
        """Return the start of the next period."""
        later = self.starts(now) + timedelta(days=1 if self.period == "day" else 32)
        return self.starts(later)


class Throttle(Protocol):
    """A rate limiter."""

    def wait(self) -> None:
        """Block until one more request may be sent.

        Raises:
            QuotaExhausted: The quota of the current period is used up.
        """


class NoThrottle:
    """No limit, for replays."""

    def wait(self) -> None:
        return


class LocalThrottle:
    """A bucket of one process; thread-safe."""

    def __init__(
        self,
        rate: Rate,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._free = clock()
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = self._clock()
            slot = max(self._free, now - (self._rate.burst - 1) * self._rate.interval)
            self._free = slot + self._rate.interval
        if slot > now:
            self._sleep(slot - now)


# Takes the next slot of a bucket, and returns the seconds until then; see `take_slot`.
TAKE_SLOT: LiteralString = """
    insert into rate_limit as r (key, next_slot)
    values (%(key)s, clock_timestamp() + %(interval)s)
    on conflict (key) do update
       set next_slot = greatest(r.next_slot, clock_timestamp() - %(interval)s * %(spare)s) + %(interval)s
    returning extract(epoch from next_slot - %(interval)s - clock_timestamp())::float8 as wait
"""


# Forgets a bucket whose next slot no queue explains; another task may have done so meanwhile.
_FORGET_SLOT: LiteralString = """
    delete from rate_limit where key = %(key)s and next_slot > clock_timestamp() + %(most)s
"""


def take_slot(
    connection: Reconnecting, key: str, rate: Rate, statement: LiteralString = TAKE_SLOT, **values: object
) -> tuple[Any, ...]:
    """Take the next slot of a bucket.

    A slot that is further away than a queue explains was taken while the server's clock was ahead, and is
    forgotten: all tasks would wait until then.

    Args:
        connection: To the catalog database, in autocommit. A statement that it repeats costs one extra slot.
        key: Name of the bucket.
        rate: The rate limit.
        statement: Contains `TAKE_SLOT`.
        values: Further values of the statement.

    Returns:
        The row of the statement; the first value is the number of seconds until the slot.
    """
    interval = timedelta(seconds=rate.interval)
    values |= {"key": key, "interval": interval, "spare": rate.burst - 1}
    row: tuple[Any, ...] | None = connection.execute(statement, values).fetchone()
    assert row
    most = LONGEST + WAITING * interval
    if row[0] <= most.total_seconds():
        return row
    log.warning(
        "%s: the next request may be sent in %s, which no queue explains; a clock was wrong. It is sent now.",
        key,
        timedelta(seconds=round(row[0])),
    )
    connection.execute(_FORGET_SLOT, {"key": key, "most": most})
    again: tuple[Any, ...] | None = connection.execute(statement, values).fetchone()
    assert again
    return again


class SharedThrottle:
    """A bucket in the catalog database, shared by all processes that use a key; thread-safe."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        key: str,
        rate: Rate,
        quota: Quota | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare without connecting.

        Args:
            connect: Opens a connection in autocommit mode, so that a slot is taken at once and not rolled
                back.
            key: Name of the bucket.
            rate: The rate limit.
            quota: Requests allowed in a calendar period.
            sleep: Waits the given number of seconds.
        """
        self._key, self._rate, self._quota, self._sleep = key, rate, quota, sleep
        self._connection = Reconnecting(connect)
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            if self._quota:
                self._count(self._quota)
            wait = take_slot(self._connection, self._key, self._rate)[0]
        if wait > 0:
            self._sleep(wait)

    def _count(self, quota: Quota) -> None:
        [(now,)] = self._connection.execute("select clock_timestamp()")  # one clock for all workers
        row = self._connection.execute(
            """
            insert into rate_quota as q (key, period_start, used) values (%(key)s, %(start)s, 1)
            on conflict (key, period_start) do update set used = q.used + 1 where q.used < %(allowed)s
            returning used
            """,
            {"key": self._key, "start": quota.starts(now), "allowed": quota.requests},
        ).fetchone()
        if row is None:
            resumes = quota.resumes(now)
            raise QuotaExhausted(
                f"{self._key}: the quota of {quota.requests:,} requests a {quota.period} is used up. "
                f"It is renewed at {resumes:%Y-%m-%d %H:%M} UTC; the pull then resumes where it stopped. "
                "Nothing is lost.",
                resumes,
            )
