"""How fast a provider may be asked: a steady rate per key, and a quota per calendar month or day.

Rates hold over all tasks and DAGs that use one key (daily run, reingestion, audit), so the bucket lives in
the catalog database; a run without one (`catalog ingest`) keeps its own. The algorithm is GCRA, the token
bucket written as "when is the next slot free?".
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

import msgspec
import psycopg

from catalog.core.connections import Reconnecting
from catalog.core.errors import QuotaExhausted


class Rate(msgspec.Struct, frozen=True):
    """Requests allowed in a span of time (give one of the three), and at once after a pause (`burst`)."""

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
    """Requests allowed in a calendar period (UTC)."""

    requests: int
    period: Literal["day", "month"] = "month"

    def starts(self, now: datetime) -> datetime:
        """Start of the period that `now` lies in."""
        day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return day if self.period == "day" else day.replace(day=1)

    def resumes(self, now: datetime) -> datetime:
        """Start of the next period."""
        later = self.starts(now) + timedelta(days=1 if self.period == "day" else 32)
        return self.starts(later)


class Throttle(Protocol):
    """Blocks until one more request may be sent."""

    def wait(self) -> None:
        """Raises QuotaExhausted when the period's quota is used up."""


class NoThrottle:
    """For replays."""

    def wait(self) -> None:
        return


class LocalThrottle:
    """A bucket of one process, safe for threads; tests pass their own clock and sleep."""

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


class SharedThrottle:
    """A bucket in the catalog database, shared by all users of a key.

    connect: opens a connection of its own in autocommit mode, so that a slot is taken at once and never
    rolled back.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        key: str,
        rate: Rate,
        quota: Quota | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._key, self._rate, self._quota, self._sleep = key, rate, quota, sleep
        self._connection = Reconnecting(connect)  # a statement that is executed twice costs one slot more
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            if self._quota:
                self._count(self._quota)
            row = self._connection.execute(
                """
                insert into rate_limit as r (key, next_slot)
                values (%(key)s, clock_timestamp() + %(interval)s)
                on conflict (key) do update
                   set next_slot = greatest(r.next_slot, clock_timestamp() - %(interval)s * %(spare)s)
                                   + %(interval)s
                returning extract(epoch from next_slot - %(interval)s - clock_timestamp())::float8
                """,
                {
                    "key": self._key,
                    "interval": timedelta(seconds=self._rate.interval),
                    "spare": self._rate.burst - 1,
                },
            ).fetchone()
        assert row
        if row[0] > 0:
            self._sleep(row[0])

    def _count(self, quota: Quota) -> None:
        now = datetime.now(UTC)
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
