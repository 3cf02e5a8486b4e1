"""Records whose values are too long for an index that only the API has.

How long an entry is depends on how well it can be compressed. So an index of the same definition tells it, on
a temporary table, for each of the few records whose values may be too long.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.loss_limits import allowed_rejects
from catalog.core.session import Connection
from catalog.core.sql_files import trusted
from catalog.data_refresh.tables import progress
from catalog.data_refresh.tables.audio_sets import TABLE as SETS
from catalog.data_refresh.tables.columns import qualified_name, row_key, temp_name
from catalog.data_refresh.tables.progress import TableProgress
from catalog.data_refresh.tables.references import detach_sets
from catalog.data_refresh.tables.rejects import RejectedRecords, reject, remove
from catalog.data_refresh.tables.shape import shape

Facts = Mapping[str, Any]
_TRIAL = sql.Identifier("pg_temp", "entries_of_an_index")


def leave_out_oversized(api: Connection, table: str, index: str, facts: Facts, error: psycopg.Error) -> None:
    """Reject the records whose values are too long for an index, so that it can be built on the new table.

    Args:
        api: Connection to the API database, in autocommit.
        table: Name of the live table.
        index: Name of its index.
        facts: Its definition.
        error: Error of the index build.

    Raises:
        Fatal: Too many records have such values, or they do not come from the catalog.
    """
    with progress.claimed(api, table), api.transaction():
        state, said = progress.read(api, table), f"index {index} of {table} cannot be built"
        found = [] if state is None else _oversized(api, table, index, facts)
        if state is None or not found:
            raise Fatal(f"{said}: {error.diag.message_primary}. Correct the rows, then trigger a new run.")
        if len(found) > allowed_rejects(state.copied.rows):
            raise Fatal(
                f"{said}: the values of {len(found):,} records are too long for it. Correct them in the "
                "catalog, or drop the index, then trigger a new run."
            )
        reject(api, table, _reason(index), found)
        if table == SETS:
            detach_sets(api)


def reject_oversized(api: Connection, copied: TableProgress, allowed: int) -> None:
    """Reject changed records whose values are too long for an index, as a full refresh would.

    Args:
        api: Connection to the API database, in a transaction.
        copied: Progress of a copy of changed records; its counts are corrected.
        allowed: Maximum number of such records.

    Raises:
        Fatal: There are more.
    """
    table, rejects = copied.table, RejectedRecords()
    for name, facts in shape(api, table).get("index", {}).items():
        if facts["valid"] and (found := _oversized(api, table, name, facts)):
            remove(api, copied, _reason(name), found, rejects)
    rejects.check(copied, allowed)
    rejects.note(api, copied)


def _reason(index: str) -> str:
    return f"a value is too long for the index {index}"


def _oversized(api: Connection, table: str, index: str, facts: Facts) -> Sequence[UUID | int]:
    """Return the records of the new table of which an index cannot hold the values."""
    if not (likely := _likely(api, table, index)):
        return []
    temp, found = sql.Identifier("public", temp_name(table)), []
    with api.transaction(force_rollback=True):
        api.execute(
            sql.SQL("create temporary table {} (like {} including storage including compression)").format(
                _TRIAL, temp
            )
        )
        api.execute(sql.SQL("create index on {} using ").format(_TRIAL) + trusted(facts["using"]))
        insert = sql.SQL("insert into {} select * from {} where {} = %s").format(_TRIAL, temp, row_key(table))
        for identifier in likely:
            try:
                with api.transaction():
                    api.execute(insert, [identifier])
            except psycopg.errors.ProgramLimitExceeded:
                found.append(identifier)
    return found


def _likely(api: Connection, table: str, index: str) -> list[UUID | int]:
    """Return the records of the new table whose values in an index are longer than a third of a page, or so.

    No kind of index has a lower limit. The size in a table is that of a compressed value.
    """
    row = api.execute(
        """
        select array(select pg_get_indexdef(i.indexrelid, n, true)
                       from generate_series(1, i.indnatts::int) n),
               pg_get_expr(i.indpred, i.indrelid)
          from pg_index i where i.indexrelid = to_regclass(%s)
        """,
        [qualified_name(index)],
    ).fetchone()
    if row is None:
        return []
    values, condition = row
    sizes = sql.SQL(" + ").join(
        sql.SQL("coalesce(pg_column_size({}), 0)").format(trusted(f"({value})")) for value in values
    )
    query = sql.SQL("select {} from {} where ({}) and {} > 0.3 * current_setting('block_size')::int").format(
        row_key(table), sql.Identifier("public", temp_name(table)), trusted(condition or "true"), sizes
    )
    return [key for (key,) in api.execute(query)]
