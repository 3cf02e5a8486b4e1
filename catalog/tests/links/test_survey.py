"""Results of checks are written together, and soon."""

import pytest

from catalog.core.errors import Later
from catalog.links import answers
from catalog.links.answers import Verdict, unclear
from catalog.links.judging import STOPPED
from catalog.links.pauses import Pauses
from catalog.links.plan import Survey, plan
from catalog.links.survey import check_links
from catalog.tests.database.media import fill
from catalog.tests.links.site import BEGIN, Clock
from catalog.tests.values import present

pytestmark = pytest.mark.database
SURVEY = Survey("run", "image", "b")
FINE, GONE = Verdict("there", None, 200), Verdict("gone", None, 404)
NOTE = """
    create table written (at timestamptz default clock_timestamp());
    create function note() returns trigger language plpgsql as
        $$ begin insert into written default values; return null; end $$;
    create trigger note after update on link_check for each statement execute function note();
"""


def number(catalog, query):
    return present(catalog.execute(query).fetchone())[0]


def checked(catalog):
    return number(catalog, "select count(*) from link_check where checked_on is not null")


def survey(catalog, check, clock, sleep, survey=SURVEY):
    plan(catalog, survey, now=BEGIN, size=60, again=0)
    pauses = Pauses({}, "survey", clock.now)
    check_links(catalog, survey, check, pauses, now=clock.now, clock=clock.time, sleep=sleep, workers=4)


def test_results_that_come_fast_are_written_together(catalog):
    clock = Clock()
    fill(catalog, 60, ("b",))
    catalog.execute(NOTE)
    survey(catalog, lambda url: FINE, clock, clock.sleep)
    assert checked(catalog) == 60
    assert number(catalog, "select count(*) from written") < 5


def test_each_run_has_another_order(catalog):
    """Otherwise the same files would always be the last ones, which a host may not answer any more."""
    clock = Clock()
    fill(catalog, 60, ("b",))
    last = []
    for run in ("run 1", "run 2"):
        asked: list[str] = []

        def check(url, asked=asked):
            asked.append(url)
            return FINE

        survey(catalog, check, clock, clock.sleep, Survey(run, "image", "b", 1, 1))
        last.append({*asked[-20:]})
    assert len(last[0] & last[1]) < 15


def test_files_that_were_gone_are_checked_in_their_own_way(catalog):
    clock, again = Clock(), list[str]()
    fill(catalog, 60, ("b",))
    plan(catalog, SURVEY, now=BEGIN, size=60, again=0)
    catalog.execute("update link_check set purpose = 'again' where url like '%7.jpg'")

    def check_again(url):
        again.append(url)
        return GONE

    check_links(
        catalog,
        SURVEY,
        lambda url: FINE,
        Pauses({}, "survey", clock.now),
        check_again=check_again,
        now=clock.now,
        clock=clock.time,
        sleep=clock.sleep,
    )
    assert sorted(again) == [f"https://example.org/b{n}.jpg" for n in (17, 27, 37, 47, 57, 7)]
    outcomes = "select outcome, purpose, count(*) from link_check group by 1, 2 order by 1"
    assert catalog.execute(outcomes).fetchall() == [("gone", "again", 6), ("there", "sample", 54)]


def test_results_that_come_slowly_are_written_one_by_one(catalog):
    """So a task that is killed has little to do again."""
    clock = Clock()
    fill(catalog, 60, ("b",))
    found = []

    def check(url):
        clock.sleep(1)
        found.append(checked(catalog))
        return FINE

    survey(catalog, check, clock, clock.sleep)
    assert found == [*range(60)]


def test_no_result_waits_while_hosts_are_paused(catalog):
    clock, asked, waited = Clock(), [], []
    fill(catalog, 60, ("b",))

    def check(url):
        asked.append(url)
        return unclear(answers.BUSY, 429, host="example.org") if len(asked) == 20 else FINE

    def sleep(seconds):
        waited.append(checked(catalog))
        clock.sleep(seconds)

    survey(catalog, check, clock, sleep)
    assert waited[0] == 19
    assert checked(catalog) == 60


def test_a_host_that_has_stopped_is_remembered_while_another_one_is_paused(catalog):
    """It may be well again when the task goes on, and what it said of files before that is still not true."""
    clock, asked = Clock(), set[str]()
    fill(catalog, 30, ("b",))
    catalog.execute("""
        update image
           set url = replace(url, 'example.org', case when substr(foreign_identifier, 2)::integer > 15
                                                      then 'stops.example' else 'paused.example' end)
    """)

    def check(url):
        again = url in asked
        asked.add(url)
        if again and clock.time() < 3600:
            return unclear(answers.BUSY, 429, 7200.0) if "paused" in url else GONE
        return GONE if url.endswith(("/b1.jpg", "/b16.jpg")) else FINE

    whole = Survey("run", "image", "b", 1, 1)
    with pytest.raises(Later, match=r"; 3 links wait\.$") as later:
        survey(catalog, check, clock, clock.sleep, whole)
    clock.go_to(seconds=(later.value.resumes_at - BEGIN).total_seconds())
    survey(catalog, check, clock, clock.sleep, whole)
    doubted = "select host, outcome, reason from link_check where outcome <> 'there' order by host"
    assert catalog.execute(doubted).fetchall() == [
        ("paused.example", "gone", None),
        ("stops.example", "unclear", STOPPED),
    ]
