"""TSV → catalog: first load, unchanged reload, reload with 10 % changed, each compared with a bare COPY.

BENCH_ROWS (default: 200,000) rows are loaded into a table of BENCH_EXISTING (default: 0) rows; 5,000,000
makes a large table.
"""

import os
import resource
import statistics
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from upath import UPath

from catalog.benchmarks.photos import photos
from catalog.core.columns import COLUMNS
from catalog.core.session import Connection
from catalog.database import schema
from catalog.ingestion.parts import Counts, Manifest
from catalog.ingestion.tsv import Encoder
from catalog.ingestion.urls import UrlCleaner
from catalog.loading.load import Load, LoadReport, RunKey
from catalog.local.postgres import Postgres
from catalog.providers.flickr.provider import Flickr

ROWS = int(os.environ.get("BENCH_ROWS", "200000"))
EXISTING = int(os.environ.get("BENCH_EXISTING", "0"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))
PART = 5_000


def write_parts(folder: Path, rows: int, start: int = 0, seed: int = 7, retitle: int = 0) -> list[UPath]:
    """Write parts of PART rows; every `retitle`th photo gets another title."""
    encoder, provider = Encoder("image", "flickr", UrlCleaner()), Flickr()
    parts: list[UPath] = []
    folder.mkdir()
    lines: list[str] = []
    for number, raw in enumerate(photos(rows, start, seed)):
        if retitle and number % retitle == 0:
            raw["title"] += " again"
        lines.append(encoder.line(provider.record(raw)))
        if len(lines) == PART or number + 1 == rows:
            parts.append(UPath(folder / f"{len(parts):06}.tsv"))
            parts[-1].write_text("".join(lines), encoding="utf-8")
            lines = []
    return parts


def load(connection: Connection, parts: list[UPath], rows: int) -> tuple[float, LoadReport]:
    """Load parts; return the rows per second, and the report of the load."""
    token = uuid.uuid4().hex
    manifest = Manifest(
        "flickr",
        token,
        None,
        False,
        datetime.now(UTC),
        token,
        1,
        counts={"image": Counts(rows, rows)},
        complete=True,
    )
    began = time.perf_counter()
    report = Load(
        connection, "image", "flickr", parts, manifest, RunKey("bench", token), progress=lambda _: None
    ).run()
    return rows / (time.perf_counter() - began), report


def bare_copy(connection: Connection, parts: list[UPath], rows: int) -> float:
    """Return the rows per second of a bare COPY into an unlogged table without indexes."""
    columns = ", ".join(COLUMNS["image"])
    with connection.transaction(force_rollback=True):
        connection.execute(f"create unlogged table floor as select {columns} from image with no data")
        began = time.perf_counter()
        with connection.cursor().copy("copy floor from stdin") as copy:
            for part in parts:
                copy.write(part.read_bytes())
        return rows / (time.perf_counter() - began)


def main() -> None:
    base = Path(tempfile.mkdtemp(dir="/var/tmp"))
    base.chmod(0o755)
    server = Postgres(base / "pg", "bench", durable=os.environ.get("BENCH_DURABLE") == "1")
    try:
        server.start(("catalog",))
        schema.upgrade(server.dsn("catalog"))
        with psycopg.connect(server.dsn("catalog"), autocommit=True) as connection:
            _measure(connection, base)
    finally:
        server.stop()
        os.system(f"rm -rf {base}")


def _measure(connection: Connection, base: Path) -> None:
    for start in range(0, EXISTING, 500_000):
        parts = write_parts(base / f"existing{start}", 500_000, start=10_000_000 + start, seed=start + 1)
        load(connection, parts, 500_000)
        for part in parts:
            part.unlink()
    if EXISTING:
        connection.execute("vacuum analyze image")
    same, changed = write_parts(base / "same", ROWS), write_parts(base / "changed", ROWS, retitle=10)
    figures: dict[str, list[float]] = {"bare COPY": [], "first load": [], "unchanged": [], "10 % changed": []}
    for _ in range(REPEATS):
        if EXISTING:
            connection.execute("delete from image where foreign_identifier::bigint < 50010000000")
            connection.execute("vacuum image")
        else:
            connection.execute("truncate image")
        figures["bare COPY"].append(bare_copy(connection, same, ROWS))
        for name, parts, expected in (
            ("first load", same, "inserted"),
            ("unchanged", same, "unchanged"),
            ("10 % changed", changed, "updated"),
        ):
            rate, report = load(connection, parts, ROWS)
            assert getattr(report, expected) == (ROWS // 10 if expected == "updated" else ROWS), report
            figures[name].append(rate)
    floor = statistics.median(figures["bare COPY"])
    size = "empty table" if not EXISTING else f"table of {EXISTING:,} rows"
    print(f"load of {ROWS:,} rows, {size}, median of {REPEATS}:")
    for name, rates in figures.items():
        rate = statistics.median(rates)
        spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
        print(f"  {name:<14}{rate:>9,.0f} rows/s   ({rate / floor:.2f} of a bare COPY; {spread})")
    print(f"  peak memory   {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:>9,} MB")
