"""Publishing of the dataset compared with `COPY TO` (binary) of the same columns; memory and sizes.

BENCH_ROWS (default: 500,000) generated images of 1 kB, with 10 tags on average. COPY and the publication run
in turn, BENCH_ROUNDS times (default: 3), each in a separate process, the publication in BENCH_SESSIONS
processes (default: 1). The best of each counts. As by default, sensitive records are left out: those with one
of BENCH_TERMS terms (default: 500; 0 to publish all), which no record has.
"""

import multiprocessing
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import psycopg
from psycopg import sql
from upath import UPath

from catalog.benchmarks._servers import postgres
from catalog.data_refresh.search.normal_form import normal_form
from catalog.database import sample_data, schema
from catalog.publishing import new_version, part_states, parts, versions, writing
from catalog.publishing.part_writer import query
from catalog.publishing.sensitive import Sensitive

ROWS = int(os.environ.get("BENCH_ROWS", "500000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SESSIONS = int(os.environ.get("BENCH_SESSIONS", "1"))
TERMS = int(os.environ.get("BENCH_TERMS", "500"))


def copy(dsn: str) -> tuple[float, int]:
    """Return the seconds that COPY takes, and the bytes that it sends."""
    began, size = time.perf_counter(), 0
    statement = query("image", sql.SQL("not removed_from_source"))
    whole = sql.SQL("copy ({}) to stdout (format binary)").format(statement)
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor, cursor.copy(whole) as out:
        for data in out:
            size += len(data)
    return time.perf_counter() - began, size


def publish(dsn: str, root: str, number: int) -> tuple[float, int]:
    """Write parts; return the seconds, and the peak memory in kB."""
    # Words and phrases that begin as the texts do.
    terms = [f"water w{n}" if n % 4 == 0 else f"bridge{n}" for n in range(TERMS)]
    began = time.perf_counter()
    sensitive = Sensitive(terms, normal_form) if terms else None
    with psycopg.connect(dsn, autocommit=True) as control, psycopg.connect(dsn, autocommit=True) as holder:
        writing.write_parts(control, holder, UPath(root), number, sensitive=sensitive)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    context = multiprocessing.get_context("spawn")
    with postgres("bench") as (server, folder):
        dsn, root = server.dsn("bench"), str(folder / "dataset")
        schema.upgrade(dsn)
        best_copy, best, memory, sent = float("inf"), float("inf"), 0, 0
        with psycopg.connect(dsn, autocommit=True) as connection:
            sample_data.fill(connection, "catalog", ROWS)
            connection.execute("vacuum analyze image")
            for turn in range(ROUNDS):
                with ProcessPoolExecutor(1, context) as pool:
                    seconds, sent = pool.submit(copy, dsn).result()
                best_copy = min(best_copy, seconds)
                version = new_version.begin(
                    connection,
                    UPath(root),
                    f"run {turn}",
                    {},
                    lambda: parts.plan(connection, ["image"], pages=parts.PAGES // SESSIONS),
                )
                with ProcessPoolExecutor(SESSIONS, context) as pool:
                    done = [pool.submit(publish, dsn, root, version.number) for _ in range(SESSIONS)]
                    found = [one.result() for one in done]
                best = min(best, max(seconds for seconds, _ in found))
                memory = max(memory, *(kilobytes for _, kilobytes in found))
            files = part_states.files_of(connection, versions.read(connection, version.number))
        rows, size = sum(file.rows for file in files), sum(file.bytes for file in files)
        print(f"{rows:,} rows, {sent / 1e6:,.0f} MB as COPY sends them")
        print(f"COPY TO (binary)       {rows / best_copy:>10,.0f} rows/s")
        print(
            f"publication, {SESSIONS} tasks   {rows / best:>10,.0f} rows/s  x {best_copy / best:.2f} of COPY"
            f"  {memory / 1000:,.0f} MB each"
        )
        print(f"Parquet: {len(files)} files, {size / 1e6:,.0f} MB, {size / rows:.0f} bytes a row")
