"""Queries of the dashboard, whose cost does not grow with the catalog."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import msgspec
from psycopg import sql
from psycopg.rows import dict_row

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.core.setting import PassedOver, Silencing
from catalog.data_refresh.search import Indexes
from catalog.ingestion.provider import Provider, provider_classes
from catalog.notifications.messages import flags_of

WEEKS = 26
COUNTED = 64 * 2**20  # bytes of a table that is counted in a moment
PERIODS = {
    "@daily": 1,
    "@weekly": 7,
    "@monthly": 31,
    "@quarterly": 92,
}  # days; a cron expression counts as a month


class Freshness(msgspec.Struct, frozen=True):
    """The age of a provider's newest whole pull: fresh, late (older than 1.5 periods), or never.

    last: the end of the newest window of a dated provider; the time of the newest load of the others.
    """

    provider: str
    media_type: str
    schedule: str
    last: datetime | None
    state: str


class Alias(msgspec.Struct, frozen=True):
    """Where an alias points; index is None when it points nowhere."""

    name: str
    index: str | None
    documents: int = 0
    policy: str = ""


def records(connection: Connection) -> list[dict[str, Any]]:
    """Return records by media type and provider: estimates, or counts of small tables without statistics."""
    found = []
    for media_type in sorted(MEDIA_TYPES, reverse=True):
        row = connection.execute(
            "select pg_table_size(to_regclass('public.' || %s))", [media_type]
        ).fetchone()
        counts = row is not None and row[0] is not None and row[0] <= COUNTED
        found += _counted(connection, media_type) if counts else _estimated(connection, media_type)
    return found


def _counted(connection: Connection, media_type: MediaType) -> list[dict[str, Any]]:
    query = sql.SQL(
        "select {} as media_type, provider, count(*) as records from {} group by provider order by 3 desc"
    )
    return _rows(connection, query.format(sql.Literal(media_type), sql.Identifier("public", media_type)))


def _estimated(connection: Connection, media_type: MediaType) -> list[dict[str, Any]]:
    """As the planner estimates them: table size times the provider's share of a sample."""
    query = """
        select t.media_type, v.provider, round(greatest(c.reltuples, 0) * v.share)::bigint as records
          from (values (%s)) t (media_type)
          join pg_class c on c.oid = to_regclass('public.' || t.media_type)
          join pg_stats s on s.schemaname = 'public' and s.tablename = t.media_type and s.attname = 'provider'
         cross join lateral unnest(s.most_common_vals::text::text[], s.most_common_freqs) v (provider, share)
         order by 3 desc
    """
    return _rows(connection, query, [media_type])


def growth(connection: Connection, now: datetime) -> list[tuple[datetime, int]]:
    """Monday → records inserted in that week, of the last half year."""
    monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    first = monday - timedelta(weeks=WEEKS - 1)
    query = """
        select date_trunc('week', finished_on at time zone 'UTC') as week, sum(inserted)::bigint as inserted
          from ingestion_report where finished_on >= %s group by 1
    """
    found = {row["week"].replace(tzinfo=UTC): row["inserted"] for row in _rows(connection, query, [first])}
    return [(week, found.get(week, 0)) for week in (first + timedelta(weeks=n) for n in range(WEEKS))]


def outcomes(connection: Connection) -> list[dict[str, Any]]:
    """The last load of each provider and medium: all that was fetched, by what became of it, with reasons."""
    columns = """dag_id, run_id, finished_on, complete, whole, replayed, shortfalls, accepted, fetched,
                 inserted, updated, unchanged, skipped, rejected, skipped_reasons, rejected_reasons"""
    rows = _newest(connection, "ingestion_report", columns, "finished_on")
    return [{**row, "flags": flags_of(row)} for row in rows]


def freshness(connection: Connection, now: datetime) -> list[Freshness]:
    """Each provider against its schedule."""
    newest = _newest(connection, "whole_pull", "fresh_on", "fresh_on")
    last = {(row["provider"], row["media_type"]): row["fresh_on"] for row in newest}
    found = []
    for cls, media_type, provider in _sources():
        when = last.get((provider, media_type))
        allowed = timedelta(
            days=1.5 * PERIODS.get(cls.schedule, 31) + cls.dated
        )  # a day is pulled after its end
        state = "never" if when is None else "late" if now - when > allowed else "fresh"
        found.append(Freshness(provider, media_type, cls.schedule, when, state))
    return sorted(found, key=lambda f: ("late", "never", "fresh").index(f.state))


def _sources() -> list[tuple[type[Provider], str, str]]:
    """(class, media type, provider in the catalog) of all that is ingested."""
    return [(cls, *pair) for cls in provider_classes() for pair in cls.catalog_names.items()]


def _newest(
    connection: Connection, relation: LiteralString, columns: LiteralString, by: LiteralString
) -> list[dict[str, Any]]:
    """Return columns of each source's newest row, and the source; one index look-up each."""
    query = f"""
        select provider, media_type, r.*
          from unnest(%s::text[], %s::text[]) s (provider, media_type)
         cross join lateral (
             select {columns} from {relation} i
              where i.provider = s.provider and i.media_type = s.media_type order by {by} desc limit 1
         ) r
         order by 1, 2
    """  # noqa: S608 - all are literals of this module
    _, media_types, providers = zip(*_sources(), strict=True)
    return _rows(connection, query, [list(providers), list(media_types)])


def popularity(connection: Connection) -> list[dict[str, Any]]:
    query = """
        select 'image' as media_type, provider, metric, percentile, val, constant, refreshed_constant
          from image_popularity_metrics
         union all
        select 'audio', provider, metric, percentile, val, constant, refreshed_constant
          from audio_popularity_metrics
         order by 1 desc, 2
    """
    return _rows(connection, query)


def aliases(search: Indexes) -> list[Alias]:
    """The API's aliases, and the full staging ones where there are any."""
    found = []
    for media_type in MEDIA_TYPES:
        for name in (media_type, f"{media_type}-filtered", f"{media_type}-full"):
            index = search.resolve_alias(name)
            if index:
                found.append(
                    Alias(name, index, search.count(name), search.meta(index).get("tag_policy_digest", ""))
                )
            elif not name.endswith("-full"):
                found.append(Alias(name, None))
    return found


def silenced(variable: str, value: Mapping[str, Sequence[Silencing | PassedOver]]) -> list[dict[str, Any]]:
    """Entries of a Variable that silences messages or passes over errors."""
    return [
        {"variable": variable, "dag_id": dag_id, "issue": entry.issue, "predicate": entry.predicate}
        for dag_id, entries in value.items()
        for entry in entries
    ]


def bars(values: Sequence[tuple[datetime, int]], width: int = 520, height: int = 90) -> list[dict[str, Any]]:
    """Rectangles of a bar chart: x, y, width, height, and what each says."""
    most = max((value for _, value in values), default=0) or 1
    step = width / max(len(values), 1)
    return [
        {
            "x": round(n * step, 1),
            "w": round(step - 2, 1),
            "h": (h := round(value / most * height, 1)),
            "y": height - h,
            "label": f"week of {week:%Y-%m-%d}: {value:,}",
        }
        for n, (week, value) in enumerate(values)
    ]


def _rows(connection: Connection, query: Any, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, values).fetchall()
