"""What the UI and Slack show of runs: asset events, lineage, names of mapped tasks, links, the digest."""

from urllib.parse import quote

import pytest

from catalog.local.schedules import unpaused
from catalog.tests.e2e.conftest import snap_recording

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket]
STOCKSNAP = "stocksnap_workflow"
LOAD = "ingest_data.load_image_data"


def assets(bench):
    found = bench.api.call("GET", "/api/v2/assets", limit=100)["assets"]
    return {asset["name"]: asset["id"] for asset in found}


def events(bench, name, dag_id, run_id):
    """Return what the events say that a run created."""
    found = bench.api.call(
        "GET",
        "/api/v2/assets/events",
        asset_id=assets(bench)[name],
        source_dag_id=dag_id,
        source_run_id=run_id,
        limit=100,
    )
    return [event["extra"] for event in found["asset_events"]]


def test_a_load_creates_an_event_only_for_new_data(bench, tmp_path):
    folder = snap_recording(tmp_path / "event", "EVENT", pages=2)
    run_id, state = bench.run(STOCKSNAP, {"replay": str(folder)})
    assert state == "success"
    assert events(bench, "catalog/image", STOCKSNAP, run_id) == [
        {"provider": "stocksnap", "inserted": 10, "updated": 0, "complete": True, "replayed": True}
    ]
    again, state = bench.run(STOCKSNAP, {"replay": str(folder)})
    assert state == "success"
    assert bench.tasks(STOCKSNAP, again)[LOAD] == "success"
    assert events(bench, "catalog/image", STOCKSNAP, again) == []
    failed, state = bench.run(STOCKSNAP, {"replay": str(tmp_path / "missing")})
    assert state == "failed"
    assert bench.tasks(STOCKSNAP, failed)[LOAD] == "skipped"
    assert events(bench, "catalog/image", STOCKSNAP, failed) == []


def test_tasks_link_to_the_dashboard(bench, tmp_path):
    folder = snap_recording(tmp_path / "link", "LINK", pages=1)
    run_id, _ = bench.run(STOCKSNAP, {"replay": str(folder)})
    links = bench.api.call(
        "GET", f"/api/v2/dags/{STOCKSNAP}/dagRuns/{quote(run_id)}/taskInstances/{LOAD}/links"
    )["extra_links"]
    assert links == {"Catalog dashboard": f"{bench.stack.ui}/catalog/providers/stocksnap"}


def test_the_lineage_leads_from_the_loads_to_the_indexes(bench):
    found = bench.api.call(
        "GET", "/ui/dependencies", node_id=f"asset:{assets(bench)['catalog/image']}", dependency_type="data"
    )
    labels = {node["label"] for node in found["nodes"]}
    assert {
        "catalog/image",
        "popularity/image",
        "api/image",
        "index/image",
        "index/image-filtered",
        f"{STOCKSNAP}.{LOAD}",
        "image_data_refresh.promote_tables",
        "image_data_refresh.promote_indexes",
        "image_popularity_refresh.refresh_popularity.note_refreshed",
    } <= labels
    assert not [label for label in labels if label.endswith("/audio")]


def test_mapped_tasks_have_names(bench):
    with bench.catalog() as connection:
        connection.execute("""
            insert into image (identifier, created_on, updated_on, foreign_identifier, url, license,
                               license_version, provider, source, meta_data, foreign_landing_url,
                               removed_from_source)
            values (gen_random_uuid(), now(), now(), 'named', 'https://example.org/named.jpg', 'by-sa', '4.0',
                    'made_up', 'made_up', '{}', 'https://example.org/named', false)
        """)
        run_id, state = bench.run("add_license_url", {}, timeout=240)
        assert state == "success"
        connection.execute("delete from image where foreign_identifier = 'named'")
    named = {
        task["rendered_map_index"]
        for task in bench.api.tasks("add_license_url", run_id)
        if task["task_id"] == "update_license_url"
    }
    assert "by-sa 4.0" in named
    assert None not in named
    assert {"query_id", "updated"} <= set(events(bench, "catalog/image", "add_license_url", run_id)[0])


def test_reports_wait_for_the_digest(bench, tmp_path):
    """They are collected while the DAG that sends them is not paused; the digest has each once."""
    bench.slack.clear()
    folder = snap_recording(tmp_path / "digest", "DIGEST", pages=1)
    with bench.variable("SLACK_DIGEST", "true"):
        bench.run(STOCKSNAP, {"replay": str(folder)})
        assert [m["username"] for m in bench.slack] == ["Airflow DAG Load Data Complete"]  # it is paused
        bench.slack.clear()
        with unpaused(bench.stack, ["daily_digest"], print):
            runs = [bench.run(STOCKSNAP, {"replay": str(folder)})[0] for _ in range(2)]
            assert bench.slack == []
            log = bench.api.log(STOCKSNAP, runs[0], "report_load_completion")
            assert "kept for daily_digest" in log
            assert bench.run("daily_digest", {})[1] == "success"
            run_id, state = bench.run("daily_digest", {})
            assert state == "success"
            assert bench.tasks("daily_digest", run_id) == {"send_digest": "skipped"}
    [digest] = bench.slack
    assert digest["blocks"][0]["text"]["text"] == "Digest: 2 completed runs"
    for run in runs:
        assert digest["text"].count(f"/dags/{STOCKSNAP}/runs/{quote(run)}|") == 1
