"""Extract of the columns that only the API has, by identifier.

The catalog's rows come in the order of its pages, in which the live table is not sorted. Each page of the
live table is read once, for the extract, instead of once per row.
"""

from psycopg import sql

from catalog.core.session import Connection, raise_memory
from catalog.data_refresh.tables.columns import names, own_name


def record_own_columns(api: Connection, table: str, own: list[str]) -> None:
    """Create the extract of a live table.

    Args:
        api: Connection to the API database, in a transaction.
        table: Name of the live table.
        own: Names of the columns, without the identifier.
    """
    parts = {
        "extract": sql.Identifier("public", own_name(table)),
        "live": sql.Identifier("public", table),
        "own": names(own),
    }
    api.execute(sql.SQL("create table {extract} as select identifier, {own} from {live}").format(**parts))
    raise_memory(api, "maintenance_work_mem", "256MB")
    api.execute(sql.SQL("create index on {extract} (identifier)").format(**parts))
    api.execute(sql.SQL("analyze {extract} (identifier)").format(**parts))
