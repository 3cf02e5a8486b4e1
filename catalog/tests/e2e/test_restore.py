"""The backup of docs/running_in_production.md, and the way back: work goes on after it, databases are lost, and what they held comes back.

The commands are those of the page, and those that `catalog db restored` prints. Each test begins with the same backup.
"""

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from catalog.ingestion.provider import FOLDER, provider_class, provider_names
from catalog.local.airflow_api import AirflowApi
from catalog.local.lifecycle import down, up
from catalog.local.runs import unpaused
from catalog.local.stack import ROOT
from catalog.tests.e2e.conftest import Bench, snap_recording, stack_for_tests, until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.timeout(3600)]
PAGE = ROOT / "docs" / "running_in_production.md"
STOCKSNAP, PULL, LOAD = "stocksnap_workflow", "ingest_data.pull_image_data", "ingest_data.load_image_data"
REFRESH, OTHER_REFRESH = "image_data_refresh", "audio_data_refresh"
DATED = ("europeana", "wikimedia_commons")
USED = [*(f"{name}_workflow" for name in DATED), STOCKSNAP, REFRESH, OTHER_REFRESH]
# What comes back as it was; keys and dates are new.
COLUMNS = "provider, foreign_identifier, url, title, creator, license, license_version, meta_data, tags"


def dag_of(words):
    """The DAG that a command of Airflow's is about."""
    if "--dag-id" in words:
        return words[words.index("--dag-id") + 1]
    return next(word for word in words[3:] if not word.startswith("-"))


def day(back):
    return (datetime.now(UTC) - timedelta(days=back)).date()


class Site:
    """A stack, its backup, and the commands that people give it."""

    def __init__(self, bench, folder):
        self.bench, self.backups, self.replay = bench, folder / "backups", folder / "replay"
        self.backups.mkdir()
        for name in DATED:
            shutil.copytree(FOLDER / name / "recording", self.replay / name)

    def photos(self, prefix, **more):
        """What StockSnap answers from now on."""
        shutil.rmtree(self.replay / "stocksnap", ignore_errors=True)
        snap_recording(self.replay / "stocksnap", prefix, **more)

    def environment(self):
        stack = self.bench.stack
        superuser = stack.dsn("postgres").rpartition("/")[0]
        programs = stack.postgres(stack.settings())._programs()
        path = f"{Path(sys.executable).parent}:{programs}:/usr/bin:/bin"
        return {**stack.environment(), "PATH": path, "BACKUPS": str(self.backups), "POSTGRES": superuser}

    def shell(self, text):
        done = subprocess.run(
            ["bash", "-eu"], input=text, env=self.environment(), cwd=self.backups, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def page(self, kind, name="catalog"):
        """Run a block of the page; with another database's names, as the page says, where `name` is another database."""
        [(_, text)] = re.findall(
            rf"^( *)```sh {kind}\n(.*?)^ *```$", PAGE.read_text(), re.DOTALL | re.MULTILINE
        )
        text = textwrap.dedent(text)
        if name != "catalog":
            address = {
                "api": "$AIRFLOW_CONN_POSTGRES_OPENLEDGER_API",
                "airflow": "${AIRFLOW__DATABASE__SQL_ALCHEMY_CONN/+psycopg2/}",
            }
            text = "".join(line for line in text.splitlines(True) if not line.startswith("catalog db "))
            text = text.replace("$AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM", address[name])
            text = re.sub(r"\bcatalog\b", name, text)
        return self.shell(text)

    def run(self, dag_id, state="success", **conf):
        """Trigger a DAG, and wait for its end; the run's id."""
        run_id, found = self.bench.run(dag_id, conf, timeout=300)
        assert found == state, (dag_id, found, self.bench.tasks(dag_id, run_id))
        return run_id

    def clear(self, dag_id, run_id, task_id, state):
        self.bench.api.clear(dag_id, run_id, [task_id])
        until(lambda: self.bench.api.run(dag_id, run_id)["state"] not in ("success", "failed"))
        assert self.bench.api.wait(dag_id, run_id, 300) == state

    def records(self):
        with self.bench.catalog() as catalog:
            tables = ("image", "audio", "deleted_image", "deleted_audio")
            return {
                table: set(map(str, catalog.execute(f"select {COLUMNS} from {table}"))) for table in tables
            }

    def keys(self):
        """Of the records that the last refresh has shown: what they are called → the key by which links know them."""
        with self.bench.database("api") as api:
            return dict(
                api.execute("select provider || ' ' || foreign_identifier, identifier from image").fetchall()
            )

    def commands(self):
        """What `catalog db restored` has printed: number of the section → commands."""
        sections = {}
        for line in (self.backups / "restored.txt").read_text().splitlines():
            if found := re.match(r"# (\d)\.", line):
                sections[int(found[1])] = []
            elif line and not line.startswith("#"):
                sections[max(sections)].append(shlex.split(line))
        return sections

    def follow(self, *numbers):
        """Give the commands of sections, those for the DAGs that are used here, and wait for what they have started."""
        began = datetime.now(UTC).isoformat()
        for words in [words for number in numbers for words in self.commands()[number]]:
            if dag_of(words) in (*USED, "delete_records", "batched_update"):
                self.shell(shlex.join(words))
        until(lambda: not self.at_work(began), 600)
        failed = self.bench.api.call("GET", "/api/v2/dags/~/dagRuns", state=["failed"], updated_at_gte=began)[
            "dag_runs"
        ]
        assert [(run["dag_id"], self.bench.tasks(run["dag_id"], run["dag_run_id"])) for run in failed] == []

    def at_work(self, began):
        """Backfills, and runs that have changed since then, that are not finished."""
        runs = self.bench.api.call(
            "GET", "/api/v2/dags/~/dagRuns", state=["queued", "running"], updated_at_gte=began
        )
        backfills = [
            backfill
            for dag_id in USED
            for backfill in self.bench.api.call("GET", "/api/v2/backfills", dag_id=dag_id)["backfills"]
        ]
        return runs["dag_runs"] or [one for one in backfills if not one["completed_at"]]

    def restore(self, *databases):
        """What the page says, between the end of Airflow's components and their start."""
        stack = self.bench.stack
        down(stack)
        server = stack.postgres(stack.settings())
        server.start()
        try:
            for name in sorted(databases, key="catalog".__eq__):  # it asks Airflow's, so that comes before
                self.page("restore", name)
        finally:
            server.stop()
        up(stack, print, tied=True, timeout=600)
        self.bench.api = AirflowApi(stack.ui)


@pytest.fixture(scope="module")
def site(slack_server, webhook, aws, tmp_path_factory):
    """Loaded, updated, deleted from, refreshed; one pull and one refresh have failed; backed up."""
    folder = tmp_path_factory.mktemp("site")
    for path in (folder, *folder.parents[:3]):
        path.chmod(path.stat().st_mode | 0o755)
    with stack_for_tests(webhook, aws) as stack:
        bench = Bench(stack, slack_server[1])
        made = Site(bench, folder)
        with unpaused(bench.api, USED, print):
            made.photos("KEPT", pages=4)
            made.run(STOCKSNAP, replay=str(made.replay))
            made.run("delete_records", **deletion("KEPT0001000"))
            made.run("batched_update", **update("before", "KEPT0002%"))
            made.run(REFRESH)
            with bench.failing(OTHER_REFRESH, "clean_up", "before", "fail"):
                made.refresh_before = made.run(OTHER_REFRESH, "failed")
            made.photos("HALF", pages=6, missing=4)
            made.pull_before = made.run(STOCKSNAP, "failed", replay=str(made.replay))
            made.page("backup")
            assert {path.stat().st_size > 1000 for path in made.backups.glob("*.dump")} == {True}
            yield made


def deletion(photo):
    return {
        "table_name": "image",
        "select_query": f"WHERE foreign_identifier = '{photo}'",
        "reason": "it's asked for",
    }


def update(query_id, like):
    return {
        "query_id": query_id, "table_name": "image", "select_query": f"WHERE foreign_identifier LIKE '{like}'",
        "update_query": "SET title = 'by hand', updated_on = now()", "dry_run": False,
    }  # fmt: skip


def windows(bench, provider):
    string = list(provider_class(provider).strings.values())
    with bench.catalog() as catalog:
        rows = catalog.execute("select window_start from ingestion_report where provider = any(%s)", [string])
        return {start.astimezone(UTC).date() for (start,) in rows}


def test_the_catalog_is_lost(site):
    """Airflow, the API's database, the search engine and the parts know of what it does not know any more."""
    bench = site.bench
    for name in DATED:
        site.shell(
            f"airflow backfill create --dag-id {name}_workflow --from-date {day(3)} --to-date {day(2)} --run-on-latest-version "
            f"--dag-run-conf {shlex.quote(orjson.dumps({'replay': str(site.replay)}).decode())}"
        )
    site.photos("KEPT", pages=6)
    site.run(STOCKSNAP, replay=str(site.replay))
    for name in DATED:
        until(lambda n=name: windows(bench, n) == {day(3), day(2)}, 300)
    site.run("delete_records", **deletion("KEPT0003000"))
    site.run("delete_records", **deletion("KEPT0006000"))
    site.run("delete_records", **deletion("KEPT0003001"), dry_run=True)
    site.run("batched_update", **update("after", "KEPT0006%"))
    site.run(REFRESH)
    site.photos("PART", pages=6, missing=4)
    pull = site.run(STOCKSNAP, "failed", replay=str(site.replay))
    with bench.failing(REFRESH, "promote_tables", "before", "fail"):
        refresh = site.run(REFRESH, "failed")
    before, keys = site.records(), site.keys()

    site.restore("catalog")
    assert {f for _, f in photos(site, "image")} & {"KEPT0003000", "PART0001000"} == {"KEPT0003000"}
    printed = site.commands()
    dated = {f"{name}_workflow" for name in provider_names() if provider_class(name).dated}
    assert {dag_of(words) for words in printed[2]} == dated
    assert {dag_of(words) for words in printed[3] + printed[4]} == {
        f"{n}_workflow" for n in provider_names()
    } - dated
    by_hand = [(dag_of(words), orjson.loads(words[-1])) for words in printed[5]]
    expected = [("delete_records", deletion("KEPT0003000")), ("delete_records", deletion("KEPT0006000"))]
    assert by_hand == [*expected, ("batched_update", update("after", "KEPT0006%"))]

    for dag_id, run_id, task_id, text in (
        (REFRESH, refresh, "promote_tables", "has not taken its turn"),
        (OTHER_REFRESH, site.refresh_before, "clean_up", "the restoration of the catalog database"),
    ):
        site.clear(dag_id, run_id, task_id, "failed")
        assert text in bench.api.log(dag_id, run_id, task_id, try_number=2)

    conf = orjson.dumps({"replay": str(site.replay)}).decode()
    site.shell(f"catalog db restored --since {day(3)} --conf {shlex.quote(conf)} >restored.txt")
    site.photos("KEPT", pages=6)
    site.follow(1, 2, 3, 4)
    for name in DATED:
        assert windows(bench, name) == {day(3), day(2), day(1)}
    site.photos("PART", pages=6)
    site.clear(STOCKSNAP, pull, PULL, "success")
    [report] = bench.reports(pull)
    assert (report["complete"], report["fetched"], report["inserted"]) == (True, 30, 30)
    site.follow(5)
    after = site.records()
    added = {row for row in after["image"] if "'PART000" in row}
    assert len(added) == 30
    for table, rows in before.items():
        assert after[table] - added == rows - added, table

    site.follow(6)
    assert_found(site)
    now = site.keys()
    gone = {name for name in keys if name not in now}
    assert gone == {"stocksnap KEPT0003000", "stocksnap KEPT0006000"} & set(keys)
    assert {name: now[name] for name in keys if name not in gone} == {
        n: k for n, k in keys.items() if n not in gone
    }


def test_all_databases_and_the_parts_are_lost(site):
    """Airflow's database is as old as the catalog's, and knows of no later run."""
    bench = site.bench
    site.photos("LOST", pages=12)  # so that the refresh finds no fewer than are live
    site.run(STOCKSNAP, replay=str(site.replay))
    site.run("delete_records", **deletion("KEPT0004000"))
    shutil.rmtree(bench.stack.storage)
    site.restore("catalog", "api", "airflow")
    assert not site.commands()[5]
    assert "KEPT0004000" in {f for _, f in photos(site, "image")}
    assert not [f for _, f in photos(site, "image") if f.startswith("LOST")]

    conf = orjson.dumps({"replay": str(site.replay)}).decode()
    site.shell(f"catalog db restored --since {day(2)} --conf {shlex.quote(conf)} >restored.txt")
    site.follow(1, 2, 3, 4)
    for name in DATED:
        assert windows(bench, name) == {day(2), day(1)}
    assert len([f for _, f in photos(site, "image") if f.startswith("LOST")]) == 60

    site.photos("HALF", pages=6)  # its first pages are known to Airflow, and their parts are gone
    site.clear(STOCKSNAP, site.pull_before, PULL, "failed")
    assert "the manifest lists" in bench.api.log(STOCKSNAP, site.pull_before, LOAD, try_number=2)
    site.clear(STOCKSNAP, site.pull_before, PULL, "success")
    [report] = bench.reports(site.pull_before)
    assert (report["complete"], report["fetched"]) == (True, 30)
    site.follow(6)
    assert_found(site)


def photos(site, table):
    with site.bench.catalog() as catalog:
        return catalog.execute(f"select provider, foreign_identifier from {table}").fetchall()


def assert_found(site):
    """After the refresh: the API's tables and the index hold what the catalog holds."""
    for table in ("image", "audio"):
        with site.bench.database("api") as api:
            theirs = {i for (i,) in api.execute(f"select identifier from {table}")}
        with site.bench.catalog() as catalog:
            ours = {i for (i,) in catalog.execute(f"select identifier from {table}")}
        assert theirs == ours
    assert sum(site.bench.search().sources("image").values()) == len(photos(site, "image"))
