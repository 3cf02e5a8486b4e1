"""Removals and what else writes or reads records: loads and data refreshes."""

import pytest

from catalog.links.conclude import conclude
from catalog.links.plan import Survey
from catalog.tests.data_refresh.test_exchange import api_dsn, filled, pair  # noqa: F401 - fixtures
from catalog.tests.data_refresh.test_incremental import changed, image  # noqa: F401 - a fixture
from catalog.tests.links.checks import day
from catalog.tests.loading.conftest import load  # noqa: F401 - a fixture
from catalog.tests.loading.loader import image as made_up
from catalog.tests.loading.loader import outcome

pytestmark = pytest.mark.database
GONE = """
    insert into link_check (run_id, media_type, provider, slice, purpose, identifier, url, host, checked_on,
                            outcome, judged)
    select %(run)s || n, 'image', provider, 0, 'again', identifier, url, 'host',
           %(last)s - n * interval '2 weeks', %(outcome)s, true
      from image, generate_series(0, %(before)s) n where identifier = %(identifier)s
"""


def write(catalog, identifier, run, last, outcome="gone", before=2):
    """Write checks of a record, two weeks apart, and conclude the last one."""
    values = {"identifier": identifier, "run": run, "last": day(last), "outcome": outcome, "before": before}
    catalog.execute(GONE, values)
    query = "select provider from image where identifier = %s"
    survey = Survey(f"{run}0", "image", catalog.execute(query, [identifier]).fetchone()[0])
    catalog.execute(
        "insert into link_survey (run_id, media_type, provider, slice, slices, planned_on)"
        " values (%s, 'image', %s, 0, 0, %s)",
        [survey.run_id, survey.provider, day(last)],
    )
    return conclude(catalog, survey, now=lambda: day(last + 0.5))


def state(catalog, number=1):
    return catalog.execute(
        "select identifier, removed_from_source, title, updated_on from image where foreign_identifier = %s",
        [f"id{number}"],
    ).fetchone()


@pytest.fixture
def removed(load, catalog):  # noqa: F811 - the fixture
    """Return a loader after two images were loaded and the first was removed."""
    load([made_up(1, title="one"), made_up(2)])
    assert write(catalog, state(catalog)[0], "gone", 28).removed == 1
    return load


def test_a_load_of_the_same_record_keeps_the_mark_and_writes_nothing(removed, catalog):
    before = state(catalog)
    assert before[1] is True
    assert outcome(removed([made_up(1, title="one"), made_up(2)])) == (0, 0, 2, 0, 0)
    assert state(catalog) == before


def test_a_load_of_a_changed_record_keeps_the_mark(removed, catalog):
    assert outcome(removed([made_up(1, title="uno")])) == (0, 1, 0, 0, 0)
    assert state(catalog)[1:3] == (True, "uno")
    assert outcome(removed([made_up(1, title="uno")])) == (0, 0, 1, 0, 0)


def test_a_load_with_another_scheme_keeps_the_mark(removed, catalog):
    """The provider, or the table of hosts that support https, has changed; not the file."""
    url = "http://example.org/1.jpg"
    catalog.execute("update image set url = %s where foreign_identifier = 'id1'", [url])
    catalog.execute("update link_removal set url = %s", [url])
    assert outcome(removed([made_up(1, title="one")])) == (0, 1, 0, 0, 0)
    assert state(catalog)[1] is True
    assert outcome(removed([made_up(1, title="one")])) == (0, 0, 1, 0, 0)


def test_a_load_with_another_url_brings_the_record_back(removed, catalog):
    assert outcome(removed([made_up(1, url="https://example.org/new.jpg")])) == (0, 1, 0, 0, 0)
    assert state(catalog)[1] is False
    write(catalog, state(catalog, 2)[0], "other", 35, "there", before=0)
    ended = "select ended_because from link_removal"
    assert catalog.execute(ended).fetchall() == [("the record has another URL",)]


def test_a_load_after_a_removal_has_ended_does_not_restore_the_mark(removed, catalog):
    assert write(catalog, state(catalog)[0], "back", 49, "there", before=1).back == 1
    assert outcome(removed([made_up(1, title="one")])) == (0, 0, 1, 0, 0)
    assert state(catalog)[1] is False


def test_a_mark_of_another_origin_is_removed_by_a_load_as_before(removed, catalog):
    catalog.execute("update image set removed_from_source = true where foreign_identifier = 'id2'")
    assert outcome(removed([made_up(1, title="one"), made_up(2)])) == (0, 1, 1, 0, 0)
    assert state(catalog, 2)[1] is False


def test_audio_with_the_same_identifier_is_another_record(removed, catalog):
    catalog.execute("update link_removal set media_type = 'audio'")
    assert outcome(removed([made_up(1, title="one")])) == (0, 1, 0, 0, 0)
    assert state(catalog)[1] is False


def test_an_incremental_refresh_notices_a_removal_and_a_return(image):  # noqa: F811 - the fixture
    """The document goes with the mark: `data_refresh/test_changed_documents.py`."""
    identifier = image.catalog.execute(
        "select identifier from image where not removed_from_source order by 1 limit 1"
    ).fetchone()[0]
    mark = "select removed_from_source from image where identifier = %s"
    for run, when, outcome_, before, expected in (
        ("gone", 28, "gone", 2, True),
        ("back", 49, "there", 1, False),
    ):
        write(image.catalog, identifier, run, when, outcome_, before)
        assert image.catalog.execute(mark, [identifier]).fetchone() == (expected,)
        changed(image)
        assert image.api.execute(mark, [identifier]).fetchone() == (expected,)
