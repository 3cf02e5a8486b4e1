"""Columns that only the API has, such as view counts: changes during the copy are carried over."""

from psycopg import sql

from catalog.core.session import Connection
from catalog.data_refresh import progress
from catalog.data_refresh.columns import names, progress_name, temp_name

_HALF = 1 << 31  # transactions; of two row versions that are further apart, one cannot tell which is newer


def catch_up(api: Connection, table: str) -> int:
    """Carry over what has changed since the copy began, or since the last call; only differing rows are updated.

    A transaction that was running when the copy began may change rows that the copy has read before it: what
    counts is every row version that a transaction has made which had not ended by then.

    Args:
        api: To the API database. In a transaction that keeps others from writing to the live table, nothing
            is missed.
        table: Name of the live table.

    Returns:
        Number of rows; 0 when an earlier try has made the exchange.
    """
    state = progress.read(api, table)
    if state is None or not progress.exists(api, temp_name(table)):
        return 0
    # What is always generated has not changed since its row was made.
    own = [name for name in state.copied.own if state.shape["column"][name]["identity"] != "a"]
    if not own:
        return 0
    parts: dict[str, sql.Composable] = {
        "live": sql.Identifier("public", table),
        "temp": sql.Identifier("public", temp_name(table)),
        "progress": sql.Identifier("public", progress_name(table)),
        "changed": sql.Identifier("pg_temp", f"changed_{table}"),
        "own": names(own),
        "mine": names(own, "t"),
        "theirs": names(own, "c"),
    }
    with api.transaction():
        horizon = api.execute("select pg_snapshot_xmin(pg_current_snapshot())::text").fetchone()
        # Found first, so that the reading of the whole table is parallel and joins nothing.
        api.execute(
            sql.SQL("create temporary table {changed} as select id, {own} from {live} where {newer}").format(
                newer=_newer(api, parts), **parts
            )
        )
        api.execute(sql.SQL("analyze {changed}").format(**parts))
        # *<> compares the bytes: some types (json, point) have no equality.
        statement = """
            update {temp} t set ({own}) = row({theirs}) from {changed} c
             where t.id = c.id and row({mine})::record *<> row({theirs})::record
        """
        carried = api.execute(sql.SQL(statement).format(**parts)).rowcount
        api.execute(sql.SQL("drop table {changed}").format(**parts))
        api.execute(sql.SQL("update {progress} set began = %s::xid8").format(**parts), horizon)
    return carried


def leave_out_deleted(api: Connection, table: str) -> None:
    """Delete what moderators have deleted from the new table.

    Args:
        api: To the API database. In a transaction that keeps others from writing to the live table, nothing
            is missed.
        table: Name of the live table.
    """
    deleted = f"api_deleted{table}"
    if not progress.exists(api, deleted):
        return
    statement = "delete from {temp} t using {deleted} d where t.identifier = d.identifier"
    api.execute(
        sql.SQL(statement).format(
            temp=sql.Identifier("public", temp_name(table)), deleted=sql.Identifier("public", deleted)
        )
    )


def _newer(api: Connection, parts: dict[str, sql.Composable]) -> sql.Composable:
    """Whether a transaction that had not ended when the copy began has made a row version.

    Row versions know the lower half of their transaction's number only. One that is very old may be taken for
    a new one, which does no harm; never the reverse.
    """
    query = (
        "select began::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint from {progress}"
    )
    row = api.execute(sql.SQL(query).format(**parts)).fetchone()
    assert row is not None
    began, now = row
    if now - began >= _HALF:
        return sql.SQL("true")
    return sql.SQL("((xmin::text::bigint - {began}) & 4294967295) < {half}").format(
        began=sql.Literal(began & 0xFFFFFFFF), half=sql.Literal(_HALF)
    )
