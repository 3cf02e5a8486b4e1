"""Transfer of changes that the API made during a copy to columns of its own, such as view counts."""

from psycopg import sql

from catalog.core.queries import relation_exists
from catalog.core.session import Connection
from catalog.data_refresh.tables import progress
from catalog.data_refresh.tables.columns import names, progress_name, temp_name
from catalog.database.row_versions import horizon, written_since
from catalog.moderation.tables import moderated_name


def catch_up(api: Connection, table: str) -> int:
    """Carry over changes since the copy began, or since the last call. Only differing rows are updated.

    A transaction that was running when the copy began may have changed a row after the copy read it.
    Therefore every row version of a transaction that had not ended by then is compared.

    Args:
        api: Connection to the API database. In a transaction that keeps others from writing to the live
            table, nothing is missed.
        table: Name of the live table.

    Returns:
        Number of updated rows; 0 if an earlier attempt has already exchanged the tables.
    """
    state = progress.read(api, table)
    if state is None or not relation_exists(api, temp_name(table)):
        return 0
    # The API cannot change a column that is always generated.
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
        began = progress.began(api, table)
        now = horizon(api)
        # A query of its own, so that the whole table is read in parallel and without a join.
        api.execute(
            sql.SQL("create temporary table {changed} as select id, {own} from {live} where {newer}").format(
                newer=written_since(api, began), **parts
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
        api.execute(sql.SQL("update {progress} set began = %s::text::xid8").format(**parts), [now])
    return carried


def leave_out_deleted(api: Connection, table: str) -> None:
    """Delete records that moderators have deleted from the new table.

    Args:
        api: Connection to the API database. In a transaction that keeps others from writing to the live
            table, nothing is missed.
        table: Name of the live table.
    """
    deleted = moderated_name("deleted", table)
    if not relation_exists(api, deleted):
        return
    statement = """
        with gone as (
            delete from {temp} t using {deleted} d where t.identifier = d.identifier returning 1
        )
        update {progress}
           set state = jsonb_set(
               state, '{{rows}}', to_jsonb((state ->> 'rows')::bigint - (select count(*) from gone)))
    """
    api.execute(
        sql.SQL(statement).format(
            temp=sql.Identifier("public", temp_name(table)),
            deleted=sql.Identifier("public", deleted),
            progress=sql.Identifier("public", progress_name(table)),
        )
    )
