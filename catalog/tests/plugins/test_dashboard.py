"""The dashboard's figures and page, on a real database and a real search engine."""

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest

from catalog.data_refresh.mapping import index_body, index_meta
from catalog.data_refresh.tag_policy import DEFAULT
from catalog.database import sample_data
from catalog.loading.freshness import freshness
from catalog.plugins import figures
from catalog.tests.waiting import until

pytestmark = [pytest.mark.database, pytest.mark.airflow, pytest.mark.enable_socket]
NOW = datetime(2024, 3, 14, 12, tzinfo=UTC)  # a Thursday


def report(connection, provider, days_ago, media_type="image", complete=True, whole=True, **counts):
    names = ("inserted", "updated", "unchanged", "skipped", "rejected")
    values = {
        **dict.fromkeys(names, 0),
        **counts,
        "dag_id": f"{provider}_workflow",
        "run_id": f"run {days_ago}",
        "provider": provider,
        "media_type": media_type,
        "manifest_token": "x",
        "manifest_pages": 1,
        "complete": complete,
        "whole": whole,
        "fetched": sum(counts.values()),
        "rejected_reasons": '{"<b>no url</b>": 2}',
        "finished_on": NOW - timedelta(days=days_ago),
    }
    places = ", ".join(f"%({name})s" for name in values)
    connection.execute(f"insert into ingestion_report ({', '.join(values)}) values ({places})", values)


@pytest.fixture
def loaded(catalog):
    sample_data.fill(catalog, "catalog", 2000)
    report(catalog, "flickr", 0.1, inserted=10, rejected=2)
    report(catalog, "flickr", 8, inserted=100)
    report(catalog, "flickr", 400, inserted=5000)
    report(catalog, "met", 3, unchanged=7, complete=False)
    report(catalog, "met", 30, inserted=7)
    report(catalog, "nappy", 1, unchanged=1, whole=False)
    return catalog


def test_records_of_small_tables_are_counted(catalog):
    """They are counted also before a table has been analyzed, as after a demo."""
    catalog.execute("alter table image set (autovacuum_enabled = off)")
    sample_data.fill(catalog, "catalog", 2000)
    catalog.execute("delete from pg_statistic where starelid in ('image'::regclass, 'audio'::regclass)")
    exact = catalog.execute("select 'image', provider, count(*) from image group by 2").fetchall()
    found = [(r["media_type"], r["provider"], r["records"]) for r in figures.records(catalog)]
    assert sorted(f for f in found if f[0] == "image") == sorted(exact)
    assert sum(n for media_type, _, n in found if media_type == "audio") == 200


def test_records_of_large_tables_are_estimated(loaded, monkeypatch):
    monkeypatch.setattr(figures, "COUNTED", 0)
    rows = figures.records(loaded)
    image = {r["provider"]: r["records"] for r in rows if r["media_type"] == "image"}
    exact = dict(loaded.execute("select provider, count(*) from image group by 1").fetchall())
    assert image == pytest.approx(exact, abs=5)
    assert sum(r["records"] for r in rows if r["media_type"] == "audio") == pytest.approx(200, abs=3)


def test_an_empty_catalog(catalog):
    assert figures.records(catalog) == []
    assert figures.outcomes(catalog) == []
    assert {f.state for f in freshness(catalog, NOW)} == {"never"}
    assert [n for _, n in figures.growth(catalog, NOW)] == [0] * figures.WEEKS


def test_growth_by_weeks(loaded):
    weeks = figures.growth(loaded, NOW)
    assert len(weeks) == figures.WEEKS
    assert weeks[-1] == (datetime(2024, 3, 11, tzinfo=UTC), 10)
    assert weeks[-2][1] == 100
    assert sum(n for _, n in weeks) == 117
    bars = figures.bars(weeks)
    assert max(b["h"] for b in bars) == 90
    assert bars[-1]["label"] == "week of 2024-03-11: 10"
    assert all(0 <= b["y"] <= 90 for b in bars)
    assert figures.bars([]) == []


def test_the_last_outcome_of_each_provider(loaded):
    by_provider = {r["provider"]: r for r in figures.outcomes(loaded)}
    assert (by_provider["flickr"]["inserted"], by_provider["flickr"]["rejected_reasons"]) == (
        10,
        {"<b>no url</b>": 2},
    )
    assert (by_provider["met"]["complete"], by_provider["met"]["unchanged"]) == (False, 7)


def test_freshness(loaded):
    """A partial load does not count; a month is late for a daily provider."""
    by_provider = {(f.provider, f.media_type): f for f in freshness(loaded, NOW)}
    assert by_provider["flickr", "image"].state == "fresh"
    assert (by_provider["met", "image"].state, by_provider["met", "image"].last) == (
        "late",
        NOW - timedelta(days=30),
    )
    assert by_provider["jamendo", "audio"].state == "never"
    assert by_provider["nappy", "image"].state == "never"  # limited


def test_outcomes_are_flagged_as_partial_or_limited(loaded):
    flags = {r["provider"]: r["flags"] for r in figures.outcomes(loaded)}
    assert (flags["flickr"], flags["met"], flags["nappy"]) == ("", "PARTIAL", "LIMITED")


def test_aliases(search):
    search.create("image-a", index_body("image", index_meta("image", "image_data_refresh", "r", DEFAULT), 1))
    search.swap_aliases({"image": "image-a"})
    assert {(a.name, a.index, a.documents, a.policy) for a in figures.aliases(search)} == {
        ("image", "image-a", 0, DEFAULT.digest),
        ("image-filtered", None, 0, ""),
        ("audio", None, 0, ""),
        ("audio-filtered", None, 0, ""),
    }


def test_states_of_issues_never_keep_the_page_waiting():
    from catalog.plugins.dashboard import Issues

    answer, asked = threading.Event(), threading.Event()
    clock = [0.0]

    def look_up(url):
        asked.set()
        answer.wait(10)
        if url == "bad":
            raise ValueError
        return "closed"

    issues = Issues(look_up, lambda: clock[0])
    assert issues.state("good") == "not known yet"
    assert asked.wait(10)
    assert issues.state("good") == "not known yet"
    answer.set()
    until(lambda: issues.state("good") == "closed")
    until(lambda: issues.state("bad") == "could not be looked up (ValueError)")
    clock[0] = 1000.0
    assert issues.state("good") == "closed"


def test_the_page(loaded, search):
    """Values of others are escaped, every figure is shown, and missing ones are named."""
    from catalog.plugins.dashboard import _templates

    growth = figures.growth(loaded, NOW)
    entry = {
        "dag_id": "d",
        "predicate": "<script>",
        "variable": "V",
        "issue": "javascript:alert(1)",
        "state": "closed",
    }
    html = _templates.get_template("dashboard.html").render(
        records=figures.records(loaded),
        growth=growth,
        bars=figures.bars(growth),
        outcomes=figures.outcomes(loaded),
        freshness=freshness(loaded, NOW),
        popularity=figures.popularity(loaded),
        aliases=figures.aliases(search),
        policy=DEFAULT,
        silenced=[entry],
        problems=["the search engine: Retry"],
        now=NOW,
        milliseconds=12,
    )
    assert "&lt;b&gt;no url&lt;/b&gt;" in html
    assert "<script>" not in html
    assert "javascript:" not in html
    assert "Not shown: the search engine: Retry" in html
    assert DEFAULT.digest in html
    assert "nowhere yet" in html
    assert html.count("<th scope=") > 20


def test_a_page_of_an_empty_catalog(catalog, search):
    from catalog.plugins.dashboard import _templates

    names = (
        "records",
        "outcomes",
        "growth",
        "bars",
        "freshness",
        "popularity",
        "aliases",
        "silenced",
        "problems",
    )
    html = _templates.get_template("dashboard.html").render(
        **{n: [] for n in names}, policy=None, now=NOW, milliseconds=1
    )
    assert "Nothing has been loaded yet." in html


def test_times_are_shown_in_utc():
    from catalog.plugins.dashboard import _templates

    east = datetime(2024, 3, 15, 1, 30, tzinfo=timezone(timedelta(hours=13)))
    assert (
        _templates.from_string("{{ (moment | utc).strftime('%Y-%m-%d %H:%M') }}").render(moment=east)
        == "2024-03-14 12:30"
    )
