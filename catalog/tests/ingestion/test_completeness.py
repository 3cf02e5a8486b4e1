"""What counts as suspicious about a load, compared with the ones before."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.ingestion.completeness import Expectations, Outcome, shortfall, too_empty, unseen, unusual
from catalog.ingestion.reasons import DELETED, SEEN, SUPPRESSED


def outcome(fetched, kept=None, rejected=0, accepted=False, **skipped):
    return Outcome(fetched, fetched if kept is None else kept, skipped, rejected, "2024-02-10", accepted)


WHOLE, DAYS = Expectations(), Expectations(windows=True)


@pytest.mark.parametrize(
    ("read", "announced", "allowed", "text"),
    [
        (5, (5, 5), (), None),
        (4, (5, 5), (), "4 of 5"),
        (0, (1, 1), (), "0 of 1"),
        (0, (0, 0), (), None),
        (990, (990, 1000), (), None),
        (989, (990, 1000), (), "989 of 990"),
        (989, (500, 1000), (), "989 of 1,000"),
        (95, (100, 100), (0.05,), None),
        (94, (100, 100), (0.05,), "94 of 100"),
        (95, (100, 100), (0.05, 3), None),  # the larger of both
        (7, (10, 10), (0.05, 3), None),
        (6, (10, 10), (0.05, 3), "6 of 10"),
        (45_000, (1, 45_000), (), None),
    ],
)
def test_unread(read, announced, allowed, text):
    found = shortfall(read, announced, *allowed)
    assert found is None if text is None else found == f"{text} announced items came"


@pytest.mark.parametrize(
    ("fetched", "kept", "windows", "proved", "fine"),
    [
        (0, 0, False, True, False),  # a provider is never empty
        (0, 0, False, False, False),
        (0, 0, True, True, True),
        (0, 0, True, False, False),
        (9, 0, False, True, False),
        (9, 0, True, True, True),  # a day may hold nothing that can be kept
        (9, 1, False, False, True),
    ],
)
def test_nothing(fetched, kept, windows, proved, fine):
    assert (too_empty(fetched, kept, windows=windows, proved=proved) is None) == fine


@pytest.mark.parametrize(("now", "fine"), [(50, True), (49, False), (40, False), (1000, True)])
def test_a_pull_is_held_against_the_last_whole_one(now, fine):
    found = unusual(outcome(now), [outcome(100), outcome(10)], WHOLE)
    assert (found == []) == fine
    if not fine:
        assert (
            f"{now} items came, 100 in the last whole pull (2024-02-10): {100 - now} % fewer".replace(
                " %", "%"
            )
            in found[0]
        )


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_small_losses_add_up(share):
    """Eight pulls, each of which has a little more than the least that is usual."""
    limits, history = Expectations(max_shrinkage=share), [outcome(1_000_000)]
    for _ in range(8):
        now = outcome(round(history[0].fetched * (1.02 - share)))
        if found := unusual(now, history, limits):
            break
        history.insert(0, now)
    assert len(history) == 2  # the second step is noticed
    assert f"{now.fetched:,} items came, 1,000,000 in an earlier whole pull (2024-02-10)" in found[0]


def test_an_accepted_shortfall_is_the_new_measure():
    history = [outcome(300, accepted=True), outcome(1_000_000)]
    assert unusual(outcome(150), history, WHOLE) == []
    assert unusual(outcome(150), [outcome(200), *history], WHOLE) == []
    assert "300 in an earlier whole pull" in unusual(outcome(149), [outcome(200), *history], WHOLE)[0]


def test_what_was_kept_is_compared_with_the_pull_that_kept_the_most():
    history = [outcome(100, kept=60), outcome(90, kept=90)]
    assert "40 items could be kept, 90 in an earlier" in unusual(outcome(100, kept=40), history, WHOLE)[0]


def test_the_share_is_the_provider_s_to_set():
    assert unusual(outcome(40), [outcome(100)], Expectations(max_shrinkage=0.7)) == []
    assert unusual(outcome(89), [outcome(100)], Expectations(max_shrinkage=0.1))


def test_what_came_but_could_not_be_kept_counts_too():
    assert "40 items could be kept, 100 in" in unusual(outcome(100, kept=40), [outcome(100)], WHOLE)[0]


def test_windows_are_held_against_the_smallest_of_several():
    near = [outcome(n) for n in (300, 80, 500, 900, 100)]
    assert unusual(outcome(40), near, DAYS) == []
    assert "39 items came, 80 in the smallest of 5 windows" in unusual(outcome(39), near, DAYS)[0]
    assert unusual(outcome(1), near[:4], DAYS) == []  # too few to know how much they vary


def test_small_losses_of_windows_add_up():
    history = [outcome(100_000)] * 30
    for _ in range(8):
        now = outcome(round(history[0].fetched * 0.52))
        if found := unusual(now, history, DAYS):
            break
        history = [now, *history[:-1]]
    assert now.fetched > 5_000
    assert "100,000 in the lower quartile of 30 windows near it" in found[0]


def test_windows_that_vary_are_no_finding():
    """A tenth of the lower quartile may come, or less where several windows had as little."""
    near = [outcome(n) for n in (50, 5_000, 90_000, 700, 4_000, 60, 300_000, 1_500)]
    assert unusual(outcome(70), near, DAYS) == []
    assert unusual(outcome(25), [*near, outcome(40), outcome(45)], DAYS) == []


def test_an_accepted_window_is_a_measure_for_those_around_it_only():
    usual = [outcome(100)] * 10
    assert unusual(outcome(6), [outcome(10, accepted=True), *usual], DAYS) == []
    assert "6 items came, 100 in the smallest" in unusual(outcome(6), usual, DAYS)[0]
    assert "6 items came, 100 in" in unusual(outcome(6), [*usual, outcome(10, accepted=True)], DAYS)[0]


def test_nothing_where_the_api_says_so():
    """A total of 0 for a whole collection is a lie, but the API has said it."""
    text = too_empty(0, 0, windows=False, proved=True, said=True)
    assert text == "nothing came at all: the API says that it has no items, which no whole collection has"
    assert too_empty(0, 0, windows=True, proved=True, said=True) is None
    assert "did not say" in str(too_empty(0, 0, windows=False, proved=True))


def test_nothing_where_that_never_happened():
    assert (
        "nothing came at all, which is not usual in the 1 windows"
        in unusual(outcome(0), [outcome(3)], DAYS)[0]
    )
    assert unusual(outcome(0), [outcome(3), outcome(0)], DAYS) == []
    assert unusual(outcome(0), [], DAYS) == []


@pytest.mark.parametrize("accepted", range(5))
def test_an_empty_window_becomes_usual_when_several_were_accepted(accepted):
    near = [outcome(0, accepted=True)] * accepted + [outcome(40)] * 25
    assert (unusual(outcome(0), near, DAYS) == []) == (accepted >= 3)
    assert unusual(outcome(0), [outcome(40)] * 10 + near, DAYS) != []  # they are further away
    assert unusual(outcome(1), near, DAYS) != []  # they say nothing about windows with items


def test_a_window_that_is_pulled_again_is_compared_with_its_last_pull():
    def same(number):
        return msgspec.structs.replace(outcome(number), same=True)

    near = [outcome(n) for n in (900, 4, 30, 1, 500, 2)]
    assert unusual(outcome(1), near, DAYS) == []
    (text,) = unusual(outcome(1), [same(40), *near], DAYS)
    assert text.startswith("1 items came, 40 in the last pull of this window: 98% fewer")
    assert unusual(outcome(1), [same(40)], DAYS) == [text]
    assert unusual(outcome(21), [same(40), *near], DAYS) == []
    assert unusual(outcome(2), [same(6), *near], DAYS) == []  # of few, five may be missing
    assert unusual(outcome(1), [same(2), same(40), *near], DAYS) == []


def test_a_window_that_had_items_is_not_empty_because_others_are():
    """Empty weekends say nothing about a Tuesday."""

    def same(number, accepted=False):
        return msgspec.structs.replace(outcome(number, accepted=accepted), same=True)

    weekends = [outcome(0, accepted=True)] * 3 + [outcome(300)] * 6
    (text,) = unusual(outcome(0), [same(400), *weekends], DAYS)
    assert text.startswith("0 items came, 400 in the last pull of this window: 100% fewer")
    assert unusual(outcome(0), [same(5), *weekends], DAYS) == []  # of few, five may be missing
    assert unusual(outcome(0), [same(5), outcome(300)], DAYS) != []
    assert unusual(outcome(0), [same(0, accepted=True), *[outcome(300)] * 6], DAYS) == []  # it was empty


def test_nobody_accepts_what_was_not_reported():
    assert unseen(outcome(5), outcome(5)) == unseen(outcome(9), outcome(5)) == []
    assert unseen(outcome(1_000), outcome(1_009)) == []
    assert unseen(outcome(3), outcome(5)) == []
    assert unseen(outcome(2), outcome(5)) == [
        "2 items came, but 5 when the shortfall was reported (2024-02-10)"
    ]
    assert "20 items could be kept, but 40 when" in unseen(outcome(50, kept=20), outcome(50, kept=40))[0]
    assert "nobody can have seen" in unseen(outcome(5), None)[0]


def announced(number, **came):
    """Return the outcome for images of a pull for which a number of items was announced."""
    return msgspec.structs.replace(outcome(came["image"]), announced=number, came=came)


def test_nobody_accepts_that_more_is_missing_than_was_reported():
    """Also if as many came: an API may stop there, whatever else it has by now."""
    seen = announced(8_100, image=8_000)
    (text,) = unseen(announced(80_000, image=8_000), seen)
    assert text.startswith("8,000 of 80,000 announced items came, but 8,000 of 8,100 when the shortfall")
    assert unseen(announced(8_181, image=8_000), seen) == []
    assert unseen(announced(8_182, image=8_000), seen) != []
    assert unseen(announced(80_000, image=79_900), seen) == []
    assert unseen(announced(None, image=8_000), seen) == []
    assert unseen(announced(80_000, image=8_000), announced(None, image=8_000)) == []


def test_what_is_announced_is_of_all_media_types():
    seen = announced(9_000, image=8_000, audio=900)
    assert unseen(announced(12_000, image=8_000, audio=3_900), seen) == []
    assert (
        "8,000 of 9,000 announced items came, but 8,900 of" in unseen(announced(9_000, image=8_000), seen)[0]
    )
    one = announced(9_000, image=8_000)  # the other one was not loaded
    assert unseen(announced(9_000, image=8_000, audio=900), one) == []
    assert unseen(announced(12_000, image=8_000, audio=900), one) != []


@pytest.mark.parametrize(
    ("rejected", "before", "fine"),
    [(4, 0, True), (20, 0, True), (21, 0, False), (50, 25, True), (51, 25, False)],
)
def test_rejects_are_held_against_what_is_usual(rejected, before, fine):
    history = [outcome(100, kept=100 - before, rejected=before)]
    found = unusual(outcome(100, kept=100 - rejected, rejected=rejected), history, WHOLE)
    assert (found == []) == fine


def test_a_few_rejects_of_a_small_pull_are_nobody_s_alarm():
    assert unusual(outcome(6, kept=3, rejected=3), [], WHOLE) == []
    assert unusual(outcome(500, kept=0, rejected=500), [], WHOLE)


def test_each_kind_of_skip_is_held_against_what_is_usual():
    history = [outcome(100, kept=70, no_license=30)]
    assert unusual(outcome(100, kept=55, no_license=45), history, WHOLE) == []
    found = unusual(outcome(100, kept=60, no_license=30, no_image=30), history, WHOLE)
    assert found == ["30 of 100 items were skipped as “no_image” (30%), where 20% is the most that is usual"]
    ours = Outcome(100, 60, {SEEN: 40}, 0)
    assert unusual(ours, history, WHOLE) == []


def test_what_was_deleted_from_the_catalog_has_come_and_could_be_kept():
    """Whether it was deleted between both pulls, or before both."""
    before = Outcome.of(100, 100, {}, 0)
    assert unusual(Outcome.of(110, 10, {DELETED: 80, SUPPRESSED: 10, SEEN: 10}, 0), [before], WHOLE) == []
    assert unusual(Outcome.of(100, 0, {DELETED: 100}, 0), [before], WHOLE) == []
    deleted = Outcome.of(100, 20, {DELETED: 80}, 0)
    found = unusual(Outcome.of(40, 20, {DELETED: 20}, 0), [deleted], WHOLE)
    assert ["40 items came, 100 in the last whole pull" in text for text in found] == [True]


def test_what_is_gone_is_never_most_of_a_pull_not_even_the_first():
    gone = Expectations(windows=True, deletion_reasons=("gone",))
    assert unusual(outcome(10, kept=5, gone=5), [], gone) == []
    assert "“gone” (60%)" in unusual(outcome(10, kept=4, gone=6), [], gone)[0]


counts = st.integers(0, 10**9)


@given(counts, counts, st.lists(st.tuples(counts, counts), max_size=8), st.booleans())
def test_any_history_gives_sentences(fetched, kept, before, windows):
    found = unusual(
        outcome(fetched, kept, rejected=kept),
        [outcome(asked, left, rejected=left) for asked, left in before],
        Expectations(windows),
    )
    assert all(isinstance(text, str) and text for text in found)


def test_a_round_that_was_read_twice_brought_no_more_than_once():
    assert Outcome.of(300, 100, {SEEN: 200}, 0).fetched == 100
    assert unusual(outcome(100), [Outcome.of(300, 100, {SEEN: 200}, 0)], WHOLE) == []
    assert unusual(Outcome.of(400, 60, {SEEN: 300}, 40), [outcome(100)], WHOLE)
