"""Items that are skipped or rejected count once, however often a pull reads them."""

import contextlib
from itertools import combinations, count

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalog.core.errors import Interrupted, NotWhole, Retry, SkippedErrors
from catalog.core.secrets import Redactor, Secret
from catalog.ingestion.parts import read_rejects
from catalog.ingestion.reasons import SEEN
from catalog.ingestion.state import MemoryCheckpoint, restored
from catalog.provider_api import CC0, Skip, Tokens
from catalog.tests.ingestion.test_pull import Example, accounted, image, provider, pull, rows
from catalog.tests.ingestion.test_shifts import FORMS, List, deletions, names, read
from catalog.tests.ingestion.test_whole import DOWN, Announced, Builds
from catalog.tests.providers.fake_api import client

ITEMS = ("a", "skip", "poison", "several", "skip", "unlicensed", "b", "skip", "poison", "c")
ONE_WALK = {"not wanted": 3, "third is broken": 1, "KeyError": 2, "missing license": 1}


class Named(Announced):
    """Pages of which only the one before names each."""

    def skip(self, cursor):
        return None


def announced(total, items=ITEMS, failing=(), kind=Announced):
    pages = [(list(items[n : n + 2]), total) for n in range(0, len(items), 2)]
    return kind(*(DOWN if n in failing else page for n, page in enumerate(pages)))


def reasons(counts):
    """Return the number of items that were skipped or rejected, by a short form of their reason."""
    found = {r: n for r, n in {**counts.skipped, **counts.rejected}.items() if r != SEEN}
    return {"KeyError" if "KeyError" in reason else reason: n for reason, n in found.items()}


def rejects_in_files(pulled):
    return sum(len(path.read_bytes().splitlines()) for path in pulled.parts.reject_files())


def has_counts_of_one_walk(pulled):
    manifest = pulled.parts.load()
    counts = manifest.counts["image"]
    return (
        accounted(manifest)
        and sorted(rows(pulled)) == ["a", "b", "c", "s1", "s2"]
        and reasons(counts) == ONE_WALK
        and counts.fetched - counts.skipped.get(SEEN, 0) == 12
        and rejects_in_files(pulled) == 3
    )


@pytest.mark.parametrize("walks", [1, 2, 4])
def test_a_round_that_is_walked_again_counts_its_items_once(tmp_path, walks):
    checkpoint = MemoryCheckpoint()
    for _ in range(walks - 1):
        short = pull(tmp_path, provider(announced(12)), checkpoint)
        with pytest.raises(NotWhole):
            short.run()
        assert has_counts_of_one_walk(short)
    last = pull(tmp_path, provider(announced(10)), checkpoint)
    assert last.run().whole
    assert has_counts_of_one_walk(last)


BROKEN = (
    *("broken", "a", "skip", "broken 1", "several", "skip"),
    *("unlicensed", "b", "broken 2", "skip", "c", "broken 3"),
)
# What a corrected mapping makes of items that were rejected; another one stays broken.
FIXED = {"broken 1": ["1"], "unlicensed": ["unlicensed"], "broken 2": ["2a", "2b"], "broken 3": []}


def mapped(fixed):
    """Return a mapping that fails for some items; a fixed one writes most of them, and skips one."""

    def record(_, raw):
        if raw in FIXED and fixed:
            return [image(name) for name in FIXED[raw]] or Skip("fixed")
        if raw.startswith("broken"):
            raise KeyError("broken")  # the same reason for all
        return Example().record(raw)

    return record


def counts_each_item_once(pulled):
    """Return whether each item that was fixed and read again counts as such, and the others as rejects."""
    manifest, written = pulled.parts.load(), rows(pulled)
    counts = manifest.counts["image"]
    is_fixed = {item for item, names in FIXED.items() if {*names} & {*written}}
    is_fixed |= {"broken 3"} if counts.skipped.get("fixed") else set()
    records = {"a", "b", "c", "s1", "s2"}.union(*(FIXED[item] for item in is_fixed))
    return (
        accounted(manifest)
        and sorted(written) == sorted(records)
        and sum(counts.rejected.values()) == 1 + len(FIXED.keys() - is_fixed)
        and {**counts.skipped, "fixed": 0, SEEN: 0}
        == {"not wanted": 3, "third is broken": 1, "fixed": 0, SEEN: 0}
        and counts.skipped.get("fixed", 0) == ("broken 3" in is_fixed)
        and counts.fetched - counts.skipped.get(SEEN, 0) == 14 + ("broken 2" in is_fixed)
    )


def test_an_item_that_is_written_is_no_reject_any_more(tmp_path):
    """The mapping was corrected between two walks; the second one also reads what the first one rejected."""
    checkpoint = MemoryCheckpoint()
    for fixed, total in ((False, 14), (True, 14), (True, 12)):
        pulled = pull(tmp_path, provider(announced(total, BROKEN), record=mapped(fixed)), checkpoint)
        with contextlib.suppress(NotWhole):
            pulled.run()
        assert counts_each_item_once(pulled)
    counts = pulled.parts.load().counts["image"]
    assert (sum(counts.rejected.values()), counts.written, counts.skipped["fixed"]) == (1, 9, 1)


ORDER = ("broken before", "a", "b", "broken beside", "broken 1", "c", "broken after")


@pytest.mark.parametrize(
    "more",
    [more for number in range(4) for more in combinations([n for n in ORDER if n[7:].isalpha()], number)],
)
def test_a_reject_that_was_taken_back_hides_no_other(tmp_path, more):
    """New items have the same reason in later walks: before the other one, on its page, or after it.

    The last walk does not find them any more.
    """
    checkpoint, known = MemoryCheckpoint(), 0
    for fixed, new in ((False, []), (True, more), (True, more), (True, [])):
        known = max(known, len(new))
        items = sorted(["a", "b", "broken 1", *new], key=ORDER.index)
        pulled = pull(tmp_path, provider(announced(9, items), record=mapped(fixed)), checkpoint)
        with pytest.raises(NotWhole):
            pulled.run()
        counts = pulled.parts.load().counts["image"]
        assert sum(counts.rejected.values()) == known + (not fixed)
        assert counts.fetched - counts.skipped.get(SEEN, 0) == 3 + known
    assert sorted(rows(pulled)) == ["1", "a", "b"]


def test_a_record_that_is_written_is_no_reject_any_more(tmp_path):
    """It is known by its identifier, although its item has other views now; its license came."""
    checkpoint, rejected = MemoryCheckpoint(), []
    for views, license_, total in ((1, None, 4), (2, None, 4), (3, CC0, 4), (4, CC0, 3)):
        items = [{"id": name, "views": views} for name in ("x", "y")] + [{"id": "z"}]
        of = provider(
            Announced((items, total)),
            record=lambda _, raw, given=license_: image(raw["id"], None if raw["id"] == "z" else given),
        )
        pulled = pull(tmp_path, of, checkpoint)
        with contextlib.suppress(NotWhole):
            pulled.run()
        rejected.append(pulled.parts.load().counts["image"].rejected)
    assert rejected == [{"missing license": 3}] * 2 + [{"missing license": 1}] * 2
    assert rows(pulled) == ["x", "y"]


def test_an_item_whose_details_come_later_is_no_reject_any_more(tmp_path):
    """It is known by its form in the list. The second attempt lacks details of a written one."""
    checkpoint, failing = MemoryCheckpoint(), [{"b"}, {"b", "c"}, set()]

    def detail(self, raw, client):
        if raw["id"] in failing[0]:
            raise Retry("down")
        return {**raw, "size": 5}

    items = [{"id": name} for name in "abc"]
    rejected = []
    while failing:
        of = provider(Announced((items, 4)), detail=detail, record=lambda _, raw: image(raw["id"]))
        pulled = pull(tmp_path, of, checkpoint)
        with pytest.raises(NotWhole):
            pulled.run()
        rejected.append(sum(pulled.parts.load().counts["image"].rejected.values()))
        failing.pop(0)
    assert rejected == [1, 2, 0]
    assert (sorted(rows(pulled)), accounted(pulled.parts.load())) == (["a", "b", "c"], True)


def test_a_reject_whose_number_is_a_secret_stops_no_later_attempt(tmp_path):
    """Masked, its line is no JSON; it is not known any more. Nor is it shown, as the other one is."""
    checkpoint, asker = MemoryCheckpoint(), client(None)
    asker.redact = Redactor([Secret("12345678")])
    items = [{"id": 12345678}, {"id": 5}]
    for license_, total in ((None, 3), (None, 3), (CC0, 2)):
        of = provider(
            Announced((items, total)), record=lambda _, raw, given=license_: image(f"{raw['id']}", given)
        )
        pulled = pull(tmp_path, of, checkpoint, asker)
        with contextlib.suppress(NotWhole):
            pulled.run()
    assert rows(pulled) == ["12345678", "5"]
    assert pulled.parts.load().counts["image"].rejected == {"missing license": 1}
    [path] = pulled.parts.reject_files()
    with pytest.raises(orjson.JSONDecodeError):
        [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [reject["raw"] for reject in read_rejects(path)] == [{"id": 5}]


def test_an_item_that_has_changed_and_had_no_record_counts_for_both(tmp_path):
    """Nothing tells it from a new one."""
    checkpoint = MemoryCheckpoint()
    for broken, total in ((True, 2), (False, 1)):
        pages = Announced(([{"id": "x", "views": total}], total))
        mapping = {"record": lambda _, raw, broken=broken: image(raw["none" if broken else "id"])}
        pulled = pull(tmp_path, provider(pages, **mapping), checkpoint)
        with contextlib.suppress(NotWhole):
            pulled.run()
    counts = pulled.parts.load().counts["image"]
    assert (counts.fetched, counts.written, sum(counts.rejected.values())) == (2, 1, 1)


def test_what_a_later_walk_finds_is_counted(tmp_path):
    checkpoint, more = MemoryCheckpoint(), [*ITEMS, "skip", "poison", "late", "skip"]
    with pytest.raises(NotWhole):
        pull(tmp_path, provider(announced(14)), checkpoint).run()
    last = pull(tmp_path, provider(announced(14, more)), checkpoint)
    assert last.run().whole
    assert reasons(last.parts.load().counts["image"]) == {**ONE_WALK, "not wanted": 5, "KeyError": 3}
    assert rejects_in_files(last) == 4


an_attempt = st.tuples(
    st.booleans(), st.sets(st.integers(0, 4), max_size=2), st.sampled_from([None, 1, 2, 3])
)


def end_after(folder, attempts, kind=Announced, items=ITEMS, fixed_from=None):
    """Pull until nothing is missing.

    Args:
        folder: Where the parts are written.
        attempts: For each attempt: whether the API announces too much, the pages that fail, and the page
            after which it is stopped.
        kind: The class of the pages.
        items: The items of all pages.
        fixed_from: Number of the first attempt with a corrected mapping.
    """
    checkpoint = MemoryCheckpoint()
    undisturbed: tuple[bool, set[int], int | None] = (False, set(), None)
    for number, (short, failing, stop) in enumerate([*attempts, *[undisturbed] * 3]):
        calls = count(1)
        mapping = {} if fixed_from is None else {"record": mapped(number >= fixed_from)}
        pulled = pull(
            folder,
            provider(announced(len(items) + 2 * short, items, failing, kind), **mapping),
            checkpoint,
            skip_errors=True,
            should_stop=lambda c=calls, s=stop: next(c) == s,
        )
        with contextlib.suppress(Interrupted, SkippedErrors, NotWhole):
            pulled.run()
            break
    return pulled


@settings(max_examples=80, deadline=None)
@given(attempts=st.lists(an_attempt, max_size=5), kind=st.sampled_from([Announced, Named]))
def test_whatever_interrupts_a_pull_it_ends_with_the_counts_of_one_walk(tmp_path_factory, attempts, kind):
    """Whether pages fail, the pull is stopped, or the API announces too much, and in any order."""
    pulled = end_after(tmp_path_factory.mktemp("pull"), attempts, kind)
    assert pulled.parts.load().complete
    assert has_counts_of_one_walk(pulled)


@settings(max_examples=120, deadline=None)
@given(
    attempts=st.lists(an_attempt, min_size=1, max_size=5),
    kind=st.sampled_from([Announced, Named]),
    fixed_from=st.integers(1, 4),
)
def test_whenever_a_mapping_is_corrected_each_item_counts_once(tmp_path_factory, attempts, kind, fixed_from):
    """Those that are read again count as what they are now, and the others as what they were."""
    folder = tmp_path_factory.mktemp("pull")
    pulled = end_after(folder, attempts, kind, BROKEN, fixed_from)
    assert counts_each_item_once(pulled)
    assert pulled.parts.load().complete


@pytest.mark.parametrize(
    "attempts",
    [
        [(True, {0, 2}, None), (True, set(), None)],  # in several steps
        [(True, set(), None), (False, {0, 2}, None)],  # the second walk, too
        [(True, set(), None), (False, {0, 2}, None), (False, set(), 1)],
        [(True, set(), None), (True, set(), 2)],  # stopped in the second walk
    ],
)
@pytest.mark.parametrize("kind", [Announced, Named])
def test_rounds_that_are_read_in_steps_count_their_items_once(tmp_path, attempts, kind):
    assert has_counts_of_one_walk(end_after(tmp_path, attempts, kind))


@pytest.mark.parametrize("form", ["page numbers", "offsets"])
def test_pages_that_are_read_again_count_their_items_once(tmp_path, form):
    items = names(2000)
    _, counts, error = read(tmp_path, List(form, items, {101: items[:1]}), skipped=set(items[::2]))
    assert error is None
    assert counts.fetched - counts.skipped[SEEN] in (1999, 2000)
    assert counts.skipped["not wanted"] in (999, 1000)


@settings(max_examples=60, deadline=None)
@given(form=st.sampled_from(sorted(FORMS)), deleted=deletions, stops=st.sets(st.integers(1, 9), max_size=2))
# On a page that a second walk reads again, a record that the first walk has rejected.
@example(form="a flag of the last page", deleted={10: {0}, 2: {11}}, stops={1, 8})
def test_whatever_is_deleted_no_item_counts_twice(tmp_path_factory, form, deleted, stops):
    """Also when the pull is stopped in between; a third of the items is skipped, another one rejected."""
    folder, checkpoint, items = tmp_path_factory.mktemp("pull"), MemoryCheckpoint(), names(60)
    api = List(form, items, {number: {items[n] for n in gone} for number, gone in deleted.items()})
    pages = count(1)
    for _ in range(len(stops) + 1):
        with contextlib.suppress(Interrupted):
            found, counts, _ = read(
                folder,
                api,
                checkpoint,
                skipped=set(items[::3]),
                unlicensed=set(items[1::3]),
                should_stop=lambda: next(pages) in stops,
            )
            assert len(found) == len(set(found)) == counts.written
            assert counts.skipped.get("not wanted", 0) <= 20
            assert counts.rejected.get("missing license", 0) <= 20
            break


def test_what_is_new_on_a_page_that_is_read_again_counts_for_its_reason(tmp_path):
    """A skipped item has nothing to tell it by, but its reason; a reject has its identifier."""
    items = names(100)
    api = List("page numbers", items, {6: items[:1]})
    _, counts, error = read(tmp_path, api, skipped={items[50]})  # moves to the page before
    assert error is None
    assert counts.skipped["not wanted"] == 1

    api = List("page numbers", items, {6: items[:1]})
    _, counts, error = read(tmp_path / "rejects", api, unlicensed={items[40], items[50]})
    assert error is None
    assert counts.rejected == {"missing license": 2}


class Again(Announced):
    """Pages of which some end with items of an earlier response, or hold what the API does not give out."""

    def __init__(self, *pages, earlier=0, withheld=None):
        super().__init__(*pages)
        self.earlier, self.withheld = earlier, withheld

    def fetch(self, client, cursor, params):
        page = super().fetch(client, cursor, params)
        page.earlier, page.withheld = self.earlier, self.withheld
        return page


def test_a_page_that_is_requested_twice_counts_its_items_once(tmp_path):
    """Items of the earlier response may be those of the later one in another form; another reason is new."""
    pages = Again((["a", "skip", "poison", "skip", "several", "skip"], None), earlier=3)
    pulled = pull(tmp_path, provider(pages))
    counts = pulled.run().counts["image"]
    assert reasons(counts) == {"not wanted": 2, "KeyError": 1, "third is broken": 1}
    assert counts.skipped[SEEN] == 1
    assert rows(pulled) == ["a", "s1", "s2"]


@pytest.mark.parametrize(("views", "seen"), [(1, {}), (2, {SEEN: 3})])
def test_what_a_second_response_lacks_counts_for_its_reason(tmp_path, views, seen):
    """Unless it has other items, so that they may be the same in another form."""
    pages = Tokens("https://example.org", items="items", param="cursor", following="next")
    answers = [
        {"items": [{"id": n, "views": 1} for n in range(6)]},
        {"items": [{"id": n, "views": views} for n in range(3)]},
    ]
    one = provider(pages, record=lambda _, raw: Skip("not wanted") if raw["id"] else image("a"))
    asked = count()
    pulled = pull(tmp_path, one, client=client(lambda url, params: answers[next(asked)]))
    counts = pulled.run().counts["image"]
    assert counts.skipped == {"not wanted": 5} | seen
    assert rows(pulled) == ["a"]


@pytest.mark.parametrize("total", [None, 4])
def test_a_page_of_which_something_is_withheld_counts_its_items_once(tmp_path, total):
    checkpoint, items = MemoryCheckpoint(), ["a", "skip", "poison", "skip"]
    for _ in range(4):
        pulled = pull(tmp_path, provider(Again((items, total), withheld="not given out")), checkpoint)
        with pytest.raises(NotWhole):
            pulled.run()
    counts = pulled.parts.load().counts["image"]
    assert reasons(counts) == {"not wanted": 2, "KeyError": 1}
    assert (rows(pulled), rejects_in_files(pulled)) == (["a"], 1)


def test_a_round_that_begins_again_counts_its_items_once(tmp_path):
    pages = Builds((["a", "skip"], False), (["skip", "a"], True), (["poison"], False), skips=True)
    counts = pull(tmp_path, provider(pages, deduplicate=True)).run().counts["image"]
    assert reasons(counts) == {"not wanted": 1, "KeyError": 1}
    assert counts.skipped[SEEN] == 2


def test_a_state_of_a_release_that_did_not_note_them_is_resumed(tmp_path):
    checkpoint = MemoryCheckpoint()
    with pytest.raises(NotWhole):
        pull(tmp_path, provider(announced(12)), checkpoint).run()
    stored = orjson.loads(orjson.dumps(checkpoint.state))
    assert stored["gaps"][0]["again"].pop("passed")
    del stored["passed"]
    assert restored(stored)
    last = pull(tmp_path, provider(announced(10)), MemoryCheckpoint(stored))
    assert last.run().whole
    assert accounted(last.parts.load())
