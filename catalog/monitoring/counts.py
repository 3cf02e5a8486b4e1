"""Numbers of records by media type and provider, whose cost does not grow with the tables."""

from typing import Any

from psycopg import sql

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.monitoring.rows import rows

COUNTED = 64 * 2**20  # bytes of a table that is counted in a moment


def records(connection: Connection) -> dict[tuple[MediaType, str], int]:
    """Return (media type, provider) → records, the largest first; estimates for large tables."""
    found: list[dict[str, Any]] = []
    for media_type in reversed(MEDIA_TYPES):
        row = connection.execute(
            "select pg_table_size(to_regclass('public.' || %s))", [media_type]
        ).fetchone()
        counts = row is not None and row[0] is not None and row[0] <= COUNTED
        found += _counted(connection, media_type) if counts else _estimated(connection, media_type)
    return {(row["media_type"], row["provider"]): row["records"] for row in found}


def _counted(connection: Connection, media_type: MediaType) -> list[dict[str, Any]]:
    query = sql.SQL(
        "select {} as media_type, provider, count(*) as records from {} group by provider order by 3 desc"
    )
    return rows(connection, query.format(sql.Literal(media_type), sql.Identifier("public", media_type)))


def _estimated(connection: Connection, media_type: MediaType) -> list[dict[str, Any]]:
    """As the planner estimates them: rows of the table times the provider's share of a sample."""
    query = """
        select t.media_type, v.provider, round(greatest(c.reltuples, 0) * v.share)::bigint as records
          from (values (%s)) t (media_type)
          join pg_class c on c.oid = to_regclass('public.' || t.media_type)
          join pg_stats s on s.schemaname = 'public' and s.tablename = t.media_type and s.attname = 'provider'
         cross join lateral unnest(s.most_common_vals::text::text[], s.most_common_freqs) v (provider, share)
         order by 3 desc
    """
    return rows(connection, query, [media_type])
