"""Backup and restore as in docs/running_in_production.md: databases are lost, and all is recovered.

The commands are those of the page, and those that `catalog db restored` prints. Each test begins with the
same backup.
"""

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import orjson
import pytest

from catalog.ingestion.registry import FOLDER, provider_class, provider_names
from catalog.local.airflow_api import AirflowApi
from catalog.local.lifecycle import down, up
from catalog.local.schedules import unpaused
from catalog.local.stack import ROOT
from catalog.tests.e2e.conftest import Bench, snap_recording, stack_for_tests
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.timeout(3600)]
PAGE = ROOT / "docs" / "running_in_production.md"
STOCKSNAP, PULL, LOAD = "stocksnap_workflow", "ingest_data.pull_image_data", "ingest_data.load_image_data"
REFRESH, OTHER_REFRESH = "image_data_refresh", "audio_data_refresh"
DATED = ("europeana", "wikimedia_commons")
USED = [*(f"{name}_workflow" for name in DATED), STOCKSNAP, REFRESH, OTHER_REFRESH]
# Runs commands of Airflow, each in a process of its own, but imports Airflow only once, because that takes
# more time than the commands do.
AIRFLOW = """
import gc, json, os, sys
import airflow.cli.commands.backfill_command, airflow.cli.commands.dag_command
from airflow import settings
from airflow.__main__ import main
settings.dispose_orm()  # no connection may cross a fork
gc.freeze()
for words in json.load(sys.stdin):
    print("$", *words, flush=True)
    if (pid := os.fork()) == 0:
        settings.configure_orm()
        sys.argv = words
        sys.exit(main())
    if status := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        sys.exit(status)
"""
# Unfinished runs that were updated since a moment. A backfill has all its runs when its command ends.
ACTIVE = "select 1 from dag_run where state in ('queued', 'running') and updated_at >= %s"
# Columns that are recovered as they were; keys and dates are new.
COLUMNS = "provider, foreign_identifier, url, title, creator, license, license_version, meta_data, tags"


def dag_of(words):
    """Return the DAG that an Airflow command concerns."""
    if "--dag-id" in words:
        return words[words.index("--dag-id") + 1]
    return next(word for word in words[3:] if not word.startswith("-"))


def day(back):
    return (datetime.now(UTC) - timedelta(days=back)).date()


class Site:
    """A stack, its backup, and the commands of its operator."""

    def __init__(self, bench, folder):
        self.bench, self.backups, self.replay = bench, folder / "backups", folder / "replay"
        self.backups.mkdir()
        # Runs that had failed before the backup.
        self.refresh_before = self.pull_before = ""
        for name in DATED:
            shutil.copytree(FOLDER / name / "recording", self.replay / name)

    def photos(self, prefix, **more):
        """Set the photos that StockSnap returns."""
        shutil.rmtree(self.replay / "stocksnap", ignore_errors=True)
        snap_recording(self.replay / "stocksnap", prefix, **more)

    def environment(self):
        stack = self.bench.stack
        superuser = stack.dsn("postgres").rpartition("/")[0]
        programs = stack.postgres(stack.settings())._programs()
        path = f"{Path(sys.executable).parent}:{programs}:/usr/bin:/bin"
        return {**stack.environment(), "PATH": path, "BACKUPS": str(self.backups), "POSTGRES": superuser}

    def shell(self, text):
        return self.program(["bash", "-eu"], text)

    def airflow(self, commands):
        """Run commands, each a list of words that begins with `airflow`."""
        assert {words[0] for words in commands} <= {"airflow"}
        if commands:
            self.program([sys.executable, "-c", AIRFLOW], orjson.dumps(commands).decode())

    def program(self, command, text):
        done = subprocess.run(
            command,
            input=text,
            env=self.environment(),
            cwd=self.backups,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def page(self, kind, name="catalog"):
        """Run a block of the page; for another database, with its names in place, as the page says."""
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
        """Trigger a DAG, check its final state, and return the run id."""
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
        """Return the identifiers of the API's records by provider and foreign identifier; links use them."""
        with self.bench.database("api") as api:
            return dict(
                api.execute("select provider || ' ' || foreign_identifier, identifier from image").fetchall()
            )

    def commands(self):
        """Return the commands that `catalog db restored` has printed, by number of the section."""
        sections: dict[int, list[list[str]]] = {}
        for line in (self.backups / "restored.txt").read_text().splitlines():
            if found := re.match(r"# (\d)\.", line):
                sections[int(found[1])] = []
            elif line and not line.startswith("#"):
                sections[max(sections)].append(shlex.split(line))
        return sections

    def follow(self, *numbers):
        """Run the commands of sections for the DAGs in use, and wait for the runs they have started."""
        began = datetime.now(UTC).isoformat()
        used = (*USED, "delete_records", "batched_update")
        printed = [words for number in numbers for words in self.commands()[number]]
        self.airflow([words for words in printed if dag_of(words) in used])
        with self.bench.database("airflow") as connection:  # which costs less than to ask Airflow
            until(lambda: not connection.execute(ACTIVE, [began]).fetchone(), 600)
        failed = self.bench.api.call("GET", "/api/v2/dags/~/dagRuns", state=["failed"], updated_at_gte=began)[
            "dag_runs"
        ]
        assert [(run["dag_id"], self.bench.tasks(run["dag_id"], run["dag_run_id"])) for run in failed] == []

    def restore(self, *databases):
        """Stop Airflow, restore databases as the page says, and start Airflow."""
        stack = self.bench.stack
        down(stack)
        server = stack.postgres(stack.settings())
        server.start()
        try:
            # The catalog's comes last, because its commands read Airflow's.
            for name in sorted(databases, key="catalog".__eq__):
                self.page("restore", name)
        finally:
            server.stop()
        up(stack, print, tied=True, timeout=600)
        self.bench.api = AirflowApi(stack.ui)


@pytest.fixture(scope="module")
def site(slack_server, webhook, aws, tmp_path_factory):
    """A stack with a backup, after a pull, an update, a deletion, refreshes, and failed runs."""
    folder = tmp_path_factory.mktemp("site")
    for path in (folder, *folder.parents[:3]):
        path.chmod(path.stat().st_mode | 0o755)
    with stack_for_tests(webhook, aws) as stack:
        bench = Bench(stack, slack_server[1])
        made = Site(bench, folder)
        with unpaused(bench.stack, USED, print):
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
        "query_id": query_id,
        "table_name": "image",
        "select_query": f"WHERE foreign_identifier LIKE '{like}'",
        "update_query": "SET title = 'by hand', updated_on = now()",
        "dry_run": False,
    }


def windows(bench: Bench, provider: str) -> set[date]:
    names = list(provider_class(provider).catalog_names.values())
    with bench.catalog() as catalog:
        rows = catalog.execute("select window_start from ingestion_report where provider = any(%s)", [names])
        return {start.astimezone(UTC).date() for (start,) in rows}


def running_backfills(bench: Bench) -> int:
    with bench.database("airflow") as connection:
        return connection.execute("select from backfill where completed_at is null").rowcount


def has_windows(bench: Bench, provider: str, expected: set[date]) -> bool:
    return windows(bench, provider) == expected


def test_the_catalog_is_lost(site):
    """Airflow, the API's database, the search engine and the parts are newer than the restored catalog."""
    bench = site.bench
    replay = orjson.dumps({"replay": str(site.replay)}).decode()
    pulled = {day(3), day(2)}
    days = ("--from-date", str(min(pulled)), "--to-date", str(max(pulled)))
    site.airflow(
        [
            [
                *("airflow", "backfill", "create", "--dag-id", f"{name}_workflow", *days),
                *("--run-on-latest-version", "--dag-run-conf", replay),
            ]
            for name in DATED
        ]
    )
    site.photos("KEPT", pages=6)
    site.run(STOCKSNAP, replay=str(site.replay))
    for name in DATED:
        until(partial(has_windows, bench, name, pulled), 300)
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

    # Airflow accepts one backfill of a DAG at a time, and looks every half a minute whether one has ended.
    until(lambda: not running_backfills(bench), 120)
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
        (REFRESH, refresh, "promote_tables", "this run has no turn"),
        (OTHER_REFRESH, site.refresh_before, "clean_up", "the restoration of the catalog database"),
    ):
        site.clear(dag_id, run_id, task_id, "failed")
        assert text in bench.api.log(dag_id, run_id, task_id, try_number=2)

    conf = orjson.dumps({"replay": str(site.replay)}).decode()
    missed = {day(3), day(2), day(1)}  # by the clock of the command
    site.shell(f"catalog db restored --since {min(missed)} --conf {shlex.quote(conf)} >restored.txt")
    site.photos("KEPT", pages=6)
    site.follow(1, 2, 3, 4)
    for name in DATED:
        assert windows(bench, name) == missed
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
    missing = {name for name in keys if name not in now}
    assert missing == {"stocksnap KEPT0003000", "stocksnap KEPT0006000"} & set(keys)
    assert {name: now[name] for name in keys if name not in missing} == {
        name: key for name, key in keys.items() if name not in missing
    }


def test_all_databases_and_the_parts_are_lost(site):
    """Airflow's database is as old as the catalog's, and has no later run."""
    bench = site.bench
    site.photos("LOST", pages=12)  # so that the refresh has no fewer records than the live table
    site.run(STOCKSNAP, replay=str(site.replay))
    site.run("delete_records", **deletion("KEPT0004000"))
    shutil.rmtree(bench.stack.storage)
    site.restore("catalog", "api", "airflow")
    assert not site.commands()[5]
    assert "KEPT0004000" in {f for _, f in photos(site, "image")}
    assert not [f for _, f in photos(site, "image") if f.startswith("LOST")]

    conf = orjson.dumps({"replay": str(site.replay)}).decode()
    missed = {day(2), day(1)}  # by the clock of the command
    site.shell(f"catalog db restored --since {min(missed)} --conf {shlex.quote(conf)} >restored.txt")
    site.follow(1, 2, 3, 4)
    for name in DATED:
        assert windows(bench, name) == missed
    assert len([f for _, f in photos(site, "image") if f.startswith("LOST")]) == 60

    site.photos("HALF", pages=6)  # Airflow knows its first pages, whose parts are missing
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
    """Check that the API's tables and the index have the catalog's records after the refresh."""
    for table in ("image", "audio"):
        query = f"select identifier from {table}"
        with site.bench.database("api") as api, site.bench.catalog() as catalog:
            published, stored = (set(connection.execute(query)) for connection in (api, catalog))
        assert published == stored
    assert sum(site.bench.search().sources("image").values()) == len(photos(site, "image"))
