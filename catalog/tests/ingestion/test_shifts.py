"""Lists that are read by number or offset while their items are deleted, so that the others move forward."""

import contextlib
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.core.errors import Interrupted, NotWhole
from catalog.ingestion import completeness, round_records
from catalog.ingestion.reasons import SEEN
from catalog.ingestion.state import MemoryCheckpoint
from catalog.provider_api import Counted, Skip
from catalog.tests.ingestion.test_pull import image, provider, pull, rows
from catalog.tests.providers import site
from catalog.tests.providers.fake_api import client

URL, SIZE = "https://example.org/items", 10
FORMS = {
    "page numbers": Counted(URL, items="items", total="total"),
    "page numbers from 0": Counted(URL, items="items", first=0, total="total"),
    "a flag of the last page": Counted(URL, items="items", more="more", total="total", past_end_status=404),
    "a number of pages": Counted(URL, items="items", pages="pages", total="total"),
    "offsets": Counted(URL, items="items", param="offset", first=0, step=SIZE, total="total"),
    "numbers in headers": Counted(
        URL, items="items", pages_header="x-pages", total_header="x-total", past_end_status=404
    ),
}


class List:
    """An API that lists items by page number or offset.

    Attributes:
        items: What it lists.
        deletes: Number of a request → what is deleted before it is answered.
        differs: By how much the total of every second answer is lower, as from another server.
        unlisted: Items that count, but that no page lists.
        requests: Number of requests for items.
    """

    def __init__(self, form, items, deletes=None, differs=0, unlisted=()):
        self.pages, self.items, self.deletes, self.differs = FORMS[form], list(items), deletes or {}, differs
        self.requests, self.unlisted = 0, set(unlisted)

    def __call__(self, method, url, params):
        if method == "HEAD":
            return site.Reply({}, **self._headers())
        self.requests += 1
        gone = set(self.deletes.get(self.requests, ()))
        self.items = [item for item in self.items if item not in gone]
        at = int(params[self.pages.param])
        start = at if self.pages.step > 1 else (at - self.pages.first) * SIZE
        found, total = self.items[start : start + SIZE], len(self.items)
        if not found and self.pages.past_end_status and start:
            return site.Reply({"detail": "no such page"}, 404)
        body = {
            "items": [item for item in found if item not in self.unlisted],
            "total": total - self.differs * (self.requests % 2),
            "pages": -(-total // SIZE),
            "more": start + SIZE < total,
        }
        return site.Reply(body, **self._headers())

    def _headers(self):
        return {"x_pages": str(-(-len(self.items) // SIZE)), "x_total": str(len(self.items))}


def read(folder, api, checkpoint=None, skipped=(), unlicensed=(), **more):
    """Pull what an API lists; return the rows, the counts, and the error if it is not whole."""

    def record(_, item):
        if item in skipped:
            return Skip("not wanted")
        return image(item, None) if item in unlicensed else image(item)

    of = provider(api.pages, record=record)
    pulled = pull(folder, of, checkpoint, client=site.client_of(site.Site(api), retries=0), **more)
    error = None
    try:
        pulled.run()
    except NotWhole as not_whole:
        error = str(not_whole)
    return rows(pulled), pulled.parts.load().counts["image"], error


def names(number):
    return [f"i{n:05}" for n in range(number)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["read before", "to come", "both"])
def test_items_that_moved_onto_pages_that_were_read_are_read(tmp_path, form, where):
    """Fewer than the total may drift, so that the total does not tell what is missing."""
    items = names(2000)
    first = {"read before": 0, "to come": 1500, "both": 95}[where]
    deleted = items[first : first + 19]
    api = List(form, items, {11: deleted})
    found, counts, error = read(tmp_path, api)
    assert error is None
    assert set(items) - set(deleted) <= set(found)
    assert len(found) == len(set(found))  # what was read again is not written again
    assert counts.rejected == {}
    assert counts.skipped.keys() <= {SEEN}
    assert api.requests <= 200 + 5


@pytest.mark.parametrize("form", ["page numbers", "offsets", "a flag of the last page"])
def test_items_that_are_skipped_do_not_count_twice(tmp_path, form):
    """An item without a record is not recognised on a page that is read again."""
    items, hidden = names(2000), names(970)[950:]
    api = List(form, items, {31: items[:1]}, unlisted=hidden)
    _, _, error = read(tmp_path, api, skipped=set(items[::2]))
    assert "items came" in str(error)
    api = List(form, items, {31: items[:19]})
    _, _, error = read(tmp_path / "whole", api, skipped=set(items[::2]))
    assert error is None


@pytest.mark.parametrize("form", FORMS)
def test_the_last_page_is_gone(tmp_path, form):
    """The page that is asked for after the last item was deleted says nothing of the total in some APIs."""
    items = names(1001)
    found, _, error = read(tmp_path, List(form, items, {101: items[:5]}))
    assert error is None
    assert set(items[5:]) <= set(found)


deletions = st.dictionaries(st.integers(2, 14), st.sets(st.integers(0, 59), max_size=15), max_size=5)


@settings(max_examples=60, deadline=None)
@given(form=st.sampled_from(sorted(FORMS)), deleted=deletions, stops=st.sets(st.integers(1, 9), max_size=2))
def test_whatever_is_deleted_no_other_item_is_lost(tmp_path_factory, form, deleted, stops):
    """Also when the pull is stopped in between, or more is deleted while pages are read again."""
    folder, checkpoint, items = tmp_path_factory.mktemp("pull"), MemoryCheckpoint(), names(60)
    api = List(form, items, {number: {items[n] for n in gone} for number, gone in deleted.items()})
    pages = count(1)
    for _ in range(len(stops) + 1):
        with contextlib.suppress(Interrupted):
            found, _, error = read(folder, api, checkpoint, should_stop=lambda: next(pages) in stops)
            assert error or set(api.items) <= set(found)
            assert api.requests <= 40
            break


@pytest.mark.parametrize("last", [0, 1, 9])
def test_a_total_that_collapses_is_no_deletion(tmp_path, last):
    """Some APIs announce nothing on the page past the last one."""
    items = names(20)

    def answer(url, params):
        page = items[(int(params["page"]) - 1) * SIZE :][:SIZE]
        return {"items": page, "total": 20 if page else last}

    api = client(answer, retries=0)
    assert pull(tmp_path, provider(FORMS["page numbers"]), client=api).run().whole
    assert [params["page"] for _, params in api._sender.transport.requests] == ["1", "2", "3"]


@pytest.mark.parametrize("form", ["page numbers", "offsets", "a flag of the last page"])
def test_servers_that_count_differently_take_turns(tmp_path, form):
    items = names(3000)
    api = List(form, items, differs=7)
    found, _, error = read(tmp_path, api)
    assert error is None
    assert set(found) == set(items)
    assert api.requests <= 300 * 1.12 + completeness.REREAD + 1


def test_a_total_that_falls_again_and_again_is_reported(tmp_path, monkeypatch):
    """One item of each page goes after it was read: more than can be looked for."""
    monkeypatch.setattr(completeness, "REREAD", 2)
    items = names(3000)
    api = List("page numbers", items, {n + 2: [items[n * 10]] for n in range(29)})
    found, _, error = read(tmp_path, api)
    assert len(set(items) - set(found)) > 10
    assert "NOT WHOLE: the announced total fell again and again, and for" in str(error)
    assert api.requests <= 300 * 1.12 + 3


@pytest.mark.parametrize("stopped", [False, True])
def test_in_a_long_round_the_last_items_are_remembered(tmp_path, monkeypatch, stopped):
    """What is read again late in a round does not make up for what is missing."""
    monkeypatch.setattr(round_records, "MAX_REMEMBERED", 100)
    items, checkpoint = names(2000), MemoryCheckpoint()
    api = List("offsets", items, {151: items[:19]})
    if stopped:
        pages = count(1)
        with pytest.raises(Interrupted):
            read(tmp_path, api, checkpoint, should_stop=lambda: next(pages) == 150)
    found, counts, error = read(tmp_path, api, checkpoint)
    assert (error, set(found)) == (None, set(items))
    assert counts.rejected == {}
    assert len(found) == len(set(found))


def test_a_page_from_a_cache_is_not_read_again_and_again(tmp_path):
    """The first page is read again, but the cache still has its old total."""
    answers: list[tuple[list[str], int]] = [(["a", "b"], 200), (["c", "d"], 199), ([], 199)]

    def answer(url, params):
        items, total = answers[int(params["page"]) - 1]
        return {"items": items, "total": total}

    api = client(answer, retries=0)
    with pytest.raises(NotWhole, match="4 of 199"):
        pull(tmp_path, provider(FORMS["page numbers"]), client=api).run()
    assert [params["page"] for _, params in api._sender.transport.requests] == ["1", "2", "1", "2", "3"]


@pytest.mark.parametrize("limits", [{"limit": 30}, {"query_params_list": [{"page": 2}]}])
def test_a_pull_that_asks_for_less_does_not_go_back(tmp_path, limits):
    api = List("page numbers", names(40), {2: names(40)[:3]})
    read(tmp_path, api, **limits)
    assert api.requests == len(range(0, limits.get("limit", SIZE), SIZE))
