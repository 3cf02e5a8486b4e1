"""Trace of one record, from a provider's response to a search hit."""

from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from elasticsearch import Elasticsearch
from psycopg.rows import dict_row

from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.queries import search
from catalog.ingestion.registry import FOLDER
from catalog.local.stack import API_DB, CATALOG_DB, ROOT, Stack

_MOST_POPULAR = """
select * from image where provider = %s and title is not null
 order by standardized_popularity desc nulls last, identifier limit 1
"""


class Place(NamedTuple):
    """A place that a record passes through, and what is stored there."""

    name: str
    record: str


def trace_record(stack: Stack, client: Elasticsearch, provider: str, live: bool) -> list[Place]:
    """Find the most popular image of a provider in each place it passes through.

    Args:
        stack: A running stack.
        client: Client of the stack's search engine.
        provider: Name of the provider in the catalog.
        live: The records come from the real API, so there is no recording to search.

    Returns:
        The places in order; [] if the provider has no image with a title.
    """
    record = _one(stack, CATALOG_DB, _MOST_POPULAR, provider)
    if not record:
        return []
    key, identifier = str(record["foreign_identifier"]), str(record["identifier"])
    places = []
    if not live:
        recording = FOLDER / provider / "recording"
        places.append(Place("provider response", _find_line(recording, "*.json", key)))
    places.append(Place("TSV part", _find_line(stack.storage, "*.tsv", key)))
    license_ = f"{record['license']} {record['license_version']}"
    score = record["standardized_popularity"] or "none"
    stored = f"image {identifier}: {record['title']!r}, license {license_}, popularity {score}"
    places.append(Place("catalog database", stored))
    row = _one(stack, API_DB, "select id from image where identifier = %s", record["identifier"])
    places.append(Place("API database", f"image row {row['id']}" if row else "not there"))
    hits = search(Indexes(client, patience=0), "image", record["title"], 100)
    policy = Indexes(client).meta("image").get("tag_policy_digest")
    places.append(Place("search index", f"document {identifier} in {hits.index}, tag policy {policy}"))
    rank = next((n for n, hit in enumerate(hits.first, 1) if hit.identifier == identifier), None)
    hit = f"number {rank} of {hits.total} for {record['title']!r}" if rank else "not among the first hundred"
    places.append(Place("search hit", hit))
    return places


def _one(stack: Stack, database: str, query: str, value: object) -> dict[str, Any] | None:
    with psycopg.connect(stack.dsn(database), row_factory=dict_row) as connection:
        return connection.execute(query, [value]).fetchone()


def _find_line(folder: Path, pattern: str, key: str) -> str:
    """Return path and line number of a string in the newest file that contains it."""
    for path in sorted(folder.rglob(pattern), key=lambda p: p.stat().st_mtime, reverse=True):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if key in line and path.name != "recording.json":
                shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
                return f"{shown}, line {number}"
    return "not found"
