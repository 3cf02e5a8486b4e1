"""Findings: what needs a person, and what does not."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest
from psycopg.types.json import Jsonb

from catalog.core.errors import Retry
from catalog.data_refresh.refresh import CreatedIndex, begin, note_index, reach
from catalog.data_refresh.search.client import complete_answer
from catalog.ingestion.registry import BrokenProvider
from catalog.local.stack import ROOT
from catalog.monitoring import catalog_health, engine_health, finding, loads
from catalog.monitoring.aliases import NOTICEABLE, Alias, live
from catalog.monitoring.loads import Freshness
from catalog.monitoring.refreshes import Refreshed, promoted, unpromoted
from catalog.monitoring.rows import numbers
from catalog.monitoring.sources import Source
from catalog.providers.jamendo.provider import Jamendo
from catalog.tests.data_refresh.test_refresh import plan, turn
from catalog.tests.monitoring.reports import report

NOW = datetime(2024, 3, 14, 12, tzinfo=UTC)
FLICKR = Source("flickr", "image", "flickr")


def incomplete(catalog):
    return loads.not_whole(catalog, [FLICKR], NOW)


@pytest.mark.database
@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("fields", "runbook", "words"),
    [
        ({"inserted": 1}, None, ""),
        ({"inserted": 1, "complete": False, "whole": False}, "partial", "1 items were read and loaded"),
        ({"whole": False, "shortfalls": ["45 of 100 came"]}, "not-whole", "is not whole: 45 of 100 came"),
        (
            {"whole": False, "complete": False, "shortfalls": ["a", "b"]},
            "not-whole",
            "a (one more shortfall)",
        ),
        ({"whole": False, "shortfalls": ["a", "b", "c"]}, "not-whole", "a (2 more shortfalls)"),
        ({"shortfalls": ["a"], "accepted": True}, None, ""),
        ({"whole": False}, None, ""),  # limited by its conf
        ({"replayed": True, "complete": False, "whole": False}, None, ""),
        ({"whole": False, "shortfalls": {"a": 1}}, "not-whole", 'is not whole: {"a": 1}'),
    ],
)
def test_loads(catalog, fields, runbook, words):
    report(catalog, "flickr", NOW, **fields)
    found = catalog_health.not_whole(incomplete(catalog))
    assert [one.runbook for one in found] == ([runbook] if runbook else [])
    assert all(words in one.text and one.severity == "error" and one.run_id for one in found)


SHORT = {"whole": False, "shortfalls": ["1 of 900 came"]}
FIRST, SECOND = (
    {"window_start": NOW - timedelta(days=n), "window_end": NOW - timedelta(days=n - 1)} for n in (9, 2)
)


@pytest.mark.database
@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("later", "brought"),
    [
        ({**FIRST}, True),
        ({}, True),  # everything
        ({"window_start": FIRST["window_start"], "window_end": NOW}, True),
        ({**SECOND}, False),
        ({**FIRST, "replayed": True}, False),
        ({**FIRST, "whole": False}, False),  # limited
        ({**FIRST, "complete": False}, False),
        ({"pull_began": NOW - timedelta(hours=9)}, True),
        ({"pull_began": NOW - timedelta(hours=11)}, False),  # everything, but of before
    ],
)
def test_only_a_later_whole_load_of_the_window_brings_what_was_missing(catalog, later, brought):
    began = NOW - timedelta(hours=10)
    report(catalog, "flickr", NOW - timedelta(hours=9), run_id="short", pull_began=began, **FIRST, **SHORT)
    report(catalog, "flickr", NOW - timedelta(hours=8), run_id="later", **later)
    report(catalog, "flickr", NOW - timedelta(days=30), run_id="earlier", **FIRST)
    assert (incomplete(catalog) == {}) is brought


@pytest.mark.database
@pytest.mark.enable_socket
def test_a_pull_whose_clock_was_ahead_is_not_missing_for_ever(catalog):
    """It did not begin after the later ones."""
    ahead = NOW + timedelta(days=400)
    report(catalog, "flickr", NOW - timedelta(hours=9), run_id="short", pull_began=ahead, **FIRST, **SHORT)
    assert incomplete(catalog) != {}
    report(catalog, "flickr", NOW - timedelta(hours=7), run_id="later", pull_began=NOW - timedelta(hours=8))
    assert incomplete(catalog) == {}


@pytest.mark.database
@pytest.mark.enable_socket
@pytest.mark.parametrize(("gap", "brought"), [(0, True), (-6, True), (6, False)])
def test_later_loads_may_bring_together_what_was_missing(catalog, gap, brought):
    middle = FIRST["window_start"] + timedelta(hours=12)
    report(catalog, "flickr", NOW - timedelta(hours=9), run_id="short", **FIRST, **SHORT)
    report(catalog, "flickr", NOW - timedelta(hours=8), **{**FIRST, "window_end": middle})
    begin = middle + timedelta(hours=gap)
    report(catalog, "flickr", NOW - timedelta(hours=7), **{**FIRST, "window_start": begin})
    assert (incomplete(catalog) == {}) is brought


@pytest.mark.database
@pytest.mark.enable_socket
@pytest.mark.parametrize("other", [{"window_start": NOW, "window_end": NOW - timedelta(days=99)}, SECOND])
def test_windows_that_end_before_they_begin_and_empty_ones_hide_nothing(catalog, other):
    empty = {**FIRST, "window_end": FIRST["window_start"]}
    report(catalog, "flickr", NOW - timedelta(hours=9), run_id="short", **empty, **SHORT)
    report(catalog, "flickr", NOW - timedelta(hours=8), **other)
    assert len(incomplete(catalog)) == 1


@pytest.mark.database
@pytest.mark.enable_socket
def test_a_source_is_one_finding_however_many_windows_are_not_whole(catalog):
    for hours, window in enumerate((FIRST, SECOND, SECOND)):
        report(catalog, "flickr", NOW - timedelta(hours=hours), run_id=f"run{hours}", **window, **SHORT)
    [found] = catalog_health.not_whole(incomplete(catalog))
    assert (found.run_id, found.text) == (
        "run0",
        "is not whole: 1 of 900 came; one earlier window is not whole either",
    )
    assert (
        catalog_health.not_whole(loads.not_whole(catalog, [FLICKR], NOW + loads.KEPT + timedelta(days=1)))
        == []
    )


@pytest.mark.database
@pytest.mark.enable_socket
def test_a_shortfall_is_reported_until_the_provider_would_be_late(catalog):
    freesound = Source("freesound", "audio", "freesound")
    assert freesound.declaration.schedule == "@quarterly"
    fields = {"media_type": "audio", "whole": False, "shortfalls": ["1 of 900 came"]}
    report(catalog, "freesound", NOW - timedelta(days=100), **fields)
    assert len(loads.not_whole(catalog, [freesound], NOW)) == 1


@pytest.mark.parametrize(
    ("state", "scheduled", "number"),
    [
        ("late", ["flickr_workflow"], 1),
        ("late", [], 0),
        ("late", None, 1),
        ("never", ["flickr_workflow"], 0),
        ("fresh", [], 0),
    ],
)
def test_only_what_is_scheduled_can_be_late(state, scheduled, number):
    last = None if state == "never" else NOW - timedelta(days=9)
    found = catalog_health.late({FLICKR: Freshness(last, None, None, state)}, scheduled)
    assert len(found) == number
    assert all("2024-03-05" in one.text and one.page == "providers/flickr" for one in found)
    assert all(("was not checked" in one.text) is (scheduled is None) for one in found)


@pytest.mark.database
@pytest.mark.enable_socket
def test_a_provider_whose_pulls_are_never_whole_becomes_late(catalog):
    for days in range(9):
        report(catalog, "flickr", NOW - timedelta(days=days), run_id=f"{days}", whole=False)
    [found] = catalog_health.late(loads.freshness(catalog, [FLICKR], NOW))
    assert "no pull was whole since the first load, on 2024-03-06" in found.text
    assert catalog_health.late(loads.freshness(catalog, [FLICKR], NOW - timedelta(days=7))) == []


@pytest.mark.database
@pytest.mark.enable_socket
def test_quotas(catalog):
    quota = Jamendo.quota
    assert quota
    key, start = Jamendo.key.variable, quota.starts(NOW)
    for used, number in ((quota.requests - 1, 0), (quota.requests, 1)):
        catalog.execute("delete from rate_quota")
        catalog.execute("insert into rate_quota values (%s, %s, %s)", [key, start, used])
        found = catalog_health.used_quotas(catalog, NOW)
        assert [one.subject for one in found] == ["jamendo"] * number
    assert catalog_health.used_quotas(catalog, quota.resumes(NOW)) == []


def refreshed(days, stage="promoted", **documents):
    """Return a refresh of some days ago; its documents are those before it."""
    begun = NOW - timedelta(days=days)
    return Refreshed(1, "image_data_refresh", "run", "image", "full", "", stage, begun, None, documents)


def test_sources_that_shrink():
    [found] = engine_health.shrunk_sources([refreshed(2, flickr=1000, met=1000)], {"flickr": 790, "met": 950})
    assert (found.subject, found.runbook) == ("flickr (image)", "shrinking")
    assert "790 documents are searched, 1,000 before the refresh of 2024-03-12" in found.text
    few, many = (refreshed(1, nappy=NOTICEABLE - n) for n in (1, 0))
    assert engine_health.shrunk_sources([few], {"met": 1}) == []
    assert len(engine_health.shrunk_sources([many], {"met": 1})) == 1
    assert len(engine_health.shrunk_sources([few], {})) == 1
    assert engine_health.shrunk_sources([], {}) == []


@pytest.mark.database
@pytest.mark.parametrize(
    ("made", "left", "found"), [(5, 4, 0), (5, 0, 1), (1000, 801, 0), (1000, 800, 1), (None, 0, 0), (0, 0, 0)]
)
@pytest.mark.parametrize("name", ["image", "image-filtered"])
def test_documents_that_were_counted_and_that_are_gone(catalog, name, made, left, found):
    """Also after the first refresh, before which there were none, and of any index behind an alias."""
    begun = begin(catalog, turn(catalog), plan())
    note_index(catalog, begun, "image-1", CreatedIndex("u", made))
    reach(catalog, begun, "promoted")
    alias = Alias(name, "image", "image-1", left, uuid="u")
    [*findings] = engine_health.shrunk_aliases([alias], catalog)
    assert [(one.subject, one.runbook) for one in findings] == [(f"alias {name}", "shrinking")] * found


def test_tables_that_stay_live_without_their_indexes():
    """A refresh passes through this stage; that it stays there is wrong."""
    assert list(engine_health.without_indexes(refreshed(0.5, "tables"), NOW)) == []
    assert list(engine_health.without_indexes(None, NOW)) == []
    given_up = msgspec.structs.replace(refreshed(0.1, "tables"), ended_for="another run")
    found = [
        *engine_health.without_indexes(refreshed(2, "tables"), NOW),
        *engine_health.without_indexes(given_up, NOW),
    ]
    assert [(one.severity, one.runbook) for one in found] == [("error", "refresh-failed")] * 2


@pytest.mark.database
@pytest.mark.parametrize(
    ("later", "shown"),
    [
        ([], True),
        ([("filtered", "", "promoted")], True),
        ([("full", "", "promoted")], True),  # as earlier releases have recorded a filtered index
        ([("copy", "", "promoted"), ("alias", "", "promoted")], True),
        ([("full", "temp_import_image", "working")], True),
        ([("full", "temp_import_image", "promoted")], False),
        ([("incremental", "image", "promoted"), ("filtered", "", "promoted")], False),
        ([("index_only", "image", "promoted")], False),
    ],
)
def test_only_indexes_of_rows_make_up_for_those_that_are_missing(catalog, later, shown):
    def refresh(mode, table, stage):
        planned = msgspec.structs.replace(plan(mode=mode), table=table)
        reach(catalog, begin(catalog, turn(catalog, f"{mode} {table} {stage}"), planned), stage)

    refresh("full", "temp_import_image", "promoted")
    assert unpromoted(catalog, "image") is None
    refresh("full", "temp_import_image", "tables")
    for one in later:
        refresh(*one)
    found = unpromoted(catalog, "image")
    assert (found and found.run_id) == ("full temp_import_image tables" if shown else None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([1000, 950, 900, 850, 800], 750),  # slow losses add up
        ([0, 0, 1000], 400),  # it came within the week
        ([400, 1000, 400], 400),
    ],
)
def test_the_most_documents_of_the_week_count(before, after):
    history = [refreshed(days, met=number) for days, number in enumerate(reversed(before), 1)]
    [found] = engine_health.shrunk_sources(history, {"met": after})
    assert f"{after:,} documents are searched, 1,000 before" in found.text


@pytest.mark.database
@pytest.mark.enable_socket
def test_refreshes_of_a_week_or_the_last_one(catalog):
    def refresh(days, stage):
        query = "insert into turn (dag_id, run_id) values ('image_data_refresh', %s) returning number"
        [(number,)] = catalog.execute(query, [f"{days}{stage}"]).fetchall()
        values = [number, Jsonb({"media_type": "image"}), stage, NOW - timedelta(days=days)]
        catalog.execute("insert into refresh (number, plan, stage, begun_on) values (%s, %s, %s, %s)", values)

    def found():
        return [one.run_id for one in promoted(catalog, "image", NOW - engine_health.LOOK_BACK)]

    refresh(30, "promoted")
    refresh(20, "promoted")
    for _ in range(150):
        refresh(1, "working")  # which do not hide it
    assert found() == ["20promoted"]
    refresh(5, "promoted")
    refresh(3, "promoted")
    assert found() == ["3promoted", "5promoted"]


def test_aliases_without_an_index_and_with_several():
    there, missing = Alias("image", "image", "image-1", 5), Alias("image-filtered", "image", None)
    torn = Alias("image", "image", None, problem="the alias image points at a, b")
    assert list(engine_health.wrong_aliases([missing], promoted=False)) == []  # before the first refresh
    [found] = engine_health.wrong_aliases([there, missing], promoted=True)
    assert (found.severity, found.subject, found.runbook) == ("error", "alias image-filtered", "alias")
    both = [found.text for found in engine_health.wrong_aliases([torn, missing], promoted=True)]
    assert both == [torn.problem, found.text]


def problems(search, aliases, **options):
    """Make indexes of images behind aliases, which may have options; return what is wrong with each alias."""
    made = set(aliases.values())
    for index in made:
        behind = {name: options.get(name, {}) for name, at in aliases.items() if at == index}
        mappings = {"_meta": {"media_type": "image"}}
        search.client.indices.create(index=index, mappings=mappings, aliases=behind)
    try:
        return {alias.name: alias.problem for alias in live(search.client).aliases if alias.problem}
    finally:
        search.client.indices.delete(index=",".join(made))


def test_aliases_that_point_at_the_right_index(search):
    assert problems(search, {"image": "image-1", "image-filtered": "image-1-filtered"}) == {}


@pytest.mark.parametrize(
    ("aliases", "wrong"),
    [
        ({"image": "image-1", "image-filtered": "image-1"}, {"image-filtered": "sensitive media are not"}),
        (
            {"image": "image-1-filtered", "image-filtered": "image-1"},
            {"image": "so that media are not found", "image-filtered": "sensitive media are found"},
        ),
        (
            {"image": "image-1-filtered", "image-filtered": "image-1-filtered"},
            {"image": "so that media are not found", "image-filtered": "as image does"},
        ),
        ({"image": "image-1", "image-filtered": "image-3"}, {"image-filtered": "is not a filtered index"}),
        ({"audio": "image-1"}, {"audio": "documents are of image"}),
    ],
)
def test_aliases_that_point_at_the_wrong_index(search, aliases, wrong):
    found = problems(search, aliases)
    assert found.keys() == wrong.keys()
    for name, text in wrong.items():
        assert text in found[name]


def test_an_alias_with_a_filter(search):
    nothing: dict[str, Any] = {"bool": {"must_not": [{"match_all": {}}]}}
    found = problems(search, {"image": "image-1"}, image={"filter": nothing})
    assert "has a filter of its own" in found["image"]


def test_an_answer_of_some_shards_is_not_believed():
    assert complete_answer(answer := {"_shards": {"failed": 0}, "timed_out": False}) is answer
    for part in ({"_shards": {"failed": 3}}, {"_shards": {"failed": 0}, "timed_out": True}):
        with pytest.raises(Retry, match="a part of the documents"):
            complete_answer(part)


def test_only_numbers_of_things_count():
    odd = numbers({"a": 5, "b": 7.0, "c": 10**400, "d": -1, "e": True, "f": float("inf"), "g": "1", "h": 1.5})
    assert odd == {"a": 5, "b": 7}


def test_a_provider_that_cannot_be_imported_is_a_finding(monkeypatch):
    monkeypatch.setattr(catalog_health, "broken_providers", lambda: {"met": BrokenProvider("met: line 3")})
    assert [(one.subject, one.text) for one in catalog_health.broken_declarations()] == [
        ("met", "met: line 3")
    ]


def test_every_finding_has_a_row_of_the_runbook():
    anchors = re.findall(r'<a id="([^"]+)">', (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8"))
    assert sorted(anchors) == sorted(get_args(finding.Runbook))
