"""Labels of an image service, staged and merged, compared with one plain UPDATE of the same rows.

BENCH_ROWS (default: 500,000) Flickr-like images of 1 kB with all indexes; each has a line of ten labels. The
plain UPDATE joins the staged labels and appends them. Both work on a copy of the same table.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import sql
from upath import UPath

from catalog.benchmarks._servers import copy_of, postgres
from catalog.benchmarks.load import load, write_parts
from catalog.core.session import Connection
from catalog.database import schema
from catalog.labels import merge as merging
from catalog.labels.run import LabelRun, staging_table
from catalog.labels.staging import stage
from catalog.local.postgres import Postgres

ROWS = int(os.environ.get("BENCH_ROWS", "500000"))
Form = Callable[[Connection, Path], None]
LABELS = [{"Name": f"Label {n}", "Confidence": 90.5 + n, "Instances": [], "Parents": []} for n in range(9)]
UPDATE = """
    update image set updated_on = now(), tags = coalesce(image.tags, '[]') || staged.tags
      from {} as staged where staged.image_uuid = identifier
"""


def write_file(connection: Connection, path: Path) -> None:
    """Write a line of ten labels for each image."""
    with path.open("w") as file, connection.transaction():
        for key, number in connection.execute("select identifier, row_number() over () from image"):
            labels = [*LABELS, {"Name": f"Word {number % 5000}", "Confidence": number % 100}]
            file.write(json.dumps({"image_uuid": str(key), "response": {"Labels": labels}}) + "\n")


def run_of(connection: Connection, path: Path) -> LabelRun:
    return LabelRun(connection, "bench", str(path), "rekognition", 0)


def plain(connection: Connection, _path: Path) -> None:
    table = sql.Identifier(staging_table("bench"))
    assert connection.execute(sql.SQL(UPDATE).format(table)).rowcount == ROWS


def merge(connection: Connection, path: Path) -> None:
    assert merging.merge(run_of(connection, path)).changed == ROWS


def compare(connection: Connection, path: Path) -> None:
    """Compare each image with its labels, as a second run of the same file does."""
    assert merging.preview(run_of(connection, path))[0].changed == 0


def measure(server: Postgres, path: Path, *forms: Form) -> list[float]:
    """Return the seconds that each of several forms takes, one after the other on one copy of the base."""
    seconds = []
    with copy_of(server, "base") as connection:
        for form in forms:
            began = time.perf_counter()
            form(connection, path)
            seconds.append(time.perf_counter() - began)
    return seconds


def show(name: str, seconds: float, floor: float = 0) -> None:
    ratio = f"{floor / seconds:>12.2f}" if floor else ""
    print(f"{name:24} {ROWS / seconds:>9,.0f} {ratio}", flush=True)


def main() -> None:
    with postgres("base") as (server, folder):
        path = folder / "labels.jsonl"
        schema.upgrade(server.dsn("base"))
        with psycopg.connect(server.dsn("base"), autocommit=True) as connection:
            load(connection, write_parts(folder / "parts", ROWS), ROWS)
            shutil.rmtree(folder / "parts")
            connection.execute("vacuum analyze image")
            write_file(connection, path)
            print(f"{ROWS:,} images, {path.stat().st_size / 1e6:,.0f} MB of labels")
            print(f"{'':24} {'rows/s':>9} {'x one UPDATE':>12}")
            began = time.perf_counter()
            assert stage(run_of(connection, path), UPath(path)).staged == ROWS
            show("stage", time.perf_counter() - began)
        (floor,) = measure(server, path, plain)
        show("one UPDATE", floor, floor)
        merged, compared = measure(server, path, merge, compare)
        show("merge", merged, floor)
        show("comparison alone", compared)
