"""Filters and charts of the templates."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.core.airflow_ui import run_path
from catalog.plugins.dashboard import charts
from catalog.plugins.dashboard.rendering import lasted, percent, templates, when

NOW = datetime(2024, 3, 14, 12, 30, tzinfo=UTC)


def test_times_are_shown_in_utc():
    east = datetime(2024, 3, 15, 1, 30, tzinfo=timezone(timedelta(hours=13)))
    template = templates.from_string("{{ (moment | utc).strftime('%Y-%m-%d %H:%M') }}")
    assert template.render(moment=east) == "2024-03-14 12:30"
    assert 'title="2024-03-14 12:30 UTC"' in when(east, NOW)


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (NOW - timedelta(days=3), "3 days ago"),
        (NOW + timedelta(hours=2), "2 hours from now"),
        (None, "never"),
    ],
)
def test_times_in_words(moment, words):
    assert words in when(moment, NOW)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "unknown"),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (61, "1 minute, 1 second"),
        (7322, "2 hours, 2 minutes"),
        (90061, "1 day, 1 hour"),
    ],
)
def test_durations(seconds, words):
    assert lasted(seconds) == words


@pytest.mark.parametrize(
    ("share", "words"), [(0, "0 %"), (0.0001, "< 0.1 %"), (0.0312, "3.1 %"), (1, "100.0 %")]
)
def test_a_small_share_is_not_rounded_to_nothing(share, words):
    assert percent(share) == words


def test_addresses_of_runs_are_escaped():
    assert run_path("dag", "manual__2024+a/b", "group.task", 3) == (
        "/dags/dag/runs/manual__2024%2Ba%2Fb/tasks/group.task/mapped/3"
    )


numbers = st.integers(0, 10**12)


@given(st.lists(st.lists(numbers, max_size=3), max_size=40))
def test_bars_stay_in_their_chart(values):
    """A value that is not 0 is visible; the highest bar fills the chart."""
    bars = charts.bars([("", row) for row in values], 480, 96)
    assert len(bars) == len(values)
    for bar, row in zip(bars, values, strict=True):
        assert len(bar.parts) == sum(1 for value in row if value)
        assert 0 <= bar.x <= bar.x + bar.width <= 480.01
        assert all(part.height >= charts.MIN_HEIGHT and part.y >= 0 for part in bar.parts)
    if any(map(sum, values)):
        assert min(part.y for bar in bars for part in bar.parts) <= 96 * 0.05


moments = st.integers(-1000, 100_000).map(lambda seconds: NOW + timedelta(seconds=seconds))


@given(moments, moments, st.integers(0, 50_000))
def test_spans_stay_in_their_line(start, end, whole):
    found = charts.span(start, end, NOW, NOW + timedelta(seconds=whole))
    assert found.start >= 0
    assert found.width >= 0.5
    assert found.start + found.width <= 100.01
