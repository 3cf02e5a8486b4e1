"""Records of a new table that share a unique key, such as a URL that moved between two ranges of the copy."""

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.data_refresh import progress
from catalog.data_refresh.columns import public, temp_name
from catalog.data_refresh.refusals import Refusals, allowed_rejects


def make_unique(
    api: Connection, table: str, index: str, error: psycopg.Error, again: Callable[[list[UUID]], None] | None
) -> None:
    """Remove duplicates, so that a unique index of the live table can be built on the new one.

    The records that collide are copied again, in one snapshot. Those that still collide do so in the catalog:
    one of them is kept, if possible one that the API has already, and the others are rejected and counted.

    Args:
        api: Connection to the API database, in autocommit.
        table: Name of the live table.
        index: Name of its index.
        error: Error of the index build.
        again: Copies records again; None if that is not possible.

    Raises:
        Fatal: Too many records collide, or they collide in a column that only the API has.
    """
    state = progress.read(api, table)
    key = _key(api, index)
    detail = error.diag.message_detail or error.diag.message_primary
    said = f"unique index {index} of {table} cannot be built: {detail}"
    if state is None or key is None or set(key.columns) <= {"id", *state.copied.own} or table == "audioset":
        raise Fatal(f"{said} Correct the rows of the live table, then trigger a new run.")
    allowed, tried = allowed_rejects(state.copied.rows), set[UUID]()
    while found := _colliding(api, table, key):
        keys = {identifier for identifier, _ in found}
        if sum(surplus for _, surplus in found) > allowed:
            raise Fatal(
                f"{said} {len(found):,} records share a key. Correct them in the catalog, or drop the index, "
                "then trigger a new run."
            )
        if again is None or keys <= tried:
            _reject(api, table, index, [identifier for identifier, surplus in found if surplus])
            return
        tried |= keys
        again(sorted(keys))


class _Key(NamedTuple):
    """Key of a unique index.

    Attributes:
        columns: Its columns; "" for an expression.
        values: Its columns and expressions, as SQL.
        rows: Its predicate, as SQL.
    """

    columns: list[str]
    values: sql.Composable
    rows: sql.Composable


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
        [public(index)],
    ).fetchone()
    if row is None:
        return None
    columns, values, condition, nulls_too = row
    rows = [f"({condition})"] if condition else []
    rows += [] if nulls_too else [f"({value}) is not null" for value in values]
    return _Key(
        columns,
        sql.SQL(", ").join(sql.SQL(f"({value})") for value in values),
        sql.SQL(" and ".join(rows) or "true"),
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
        values=key.values,
    )
    return api.execute(query).fetchall()


def _reject(api: Connection, table: str, index: str, surplus: list[UUID]) -> None:
    with api.transaction():
        state, refused = progress.read(api, table), Refusals()
        assert state is not None
        query = sql.SQL("""
            delete from {temp} t where identifier = any(%s)
            returning identifier::text, not exists (select from {live} l where l.identifier = t.identifier)
        """).format(temp=sql.Identifier("public", temp_name(table)), live=sql.Identifier("public", table))
        for identifier, new in api.execute(query, [surplus]):
            refused.add(identifier, f"another record has the same value of the unique index {index}")
            state.copied.rows -= 1
            state.copied.new -= new
        refused.note(api, state.copied)
        progress.note(api, state.copied)
