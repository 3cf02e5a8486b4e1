"""The newest estimate of a source, on a real database."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from catalog.links.plan import Survey, plan
from catalog.links.report import lines, sentence
from catalog.monitoring.catalog_health import held_back as findings
from catalog.monitoring.links import held_back, newest
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


WAITING = """
    insert into link_survey (run_id, media_type, provider, slice, slices, planned_on, concluded_on, left_gone,
                             too_many, accepted_on, conf)
    select %(run)s, 'image', 'met', slice, %(slices)s, at, at, %(left)s, %(left)s > 0,
           case when %(accepted)s then at end, %(conf)s
      from (select now() - make_interval(days => %(ago)s) as at) planned, unnest(%(which)s::integer[]) slice
"""


def survey(catalog, run, which, ago, left=0, *, slices=4, accepted=False, conf=None):
    values = {"run": run, "which": which, "ago": ago, "left": left, "slices": slices, "accepted": accepted}
    catalog.execute(WAITING, values | {"conf": None if conf is None else Jsonb(conf)})


def waiting(catalog):
    return [(one.run_id, one.text.partition(" records")[0]) for one in findings(held_back(catalog))]


def test_removals_wait_until_the_same_records_are_checked_or_accepted(catalog):
    """Neither a check of other slices nor the acceptance of a sample decides about them."""
    survey(catalog, "first", [1, 2], 9, 5, conf={"slices": 4, "last_slice": 2, "failing": 90, "mark": False})
    survey(catalog, "sample", [0], 8, 7, slices=0)
    assert waiting(catalog) == [("sample", "7"), ("first", "10")]
    sample, slices = findings(held_back(catalog))
    assert (sample.subject, slices.subject) == ("met (image)", "met (image)")
    assert sample.text.endswith('check_links with {"provider": "met", "accept_removals": true}')
    assert json.loads(slices.text.partition(" with ")[2]) == {
        "provider": "met",
        "slices": 4,
        "first_slice": 1,
        "last_slice": 2,
        "failing": 90,
        "accept_removals": True,
    }
    survey(catalog, "last", [3, 4], 7)
    survey(catalog, "sample accepted", [0], 6, slices=0, accepted=True)
    assert waiting(catalog) == [("first", "10")]
    survey(catalog, "last accepted", [3, 4], 5, accepted=True)
    survey(catalog, "other slices", [1, 2], 4, slices=8)
    assert waiting(catalog) == [("first", "10")]
    survey(catalog, "one accepted", [1], 3, accepted=True)
    assert waiting(catalog) == [("first", "5")]
    [left] = findings(held_back(catalog))
    assert '"last_slice": 2, "first_slice": 2' in left.text
    catalog.execute("update link_survey set accepted_on = now() where run_id = 'first' and slice = 2")
    assert waiting(catalog) == []


def test_removals_wait_for_a_month_and_until_a_check_finds_the_files(catalog):
    survey(catalog, "long ago", [1], 32, 5)
    survey(catalog, "refused", [2], 3, 5)
    assert waiting(catalog) == [("refused", "5")]
    survey(catalog, "found", [2], 2)
    assert waiting(catalog) == []
