"""Incremental data refreshes, compared with a full one of the same table and indexes.

BENCH_ROWS (default: 500,000) generated images of 1 kB. Of the changed records, 90 % are updated, 5 % are
new, and 5 % are deleted. Everything that a refresh does to tables and both indexes is included.
BENCH_FILLFACTOR is the fillfactor of the API's table (default: 100).
"""

import os
import time
from itertools import pairwise

import psycopg
from psycopg import sql

from catalog.benchmarks.refresh import META, ROWS, build, copy_once, index, measure, servers
from catalog.data_refresh.search.changed_documents import ChangedDocuments
from catalog.data_refresh.search.client import connect
from catalog.data_refresh.search.filtered import FilteredIndex
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.mapping import index_body
from catalog.data_refresh.search.readiness import finalize
from catalog.data_refresh.search.tag_policy import DEFAULT
from catalog.data_refresh.tables import promotion
from catalog.data_refresh.tables.apply import apply_changes
from catalog.data_refresh.tables.changes_copy import ChangesCopy
from catalog.data_refresh.tables.shape import shape
from catalog.database import sample_data
from catalog.database.row_versions import horizon

FILLFACTOR = int(os.environ.get("BENCH_FILLFACTOR", "100"))
SHARES = (0, 0.001, 0.01, 0.1)
TERMS = ("fire", "brigade")
INDEX, FILTERED = "image-full", "image-full-filtered"


def promote(api: str, run: str) -> None:
    with psycopg.connect(api, autocommit=True) as target:
        promotion.promote(target, ["image"], run, number=int(run))
        promotion.drop_leftovers(target, ["image"])


def fill_indexes(api: str, url: str) -> None:
    search = Indexes(connect(url, engine="opensearch"))
    for name in (INDEX, FILTERED):
        search.create(name, index_body("image", META, 1))
    index(api, url, INDEX)
    search.refresh(INDEX)  # what is not visible is not copied
    made = FilteredIndex(search, INDEX, FILTERED, TERMS, lambda: search.require(FILTERED).uuid).run()
    assert made.documents > ROWS // 2, made
    for name in (INDEX, FILTERED):
        finalize(search, name, 0, 600)


def change(catalog: str, share: float) -> int:
    """Change a share of the records, and return their number."""
    number = int(ROWS * share)
    with psycopg.connect(catalog, autocommit=True) as connection:
        updated = connection.execute(
            "update image set title = title || '.' where identifier in "
            "(select identifier from image order by md5(identifier::text || %s) limit %s)",
            [str(share), number * 9 // 10],
        ).rowcount
        deleted = connection.execute(
            "delete from image where identifier in (select identifier from image order by url limit %s)",
            [number // 20],
        ).rowcount
        if added := number // 20:
            sample_data.fill(connection, "catalog", added, seed=1000 + int(share * 1000))
    return updated + deleted + added


def incremental(catalog: str, api: str, url: str, run: str, began: str) -> None:
    with psycopg.connect(catalog, autocommit=True) as source, psycopg.connect(api, autocommit=True) as target:
        shapes = {"image": shape(target, "image")}
        steps = [time.perf_counter()]
        copied = ChangesCopy(source, target, "image", run).copy(int(began), rejected=[], most=ROWS)
        steps.append(time.perf_counter())
        apply_changes(target, ["image"], int(run), {"image": copied.own}, expected=shapes)
        steps.append(time.perf_counter())
        search = Indexes(connect(url, engine="opensearch"))
        updated = ChangedDocuments(
            target, search, "image", INDEX, FILTERED, DEFAULT, TERMS, records=ROWS
        ).run()
        steps.append(time.perf_counter())
        promotion.drop_leftovers(target, ["image"])
        found, applied, documents = (b - a for a, b in pairwise(steps))
        print(
            f"    find and copy {found:.1f} s, apply {applied:.1f} s, "
            f"{updated.documents:,} documents {documents:.1f} s",
            flush=True,
        )


def check(api: str, url: str) -> None:
    """Check that the indexes hold what they should; a refresh counts what it has changed by itself."""
    search = Indexes(connect(url, engine="opensearch"))
    with psycopg.connect(api, autocommit=True) as target:
        rows = target.execute("select count(*) from image where not removed_from_source").fetchone()
    assert rows == (search.count(INDEX),), rows
    assert search.count(FILTERED) > ROWS // 2


def main() -> None:
    with servers() as (catalog, api, engine):
        engine.wait()
        began = _horizon(catalog)
        with psycopg.connect(api, autocommit=True) as connection:  # the refresh keeps it
            connection.execute(sql.SQL("alter table image set (fillfactor = {})").format(FILLFACTOR))
        steps = [measure(copy_once, catalog, api, "1"), measure(build, api), measure(promote, api, "1")]
        steps.append(measure(fill_indexes, api, engine.url))
        full = sum(step.seconds for step in steps)
        print(f"{ROWS:,} rows, full refresh: {full:.1f} s", flush=True)
        for number, share in enumerate(SHARES, 2):
            changed = change(catalog, share)
            following = _horizon(catalog)
            found = measure(incremental, catalog, api, engine.url, str(number), str(began))
            check(api, engine.url)
            print(
                f"{changed:>9,} changed ({share:.1%}): {found.seconds:6.1f} s, "
                f"{found.seconds / full:.1%} of a full refresh, {found.memory:.0f} MB",
                flush=True,
            )
            began = following


def _horizon(catalog: str) -> int:
    with psycopg.connect(catalog, autocommit=True) as connection:
        return horizon(connection)
