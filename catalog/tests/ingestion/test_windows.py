"""Windows of runs and slices of days."""

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.ingestion.windows import Slicing, Window, day_lists, day_window, narrowed, run_window

NOW = datetime(2024, 3, 1, 4, 30, tzinfo=UTC)


def test_a_date_wins():
    interval = (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 2, tzinfo=UTC))
    assert run_window(NOW, date(2020, 2, 10), interval) == day_window(date(2020, 2, 10))


def test_then_the_interval():
    interval = (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 2, 2, tzinfo=UTC))
    found = run_window(NOW, None, interval)
    assert found == Window(*interval)
    start, end = (at.astimezone(timezone(timedelta(hours=-5))) for at in interval)
    abroad = (start, end)
    assert run_window(NOW, None, abroad) == found
    assert str(run_window(NOW, None, abroad)) == "2024-02-01"


@pytest.mark.parametrize("interval", [(None, None), (NOW, NOW)])
def test_else_the_last_whole_day_in_utc(interval):
    """Also over a leap day, and seen from where it is another day."""
    for hours in range(-12, 15):
        there = NOW.astimezone(timezone(timedelta(hours=hours)))
        assert run_window(there, None, interval) == day_window(date(2024, 2, 29))


def test_days_back():
    assert run_window(NOW, date(2024, 3, 1), days_back=1).day == date(2024, 2, 29)


def test_day_lists():
    assert day_lists((2, 3), (3, 2), (4, 4)) == [[0], [2, 4, 6], [9, 12], [16, 20, 24, 28]]
    flickr = day_lists((1, 7), (7, 12), (15, 20), (30, 24), (90, 24), (180, 40))
    assert [lst[0] for lst in flickr] == [0, 1, 14, 106, 421, 1201, 3451]
    assert [lst[-1] for lst in flickr] == [0, 7, 91, 391, 1111, 3271, 10471]
    assert sum(map(len, flickr)) == 128
    wikimedia = day_lists((1, 6), (7, 0), (15, 0), (30, 9), (90, 18), (180, 30))
    assert [lst[-1] for lst in wikimedia] == [0, 6, 276, 1896, 7296]
    assert sum(map(len, wikimedia)) == 64


def test_uneven_division_is_refused():
    with pytest.raises(ValueError, match="does not divide"):
        day_window(date(2024, 1, 1)).divide(7 * 11)


@given(st.lists(st.integers(0, 30_000), min_size=24, max_size=24))
def test_slices_cover_the_window_once(hours):
    """Half-open, in order, without gaps or overlap, whatever the counts say."""
    day = day_window(date(2024, 2, 10))

    def count(window):
        assert window.end > window.start
        if window == day:
            return sum(hours)
        return hours[window.start.hour]

    slices = Slicing(3000, 10_000, 6, 12).slices(day, count)
    assert (slices[0].start, slices[-1].end) == (day.start, day.end)
    assert all(a.end == b.start for a, b in pairwise(slices))
    if sum(hours) < 3000:
        assert slices == [day]
    else:
        for hour, records in enumerate(hours):
            of_hour = [s for s in slices if s.start.hour == hour]
            assert len(of_hour) == (1 if records < 3000 else 6 if records < 10_000 else 12)


@given(st.lists(st.integers(0, 86_399), max_size=60), st.integers(1, 20))
def test_a_window_is_halved_until_no_part_holds_too_much(seconds, most):
    """Each record is in one part; a part that holds more than is shown is a single second."""
    day = day_window(date(2024, 2, 10))
    records = [day.start + timedelta(seconds=second) for second in seconds]

    def count(window):
        return sum(window.start <= at < window.end for at in records)

    parts = narrowed(day, count, most)
    assert (parts[0].start, parts[-1].end) == (day.start, day.end)
    assert all(a.end == b.start for a, b in pairwise(parts))
    assert all(count(p) <= most or p.end - p.start == timedelta(seconds=1) for p in parts)
