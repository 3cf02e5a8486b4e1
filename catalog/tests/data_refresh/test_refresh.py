"""The state of a refresh is written once, and read only by its own run."""

from datetime import UTC, datetime

import msgspec
import pytest

from catalog.core.errors import Refused
from catalog.data_refresh.refresh import CreatedIndex, Plan, Stage, begin, begun, note_index, reach, read
from catalog.data_refresh.refresh_history import promoted
from catalog.data_refresh.tables.shrinkage import shrunken_alias
from catalog.database.turns import Turn, take

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def plan(index="image-1", **more):
    return Plan(
        media_type="image",
        api="api",
        search="search",
        table="temp_import_image",
        index=index,
        filtered=f"{index}-filtered",
        aliases={"image": index, "image-filtered": f"{index}-filtered"},
        policy={"denied": ["x"]},
        since=MOMENT,
        **more,
    )


def turn(connection, run_id="1"):
    taken = take(connection, "image_data_refresh", run_id, (), lambda *_: False)
    assert isinstance(taken, Turn)
    return taken


def test_the_state_is_written_once(catalog):
    """A first task that runs twice, after a kill or a clear, does not begin another refresh."""
    mine = turn(catalog)
    first = begin(
        catalog, mine, plan(live={"image": "old", "image-filtered": None}, documents={"image": {"met": 5}})
    )
    assert begin(catalog, mine, plan("image-2")) == first == read(catalog, mine)
    assert first.plan == msgspec.convert(msgspec.to_builtins(first.plan), Plan)
    assert (first.plan.since, first.plan.live, first.stage) == (
        MOMENT,
        {"image": "old", "image-filtered": None},
        "working",
    )


def test_a_run_that_begins_again_has_another_refresh(catalog):
    first = begin(catalog, turn(catalog), plan())
    again = turn(catalog)
    assert begun(catalog, again) is None
    with pytest.raises(Refused, match="never begun; clear its first tasks"):
        read(catalog, again)
    second = begin(catalog, again, plan("image-2"))
    assert (second.plan.index, second.number > first.number) == ("image-2", True)
    assert second.identity != first.identity


def test_which_indexes_were_promoted(catalog):
    stages: tuple[Stage, ...] = ("working", "tables", "promoted", "promoted")
    for number, stage in enumerate(stages):
        refresh = begin(catalog, turn(catalog, str(number)), plan())
        for name in ("image-1", "image-1-filtered"):
            note_index(catalog, refresh, name, CreatedIndex(f"{name}/{number}", 7))
        reach(catalog, refresh, stage)
    assert promoted(catalog) == {f"{name}/{n}" for name in ("image-1", "image-1-filtered") for n in (2, 3)}


def test_a_recreated_index_was_never_counted(catalog):
    mine = turn(catalog)
    begin(catalog, mine, plan())
    with pytest.raises(Refused, match="has not made image-1; clear create_index"):
        read(catalog, mine).made("image-1")
    note_index(catalog, read(catalog, mine), "image-1", CreatedIndex("uuid-1"))
    with pytest.raises(Refused, match="never found to be complete"):
        read(catalog, mine).counted("image-1")
    note_index(catalog, read(catalog, mine), "image-1", CreatedIndex("uuid-1", 7))
    note_index(catalog, read(catalog, mine), "image-1-filtered", CreatedIndex("uuid-2", 3))
    assert read(catalog, mine).counted("image-1") == 7
    note_index(catalog, read(catalog, mine), "image-1", CreatedIndex("uuid-3"))
    with pytest.raises(Refused, match="never found to be complete"):
        read(catalog, mine).counted("image-1")
    assert read(catalog, mine).counted("image-1-filtered") == 3


def test_stages(catalog):
    mine = turn(catalog)
    refresh = begin(catalog, mine, plan())
    for stage in ("tables", "promoted"):
        reach(catalog, refresh, stage)
        assert read(catalog, mine).stage == stage


@pytest.mark.parametrize(
    ("before", "now", "suspicious"),
    [
        ({}, 0, False),
        ({"met": 100}, 90, False),
        ({"met": 100}, 89, True),
        ({"met": 60, "smk": 40}, 89, True),
        ({"met": 2_000}, 5, True),
        ({"met": 100}, 500, False),
        ({"met": 9}, 8, False),
        ({"met": 20}, 11, False),
        ({"met": 20}, 10, True),
        ({"met": 3}, 0, True),
        ({"met": 2}, 0, False),
    ],
)
def test_suspiciously_few(before, now, suspicious):
    findings = shrunken_alias("image", before, {"met": now}, 0.1)
    assert bool(findings) is suspicious
    if findings:
        assert f"documents of image: {now:,} instead of {sum(before.values()):,}" in findings[0].text
        assert findings[0].remains == now
