"""Findings: what needs a person, and what does not."""

import re
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from catalog.local.stack import ROOT
from catalog.monitoring import health, loads
from catalog.monitoring.loads import Freshness, Source
from catalog.monitoring.refreshes import Engine, Refreshed
from catalog.providers.jamendo.provider import Jamendo
from catalog.tests.monitoring.reports import report

NOW = datetime(2024, 3, 14, 12, tzinfo=UTC)
FLICKR = Source("flickr", "image", "flickr")


def newest(catalog, **fields):
    report(catalog, "flickr", NOW, **fields)
    return {FLICKR: loads.history(catalog, FLICKR, 1)[0]}


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
    ],
)
def test_loads(catalog, fields, runbook, words):
    found = health.of_loads(newest(catalog, **fields))
    assert [one.runbook for one in found] == ([runbook] if runbook else [])
    assert all(words in one.text and one.severity == "error" and one.run_id for one in found)


@pytest.mark.parametrize(
    ("state", "scheduled", "number"),
    [("late", ["flickr_workflow"], 1), ("late", [], 0), ("never", ["flickr_workflow"], 0), ("fresh", [], 0)],
)
def test_only_what_is_scheduled_can_be_late(state, scheduled, number):
    last = None if state == "never" else NOW - timedelta(days=9)
    found = health.of_freshness({FLICKR: Freshness(last, None, state)}, scheduled)
    assert len(found) == number
    assert all("2024-03-05" in one.text and one.page == "providers/flickr" for one in found)


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


def refreshed(number, stage="promoted", **documents):
    return Refreshed(number, "image_data_refresh", "run", "image", "full", "", stage, NOW, None, documents)


def test_sources_that_shrink():
    """The documents of a refresh are those before it, so two refreshes show what the older one did."""
    history = [
        refreshed(3, "working"),
        refreshed(2, flickr=790, met=950),
        refreshed(1, flickr=1000, met=1000),
    ]
    found = health.of_refreshes(history)
    assert [one.subject for one in found] == ["flickr (image)"]
    assert "790 documents are searched, 1,000 before" in found[0].text
    assert health.of_refreshes(history[1:2]) == []
    assert health.of_refreshes([refreshed(2), refreshed(1, nappy=health.NOTICEABLE - 1)]) == []
    assert len(health.of_refreshes([refreshed(2), refreshed(1, nappy=health.NOTICEABLE)])) == 1


def test_every_finding_has_a_row_of_the_runbook():
    anchors = re.findall(r'<a id="([^"]+)">', (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8"))
    assert sorted(anchors) == sorted([*get_args(health.Runbook), "refresh-failed"])
