"""Queries of the dashboard, whose cost does not grow with the catalog."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from psycopg import sql
from psycopg.rows import dict_row

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.core.setting import PassedOver, Silencing
from catalog.data_refresh.search import Indexes
from catalog.loading.freshness import newest
from catalog.notifications.messages import flags_of

WEEKS = 26
COUNTED = 64 * 2**20  # bytes of a table that is counted in a moment


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
    rows = newest(connection, "ingestion_report", columns, "finished_on")
    return [{**row, "flags": flags_of(row)} for row in rows]


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
