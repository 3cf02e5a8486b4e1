"""An update that finds nothing is no success, unless nothing is left of it, or nobody expects anything."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from catalog.core.accepting import accepting
from catalog.core.errors import Refused
from catalog.database.batched_update import BatchedUpdate
from catalog.database.statements import parse_update
from catalog.popularity.popularity import update_conf
from catalog.tests.database.media import fill

pytestmark = [pytest.mark.airflow, pytest.mark.database]
CONF: dict[str, Any] = {
    "query_id": "titles",
    "table_name": "image",
    "select_query": "WHERE provider = 'flickr' AND title NOT LIKE '%!'",
    "update_query": "SET title = title || '!'",
    "batch_size": 10,
    "update_timeout": 3600,
    "resume_update": False,
    "accept_no_rows": False,
    "dry_run": False,
}
NOTHING = "select_query: no record of image matches, so nothing "


class Runs:
    """The tasks of runs of the DAG; a run has a name and a conf."""

    def __init__(self, catalog, dsn, monkeypatch):
        from catalog.dags import batched_update as module
        from catalog.dags.groups import batched

        self.catalog, self.dsn, self._module, self._name = catalog, dsn, module, ""
        monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", dsn)
        for place in (module, batched):
            monkeypatch.setattr(place, "FirstTime", lambda: nullcontext(False))
            monkeypatch.setattr(place, "run_name", lambda: self._name)
        monkeypatch.setattr(module, "accepting_conf", lambda key: accepting({"query_id": "titles"}, key))
        monkeypatch.setattr(module, "notify", lambda *texts, **more: "")
        monkeypatch.setattr(module, "note_written", lambda *about, **more: None)
        monkeypatch.setattr(
            batched, "Variable", SimpleNamespace(get=lambda *_, **__: None, set=lambda *_, **__: None)
        )

    def run(self, name, **conf):
        """Run all tasks, or run them again; return the result of the last one, or of a dry run."""
        self._name, params = name, {**CONF, **conf}
        checked = self._module.check_update.function(params)
        if params["dry_run"]:
            return checked["rows"]
        self._module.select_rows_to_update.function(params)
        return self._module.update_batches.function(params)

    def kill_at_the_end(self, name):
        """Select and update all rows as a run does that is killed before it drops its selection."""
        update = parse_update(CONF["table_name"], CONF["update_query"], CONF["select_query"])
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            job = BatchedUpdate(connection, CONF["query_id"], name, update)
            assert job.run(job.claim() or job.select()).updated == 5

    def titles(self):
        return [title for (title,) in self.catalog.execute("select title from image")]


@pytest.fixture
def runs(catalog, dsn, monkeypatch):
    fill(catalog, 5, ("flickr",))
    return Runs(catalog, dsn, monkeypatch)


def test_a_condition_that_no_record_matches_is_refused(runs):
    """Each time, and nothing of it remains: the same query_id is free for the right condition."""
    mistyped = {"select_query": "WHERE provider = 'Flickr'"}
    for _ in range(2):
        with pytest.raises(Refused, match=NOTHING + "was updated. Names of providers are as in"):
            runs.run("a", **mistyped)
    conf = r'\{"query_id": "titles", "accept_no_rows": true\}\.$'
    with pytest.raises(Refused, match=NOTHING + "would be updated.* trigger it with " + conf):
        runs.run("dry", **mistyped, dry_run=True)
    with pytest.raises(Refused, match=NOTHING):  # there is no earlier run
        runs.run("resumed", **mistyped, resume_update=True)
    assert runs.catalog.execute("select count(*) from batched_update").fetchone() == (0,)
    assert runs.run("dry", dry_run=True) == 5
    assert runs.run("b") == {"total": 5, "updated": 5, "gone": 0}


def test_a_run_that_expects_nothing_succeeds(runs):
    nobody = {"select_query": "WHERE provider = 'nobody'", "accept_no_rows": True}
    assert runs.run("dry", **nobody, dry_run=True) == 0
    for _ in range(2):  # a run that is cleared, too
        assert runs.run("a", **nobody) == {"total": 0, "updated": 0, "gone": 0}
    assert runs.run("popularity", **update_conf("image", "flickr")) == {"total": 0, "updated": 0, "gone": 0}


def test_a_run_that_was_killed_after_its_last_row_ends_well_when_it_is_cleared(runs):
    runs.kill_at_the_end("a")
    for _ in range(2):
        assert runs.run("a") == {"total": 5, "updated": 5, "gone": 0}
    assert all(title.count("!") == 1 for title in runs.titles())


@pytest.mark.parametrize("dropped", [False, True])
def test_a_run_that_resumes_an_update_of_which_no_row_is_left_succeeds(runs, dropped):
    """Whether or not the earlier run could drop its selection."""
    runs.kill_at_the_end("a")
    if dropped:
        runs.run("a")
    assert runs.run("dry", resume_update=True, dry_run=True) == 0 or not dropped
    for _ in range(2):
        assert runs.run("b", resume_update=True)["gone"] == 0
    assert all(title.count("!") == 1 for title in runs.titles())
    with pytest.raises(Refused, match=NOTHING):
        runs.run("c")


@pytest.mark.parametrize(
    "conf", [{"select_query": "WHERE provider = 'Flickr'"}, {"table_name": "audio"}], ids=["where", "table"]
)
def test_a_run_that_resumes_another_update_is_refused(runs, conf):
    """What a run of the same query id has done long ago says nothing about it."""
    runs.run("a")
    for name in ("b", "c"):
        with pytest.raises(Refused, match="no record of"):
            runs.run(name, **conf, resume_update=True)
    with pytest.raises(Refused, match="no record of"):
        runs.run("dry", **conf, resume_update=True, dry_run=True)
    assert runs.run("d", resume_update=True)["total"] == 0
