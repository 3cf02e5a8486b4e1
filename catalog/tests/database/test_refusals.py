"""A run accepts only what was reported, whatever is found, cleared and triggered in between."""

from datetime import timedelta
from typing import NamedTuple

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.core.accepting import accepting
from catalog.core.loss_limits import tolerable
from catalog.core.queries import database_time, value
from catalog.database.refusals import DAYS, MOST, Acceptance, Finding, Judged, accepted_by, judge

pytestmark = pytest.mark.database
RECORDS, HIDDEN = "image records", "image hidden"


def asks(catalog, run="b 0", *, accepts=True, began=None):
    """Return what a run accepts, by its id and how often it was cleared."""
    run_id, _, cleared = run.partition(" ")
    conf = accepting({"index_only": True}, "accept_shrinkage")
    began = began or database_time(catalog)
    return Acceptance(accepts, "image_data_refresh", run_id, int(cleared), began, conf)


def lost(remains, subject="flickr", before=100_000):
    return Finding(subject, before, remains, f"{subject}: {remains:,} records")


def report(catalog, *findings, run="a 0", scope=RECORDS):
    assert judge(catalog, {scope: findings}, asks(catalog, run, accepts=False)).refused


def test_what_was_reported_is_accepted(catalog):
    said = judge(catalog, {RECORDS: [lost(61_200)]}, asks(catalog, "a 0", accepts=False))
    conf = '{"index_only": true, "accept_shrinkage": true}'
    assert said.refused == ["flickr: 61,200 records"]
    assert f"trigger image_data_refresh with the conf {conf}" in said.way_out
    accepted = Judged(["flickr: 61,000 records"], [])
    assert judge(catalog, {RECORDS: [lost(61_000)]}, asks(catalog)) == accepted
    # Later tasks of the run, and cleared ones, ask again.
    assert judge(catalog, {RECORDS: [lost(61_000)]}, asks(catalog)) == accepted
    assert accepted_by(catalog, "image_data_refresh", "b") == ["flickr: 61,000 records"]
    assert accepted_by(catalog, "image_data_refresh", "a") == []


def test_what_was_not_reported_is_refused_until_the_task_is_cleared(catalog):
    found = {RECORDS: [lost(61_200)]}
    said = judge(catalog, found, asks(catalog, "b 0"))
    assert said.refused == ["flickr: 61,200 records (not reported before)"]
    assert "clear this task" in said.way_out
    # The task was killed before it failed, or another one of the run begins only now.
    assert judge(catalog, found, asks(catalog, "b 0")).refused
    assert not judge(catalog, found, asks(catalog, "b 1")).refused


def test_more_than_was_reported_is_refused(catalog):
    report(catalog, lost(61_200))
    said = judge(catalog, {RECORDS: [lost(60_000)]}, asks(catalog))
    today = f"{database_time(catalog):%Y-%m-%d}"
    assert said.refused == [f"flickr: 60,000 records (but 61,200 when it was reported on {today})"]
    assert not judge(catalog, {RECORDS: [lost(60_000)]}, asks(catalog, "b 1")).refused


def test_as_much_left_of_far_more_is_refused(catalog):
    """A file of 50,000 labels still has them, while the images have got twice as many."""
    report(catalog, lost(50_000))
    assert not judge(catalog, {RECORDS: [lost(50_000, before=100_500)]}, asks(catalog, "c 0")).refused
    said = judge(catalog, {RECORDS: [lost(50_000, before=200_000)]}, asks(catalog))
    today = f"{database_time(catalog):%Y-%m-%d}"
    assert said.refused == [f"flickr: 50,000 records (but 50,000 fewer when it was reported on {today})"]
    assert not judge(catalog, {RECORDS: [lost(50_000, before=200_000)]}, asks(catalog, "b 1")).refused


def test_what_an_earlier_release_has_reported_covers_nothing(catalog):
    """It has not kept how much was lost."""
    report(catalog, lost(50_000))
    catalog.execute("update refusal set lost = null")
    said = judge(catalog, {RECORDS: [lost(50_000)]}, asks(catalog))
    assert said.refused == ["flickr: 50,000 records (not reported before)"]
    assert not judge(catalog, {RECORDS: [lost(50_000)]}, asks(catalog, "b 1")).refused


@pytest.mark.parametrize(
    ("scope", "subject"), [(HIDDEN, "flickr"), (RECORDS, "met")], ids=["kind", "subject"]
)
def test_a_report_covers_nothing_else(catalog, scope, subject):
    report(catalog, lost(61_200))
    assert judge(catalog, {scope: [lost(61_200, subject)]}, asks(catalog)).refused


def test_two_findings_about_one_subject_are_one_report(catalog):
    """Such as a list with two keys that refer to one table."""
    found = [Finding("imagelist", 90, 5, "by one key"), Finding("imagelist", 50, 9, "by another key")]
    report(catalog, *found)
    assert not judge(catalog, {RECORDS: found}, asks(catalog)).refused


def test_of_two_findings_about_one_subject_none_may_be_worse_than_reported(catalog):
    one, another = "by one key", "by another key"
    report(catalog, Finding("imagelist", 999, 500, one), Finding("imagelist", 999, 900, another))
    found = [Finding("imagelist", 999, 300, one), Finding("imagelist", 999, 900, another)]
    assert judge(catalog, {RECORDS: found}, asks(catalog)).refused


def test_what_may_only_be_away_is_not_accepted_by_a_clear(catalog):
    """A clear may follow a repair that has failed; another run accepts the loss."""
    found = {RECORDS: [Finding("disk", 0, 0, "the pointer is gone", may_be_away=True)]}
    for cleared in range(3):
        said = judge(catalog, found, asks(catalog, f"b {cleared}"))
        assert said.refused
        assert "trigger image_data_refresh again with the conf {" in said.way_out
        assert "clear this task" not in said.way_out
    assert judge(catalog, found, asks(catalog, "c 0")).accepted == ["the pointer is gone"]
    assert not judge(catalog, found, asks(catalog, "c 0")).refused  # a later task asks again


def test_all_that_is_reported_is_logged(catalog, caplog):
    """The error names the first findings, and a run accepts all of them."""
    lossy = [lost(1, f"source {number}") for number in range(MOST + 5)]
    said = judge(catalog, {RECORDS: lossy}, asks(catalog, accepts=False))
    assert said.problems.endswith("; and 5 more")
    assert [line for line in caplog.messages if line.startswith("refused: source")] == [
        f"refused: {one.text}" for one in lossy
    ]


def test_each_kind_is_judged_apart(catalog):
    report(catalog, lost(61_200))
    said = judge(catalog, {RECORDS: [lost(61_200)], HIDDEN: [lost(3, "hidden")]}, asks(catalog))
    assert said.accepted == ["flickr: 61,200 records"]
    assert said.refused == ["hidden: 3 records (not reported before)"]
    said = judge(catalog, {RECORDS: [lost(61_200)], HIDDEN: [lost(3, "hidden")]}, asks(catalog, "b 1"))
    assert len(said.accepted) == 2


def test_what_has_healed_covers_no_new_loss(catalog):
    report(catalog, lost(61_200))
    assert judge(catalog, {RECORDS: []}, asks(catalog, "c 0", accepts=False)) == Judged([], [])
    assert judge(catalog, {RECORDS: [lost(61_200)]}, asks(catalog)).refused


def test_the_report_of_a_run_names_what_it_has_accepted_although_nothing_is_lost_any_more(catalog):
    """Once the new tables are live, the same check finds nothing."""
    report(catalog, lost(61_200))
    judge(catalog, {RECORDS: [lost(61_200)]}, asks(catalog))
    judge(catalog, {RECORDS: []}, asks(catalog))
    assert accepted_by(catalog, "image_data_refresh", "b") == ["flickr: 61,200 records"]
    assert judge(catalog, {RECORDS: [lost(61_200)]}, asks(catalog, "b 0")).refused
    judge(catalog, {RECORDS: [lost(61_200)]}, asks(catalog, "b 1"))
    judge(catalog, {RECORDS: []}, asks(catalog, "b 1"))
    judge(catalog, {RECORDS: []}, asks(catalog, "c 0"))
    assert accepted_by(catalog, "image_data_refresh", "b") == []


def test_what_follows_from_an_accepted_loss_is_no_news_to_the_run(catalog):
    """Documents follow the rows of a refresh; those of another run do not."""
    report(catalog, lost(61_200))
    follows = {"image documents": RECORDS}
    found = {"image documents": [lost(61_150)]}
    assert judge(catalog, found, asks(catalog), follows).refused
    judge(catalog, {RECORDS: [lost(61_200)]}, asks(catalog))
    assert not judge(catalog, found, asks(catalog), follows).refused
    assert judge(catalog, {"image documents": [lost(50_000)]}, asks(catalog), follows).refused
    assert judge(catalog, {"image documents": [lost(61_150, "met")]}, asks(catalog), follows).refused
    assert judge(catalog, found, asks(catalog, "c 0"), follows).refused


def test_a_report_of_its_own_covers_what_the_one_that_it_follows_does_not(catalog):
    """Otherwise, the run that accepts both is refused for ever."""
    documents, follows = "image documents", {"image documents": RECORDS}
    many = [lost(61_300, before=200_000)]
    report(catalog, lost(61_200))
    report(catalog, *many, scope=documents)
    assert not judge(catalog, {RECORDS: [lost(61_200)]}, asks(catalog), follows).refused
    assert not judge(catalog, {documents: many}, asks(catalog), follows).refused
    assert judge(catalog, {documents: [lost(61_300, before=300_000)]}, asks(catalog), follows).refused


def test_a_report_is_forgotten_after_a_month(catalog):
    report(catalog, lost(61_200))
    catalog.execute("update refusal set refused_on = refused_on - %s", [timedelta(days=DAYS)])
    assert judge(catalog, {RECORDS: [lost(61_200)]}, asks(catalog)).refused


def test_what_is_reported_while_an_attempt_works_is_not_accepted_by_it(catalog):
    """Nobody has read it when the run was triggered."""
    began = database_time(catalog)
    report(catalog, lost(61_200))
    assert judge(catalog, {RECORDS: [lost(61_200)]}, asks(catalog, began=began)).refused


def test_a_note_stays_when_the_work_is_rolled_back(catalog, dsn):
    with psycopg.connect(dsn, autocommit=True) as other, other.transaction(), pytest.raises(AssertionError):
        judge(other, {RECORDS: [lost(61_200)]}, asks(catalog))
    report(catalog, lost(61_200))
    with psycopg.connect(dsn) as other:
        assert value(other, "select count(*) from refusal") == 1


class Told(NamedTuple):
    """What a person can have read: one finding of a refused run; or that nothing is lost."""

    scope: str
    run: str
    finding: Finding | None


SIZES = st.sampled_from([0, 3, 100, 101, 5_000, 61_000, 61_200, 100_000])
SUBJECTS = st.sampled_from(["flickr", "met"])
BOTH = st.tuples(SIZES, SIZES)  # before, and what is left
FOUND = st.dictionaries(st.sampled_from([RECORDS, HIDDEN]), st.dictionaries(SUBJECTS, BOTH), min_size=1)
ATTEMPTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans(), FOUND), min_size=1, max_size=12
)


@settings(max_examples=150)
@given(attempts=ATTEMPTS)
def test_nothing_is_accepted_that_nobody_can_have_read(refusals, attempts):
    refusals.execute("truncate refusal")
    told: list[Told] = []
    cleared = dict.fromkeys("abc", 0)
    for name, clears, accepts, sizes in attempts:
        cleared[name] += clears
        run = f"{name} {cleared[name]}"
        found = {
            scope: [
                Finding(subject, before, remains, f"{scope}, {subject}: {remains} of {before}")
                for subject, (before, remains) in each.items()
            ]
            for scope, each in sizes.items()
        }
        said = judge(refusals, found, asks(refusals, run, accepts=accepts))
        assert len(said.accepted) + len(said.refused) == sum(map(len, found.values()))
        for scope, findings in found.items():
            refused = [finding for finding in findings if finding.text not in said.accepted]
            accepted = [finding for finding in findings if finding.text in said.accepted]
            for finding in accepted:
                assert accepts
                since = max((i for i, t in enumerate(told) if t.scope == scope and not t.finding), default=0)
                assert any(
                    t.finding
                    and (t.scope, t.finding.subject) == (scope, finding.subject)
                    and t.run != run
                    and finding.remains >= t.finding.remains - tolerable(t.finding.remains)
                    and finding.lost <= t.finding.lost + tolerable(t.finding.lost)
                    for t in told[since:]
                )
            told += [Told(scope, run, finding) for finding in refused]
            if not findings:
                told.append(Told(scope, run, None))
        # One clear is enough.
        cleared[name] += 1
        assert not judge(refusals, found, asks(refusals, f"{name} {cleared[name]}")).refused


@pytest.fixture(scope="module")
def refusals(server):
    from catalog.tests.conftest import database

    with database(server, "migrated") as address, psycopg.connect(address, autocommit=True) as connection:
        yield connection
