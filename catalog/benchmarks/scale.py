"""How the cost of each operation grows with the table, with a database that is larger than its memory.

BENCH_SIZES (default: 2,000,000) numbers of generated images of 1 kB. The server's memory, its page cache
included, is limited to a quarter of its data, where control groups allow that. BENCH_SHARE (default: 4)
chooses another part; 0 sets no limit. Pages are counted whether they come from memory or disk; WAL is what
the operation wrote. BENCH_SESSIONS (default: 2) processes copy and create indexes, and as many providers are
loaded at once. COPY into the indexed table is the floor of a load, `COPY TO | COPY FROM` that of a copy.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from upath import UPath

from catalog.benchmarks._memory_limit import memory_limit
from catalog.benchmarks._servers import postgres
from catalog.benchmarks.incremental import promote
from catalog.benchmarks.load import copy_indexed, load, write_parts
from catalog.benchmarks.refresh import build, measure, measure_together, pipe
from catalog.core.session import Connection
from catalog.data_refresh.tables import promotion
from catalog.data_refresh.tables.apply import apply_changes
from catalog.data_refresh.tables.changes_copy import ChangesCopy
from catalog.data_refresh.tables.copy import TableCopy
from catalog.data_refresh.tables.shape import shape
from catalog.database import sample_data, schema
from catalog.database.batched_update import BatchedUpdate
from catalog.database.row_versions import horizon
from catalog.database.statements import parse_update
from catalog.local.postgres import Postgres

SIZES = [int(size) for size in os.environ.get("BENCH_SIZES", "2000000").replace(",", " ").split()]
SHARE = int(os.environ.get("BENCH_SHARE", "4"))
SESSIONS = int(os.environ.get("BENCH_SESSIONS", "2"))
MIN_MEMORY = 1 << 30  # bytes; shared buffers are half of it
LOADED = 0.05  # new rows of one load, as a share of the table
CHANGED = (0, 0.001, 0.01, 0.1)
_PAGES = """
    select (select coalesce(sum(heap_blks_read + heap_blks_hit), 0)::bigint
              from pg_statio_user_tables where relname = 'image'),
           (select blks_read from pg_stat_database where datname = current_database())
"""


class Cost(NamedTuple):
    """What both databases did until now."""

    heap: int  # heap pages of `image` that were read, from memory or disk
    missed: int  # pages of any table or index that were not in shared buffers
    wal: int  # bytes


class Bench:
    """A server with a catalog and an API database of one size."""

    def __init__(self, server: Postgres, folder: Path, rows: int) -> None:
        self.catalog, self.api = server.dsn("catalog"), server.dsn("api")
        self._folder, self._rows = folder, rows

    def connect(self, dsn: str) -> Connection:
        return psycopg.connect(dsn, autocommit=True)

    def fill(self) -> None:
        schema.upgrade(self.catalog)
        schema.upgrade(self.api, "api")
        with self.connect(self.catalog) as connection:
            sample_data.fill(connection, "catalog", self._rows)
            connection.execute("vacuum analyze")
        measure(copy_once, self.catalog, self.api, "0", processes=SESSIONS)
        measure(build, self.api, processes=SESSIONS)
        measure(promote, self.api, "0")
        with self.connect(self.api) as connection:
            connection.execute("vacuum analyze")

    def sizes(self) -> list[tuple[int, int]]:
        """Return the bytes of the media table and of its indexes, for each database."""
        found = []
        for dsn in (self.catalog, self.api):
            with self.connect(dsn) as connection:
                query = "select pg_table_size('image'), pg_indexes_size('image')"
                found.append(connection.execute(query).fetchone() or (0, 0))
        return found

    def cost(self) -> Cost:
        heap = missed = 0
        for dsn in (self.catalog, self.api):
            with self.connect(dsn) as connection:
                connection.execute("select pg_stat_force_next_flush()")
                found = connection.execute(_PAGES).fetchone() or (0, 0)
                heap, missed = heap + found[0], missed + found[1]
                wal = connection.execute("select pg_current_wal_lsn() - '0/0'").fetchone() or (0,)
        return Cost(heap, missed, int(wal[0]))

    def step(self, name: str, rows: int, work: Callable[..., None], *calls: tuple[str, ...]) -> float:
        """Run an operation, each call in a process of its own, and print what it cost; return the seconds."""
        before = self.cost()
        seconds, memory = measure_together(work, calls)
        after = self.cost()
        heap, missed, wal = (max(b - a, 0) / max(rows, 1) for a, b in zip(before, after, strict=True))
        print(
            f"  {name:28} {seconds:>8.1f} s {rows / seconds:>10,.0f} rows/s {heap:>7.2f} {missed:>7.2f} "
            f"{wal:>8,.0f} {memory:>6.0f} MB",
            flush=True,
        )
        return seconds

    def run(self) -> None:
        new, total = int(self._rows * LOADED), self._rows
        loads = [self._written(number, new) for number in range(SESSIONS + 1)]
        self.step("COPY into the indexed table", new, copy_parts, loads[0])
        self.step("load, new rows", new, load_parts, loads[0])
        self.step("load, unchanged rows", new, load_parts, loads[0])
        self.step(f"load of {SESSIONS} providers", new * SESSIONS, load_parts, *loads[1:])
        total += new * (SESSIONS + 1)
        began, both = self.horizon(), (self.catalog, self.api)
        self.step("COPY TO | COPY FROM", total, pipe_once, both)
        full = self.step("full refresh: copy", total, copy_once, *[(*both, "1")] * SESSIONS)
        full += self.step("full refresh: indexes", total, build, *[(self.api,)] * SESSIONS)
        full += self.step("full refresh: exchange", total, promote, (self.api, "1"))
        for number, share in enumerate(CHANGED, 2):
            changed = int(total * share)
            with self.connect(self.catalog) as connection:
                connection.execute(
                    "update image set title = title || '.' where identifier in "
                    "(select identifier from image order by md5(identifier::text || %s) limit %s)",
                    [str(share), changed],
                )
            following = self.horizon()
            name = f"incremental, {share:.1%} changed"
            seconds = self.step(name, changed or total, refresh, (*both, str(number), str(began)))
            print(f"  {'':28} {seconds / full:>8.1%} of the full refresh")
            began = following
        self.step("batched update", total, update_all, (self.catalog,))

    def _written(self, number: int, rows: int) -> tuple[str, ...]:
        """Write rows of a provider of their own, and return the arguments of `load_parts`."""
        provider = f"museum {number}"
        folder = self._folder / provider
        write_parts(folder, rows, start=rows * number, name=provider)
        return self.catalog, str(folder), str(rows), provider

    def horizon(self) -> int:
        with self.connect(self.catalog) as connection:
            return horizon(connection)


def load_parts(catalog: str, folder: str, rows: str, provider: str) -> None:
    parts = [UPath(path) for path in sorted(Path(folder).glob("*.tsv"))]
    with psycopg.connect(catalog, autocommit=True) as connection:
        load(connection, parts, int(rows), provider)


def copy_parts(catalog: str, folder: str, rows: str, _: str) -> None:
    parts = [UPath(path) for path in sorted(Path(folder).glob("*.tsv"))]
    with psycopg.connect(catalog, autocommit=True) as connection:
        copy_indexed(connection, parts, int(rows))
        connection.execute("vacuum image")  # it was rolled back


def pipe_once(catalog: str, api: str) -> None:
    pipe(catalog, api)
    with psycopg.connect(api, autocommit=True) as target:
        target.execute("drop table floor")


def copy_once(catalog: str, api: str, run: str) -> None:
    with psycopg.connect(catalog, autocommit=True) as source, psycopg.connect(api, autocommit=True) as target:
        TableCopy(source, target, "image", run).run()


def refresh(catalog: str, api: str, run: str, began: str) -> None:
    """Find, copy and apply what has changed, without the documents."""
    with psycopg.connect(catalog, autocommit=True) as source, psycopg.connect(api, autocommit=True) as target:
        shapes = {"image": shape(target, "image")}
        copied = ChangesCopy(source, target, "image", run).copy(int(began), rejected=[], most=10**12)
        apply_changes(target, ["image"], int(run), {"image": copied.own}, expected=shapes)
        promotion.drop_leftovers(target, ["image"])


def update_all(catalog: str) -> None:
    with psycopg.connect(catalog, autocommit=True) as connection:
        change = "SET standardized_popularity = coalesce(standardized_popularity, 0) / 2 + 0.1"
        update = parse_update("image", change, "WHERE provider IS NOT NULL")
        job = BatchedUpdate(connection, "bench", "bench", update, batch_size=10_000, stripes=8)
        job.claim(resume=False)
        job.run(job.select())
        job.finish()


@contextmanager
def bench(rows: int) -> Iterator[tuple[Bench, Postgres]]:
    with postgres("catalog", "api") as (server, folder):
        yield Bench(server, folder, rows), server


def main() -> None:
    for rows in SIZES:
        with bench(rows) as (one, server):
            one.fill()
            sizes = one.sizes()
            size = sum(map(sum, sizes))
            server.stop()
            pid = server.start()
            limit = max(size // SHARE, MIN_MEMORY) if SHARE else 0
            with memory_limit(pid, limit or 1 << 60) as limited:
                memory = f"{limit / 1e9:.1f} GB of memory" if limit and limited else "no memory limit"
                print(f"{rows:,} images, {size / 1e9:.1f} GB, {memory}; bytes a row:")
                for name, (table, indexes) in zip(("catalog", "API"), sizes, strict=True):
                    print(f"  {name}: table {table / rows:,.0f}, indexes {indexes / rows:,.0f}")
                print(
                    f"  {'':28} {'':>10} {'':>17} {'pages':>7} {'missed':>7} {'WAL':>8}\n"
                    f"  {'':28} {'':>10} {'':>17} {'a row':>7} {'a row':>7} {'bytes':>8}"
                )
                one.run()
