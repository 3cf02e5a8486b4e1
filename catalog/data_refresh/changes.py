"""Keys whose records may differ between the catalog and the API's table.

Rows that were written since the last refresh are recognized by their row versions, in both databases. Records
that are in one database only are found by comparing the keys, in groups: only groups that differ are read.
"""

from collections.abc import Iterable
from uuid import UUID

from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.data_refresh import progress
from catalog.data_refresh.basis import Mark, written_by_others
from catalog.data_refresh.columns import changes_name
from catalog.data_refresh.row_versions import written_since

BATCH = 10_000  # keys
_GROUPS = 4096  # of keys
NONE = sql.SQL("false")
_PROBE = "00112233-4455-6677-8899-aabbccddeeff"


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
    parts = {
        "changes": sql.Identifier("public", changes_name(table)),
        "live": sql.Identifier("public", table),
        "moderated": sql.Identifier("public", f"api_deleted{table}"),
        "source": sql.Identifier("public", table),
        "groups": sql.Literal(_GROUPS - 1),
    }
    _create(api, parts["changes"])
    changed = sql.SQL("select identifier from {source} where {newer} or {also}").format(
        newer=written_since(upstream, began), also=also, **parts
    )
    _copy_keys(upstream, api, changed)
    api.execute("insert into pg_temp.keys select unnest(%s::uuid[])", [list(rejected)])
    statement = sql.SQL("""
        insert into {changes} select identifier from pg_temp.keys
        union select identifier from {live} where {written}
        union select identifier from {live} join {moderated} using (identifier)
    """)
    _limit(api.execute(statement.format(written=written_by_others(api, mark), **parts)).rowcount, most)
    if groups := _differing_groups(upstream, api, parts):
        _add_missing(upstream, api, groups, parts)
    row = api.execute(sql.SQL("select count(*) from {changes}").format(**parts)).fetchone()
    _limit(number := int(row[0]) if row else 0, most)
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
    _create(api, changes)
    query = sql.SQL("select identifier from {} where {}").format(
        sql.Identifier("public", table), written_since(upstream, began)
    )
    _copy_keys(upstream, api, query)
    number = api.execute(
        sql.SQL("insert into {} select distinct identifier from pg_temp.keys").format(changes)
    ).rowcount
    _limit(number, most)
    api.execute(sql.SQL("analyze {}").format(changes))
    return number


def _create(api: Connection, changes: sql.Composable) -> None:
    """Create the table of keys, and a temporary table for those of the catalog."""
    api.execute(sql.SQL("drop table if exists {}").format(changes))
    api.execute(sql.SQL("create table {} (identifier uuid primary key)").format(changes))
    api.execute("create temporary table pg_temp.keys (identifier uuid) on commit drop")


def _copy_keys(upstream: Connection, api: Connection, query: sql.Composable) -> None:
    """Replace the keys of the temporary table by those of a query of the catalog."""
    api.execute("truncate pg_temp.keys")
    with (
        upstream.cursor() as reader,
        reader.copy(sql.SQL("copy ({}) to stdout (format binary)").format(query)) as source,
        api.cursor() as writer,
        writer.copy("copy pg_temp.keys from stdin (format binary)") as target,
    ):
        for data in source:
            target.write(data)


def _differing_groups(upstream: Connection, api: Connection, parts: dict[str, sql.Composable]) -> list[int]:
    """Return the groups of keys that are not the same in both databases.

    Media that moderators have deleted are in the catalog, but not in the live table, so both are compared
    with the catalog; those that the catalog does not have either make their group differ.
    """
    probe = "select uuid_hash_extended(%s::uuid, 0)"
    if upstream.execute(probe, [_PROBE]).fetchone() != api.execute(probe, [_PROBE]).fetchone():
        raise Fatal("the servers of catalog and API hash keys differently; use the mode full.")
    query = """
        select (h & {groups})::int, count(*), sum((h >> 32)::int), sum((h & 2147483647)::int)
          from (select uuid_hash_extended(identifier, 0) as h from {keys}) k group by 1
    """
    here = sql.SQL("(select identifier from {live} union all select identifier from {moderated}) l")
    known = _sums(upstream, sql.SQL(query).format(keys=parts["source"], **parts))
    found = _sums(api, sql.SQL(query).format(keys=here.format(**parts), **parts))
    return sorted(group for group in {*known, *found} if known.get(group) != found.get(group))


def _sums(connection: Connection, query: sql.Composed) -> dict[int, tuple[int, ...]]:
    return {group: tuple(sums) for group, *sums in connection.execute(query)}


def _add_missing(
    upstream: Connection, api: Connection, groups: list[int], parts: dict[str, sql.Composable]
) -> None:
    """Add the keys of these groups that only one database has."""
    within = sql.SQL("(uuid_hash_extended(identifier, 0) & {groups})::int = any({numbers})").format(
        numbers=sql.Literal(groups), **parts
    )
    _copy_keys(
        upstream,
        api,
        sql.SQL("select identifier from {source} where {within}").format(within=within, **parts),
    )
    api.execute("analyze pg_temp.keys")
    api.execute(
        sql.SQL("""
            insert into {changes}
            (select identifier from pg_temp.keys
             except select identifier from {live} where {within}
             except select identifier from {moderated})
            union
            (select identifier from {live} where {within} except select identifier from pg_temp.keys)
            on conflict do nothing
        """).format(within=within, **parts)
    )


def _limit(number: int, most: int) -> None:
    if number > most:
        raise TooManyChanges(f"{number:,} records have changed, more than {most:,}")


def batch(api: Connection, table: str, after: UUID | None, size: int = BATCH) -> list[UUID]:
    """Return the next keys in order.

    Args:
        api: Connection to the API database.
        table: Name of the media table.
        after: Last key of the batch before; None for the first batch.
        size: Maximum number of keys.
    """
    if not progress.exists(api, changes_name(table)):
        return []
    query = sql.SQL(
        "select identifier from {} where %s::uuid is null or identifier > %s order by identifier limit %s"
    ).format(sql.Identifier("public", changes_name(table)))
    return [key for (key,) in api.execute(query, [after, after, size])]
