"""Marks of live tables: which refresh has written a table, and which of its rows others have written since.

They are in the API database and are set in the transaction that writes the table, so a database that was
restored, copied or replaced has none, or another one.
"""

import msgspec
from psycopg import sql

from catalog.core.queries import relation_exists
from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import qualified_name
from catalog.database.row_versions import THIS_TRANSACTION, horizon, written_since

MARKS = "catalog_refresh"  # table of the API database with the mark of each live table
_COLUMNS = """
    (select string_agg(attname || ' ' || attnum, ', ' order by attnum) from pg_attribute
      where attrelid = to_regclass(%(name)s) and attnum > 0 and not attisdropped)
"""


class Mark(msgspec.Struct, frozen=True):
    """Mark of a live table.

    Attributes:
        number: Number of the refresh that wrote the table.
        relation: Object id of the table then.
        columns: Its columns then, with their numbers; a column that is dropped and added has a new one.
        horizon: Horizon of the API database before the refresh read or wrote the table.
        own: Transactions of the refresh itself, whose rows do not count as changed.
    """

    number: int
    relation: int
    columns: str
    horizon: int
    own: list[int]


def set_mark(api: Connection, table: str, number: int, began: int | None = None) -> None:
    """Mark a live table as written by a refresh, in the transaction that writes it.

    Args:
        api: Connection to the API database, in a transaction that keeps others from writing to the table.
        table: Name of the live table.
        number: Number of the refresh.
        began: Horizon before the refresh read the table, whose rows this transaction changes. None if others
            cannot have written to it meanwhile, because it is a new table.
    """
    api.execute(
        sql.SQL(
            """
            insert into {marks} (table_name, refresh, relation, columns, horizon, own)
            select %(table)s, %(number)s, to_regclass(%(name)s)::oid::bigint, {columns}, %(horizon)s,
                   case when %(own)s then array[{this_transaction}]
                        else '{{}}' end
            on conflict (table_name) do update
               set (refresh, relation, columns, horizon, own)
                 = (excluded.refresh, excluded.relation, excluded.columns, excluded.horizon, excluded.own)
            """
        ).format(
            marks=sql.Identifier("public", MARKS),
            columns=sql.SQL(_COLUMNS),
            this_transaction=THIS_TRANSACTION,
        ),
        {
            "table": table,
            "number": number,
            "name": qualified_name(table),
            "horizon": horizon(api) if began is None else began,
            "own": began is not None,
        },
    )


def create_marks(api: Connection) -> None:
    """Create the table of the marks if it is missing."""
    api.execute(
        sql.SQL("""
            create table if not exists {marks} (
                table_name text primary key,
                refresh bigint not null,
                relation bigint not null,
                columns text not null,
                horizon bigint not null,
                own bigint[] not null
            )
        """).format(marks=sql.Identifier("public", MARKS))
    )


def mark(api: Connection, table: str) -> Mark | None:
    """Return the mark of a live table; None if it has none, or if the table was replaced since."""
    if not relation_exists(api, MARKS):
        return None
    query = sql.SQL("""
        select refresh, relation, columns, horizon, own from {marks}
         where table_name = %(table)s and relation = to_regclass(%(name)s)::oid::bigint
           and columns = {columns}
    """).format(marks=sql.Identifier("public", MARKS), columns=sql.SQL(_COLUMNS))
    row = api.execute(query, {"table": table, "name": qualified_name(table)}).fetchone()
    return Mark(*row) if row else None


def marked_by(api: Connection, table: str) -> int:
    """Return the number of the refresh that has marked a table last, whatever has changed since; 0 if none.

    A database that is restored from a later state has another one, although it has the same tables.
    """
    if not relation_exists(api, MARKS):
        return 0
    query = sql.SQL("select refresh from {} where table_name = %s").format(sql.Identifier("public", MARKS))
    row = api.execute(query, [table]).fetchone()
    return int(row[0]) if row else 0


def written_by_others(api: Connection, found: Mark) -> sql.Composable:
    """Return the condition that others have written a row of a live table since its mark was set."""
    return sql.SQL("({} and xmin::text::bigint <> all({}))").format(
        written_since(api, found.horizon), sql.Literal(found.own)
    )
