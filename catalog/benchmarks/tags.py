"""Cost of filtering tags in the tasks that make documents, by an UPDATE of the table, and in other tasks.

BENCH_ROWS (default: 1,000,000) generated images, with 10 tags on average. Compare the results with the time
it takes to index as many rows (`./just bench refresh`).
"""

import os
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from catalog.benchmarks._servers import copy_of, postgres
from catalog.core.session import Connection
from catalog.data_refresh.search.tag_policy import DEFAULT, TagFilter
from catalog.database import sample_data, schema

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
BATCH = 50_000
UPDATE = """
    update image set tags = (
        select coalesce(jsonb_agg(tag), '[]') from jsonb_array_elements(tags) tag
         where jsonb_typeof(tag -> 'name') = 'string' and coalesce((tag ->> 'accuracy')::float, 1) >= 0.9
           and lower(tag ->> 'name') <> all (%(denied)s)
           and not exists (
               select from unnest(%(parts)s::text[]) part where strpos(lower(tag ->> 'name'), part) > 0))
     where jsonb_typeof(tags) = 'array'
"""


Tags = list[dict[str, Any]] | None  # JSON


def in_the_indexer(connection: Connection, lists: list[Tags]) -> None:
    tag_filter = TagFilter(DEFAULT)
    for tags in lists:
        tag_filter(tags)


def without_rules(connection: Connection, lists: list[Tags]) -> None:
    """Bring tags into the form of the document, without a policy."""
    for tags in lists:
        for tag in tags or ():
            if type(tag) is dict:
                accuracy = tag.get("accuracy")
                _ = (
                    {"name": tag.get("name")}
                    if accuracy is None
                    else {"name": tag.get("name"), "accuracy": accuracy}
                )


def by_update(connection: Connection, lists: list[Tags]) -> None:
    connection.execute(UPDATE, {"denied": list(DEFAULT.denied), "parts": list(DEFAULT.denied_substrings)})


def by_tasks(connection: Connection, lists: list[Tags]) -> None:
    """Range by range, read rows, filter their tags, and write changed ones back."""
    tag_filter = TagFilter(DEFAULT)
    for first in range(1, ROWS + 1, BATCH):
        rows = connection.execute(
            "select id, tags from image where id >= %s and id < %s", [first, first + BATCH]
        ).fetchall()
        changed = [(key, kept) for key, tags in rows if (kept := tag_filter(tags)[0]) != tags]
        connection.execute("create temp table if not exists kept (id integer, tags jsonb)")
        connection.execute("truncate kept")
        with connection.cursor().copy("copy kept from stdin") as copy:
            for key, kept in changed:
                copy.write_row((key, Jsonb(kept)))
        connection.execute("update image set tags = kept.tags from kept where kept.id = image.id")


METHODS: dict[str, Callable[[Connection, list[Tags]], None]] = {
    "form of the document, no policy": without_rules,
    "in the tasks that index": in_the_indexer,
    "one UPDATE of the new table": by_update,
    "separate tasks": by_tasks,
}


def main() -> None:
    with postgres("base") as (server, _):
        schema.upgrade(server.dsn("base"), "api")
        with psycopg.connect(server.dsn("base"), autocommit=True) as connection:
            sample_data.fill(connection, "api", ROWS)
            # A new table has no indexes yet when its tags are changed.
            for (name,) in connection.execute(
                "select indexname from pg_indexes where tablename = 'image' and indexname <> 'image_pkey'"
            ).fetchall():
                connection.execute(f"drop index {name}")
            connection.execute("vacuum analyze image")
            lists = [tags for (tags,) in connection.execute("select tags from image")]
        print(f"{ROWS:,} rows, {sum(len(tags or ()) for tags in lists):,} tags")
        for label, method in METHODS.items():
            with copy_of(server, "base") as connection:
                before = connection.execute("select pg_relation_size('image')").fetchone()
                began = time.perf_counter()
                method(connection, lists)
                seconds = time.perf_counter() - began
                after = connection.execute("select pg_relation_size('image')").fetchone()
            grown = after[0] / before[0] if before and after else 1
            print(
                f"{label:34} {seconds:>7.1f} s  {seconds / ROWS * 1e6:>6.1f} µs a row  table x {grown:.2f}",
                flush=True,
            )
