"""Reports of loads, freshness and growth, on a real database."""

from datetime import UTC, datetime, timedelta

import pytest

from catalog.ingestion.reasons import OTHER
from catalog.ingestion.registry import provider_class
from catalog.monitoring import loads
from catalog.monitoring.sources import Source, all_sources
from catalog.tests.monitoring.reports import report

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]
NOW = datetime(2024, 3, 14, 12, tzinfo=UTC)  # a Thursday
FLICKR, MET, NAPPY = (
    Source("flickr", "image", "flickr"),
    Source("metropolitan_museum", "image", "met"),
    Source("nappy", "image", "nappy"),
)


def days_ago(days):
    return NOW - timedelta(days=days)


@pytest.fixture
def loaded(catalog):
    report(catalog, "flickr", days_ago(0.1), inserted=10, rejected=2, rejected_reasons={"no url": 2})
    report(catalog, "flickr", days_ago(8), inserted=100, skipped=1, skipped_reasons={"too small": 1})
    report(catalog, "flickr", days_ago(400), inserted=5000)
    report(catalog, "met", days_ago(3), unchanged=7, complete=False)
    report(catalog, "met", days_ago(30), inserted=7)
    report(catalog, "nappy", days_ago(1), unchanged=1, whole=False)
    return catalog


def test_the_newest_loads_of_each_source(loaded):
    found = loads.last_loads(loaded, [FLICKR, NAPPY, Source("jamendo", "audio", "jamendo")])
    assert [load.inserted for load in found[FLICKR]] == [5000, 100, 10]
    assert [load.flags for load in found[NAPPY]] == ["LIMITED"]
    assert found[Source("jamendo", "audio", "jamendo")] == []


def test_no_more_than_a_sparkline_shows(catalog):
    for hours in range(loads.RECENT + 5):
        report(catalog, "flickr", NOW - timedelta(hours=hours), inserted=hours)
    found = loads.last_loads(catalog, [FLICKR])[FLICKR]
    assert [load.inserted for load in found] == list(range(loads.RECENT - 1, -1, -1))


def test_the_history_of_a_source_begins_with_its_newest_load(loaded):
    found = loads.history(loaded, FLICKR, 2)
    assert [load.inserted for load in found] == [10, 100]
    assert found[0].reasons == {"no url": 2}
    assert loads.reasons(found, "skipped") == {"too small": 1}


def test_a_reason_of_rejects_and_of_skips_is_added_up(catalog):
    counts = {"rejected_reasons": {"no url": 1, OTHER: 5}, "skipped_reasons": {OTHER: 4}}
    report(catalog, "flickr", days_ago(1), rejected=6, skipped=4, **counts)
    [load] = loads.history(catalog, FLICKR, 1)
    assert load.reasons == {"no url": 1, OTHER: 9}


def test_freshness(loaded):
    """A partial load does not count; a month is late for a daily provider."""
    found = loads.freshness(loaded, all_sources(), NOW)
    assert found[FLICKR].state == "fresh"
    assert (found[MET].state, found[MET].last) == ("late", days_ago(30))
    assert found[NAPPY].state == "never"  # limited
    assert len(found) == len(all_sources())


def test_a_pull_that_is_loaded_late_is_late(catalog):
    report(catalog, "nappy", days_ago(0.1), pull_began=days_ago(60))
    found = loads.freshness(catalog, [NAPPY], NOW)[NAPPY]
    assert (found.state, found.last) == ("late", days_ago(60))


@pytest.mark.parametrize("name", ["freesound", "nappy", "inaturalist", "smithsonian", "flickr"])
def test_no_provider_is_late_while_it_is_pulled_in_time(name):
    """The next pull begins a period later, and takes as long as it may."""
    cls = provider_class(name)
    pulled = timedelta(days=1) if cls.dated else cls.pull_timeout
    assert cls.period() + pulled < loads.allowed_age(cls) <= 2 * cls.period() + pulled


def test_growth_by_weeks(loaded):
    weeks = loads.growth(loaded, NOW)
    assert len(weeks) == loads.WEEKS
    assert weeks[-1] == (datetime(2024, 3, 11, tzinfo=UTC), 10)
    assert weeks[-2][1] == 100
    assert sum(number for _, number in weeks) == 117
    assert sum(number for _, number in loads.growth(loaded, NOW, MET)) == 7


def test_the_loads_that_wrote_a_record(loaded):
    """One load may have created and changed it."""
    found = loads.loads_of(loaded, "flickr", "image", [days_ago(0.1), days_ago(8)])
    assert [load.inserted for load in found] == [100, 10]
    same = loads.loads_of(loaded, "flickr", "image", [days_ago(8)] * 2)
    assert [load.inserted for load in same] == [100]
    assert loads.loads_of(loaded, "flickr", "image", [days_ago(7)]) == []


def test_an_empty_catalog(catalog):
    found = loads.freshness(catalog, all_sources(), NOW).values()
    assert {freshness.state for freshness in found} == {"never"}
    assert [number for _, number in loads.growth(catalog, NOW)] == [0] * loads.WEEKS


def test_a_share_of_nothing():
    assert loads.share(0, 0) == 0
    assert loads.share(1, 4) == 0.25
