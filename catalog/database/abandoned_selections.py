"""Removal of the rows of selections that no run will finish."""

import logging

import psycopg
from psycopg import sql

from catalog.core.queries import relation_exists, value
from catalog.core.session import Connection
from catalog.database.selection_lock import QUERY_ID, lock_key

log = logging.getLogger(__name__)
GIVEN_UP_AFTER = 30  # days since the last progress of a selection


def drop_given_up(connection: Connection, days: float = GIVEN_UP_AFTER) -> list[str]:
    """Drop the rows of abandoned selections; their progress stays in `batched_update`.

    Args:
        connection: Connection to the catalog database, in autocommit.
        days: Days without progress after which a selection counts as abandoned.

    Returns:
        The query_ids whose rows were dropped.
    """
    old = connection.execute(
        "select query_id from batched_update"
        " where query_id ~ %s and renewed_on < now() - make_interval(secs => %s)"
        " and to_regclass(format('public.%%I', query_id || '_rows_to_update')) is not null order by 1",
        [QUERY_ID, days * 86_400],
    ).fetchall()
    return [query_id for (query_id,) in old if _drop_unless_at_work(connection, query_id, days)]


def give_up(connection: Connection, query_id: str, keep: str) -> None:
    """Drop an unfinished selection of another run, unless that run is at work; for repeatable statements.

    Args:
        connection: Connection to the catalog database, in autocommit.
        query_id: Name of the selection.
        keep: The run whose selection stays, because the run resumes it.
    """
    row = connection.execute("select run_id from batched_update where query_id = %s", [query_id]).fetchone()
    if row and row[0] != keep:
        _drop_unless_at_work(connection, query_id, days=0)


def _drop_unless_at_work(connection: Connection, query_id: str, days: float) -> bool:
    rows, left = (sql.Identifier("public", f"{query_id}_{name}") for name in ("rows_to_update", "rows_left"))
    try:
        with connection.transaction():
            connection.execute("set local lock_timeout = '1s'")
            may_drop = value(
                connection,
                "select pg_try_advisory_xact_lock(hashtext(%s)) and exists (select from batched_update "
                "where query_id = %s and renewed_on < now() - make_interval(secs => %s))",
                [lock_key(query_id), query_id, days * 86_400],
            )
            if not may_drop:
                return False
            if relation_exists(connection, f"{query_id}_rows_left"):  # rows that were locked are not done
                connection.execute(
                    sql.SQL(
                        "update batched_update set next_row = least(next_row, total)"
                        " where query_id = %s and exists (select from {})"
                    ).format(left),
                    [query_id],
                )
            connection.execute(sql.SQL("drop table if exists {}, {}").format(rows, left))
    except psycopg.Error as error:  # for example, tables of another owner; they do no harm
        log.warning("The abandoned selection %s cannot be dropped: %s", query_id, error.diag.message_primary)
        return False
    log.info("Dropped the abandoned selection %s.", query_id)
    return True
