"""Metrics of real tasks, as StatsD and OTLP receivers of the tests get them."""

import re
from contextlib import contextmanager
from datetime import datetime

import pytest
import yaml

from catalog.core import metrics
from catalog.database import sample_data
from catalog.ingestion.registry import FOLDER
from catalog.local.schedules import unpaused
from catalog.local.stack import ROOT
from catalog.tests import metrics_receivers
from catalog.tests.e2e.conftest import snap_recording
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.timeout(900)]
STOCKSNAP, REFRESH = "stocksnap_workflow", "image_data_refresh"
LOAD, DELETE = "ingest_data.load_image_data", "delete_records_from_media_table"
SOURCE = ("stocksnap", "image")
LOADED = (
    metrics.FETCHED,
    metrics.INSERTED,
    metrics.UPDATED,
    metrics.UNCHANGED,
    metrics.SKIPPED,
    metrics.REJECTED,
)


@pytest.fixture(params=["otlp", "statsd"])
def received(bench, request):
    with getattr(metrics_receivers, request.param)() as received, bench.metrics(received.environment):
        yield received


@pytest.fixture
def over_otlp(bench):
    with metrics_receivers.otlp() as received, bench.metrics(received.environment):
        yield received


@pytest.fixture
def media(bench):
    """Made-up media in the catalog and in the API's database, which has fewer."""
    with bench.made_up_media(catalog=300, api=200):
        yield


def counted(received):
    return {metric: received.of(metric, *SOURCE) for metric in LOADED}


def test_a_load_is_counted_once_although_its_task_runs_twice(bench, received, tmp_path):
    folder = snap_recording(tmp_path / "metrics", f"METRICS{tmp_path.name[-1]}", pages=2)
    with bench.failing(STOCKSNAP, LOAD, "after", "fail"):
        run_id, state = bench.run(STOCKSNAP, {"replay": str(folder)})
    assert state == "failed"
    ten = {**dict.fromkeys(LOADED, 0), metrics.FETCHED: 10, metrics.INSERTED: 10}
    until(lambda: counted(received) == ten)
    [report] = bench.reports(run_id)
    seconds = (report["pull_seconds"], report["load_seconds"])
    assert (received.of(metrics.PULL_SECONDS, *SOURCE), received.of(metrics.LOAD_SECONDS, *SOURCE)) == seconds
    bench.api.clear(STOCKSNAP, run_id, [LOAD])
    assert bench.api.wait(STOCKSNAP, run_id, 120) == "success"
    _, state = bench.run(STOCKSNAP, {"replay": str(folder)})
    assert state == "success"
    twenty = {**ten, metrics.FETCHED: 20, metrics.UNCHANGED: 10}
    until(lambda: counted(received) == twenty)  # had the cleared task counted, it would be 30


def test_the_batches_of_a_dump_are_counted(bench, over_otlp):
    run_id, state = bench.run("inaturalist_workflow", {"replay": str(FOLDER)}, timeout=240)
    assert state == "success"
    [report] = bench.reports(run_id)
    assert report["fetched"] > 0
    until(lambda: over_otlp.of(metrics.FETCHED, "inaturalist", "image") == report["fetched"])
    for metric, name in ((metrics.REJECTED, "rejected"), (metrics.PULL_SECONDS, "pull_seconds")):
        assert over_otlp.of(metric, "inaturalist", "image") == report[name]
    with bench.catalog() as catalog:
        catalog.execute("delete from image where provider = 'inaturalist'")


def test_a_collector_that_is_away_fails_no_task(bench, tmp_path):
    nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "1"}
    folder = snap_recording(tmp_path / "away", "AWAY", pages=1)
    with bench.metrics({"AIRFLOW__METRICS__OTEL_ON": "True", **nobody}):
        run_id, state = bench.run(STOCKSNAP, {"replay": str(folder)})
    tries = {t["task_id"]: t["try_number"] for t in bench.api.tasks(STOCKSNAP, run_id)}
    assert (state, tries[LOAD]) == ("success", 1)
    assert len(bench.photos("AWAY")) == 5


@contextmanager
def counted_as_real(bench, run_id):
    """Make a replay count as a pull from the provider; yield when it began."""
    statement = "update ingestion_report set replayed = %s where run_id = %s returning pull_began"
    with bench.catalog() as catalog:
        yield catalog.execute(statement, [False, run_id]).fetchone()[0]
        catalog.execute(statement, [True, run_id])


def test_freshness_is_sent_although_nothing_was_loaded(bench, received, tmp_path):
    folder = snap_recording(tmp_path / "fresh", f"FRESH{tmp_path.name[-1]}", pages=1)
    run_id, state = bench.run(STOCKSNAP, {"replay": str(folder)})
    assert state == "success"
    with counted_as_real(bench, run_id) as began:
        failed, state = bench.run(STOCKSNAP, {"replay": str(tmp_path / "missing")})
        assert (state, bench.reports(failed)) == ("failed", [])
        at = int(began.timestamp())
        until(lambda: received.of(metrics.FRESH, *SOURCE) == at)
        late = received.of(metrics.DUE, *SOURCE)
    assert late - at == pytest.approx(47.5 * 86_400, abs=1)  # 1.5 months, and a day for the pull


def test_deleted_records_are_counted_once(bench, media, received):
    made_up = "SELECT identifier FROM image WHERE url LIKE 'https://%.example.org/%'"
    conf = {
        "table_name": "image",
        "select_query": f"WHERE identifier IN ({made_up} LIMIT 7)",
        "reason": "a test",
    }
    with bench.failing("delete_records", DELETE, "after", "fail"):
        run_id, state = bench.run("delete_records", conf)
    assert state == "failed"
    bench.api.clear("delete_records", run_id, [DELETE])
    assert bench.api.wait("delete_records", run_id, 120) == "success"
    conf["select_query"] = f"WHERE identifier IN ({made_up} LIMIT 4)"
    assert bench.run("delete_records", conf)[1] == "success"
    until(lambda: received.of(metrics.DELETED, "image") == 11)


def test_refreshes_and_popularity(bench, media, over_otlp):
    began = bench.api.call("GET", "/api/v2/monitor/health")["scheduler"]["latest_scheduler_heartbeat"]
    refresh(bench, "full")
    search, got = bench.search(), over_otlp.of
    with bench.database("api") as api:
        rows = api.execute("select count(*) from image").fetchone()[0]
    until(lambda: got(metrics.LIVE, "image-filtered") == search.count("image-filtered"))
    assert got(metrics.LIVE, "image") == got(metrics.DOCUMENTS, "image", "full") == search.count("image")
    assert got(metrics.ROWS, "image", "full") == rows
    assert got(metrics.REFUSED, "image", "full") == 0
    assert got(metrics.PROMOTED, "image", "full") > datetime.fromisoformat(began).timestamp()
    assert got(metrics.REFRESH_SECONDS, "image", "full") > 0

    with bench.catalog() as catalog:
        sample_data.fill(catalog, "catalog", 30, seed=78)
        few = "select identifier from image limit 5"
        catalog.execute(f"update image set title = 'New' where identifier in ({few})")
    text = refresh(bench, "incremental")
    [line] = re.findall(r"`image`: (.+) rows inserted, (.+) updated, (.+) deleted", text)
    changed = [int(number.replace(",", "")) for number in line]
    [written] = re.findall(r"^(.+) documents written", text, re.MULTILINE)
    assert changed[0] == 30
    until(lambda: got(metrics.ROWS, "image", "incremental") == sum(changed))
    assert got(metrics.DOCUMENTS, "image", "incremental") == int(written.replace(",", ""))
    assert got(metrics.LIVE, "image") == search.count("image")

    with unpaused(bench.stack, ["image_popularity_refresh"], print):
        assert bench.run("image_popularity_refresh", {}, timeout=240)[1] == "success"
    with bench.catalog() as catalog:
        query = "select count(*) from image where provider = 'flickr' and standardized_popularity is not null"
        scored = catalog.execute(query).fetchone()[0]
    until(lambda: got(metrics.SCORED, "flickr", "image") == scored)
    attributes = {key for process in over_otlp.processes for key in process}
    differ = {key for key in attributes if len({process.get(key) for process in over_otlp.processes}) > 1}
    assert differ <= removed_by_the_collector()


def removed_by_the_collector():
    """Return the attributes of processes that the documented configuration deletes, before it adds counters.

    The series of tasks would be different ones, which begin with their last value: no increase would be seen.
    """
    [block] = re.findall(r"```yaml\n(receivers:.*?)```", (ROOT / "docs/metrics.md").read_text(), re.DOTALL)
    collector = yaml.safe_load(block)
    assert collector["service"]["pipelines"]["metrics"]["processors"] == ["resource", "deltatocumulative"]
    return {
        one["key"] for one in collector["processors"]["resource"]["attributes"] if one["action"] == "delete"
    }


def refresh(bench, mode):
    """Run a refresh, and return its report."""
    bench.slack.clear()
    run_id, state = bench.run(REFRESH, {"mode": mode}, timeout=400)
    assert state == "success", bench.tasks(REFRESH, run_id)
    [text] = [m["text"] for m in bench.slack if m["username"] == "Data refresh record difference"]
    return text
