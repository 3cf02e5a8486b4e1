"""Findings: what needs a person, and what does not."""

import re
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from catalog.ingestion.provider import BrokenProvider
from catalog.local.stack import ROOT
from catalog.monitoring import health, loads
from catalog.monitoring.loads import Freshness, Source
from catalog.monitoring.refreshes import Alias, Engine, Live, Refreshed
from catalog.providers.jamendo.provider import Jamendo
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
    ],
)
def test_loads(catalog, fields, runbook, words):
    report(catalog, "flickr", NOW, **fields)
    found = health.of_loads(incomplete(catalog))
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
    ],
)
def test_only_a_later_whole_load_of_the_window_brings_what_was_missing(catalog, later, brought):
    report(catalog, "flickr", NOW - timedelta(hours=9), run_id="short", **FIRST, **SHORT)
    report(catalog, "flickr", NOW - timedelta(hours=8), run_id="later", **later)
    report(catalog, "flickr", NOW - timedelta(days=30), run_id="earlier", **FIRST)
    assert (incomplete(catalog) == {}) is brought


@pytest.mark.database
@pytest.mark.enable_socket
def test_a_source_is_one_finding_however_many_windows_are_not_whole(catalog):
    for hours, window in enumerate((FIRST, SECOND, SECOND)):
        report(catalog, "flickr", NOW - timedelta(hours=hours), run_id=f"run{hours}", **window, **SHORT)
    [found] = health.of_loads(incomplete(catalog))
    assert (found.run_id, found.text) == (
        "run0",
        "is not whole: 1 of 900 came; one earlier window is not whole either",
    )
    assert health.of_loads(loads.not_whole(catalog, [FLICKR], NOW + timedelta(days=loads.KEPT + 1))) == []


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
    found = health.of_freshness({FLICKR: Freshness(last, None, None, state)}, scheduled)
    assert len(found) == number
    assert all("2024-03-05" in one.text and one.page == "providers/flickr" for one in found)
    assert all(("was not checked" in one.text) is (scheduled is None) for one in found)


@pytest.mark.database
@pytest.mark.enable_socket
def test_a_provider_whose_pulls_are_never_whole_becomes_late(catalog):
    for days in range(9):
        report(catalog, "flickr", NOW - timedelta(days=days), run_id=f"{days}", whole=False)
    [found] = health.of_freshness(loads.freshness(catalog, [FLICKR], NOW))
    assert "no pull was whole since the first load, on 2024-03-06" in found.text
    assert health.of_freshness(loads.freshness(catalog, [FLICKR], NOW - timedelta(days=7))) == []


@pytest.mark.database
@pytest.mark.enable_socket
def test_quotas(catalog):
    quota = Jamendo.quota
    assert quota
    key, start = Jamendo.key.variable, quota.starts(NOW)
    for used, number in ((quota.requests - 1, 0), (quota.requests, 1)):
        catalog.execute("delete from rate_quota")
        catalog.execute("insert into rate_quota values (%s, %s, %s)", [key, start, used])
        found = health.of_quotas(catalog, NOW)
        assert [one.subject for one in found] == ["jamendo"] * number
    assert health.of_quotas(catalog, quota.resumes(NOW)) == []


@pytest.mark.parametrize(
    ("engine", "runbooks"),
    [
        (Engine("green", 0, 0.5), []),
        (Engine("green", 0, None), []),
        (Engine("yellow", 3, 0.5), ["engine-status"]),
        (Engine("red", 3, 0.9), ["engine-status", "engine-disk"]),
    ],
)
def test_the_engine(engine, runbooks):
    found = health.of_engine(engine)
    assert [one.runbook for one in found] == runbooks
    assert [one.severity for one in found if one.runbook == "engine-status"] in (
        [],
        ["error" if engine.status == "red" else "warning"],
    )


def refreshed(days, stage="promoted", **documents):
    """Return a refresh of some days ago; its documents are those before it."""
    begun = NOW - timedelta(days=days)
    return Refreshed(1, "image_data_refresh", "run", "image", "full", "", stage, begun, None, documents)


def of_live(history, documents=(), aliases=()):
    return health.of_live(Live(list(aliases), {"image": dict(documents)}), {"image": history}, NOW)


def test_sources_that_shrink():
    before = refreshed(2, flickr=1000, met=1000)
    [found] = of_live([refreshed(1, "working"), before], {"flickr": 790, "met": 950})
    assert (found.subject, found.runbook) == ("flickr (image)", "shrinking")
    assert "790 documents are searched, 1,000 before the refresh of 2024-03-12" in found.text
    assert of_live([refreshed(1, nappy=health.NOTICEABLE - 1)]) == []
    assert len(of_live([refreshed(1, nappy=health.NOTICEABLE)])) == 1
    assert of_live([]) == []


def test_a_loss_is_reported_for_a_week_or_until_the_next_refresh():
    lost, steady = refreshed(6, met=1000), refreshed(1, met=400)
    assert len(of_live([steady, lost], {"met": 400})) == 1
    assert of_live([steady, refreshed(8, met=1000)], {"met": 400}) == []
    assert len(of_live([refreshed(30, met=1000)], {"met": 400})) == 1


def test_slow_losses_add_up():
    history = [refreshed(days, met=1000 - 50 * (6 - days)) for days in range(1, 7)]
    [found] = of_live(history, {"met": 700})
    assert "700 documents are searched, 1,000 before" in found.text


def test_aliases_without_an_index_and_with_several():
    there, missing = Alias("image", "image", "image-1", 5), Alias("image-filtered", "image", None)
    torn = Alias("image", "image", None, problem="the alias image points at a, b")
    promoted = refreshed(1, met=1000)
    assert of_live([], aliases=[missing]) == []  # before the first refresh
    [found] = of_live([promoted], aliases=[there, missing])
    assert (found.severity, found.subject, found.runbook) == ("error", "alias image-filtered", "alias")
    [found] = of_live([], aliases=[torn, missing])
    assert found.text == torn.problem


def test_a_provider_that_cannot_be_imported_is_a_finding(monkeypatch):
    monkeypatch.setattr(health, "broken_providers", lambda: {"met": BrokenProvider("met: line 3")})
    assert [(one.subject, one.text) for one in health.of_code()] == [("met", "met: line 3")]


def test_every_finding_has_a_row_of_the_runbook():
    anchors = re.findall(r'<a id="([^"]+)">', (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8"))
    assert sorted(anchors) == sorted([*get_args(health.Runbook), "refresh-failed"])
