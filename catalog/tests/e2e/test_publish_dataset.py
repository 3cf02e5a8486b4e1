"""`publish_dataset` through the real scheduler: a run that is killed in the middle, and a second one."""

import json
import signal
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from catalog.local.airflow_api import FINISHED
from catalog.local.schedules import unpaused
from catalog.tests.database.media import IMAGES
from catalog.tests.publishing.publisher import comparable, table
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.timeout(900)]
DAG = "publish_dataset"
PROVIDER = "made_up/dataset"
DELETED_BY_MODERATORS = (
    "insert into api_deletedimage (created_on, updated_on, identifier) values (now(), now(), %s)"
)


@pytest.fixture
def dataset(bench, tmp_path):
    """The folder of the dataset, with images of a provider that only this test has."""
    root = tmp_path / "dataset"
    with (
        bench.variable("DATASET_STORAGE", f"file://{root}"),
        bench.variable("DATASET_INCLUDE_SENSITIVE", "true"),
        bench.variable("DATASET_TASKS", "1"),
        unpaused(bench.stack, [DAG], print),
        bench.catalog() as connection,
    ):
        try:
            connection.execute(IMAGES.format(rows=300, providers=f"'{PROVIDER}'"))
            yield root
        finally:
            end_runs(bench)  # of a test that failed in the middle
            connection.execute("delete from image where provider = %s", [PROVIDER])
            connection.execute("delete from dataset_version where root like %s", [f"%{root}"])


def end_runs(bench):
    """Mark runs that go on as failed, which ends their tasks."""
    runs = f"/api/v2/dags/{DAG}/dagRuns"
    for run in bench.api.call("GET", runs, limit=100)["dag_runs"]:
        if run["state"] not in FINISHED:
            bench.api.call("PATCH", f"{runs}/{quote(run['dag_run_id'])}", {"state": "failed"})


def pointer(root):
    return json.loads((root / "latest.json").read_text())["version"]


def published(root):
    """Return the records of our provider in the newest version."""
    files = list(root.glob(f"v{pointer(root)}/image/made_up~2fdataset/*.parquet"))
    rows = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    return {row["identifier"]: comparable(row) for row in rows}


def ours(connection):
    return {key: comparable(row) for key, row in table(connection).items() if row["provider"] == PROVIDER}


def test_the_dataset_is_published(bench, dataset):
    bench.slack.clear()
    with bench.catalog() as connection, bench.catalog() as locker:
        run_id = bench.api.trigger(DAG, {})
        query = "select number from dataset_version where run_id = %s"
        (number,) = until(lambda: connection.execute(query, [run_id]).fetchone())
        with locker.transaction():
            # While its parts of images are locked, the task writes the others and waits.
            locker.execute(
                "select from dataset_part where version = %s and media_type = 'image' for update", [number]
            )
            written = "select number from dataset_part where version = %s and state is not null"
            until(lambda: connection.execute(written, [number]).fetchone())
            bench.process_behind("true").send_signal(signal.SIGKILL)
            assert not (dataset / "latest.json").exists()
        assert bench.api.wait(DAG, run_id, 400) == "success", bench.tasks(DAG, run_id)
        tries = {t["task_id"]: t["try_number"] for t in bench.api.tasks(DAG, run_id)}
        assert tries["write_parts"] == 2
        assert published(dataset) == ours(connection)
        assert len(ours(connection)) == 300
        assert connection.execute(
            "select state from dataset_version where run_id = %s", [run_id]
        ).fetchone() == (2,)

        connection.execute(
            "update image set title = 'new', updated_on = now() where provider = %s and title like '%%1'",
            [PROVIDER],
        )
        moderated = min(ours(connection))
        with bench.database("api") as api:
            api.execute(DELETED_BY_MODERATORS, [moderated])
            run_id, state = bench.run(DAG, {}, timeout=400)
            api.execute("delete from api_deletedimage where identifier = %s", [moderated])
        assert state == "success", bench.tasks(DAG, run_id)
        assert pointer(dataset) == number + 1
        assert published(dataset) == {k: row for k, row in ours(connection).items() if k != moderated}
        (changed,) = dataset.glob(f"v{number + 1}/changes/image-*.parquet")
        found = {
            row["identifier"] for row in pq.read_table(changed).to_pylist() if row["change"] == "changed"
        }
        assert {key for key, row in published(dataset).items() if row["title"] == "new"} <= found
        # Airflow makes a deleted scheduled run again with its id.
        connection.execute("delete from image where identifier = %s", [min(ours(connection))])
        assert bench.make_again(DAG, run_id, {}, timeout=400) == "success", bench.tasks(DAG, run_id)
        assert pointer(dataset) == number + 2
        assert published(dataset) == ours(connection)
        bench.api.clear(DAG, run_id, ["begin_version"])
        assert bench.api.wait(DAG, run_id, 400) == "success", bench.tasks(DAG, run_id)
        assert pointer(dataset) == number + 2
    reports = [m["text"] for m in bench.slack if m["username"] == "Dataset"]
    assert len(reports) == 4
    assert f"Version {number + 2}" in reports[-1]
    assert "image: " in reports[-1]
