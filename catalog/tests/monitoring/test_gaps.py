"""Days that no pull covers, on a real database."""

from datetime import UTC, datetime, timedelta

import pytest

from catalog.monitoring import catalog_health, gaps
from catalog.monitoring.loads import KEPT
from catalog.monitoring.sources import Source
from catalog.tests.monitoring.reports import report

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
NOW = datetime(2024, 3, 14, 12, tzinfo=UTC)
TODAY = NOW.replace(hour=0)
EUROPEANA = Source("europeana", "image", "europeana")
LIMITED = {"whole": False}
SHORT = {"whole": False, "shortfalls": ["1 of 900 came"]}


def day(number):
    """Return a day of the past: 1 is yesterday."""
    return TODAY - timedelta(days=number)


def pulled(catalog, *numbers, run="scheduled", after=timedelta(hours=1), days=1, **fields):
    """Insert the reports of runs of days; by default, the schedule's own, an hour after the day's end."""
    for number in numbers:
        window = {"window_start": day(number), "window_end": day(number - days)}
        about = {"run_id": f"{run}__{number}", "dag_id": "europeana_workflow", **window, **fields}
        report(catalog, "europeana", about["window_end"] + after, **about)


def missed(catalog, now=NOW):
    """Return (days ago, days) of each gap."""
    found = gaps.gaps(catalog, [EUROPEANA], now).get(EUROPEANA, [])
    return [((TODAY - one.start).days, (one.end - one.start).days) for one in found]


def test_days_that_were_never_pulled(catalog):
    pulled(catalog, *range(20, 12, -1), *range(9, 5, -1), *range(4, 0, -1))
    assert missed(catalog) == [(12, 3), (5, 1)]
    found, _ = catalog_health.catalog_findings(catalog, NOW)
    [one] = [one for one in found if one.runbook == "missed-days"]
    assert (one.subject, one.severity, one.dag_id) == ("europeana (image)", "error", "europeana_workflow")
    assert one.text == (
        "no pull covers 2024-03-02 to 2024-03-04, 2024-03-09, although later days were pulled"
    )


def test_a_schedule_that_is_off_misses_nothing(catalog):
    pulled(catalog, 9, 5)
    of_gaps = {"europeana_workflow": 1, "flickr_workflow": 0}
    for dag_id, number in of_gaps.items():
        found, _ = catalog_health.catalog_findings(catalog, NOW, [dag_id])
        assert [one.runbook for one in found if one.runbook == "missed-days"] == ["missed-days"] * number


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"run": "backfill", "after": timedelta(days=3)}, []),
        ({"run": "manual"}, []),
        ({"run": "manual", "dag_id": "europeana_reingestion_workflow", "day_shift": 7}, []),
        ({**SHORT}, []),  # which is a finding of its own
        ({"complete": False, "whole": False}, []),
        ({"replayed": True}, [(8, 1)]),
        (LIMITED, [(8, 1)]),
        ({"media_type": "audio"}, [(8, 1)]),
        ({**SHORT, "media_type": "audio"}, [(8, 1)]),
        ({"window_end": day(9)}, [(8, 1)]),
    ],
)
def test_what_fills_a_gap(catalog, fields, left):
    pulled(catalog, 10, 9, 7, 6)
    assert missed(catalog) == [(8, 1)]
    pulled(catalog, 8, **fields)
    assert missed(catalog) == left


def test_a_pull_of_everything_fills_gaps_before_it(catalog):
    pulled(catalog, 10, 6, 3)
    report(catalog, "europeana", day(5), dag_id="europeana_workflow")
    assert missed(catalog) == [(5, 2)]


def test_a_longer_window_covers_shorter_ones_within(catalog):
    pulled(catalog, 20, 9, 6, 2, 1)
    pulled(catalog, 19, run="manual", days=17)
    assert missed(catalog) == []


def test_days_that_the_schedule_may_still_pull(catalog):
    """Until the source would be late: a run that is slow or tried again is not overtaken by an alarm."""
    pulled(catalog, 9, 8)
    assert missed(catalog) == []  # it is late
    pulled(catalog, 6)
    due = day(7) + timedelta(days=2.5)
    assert missed(catalog, due) == []
    assert missed(catalog, due + timedelta(minutes=1)) == [(7, 1)]


@pytest.mark.parametrize(
    "first",
    [
        {},  # it was just added
        {"run": "manual"},  # by hand
        {"dag_id": "europeana_reingestion_workflow"},
        {"after": timedelta(days=20)},  # a catch-up, which goes on
        LIMITED,
    ],
)
def test_days_before_the_first_pull_of_the_schedule(catalog, first):
    """Days that a catch-up, a reingestion or a person pulls may lie anywhere in the past."""
    pulled(catalog, *((200, 23, 15) if first else ()), **first)
    pulled(catalog, 4, 3, 2, 1)
    assert missed(catalog) == []
    pulled(catalog, 10)
    assert missed(catalog) == [(9, 5)]


def test_days_that_were_missed_when_the_dag_got_another_name(catalog):
    pulled(catalog, 12, 11, dag_id="europeana_eu_workflow")
    pulled(catalog, 8, 7)
    assert missed(catalog) == [(10, 2)]


def test_a_gap_is_reported_with_its_first_day_for_a_month(catalog):
    pulled(catalog, 70, 69)
    pulled(catalog, 20)
    assert missed(catalog) == [(68, 48)]
    assert missed(catalog, day(20) + KEPT) == [(68, 48)]
    pulled(catalog, *range(19, -60, -1))
    assert missed(catalog, day(20) + KEPT + timedelta(days=2)) == []


def test_after_a_year_the_schedule_begins_anew(catalog):
    pulled(catalog, 390, 4, 3)
    assert missed(catalog) == [(389, 385)]
    catalog.execute("delete from ingestion_report")
    pulled(catalog, 755, 4, 3)
    pulled(catalog, 370, run="manual")
    assert missed(catalog) == []


@pytest.mark.parametrize("fields", [{}, SHORT])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (day(-300), day(-301)),
        (day(0), datetime.max.replace(tzinfo=UTC)),
        (day(1), day(20)),  # reversed
        (day(1), day(50)),  # reversed, and before all that is looked at
    ],
)
def test_windows_of_the_future_and_reversed_ones_make_no_gap(catalog, start, end, fields):
    pulled(catalog, 10, 9)
    report(catalog, "europeana", day(2), window_start=start, window_end=end, **fields)
    assert missed(catalog) == []


def test_only_dated_sources_have_days(catalog):
    nappy = Source("nappy", "image", "nappy")
    for number in (109, 3):
        window = {"window_start": day(number), "window_end": day(number - 1)}
        report(catalog, "nappy", day(number - 1), run_id=f"scheduled__{number}", **window)
    assert gaps.gaps(catalog, [nappy], NOW) == {}
    assert gaps.gaps(catalog, [], NOW) == {}
