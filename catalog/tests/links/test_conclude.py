"""When a record is removed and brought back, and when nothing follows from a check."""

from collections import Counter

import psycopg
import pytest

from catalog.core.errors import Fatal
from catalog.database.deletion import Deletion, restore
from catalog.links import removal
from catalog.links.conclude import conclude
from catalog.links.estimate import wilson
from catalog.links.judging import HOST_FAILS, PROVIDER_FAILS, SAME_SIZE, SHARED_TARGET
from catalog.links.plan import Survey, plan, providers
from catalog.links.removal import MOVED, follow_renamed
from catalog.links.report import lines
from catalog.links.retention import forget
from catalog.loading.load import lock_provider
from catalog.tests.database.media import change_back
from catalog.tests.links.checks import HOST, Checks, day
from catalog.tests.values import present

pytestmark = pytest.mark.database


@pytest.fixture
def checks(catalog):
    return Checks(catalog)


def outcomes(catalog, run_id):
    rows = catalog.execute(
        "select outcome, reason, count(*) from link_check where run_id = %s and purpose <> 'control'"
        " group by 1, 2 order by 1, 2",
        [run_id],
    )
    return [tuple(row) for row in rows]


def test_three_checks_over_four_weeks(checks):
    assert checks.found("first", 0).removed == 0
    assert checks.found("second", 14).removed == 0
    assert checks.found("third", 27.9).removed == 0
    assert checks.found("fourth", 28).removed == 1
    assert checks.marked() == {"made_up1"}
    assert checks.removals() == [(None, 4)]
    assert checks.found("fifth", 35).removed == 0
    assert checks.removals() == [(None, 4)]


def test_two_checks_are_too_few_and_checks_close_to_each_other_count_once(checks):
    """As those before and after midnight, and a run that is triggered after the weekly one."""
    checks.found("first", 0.87)
    checks.found("after midnight", 0.88)
    checks.found("days later", 5.8)
    assert checks.found("last", 40).removed == 0
    assert checks.found("soon after it", 44.9).removed == 0
    assert checks.found("five days after it", 45).removed == 1


def test_weekly_runs_of_which_some_begin_late_count(checks):
    for run, when in enumerate((0, 7.9, 14, 22, 28)):
        removed = checks.found(str(run), when).removed
    assert removed == 1


def test_a_check_of_a_time_to_come_does_not_count(checks):
    """The clock was 40 days ahead in one run; later, somebody sets the database's clock right."""
    checks.found("first", 0)
    checks.found("clock ahead", 41)
    assert checks.found("clock right", 6).removed == 0
    for when in (13, 20):
        assert checks.found(f"weekly {when}", when).removed == 0
    assert checks.found("four weeks", 28).removed == 1


def test_a_removal_of_a_time_to_come_ends_when_the_file_answers(checks):
    for run, when in enumerate((400, 414, 428)):
        checks.found(f"clock ahead {run}", when)
    assert checks.marked() == {"made_up1"}
    assert checks.answers(7) == 1
    assert checks.marked() == set()


def test_an_answer_of_a_time_to_come_does_not_keep_a_record(checks):
    checks.found("clock ahead", 400, outcomes={1: "there"})
    checks.found("gone", -7)
    plan(checks.catalog, checks.survey("next"), now=day(-1), size=0, again=10)
    query = "select count(*) from link_check where run_id = 'next'"
    assert checks.catalog.execute(query).fetchone() == (1,)
    checks.removed()


def test_an_answer_in_between_starts_over(checks):
    for run, (when, outcome) in enumerate(
        [(0, "gone"), (14, "gone"), (20, "there"), (28, "gone"), (35, "gone")]
    ):
        checks.found(str(run), when, outcomes={1: outcome})
    assert checks.marked() == set()
    checks.found("unclear", 50, outcomes={1: "unclear"})  # says nothing
    assert checks.found("last", 57).removed == 1


def test_updated_on_never_goes_back(checks):
    checks.catalog.execute("update image set updated_on = now() - interval '1 hour'")
    checks.removed()  # the checks are of the past
    moments = "select count(*) from image where updated_on >= now() - interval '10 minutes'"
    assert checks.catalog.execute(moments).fetchone() == (1,)
    assert checks.answers(35) == 1
    assert checks.catalog.execute(moments).fetchone() == (1,)


def test_a_record_comes_back_when_its_file_answers(checks):
    checks.removed()
    assert checks.answers(35) == 1
    assert checks.marked() == set()
    assert checks.removals() == [("the file answers", 3)]
    # What was found before counts no more.
    checks.found("gone again", 49)
    assert checks.found("still", 67).removed == 0
    assert checks.found("for four weeks", 77).removed == 1
    assert checks.removals() == [("the file answers", 3), (None, 3)]


MARK_STAYS = "new.removed_from_source := old.removed_from_source;"


@pytest.mark.parametrize("body", ["return old;", "return null;", MARK_STAYS])
def test_a_mark_that_a_trigger_changes_back_is_not_reported(checks, caplog, body):
    change_back(checks.catalog, body)
    for run, when in enumerate((0, 14, 28, 35)):
        assert checks.found(f"run {run}", when).removed == 0
    assert (checks.marked(), checks.removals()) == (set(), [])
    assert "1 of 1 records whose files are gone are not marked: trigger theirs of image" in caplog.text


@pytest.mark.parametrize("body", ["return old;", "return null;", MARK_STAYS])
def test_a_record_that_a_trigger_keeps_removed_is_not_reported_as_back(checks, caplog, body):
    checks.removed()
    change_back(checks.catalog, body)
    assert checks.answers(35) == 0
    assert (checks.marked(), checks.removals()) == ({"made_up1"}, [(None, 3)])
    assert "1 of 1 records whose files answer stay marked: trigger theirs of image" in caplog.text
    checks.catalog.execute("drop trigger theirs on image")
    assert checks.found("again", 49, outcomes={1: "there"}).back == 1


def test_concluding_an_old_run_again_acts_on_nothing_that_newer_checks_overrule(checks):
    checks.found("first", 0)
    checks.found("second", 14)
    checks.found("third", 28, mark=False)
    checks.found("newer", 35, outcomes={1: "there"})
    assert checks.conclude("third", 36).removed == 0
    assert checks.marked() == set()


def test_a_check_that_ends_while_another_run_is_concluded_is_not_of_a_time_to_come(checks):
    """The time is read when the lock is held, which may be hours later."""
    for run, when in enumerate((0, 14)):
        checks.found(f"gone {run}", when)
    checks.found("gone 2", 28, mark=False)
    survey, held = checks.survey("gone 2"), []
    locks = "select count(*) from pg_locks where locktype = 'advisory' and granted and pid = pg_backend_pid()"

    def now():
        held.append(present(checks.catalog.execute(locks).fetchone())[0])
        if not held[-1]:
            return day(28)
        checks.write(checks.survey("other"), 1, day(29), HOST, "there", "sample")
        return day(30)

    assert conclude(checks.catalog, survey, now=now).removed == 0
    assert held == [0, 1]
    assert checks.marked() == set()


def test_concluding_an_old_run_again_brings_back_nothing_that_was_removed_since(checks):
    checks.found("old", -7, outcomes={1: "there"})
    checks.removed()
    assert checks.conclude("old", -7).back == 0
    assert checks.conclude("old", 50).back == 0
    checks.found("answers", 35, outcomes={1: "there"}, mark=False)
    checks.found("gone again", 42)
    assert checks.conclude("answers", 50).back == 0
    assert checks.marked() == {"made_up1"}


def test_only_an_answer_after_the_removal_brings_back(checks):
    checks.removed()
    checks.found("before", 35, outcomes={1: "there"}, mark=False)
    checks.catalog.execute("update link_removal set removed_on = %s", [day(40)])
    assert checks.answers(41) == 1


def test_concluding_twice_changes_nothing(checks):
    first = checks.removed().conclude("gone 2", 28)
    assert (first.removed, first.back) == (0, 0)
    before = checks.record(1)
    assert checks.conclude("gone 2", 90).removed == 0
    assert checks.record(1) == before


def test_a_target_that_two_records_share_is_no_file(checks):
    found = checks.found(
        "first", 0, outcomes={1: "there", 2: "there"}, redirect="https://example.org/missing.jpg"
    )
    assert outcomes(checks.catalog, "first") == [("unclear", SHARED_TARGET, 2)]
    assert found.removed == 0
    # Also if the other record was found by another run.
    checks.found("second", 7, outcomes={3: "there"}, redirect="https://example.org/missing.jpg")
    assert outcomes(checks.catalog, "second") == [("unclear", SHARED_TARGET, 1)]
    checks.found("third", 8, outcomes={4: "there"}, redirect="https://example.org/moved/4.jpg")
    assert outcomes(checks.catalog, "third") == [("there", None, 1)]


@pytest.mark.parametrize(
    ("known", "sizes", "doubted"),
    [
        (1000, [5, 5, 5, 77], 3),  # three of one size, which none of them had
        (None, [5, 5, 5, 77], 0),  # nothing is known
        (1000, [5, 5, 6, 7], 0),  # two may have it by chance
        (5, [5, 5, 5, 77], 0),  # they always had it
    ],
)
def test_files_of_one_size_that_had_others_may_be_a_placeholder(checks, known, sizes, doubted):
    """Of a host that answers everything, or all that is missing, by it, without a redirect."""
    survey = checks.survey("run")
    for number, size in enumerate(sizes, 1):
        checks.write(survey, number, day(0), HOST, "there", "sample")
        checks.catalog.execute(
            "update link_check set size = %s, known_size = %s where identifier = %s",
            [size, known, checks.record(number)[0]],
        )
    found = checks.found("run", 0, outcomes={9: "unclear"})
    assert (found.there, found.unclear) == (4 - doubted, doubted)
    assert ("unclear", SAME_SIZE, 3) in outcomes(checks.catalog, "run") or not doubted


@pytest.mark.parametrize(("files", "doubted"), [(3500, 4), (4500, 0)])
def test_of_many_files_some_have_one_size_by_chance(checks, files, doubted):
    """A thousandth may, of those of their host."""
    checks.catalog.execute(
        """
        insert into link_check (run_id, media_type, provider, slice, purpose, identifier, url, host,
                                checked_on, outcome, size, known_size)
        select 'run', 'image', 'made_up', 0, 'sample', gen_random_uuid(), host || n, host,
               %s, 'there', case when n <= 4 then 5 else 1000 + n end, 10
          from (values (%s, %s), ('other.example', 5500)) one (host, files), generate_series(1, files) n
        """,
        [day(0), HOST, files],
    )
    checks.found("run", 0, outcomes={9: "unclear"})
    query = "select count(*) from link_check where reason = %s and host = %s"
    assert checks.catalog.execute(query, [SAME_SIZE, HOST]).fetchone() == (doubted,)


def test_a_removal_goes_on_when_its_record_is_deleted_and_restored(checks):
    """Its mark is restored, too, and only an open removal lets checks look for the file."""
    checks.removed()
    run = Deletion(checks.catalog, "run", "image", "foreign_identifier = 'made_up1'", "by mistake", pause=0)
    run.run(run.select())
    run.finish()
    checks.found("deleted", 35, outcomes={2: "there"})
    assert checks.removals() == [("the record is deleted", 3)]
    assert restore(checks.catalog, "image", "foreign_identifier = 'made_up1'").updated == 1
    assert (checks.marked(), checks.removals()) == ({"made_up1"}, [(None, 3)])
    plan(checks.catalog, checks.survey("next"), now=day(42), size=0, again=10)
    query = "select count(*) from link_check where run_id = 'next'"
    assert checks.catalog.execute(query).fetchone() == (1,)
    assert checks.answers(49) == 1
    assert (checks.marked(), checks.removals()) == (set(), [("the file answers", 3)])


def test_a_placeholder_brings_nothing_back(checks):
    checks.removed()
    answers = {1: "there", 2: "there"}
    for when in (35, 42):  # a file would come back by its second answer
        checks.found(f"{when}", when, outcomes=answers, redirect="https://example.org/missing.jpg")
    assert checks.marked() == {"made_up1"}


@pytest.mark.parametrize("moved", [{}, {"redirect": "https://example.org/moved/1.jpg"}])
def test_one_answer_may_be_a_placeholder(checks, moved):
    """Or of a host that says yes to everything while it is repaired."""
    checks.removed()
    assert checks.found("once", 35, outcomes={1: "there"}, **moved).back == 0
    assert checks.found("soon after it", 39.9, outcomes={1: "there"}, **moved).back == 0
    assert checks.found("gone in between", 42).back == 0
    assert checks.found("starts over", 49, outcomes={1: "there"}, **moved).back == 0
    assert checks.found("five days later", 54, outcomes={1: "there"}, **moved).back == 1


def meanwhile(checks, monkeypatch, change):
    """Let something happen while a change of marks waits for a load of the provider."""

    def wait(connection, *provider):
        change()
        lock_provider(connection, *provider)

    monkeypatch.setattr(removal, "lock_provider", wait)


OPEN = """
    insert into link_removal (media_type, provider, identifier, url, first_gone_on, last_gone_on, checks,
                              run_id, removed_on)
    select 'image', provider, identifier, url, now(), now(), 3, 'other', now() from image
     where foreign_identifier = 'made_up1'
"""


@pytest.mark.parametrize(
    "change",
    [
        "there",  # another run has checked it, or did so before the mark
        "update image set url = url || '?2'",
        "update image set provider = 'other'",
        "delete from image",
        OPEN,  # somebody has taken a mark away
    ],
)
def test_a_record_that_changes_while_its_removal_waits_for_a_load_is_not_removed(
    checks, monkeypatch, caplog, change
):
    for run, when in enumerate((0, 14)):
        checks.found(f"gone {run}", when)

    def happen():
        if change == "there":
            checks.write(checks.survey("other"), 1, day(28), HOST, "there", "sample")
        else:
            where = "" if change == OPEN else " where foreign_identifier = 'made_up1'"
            checks.catalog.execute(change + where)

    before = checks.removals()
    meanwhile(checks, monkeypatch, happen)
    assert checks.found("gone 2", 28).removed == 0
    assert checks.marked() == set()
    assert checks.removals() == ([(None, 3)] if change == OPEN else before)
    assert "1 of 1 records whose files are gone are not marked: they have changed, or were" in caplog.text


@pytest.mark.parametrize("change", ["gone", "update image set url = url || '?2'"])
def test_a_record_that_changes_while_its_return_waits_for_a_load_stays_removed(checks, monkeypatch, change):
    """Another URL is a reason of its own to bring it back, by the next run."""
    checks.removed()
    checks.found("answers", 35, outcomes={1: "there"})

    def happen():
        if change == "gone":
            checks.write(checks.survey("other"), 1, day(42), HOST, "gone", "sample")
            checks.catalog.execute("update link_check set judged = true where run_id = 'other'")
        else:
            checks.catalog.execute(f"{change} where foreign_identifier = 'made_up1'")

    meanwhile(checks, monkeypatch, happen)
    assert checks.found("answers again", 42, outcomes={1: "there"}).back == 0
    assert (checks.marked(), checks.removals()) == ({"made_up1"}, [(None, 3)])


def test_a_removal_has_the_time_of_the_mark_and_not_of_the_wait(checks):
    """A data refresh that began while it waited has not seen it."""
    for run, when in enumerate((0, 14)):
        checks.found(f"gone {run}", when)
    checks.found("gone 2", 28, mark=False)
    hours = iter(range(1, 9))
    conclude(checks.catalog, checks.survey("gone 2"), now=lambda: day(28 + next(hours)))
    removed_on = present(checks.catalog.execute("select removed_on from link_removal").fetchone())[0]
    assert removed_on == day(31)  # the third time that the clock is read, after the lock


def test_no_load_of_the_provider_is_at_work_while_a_record_is_removed(checks, dsn):
    """The statement of a load does not see a removal that is committed meanwhile, and clears its mark."""
    for run, when in enumerate((0, 14)):
        checks.found(f"gone {run}", when)
    checks.found("gone 2", 28, mark=False)
    checks.catalog.execute("set lock_timeout = '100ms'")
    with psycopg.connect(dsn) as load:
        lock_provider(load, "image", "made_up")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            checks.conclude("gone 2", 28)
        assert checks.marked() == set()
    assert checks.conclude("gone 2", 28).removed == 1


@pytest.mark.parametrize("there", [0, 2])
def test_without_controls_nothing_is_gone(checks, there):
    checks.found("first", 0, there=there)
    assert outcomes(checks.catalog, "first") == [("unclear", HOST_FAILS, 1)]


def test_while_the_host_fails_nothing_is_gone(checks):
    for run, when in enumerate((0, 14, 28, 35)):
        gone = dict.fromkeys(range(2, 13), "gone")
        checks.found(str(run), when, outcomes=gone, purpose="sample", there=10, most_removed=1)
        assert outcomes(checks.catalog, str(run)) == [("gone", None, 11)]  # exactly half of the others answer
        checks.found(f"{run} more", when, outcomes=gone | {13: "unclear"}, purpose="sample", there=10)
        assert ("unclear", HOST_FAILS, 11) in outcomes(checks.catalog, f"{run} more")
    assert checks.marked() == {f"made_up{n}" for n in range(2, 13)}


def test_controls_vouch_only_for_their_own_host_and_provider(catalog):
    checks = Checks(catalog, providers=("made_up", "other"))
    checks.found("run", 0, there=0)
    checks.found("run", 0, outcomes={40: "there"}, provider="other", there=10)
    assert outcomes(catalog, "run") == [("there", None, 1), ("unclear", HOST_FAILS, 1)]
    survey = checks.survey("hosts")
    checks.write(survey, 1, day(0), "gone.example", "gone", "again")
    checks.found("hosts", 0, outcomes={2: "gone"})  # its controls are of another host
    assert outcomes(catalog, "hosts") == [("gone", None, 1), ("unclear", HOST_FAILS, 1)]


def test_while_the_provider_fails_nothing_is_gone(checks):
    survey = checks.survey("run")
    for number in range(2, 20):
        checks.write(survey, number, day(0), "other.example", "unclear", "sample", reason="timeout")
    checks.found("run", 0, there=10)
    assert ("unclear", PROVIDER_FAILS, 1) in outcomes(checks.catalog, "run")


def test_unchecked_links_are_not_concluded(checks):
    checks.found("run", 0)
    checks.catalog.execute("update link_check set checked_on = null, outcome = null where purpose = 'again'")
    with pytest.raises(Fatal, match="made_up, image: 1 links are not checked; clear the task"):
        checks.conclude("run", 0)


def test_what_is_not_planned_is_not_concluded(checks):
    """The task that plans and checks was marked as success before its first step."""
    with pytest.raises(Fatal, match="made_up, image: its links are not checked; clear the task"):
        checks.conclude("run", 0)


def test_without_marking_only_numbers_are_written(checks):
    for run, when in enumerate((0, 14, 28)):
        checks.found(str(run), when, mark=False)
    assert checks.marked() == set()
    assert checks.conclude("2", 28).removed == 1


def test_the_estimate_is_of_the_sample(checks):
    found = checks.found(
        "run", 0, outcomes={n: "gone" if n < 4 else "there" for n in range(1, 13)}, purpose="sample"
    )
    assert (found.there, found.gone, found.unclear) == (9, 3, 0)
    stored = checks.catalog.execute("select there, gone, share, low, high from link_survey").fetchone()
    assert stored == (9, 3, *found.estimate)
    assert found.estimate.share == 0.25
    assert 0.08 < found.estimate.low < 0.25 < found.estimate.high < 0.54


def test_there_is_no_estimate_while_the_host_fails(checks):
    """Most files are gone, or the host fails as a whole: nobody knows, and it is not 0 %."""
    outcomes = {n: "gone" if n < 9 else "there" for n in range(1, 13)}
    found = checks.found("run", 0, outcomes=outcomes, purpose="sample", there=0)
    assert (found.there, found.gone, found.unclear, found.estimate) == (4, 0, 8, None)
    stored = checks.catalog.execute("select share, low, high from link_survey").fetchone()
    assert stored == (None, None, None)


def test_a_few_unreliable_outcomes_widen_the_interval(checks):
    survey = checks.survey("run")
    checks.write(survey, 40, day(0), "other.example", "gone", "sample")  # without controls
    found = checks.found("run", 0, outcomes=dict.fromkeys(range(1, 21), "there"), purpose="sample")
    assert (found.there, found.gone, found.unclear) == (20, 0, 1)
    assert found.estimate == (0.0, 0.0, present(wilson(1, 21)).high)


@pytest.mark.parametrize(
    ("concluded", "after", "kept"), [(False, 61, False), (True, 61, True), (True, 401, False)]
)
def test_a_survey_whose_checks_were_forgotten_is_not_judged(checks, concluded, after, kept):
    """Its numbers would be those of a part of them."""
    checks.found("run", 0)
    if not concluded:
        checks.catalog.execute("update link_survey set concluded_on = null")
    before = checks.catalog.execute("select * from link_survey").fetchall()
    if kept:
        checks.conclude("run", after)
    else:
        with pytest.raises(Fatal, match="no longer kept; nothing is changed"):
            checks.conclude("run", after)
    assert checks.catalog.execute("select * from link_survey").fetchall() == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("update image set url = url || '?2', removed_from_source = false", "the record has another URL"),
        ("update image set url = url || '?2'", MOVED),
        ("update image set removed_from_source = false", "the mark was removed"),
        ("delete from image", "the record is deleted"),
    ],
)
def test_a_removal_that_others_overrule_ends(checks, change, why):
    checks.removed()
    checks.catalog.execute(f"{change} where foreign_identifier = 'made_up1'")
    checks.found("next", 35, outcomes={2: "there"})
    assert checks.removals() == [(why, 3)]
    assert checks.marked() == set()
    assert sum(line.back for line in lines(checks.catalog, "next")) == (why == MOVED)


def test_judging_a_slice_reads_only_removals_of_its_records(catalog):
    checks = Checks(catalog, rows=3000)
    catalog.execute("update image set removed_from_source = true")
    catalog.execute(
        "insert into link_removal (media_type, provider, identifier, url, first_gone_on, last_gone_on,"
        " checks, run_id, removed_on)"
        " select 'image', provider, identifier, url, now(), now(), 3, 'old', %s from image",
        [day(0)],
    )
    one = Survey("slices", "image", "made_up", 1, 300)
    plan(catalog, one, now=day(7), size=0, again=0)
    catalog.execute("update link_check set checked_on = %s, outcome = 'there'", [day(7)])
    catalog.execute("""
        insert into link_check (run_id, media_type, provider, slice, purpose, identifier, url, host,
                                checked_on, outcome, judged)
        select 'before', media_type, provider, slice, purpose, identifier, url, host,
               checked_on - interval '6 days', outcome, true from link_check
    """)
    moved = (
        "update image set url = url || '?2' where identifier in (select identifier from link_check limit 1)"
    )
    catalog.execute(moved)
    catalog.execute("vacuum analyze image, link_check, link_removal")
    planned = present(catalog.execute("select count(*) from link_check").fetchone())[0] // 2
    assert 3 < planned < 30

    def read():
        query = (
            "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'link_removal'"
        )
        return present(catalog.execute(query).fetchone())[0]

    with catalog.transaction():
        found = conclude(catalog, one, now=lambda: day(7.1))
        assert found.back == planned
        assert read() < 20 * planned
    ended = [why for why, _ in checks.removals() if why]
    assert Counter(ended) == {"the file answers": planned - 1, MOVED: 1}


def test_a_sample_reads_as_many_removals_as_it_checks(catalog, monkeypatch):
    """However many are open: those that wait longest, of them those of deleted records first."""
    monkeypatch.setattr("catalog.links.removal.LOOKED_AT", 20)
    checks = Checks(catalog, rows=3000)
    catalog.execute("update image set removed_from_source = true")
    catalog.execute(
        "insert into link_removal (media_type, provider, identifier, url, first_gone_on, last_gone_on,"
        " checks, run_id, removed_on, checked_on)"
        " select 'image', provider, identifier, url, now(), now(), 3, 'old', %s,"
        " timestamptz '2024-01-01' + substr(foreign_identifier, 8)::integer * interval '1 hour' from image",
        [day(0)],
    )
    catalog.execute("delete from image where foreign_identifier in ('made_up2', 'made_up5')")
    catalog.execute("vacuum analyze image, link_removal")

    def reads():
        query = (
            "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'link_removal'"
        )
        return present(catalog.execute(query).fetchone())[0]

    for run, expected in (("one", {1, 3, 4, 6, 7}), ("two", {8, 9, 10, 11, 12})):
        one = checks.survey(run)
        with catalog.transaction():
            before = reads()
            plan(catalog, one, now=day(7), size=5, again=5)
            assert reads() - before < 20
        catalog.execute("update link_check set checked_on = %s, outcome = 'gone'", [day(7)])
        catalog.execute("vacuum analyze link_check")
        with catalog.transaction():
            before = reads()
            conclude(catalog, one, now=lambda: day(7.1))
            assert reads() - before < 300
        again = catalog.execute(
            "select substr(foreign_identifier, 8)::int from link_check join image using (identifier)"
            " where run_id = %s",
            [run],
        )
        assert {number for (number,) in again} == expected
    assert [why for why, _ in checks.removals() if why] == ["the record is deleted"] * 2


def test_removals_follow_their_records_to_another_provider(catalog):
    """One record with its URL, or all of a provider that is renamed."""
    checks = Checks(catalog, providers=("made_up", "other")).removed()
    catalog.execute("update image set provider = 'other' where foreign_identifier = 'made_up1'")
    checks.found("passed", 35, outcomes={2: "there"})
    assert checks.removals() == [(None, 3)]
    plan(catalog, checks.survey("next", "other"), now=day(36), size=0, again=10)
    query = "select identifier from link_check where run_id = 'next'"
    assert [row[0] for row in catalog.execute(query)] == [checks.record(1)[0]]
    catalog.execute("update image set provider = 'renamed' where provider = 'other'")
    follow_renamed(catalog, providers(catalog))
    assert catalog.execute("select provider from link_removal").fetchall() == [("renamed",)]


def test_a_removal_follows_its_record_from_http_to_https(checks):
    """As the rule `urls` of `clean_catalog` changes it. The file is as gone as before, until it answers."""
    checks.catalog.execute("update image set url = replace(url, 'https:', 'http:')")
    checks.removed()
    checks.catalog.execute("update image set url = replace(url, 'http:', 'https:')")
    assert checks.found("after", 35).back == 0
    assert (checks.marked(), checks.removals()) == ({"made_up1"}, [(None, 3)])
    assert checks.answers(42) == 1
    assert checks.removals() == [("the file answers", 3)]


def test_a_record_that_passed_to_another_provider_is_removed_again(catalog):
    """Its open removal is of its old provider and URL."""
    checks = Checks(catalog, providers=("made_up", "other")).removed()
    catalog.execute("delete from image where foreign_identifier = 'other1'")
    catalog.execute(
        "update image set provider = 'other', url = url || '?2', removed_from_source = false,"
        " foreign_identifier = 'other1' where foreign_identifier = 'made_up1'"
    )
    for run, when in enumerate((35, 49, 63, 77)):
        checks.found(f"other {run}", when, provider="other")
    assert checks.removals() == [("the record has another URL", 3), (None, 3)]


def test_other_records_that_are_marked_stay_as_they_are(checks):
    checks.catalog.execute(
        "update image set removed_from_source = true where foreign_identifier = 'made_up2'"
    )
    for run, (when, outcome) in enumerate([(0, "gone"), (14, "gone"), (28, "gone"), (35, "there")]):
        checks.found(str(run), when, outcomes={2: outcome})
    assert checks.marked() == {"made_up2"}
    assert checks.removals() == []


def test_old_checks_are_forgotten(checks):
    checks.found("old", 0)
    checks.found("new", 300)
    checks.catalog.execute("insert into rate_limit values ('links of a.example', now() - interval '2 days')")
    checks.catalog.execute(
        "insert into link_pause values ('a', '', %s, 1, 60), ('b', '', %s, 1, 60)", [day(399.9), day(400.1)]
    )
    forget(checks.catalog, day(401))
    assert checks.catalog.execute("select host from link_pause").fetchall() == [("b",)]
    runs = "select distinct run_id from link_check"
    assert checks.catalog.execute(runs).fetchall() == [("new",)]
    assert checks.catalog.execute("select count(*) from rate_limit").fetchone() == (0,)
