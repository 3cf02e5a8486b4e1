"""Ranges of a catalog table, which the sessions of a copy take one by one.

A range is removed from the list in the transaction that copies its rows. The range of a session that fails is
therefore back on the list, and the copy is complete when the list is empty.
"""

import msgspec
from psycopg import sql

from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import ranges_name
from catalog.database.pages import pages_of, reads_ranges

PAGES = 32_768  # heap pages of a range, 256 MB
ROWS = 250_000  # rows of a range of keys


class Range(msgspec.Struct, frozen=True):
    """Rows with `lower < column <= upper`.

    Attributes:
        by: `ctid`, the place of a row, or `identifier`.
        lower: Exclusive bound; None without one.
        upper: Inclusive bound; None without one.
    """

    by: str
    lower: str | None
    upper: str | None

    @property
    def condition(self) -> sql.Composable:
        """The condition as SQL."""
        kind = sql.SQL("tid" if self.by == "ctid" else "uuid")
        bounds: list[sql.Composable] = [
            sql.SQL("{} {} {}::{}").format(
                sql.Identifier(self.by), sql.SQL(operator), sql.Literal(bound), kind
            )
            for operator, bound in ((">", self.lower), ("<=", self.upper))
            if bound is not None
        ]
        return sql.SQL(" and ").join(bounds) if bounds else sql.SQL("true")


def split(upstream: Connection, source: str, limit: int) -> list[Range]:
    """Split a table or view of the catalog into ranges.

    A table is split by pages, so that each page is read once, in order. A view, a partitioned table and the
    first rows of a table can only be read by key.

    Args:
        upstream: Connection to the catalog database.
        source: Name of the table or view.
        limit: Maximum number of rows; 0 for all.
    """
    query = "select relkind = 'r' and not relhassubclass from pg_class where oid = to_regclass(%s)"
    has_pages = value(upstream, query, [f"public.{source}"])
    if has_pages and not limit and reads_ranges(upstream):
        size = pages_of(upstream, source)
        bounds: list[str | None] = [f"({page},0)" for page in range(PAGES, size, PAGES)]
        # The last range has no end, because the table grows.
        return [Range("ctid", *ends) for ends in zip([None, *bounds], [*bounds, None], strict=True)]
    last_keys = sql.SQL("""
        select identifier::text, place from (
            select identifier, row_number() over (order by identifier) as place from {}
             order by identifier limit nullif({}, 0)
        ) keys where place % {} = 0 or place = {}
         order by identifier
    """).format(sql.Identifier("public", source), *map(sql.Literal, (limit, ROWS, limit)))
    keys = upstream.execute(last_keys).fetchall()
    is_limited = bool(limit and keys and keys[-1][1] == limit)
    uppers: list[str | None] = [key for key, _ in keys] + ([] if is_limited else [None])
    return [Range("identifier", *ends) for ends in zip([None, *uppers][: len(uppers)], uppers, strict=True)]


def sessions(upstream: Connection, source: str, most: int) -> int:
    """Return how many sessions have work if they share the copy of a table.

    Args:
        upstream: Connection to the catalog database.
        source: Name of the table.
        most: Maximum number of sessions.
    """
    return max(1, min(most, -(-pages_of(upstream, source) // PAGES)))


def record(api: Connection, table: str, ranges: list[Range]) -> None:
    """Create the list of a copy's ranges."""
    api.execute(
        sql.SQL("""
            create table {} (number int primary key, by text not null, lower text, upper text)
        """).format(_name(table))
    )
    rows = [(number, part.by, part.lower, part.upper) for number, part in enumerate(ranges)]
    with api.cursor() as cursor:
        cursor.executemany(sql.SQL("insert into {} values (%s, %s, %s, %s)").format(_name(table)), rows)


def take(api: Connection, table: str) -> Range | None:
    """Remove the next range that no other session has taken from the list; None if there is none.

    Args:
        api: Connection to the API database, in the transaction that copies the rows.
        table: Name of the live table.
    """
    row = api.execute(
        sql.SQL("""
            delete from {0} where number =
                (select number from {0} order by number limit 1 for update skip locked)
            returning by, lower, upper
        """).format(_name(table))
    ).fetchone()
    return Range(*row) if row else None


def left(api: Connection, table: str) -> bool:
    """Return whether ranges are left, those that other sessions copy at the moment included."""
    return bool(value(api, sql.SQL("select exists (select from {})").format(_name(table))))


def _name(table: str) -> sql.Identifier:
    return sql.Identifier("public", ranges_name(table))
