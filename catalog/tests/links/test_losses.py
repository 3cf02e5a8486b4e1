"""Far more removals than usual are made only when somebody accepts them."""

from datetime import timedelta

import pytest

from catalog.core.errors import Fatal, Refused
from catalog.core.queries import database_time
from catalog.links import removal
from catalog.links.conclude import conclude
from catalog.links.judging import Losses
from catalog.links.losses import check_accepted, refuse_losses, refuse_silence, refuse_slices
from catalog.links.plan import AGAIN, Survey, plan, rename_earlier_run
from catalog.links.report import lines, sentence
from catalog.loading.load import lock_provider
from catalog.monitoring.links import held_back
from catalog.tests.links.checks import HOST, Checks, day

pytestmark = pytest.mark.database
FIRST = 31  # image that is gone; those from 21 to 30 are controls
TOO_MANY = "made_up, image: 11 records would be removed because their files are gone: 11.0% of 100, where at"


@pytest.fixture
def checks(catalog):
    return Checks(catalog, rows=100, providers=("made_up", "other"))


def gone(number, first=FIRST):
    return dict.fromkeys(range(first, first + number), "gone")


def gone_for_weeks(checks, number, begin=0.0, first=FIRST, provider="made_up", **options):
    """Let images be gone for four weeks; return what follows from the last check."""
    names = {"provider": provider, "outcomes": gone(number, first)}
    run = "" if provider == "made_up" else provider
    for when in (0, 14):
        checks.found(f"{run}{begin + when}", begin + when, mark=False, **names)
    return checks.found(f"{run}{begin + 28}", begin + 28, **names, **options)


def test_an_unusual_share_of_a_provider_is_not_removed(checks):
    found = gone_for_weeks(checks, 11)
    assert (found.removed, found.left.gone, checks.marked()) == (0, 11, set())
    match = rf"^{TOO_MANY} most 10% a year is usual\. Nothing is removed\..*"
    match += r' conf {"provider": "made_up", "accept_removals": true}\.$'
    with pytest.raises(Fatal, match=match):
        refuse_losses(checks.survey("28.0"), found.left, {})
    [line] = lines(checks.catalog, "28.0")
    assert sentence(line).endswith("; 11 would be removed, which is more than usual")
    # Another provider is not concerned.
    assert gone_for_weeks(checks, 1, provider="other").removed == 1
    # It may be concluded again, and is removed by a run that accepts it.
    assert checks.conclude("28.0", 28).left == found.left
    accepted = checks.found("accepted", 35, outcomes=gone(11), accept=True)
    assert (accepted.removed, accepted.left) == (11, Losses(accepted=found.left.findings))
    assert len(checks.marked()) == 12
    assert sentence(lines(checks.catalog, "accepted")[0]).endswith(
        "; 11 removed, more than usual, which was accepted"
    )
    assert checks.conclude("28.0", 36).left == Losses()


@pytest.mark.parametrize(
    ("records", "number", "removed"), [(100, 10, 10), (45, 9, 9), (3, 3, 0), (2, 2, 2), (200, 20, 20)]
)
def test_the_limit_is_a_share_but_a_few_may_go_in_any_case(checks, records, number, removed):
    """Unless nothing would be left. Controls are no records of the provider here."""
    outside = "update image set provider = 'other' where foreign_identifier = any(%s)"
    numbers = [*range(FIRST, FIRST + number)]
    others = [n for n in range(1, 101) if n not in numbers][: max(0, 100 - records)]
    for run, when in enumerate((0, 14, 28)):
        checks.found(str(run), when, outcomes=gone(number), mark=False)
    checks.catalog.execute(outside, [[f"made_up{n}" for n in others]])
    if records == 200:
        checks.catalog.execute("update image set provider = 'made_up'")
    assert checks.conclude("2", 28).removed == removed


def test_small_losses_add_up_until_they_are_accepted(checks):
    assert gone_for_weeks(checks, 6).removed == 6
    found = gone_for_weeks(checks, 5, begin=40, first=50)
    assert found.removed == 0
    [finding] = found.left.findings
    assert finding == (
        f"5 records would be removed because their files are gone, after 6 since "
        f"{day(68) + timedelta(hours=1) - timedelta(weeks=52):%Y-%m-%d}: 11.0% of 100, where at most 10% a "
        "year is usual"
    )
    assert checks.found("accepted", 70, outcomes=gone(5, 50), accept=True).removed == 5
    assert gone_for_weeks(checks, 9, begin=80, first=60).removed == 9  # none of those before counts
    found = gone_for_weeks(checks, 1, begin=120, first=80)
    assert "1 records would be removed because their files are gone, after 9 since " in found.left.findings[0]
    assert found.removed == 0


def test_removals_of_more_than_a_year_ago_count_no_more(checks):
    assert gone_for_weeks(checks, 9).removed == 9
    assert gone_for_weeks(checks, 5, begin=28 + 364 - 28, first=50).removed == 5


def test_records_that_have_come_back_are_not_lost(checks):
    gone_for_weeks(checks, 9)
    there = dict.fromkeys(gone(9), "there")
    assert [checks.found(f"there {when}", when, outcomes=there).back for when in (35, 42)] == [0, 9]
    assert gone_for_weeks(checks, 10, begin=50, first=50).removed == 10


def test_what_one_run_does_not_remove_others_do_not_remove_in_parts(checks):
    """A sample checks only some of the records that were gone."""
    assert gone_for_weeks(checks, 20).left.gone == 20
    found = checks.found("sample", 35, outcomes=gone(5))
    assert (found.removed, found.left.gone, found.left.due) == (0, 5, 20)
    accepted = checks.found("accepted", 42, outcomes=gone(12), accept=True)
    assert accepted.removed == 12  # only those that this run has checked, while their host works
    assert checks.found("after it", 49, outcomes=gone(8, FIRST + 12)).removed == 8


def test_an_accepting_run_that_is_killed_goes_on_and_what_it_removes_does_not_count(checks, monkeypatch):
    gone_for_weeks(checks, 20)
    marked: list[int] = []

    def killed(connection, *provider):
        if len(marked) == 15:
            raise KeyboardInterrupt
        lock_provider(connection, *provider)
        marked.append(1)

    monkeypatch.setattr(removal, "lock_provider", killed)
    with pytest.raises(KeyboardInterrupt):
        checks.found("accepted", 35, outcomes=gone(20), accept=True)
    assert len(checks.marked()) == 15
    marked.clear()
    assert checks.conclude("accepted", 36, accept=True).removed == 5
    # Neither does it as another run has its id.
    rename_earlier_run(checks.catalog, "accepted")
    assert gone_for_weeks(checks, 8, begin=50, first=60).removed == 8
    # Concluding the refused run again, or the accepting one, changes nothing.
    assert [checks.conclude(run, 90).removed for run in ("28.0", "78")] == [0, 0]


def test_a_run_that_accepts_the_usual_changes_nothing_for_later_ones(checks):
    assert gone_for_weeks(checks, 9, accept=True).removed == 9
    assert gone_for_weeks(checks, 2, begin=40, first=60).removed == 0


MORE = "20 records would be removed, but 11 when that was reported (2025-02-03)"
NOBODY = "no check has reported this before, so nobody can have accepted it"


def test_what_nobody_has_reported_is_not_accepted(checks):
    """The run reports it itself, so its task can be cleared when somebody has read that."""
    found = gone_for_weeks(checks, 11, accept=True)
    assert (found.removed, found.left.gone, found.left.findings[1:]) == (0, 11, [NOBODY])
    conf = {"provider": "made_up", "accept_removals": True}
    with pytest.raises(Fatal, match=rf"{NOBODY}\. Nothing .* clear this task, which accepts what it has"):
        refuse_losses(checks.survey("28.0"), found.left, conf)
    assert checks.conclude("28.0", 29, accept=True).removed == 11


def test_more_than_was_reported_is_not_accepted(checks):
    """Unless that is reported, too; what was accepted is not reported any more."""
    gone_for_weeks(checks, 11)
    for when in (1, 15):
        checks.found(f"more {when}", when, outcomes=gone(9, FIRST + 11), mark=False)
    found = checks.found("accepted", 29, outcomes=gone(20), accept=True)
    assert (found.removed, found.left.due, found.left.findings[1:]) == (0, 20, [MORE])
    assert checks.found("reported", 30, outcomes=gone(20)).removed == 0
    accepted = checks.found("seen", 31, outcomes=gone(20), accept=True)
    assert (accepted.removed, len(accepted.left.accepted)) == (20, 1)
    found = gone_for_weeks(checks, 15, begin=32, first=60, accept=True)
    assert (found.removed, found.left.findings[1:]) == (0, [NOBODY])


def test_what_was_reported_long_ago_is_not_accepted(checks):
    gone_for_weeks(checks, 11)
    assert checks.found("late", 60, outcomes=gone(11), accept=True).left.findings[1:] == [NOBODY]


def test_an_acceptance_of_a_time_to_come_does_not_count(checks):
    gone_for_weeks(checks, 9)
    checks.catalog.execute("update link_survey set accepted_on = %s where run_id = '14.0'", [day(500)])
    assert gone_for_weeks(checks, 2, begin=40, first=60).removed == 0


def test_without_marking_the_numbers_are_shown(checks):
    found = gone_for_weeks(checks, 11, mark=False)
    assert (found.left.gone, len(found.left.findings)) == (11, 1)
    assert sentence(lines(checks.catalog, "28.0")[0]).endswith(
        "; 11 would be removed, which is more than usual"
    )
    found = checks.found("few", 35, outcomes=gone(11), mark=False, most_removed=0.2)
    assert (found.left.gone, found.left.findings) == (11, [])
    assert sentence(lines(checks.catalog, "few")[0]).endswith("; 11 would be removed")
    assert (checks.marked(), checks.removals()) == (set(), [])


def checked_slices(catalog, run, when, gone="gone", there="there", numbers=(1, 2)):
    """Let a run check slices, with these outcomes: of each seventh record, and of the others."""
    slices = [Survey(run, "image", "made_up", number, 10) for number in numbers]
    for one in slices:
        plan(catalog, one, now=day(when), size=0, again=0)
    catalog.execute(
        """
        update link_check c set checked_on = %s, host = %s, outcome = case when seventh then %s else %s end
          from (select number, right(foreign_identifier, -7)::integer %% 7 = 0 as seventh
                  from link_check join image using (identifier)) s
         where s.number = c.number and run_id = %s
        """,
        [day(when), HOST, gone, there, run],
    )
    return slices


def slices_gone_before(catalog):
    """Let each seventh record of two slices be gone for four weeks, before they are judged."""
    checks = Checks(catalog, rows=2000)
    catalog.execute("analyze image")
    slices = checked_slices(catalog, "run", 28)
    catalog.execute(
        """
        insert into link_check (run_id, media_type, provider, slice, purpose, identifier, url, host,
                                checked_on, outcome, judged)
        select 'before' || weeks, media_type, provider, slice, purpose, identifier, url, host,
               checked_on - weeks * interval '1 week', outcome, true
          from link_check, unnest(array[2, 4]) weeks where outcome = 'gone'
        """
    )
    return checks, slices


def test_what_was_reported_of_a_slice_waits_while_no_check_says_anything_of_it(catalog):
    """That others wait does not matter: a slice has all of its records."""
    _, slices = slices_gone_before(catalog)
    assert all(conclude(catalog, one, now=lambda: day(29)).left.findings for one in slices)
    unclear = checked_slices(catalog, "unclear", 35, gone="unclear", there="unclear")
    assert [conclude(catalog, one, now=lambda: day(36)).left.says_nothing for one in unclear] == [True, True]
    [first] = checked_slices(catalog, "there", 42, gone="there", numbers=[1])
    assert not conclude(catalog, first, now=lambda: day(43)).left.says_nothing
    first, second = checked_slices(catalog, "accepting", 49)
    assert conclude(catalog, second, now=lambda: day(50), accept=True).removed
    assert not conclude(catalog, first, now=lambda: day(50), accept=True).removed


def test_a_slice_tells_what_all_slices_would_lose(catalog):
    """Otherwise those that are judged first would lose as much as all of them may."""
    checks, slices = slices_gone_before(catalog)
    found = conclude(catalog, slices[0], now=lambda: day(29))
    share = found.gone / (found.there + found.gone)
    assert (found.removed, found.left.gone, found.left.due) == (0, found.gone, found.gone)
    [finding] = found.left.findings
    assert finding == (
        f"{found.gone} records of the slice would be removed: {share:.1%} of {found.there + found.gone}, "
        "where at most 10% is usual"
    )
    conf = {"slices": 10, "provider": "made_up", "failing": 90}
    advised = (
        r'image: \d+\)\. .* {"slices": 10, "provider": "made_up", "failing": 90, "accept_removals": true}\.$'
    )
    with pytest.raises(Fatal, match=advised):
        refuse_slices(lines(catalog, "run"), conf)
    cleared = (
        r"than usual, and than were reported before, would .* clear the tasks `judge` and `report`, which"
    )
    with pytest.raises(Fatal, match=cleared):
        refuse_slices(lines(catalog, "run"), conf | {"accept_removals": True})
    catalog.execute("update link_survey set planned_on = %s", [day(28)])
    assert conclude(catalog, slices[1], now=lambda: day(29)).removed == 0
    accepted = [conclude(catalog, one, now=lambda: day(30), accept=True) for one in slices]
    assert [one.removed for one in accepted] == [one.gone for one in accepted]
    assert len(checks.marked()) == sum(one.gone for one in accepted) > 20


def sampled(checks, run, when, share, first=FIRST, **options):
    """Let two images be gone that were before, and this many of each ten of a sample of 100."""
    for number in range(101, 201):
        outcome = "gone" if number * 7 % 10 < share else "there"  # not one after the other
        checks.write(checks.survey(run), number, day(when), HOST, outcome, "sample")
    return checks.found(run, when, outcomes=gone(2, first), **options)


def test_a_sample_tells_what_a_large_provider_would_lose(catalog):
    """Each week, only the few records would be removed that are checked again."""
    checks = Checks(catalog, rows=3000)
    gone_for_weeks(checks, 2, mark=False)
    assert sampled(checks, "few", 35, 1, mark=False).left == Losses(gone=2, due=2)
    found = sampled(checks, "many", 42, 3)
    assert (found.removed, found.left.gone, found.left.due) == (0, 2, 2)
    by_its_sample = (
        "by its sample, 30.0% of the files are gone (95%: 21.9% to 39.6%), where at most 10% is usual"
    )
    assert found.left.findings == [by_its_sample]
    assert sampled(checks, "accepted", 49, 3, accept=True).removed == 2


def test_what_a_later_check_does_not_find_is_not_reported_any_more(catalog):
    """Else, as many other files might be removed, which nobody has seen."""
    checks = Checks(catalog, rows=3000)
    gone_for_weeks(checks, 2, mark=False)
    assert sampled(checks, "many", 42, 3).left.findings
    assert not sampled(checks, "few", 49, 1, mark=False).left.findings
    found = sampled(checks, "accepting", 56, 3, accept=True)
    assert (found.removed, found.left.findings[1:]) == (
        0,
        ["no check has reported this before, so nobody can have accepted it"],
    )


@pytest.mark.parametrize("outcome", ["unclear", None], ids=["host fails", "not among the checked ones"])
def test_what_was_reported_waits_while_no_check_says_anything_of_it(checks, outcome):
    """It can be accepted, and needs a person, until its files are found, or gone and removed."""
    gone_for_weeks(checks, 11)
    outcomes = {1: "there", 2: "there"} if outcome is None else dict.fromkeys(gone(11), outcome)
    found = checks.found("nothing", 35, outcomes=outcomes)
    assert (found.removed, found.left) == (0, Losses(says_nothing=True))
    refuse_silence(checks.survey("nothing"), found.left, accept=False)
    with pytest.raises(Fatal, match=r"nothing is removed\. The files whose removal was reported are neither"):
        refuse_silence(checks.survey("nothing"), found.left, accept=True)
    later = "update link_survey set planned_on = planned_on + %(by)s, concluded_on = concluded_on + %(by)s"
    by = database_time(checks.catalog) - day(36)
    checks.catalog.execute(later, {"by": by})
    assert [one.records for one in held_back(checks.catalog)] == [11]
    checks.catalog.execute(later, {"by": -by})
    assert checks.found("accepted", 42, outcomes=gone(11), accept=True).removed == 11


@pytest.mark.parametrize(("share", "removed"), [(1, 2), (4, 2), (6, 0)])
def test_no_larger_share_of_a_sample_is_accepted_than_was_reported(catalog, share, removed):
    """Samples vary by chance."""
    checks = Checks(catalog, rows=3000)
    gone_for_weeks(checks, 2, mark=False)
    assert sampled(checks, "many", 42, 3).left.gone == 2
    found = sampled(checks, "accepted", 49, share, failing=0.9, accept=True)
    assert found.removed == removed
    if not removed:
        assert found.left.findings[1:] == [
            "at least 50.2% of the files are gone, but at most 39.6% when that was reported (2025-02-17)"
        ]


def test_the_share_of_a_sample_that_was_accepted_is_no_news(catalog):
    """The other files that were gone then are removed by and by."""
    checks = Checks(catalog, rows=3000)
    gone_for_weeks(checks, 2, mark=False)
    assert sampled(checks, "reported", 34, 3).removed == 0
    assert sampled(checks, "accepted", 35, 3, accept=True).removed == 2
    gone_for_weeks(checks, 2, begin=36, first=50, mark=False)
    [finding] = sampled(checks, "twice", 70, 6, first=50, failing=0.9).left.findings
    assert finding.startswith("by its sample, 60.0% of the files are gone")
    assert finding.endswith(", where at most 10% is usual, besides 30.0% that were accepted on 2025-02-10")
    removed = sampled(checks, "as before", 77, 4, first=50).removed
    assert removed == 2 + 30  # so are those of the sample by now
    checks.catalog.execute(
        "update link_survey set accepted_on = %s where accepted_on is not null", [day(900)]
    )
    gone_for_weeks(checks, 2, begin=80, first=60, mark=False)
    assert sampled(checks, "time to come", 115, 4, first=60).removed == 0


def test_the_run_that_accepts_many_checks_them_all(checks):
    found = Losses(gone=5, due=AGAIN, findings=["many"])
    with pytest.raises(Fatal, match=r'{"provider": "é", "again": 100000, "accept_removals": true}'):
        refuse_losses(Survey("run", "image", "é"), found, {})


def test_the_run_that_accepts_many_has_the_conf_of_the_one_that_has_found_them():
    """With the usual `failing`, the files of a host that fails a lot would be unclear, and stay."""
    found = Losses(gone=5, due=5, findings=["many"])
    advised = r'{"failing": 90, "margin": 1, "provider": "met", "accept_removals": true}'
    with pytest.raises(Fatal, match=advised):
        refuse_losses(
            Survey("run", "image", "met"),
            found,
            {"failing": 90, "margin": 1, "mark": False, "provider": None},
        )


def test_to_judge_a_sample_counts_only_as_many_records_as_tell(catalog):
    """Of a large provider, not all."""
    checks = Checks(catalog, rows=5000)
    gone_for_weeks(checks, 3, mark=False)
    catalog.execute("vacuum analyze image, link_check")
    query = "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'image'"
    with catalog.transaction():
        [(before,)] = catalog.execute(query).fetchall()
        assert checks.conclude("28.0", 28).removed == 3
        [(read,)] = catalog.execute(query).fetchall()
    assert read - before < 100


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ((True, None, True), "accept_removals: it needs a provider; set it, too"),
        ((True, "met", False), "accept_removals: without mark, nothing is removed; correct one of them"),
    ],
)
def test_an_acceptance_of_nothing_in_particular_is_refused(form, message):
    accept, provider, mark = form
    with pytest.raises(Refused, match=message):
        check_accepted(accept=accept, provider=provider, mark=mark)
    check_accepted(accept=False, provider=provider, mark=mark)
