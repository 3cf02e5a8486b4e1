"""Rows of `ingestion_report` for tests."""

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from catalog.core.session import Connection


def report(connection: Connection, provider: str, finished_on: datetime, **fields: Any) -> None:
    """Insert the report of a load that ended at a moment; the counts must add up to `fetched`."""
    counts = ("inserted", "updated", "unchanged", "skipped", "rejected")
    values: dict[str, Any] = {
        "dag_id": f"{provider}_workflow",
        "run_id": f"manual__{finished_on:%Y-%m-%dT%H:%M:%S}",
        "provider": provider,
        "media_type": "image",
        "manifest_token": "token",
        "manifest_pages": 1,
        "complete": True,
        "whole": True,
        "finished_on": finished_on,
        **dict.fromkeys(counts, 0),
        **fields,
    }
    values["fetched"] = sum(values[name] for name in counts)
    values = {
        name: Jsonb(value) if isinstance(value, dict | list) else value for name, value in values.items()
    }
    names = ", ".join(values)
    places = ", ".join(f"%({name})s" for name in values)
    connection.execute(f"insert into ingestion_report ({names}) values ({places})", values)
