"""TSV → catalog: first load, unchanged reload, reload with 10 % changed.

They are compared with COPY, into a table without indexes and straight into the catalog's, and with the widely
used form: COPY into an indexed table, deletions of what cannot be loaded, INSERT … ON CONFLICT DO UPDATE.
BENCH_ROWS (default: 200,000) rows are loaded into a table of BENCH_EXISTING (default: 0) rows; 5,000,000
makes a large table.
"""

import os
import resource
import statistics
import time
import uuid
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from upath import UPath

from catalog.benchmarks._photos import photos
from catalog.benchmarks._servers import postgres
from catalog.core.columns import COLUMNS
from catalog.core.session import Connection
from catalog.database import schema
from catalog.ingestion.parts import Counts, Manifest
from catalog.ingestion.tsv import Encoder
from catalog.ingestion.urls import UrlCleaner
from catalog.loading.load import Load
from catalog.loading.report import LoadKey, LoadReport
from catalog.providers.flickr.provider import Flickr

ROWS = int(os.environ.get("BENCH_ROWS", "200000"))
EXISTING = int(os.environ.get("BENCH_EXISTING", "0"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))
PART = 5_000


def write_parts(
    folder: Path, rows: int, start: int = 0, seed: int = 7, retitle: int = 0, name: str = "flickr"
) -> list[UPath]:
    """Write parts of PART rows for the provider of this name; every `retitle`th photo gets another title."""
    encoder, provider = Encoder("image", name, UrlCleaner()), Flickr()
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


def load(
    connection: Connection, parts: list[UPath], rows: int, provider: str = "flickr"
) -> tuple[float, LoadReport]:
    """Load parts; return the rows per second, and the report of the load."""
    token = uuid.uuid4().hex
    manifest = Manifest(
        provider,
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
        connection, "image", provider, parts, manifest, LoadKey("bench", token), progress=lambda _: None
    ).run()
    return rows / (time.perf_counter() - began), report


def copy_indexed(connection: Connection, parts: list[UPath], rows: int) -> float:
    """Return the rows per second of COPY into the catalog's table, with its indexes and without any check."""
    with connection.transaction(force_rollback=True):
        for column, value in (
            ("created_on", "now()"),
            ("updated_on", "now()"),
            ("removed_from_source", "false"),
        ):
            connection.execute(f"alter table image alter {column} set default {value}")
        began = time.perf_counter()
        with connection.cursor().copy(f"copy image ({', '.join(COLUMNS['image'])}) from stdin") as copy:
            for part in parts:
                copy.write(part.read_bytes())
        return rows / (time.perf_counter() - began)


UPSERT = """
    insert into image as old ({columns}, created_on, updated_on, last_synced_with_source, removed_from_source,
                              standardized_popularity)
    select {values}, now(), now(), now(), false, standardized_image_popularity(provider, meta_data)
      from (select distinct on (url) * from form) new
     where not exists (select from image o where o.url = new.url
                          and md5(o.foreign_identifier) <> md5(new.foreign_identifier))
    on conflict (provider, md5(foreign_identifier)) do update
       set {merged}, updated_on = now(), last_synced_with_source = now(), removed_from_source = false,
           standardized_popularity = excluded.standardized_popularity
"""
MERGED = {  # the others: the new value if there is one
    "meta_data": """coalesce(jsonb_strip_nulls(old.{0}) || jsonb_strip_nulls(excluded.{0}),
                             excluded.{0}, old.{0})""",
    "tags": """coalesce(excluded.{0} || coalesce((select jsonb_agg(tag) from jsonb_array_elements(old.{0}) tag
                    where tag ->> 'provider' <> old.provider), '[]'), excluded.{0}, old.{0})""",
}


def widely_used_form(connection: Connection, parts: list[UPath], rows: int) -> float:
    """Return the rows per second of an upsert of all rows, with the same merge of JSON columns."""
    names = COLUMNS["image"]
    began = time.perf_counter()
    with connection.transaction():
        connection.execute(f"create unlogged table form as select {', '.join(names)} from image with no data")
        connection.execute("create index on form (provider)")
        connection.execute("create index on form (provider, md5(foreign_identifier))")
        connection.execute("create index on form (provider, md5(url))")
        with connection.cursor().copy(f"copy form ({', '.join(names)}) from stdin") as copy:
            for part in parts:
                copy.write(part.read_bytes())
        for name in ("foreign_identifier", "foreign_landing_url", "url", "license", "license_version"):
            connection.execute(f"delete from form where {name} is null")
        connection.execute(
            "delete from form a using form b where a.ctid < b.ctid and a.provider = b.provider"
            " and md5(a.foreign_identifier) = md5(b.foreign_identifier)"
        )
        merged = ", ".join(
            f"{name} = {MERGED.get(name, 'coalesce(excluded.{0}, old.{0})').format(name)}"
            for name in names
            if name not in ("provider", "foreign_identifier")
        )
        statement = UPSERT.format(columns=", ".join(names), values=", ".join(names), merged=merged)
        assert connection.execute(statement).rowcount == rows
        connection.execute("drop table form")
    return rows / (time.perf_counter() - began)


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
    with postgres("catalog", durable=os.environ.get("BENCH_DURABLE") == "1") as (server, base):
        schema.upgrade(server.dsn("catalog"))
        with psycopg.connect(server.dsn("catalog"), autocommit=True) as connection:
            _measure(connection, base)


def _measure(connection: Connection, base: Path) -> None:
    for start in range(0, EXISTING, 500_000):
        parts = write_parts(base / f"existing{start}", 500_000, start=10_000_000 + start, seed=start + 1)
        load(connection, parts, 500_000)
        for part in parts:
            part.unlink()
    if EXISTING:
        connection.execute("vacuum analyze image")
    same, changed = write_parts(base / "same", ROWS), write_parts(base / "changed", ROWS, retitle=10)
    figures: dict[str, list[float]] = defaultdict(list)
    for _ in range(REPEATS):
        figures["COPY, no indexes"].append(bare_copy(connection, same, ROWS))
        for name, work in (
            ("COPY into the indexed table", copy_indexed),
            ("widely used form, first load", widely_used_form),
            ("first load", first_load),
        ):
            _clear(connection)
            figures[name].append(work(connection, same, ROWS))
        for name, parts, expected in (("unchanged", same, "unchanged"), ("10 % changed", changed, "updated")):
            rate, report = load(connection, parts, ROWS)
            assert getattr(report, expected) == (ROWS // 10 if expected == "updated" else ROWS), report
            figures[name].append(rate)
        figures["widely used form, unchanged"].append(widely_used_form(connection, changed, ROWS))
    floor, indexed = (
        statistics.median(figures[name]) for name in ("COPY, no indexes", "COPY into the indexed table")
    )
    size = "empty table" if not EXISTING else f"table of {EXISTING:,} rows"
    print(f"load of {ROWS:,} rows, {size}, median of {REPEATS}:")
    for name, rates in figures.items():
        rate = statistics.median(rates)
        print(
            f"  {name:<30}{rate:>9,.0f} rows/s   {rate / floor:.2f} of COPY, {rate / indexed:.2f} of COPY "
            f"with indexes; {min(rates):,.0f} to {max(rates):,.0f}"
        )
    print(f"  peak memory   {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:>9,} MB")


def first_load(connection: Connection, parts: list[UPath], rows: int) -> float:
    rate, report = load(connection, parts, rows)
    assert report.inserted == rows, report
    return rate


def _clear(connection: Connection) -> None:
    """Delete what the last load has inserted."""
    if EXISTING:
        connection.execute("delete from image where foreign_identifier::bigint < 50010000000")
        connection.execute("vacuum image")
    else:
        connection.execute("truncate image")
