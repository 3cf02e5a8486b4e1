"""The list of rows that a load does not keep.

It appears whole or not at all, is cut with a count, and needs little memory.
"""

import subprocess
import sys
import uuid
from pathlib import Path

import boto3
import orjson
import psycopg
import pytest
from upath import UPath

from catalog.core.errors import Fatal
from catalog.core.files import StreamedFile
from catalog.loading.rejects import Rejects
from catalog.tests.aws_server import aws_server
from catalog.tests.loading.loader import image, jpg


def listed(path):
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def failing(path, publish, line=""):
    """Fail a load after it listed a reject."""

    def fail():
        with Rejects(path, "image") as rejects:
            rejects.add("a", line=line)
            if publish:
                rejects.publish()
            raise Fatal("no")

    with pytest.raises(Fatal, match="no"):
        fail()


@pytest.fixture
def path(tmp_path):
    return UPath(tmp_path / "rejects.jsonl")


class TestList:
    def test_all(self, path):
        with Rejects(path, "image") as rejects:
            rejects.add("a", record={"n": 1})
            rejects.add("b", line="x")
            rejects.publish()
        assert listed(path) == [
            {"media_type": "image", "reason": "a", "record": {"n": 1}},
            {"media_type": "image", "reason": "b", "line": "x"},
        ]
        assert rejects.counts == {"a": 1, "b": 1}
        assert names(path.parent) == ["rejects.jsonl"]

    def test_it_is_cut_with_a_count(self, path):
        with Rejects(path, "image", limit=3) as rejects:
            for number in range(5):
                rejects.add("a" if number % 2 else "b", n=number)
            rejects.add_unlisted("c", 1000)
            rejects.add_unlisted("d", 0)
            rejects.publish()
        *first, last = listed(path)
        assert [line["n"] for line in first] == [0, 1, 2]
        assert last == {
            "media_type": "image",
            "reason": "1,002 more rejects are not listed",
            "not_listed": {"a": 1, "b": 1, "c": 1000},
        }
        assert rejects.counts == {"a": 2, "b": 3, "c": 1000}

    def test_without_rejects_there_is_none_not_even_an_earlier_one(self, path):
        path.write_text("of an earlier load")
        with Rejects(path, "image") as rejects:
            rejects.publish()
        assert names(path.parent) == []

    def test_without_a_path_they_are_counted(self):
        with Rejects(None, "image") as rejects:
            rejects.add("a", record={})
            assert rejects.room == 0
            rejects.publish()
        assert rejects.counts == {"a": 1}

    def test_an_error_before_it_is_published_leaves_the_earlier_one(self, path):
        path.write_text("of an earlier load")
        failing(path, publish=False)
        assert names(path.parent) == ["rejects.jsonl"]
        assert path.read_text() == "of an earlier load"

    def test_an_error_after_it_is_published_removes_it(self, path):
        failing(path, publish=True)
        assert names(path.parent) == []


class Store:
    """A bucket, with what other clients see in it."""

    def __init__(self, url):
        secrets = {
            "aws_access_key_id": "testing",
            "aws_secret_access_key": "testing",
            "region_name": "us-east-1",
        }
        self.client = boto3.client("s3", endpoint_url=url, **secrets)
        self.bucket = f"parts-{uuid.uuid4().hex}"  # servers in one process share what they hold
        self.client.create_bucket(Bucket=self.bucket)
        self.path = UPath(
            f"s3://{self.bucket}/pull/rejects.jsonl", endpoint_url=url, key="testing", secret="testing"
        )

    def objects(self):
        return [o["Key"] for o in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def uploads(self):
        return self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])


@pytest.fixture
def store():
    with aws_server() as address:
        yield Store(address)


@pytest.mark.enable_socket
class TestObjectStore:
    @pytest.mark.parametrize("size", [10, 20 << 20], ids=["one part", "several parts"])
    def test_nothing_is_seen_before_it_is_whole(self, store, size):
        file = StreamedFile(store.path)
        for _ in range(10):
            file.write(b"x" * (size // 10))
            assert store.objects() == []
        file.publish()
        assert store.objects() == ["pull/rejects.jsonl"]
        assert (
            len(store.client.get_object(Bucket=store.bucket, Key="pull/rejects.jsonl")["Body"].read()) == size
        )
        assert store.uploads() == []

    @pytest.mark.parametrize("size", [10, 20 << 20], ids=["one part", "several parts"])
    def test_an_error_aborts_the_upload(self, store, size):
        store.client.put_object(Bucket=store.bucket, Key="pull/rejects.jsonl", Body=b"of an earlier load")
        failing(store.path, publish=False, line="x" * size)
        assert store.uploads() == []
        found = store.client.get_object(Bucket=store.bucket, Key="pull/rejects.jsonl")["Body"].read()
        assert found == b"of an earlier load"

    def test_an_error_after_it_is_published_removes_it(self, store):
        failing(store.path, publish=True)
        assert store.objects() == []


@pytest.mark.database
class TestLoad:
    def test_the_list_is_cut_and_each_reason_is_seen(self, load):
        lines = load.lines([image(1)] * 8 + [image(2), image(3)])
        lines[8:8] = ["one field\n", lines[0].replace("https://example.org/1\t", "\\N\t")]
        report = load([], lines=lines, reject_limit=4)
        assert report.rejected == {
            "duplicate identifier in the batch": 7,
            "1 fields instead of 20": 1,
            "missing foreign_landing_url": 1,
        }
        *first, last = load.rejects()
        assert sorted(line["reason"] for line in first) == [
            "1 fields instead of 20",
            "duplicate identifier in the batch",
            "duplicate identifier in the batch",
            "missing foreign_landing_url",
        ]
        assert last["not_listed"] == {"duplicate identifier in the batch": 5}

    def test_a_later_load_without_rejects_removes_the_list(self, load):
        load([image(1), image(1)], token="t", run_id="r", complete=False)
        assert len(load.rejects()) == 1
        load([image(1)], token="t", run_id="r")
        assert load.rejects() == []

    def test_a_load_that_was_done_before_leaves_the_list(self, load):
        for _ in range(2):
            load([image(1), image(1)], token="t", run_id="r")
        assert len(load.rejects()) == 1

    @pytest.mark.parametrize(
        "timing", ["initially immediate", "initially deferred"], ids=["report", "commit"]
    )
    def test_a_load_that_fails_at_its_end_leaves_no_list(self, load, catalog, tmp_path, timing):
        """Its report cannot be written, or the transaction cannot be committed."""
        catalog.execute(
            "create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$"
        )
        catalog.execute(
            f"create constraint trigger refuse after insert on ingestion_report deferrable {timing}"
            " for each row execute function refuse()"
        )
        with pytest.raises(psycopg.errors.RaiseException):
            load([image(1), image(1)])
        assert [n for n in names(tmp_path) if "rejects" in n] == []
        catalog.execute("drop trigger refuse on ingestion_report")
        load([image(1), image(1)])
        assert len(load.rejects()) == 1

    def test_nobody_sees_the_list_of_a_load_that_goes_on(self, load, tmp_path):
        seen: list[bool] = []
        load(
            [image(1), image(1)],
            lines=[b"bad\n", *[line.encode() for line in load.lines([image(1), image(1)])]],
            progress=lambda text: seen.append((tmp_path / "rejects.jsonl").exists()),
        )
        assert set(seen) == {False}
        assert len(load.rejects()) == 2


MEASURED = """
import sys
from datetime import UTC, datetime
import psycopg
from upath import UPath
from catalog.ingestion.parts import Counts, Manifest
from catalog.loading.load import Load
from catalog.loading.report import LoadKey

dsn, part, folder, rows, rejected = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
counts = {"image": Counts(rows, rows)}
manifest = Manifest("example", "r", None, False, datetime.now(UTC), part, 1, 1, counts, True)
rejects = UPath(folder) / "r.jsonl"
key = LoadKey("d", part)
with psycopg.connect(dsn) as connection:
    load = Load(
        connection, "image", "example", [UPath(part)], manifest, key, rejects=rejects, reject_limit=10**9
    )
    report = load.run()
assert sum(report.rejected.values()) == rejected, report
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def peak(dsn, folder, lines, rejected):
    """Return the peak memory, in KiB, of a process of its own that loads the lines."""
    part = folder / f"{len(lines)}.tsv"
    with part.open("w") as file:
        file.writelines(lines)
    arguments = [dsn, str(part), str(folder), str(len(lines)), str(rejected)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)


@pytest.mark.database
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux' /proc")
def test_memory_does_not_grow_with_the_rejects(load, dsn, tmp_path):
    """200,000 rejects of 1 kB, for every reason: refused lines, duplicates, missing values, URLs taken."""
    (good,) = load.lines([image(0, title="t" * 600)])
    load([image(0)], provider="other")
    kinds = (
        "just one field " + "x" * 800 + "\n",
        good.replace(jpg(0), "https://example.org/same.jpg"),
        good.replace("id0", r"\N"),
        good.replace("id0", "{n}"),
    )

    def lines(number):
        return [kinds[n % 4].replace("{n}", f"n{n}") for n in range(number)]

    few, many = (peak(dsn, tmp_path, lines(number), number - 1) for number in (400, 200_000))
    with (tmp_path / "r.jsonl").open() as file:
        assert sum(1 for _ in file) == 199_999
    assert many - few < 32 << 10
