"""How old the records of each provider are, compared with its schedule."""

from datetime import datetime, timedelta
from typing import Any, LiteralString

import msgspec
from psycopg.rows import dict_row

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.ingestion.provider import Provider, provider_class, provider_names

PERIODS = {
    "@daily": 1,
    "@weekly": 7,
    "@monthly": 31,
    "@quarterly": 92,
}  # days; a cron expression counts as a month


class Freshness(msgspec.Struct, frozen=True):
    """The age of a provider's newest whole pull: fresh, late (older than 1.5 periods), or never.

    Attributes:
        provider: Its name in the catalog, for this media type.
        media_type: The media type.
        schedule: Schedule of its DAG.
        last: The end of the newest window of a dated provider; the time of the newest load of the others.
        due: The moment from which it is late without another whole pull; None if there never was one.
        state: `fresh`, `late` or `never`.
    """

    provider: str
    media_type: str
    schedule: str
    last: datetime | None
    due: datetime | None
    state: str


def freshness(connection: Connection, now: datetime) -> list[Freshness]:
    """Return each provider against its schedule, late ones first; the view `whole_pull` says what counts."""
    rows = newest(connection, "whole_pull", "fresh_on", "fresh_on")
    last = {(row["provider"], row["media_type"]): row["fresh_on"] for row in rows}
    found = []
    for cls, media_type, provider in _sources():
        when = last.get((provider, media_type))
        due = when + _allowed(cls) if when else None
        state = "never" if due is None else "late" if now > due else "fresh"
        found.append(Freshness(provider, media_type, cls.schedule, when, due, state))
    return sorted(found, key=lambda f: ("late", "never", "fresh").index(f.state))


def _allowed(cls: type[Provider]) -> timedelta:
    """Return the age from which a provider is late; the day of a dated one is pulled after its end."""
    return timedelta(days=1.5 * PERIODS.get(cls.schedule, 31) + cls.dated)


def _sources() -> list[tuple[type[Provider], MediaType, str]]:
    """Return class, media type and name in the catalog of all that is ingested."""
    return [
        (cls, *pair) for cls in map(provider_class, provider_names()) for pair in cls.catalog_names.items()
    ]


def newest(
    connection: Connection, relation: LiteralString, columns: LiteralString, by: LiteralString
) -> list[dict[str, Any]]:
    """Return provider, media type and columns of each provider's newest row; one index look-up each.

    Args:
        connection: To the catalog database.
        relation: Table or view with the columns `provider` and `media_type`.
        columns: The columns to return, separated by commas.
        by: The column that says which row is the newest.
    """
    query = f"""
        select provider, media_type, r.*
          from unnest(%s::text[], %s::text[]) s (provider, media_type)
         cross join lateral (
             select {columns} from {relation} i
              where i.provider = s.provider and i.media_type = s.media_type order by {by} desc limit 1
         ) r
         order by 1, 2
    """  # noqa: S608 - all are literals of the callers
    _, media_types, providers = zip(*_sources(), strict=True)
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, [list(providers), list(media_types)]).fetchall()
