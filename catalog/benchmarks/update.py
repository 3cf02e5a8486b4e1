"""Batched update of every row, compared with one plain UPDATE and with batches joined by uuid.

Each form updates a copy of the same table: BENCH_ROWS (default: 2,000,000) Flickr-like rows of 1 kB with all
indexes. BENCH_FILLFACTORS (default: 100 85), BENCH_STRIPES (default: 8).
"""

import os
import shutil
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import psycopg
from psycopg import sql

from catalog.benchmarks._servers import copy_of, postgres
from catalog.benchmarks.load import load, write_parts
from catalog.core.session import Connection
from catalog.database import schema
from catalog.database.batched_update import BatchedUpdate
from catalog.database.statements import parse_update
from catalog.local.postgres import Postgres
from catalog.popularity.popularity import refresh_constant, update_conf, update_metrics

ROWS = int(os.environ.get("BENCH_ROWS", "2000000"))
FILLFACTORS = [int(f) for f in os.environ.get("BENCH_FILLFACTORS", "100 85").split()]
REPEATS = int(os.environ.get("BENCH_REPEATS", "1"))
BATCH = 10_000
STRIPES = int(os.environ.get("BENCH_STRIPES", "8"))
CHANGE = (
    "SET updated_on = now(), standardized_popularity ="
    " metric_value(meta_data, 'views') / (metric_value(meta_data, 'views') + 7.5)"
)
WHERE = "WHERE provider = 'flickr'"


Form = Callable[[Connection], None]


def single(connection: Connection) -> None:
    connection.execute(f"update image {CHANGE} {WHERE}")


def by_uuid(connection: Connection) -> None:
    """Update BATCH rows at a time, joined by uuid with a table of row numbers: the widely used form."""
    connection.execute(
        f"create table bench_rows as select row_number() over () as row_id, identifier from image {WHERE}"
    )
    connection.execute("create index on bench_rows (row_id)")
    for start in range(0, ROWS, BATCH):
        connection.execute(
            f"update image {CHANGE} where identifier in (select identifier from bench_rows"
            f" where row_id > {start} and row_id <= {start + BATCH} for update skip locked)"
        )
    connection.execute("drop table bench_rows")


def batched(connection: Connection) -> None:
    job = BatchedUpdate(
        connection, "bench", "bench", parse_update("image", CHANGE, WHERE), batch_size=BATCH, stripes=STRIPES
    )
    job.claim(resume=False)
    job.run(job.select())
    job.finish()


def popularity(connection: Connection) -> None:
    """Refresh the popularity of the provider: percentile, constant, and the score of every row."""
    update_metrics(connection, "image")
    refresh_constant(connection, "image", "flickr", 3600)
    conf = update_conf("image", "flickr")
    update = parse_update("image", conf["update_query"], conf["select_query"])
    job = BatchedUpdate(connection, "bench", "bench", update, batch_size=BATCH, stripes=STRIPES)
    job.claim(resume=False)
    assert job.run(job.select()).updated == ROWS
    job.finish()


FORMS: dict[str, Form] = {
    "one UPDATE": single,
    "batches by uuid": by_uuid,
    "batched_update": batched,
    "popularity refresh": popularity,
}


class Measurement(NamedTuple):
    """Result of one form."""

    rate: float  # rows per second
    hot: float  # share of HOT updates
    growth: float  # of the table, as a factor


def measure(server: Postgres, base: str, form: Form) -> Measurement:
    """Update a new copy of the base."""
    with copy_of(server, base) as connection:
        size = "select pg_relation_size('image')"
        before = connection.execute(size).fetchone()
        began = time.perf_counter()
        form(connection)
        seconds = time.perf_counter() - began
        connection.execute("select pg_stat_force_next_flush()")
        hot = connection.execute(
            "select n_tup_hot_upd::float / nullif(n_tup_upd, 0) from pg_stat_user_tables"
            " where relname = 'image'"
        ).fetchone()
        after = connection.execute(size).fetchone()
    assert before
    assert after
    return Measurement(ROWS / seconds, (hot or [0])[0] or 0, after[0] / before[0])


def main() -> None:
    with postgres("base_100") as (server, folder):
        schema.upgrade(server.dsn("base_100"))
        with psycopg.connect(server.dsn("base_100"), autocommit=True) as connection:
            load(connection, write_parts(folder / "parts", ROWS), ROWS)
            shutil.rmtree(folder / "parts")
            connection.execute("vacuum analyze image")
            size = connection.execute(
                "select pg_size_pretty(pg_relation_size('image')), pg_size_pretty(pg_indexes_size('image'))"
            ).fetchone()
        print(f"{ROWS:,} rows, table {size[0] if size else '?'}, indexes {size[1] if size else '?'}")
        print(
            f"{'fillfactor':>10}  {'form':18} {'rows/s':>9} {'x one UPDATE':>13} {'x by uuid':>10} "
            f"{'HOT':>5} {'growth':>7}"
        )
        for fill in FILLFACTORS:
            compare(server, fill)


def compare(server: Postgres, fill: int) -> None:
    base = f"base_{fill}"
    if fill != 100:
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
            admin.execute(
                sql.SQL("create database {} template base_100 strategy file_copy").format(
                    sql.Identifier(base)
                )
            )
        with psycopg.connect(server.dsn(base), autocommit=True) as connection:
            connection.execute(sql.SQL("alter table image set (fillfactor = {})").format(sql.Literal(fill)))
            connection.execute("vacuum full analyze image")
    rates: dict[str, float] = {}
    for name, form in FORMS.items():
        found = [measure(server, base, form) for _ in range(REPEATS)]
        rate = rates[name] = statistics.median(f.rate for f in found)
        one, uuid = rate / rates["one UPDATE"], rate / rates.get("batches by uuid", rate)
        _, hot, growth = found[-1]
        print(
            f"{fill:>10}  {name:18} {rate:>9,.0f} {one:>13.2f} {uuid:>10.2f} {hot:>5.0%} {growth:>7.2f}",
            flush=True,
        )
