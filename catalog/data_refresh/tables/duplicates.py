"""Records of a new table that share a unique key, which only the API has."""

from typing import NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.loss_limits import allowed_rejects
from catalog.core.session import Connection
from catalog.data_refresh.tables import progress
from catalog.data_refresh.tables.columns import KEYS, changes_name, qualified_name, temp_name
from catalog.data_refresh.tables.progress import TableProgress
from catalog.data_refresh.tables.rejects import RejectedRecords, reject
from catalog.data_refresh.tables.shape import shape


def make_unique(api: Connection, table: str, index: str, error: psycopg.Error) -> None:
    """Remove duplicates, so that a unique index of the live table can be built on the new one.

    The catalog does not have all unique indexes of the API. Of the records with one value one is kept, if
    possible one that the API has already, and the others are rejected and counted.

    Args:
        api: Connection to the API database, in autocommit.
        table: Name of the live table.
        index: Name of its index.
        error: Error of the index build.

    Raises:
        Fatal: Too many records collide, or they collide in a column that only the API has.
    """
    with progress.claimed(api, table):
        state, key = progress.read(api, table), _key(api, index)
        detail = error.diag.message_detail or error.diag.message_primary
        said = f"unique index {index} of {table} cannot be built: {detail}"
        own = {"id", *state.copied.own} if state else set()
        if state is None or key is None or set(key.columns) <= own or table in KEYS:
            raise Fatal(f"{said} Correct the rows of the live table, then trigger a new run.")
        found = _colliding(api, table, key)
        surplus = [identifier for identifier, is_surplus in found if is_surplus]
        if len(surplus) > allowed_rejects(state.copied.rows):
            raise Fatal(
                f"{said} {len(found):,} records share a key. Correct them in the catalog, or drop the index, "
                "then trigger a new run."
            )
        reject(api, table, f"another record has the same value of the unique index {index}", surplus)


class _Key(NamedTuple):
    """Key of a unique index.

    Attributes:
        columns: Its columns; "" for an expression.
        values: Its columns and expressions, as SQL.
        rows: Its predicate, as SQL.
        nulls: True if two nulls are equal.
    """

    columns: list[str]
    values: list[sql.SQL]
    rows: sql.Composable
    nulls: bool


def _key(api: Connection, index: str) -> _Key | None:
    row = api.execute(
        """
        select array(select coalesce(attname::text, '')
                       from unnest(i.indkey::int2[]) with ordinality u (number, place)
                       left join pg_attribute on attrelid = i.indrelid and attnum = number and number > 0
                      where place <= i.indnkeyatts),
               array(select pg_get_indexdef(i.indexrelid, n, true)
                       from generate_series(1, i.indnkeyatts::int) n),
               pg_get_expr(i.indpred, i.indrelid),
               coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false)
          from pg_index i where i.indexrelid = to_regclass(%s) and i.indisunique
        """,
        [qualified_name(index)],
    ).fetchone()
    if row is None:
        return None
    columns, values, condition, nulls_too = row
    rows = [f"({condition})"] if condition else []
    rows += [] if nulls_too else [f"({value}) is not null" for value in values]
    return _Key(
        columns, [sql.SQL(f"({value})") for value in values], sql.SQL(" and ".join(rows) or "true"), nulls_too
    )


def _colliding(api: Connection, table: str, key: _Key) -> list[tuple[UUID, bool]]:
    """Return records that share their key, and whether each is surplus. Reads the whole new table."""
    query = sql.SQL("""
        select identifier, place > 1 from (
            select identifier, count(*) over same as number,
                   row_number() over (same order by known desc, identifier desc) as place
              from (select t.*, exists (select from {live} l where l.identifier = t.identifier) as known
                      from {temp} t where {rows}) k
            window same as (partition by {values})
        ) s where number > 1
    """).format(
        live=sql.Identifier("public", table),
        temp=sql.Identifier("public", temp_name(table)),
        rows=key.rows,
        values=sql.SQL(", ").join(key.values),
    )
    return api.execute(query).fetchall()


def reject_duplicates(api: Connection, copied: TableProgress, allowed: int) -> None:
    """Reject changed records that have a unique value of another record, as a full refresh would.

    The catalog does not have all unique indexes of the API. Of the records with one value, changed or not,
    the same one is kept: one that the API has already, and of several the one with the greatest identifier.
    An unchanged record that is not kept is added to the changes, so that it is deleted.

    Args:
        api: Connection to the API database, in a transaction.
        copied: Progress of a copy of changed records; its counts are corrected.
        allowed: Maximum number of records that are not kept.

    Raises:
        Fatal: There are more.
    """
    table, rejects, total = copied.table, RejectedRecords(), 0
    own = {"id", "identifier", *copied.own}
    parts = {
        "temp": sql.Identifier("public", temp_name(table)),
        "live": sql.Identifier("public", table),
        "changes": sql.Identifier("public", changes_name(table)),
    }
    api.execute(sql.SQL("analyze {temp} (identifier)").format(**parts))  # only how many rows there are
    for name, facts in shape(api, table).get("index", {}).items():
        key = _key(api, name) if facts["unique"] and facts["valid"] else None
        if key is None or set(key.columns) <= own:
            continue
        surplus = api.execute(_surplus(key, parts)).fetchall()
        total += len(surplus)
        if total > allowed:
            raise Fatal(
                f"unique index {name} of {table}: {total:,} records have the same values as others. Correct "
                "them in the catalog, or drop the index, then trigger a new run."
            )
        changed = [identifier for identifier, known in surplus if known is not None]
        others = [identifier for identifier, known in surplus if known is None]
        api.execute(sql.SQL("insert into {changes} select unnest(%s::uuid[])").format(**parts), [others])
        api.execute(sql.SQL("delete from {temp} where identifier = any(%s)").format(**parts), [changed])
        copied.rows -= len(changed)
        copied.new -= sum(1 for _, known in surplus if known is False)
        for identifier in (*changed, *others):
            rejects.add(str(identifier), f"another record has the same value of the unique index {name}")
    rejects.note(api, copied)


def _surplus(key: _Key, parts: dict[str, sql.Identifier]) -> sql.Composed:
    """Return the query for records that are not kept, and whether they are known (NULL: and unchanged)."""
    places = [sql.Identifier(f"v{number}") for number in range(len(key.values))]
    values = sql.SQL(", ").join(
        sql.SQL("{} as {}").format(value, place) for value, place in zip(key.values, places, strict=True)
    )
    equal = sql.SQL("{0}.{1} is not distinct from {2}.{1}" if key.nulls else "{0}.{1} = {2}.{1}")

    def same(one: str, other: str) -> sql.Composed:
        return sql.SQL(" and ").join(
            equal.format(sql.Identifier(one), place, sql.Identifier(other)) for place in places
        )

    # Records that keep their values do not collide with each other: the live table has the same index.
    return sql.SQL("""
        with t as (
            select n.*, ({same_before}) is not true as brings,
                   exists (select from {live} k where k.identifier = n.identifier) as known
              from (select identifier, {values} from {temp} where {rows}) n
              left join (select identifier, {values} from {live} where {rows}) o using (identifier)
        ), l as (
            select l.identifier, {places}, null::boolean as known
              from (select identifier, {values} from {live} where {rows}) l
             where exists (select from t where t.brings and {same})
               and not exists (select from {changes} c where c.identifier = l.identifier)
        )
        select identifier, known from (
            select *, row_number() over (
                       partition by {places} order by coalesce(known, true) desc, identifier desc) as place
              from (select identifier, {places}, known from t union all select * from l) both_of_them
        ) ranked where place > 1
    """).format(
        values=values,
        places=sql.SQL(", ").join(places),
        rows=key.rows,
        same=same("l", "t"),
        same_before=same("n", "o"),
        **parts,
    )
