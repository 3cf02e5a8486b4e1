"""What is checked: samples without reading tables as a whole, what was gone before, slices, controls."""

from collections import Counter

import pytest

from catalog.core.errors import Interrupted, Refused
from catalog.links.answers import BUSY, Verdict
from catalog.links.controls import ASKED_AGAIN, CONTROLS, add_controls
from catalog.links.pauses import Pauses
from catalog.links.plan import Survey, plan, providers, rename_earlier_run
from catalog.links.report import lines
from catalog.links.survey import check_links
from catalog.tests.database.media import fill
from catalog.tests.links.checks import HOST, Checks, day
from catalog.tests.links.site import Clock
from catalog.tests.values import present

pytestmark = pytest.mark.database


def planned(catalog, run_id):
    """Return the purposes and keys of a run's checks."""
    rows = catalog.execute(
        "select purpose, foreign_identifier from link_check join image using (identifier)"
        " where run_id = %s order by number",
        [run_id],
    )
    return [tuple(row) for row in rows]


def sample(catalog, run_id, size=50, provider="b", again=100, when=0.0):
    survey = Survey(run_id, "image", provider)
    assert plan(catalog, survey, now=day(when), size=size, again=again)
    return planned(catalog, run_id)


def test_providers_are_found_one_look_for_each(catalog):
    fill(catalog, 20, ("a", "b", "c d"))
    assert providers(catalog) == [("image", "a"), ("image", "b"), ("image", "c d")]


def test_each_run_draws_another_sample_of_its_provider(catalog):
    fill(catalog, 500, ("a", "b", "c"))
    one, two = sample(catalog, "one"), sample(catalog, "two")
    assert len(one) == len(set(one)) == len(two) == 50
    assert {(purpose, key[0]) for purpose, key in one + two} == {("sample", "b")}
    assert set(one) != set(two)
    assert len(sample(catalog, "all", size=10_000)) == 500


def test_samples_are_fair(catalog):
    """Each record is drawn about as often as others, over many runs."""
    fill(catalog, 100, ("b",))
    drawn = Counter(key for run in range(200) for _, key in sample(catalog, f"run {run}", size=20))
    assert len(drawn) == 100
    assert sum(drawn.values()) == 200 * 20
    tenths = [sum(drawn[f"b{n}"] for n in range(first, first + 10)) for first in range(1, 101, 10)]
    assert min(tenths) > 250  # of 400 that are expected; neighbours in the table are not neighbours here
    assert max(tenths) < 550


def test_no_draw_reads_the_table_as_a_whole(catalog):
    """The server counts the rows that scans of the table have read, and those that indexes have found."""
    fill(catalog, 5000, ("a", "b", "c"))

    def rows():
        query = "select seq_tup_read, idx_tup_fetch from pg_stat_xact_user_tables where relname = 'image'"
        return present(catalog.execute(query).fetchone())

    slices = Survey("slices", "image", "b", 3, 90)
    with catalog.transaction():
        assert len(providers(catalog)) == 3
        assert plan(catalog, Survey("run", "image", "b"), now=day(0), size=100, again=100)
        assert plan(catalog, slices, now=day(0), size=0, again=0)
        scanned, found = rows()
    assert scanned == 0
    assert 100 < found < 300


def test_a_plan_is_made_once(catalog):
    fill(catalog, 100, ("b",))
    before = sample(catalog, "run", size=10)
    fill_more = "update image set foreign_identifier = 'x' || foreign_identifier"
    catalog.execute(fill_more)
    assert not plan(catalog, Survey("run", "image", "b"), now=day(1), size=90, again=9)
    assert [(purpose, f"x{key}") for purpose, key in before] == planned(catalog, "run")


def test_a_new_run_with_the_id_of_an_earlier_one_makes_its_own_plan(catalog):
    """Airflow makes a deleted scheduled run again with its id."""
    checks = Checks(catalog)
    for number in range(3):
        checks.found("run", 20 * number)
        if number < 2:
            rename_earlier_run(catalog, "run")
    assert checks.marked() == {"made_up1"}
    assert [(line.planned, line.removed) for line in lines(catalog, "run")] == [(1, 1)]
    rename_earlier_run(catalog, "run")
    assert lines(catalog, "run") == []
    found = Counter(why for why, _ in sample(catalog, "run", size=20, provider="made_up", when=60))
    assert found == {"sample": 20, "again": 1}
    kept = "select count(*), count(distinct run_id) from link_survey where run_id like 'run before 2%'"
    assert catalog.execute(kept).fetchone() == (3, 3)


def test_slices_have_each_record_once(catalog):
    fill(catalog, 300, ("a", "b"))
    for number in range(1, 8):
        assert plan(catalog, Survey("run", "image", "b", number, 7), now=day(0), size=1, again=1)
    found = planned(catalog, "run")
    assert sorted(key for _, key in found) == sorted(f"b{n}" for n in range(1, 301))
    sizes = catalog.execute("select count(*) from link_check group by slice").fetchall()
    assert len(sizes) == 7
    assert min(sizes)[0] > 20


def test_removed_records_are_in_no_sample(catalog):
    """They would count as failures of their provider; a slice checks them once more."""
    fill(catalog, 100, ("a",))
    catalog.execute("update image set removed_from_source = true where foreign_identifier like 'a%5'")
    plan(catalog, Survey("sample", "image", "a"), now=day(0), size=100, again=0)
    assert len(planned(catalog, "sample")) == 90
    plan(catalog, Survey("slice", "image", "a", 1, 1), now=day(0), size=1, again=1)
    query = "select purpose, count(*) from link_check where run_id = 'slice' group by 1 order by 1"
    assert catalog.execute(query).fetchall() == [("again", 10), ("sample", 90)]


def test_a_slice_that_is_too_large_is_refused(catalog, monkeypatch):
    fill(catalog, 30, ("a",))
    monkeypatch.setattr("catalog.links.plan.MAX_SLICE", 29)
    with pytest.raises(Refused, match="slices: slice 1 of a has more than 29 records"):
        plan(catalog, Survey("run", "image", "a", 1, 1), now=day(0), size=1, again=1)
    assert planned(catalog, "run") == []


def test_a_host_that_asks_to_wait_gets_no_controls(catalog):
    checks = Checks(catalog)
    survey = checks.survey("run")
    checks.found("earlier", -7)
    checks.write(survey, 1, day(0), HOST, "gone", "sample")
    checks.write(survey, 2, day(0), HOST, "unclear", "sample", reason=BUSY)
    assert add_controls(catalog, survey) == 0
    catalog.execute("update link_check set reason = 'timeout' where reason is not null and run_id = 'run'")
    assert add_controls(catalog, survey) > 0


def test_what_was_gone_is_checked_again_until_it_answers(catalog):
    checks = Checks(catalog)
    checks.found("gone", 0, outcomes={1: "gone", 2: "gone", 3: "unclear"})
    checks.found("later", 7, outcomes={2: "there"})
    again = [key for purpose, key in sample(catalog, "next", 0, "made_up", when=8) if purpose == "again"]
    assert again == ["made_up1"]
    assert sample(catalog, "after months", 0, "made_up", when=200) == []
    catalog.execute("update image set url = url || '?other' where foreign_identifier = 'made_up1'")
    assert sample(catalog, "other file", 0, "made_up", when=8) == []


def test_removed_records_are_checked_again_and_limits_are_kept(catalog):
    checks = Checks(catalog).removed()
    assert sample(catalog, "next", 0, "made_up", when=300) == [("again", "made_up1")]
    gone = dict.fromkeys(range(2, 9), "gone")
    checks.found("more", 40, outcomes=gone)
    assert Counter(p for p, _ in sample(catalog, "limited", 0, "made_up", 3, 41)) == {"again": 3 + 1}
    assert sample(catalog, "none", 0, "made_up", 0, 41) == []


def test_controls_are_of_the_same_host_and_provider(catalog):
    checks = Checks(catalog, providers=("made_up", "other"))
    catalog.execute("update image set url = replace(url, 'example.org', 'b.example') where length(title) = 7")
    for provider in ("made_up", "other"):
        checks.found("known", 0, outcomes={30: "there", 31: "there"}, there=0, provider=provider)
    survey = checks.survey("run")
    checks.write(survey, 40, day(7), HOST, "gone", "again")
    assert add_controls(catalog, survey) == CONTROLS
    found = planned(catalog, "run")[1:]
    assert {purpose for purpose, _ in found} == {"control"}
    assert {"made_up30", "made_up31"} < {key for _, key in found}  # those that have answered come first
    assert all(key.startswith("made_up") and int(key[7:]) > 9 for _, key in found)
    assert add_controls(catalog, survey) == 0


def test_enough_random_records_of_a_host_need_no_controls(catalog):
    checks = Checks(catalog)
    survey = checks.survey("run")
    checks.write(survey, 1, day(0), HOST, "gone", "sample")
    for number in range(2, 2 + CONTROLS):
        checks.write(survey, number, day(0), HOST, "there", "sample")
    assert add_controls(catalog, survey) == 0


def test_controls_of_a_host_behind_redirects_are_looked_for_at_the_host_before_it(catalog):
    """Once: what they are answered by is known only afterwards."""
    checks = Checks(catalog)
    survey = checks.survey("run")
    checks.write(survey, 1, day(0), "store.example", "gone", "again")
    assert add_controls(catalog, survey) == CONTROLS
    catalog.execute(
        "update link_check set host = 'other.example', checked_on = now(), outcome = 'gone'"
        " where purpose = 'control'"
    )
    assert add_controls(catalog, survey) == 0
    checks.found("known", -7, outcomes={30: "there", 31: "there"}, there=0, host="store.example")
    later = checks.survey("later")
    checks.write(later, 1, day(7), "store.example", "gone", "again")
    add_controls(catalog, later)
    assert {("control", "made_up30"), ("control", "made_up31")} < {*planned(catalog, "later")}


def test_a_host_without_other_records_has_no_controls(catalog):
    checks = Checks(catalog, rows=3)
    catalog.execute("update image set url = 'https://alone.example/1' where foreign_identifier = 'made_up1'")
    survey = checks.survey("run")
    checks.write(survey, 1, day(0), "alone.example", "gone", "sample")
    assert add_controls(catalog, survey) == 0


def test_a_stopped_survey_checks_what_is_left_and_its_controls(catalog):
    fill(catalog, 60, ("b",))
    sample(catalog, "run", size=5)
    survey, clock, asked = Survey("run", "image", "b"), Clock(), Counter[str]()

    def check(url):
        asked[url] += 1
        return Verdict("gone" if len(asked) == 1 else "there", None, 404)

    def attempt(most):
        check_links(
            catalog,
            survey,
            check,
            Pauses({}, "survey", clock.now),
            now=clock.now,
            clock=clock.time,
            sleep=clock.sleep,
            workers=1,
            should_stop=lambda: len(asked) >= most,
        )

    for most in (2, 4, 6):
        with pytest.raises(Interrupted):
            attempt(most)
    attempt(1000)
    assert (
        Counter(asked.values())[2] == len([number for number in asked.values() if number > 1]) == ASKED_AGAIN
    )
    assert Counter(purpose for purpose, _ in planned(catalog, "run"))["control"] >= 1
    assert catalog.execute("select count(*) from link_check where checked_on is null").fetchone() == (0,)
    before = len(asked)
    attempt(1000)
    assert len(asked) == before
