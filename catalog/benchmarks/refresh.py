"""Data refresh: its copy compared with a bare COPY pipe, its indexing with `parallel_bulk`; memory of both.

BENCH_ROWS (default: 500,000) generated images of 1 kB, with 10 tags on average. Each step runs in a separate
process, as a task does; the copy and the indexes in BENCH_SESSIONS processes (default: 1). `parallel_bulk`
gets documents that were made before.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from elasticsearch.helpers import parallel_bulk

from catalog.benchmarks._servers import postgres
from catalog.data_refresh.search.client import connect
from catalog.data_refresh.search.document_rows import CHUNK
from catalog.data_refresh.search.documents import COLUMNS, MediaRow, document
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.indexing import SENDERS, RangeIndexer, ranges
from catalog.data_refresh.search.mapping import index_body, index_meta
from catalog.data_refresh.search.tag_policy import DEFAULT, TagFilter
from catalog.data_refresh.tables import promotion
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.database import sample_data, schema
from catalog.local.search import SearchEngine

META = index_meta("image", "benchmark", "1", DEFAULT)
ROWS = int(os.environ.get("BENCH_ROWS", "500000"))
SESSIONS = int(os.environ.get("BENCH_SESSIONS", "1"))
SHARED = """
    identifier, created_on, updated_on, provider, source, foreign_identifier, foreign_landing_url, url,
    thumbnail, width, height, filesize, filetype, license, license_version, creator, creator_url, title,
    last_synced_with_source, removed_from_source, meta_data, tags, watermarked, standardized_popularity,
    category
"""
COLUMN_TYPES = """
    select attname, format_type(atttypid, atttypmod) from pg_attribute
     where attrelid = 'floor'::regclass and attnum > 0
"""


def pipe(catalog: str, api: str) -> None:
    """Copy the same columns in binary form to a table without indexes: the floor of the copy."""
    with psycopg.connect(catalog) as source, psycopg.connect(api, autocommit=True) as target:
        target.execute(
            f"drop table if exists floor; create table floor as select {SHARED} from image with no data"
        )
        columns = ", ".join(f"{name}::{type_}" for name, type_ in target.execute(COLUMN_TYPES))
        with (
            source.cursor().copy(f"copy (select {columns} from image) to stdout (format binary)") as out,
            target.cursor().copy("copy floor from stdin (format binary)") as into,
        ):
            for data in out:
                into.write(data)


def copy_once(catalog: str, api: str, run: str) -> None:
    with psycopg.connect(catalog, autocommit=True) as source, psycopg.connect(api, autocommit=True) as target:
        copied = TableCopy(source, target, "image", run).run()
        assert copied.rows == ROWS or not copied.done


def build(api: str) -> None:
    with psycopg.connect(api, autocommit=True) as target:
        build_indexes(target, "image")


def heap_pages(dsn: str) -> tuple[int, int]:
    """Return how many heap pages of `image` were read so far, from memory or disk, and its size in pages."""
    query = """
        select coalesce(sum(heap_blks_read + heap_blks_hit), 0), pg_relation_size('image') / 8192
          from pg_statio_user_tables where relname = 'image'
    """
    time.sleep(1.5)  # sessions report what they have read when they end
    with psycopg.connect(dsn) as connection:
        read, size = connection.execute(query).fetchone() or (0, 0)
    return int(read), int(size)


def promote(api: str, run: str) -> None:
    with psycopg.connect(api, autocommit=True) as target:
        promotion.promote(target, ["image"], run, number=1)
        promotion.drop_leftovers(target, ["image"])


def index(api: str, url: str, name: str) -> None:
    with psycopg.connect(api, autocommit=True) as connection:
        engine = Indexes(connect(url, engine="opensearch"))
        for part in ranges(connection, "image", 1):
            RangeIndexer(connection, engine, name, "image", "image", DEFAULT, part).run()


def make_documents(api: str, name: str) -> list[dict[str, object]]:
    """Return all documents, as actions for `parallel_bulk`."""
    query = f"""
        select id, identifier, created_on, title, creator, provider, source, category, license, url, filetype,
               standardized_popularity, meta_data, tags, false, {", ".join(COLUMNS["image"])}
          from image where not removed_from_source
    """
    tags = TagFilter(DEFAULT)
    with psycopg.connect(api) as connection:
        return [
            {"_index": name, "_id": str(row[1]), **document("image", MediaRow(*row), tags)}
            for row in connection.execute(query)
        ]


class Measurement(NamedTuple):
    """Result of `measure`."""

    seconds: float
    memory: float  # peak resident memory in MB


def measure(work: Callable[..., None], *arguments: str, processes: int = 1) -> Measurement:
    """Run a function in new processes; return the longest time and the largest memory."""
    return measure_together(work, [arguments] * processes)


def measure_together(work: Callable[..., None], calls: Sequence[Sequence[str]]) -> Measurement:
    """Like `measure`, with a process for each list of arguments."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(calls), mp_context=context, max_tasks_per_child=1) as pool:
        running = [pool.submit(_measure, work, *arguments) for arguments in calls]
        measurements = [one.result() for one in running]
    return Measurement(max(m.seconds for m in measurements), max(m.memory for m in measurements))


def _measure(work: Callable[..., None], *arguments: str) -> Measurement:
    began = time.perf_counter()
    work(*arguments)
    seconds = time.perf_counter() - began
    # getrusage would include the parent's peak.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return Measurement(seconds, int(status["VmHWM"].split()[0]) / 1024)


@contextmanager
def _engine(folder: Path) -> Iterator[SearchEngine]:
    engine = SearchEngine(folder, heap="1g")
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


@contextmanager
def servers() -> Iterator[tuple[str, str, SearchEngine]]:
    """Start both databases, with images in the catalog, and an engine that may still be starting."""
    with postgres("catalog", "api") as (server, folder), _engine(folder / "search") as engine:
        catalog, api = server.dsn("catalog"), server.dsn("api")
        schema.upgrade(catalog)
        schema.upgrade(api, "api")
        with psycopg.connect(catalog, autocommit=True) as connection:
            sample_data.fill(connection, "catalog", ROWS)
            connection.execute("vacuum analyze")
        yield catalog, api, engine


def main() -> None:
    with servers() as (catalog, api, engine):
        copies(catalog, api)
        engine.wait()
        indexes(api, engine)


def copies(catalog: str, api: str) -> None:
    floor = min(measure(pipe, catalog, api).seconds for _ in range(2))
    print(f"{ROWS:,} rows\n{'COPY TO | COPY FROM':34} {ROWS / floor:>9,.0f} rows/s")
    for number, label in enumerate(("copy, all rows new", "copy, all rows known")):
        read = [heap_pages(dsn) for dsn in (catalog, api)]
        seconds, memory = measure(copy_once, catalog, api, str(number), processes=SESSIONS)
        print(
            f"{label:34} {ROWS / seconds:>9,.0f} rows/s  {floor / seconds:.2f} x COPY  {memory:.0f} MB",
            flush=True,
        )
        for name, dsn, (before, _) in zip(("catalog", "live"), (catalog, api), read, strict=True):
            after, size = heap_pages(dsn)
            print(f"{f'  pages of the {name} table read':34} {(after - before) / max(size, 1):>9.2f} of them")
        indexes = measure(build, api, processes=SESSIONS)
        print(f"{'  its 14 indexes':34} {ROWS / indexes.seconds:>9,.0f} rows/s")
        print(f"{'  its exchange':34} {measure(promote, api, str(number)).seconds:>9.2f} s")


def indexes(api: str, engine: SearchEngine) -> None:
    search = Indexes(connect(engine.url, engine="opensearch"))
    documents = make_documents(api, "image-floor")
    for name in ("image-warm", "image-floor"):  # the first one warms the engine up
        search.create(name, index_body("image", META, 1))
        for action in documents:
            action["_index"] = name
        began = time.perf_counter()
        for _ in parallel_bulk(
            search.client, (dict(d) for d in documents), thread_count=SENDERS, chunk_size=CHUNK
        ):
            pass
        floor = time.perf_counter() - began
    del documents
    print(f"{'parallel_bulk, ready-made documents':34} {ROWS / floor:>9,.0f} docs/s")
    search.create("image-ours", index_body("image", META, 1))
    seconds, memory = measure(index, api, engine.url, "image-ours")
    search.refresh("image-ours")
    ratio = f"{floor / seconds:.2f} x parallel_bulk"
    print(f"{'index_range, from rows':34} {ROWS / seconds:>9,.0f} docs/s  {ratio}  {memory:.0f} MB")
    print(f"{search.count('image-ours'):,} documents")
