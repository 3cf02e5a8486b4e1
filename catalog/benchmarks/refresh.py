"""The data refresh's copy against a bare COPY pipe, its indexing against `parallel_bulk` on documents made before, and the memory of both.

BENCH_ROWS (500 000) made-up images of 1 kB, 10 tags on average. Each part of ours runs in a process of its
own, as a task does.
"""

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from elasticsearch.helpers import parallel_bulk

from catalog.data_refresh import promotion
from catalog.data_refresh.client import connect
from catalog.data_refresh.copy import TableCopy
from catalog.data_refresh.documents import COLUMNS, MediaRow, document
from catalog.data_refresh.indexing import CHUNK, SENDERS, RangeIndexer, ranges
from catalog.data_refresh.mapping import index_body, index_meta
from catalog.data_refresh.search import Indexes
from catalog.data_refresh.tag_policy import DEFAULT, TagFilter
from catalog.database import sample_data, schema
from catalog.local.postgres import Postgres
from catalog.local.search import SearchEngine

META = index_meta("image", "benchmark", "1", DEFAULT)
ROWS = int(os.environ.get("BENCH_ROWS", "500000"))
SHARED = """identifier, created_on, updated_on, provider, source, foreign_identifier, foreign_landing_url, url, thumbnail, width, height,
    filesize, filetype, license, license_version, creator, creator_url, title, last_synced_with_source, removed_from_source, meta_data,
    tags, watermarked, standardized_popularity, category"""


def pipe(catalog: str, api: str) -> None:
    """The floor of the copy: the same columns, binary, into a table without indexes."""
    with psycopg.connect(catalog) as source, psycopg.connect(api, autocommit=True) as target:
        target.execute(
            f"drop table if exists floor; create table floor as select {SHARED} from image with no data"
        )
        kinds = "select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'floor'::regclass and attnum > 0"
        columns = ", ".join(f"{name}::{kind}" for name, kind in target.execute(kinds))
        with (
            source.cursor().copy(f"copy (select {columns} from image) to stdout (format binary)") as out,
            target.cursor().copy("copy floor from stdin (format binary)") as into,
        ):
            for data in out:
                into.write(data)


def copy_once(catalog: str, api: str, run: str) -> None:
    with psycopg.connect(catalog, autocommit=True) as source, psycopg.connect(api, autocommit=True) as target:
        assert TableCopy(source, target, "image", run).run().rows == ROWS


def build(api: str) -> None:
    with psycopg.connect(api, autocommit=True) as target:
        promotion.build_indexes(target, "image")


def promote(api: str, run: str) -> None:
    with psycopg.connect(api, autocommit=True) as target:
        promotion.promote(target, ["image"], run)
        promotion.drop_left_overs(target, ["image"])


def index(api: str, url: str, name: str) -> None:
    with psycopg.connect(api, autocommit=True) as connection:
        client = connect(url, engine="opensearch")
        for part in ranges(connection, "image", 1):
            RangeIndexer(connection, client, name, "image", "image", DEFAULT, part).run()


def ready_made(api: str, name: str) -> list[dict[str, Any]]:
    """Documents, made before any clock runs."""
    query = f"""
        select id, identifier, created_on, title, creator, provider, source, category, license, url, filetype, standardized_popularity,
               meta_data, tags, false, {", ".join(COLUMNS["image"])} from image where not removed_from_source
    """
    tags = TagFilter(DEFAULT)
    with psycopg.connect(api) as connection:
        rows: Iterator[Any] = connection.execute(query)
        return [
            {"_index": name, "_id": str(row[1]), **document("image", MediaRow(*row), tags)} for row in rows
        ]


def measured(work: Callable[..., None], *values: Any) -> tuple[float, float]:
    """(seconds, peak resident memory in MB) of a call in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    process = context.Process(target=_measure, args=(results, work, *values))
    process.start()
    seconds, memory = results.get()
    process.join()
    return seconds, memory


def _measure(results: Any, work: Callable[..., None], *values: Any) -> None:
    began = time.perf_counter()
    work(*values)
    seconds = time.perf_counter() - began
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )  # getrusage has the parent's peak
    results.put((seconds, int(status["VmHWM"].split()[0]) / 1024))


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    server, engine = (
        Postgres(folder / "pg", "bench", durable=False),
        SearchEngine(folder / "search", heap="1g"),
    )
    try:
        engine.start()
        server.start(("catalog", "api"))
        catalog, api = server.dsn("catalog"), server.dsn("api")
        schema.upgrade(catalog)
        schema.upgrade(api, "api")
        with psycopg.connect(catalog, autocommit=True) as connection:
            sample_data.fill(connection, "catalog", ROWS)
            connection.execute("vacuum analyze")
        copies(catalog, api)
        engine.wait()
        indexes(api, engine)
    finally:
        engine.stop()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def copies(catalog: str, api: str) -> None:
    floor = min(measured(pipe, catalog, api)[0] for _ in range(2))
    print(f"{ROWS:,} rows\n{'COPY TO | COPY FROM':34} {ROWS / floor:>9,.0f} rows/s")
    for number, label in enumerate(("copy, all rows new", "copy, all rows known")):
        seconds, memory = measured(copy_once, catalog, api, str(number))
        print(
            f"{label:34} {ROWS / seconds:>9,.0f} rows/s  {floor / seconds:.2f} x COPY  {memory:.0f} MB",
            flush=True,
        )
        seconds, _ = measured(build, api)
        print(f"{'  its 14 indexes':34} {ROWS / seconds:>9,.0f} rows/s")
        seconds, _ = measured(promote, api, str(number))
        print(f"{'  its exchange':34} {seconds:>9.2f} s")


def indexes(api: str, engine: SearchEngine) -> None:
    search = Indexes(connect(engine.url, engine="opensearch"))
    documents = ready_made(api, "image-floor")
    for warm in ("image-warm", "image-floor"):  # the first one warms the engine up
        search.create(warm, index_body("image", META, 1))
        for made in documents:
            made["_index"] = warm
        began = time.perf_counter()
        for _ in parallel_bulk(
            search.client, (dict(d) for d in documents), thread_count=SENDERS, chunk_size=CHUNK
        ):
            pass
        floor = time.perf_counter() - began
    del documents
    print(f"{'parallel_bulk, ready-made documents':34} {ROWS / floor:>9,.0f} docs/s")
    search.create("image-ours", index_body("image", META, 1))
    seconds, memory = measured(index, api, engine.url, "image-ours")
    search.refresh("image-ours")
    print(
        f"{'index_range, from rows':34} {ROWS / seconds:>9,.0f} docs/s  {floor / seconds:.2f} x parallel_bulk  {memory:.0f} MB"
    )
    print(f"{search.count('image-ours'):,} documents")


if __name__ == "__main__":
    main()
