"""Items that are skipped or rejected count once, however often a pull reads them."""

import contextlib
from itertools import count

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from catalog.core.errors import Interrupted, NotWhole, SkippedErrors
from catalog.ingestion.reasons import SEEN
from catalog.ingestion.state import MemoryCheckpoint, restored
from catalog.provider_api import Skip, Tokens
from catalog.tests.ingestion.test_pull import accounted, image, provider, pull, rows
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


def end_after(folder, attempts, kind=Announced):
    """Pull until nothing is missing.

    Args:
        folder: Where the parts are written.
        attempts: For each attempt: whether the API announces too much, the pages that fail, and the page
            after which it is stopped.
        kind: The class of the pages.
    """
    checkpoint = MemoryCheckpoint()
    undisturbed: tuple[bool, set[int], int | None] = (False, set(), None)
    for short, failing, stop in [*attempts, *[undisturbed] * 3]:
        calls = count(1)
        pulled = pull(
            folder,
            provider(announced(12 if short else 10, failing=failing, kind=kind)),
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
