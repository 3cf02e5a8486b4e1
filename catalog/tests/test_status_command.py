"""`catalog status`, `provider`, `providers` and `search`: for people, and as JSON for programs."""

import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest

from catalog.cli import app as cli
from catalog.cli.connections import AIRFLOW, ENGINE
from catalog.cli.search import web_address
from catalog.database import sample_data
from catalog.ingestion import registry
from catalog.ingestion.registry import BrokenProvider
from catalog.tests.monitoring.reports import report
from catalog.tests.plugins.searchable import make_searchable
from catalog.tests.plugins.website import dag, fill_metadata, run

pytestmark = [pytest.mark.database, pytest.mark.enable_socket]


@pytest.fixture
def command(monkeypatch, capsys, dsn, engine):
    """Return a function that runs `catalog`, and returns its exit status and what it printed."""
    monkeypatch.setenv("CATALOG_DSN", dsn)
    monkeypatch.setenv(ENGINE, f"{engine.url}/?engine=opensearch")
    monkeypatch.delenv(AIRFLOW)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["catalog", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr().out

    return run


def test_a_new_catalog_needs_nobody(command, search, catalog):
    status, shown = command("status")
    assert (status, "Nothing in the databases and the search engine needs you" in shown) == (0, True)
    assert "image: no index yet" in shown
    assert "Failed runs were not looked for" in shown


@pytest.mark.airflow
def test_runs_that_are_refused_are_named(command, search, catalog, monkeypatch, tmp_path):
    """With the reason and the remedy, although all that is live is well."""
    now = datetime.now(UTC)
    why = "the new version is suspicious: … If it is right, trigger a run with the conf …"
    failed = ("failed", now - timedelta(hours=2), now)
    runs = [
        run("publish_dataset", "a", *failed, failure=why, publish_version="failed", watcher="failed"),
        run("image_data_refresh", "b", *failed, copy_tables="failed"),
        run("audio_data_refresh", "c", *failed, copy_tables="skipped"),
        run("add_license_url", "d", *failed, failure=why, work="failed"),
        run("add_license_url", "e", "success", now, now + timedelta(hours=1), work="success"),
        run("gone", "f", *failed, work="failed"),
    ]
    address = f"sqlite:///{tmp_path}/airflow.db"
    dags = [dag(one["dag_id"], stale=one["dag_id"] == "gone") for one in runs if one["run_id"] != "e"]
    fill_metadata({**os.environ, AIRFLOW: address, "AIRFLOW_HOME": str(tmp_path)}, dags, runs)
    monkeypatch.setenv(AIRFLOW, address)
    status, printed = command("status", "--json")
    found, on = json.loads(printed), f"on {now:%Y-%m-%d %H:%M}"
    assert (status, found["airflow_checked"]) == (1, True)
    assert {one["subject"]: one["text"] for one in found["findings"]} == {
        "publish_dataset": f"the newest run failed in publish_version {on}: {why}",
        "image_data_refresh": f"the newest run failed in copy_tables {on}; the log of the task says why",
        "audio_data_refresh": f"the newest run failed {on}",
    }
    assert "trigger a run with the conf" in re.sub(r"[\s│]+", " ", command("status")[1])


@pytest.mark.parametrize(
    "address", ["sqlite:////nowhere/airflow.db", "postgresql+psycopg2://u:hunter2@127.0.0.1:1/x", "nothing"]
)
def test_failed_runs_that_cannot_be_read_are_a_finding(command, search, catalog, monkeypatch, address):
    monkeypatch.setenv(AIRFLOW, address)
    status, shown = command("status")
    assert (status, "Airflow's database" in shown, "needs you" in shown) == (1, True, False)
    assert "hunter2" not in shown


def test_status_names_what_is_wrong(command, search, catalog, api):
    sample_data.fill(catalog, "catalog", 50)
    sample_data.fill(api, "api", 50)
    make_searchable(api, search)
    now = datetime.now(UTC)
    report(catalog, "met", now, inserted=3)
    report(catalog, "flickr", now, whole=False, shortfalls=["45 of 100 announced items came"], inserted=45)
    status, shown = command("status")
    assert status == 1
    assert "is not whole: 45 of 100 announced items came" in shown
    assert "met (image)" in shown
    status, printed = command("status", "--json")
    found = json.loads(printed)
    assert status == 1
    assert [one["runbook"] for one in found["findings"]] == ["not-whole"]
    assert {load["provider"] for load in found["newest_loads"]} == {"met", "flickr"}
    assert sum(one["records"] for one in found["records"] if one["media_type"] == "image") == 50
    assert [one["documents"] > 0 for one in found["aliases"] if one["name"] == "image"] == [True]


def test_the_dataset_is_what_the_table_says(command, search, catalog):
    catalog.execute(
        "insert into dataset_version (number, run_id, root, stage, published_on, summary) values"
        """ (5, 'run', 'file:///gone', 'published', '2026-11-30', '{"rows": {"image": 7}}')"""
    )
    _, shown = command("status")
    assert "dataset: version 5 of 2026-11-30, 7 image records, as the catalog's table says" in shown
    assert "below file:///gone were not looked at" in " ".join(shown.split())


def test_a_provider(command, catalog):
    now = datetime.now(UTC)
    report(
        catalog, "wikimedia_audio", now, media_type="audio", inserted=4, dag_id="wikimedia_commons_workflow"
    )
    report(catalog, "wikimedia", now - timedelta(1), rejected=2, rejected_reasons={"no url": 2})
    status, shown = command("provider", "wikimedia_commons")
    assert status == 0
    assert "wikimedia_audio (audio)" in shown
    assert "2 rejected: no url" in shown
    status, printed = command("provider", "wikimedia_commons", "--json")
    media = {one["media_type"]: one for one in json.loads(printed)["media"]}
    assert media["audio"]["loads"][0]["inserted"] == 4
    assert media["image"]["loads"][0]["rejected_reasons"] == {"no url": 2}
    assert command("provider", "nobody")[0] == 1
    assert json.loads(command("provider", "wikimedia_audio", "--json")[1])["name"] == "wikimedia_commons"


def test_a_pull_that_was_loaded_late_is_named(command, catalog, search):
    """Also if all else is well; the load was today."""
    now = datetime.now(UTC)
    report(catalog, "nappy", now, pull_began=now - timedelta(days=60), inserted=4)
    shown = command("status")[1]
    assert f"the last whole pull is of {now - timedelta(days=60):%Y-%m-%d}" in re.sub(r"\s+", " ", shown)
    assert f"whole until {now - timedelta(days=60):%Y-%m-%d}" in command("provider", "nappy")[1]


def test_providers_as_json(command, catalog):
    report(catalog, "flickr", datetime.now(UTC), inserted=4)
    status, printed = command("providers", "--json")
    found = {one["name"]: one for one in json.loads(printed)}
    assert status == 0
    assert "4 new" in found["flickr"]["last_runs"]["image"]
    assert found["metropolitan_museum"]["last_runs"] == {"image": None}
    assert set(found["freesound"]["last_runs"]) == {"audio"}


def test_the_share_of_gone_files_that_is_not_known_is_not_0(command, catalog):
    catalog.execute(
        "insert into link_survey (run_id, media_type, provider, slice, slices, planned_on, concluded_on,"
        " there, gone, unclear, share, low, high)"
        " values ('weekly', 'image', 'flickr', 0, 0, now(), now(), 90, 0, 0, 0, 0, 0.041),"
        " ('weekly', 'image', 'met', 0, 0, now(), now(), 4, 0, 8, null, null, null)"
    )
    found = {one["name"]: one for one in json.loads(command("providers", "--json")[1])}
    gone = found["flickr"]["gone"]["image"]
    assert (gone["share"], gone["low"], gone["high"]) == (0, 0, 0.041)
    assert found["metropolitan_museum"]["gone"] == {"image": None}
    assert found["freesound"]["gone"] == {"audio": None}
    shown = command("providers")[1]
    assert "0.0%" in shown
    assert "unknown" in shown


def test_last_runs_that_are_not_known_are_not_called_missing(command, catalog):
    """Each media type of a provider has its own last run, and a provider that is broken is not left out."""
    report(catalog, "wikimedia_audio", datetime.now(UTC), media_type="audio", inserted=4)
    found = {one["name"]: one for one in json.loads(command("providers", "--json")[1])}
    assert found["wikimedia_commons"]["last_runs"]["image"] is None
    assert "4 new" in found["wikimedia_commons"]["last_runs"]["audio"]
    nowhere = "postgresql://u:hunter2@127.0.0.1:1/x"
    status, printed = command("providers", "--json", "--dsn", nowhere)
    assert {one["last_runs"] for one in json.loads(printed)} == {None}
    status, printed = command("providers", "--dsn", nowhere)
    assert (status, "never" in printed, "unknown" in printed) == (0, False, True)


def test_a_broken_provider_is_not_called_unknown(command, catalog, monkeypatch, tmp_path):
    """Its error names no secret."""
    own = tmp_path / "new_one"
    own.mkdir()
    (own / "provider.py").write_text("raise ValueError('boom postgresql://u:hunter2@h/x')")
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    monkeypatch.setattr("catalog.providers.__path__", [str(tmp_path)])
    for arguments in (["status"], ["status", "--json"], ["providers", "--json"]):
        status, printed = command(*arguments)
        assert (status, "new_one" in printed, "hunter2" in printed) == (1, True, False), arguments
    assert "hunter2" not in str(registry.broken_providers()["new_one"])


def test_a_broken_provider_is_listed(command, catalog, monkeypatch):
    broken = {"new_one": BrokenProvider("new_one: SyntaxError")}
    monkeypatch.setattr("catalog.cli.providers.broken_providers", lambda: broken)
    status, printed = command("providers", "--json")
    assert status == 1
    assert {"name": "new_one", "problem": "new_one: SyntaxError"} in json.loads(printed)


def test_the_best_hit_is_opened(command, search, api, monkeypatch):
    sample_data.fill(api, "api", 50)
    make_searchable(api, search)
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    [(title,)] = api.execute("select title from image where title is not null limit 1").fetchall()
    status, printed = command("search", title, "--open", "--json")
    found = json.loads(printed)
    assert status == 0
    assert opened == [found["first"][0]["url"]]
    assert command("search", "nothing-has-this-word", "--open", "--json")[0] == 1
    assert len(opened) == 1


@pytest.mark.parametrize("url", [None, 3, "", "file:///etc/passwd", "javascript:alert(1)", "x"])
def test_only_web_addresses_are_opened(url):
    assert web_address(url) == ""


def test_the_other_findings_are_shown_when_the_engine_is_away(command, catalog, monkeypatch):
    report(catalog, "flickr", datetime.now(UTC), whole=False, shortfalls=["45 of 100 came"], inserted=45)
    for address in ("http://127.0.0.1:1/", "{malformed", "http://host:port/", "[]"):
        monkeypatch.setenv(ENGINE, address)
        status, printed = command("status", "--json")
        found = json.loads(printed)["findings"]
        assert (status, [one["runbook"] for one in found]) == (1, ["not-whole", "unknown", "unknown"]), (
            address
        )
    monkeypatch.setenv(ENGINE, "")
    assert "The search engine was not checked" in command("status")[1]
    assert json.loads(command("status", "--json")[1])["engine_checked"] is False


def test_a_missing_alias_is_a_finding_and_the_rest_is_shown(command, catalog, search, api):
    sample_data.fill(api, "api", 50)
    make_searchable(api, search)
    search.client.indices.create(index="image-second", aliases={"image": {}})
    try:
        status, shown = command("status")
    finally:
        search.client.indices.delete(index="image-second")
    assert status == 1
    assert "the alias image points at" in shown
    assert "image-filtered: " in shown


def test_the_engine_is_asked_when_the_database_is_away(command, search, api):
    sample_data.fill(api, "api", 50)
    make_searchable(api, search)
    nowhere = "postgresql://u:hunter2@127.0.0.1:1/x"
    status, printed = command("status", "--json", "--dsn", nowhere)
    found = json.loads(printed)
    assert (status, found["records"], found["newest_loads"], found["inserted_by_week"]) == (1, *[None] * 3)
    assert {one["subject"] for one in found["findings"]} == {"the catalog database", "the live indexes"}
    assert "hunter2" not in printed


@pytest.mark.parametrize("tags", [None, [{"accuracy": 1}], [{"name": None}, {"name": "a"}]])
def test_odd_tags_of_a_hit(command, search, api, tags):
    sample_data.fill(api, "api", 50)
    make_searchable(api, search)
    search.client.update(index="image-shown", id=_first(search), doc={"tags": tags}, refresh=True)
    status, shown = command("search", "", "--size", "100")
    assert (status, "hits for" in shown) == (0, True)


def _first(search):
    return search.client.search(index="image", size=1)["hits"]["hits"][0]["_id"]


MARKUP = "[/red] [bold]x[/] [link=file:///etc/passwd]y[/link]"


def test_brackets_are_shown_as_they_are(command, catalog, search, api):
    for database in (catalog, api):
        sample_data.fill(database, "catalog" if database is catalog else "api", 50)
    api.execute("update image set title = %s, creator = null, source = null", [MARKUP])
    make_searchable(api, search)
    report(
        catalog,
        "flickr",
        datetime.now(UTC),
        run_id=MARKUP,
        whole=False,
        shortfalls=[MARKUP],
        rejected=1,
        rejected_reasons={MARKUP: 1},
    )
    for arguments in (["status"], ["provider", "flickr"], ["search", "bold"], ["search", ""]):
        _, shown = command(*arguments)
        assert "[/red]" in shown, arguments
        assert "[bold]x[/]" in shown


def test_what_records_and_reports_say_cannot_steer_the_terminal(command, search, api, catalog):
    sample_data.fill(api, "api", 5)
    api.execute("update image set title = e'bridge :cat: [red] \\x1b[2J\\x1b]0;pwn\\x07'")
    make_searchable(api, search)
    status, shown = command("search", "bridge")
    assert status == 0
    assert "bridge :cat: [red] [2J]0;pwn" in shown
    report(catalog, "met", datetime.now(UTC), rejected=2, rejected_reasons={"no \x1b[31m:key: url": 2})
    assert "2 rejected: no [31m:key: url" in command("provider", "metropolitan_museum")[1]


def test_an_engine_that_answers_something_else_costs_only_its_part(command, catalog, monkeypatch, httpserver):
    report(catalog, "met", datetime.now(UTC), inserted=3)
    httpserver.expect_request(re.compile(".*")).respond_with_data("<html>", content_type="text/html")
    monkeypatch.setenv(ENGINE, f"{httpserver.url_for('')}?engine=opensearch")
    status, shown = command("status")
    assert status == 1
    assert "it could not be checked" in shown
    assert "met (image)" in shown
    assert json.loads(command("status", "--json")[1])["aliases"] is None
