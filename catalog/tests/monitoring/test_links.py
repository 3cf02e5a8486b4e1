"""The newest estimate of a source, on a real database."""

from datetime import UTC, datetime, timedelta

import pytest

from catalog.links.plan import Survey, plan
from catalog.links.report import lines, sentence
from catalog.monitoring.links import newest
from catalog.monitoring.sources import Source
from catalog.tests.links.checks import Checks, day
from catalog.tests.values import present

pytestmark = pytest.mark.database
NOW = datetime(2025, 3, 14, 12, tzinfo=UTC)
SURVEY = """
    insert into link_survey (run_id, media_type, provider, slice, slices, planned_on, concluded_on, there,
                             gone, unclear, resized, share, low, high)
    values (%s, 'image', %s, %s, %s, %s, %s, 96, 4, 7, 0, %s, 0.015, 0.1)
"""


def test_the_newest_sample_of_a_source_counts(catalog):
    source = Source("met", "image", "met")
    assert newest(catalog, [source]) == {}
    for run, provider, number, concluded, share in (
        ("old", "met", 0, NOW - timedelta(days=7), 0.5),
        ("new", "met", 0, NOW, 0.04),
        ("slice", "met", 3, NOW + timedelta(days=1), 0.9),
        ("running", "met", 0, None, None),
        ("other", "flickr", 0, NOW + timedelta(days=1), 0.8),
    ):
        catalog.execute(SURVEY, [run, provider, number, number, concluded or NOW, concluded, share])
    flickr, never = Source("flickr", "image", "flickr"), Source("jamendo", "audio", "jamendo")
    every = newest(catalog, [source, flickr, never])
    assert every.keys() == {source, flickr}
    assert present(every[flickr].estimate).share == 0.8
    found = every[source]
    assert (found.checked_on, found.estimate) == (NOW, (0.04, 0.015, 0.1))
    assert (found.drawn, found.unclear, found.removed) == (100, 7, 0)


def test_removed_records_are_counted_while_they_are(catalog):
    checks = Checks(catalog).removed()
    source = Source("made_up", "image", "made_up")
    found = newest(catalog, [source])[source]
    assert (found.removed, found.estimate) == (1, None)
    assert checks.answers(35) == 1
    assert newest(catalog, [source])[source].removed == 0


def test_a_sample_of_a_time_to_come_is_not_the_newest(catalog):
    checks = Checks(catalog)
    checks.found("run", 0, purpose="sample", outcomes={1: "there"})
    checks.found("clock ahead", 100_000, purpose="sample", outcomes={1: "gone", 2: "there"})
    source = Source("made_up", "image", "made_up")
    assert newest(catalog, [source])[source].drawn == 1


def test_a_report_has_each_provider_and_what_is_not_concluded(catalog):
    checks = Checks(catalog)
    checks.found(
        "run", 0, outcomes={1: "gone", 2: "there", 3: "there", 4: "unclear"}, purpose="sample", reason="x"
    )
    plan(catalog, Survey("run", "image", "nobody"), now=day(0), size=1, again=0)
    assert [sentence(line) for line in lines(catalog, "run")] == [
        "  - made_up, image: 33.3 % gone (95 %: 6.1 to 79.2); 1 gone, 2 there, 1 unclear; unclear: 1 x",
        "  - nobody, image: 1 of 1 parts are not concluded",
    ]
