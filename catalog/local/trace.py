"""The way of one record through everything: from a provider's response to a hit of a search."""

from pathlib import Path
from typing import Any

import psycopg
from elasticsearch import Elasticsearch
from psycopg.rows import dict_row

from catalog.data_refresh.queries import search
from catalog.data_refresh.search import Indexes
from catalog.ingestion.provider import FOLDER
from catalog.local.stack import API_DB, CATALOG_DB, ROOT, Stack

Step = tuple[str, str]  # where; what is there


def follow(stack: Stack, client: Elasticsearch, provider: str, live: bool) -> list[Step]:
    """An image of a provider, at each place; [] when there is none with a title."""
    query = """
        select * from image where provider = %s and title is not null order by standardized_popularity desc nulls last, identifier limit 1
    """
    record = _one(stack, CATALOG_DB, query, provider)
    if not record:
        return []
    key = str(record["foreign_identifier"])
    steps = [] if live else [("provider response", _in_files(FOLDER / provider / "recording", "*.json", key))]
    steps.append(("TSV part", _in_files(stack.storage, "*.tsv", key)))
    known = f"image {record['identifier']}: {record['title']!r}, license {record['license']} {record['license_version']}"
    steps.append(("catalog database", f"{known}, popularity {record['standardized_popularity'] or 'none'}"))
    row = _one(stack, API_DB, "select id from image where identifier = %s", record["identifier"])
    steps.append(("API database", f"image row {row['id']}" if row else "not there"))
    found = search(client, "image", record["title"], 100)
    place = next(
        (n for n, hit in enumerate(found.first, 1) if hit.identifier == str(record["identifier"])), None
    )
    policy = Indexes(client).meta("image").get("tag_policy_digest")
    steps.append(("search index", f"document {record['identifier']} in {found.index}, tag policy {policy}"))
    steps.append(
        (
            "search hit",
            f"number {place} of {found.total} for {record['title']!r}"
            if place
            else "not among the first hundred",
        )
    )
    return steps


def _one(stack: Stack, database: str, query: str, value: Any) -> dict[str, Any] | None:
    with psycopg.connect(stack.dsn(database), row_factory=dict_row) as connection:
        return connection.execute(query, [value]).fetchone()


def _in_files(folder: Path, pattern: str, key: str) -> str:
    """The newest file that holds a text, and the line."""
    for path in sorted(folder.rglob(pattern), key=lambda p: p.stat().st_mtime, reverse=True):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if key in line and path.name != "recording.json":
                shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
                return f"{shown}, line {number}"
    return "not found"
