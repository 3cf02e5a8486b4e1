"""When a pull counts as whole: totals, gaps, what a later attempt reads, accepted shortfalls."""

import contextlib
from datetime import UTC, date, datetime
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.core.errors import (
    DetailsAway,
    Fatal,
    Interrupted,
    NotWhole,
    QuotaExhausted,
    Retry,
    SkippedErrors,
    UnexpectedResponse,
)
from catalog.ingestion.reasons import SEEN
from catalog.ingestion.state import MemoryCheckpoint
from catalog.ingestion.windows import day_window
from catalog.provider_api import Page, Paginator, Skip, Tokens
from catalog.tests.ingestion.test_pull import Example, Scripted, image, provider, pull, rows
from catalog.tests.providers.fake_api import client as api_client
from catalog.tests.values import present


class Announced(Paginator):
    """Pages of (items, total) by number; the API says which page follows, also after an empty one."""

    def __init__(self, *pages):
        self.pages, self.asked = list(pages), []

    def start(self, params):
        return {"page": 0}

    def fetch(self, client, cursor, params):
        number = cursor["page"]
        self.asked.append(number)
        items, total = self.pages[number]
        if isinstance(items, Exception):
            raise items
        return Page(items, {"page": number + 1} if number + 1 < len(self.pages) else None, total)

    def skip(self, cursor):
        return {"page": cursor["page"] + 1} if cursor["page"] + 1 < len(self.pages) else None


def test_what_was_read_is_held_against_what_was_announced(tmp_path):
    checkpoint = MemoryCheckpoint()
    pulled = pull(tmp_path, provider(Announced((["a", "b"], 5), (["c"], 5))), checkpoint)
    with pytest.raises(NotWhole, match="3 of 5 announced items came"):
        pulled.run()
    manifest = pulled.parts.load()
    assert (manifest.complete, manifest.shortfalls) == (
        False,
        ["3 of 5 announced items came (the whole list)"],
    )
    assert rows(pulled) == ["a", "b", "c"]  # it is loaded all the same

    again = pull(tmp_path, provider(Announced((["a", "b"], 5), (["c", "d", "e"], 5))), checkpoint)
    assert (
        again.run().complete
    )  # cleared: the round is walked again, and what it has brought is not written twice
    assert rows(again) == ["a", "b", "c", "d", "e"]
    assert again.parts.load().counts["image"].skipped == {SEEN: 3}


def test_a_last_page_that_is_read_twice_brings_each_record_once(tmp_path):
    """Items that have other views in the second response are the same records; one that it lacks counts."""
    views = count()

    class Viewed(Example):
        pages = Tokens("https://example.org", items="items", param="cursor", following="next")

        def record(self, raw):
            return image(raw["id"])

    def answer(url, params):
        names = "ab" if (seen := next(views)) else "abc"
        return {"items": [{"id": name, "views": seen} for name in names]}

    pulled = pull(tmp_path, Viewed(), client=api_client(answer))
    counts = pulled.run().counts["image"]
    assert rows(pulled) == ["a", "b", "c"]
    assert (counts.fetched, counts.written, counts.skipped) == (5, 3, {SEEN: 2})


def test_a_round_that_stays_short_stays_red(tmp_path):
    checkpoint, pages = MemoryCheckpoint(), [(["a"], 2)]
    for _ in range(3):
        with pytest.raises(NotWhole, match="1 of 2"):
            pull(tmp_path, provider(Announced(*pages)), checkpoint).run()


def test_a_person_accepts_what_is_short(tmp_path):
    manifest = pull(tmp_path, provider(Announced((["a"], 5))), accept_shortfall=True).run()
    assert (manifest.complete, manifest.whole, manifest.accepted) == (True, True, True)
    assert manifest.shortfalls == ["1 of 5 announced items came (the whole list)"]


def test_acceptance_covers_no_page_that_failed(tmp_path):
    pages = Announced((["a"], 9), (Retry("down"), 9), (["c"], 9))
    with pytest.raises(SkippedErrors, match="down"):
        pull(tmp_path, provider(pages), skip_errors=True, accept_shortfall=True).run()


def test_the_state_holds_what_json_has_and_nothing_else(tmp_path):
    """Airflow's store refuses a tuple."""

    class Strict(MemoryCheckpoint):
        def save(self, state):
            assert orjson.loads(orjson.dumps(state)) == state
            super().save(state)

    checkpoint = Strict()
    with pytest.raises(NotWhole):
        pull(tmp_path, provider(Announced((["a"], 3), (["b"], 3))), checkpoint).run()
    assert present(checkpoint.state)["gaps"]


@pytest.mark.parametrize(
    ("totals", "whole"),
    [
        ((2, 2), True),
        ((3, 3), False),
        ((5, 0), False),  # a total that collapses is a lie: the highest counts
        ((1000, 2), False),
        ((1, 1), True),  # more came than was announced
    ],
)
def test_totals_that_change(tmp_path, totals, whole):
    pulled = pull(tmp_path, provider(Announced((["a"], totals[0]), (["b"], totals[1]))))
    if whole:
        assert pulled.run().complete
    else:
        with pytest.raises(NotWhole):
            pulled.run()


def test_totals_drift_while_a_long_list_is_read(tmp_path):
    """Three of a thousand items are taken down meanwhile; the API says so."""
    items = [f"i{n}" for n in range(997)]
    assert pull(tmp_path, provider(Announced((items[:500], 1000), (items[500:], 997)))).run().complete


def test_a_provider_whose_totals_are_known_to_lie(tmp_path):
    items = [f"i{n}" for n in range(96)]
    pages = [(items, 100)]
    assert pull(tmp_path / "lies", provider(Announced(*pages), total_tolerance=0.05)).run().complete
    with pytest.raises(NotWhole, match="96 of 100"):
        pull(tmp_path / "truth", provider(Announced(*pages))).run()


@pytest.mark.parametrize("allowed", [{"total_tolerance": 0.5}, {"total_surplus": 90}])
def test_a_total_that_is_not_exact_hides_no_page_that_is_half_empty(tmp_path, allowed):
    items = iter(range(300))
    pages = Announced(*(([f"i{next(items)}" for _ in range(n)], 300) for n in (100, 50, 100)))
    pages.uniform = True
    with pytest.raises(NotWhole, match="a page in the middle holds 50 items, another 100"):
        pull(tmp_path, provider(pages, **allowed)).run()


def test_a_limited_pull_is_not_held_against_totals_and_says_that_it_is_limited(tmp_path):
    manifest = pull(tmp_path, provider(Announced((["a", "b"], 500))), limit=1).run()
    assert (manifest.complete, manifest.whole) == (True, False)


def test_nothing_at_all_is_not_whole(tmp_path):
    checkpoint = MemoryCheckpoint()
    with pytest.raises(NotWhole, match="nothing came at all"):
        pull(tmp_path, provider([[]]), checkpoint).run()
    again = pull(tmp_path, provider([["a"]]), checkpoint)  # cleared: everything is asked for again
    assert again.run().complete
    assert rows(again) == ["a"]


def test_a_whole_collection_of_which_the_api_says_that_it_is_empty(tmp_path):
    with pytest.raises(NotWhole, match="nothing came at all: the API says that it has no items"):
        pull(tmp_path, provider(Announced(([], 0)))).run()


@pytest.mark.parametrize(
    ("lists", "names", "requests"),
    [
        (["", "ab"], ["a", "b"], 2),  # as while an index is exchanged
        (["", ""], [], 2),
        (["ab"], ["a", "b"], 1),
    ],
)
def test_an_only_page_that_is_said_to_be_empty_is_asked_for_again(tmp_path, lists, names, requests):
    class Dated(Example):
        pages = Tokens("https://example.org", items="items", param="cursor", following="next", total="n")
        dated, schedule = True, "@daily"

        def record(self, raw):
            return image(raw)

    asked = []

    def answer(url, params):
        asked.append(url)
        listed = lists[len(asked) - 1]
        return {"items": [*listed], "n": len(listed)}

    pulled = pull(tmp_path, Dated(), client=api_client(answer), window=day_window(date(2024, 2, 10)))
    manifest = pulled.run()
    assert rows(pulled) == names
    assert (manifest.whole, manifest.announced, len(asked)) == (True, len(names), requests)


@pytest.mark.parametrize("lies", [("r0",), ("r1",), ("r0", "r1", "r2")])
def test_each_round_that_is_said_to_be_empty_is_asked_for_again(tmp_path, lies):
    """Rounds that are empty are asked for twice, others only once."""

    class Parted(Example):
        pages = Tokens("https://example.org", items="items", param="cursor", following="next", total="n")

        def rounds(self, client, window):
            return [{"part": f"r{n}"} for n in range(4)]

        def record(self, raw):
            return image(raw)

    asked = []

    def answer(url, params):
        asked.append(part := params["part"])
        nothing = part == "r3" or (part in lies and asked.count(part) == 1)
        return {"items": [] if nothing else [part], "n": 0 if nothing else 1}

    pulled = pull(tmp_path, Parted(), client=api_client(answer))
    assert pulled.run().announced == 3
    assert rows(pulled) == ["r0", "r1", "r2"]
    assert asked == [f"r{n}" for n in range(4) for _ in range(2 if n == 3 or f"r{n}" in lies else 1)]


def test_nothing_that_could_be_kept_is_not_whole(tmp_path):
    with pytest.raises(NotWhole, match="none of the 3 items that came could be kept"):
        pull(tmp_path, provider([["skip", "poison", "skip"]])).run()


@pytest.mark.parametrize(
    ("pages", "whole"),
    [
        ([40, 40, 7], True),
        ([40, 40], True),
        ([40, 38, 40, 1], True),
        ([40, 20, 40, 40], False),
        ([20, 40, 7], False),
        ([40, 0, 40], False),  # an empty page that names a next one
        ([7], True),
    ],
)
def test_pages_that_are_too_short_where_no_total_is_announced(tmp_path, pages, whole):
    """A server that caps one page, or lost items: only the size of the page shows it."""
    counter = iter(range(1000))
    numbered = Announced(*(([f"i{next(counter)}" for _ in range(n)], None) for n in pages))
    numbered.uniform = True
    pulled = pull(tmp_path, provider(numbered))
    if whole:
        assert pulled.run().complete
    else:
        with pytest.raises(NotWhole, match="a page in the middle holds"):
            pulled.run()


DOWN: tuple[Retry, None] = (Retry("down"), None)  # a page that fails


def test_a_round_with_a_failed_page_is_compared_once_that_page_is_read(tmp_path):
    checkpoint = MemoryCheckpoint()
    first = pull(
        tmp_path, provider(Announced((["a", "b"], 6), DOWN, (["d"], 6))), checkpoint, skip_errors=True
    )
    with pytest.raises(SkippedErrors, match="Only then are their lists compared with the announced totals"):
        first.run()
    assert present(first.parts.load()).announced is None  # the round has not ended

    again = pull(tmp_path, provider(Announced((["a", "b"], 6), (["c"], 6), (["d"], 6))), checkpoint)
    with pytest.raises(NotWhole, match="4 of 6 announced items came"):
        again.run()
    assert again.provider.pages.asked == [1]

    third = pull(tmp_path, provider(Announced((["a", "b"], 6), (["c"], 6), (["d", "e", "f"], 6))), checkpoint)
    manifest = third.run()
    assert rows(third) == ["a", "b", "d", "c", "e", "f"]
    assert (manifest.whole, manifest.announced, manifest.shortfalls) == (True, 6, [])


def test_failed_pages_of_a_round_and_its_last_one_count_together(tmp_path):
    """Also when one of them fails again, and the pull is stopped in between."""
    checkpoint, good = (
        MemoryCheckpoint(),
        [(["a", "b"], 7), (["c"], 7), (["d"], 7), (["e", "f"], 7), (["g"], 7)],
    )
    for failing, stop, error in (
        ({1, 3, 4}, False, SkippedErrors),
        ({3}, True, Interrupted),
        ({3}, False, SkippedErrors),
    ):
        pages = provider(Announced(*(DOWN if n in failing else page for n, page in enumerate(good))))
        with pytest.raises(error):
            pull(tmp_path, pages, checkpoint, skip_errors=True, should_stop=lambda s=stop: s).run()
    last = pull(tmp_path, provider(Announced(*good)), checkpoint)
    assert last.run().announced == 7
    assert last.provider.pages.asked == [3]
    assert sorted(rows(last)) == list("abcdefg")


def test_a_failed_page_that_brings_known_items_fills_no_gap(tmp_path):
    """Meanwhile, the items have moved to other pages."""
    checkpoint = MemoryCheckpoint()
    pages = Announced((["a", "b"], 5), DOWN, (["e"], 5))
    with pytest.raises(SkippedErrors):
        pull(tmp_path, provider(pages), checkpoint, skip_errors=True).run()
    with pytest.raises(NotWhole, match="4 of 5 announced items came"):
        pull(tmp_path, provider(Announced((["c", "x"], 5), (["a", "d"], 5), (["e"], 5))), checkpoint).run()


def test_a_stopped_pull_recognises_what_its_round_has_read(tmp_path):
    """The API's order changes while the pull is stopped; its pages are full, but hold known items."""
    checkpoint, pages = MemoryCheckpoint(), [(["a", "b"], 4), (["c", "d"], 4)]
    with pytest.raises(Interrupted):
        pull(tmp_path, provider(Announced(*pages)), checkpoint, should_stop=lambda: True).run()
    with pytest.raises(NotWhole, match="2 of 4 announced items came"):
        pull(tmp_path, provider(Announced((["c", "d"], 4), (["a", "b"], 4))), checkpoint).run()
    again = pull(tmp_path, provider(Announced(*pages)), checkpoint)
    assert again.run().whole
    assert set(rows(again)) == set("abcd")


def test_a_stopped_pull_recognises_what_its_round_has_passed_over(tmp_path):
    """A reject and, on the second walk through the round, all that the first one wrote."""
    checkpoint = MemoryCheckpoint()
    short = [(["a", "unlicensed"], 4), (["c", "a"], 4)]
    with pytest.raises(Interrupted):
        pull(tmp_path, provider(Announced(*short)), checkpoint, should_stop=lambda: True).run()
    with pytest.raises(NotWhole, match="2 of 4 announced items came"):
        pull(tmp_path, provider(Announced(short[1], (["unlicensed", "a"], 4))), checkpoint).run()
    with pytest.raises(Interrupted):  # walks through the round again
        pull(tmp_path, provider(Announced(*short)), checkpoint, should_stop=lambda: True).run()
    with pytest.raises(NotWhole, match="3 of 4 announced items came"):
        pull(tmp_path, provider(Announced(short[1], (["unlicensed", "c"], 4))), checkpoint).run()
    again = pull(tmp_path, provider(Announced((["a", "unlicensed"], 4), (["c", "d"], 4))), checkpoint)
    assert again.run().whole
    assert set(rows(again)) == set("acd")


def test_a_stopped_round_that_begins_again_counts_its_items_again(tmp_path):
    class Rebuilt(Announced):
        def fetch(self, client, cursor, params):
            page = super().fetch(client, cursor, params)
            page.restarted = cursor["page"] == 1
            return page

    checkpoint, pages = MemoryCheckpoint(), [(["a", "b"], 3), (["a"], 3), (["b"], 3), (["c"], 3)]
    for _ in range(len(pages)):
        with pytest.raises(Interrupted):
            pull(tmp_path, provider(Rebuilt(*pages)), checkpoint, should_stop=lambda: True).run()
    last = pull(tmp_path, provider(Rebuilt(*pages)), checkpoint)
    assert last.run().announced == 3
    assert last.provider.pages.asked == [], "nothing was missing"


class Builds(Paginator):
    """Pages of (items, number of the build); where the build changes, the round begins again."""

    def __init__(self, *pages, skips):
        self.pages, self.skips = pages, skips

    def start(self, params):
        return {"page": 0}

    def fetch(self, client, cursor, params):
        number = cursor["page"]
        items, restarted = self.pages[number]
        if isinstance(items, Exception):
            raise items
        following = {"page": number + 1} if number + 1 < len(self.pages) else None
        return Page(items, following, 3, restarted=restarted)

    def skip(self, cursor):
        return {"page": cursor["page"] + 1} if self.skips else None


def test_failed_pages_of_an_earlier_build_are_not_missing(tmp_path):
    pages = Builds((["a"], False), DOWN, (["a", "b"], True), (["c"], False), skips=True)
    assert pull(tmp_path, provider(pages), skip_errors=True).run().announced == 3


def test_items_of_an_earlier_build_do_not_make_up_for_missing_ones(tmp_path):
    checkpoint = MemoryCheckpoint()
    old = Builds((["a", "b"], False), DOWN, skips=False)
    with pytest.raises(SkippedErrors):
        pull(tmp_path, provider(old), checkpoint, skip_errors=True).run()
    new = Builds((["a", "b"], False), (["b"], True), (["c"], False), skips=False)
    with pytest.raises(NotWhole, match="2 of 3 announced items came"):
        pull(tmp_path, provider(new), checkpoint).run()


ITEMS = 8  # on four pages
an_attempt = st.tuples(
    st.permutations(range(ITEMS)), st.sets(st.integers(0, 3), max_size=2), st.sampled_from([None, 1, 2])
)


@settings(max_examples=80, deadline=None)
@given(attempts=st.lists(an_attempt, max_size=5), withheld=st.integers(0, 2))
def test_only_a_pull_with_all_announced_items_is_whole(tmp_path_factory, attempts, withheld):
    """Whichever pages fail, wherever it is stopped, and however the order changes between attempts."""
    folder, checkpoint = tmp_path_factory.mktemp("pull"), MemoryCheckpoint()
    undisturbed: tuple[list[int], set[int], None] = (list(range(ITEMS)), set(), None)
    for order, failing, stop in [*attempts, undisturbed, undisturbed, undisturbed]:
        walked_again = b'"written":[' in orjson.dumps(checkpoint.state)
        pages: list[tuple[Any, int | None]] = [
            ([f"i{item}" for item in order[n : n + 2]], ITEMS + withheld) for n in range(0, ITEMS, 2)
        ]
        if not walked_again:  # what that walk does not write again, because it is known, is not recognised
            pages = [DOWN if n in failing else page for n, page in enumerate(pages)]
        calls = count(1)
        pulled = pull(
            folder,
            provider(Announced(*pages)),
            checkpoint,
            skip_errors=True,
            should_stop=lambda c=calls, s=None if walked_again else stop: next(c) == s,
        )
        with contextlib.suppress(Interrupted, SkippedErrors, NotWhole):
            assert pulled.run().whole
            assert not withheld
            assert set(rows(pulled)) == {f"i{item}" for item in range(ITEMS)}
            return
    assert withheld, "an API that gives everything ends in a whole pull"


def test_what_came_before_fills_no_gap(tmp_path):
    """A page that repeats items, and differs only in a counter, does not make up for missing items."""

    class Counting(Example):
        name = "example"

        def record(self, raw):
            return image(raw["id"])

    pages = [
        ([{"id": "a", "views": 1}, {"id": "b", "views": 1}], 4),
        ([{"id": "a", "views": 2}, {"id": "c"}], 4),
    ]
    Counting.pages = Announced(*pages)
    with pytest.raises(NotWhole, match="3 of 4 announced items came"):
        pull(tmp_path, Counting()).run()


def test_clearing_a_pull_of_which_nothing_could_be_kept_reads_it_again(tmp_path):
    checkpoint = MemoryCheckpoint()
    with pytest.raises(NotWhole):
        pull(tmp_path, provider([["skip", "poison"]]), checkpoint).run()
    again = pull(tmp_path, provider([["a", "skip"]]), checkpoint)
    assert again.run().complete
    assert rows(again) == ["a"]


ODD = "caf\udce9 \ud800"  # what a lenient reader makes of a wrong byte and of half a character


@pytest.mark.parametrize("error", [Retry(ODD), Fatal(ODD)])
def test_an_error_text_that_no_file_can_hold(tmp_path, error):
    failing = pull(tmp_path, provider([["a"], error]))
    with pytest.raises(type(error)):
        failing.run()
    assert failing.parts.load().error.startswith(f"{type(error).__name__}: caf")
    passing = pull(tmp_path / "passed over", provider([["a"], error, ["b"]]), skip_errors=True)
    with pytest.raises(SkippedErrors):
        passing.run()


def test_a_reason_that_no_file_can_hold(tmp_path):
    class Odd(Example):
        name = "example"

        def record(self, raw):
            return Skip(f"of kind {ODD}") if raw == "odd" else image(raw)

    Odd.pages = Scripted([["odd", "a"]])
    counts = pull(tmp_path, Odd()).run().counts["image"]
    assert counts.skipped == {"of kind caf": 1}


@pytest.mark.parametrize("stored", [{"version": 1}, "x", {"version": 2}, []])
def test_a_state_that_cannot_be_used_and_an_api_that_is_down(tmp_path, stored):
    failing = pull(tmp_path, provider([Retry("down")]), MemoryCheckpoint(stored))
    with pytest.raises(Retry, match="down"):
        failing.run()
    assert failing.parts.load().error == "Retry: down"


# Passing over errors, with an API of tokens


def token_api(bad):
    """Ten pages of tokens; the page numbers in `bad` answer with an error."""

    def answer(url, params):
        number = int(params["t"])
        if number in bad:
            return 500, {"message": "down"}
        return {"items": [f"item {number}"], "next": number + 1 if number < 9 else None, "total": 10}

    return answer


TOKENS = Tokens(
    "https://example.org/items", items="items", param="t", following="next", first="0", total="total"
)


def pull_tokens(folder, bad, checkpoint, **options):
    pulled = pull(folder, provider(TOKENS), checkpoint, **options)
    pulled.client = api_client(token_api(bad), retries=0)
    return pulled


def test_a_token_page_that_is_passed_over_takes_the_rest_with_it_and_clearing_reads_all_of_it(tmp_path):
    checkpoint = MemoryCheckpoint()
    first = pull_tokens(tmp_path, {4}, checkpoint, skip_errors=True)
    with pytest.raises(SkippedErrors, match="and what follows in this round, which only that page names"):
        first.run()
    assert rows(first) == [f"item {n}" for n in range(4)]
    second = pull_tokens(tmp_path, {7}, checkpoint, skip_errors=True)
    with pytest.raises(SkippedErrors):
        second.run()
    third = pull_tokens(tmp_path, set(), checkpoint)
    assert third.run().complete  # 10 of 10 over all attempts
    assert rows(third) == [f"item {n}" for n in range(10)]


def test_the_first_token_page_that_is_passed_over(tmp_path):
    checkpoint = MemoryCheckpoint()
    with pytest.raises(SkippedErrors):
        pull_tokens(tmp_path, {0}, checkpoint, skip_errors=True).run()
    again = pull_tokens(tmp_path, set(), checkpoint)
    assert again.run().complete
    assert len(rows(again)) == 10


def test_a_used_up_quota_is_never_passed_over(tmp_path):
    pages = provider([["a"], QuotaExhausted("used up", datetime.now(UTC)), ["c"]])
    with pytest.raises(QuotaExhausted):
        pull(tmp_path, pages, skip_errors=True).run()
    assert pages.pages.asked == [0, 1]


# States that cannot be used


GOOD = {
    "token": "t",
    "started": "2024-01-01T00:00:00Z",
    "rounds": [{"params": {}}],
    "round": 0,
    "pages": 0,
    "version": 2,
}


@pytest.mark.parametrize(
    "broken",
    [
        [],
        "text",
        7,
        {},
        {**GOOD, "version": 1},
        {**GOOD, "version": "2"},
        {**GOOD, "rounds": None},
        {**GOOD, "rounds": [{"cursor": {}}]},
        {**GOOD, "round": 5},
        {**GOOD, "round": -1},
        {**GOOD, "pages": -3},
        {**GOOD, "pages": "many"},
        {**GOOD, "counts": {"image": 3}},
        {**GOOD, "announced": [1]},
        {k: v for k, v in GOOD.items() if k != "token"},
        {**GOOD, "round": 1},  # at its end, and nothing had come
        {**GOOD, "rounds": [{"params": {}, "of": 1}]},
        {**GOOD, "failed": True},  # of a release that did not note of which round a failed page is
        {**GOOD, "rounds": [{"params": {}, "cursor": {"page": 1}, "rest": True, "read": 3}]},
    ],
    ids=repr,
)
def test_a_state_that_cannot_be_used_starts_over(tmp_path, caplog, broken):
    caplog.set_level("INFO")
    pulled = pull(tmp_path, provider([["a"], ["b"]]), MemoryCheckpoint(broken))
    assert pulled.run().complete
    assert rows(pulled) == ["a", "b"]
    assert "starting over" in caplog.text.lower()


@pytest.mark.parametrize(
    ("away", "requests"),
    [
        ({"a": 1}, 4),
        ({"c": 3}, 6),  # the last one: the API may still be away
        ({"b": 1, "c": 1}, 5),
    ],
)
def test_details_that_were_away_for_a_while_are_had_afterwards(tmp_path, away, requests):
    asked = []

    class Detailed(Example):
        pages, concurrency = Scripted([["a", "b", "c"]]), 1

        def detail(self, raw, client):
            asked.append(raw)
            if asked.count(raw) <= away.get(raw, 0):
                raise Retry("down")
            return raw

    pulled = pull(tmp_path, Detailed())
    counts = pulled.run().counts["image"]
    assert (rows(pulled), counts.rejected, len(asked)) == (["a", "b", "c"], {}, requests)


@pytest.mark.parametrize(
    ("error", "requests"),
    [(UnexpectedResponse("no title"), 3), (Fatal("no such item"), 3), (ValueError("no number"), 3)],
)
def test_details_that_cannot_be_had_are_a_reject(tmp_path, error, requests):
    asked = []

    class Detailed(Example):
        pages, concurrency = Scripted([["a", "b", "c"]]), 1

        def detail(self, raw, client):
            asked.append(raw)
            if raw == "b":
                raise error
            return raw

    counts = pull(tmp_path, Detailed()).run().counts["image"]
    [reason] = counts.rejected
    assert (counts.written, reason.startswith(f"details failed: {type(error).__name__}")) == (2, True)
    assert len(asked) == requests


def detailed(pages, failing, **attributes):
    """Return a provider whose API does not answer for the details of some items."""

    def detail(self, raw, client):
        if raw in failing:
            raise Retry("down")
        return raw

    return provider(pages, detail=detail, concurrency=1, **attributes)


AWAY = "the API did not answer for the details of {} item\\(s\\), on {} page\\(s\\)"


def test_a_pull_without_the_details_of_some_items_is_not_whole(tmp_path):
    """The next attempt reads the pages of these items again, and only these."""
    checkpoint, failing = MemoryCheckpoint(), {"a", "c", "e", "f"}
    lists = (["a", "b"], 7), (["c", "d", "e"], 7), (["x"], 7), (["f"], 7)
    for left, pages, items, asked in (
        (failing, 3, 4, 4),
        ({"c"}, 1, 1, 3),
        ({"c"}, 1, 1, 1),
        (set(), 0, 0, 1),
    ):
        api = Announced(*lists)
        pulled = pull(tmp_path, detailed(api, left), checkpoint)
        if items:
            with pytest.raises(DetailsAway, match="NOT WHOLE: " + AWAY.format(items, pages)):
                pulled.run()
            counts = pulled.parts.load().counts["image"]
            assert (counts.written, counts.rejected) == (7 - items, {"details away: Retry": items})
        else:
            assert pulled.run().whole
        manifest = pulled.parts.load()
        assert (manifest.complete, len(manifest.shortfalls), len(api.asked)) == (
            not items,
            bool(items),
            asked,
        )
    counts = pulled.parts.load().counts["image"]
    assert (sorted(rows(pulled)), counts.rejected) == (list("abcdefx"), {})
    assert counts.fetched - counts.skipped[SEEN] == 7


@pytest.mark.parametrize(
    ("status", "whole"), [(500, True), (502, False), (503, False), (429, False), (None, False)]
)
def test_a_broken_item_of_the_api_keeps_no_pull_from_being_whole(tmp_path, status, whole):
    """Otherwise no pull of a provider with one broken object would ever be whole."""

    def detail(self, raw, client):
        if raw == "b":
            raise Retry("down", status=status)
        return raw

    checkpoint = MemoryCheckpoint()
    for attempt in range(3):
        api = provider(Announced((["a", "b"], 2)), detail=detail, concurrency=1)
        pulled = pull(tmp_path, api, checkpoint)
        if attempt and whole:
            assert pulled.run().whole
            break
        with pytest.raises(DetailsAway):
            pulled.run()
    counts = pulled.parts.load().counts["image"]
    reason = "details failed: status 500" if whole else "details away: Retry"
    assert (counts.written, counts.rejected) == (1, {reason: 1})


def test_an_api_that_fails_for_all_items_of_a_page_is_away_however_often(tmp_path):
    def detail(self, raw, client):
        raise Retry("down", status=500)

    checkpoint = MemoryCheckpoint()
    for _ in range(3):
        api = provider(Announced((["a", "b"], 2)), detail=detail, concurrency=1)
        with pytest.raises(NotWhole, match=AWAY.format(2, 1)):
            pull(tmp_path, api, checkpoint).run()


def test_a_person_accepts_that_details_are_away(tmp_path):
    manifest = pull(tmp_path, detailed(Announced((["a", "b"], 2)), {"a"}), accept_shortfall=True).run()
    assert (manifest.complete, manifest.whole, manifest.accepted) == (True, True, True)
    assert manifest.shortfalls == ["the API did not answer for the details of 1 item(s), on 1 page(s)"]


def test_items_without_details_that_have_moved_to_another_page(tmp_path):
    """New items of a list move the others on, so the page says nothing about those that it had."""
    checkpoint = MemoryCheckpoint()
    before, since = ((["a", "b"], 3), (["c"], 3)), ((["x", "y"], 5), (["a", "b"], 5), (["c"], 5))
    moved = "; moved to other pages, which only a new run reads: 1"
    for pages, failing, said in ((before, {"b"}, ""), (since, (), moved), (since, (), moved)):
        pulled = pull(tmp_path, detailed(Announced(*pages), failing), checkpoint)
        with pytest.raises(DetailsAway):
            pulled.run()
        assert pulled.parts.load().shortfalls == [
            f"the API did not answer for the details of 1 item(s), on 1 page(s){said}"
        ]
    pulled = pull(tmp_path, detailed(Announced((["b", "a"], 3)), ()), checkpoint)
    assert pulled.run().whole
    assert (sorted(rows(pulled)), pulled.parts.load().counts["image"].rejected) == (list("abcxy"), {})


def test_items_without_details_that_come_in_another_form(tmp_path):
    checkpoint = MemoryCheckpoint()
    with pytest.raises(DetailsAway):
        pull(tmp_path, detailed(Announced((["a", "b"], 2)), {"b"}), checkpoint).run()
    assert pull(tmp_path, detailed(Announced((["a", "changed"], 2)), ()), checkpoint).run().whole


def test_details_that_are_away_in_a_round_that_is_short(tmp_path):
    """The round is read again with its pages, each once, however often it stays short."""
    checkpoint = MemoryCheckpoint()
    for _ in range(3):
        api = Announced((["a", "b"], 5), (["c"], 5))
        pulled = pull(tmp_path, detailed(api, {"a", "c"}), checkpoint)
        with pytest.raises(NotWhole, match=AWAY.format(2, 1) + "; 3 of 5 announced items came") as error:
            pulled.run()
        assert (error.type, api.asked) == (NotWhole, [0, 1])
    api = Announced((["a", "b"], 5), (["c", "d", "e"], 5))
    pulled = pull(tmp_path, detailed(api, {"a"}), checkpoint)
    with pytest.raises(DetailsAway, match=AWAY.format(1, 1)):
        pulled.run()
    api = Announced((["a", "b"], 5), (["c", "d", "e"], 5))
    pulled = pull(tmp_path, detailed(api, ()), checkpoint)
    assert pulled.run().whole
    assert (api.asked, sorted(rows(pulled))) == ([0], list("abcde"))


def test_details_that_were_away_before_a_list_began_again(tmp_path):
    """Its items come again, so the page that it had is not read."""

    class Restarting(Announced):
        def fetch(self, client, cursor, params):
            page = super().fetch(client, cursor, params)
            page.restarted = cursor["page"] == 1
            return page

    asked = []

    def detail(self, raw, client):
        asked.append(raw)
        if asked.count("a") < 5 and raw == "a":
            raise Retry("down")
        return raw

    pages = Restarting((["a"], 2), (["a", "b"], 2))
    pulled = pull(tmp_path, provider(pages, detail=detail, concurrency=1))
    assert pulled.run().whole
    assert rows(pulled) == ["a", "b"]


def test_details_that_fail_are_rejects_until_several_in_a_row_do(tmp_path):
    class Detailed(Example):
        name = "example"
        concurrency = 1

        def detail(self, raw, client):
            if raw.startswith("bad"):
                raise Retry(f"the details of {raw} cannot be had")
            return raw

    def attempt(*page):
        Detailed.pages = Scripted([list(page)])
        return pull(tmp_path / str(len(page)), Detailed())

    some = attempt("bad1", "bad2", "a", "bad3", "bad4", "bad5", "bad6", "b")
    with pytest.raises(DetailsAway, match=AWAY.format(6, 1)):
        some.run()
    counts = some.parts.load().counts["image"]
    assert (counts.written, counts.rejected) == (2, {"details away: Retry": 6})
    with pytest.raises(Retry, match="the details of bad5"):
        attempt("a", *(f"bad{n}" for n in range(1, 20))).run()


def test_an_answer_without_its_list_is_no_empty_page(tmp_path):
    pages = Tokens("https://example.org", items="items", param="t", following="next")
    pulled = pull(tmp_path, provider(pages))
    pulled.client = api_client(lambda *_: {"message": "moved", "data": []}, retries=0)
    with pytest.raises(
        Retry, match=r"`items` is missing; the response has `message`, `data`, message: 'moved'"
    ):
        pulled.run()
