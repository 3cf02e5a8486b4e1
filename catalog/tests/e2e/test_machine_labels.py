"""`add_machine_labels` through the real scheduler: a dry run, a merge that is killed, and a second run."""

import re
import signal

import boto3
import pytest

from catalog.tests.database.media import IMAGES, count_updates
from catalog.tests.labels.test_lines import line
from catalog.tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.enable_socket, pytest.mark.timeout(900)]
DAG = "add_machine_labels"
ROWS, LABELLED, UNKNOWN = 400, 300, 2
PROVIDER = "made_up_labels"
BUCKET = "labels-of-images"
FILE = f"s3://aws_default@{BUCKET}/labels.jsonl"
STATE = "select md5(string_agg(i::text, ' ' order by identifier)) from image i where provider = 'made_up'"
TABLES = "select count(*) from pg_class where relname like 'machine_labels%'"


@pytest.fixture
def store(aws):
    """A bucket for the file of labels, which Moto shares with the other tests."""
    s3 = boto3.client(
        "s3",
        endpoint_url=aws,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    s3.create_bucket(Bucket=BUCKET)
    yield s3
    s3.delete_object(Bucket=BUCKET, Key="labels.jsonl")
    s3.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def images(bench):
    """Images without labels; updates of them are counted."""
    with bench.catalog() as connection:
        connection.execute(IMAGES.format(rows=ROWS, providers="'made_up'"))
        count_updates(connection)
        try:
            yield connection
        finally:
            connection.execute(
                "drop trigger note_update on image; drop function note_update; drop table touched"
            )
            connection.execute("delete from image where provider = 'made_up'")
            connection.execute("delete from batched_update where query_id ~ '^machine_labels'")
            connection.execute("delete from label_run")
            for (name,) in connection.execute(
                "select relname from pg_class where relkind = 'r' and relname like 'machine_labels%'"
            ).fetchall():
                connection.execute(f"drop table {name}")


def report(bench):
    return [m["text"] for m in bench.slack if m["username"] == "Machine Labels"][-1]


def changed(bench):
    """Return the number of images in the last report."""
    return int(re.findall(r"([\d,]+) images (?:would change|changed)", report(bench))[0].replace(",", ""))


def test_labels_are_merged(bench, images, store):
    known = [k for (k,) in images.execute("select identifier from image where provider = 'made_up'")]
    unknown = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(UNKNOWN)]
    lines = [line(("Dj", 97.3), ("Dog", 50), key=key) for key in [*known[:LABELLED], *unknown]]
    store.put_object(Bucket=BUCKET, Key="labels.jsonl", Body=b"\n".join([*lines, b"{", b""]))
    conf = {"file": FILE, "provider": PROVIDER, "new_service": True, "batch_size": 16}
    bench.slack.clear()
    before = images.execute(STATE).fetchone()
    run_id, state = bench.run(DAG, conf, timeout=400)
    assert state == "success", bench.tasks(DAG, run_id)
    assert "nothing is changed" in bench.api.log(DAG, run_id, "merge_labels")
    assert changed(bench) == LABELLED
    assert f"the catalog lacks {UNKNOWN}. The images have 0 labels of it now, and would have 600." in report(
        bench
    )
    assert "no JSON object: 1" in report(bench)
    assert images.execute(STATE).fetchone() == before
    assert images.execute(TABLES).fetchone() == (0,)

    run_id = bench.api.trigger(DAG, {**conf, "dry_run": False})

    def updated():
        row = images.execute(
            "select updated from batched_update where query_id = 'machine_labels'"
        ).fetchone()
        return row[0] if row else 0

    until(lambda: updated() > 20)
    bench.process_behind("true").send_signal(signal.SIGKILL)
    assert bench.api.wait(DAG, run_id, 400) == "success", bench.tasks(DAG, run_id)
    tries = {task["task_id"]: task["try_number"] for task in bench.api.tasks(DAG, run_id)}
    assert tries["merge_labels"] == 2
    assert changed(bench) == LABELLED
    assert images.execute("select count(*), count(distinct identifier) from touched").fetchone() == (
        LABELLED,
        LABELLED,
    )
    tags = images.execute("select tags from image where identifier = %s", [known[0]]).fetchone()[0]
    assert tags == [
        {"name": "made up"},
        {"name": "DJ", "accuracy": 0.973, "provider": PROVIDER},
        {"name": "Dog", "accuracy": 0.5, "provider": PROVIDER},
    ]
    assert images.execute(TABLES).fetchone() == (0,)
    after = images.execute(STATE).fetchone()

    # Clearing all tasks of the run changes nothing, and is refused once its file is another one.
    bench.api.clear(DAG, run_id, ["check_file"])
    assert bench.api.wait(DAG, run_id, 400) == "success", bench.tasks(DAG, run_id)
    assert "nothing is left to do" in bench.api.log(DAG, run_id, "merge_labels", try_number=3)
    store.put_object(Bucket=BUCKET, Key="labels.jsonl", Body=b"\n".join(lines))
    bench.api.clear(DAG, run_id, ["check_file"])
    assert bench.api.wait(DAG, run_id, 400) == "failed"
    assert "Nothing was merged. Trigger a new run" in bench.api.log(DAG, run_id, "check_file", try_number=3)
    assert images.execute(STATE).fetchone() == after

    # Airflow makes a deleted run again with its id: it reads the file as it is now.
    assert bench.make_again(DAG, run_id, {**conf, "dry_run": False}, timeout=400) == "success"
    assert changed(bench) == 0
    assert "no JSON object" not in report(bench)
    assert images.execute(STATE).fetchone() == after
