"""Numbers of records by media type and provider, whose cost does not grow with the tables."""

import msgspec
from psycopg import sql

from catalog.core.media import SHOWN, MediaType
from catalog.core.session import Connection
from catalog.database.estimates import analyzed_rows

COUNTED = 64 * 2**20  # bytes of a table that is counted in a moment


class Number(msgspec.Struct, frozen=True):
    """A number of records.

    Attributes:
        value: The number; None if there are too few of them for an estimate, or none was made.
        exact: The records were counted.
    """

    value: int | None
    exact: bool

    def __str__(self) -> str:
        if self.value is None:
            return "unknown"
        return f"{self.value:,}" if self.exact else f"about {self.value:,}"


class Records(msgspec.Struct, frozen=True):
    """Numbers of records.

    Attributes:
        by_provider: (media type, provider) → records, the largest first.
        totals: Media type → records.
    """

    by_provider: dict[tuple[MediaType, str], Number]
    totals: dict[MediaType, Number]

    def of(self, media_type: MediaType, provider: str) -> Number:
        """Return the number of a provider; the sample of an estimate may lack a provider that has records."""
        exact = self.totals[media_type].exact
        return self.by_provider.get((media_type, provider), Number(0 if exact else None, exact))


def records(connection: Connection) -> Records:
    """Count the records of small tables, and estimate those of large ones."""
    by_provider, totals = dict[tuple[MediaType, str], Number](), dict[MediaType, Number]()
    for media_type in SHOWN:
        exact = _is_small(connection, media_type)
        found = (_counted if exact else _estimated)(connection, media_type)
        by_provider |= {(media_type, provider): Number(number, exact) for provider, number in found}
        # PostgreSQL 13 says 0 of a large table that has not been analyzed.
        total = sum(n for _, n in found) if exact else analyzed_rows(connection, media_type) or None
        totals[media_type] = Number(total, exact)
    return Records(by_provider, totals)


def _is_small(connection: Connection, media_type: MediaType) -> bool:
    query = "select pg_table_size(to_regclass('public.' || %s)) <= %s"
    return connection.execute(query, [media_type, COUNTED]).fetchone() == (True,)


def _counted(connection: Connection, media_type: MediaType) -> list[tuple[str, int]]:
    query = sql.SQL("select provider, count(*) from {} group by provider order by 2 desc")
    return connection.execute(query.format(sql.Identifier("public", media_type))).fetchall()


def _estimated(connection: Connection, media_type: MediaType) -> list[tuple[str, int]]:
    """As the planner estimates them: rows of the table times the provider's share of a sample."""
    query = """
        select v.provider, round(c.reltuples * v.share)::bigint
          from pg_class c
          join pg_stats s on s.schemaname = 'public' and s.tablename = c.relname and s.attname = 'provider'
         cross join lateral unnest(s.most_common_vals::text::text[], s.most_common_freqs) v (provider, share)
         where c.oid = to_regclass('public.' || %s) and c.reltuples > 0
         order by 2 desc
    """
    return connection.execute(query, [media_type]).fetchall()
