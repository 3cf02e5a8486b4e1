"""Batched updates whose values Python computes from each row; see `batched_update`.

A stripe reads its rows, computes their new values, and writes only those that differ. A row that others
change in between is read again in a later pass, so no value is computed from an older version of a row.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Unpack
from uuid import UUID

from psycopg import errors, sql

from catalog.core.session import Connection
from catalog.core.sql_files import trusted
from catalog.database.batch_job import BatchOptions, Done
from catalog.database.batched_update import Attempt, Stripe, StripedUpdate
from catalog.database.sql_files import sql_file

_TRIES = 5  # to write a stripe while others store the same unique values
Row = dict[str, Any]
"""Column → value; a jsonb column has its text when it is read, and a value that `json` encodes when it is
written."""
Compute = Callable[[list[Row]], list[Row]]
"""Takes rows with all columns that were read, and returns the changed columns of each, in the same order."""


def column_list(connection: Connection, table: str, columns: Sequence[str]) -> sql.Composable:
    """Return the columns of a table as a `Row` has them, for a SELECT."""
    types = column_types(connection, table)
    return sql.SQL(", ").join(
        sql.SQL("{}::text").format(sql.Identifier(table, name))
        if types[name] == "jsonb"
        else sql.Identifier(table, name)
        for name in columns
    )


def column_types(connection: Connection, table: str) -> dict[str, str]:
    """Return the types of a table's columns, as SQL writes them."""
    return dict(
        connection.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            [f'public."{table}"'],
        ).fetchall()
    )


class ComputedUpdate(StripedUpdate):
    """The update of one query_id, with computed values; see `StripedUpdate`.

    Args:
        connection: Connection to the catalog database, in autocommit, used by nothing else.
        query_id: Name of the selection.
        run_id: The DAG run.
        table: The media table.
        statement: What is done, for display and to distinguish updates.
        condition: Result of `parse_condition`; rows that are computed.
        writes: The columns that `compute` may change.
        reads: The columns that it reads, `writes` included.
        compute: Called in the transaction of a stripe. It must be a function of the row.
        options: See `StripedUpdate`.
    """

    def __init__(
        self,
        connection: Connection,
        query_id: str,
        run_id: str,
        table: str,
        statement: str,
        condition: str,
        *,
        writes: Sequence[str],
        reads: Sequence[str],
        compute: Compute,
        **options: Unpack[BatchOptions],
    ) -> None:
        super().__init__(connection, query_id, run_id, table, statement, condition, **options)
        self._writes, self._reads, self._compute = tuple(writes), tuple(reads), compute
        types = column_types(connection, table)
        self._names |= {
            "read": column_list(connection, table, self._reads),
            "typed": sql.SQL(", ").join(
                sql.SQL("{} {}, {} boolean").format(
                    sql.Identifier(f"new_{name}"), trusted(types[name]), sql.Identifier(f"sets_{name}")
                )
                for name in self._writes
            ),
            "set": sql.SQL(", ").join(
                sql.SQL("{column} = case when {sets} then {new} else {old} end").format(
                    column=sql.Identifier(name),
                    sets=sql.Identifier(f"sets_{name}"),
                    new=sql.Identifier(f"new_{name}"),
                    old=sql.Identifier(table, name),
                )
                for name in self._writes
            ),
            "olds": sql.SQL(", ").join(
                sql.SQL("{} as {}").format(sql.Identifier(table, name), sql.Identifier(f"old_{name}"))
                for name in self._writes
            ),
            "kept": sql.SQL(" or ").join(
                sql.SQL("(coalesce({sets}, false) and {column} is not distinct from {old})").format(
                    sets=sql.Identifier(f"sets_{name}"),
                    column=sql.Identifier(table, name),
                    old=sql.Identifier(f"old_{name}"),
                )
                for name in self._writes
            ),
        }

    def _attempts(self) -> tuple[Attempt, ...]:
        return (self._compute_stripe,) * 2

    def _compute_stripe(self, stripe: Stripe) -> Done:
        self._prepare()
        rows = self._execute(sql_file("read_stripe"), these=stripe.condition).fetchall()
        if len(rows) < stripe.wanted:  # some rows have moved or were deleted since they were selected
            rows += self._execute(sql_file("read_moved"), these=stripe.condition).fetchall()
        updated, late = self._update(rows)
        if late:
            self._execute(
                "insert into {left} select unnest({late}::uuid[]) on conflict do nothing",
                late=[str(name) for name in late],
            )
        return Done(updated, stripe.wanted - len(rows), len(late))

    def _update_postponed(self) -> tuple[int, int]:
        self._prepare()
        rows = self._execute(sql_file("read_left")).fetchall()
        updated, late = self._update(rows)
        here = [str(row[0]) for row in rows]
        missing = self._execute(
            "delete from {left} where left_identifier <> all ({here}::uuid[])", here=here
        ).rowcount
        self._execute(
            "delete from {left} where left_identifier <> all ({late}::uuid[])",
            late=[str(name) for name in late],
        )
        return updated, missing

    def _prepare(self) -> None:
        """Find rows by their place on disk or their identifier, and never by reading the table."""
        self._allow_table_lock_wait()
        self._execute("set local enable_hashjoin = off")
        self._execute("set local enable_mergejoin = off")

    def _update(self, rows: list[tuple[Any, ...]]) -> tuple[int, set[UUID]]:
        """Write what differs; return the number of rows, and those that others have locked or changed.

        Rows of which a trigger keeps an old value are among the latter: they are tried again, then reported.

        If others have stored a unique value meanwhile, the values are computed again.
        """
        for _ in range(_TRIES - 1):
            try:
                with self._connection.transaction():
                    return self._write(rows)
            except errors.UniqueViolation:
                continue
        return self._write(rows)

    def _write(self, rows: list[tuple[Any, ...]]) -> tuple[int, set[UUID]]:
        given = [dict(zip(self._reads, row[2:], strict=True)) for row in rows]
        values: dict[UUID, Row] = {}
        for row, changes in zip(rows, self._compute(given), strict=True):
            if not changes:
                continue
            new = {f"new_{name}": value for name, value in changes.items()}
            sets = dict.fromkeys((f"sets_{name}" for name in changes), True)
            values[row[0]] = {"new_identifier": str(row[0]), "new_place": row[1], **new, **sets}
        if not values:
            return 0, set()
        written = self._execute(
            sql_file("update_computed"), values=json.dumps(list(values.values()), ensure_ascii=False)
        ).fetchall()
        return len(written), values.keys() - {name for (name,) in written}
