"""Rates and quotas, alone and shared."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime

import psycopg
import pytest
import time_machine

from catalog.core.errors import QuotaExhausted
from catalog.ingestion.rate import LocalThrottle, Quota, Rate, SharedThrottle
from catalog.tests.waiting import terminate


def test_intervals():
    assert Rate(per_hour=3600).interval == Rate(per_second=1).interval == Rate(per_minute=60).interval == 1
    assert str(Rate(per_hour=3600)) == "3,600 an hour"
    assert str(Rate(per_second=0.5)) == "1 every 2 seconds"


def test_a_steady_rate():
    now = [100.0]

    def sleep(seconds):
        now[0] += seconds

    throttle = LocalThrottle(Rate(per_second=2), clock=lambda: now[0], sleep=sleep)
    for _ in range(11):
        throttle.wait()
    assert now[0] == pytest.approx(105)
    now[0] += 1000  # a pause earns no burst beyond the one that is declared
    before = now[0]
    for _ in range(3):
        throttle.wait()
    assert now[0] - before == pytest.approx(1)


def test_a_burst_after_a_pause():
    now = [0.0]
    waits: list[float] = []
    throttle = LocalThrottle(Rate(per_second=1, burst=4), clock=lambda: now[0], sleep=waits.append)
    now[0] = 100
    for _ in range(5):
        throttle.wait()
    assert waits == [pytest.approx(1)]


@pytest.fixture
def connect(dsn):
    """Return a function that connects to the catalog; the connections are closed after the test."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(psycopg.connect(dsn, autocommit=True))


@pytest.mark.database
def test_the_shared_bucket_counts_all_who_use_the_key(connect):
    waits: list[float] = []

    def take(_):
        throttle = SharedThrottle(connect, "API_KEY_X", Rate(per_second=10), sleep=waits.append)
        for _ in range(5):
            throttle.wait()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, range(4)))
    assert len(waits) >= 18
    assert 1.5 <= max(waits) <= 2.0  # the twentieth request, 0.1 s after each other


@pytest.mark.database
def test_a_slot_that_no_queue_explains_is_not_waited_for(connect, catalog, caplog):
    """The server's clock was ahead when it was taken, or is a dump's of such a server."""
    waits: list[float] = []
    throttle = SharedThrottle(connect, "k", Rate(per_minute=1), sleep=waits.append)
    throttle.wait()
    catalog.execute("update rate_limit set next_slot = now() + interval '2 hours'")
    throttle.wait()  # 120 requests may be in front
    assert waits == [pytest.approx(7200, abs=10)]
    assert not caplog.records
    catalog.execute("update rate_limit set next_slot = now() + interval '400 days'")
    throttle.wait()
    throttle.wait()
    assert waits[1:] == [pytest.approx(60, abs=5)]
    assert "k: the next request may be sent in 400 days" in caplog.text


@pytest.mark.database
def test_keys_have_buckets_of_their_own(connect):
    waits: list[float] = []
    for key in ("a", "b", "c"):
        SharedThrottle(connect, key, Rate(per_hour=1), sleep=waits.append).wait()
    assert waits == []


@pytest.mark.database
def test_a_used_up_quota_says_when_it_starts_anew(connect):
    """By the clock of the database, whatever those of the workers are."""
    throttle = SharedThrottle(connect, "q", Rate(per_second=1e6), Quota(3, "month"), sleep=lambda _: None)
    catalog = connect()
    [(following,)] = catalog.execute("select date_trunc('month', now(), 'UTC') + interval '1 month'")
    for year in (2024, 2025, 2099):
        with time_machine.travel(datetime(year, 12, 31, 12, tzinfo=UTC)):
            throttle.wait()
    with pytest.raises(QuotaExhausted, match=r"-01 00:00 UTC.*Nothing is lost") as raised:
        throttle.wait()
    assert raised.value.resumes_at == following
    catalog.execute("update rate_quota set period_start = period_start - interval '1 month'")
    throttle.wait()


def test_periods():
    now = datetime(2024, 2, 29, 23, 59, tzinfo=UTC)
    assert Quota(1, "day").resumes(now) == datetime(2024, 3, 1, tzinfo=UTC)
    assert Quota(1, "month").starts(now) == datetime(2024, 2, 1, tzinfo=UTC)


@pytest.mark.database
def test_a_lost_connection_ends_no_pull(dsn, catalog):
    made = []

    def connect():
        made.append(psycopg.connect(dsn, autocommit=True))
        return made[-1]

    throttle = SharedThrottle(connect, "k", Rate(per_second=1e6), Quota(100), sleep=lambda _: None)
    throttle.wait()
    terminate(catalog, made[-1].info.backend_pid)
    throttle.wait()
    assert len(made) == 2
    assert catalog.execute("select used from rate_quota").fetchone() == (2,)
    for connection in made:
        connection.close()
