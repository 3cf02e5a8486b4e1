"""Keys whose records may differ between the catalog and the API's table.

Rows that were written since the last refresh are recognized by their row versions, in both databases. Records
that are in one database only are found by comparing the keys (`key_groups.py`).
"""

from collections.abc import Iterable
from uuid import UUID

from psycopg import sql

from catalog.core.queries import relation_exists, value
from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import changes_name, qualified_name
from catalog.data_refresh.tables.key_groups import KeyComparison, copy_keys
from catalog.data_refresh.tables.marks import Mark, written_by_others
from catalog.database.row_versions import written_since
from catalog.moderation.tables import moderated_name

BATCH = 50_000  # keys
SAMPLE = 2_000  # pages of a table
NONE = sql.SQL("false")


class TooManyChanges(Exception):
    """More records have changed than an incremental refresh should process."""


def find_changes(
    upstream: Connection,
    api: Connection,
    table: str,
    mark: Mark,
    began: int,
    *,
    also: sql.Composable = NONE,
    rejected: Iterable[str] = (),
    most: int,
) -> int:
    """Write the keys to `temp_import_<table>_changes`, and return their number.

    Args:
        upstream: Connection to the catalog database, in a transaction that reads one snapshot.
        api: Connection to the API database, in a transaction.
        table: Name of the media table, which has the same name in both databases.
        mark: Mark of the live table.
        began: Horizon of the catalog database before the last refresh.
        also: Condition of rows of the catalog that count as changed in any case.
        rejected: Keys that count as changed in any case.
        most: Maximum number of keys.

    Raises:
        TooManyChanges: There are more keys.
    """
    parts: dict[str, sql.Composable] = {
        "changes": sql.Identifier("public", changes_name(table)),
        "live": sql.Identifier("public", table),
        "moderated": sql.Identifier("public", moderated_name("deleted", table)),
        "source": sql.Identifier("public", table),
        "newer": written_since(upstream, began),
        "edited": written_by_others(api, mark),
        "also": also,
        "rejected": sql.Literal(list(rejected)),
    }
    changed = sql.SQL("({newer} or {also})").format(**parts)
    _foresee(upstream, table, changed, most)
    comparison = KeyComparison(upstream, api, table, parts["changes"], known="known", edited=parts["edited"])
    api.execute(
        sql.SQL("create temporary table known on commit drop as {}").format(comparison.read_catalog(changed))
    )
    api.execute("analyze pg_temp.known")
    api.execute(
        sql.SQL("""
            insert into pg_temp.known
            select unnest({rejected}::uuid[]) except select identifier from pg_temp.known
        """).format(**parts)
    )
    query = sql.SQL("""
        select identifier from pg_temp.known
        union select identifier from {live} join {moderated} using (identifier)
    """)
    _create(api, parts["changes"], query.format(**parts), most)
    comparison.run()
    number = int(value(api, sql.SQL("select count(*) from {changes}").format(**parts)))
    _limit(number, most)
    api.execute(sql.SQL("analyze {changes}").format(**parts))
    return number


def find_written(upstream: Connection, api: Connection, table: str, began: int, most: int) -> int:
    """Write the keys of records that were written since a moment to `temp_import_<table>_changes`.

    Args:
        upstream: Connection to the catalog database, in a transaction that reads one snapshot.
        api: Connection to the API database, in a transaction.
        table: Name of the media table, which has the same name in both databases.
        began: Horizon of the catalog database at that moment.
        most: Maximum number of keys.

    Returns:
        Number of keys.

    Raises:
        TooManyChanges: There are more keys.
    """
    changes = sql.Identifier("public", changes_name(table))
    query = sql.SQL("select identifier from {} where {} limit {}").format(
        sql.Identifier("public", table), written_since(upstream, began), sql.Literal(most + 1)
    )
    copy_keys(upstream, api, "known", query)
    number = _create(api, changes, sql.SQL("select distinct identifier from pg_temp.known"), most)
    api.execute(sql.SQL("analyze {}").format(changes))
    return number


def _create(api: Connection, changes: sql.Composable, query: sql.Composable, most: int) -> int:
    """Create the table of keys from a query, and return their number. Raises TooManyChanges."""
    api.execute(sql.SQL("drop table if exists {}").format(changes))
    number = api.execute(sql.SQL("create table {} as {}").format(changes, query)).rowcount
    _limit(number, most)
    api.execute(sql.SQL("alter table {} add primary key (identifier)").format(changes))
    return number


def _foresee(upstream: Connection, table: str, changed: sql.Composable, most: int) -> None:
    """Raise TooManyChanges if a sample of pages shows that far more rows have changed.

    This spares a catalog that was changed as a whole the reading and sending of all keys. Fewer changes, up
    to twice the maximum, are counted.
    """
    pages = value(
        upstream, "select relpages from pg_class where oid = to_regclass(%s)", [qualified_name(table)]
    )
    if pages <= SAMPLE:
        return
    query = sql.SQL(
        "select count(*) filter (where {changed}) from {source} tablesample system ({share})"
    ).format(changed=changed, source=sql.Identifier("public", table), share=sql.Literal(100 * SAMPLE / pages))
    _limit(int(value(upstream, query)) * pages // SAMPLE // 2, most)


def _limit(number: int, most: int) -> None:
    if number > most:
        raise TooManyChanges(f"more than {most:,} records have changed")


def batch(api: Connection, table: str, after: UUID | None, size: int = BATCH) -> list[UUID]:
    """Return the next keys in order.

    Args:
        api: Connection to the API database.
        table: Name of the media table.
        after: Last key of the batch before; None for the first batch.
        size: Maximum number of keys.
    """
    if not relation_exists(api, changes_name(table)):
        return []
    query = sql.SQL(
        "select identifier from {} where %s::uuid is null or identifier > %s order by identifier limit %s"
    ).format(sql.Identifier("public", changes_name(table)))
    return [key for (key,) in api.execute(query, [after, after, size])]
