"""What is remembered of rejected items: enough to recognise them, and little memory."""

import tracemalloc

import pytest

from catalog.ingestion import rejected_items
from catalog.ingestion.rejected_items import MAX_REJECTS, RejectedItems, Rejection, item_key

LICENSE: Rejection = ("image", "missing license")
BROKEN: Rejection = ("image", "broken")


def line(item, reject=LICENSE, **more):
    return {"item": item_key(item), "media_type": reject[0], "reason": reject[1], "raw": item, **more}


def test_an_item_is_known_by_its_form_or_by_a_record_and_each_of_its_rejects_counts():
    items, key = RejectedItems(), item_key
    items.add([line("a"), line("a"), line("a", BROKEN), line("b", record="id b"), line("c")])
    assert items.take("a", [], {BROKEN}) == [(key("a"), *LICENSE)] * 2
    assert items.take("b in another form", [("image", "id b")], set()) == [(key("b"), *LICENSE)]
    assert items.take("b", [("image", "id b")], set()) == []
    items.remove([(key("a"), *BROKEN), (key("a"), *BROKEN), (key("c"), *BROKEN)])
    assert items.take("a", [], set()) == []
    assert items.take("c", [], set()) == [(key("c"), *LICENSE)]
    assert not items


def test_no_more_rejects_are_remembered_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(rejected_items, "MAX_REJECTS", 3)
    items = RejectedItems()
    items.add([line("a"), line("a")])
    items.add([line("b"), line("c")])
    assert [len(items.take(item, [], set())) for item in "abc"] == [2, 1, 0]


@pytest.mark.parametrize(("reason", "most"), [("the same", 4e6), ("another {:0130}", 15e6)])
def test_rejects_take_little_memory(reason, most):
    lines = (line(n, ("image", reason.format(n)), record=f"record {n}") for n in range(2 * MAX_REJECTS))
    items = RejectedItems()
    tracemalloc.start()
    items.add(lines)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < most
