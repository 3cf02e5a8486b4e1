"""Estimates of the number of rows of a table, which do not read it."""

import logging

from psycopg import sql

from catalog.core.queries import value
from catalog.core.session import Connection

log = logging.getLogger(__name__)
MIN_PAGES = 128  # pages; smaller tables are read quickly, whatever the plan


def analyzed_rows(connection: Connection, table: str) -> int | None:
    """Return the number of rows as of the last ANALYZE or VACUUM.

    Args:
        connection: Connection to a database.
        table: Name of the table.

    Returns:
        The number; None if there is no such table, or its rows were never counted. PostgreSQL 13 does not
        distinguish the latter from 0.
    """
    query = "select reltuples::bigint from pg_class where oid = to_regclass(%s)"
    row = connection.execute(query, [f"public.{table}"]).fetchone()
    return row[0] if row and row[0] >= 0 else None


def planned_rows(connection: Connection, table: str) -> int:
    """Return the planner's estimate of the rows, which follows from the current number of pages."""
    query = sql.SQL("explain (format json) select from {}").format(sql.Identifier("public", table))
    return int(value(connection, query)[0]["Plan"]["Plan Rows"])


def correct_estimate(connection: Connection, table: str) -> bool:
    """Analyze a media table that the planner takes for almost empty although it has many pages.

    While the first rows of a table are not committed, an ANALYZE counts none of them; until the next one, the
    planner believes that the table is empty. It then joins by reading the whole table once for each row,
    which takes hours instead of seconds.

    Args:
        connection: Connection to the database, outside of a transaction.
        table: Name of the table, whose rows are far smaller than a page.

    Returns:
        True if the table was analyzed.
    """
    with connection.transaction():
        found = connection.execute(
            "select reltuples, relpages, pg_relation_size(oid) / current_setting('block_size')::integer"
            "  from pg_class where oid = to_regclass(%s)",
            [f"public.{table}"],
        ).fetchone()
        if not found:
            return False
        rows, counted_pages, pages = found  # -1 rows and no pages before the first ANALYZE
        if pages < MIN_PAGES or rows >= counted_pages or rows < 0:
            return False
        # A small sample of one column is enough to count the rows of all pages.
        connection.execute("set local default_statistics_target = 10")
        connection.execute(sql.SQL("analyze {} (identifier)").format(sql.Identifier("public", table)))
    log.info("The planner took %s for almost empty; it was analyzed.", table)
    return True
