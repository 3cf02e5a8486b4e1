"""Checks of sequences and other defaults of the API's tables."""

import msgspec
import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import qualified_name, temp_name

_LARGEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1}
# Sequences of the defaults of a table's unique columns.
_SEQUENCES = """
    select a.attname, n.nspname, s.relname, format_type(a.atttypid, null),
           q.seqincrement, q.seqmin, q.seqmax, q.seqcycle,
           has_sequence_privilege(s.oid, 'usage, update'), has_sequence_privilege(s.oid, 'update')
      from pg_attribute a
      left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      join pg_depend p on p.classid = 'pg_attrdef'::regclass and p.objid = d.oid
                          and p.refclassid = 'pg_class'::regclass
                       or p.refclassid = 'pg_class'::regclass and p.refobjid = a.attrelid
                          and p.refobjsubid = a.attnum
                          and p.classid = 'pg_class'::regclass and p.deptype = 'i'
      join pg_class s on s.relkind = 'S'
                     and s.oid = case when p.deptype = 'i' then p.objid else p.refobjid end
      join pg_namespace n on n.oid = s.relnamespace
      join pg_sequence q on q.seqrelid = s.oid
     where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
       and format_type(a.atttypid, null) in ('smallint', 'integer', 'bigint')
       and (a.attname = 'id' or exists (
                select from pg_index i
                  join pg_attribute l on l.attrelid = i.indrelid and l.attnum = i.indkey[0]
                 where i.indisunique and i.indrelid = to_regclass(%s) and l.attname = a.attname))
"""


class Source(msgspec.Struct):
    """A sequence that provides the values of a column.

    Attributes:
        column: Name of the column.
        name: Qualified name of the sequence.
        behind: True if its next values already exist in the live table; then `last` is the value to continue
            after.
        last: The last value that is in use.
        remaining: Number of values left in the sequence and the column's type; None if the sequence cycles.
        usable: True if the role may take a value.
        movable: True if the role may set the sequence.
    """

    column: str
    name: str
    behind: bool
    last: int
    remaining: int | None
    usable: bool
    movable: bool


def sources(api: Connection, table: str, of: str = "") -> list[Source]:
    """Return the sequences of a table's defaults.

    Args:
        api: Connection to the API database.
        table: Name of the live table, which has the values in use.
        of: Name of the table with the defaults; the live table by default.
    """
    found = []
    for column, schema, name, kind, step, least, most, cycle, usable, movable in api.execute(
        _SEQUENCES, [qualified_name(of or table), qualified_name(table)]
    ).fetchall():
        sequence = sql.Identifier(schema, name)
        query = sql.SQL(
            "select last_value, is_called, (select {end}({column}) from {table})::bigint from {sequence}"
        ).format(
            end=sql.SQL("max" if step > 0 else "min"),
            column=sql.Identifier(column),
            table=sql.Identifier("public", table),
            sequence=sequence,
        )
        [(last, called, given)] = api.execute(query).fetchall()
        last = last if called else last - step  # before its first call, a sequence returns last_value
        behind = given is not None and (given > last if step > 0 else given < last)
        if given is not None and behind:
            last = given
        largest = min(most, _LARGEST.get(kind, most)) if step > 0 else max(least, -_LARGEST.get(kind, -least))
        remaining = None if cycle else max(0, (largest - last) // step)
        found.append(Source(column, sequence.as_string(api), behind, last, remaining, usable, movable))
    return found


def advance(api: Connection, table: str) -> None:
    """Advance sequences of the new table beyond the values that the live table has.

    A sequence falls behind if rows are inserted with explicit ids, for example by a restored dump or a bulk
    load.

    Args:
        api: Connection to the API database, in a transaction.
        table: Name of the live table.

    Raises:
        Fatal: A sequence has reached its maximum.
    """
    for source in sources(api, table, temp_name(table)):
        if source.behind:
            try:
                api.execute("select setval(%s, %s, true)", [source.name, source.last])
            except psycopg.DataError as error:
                raise Fatal(
                    f"sequence {source.name} cannot go on after {source.last:,}, which column "
                    f"{source.column} of {table} has reached: {error.diag.message_primary}. Raise its "
                    "maximum."
                ) from None


def check_defaults(api: Connection, table: str) -> None:
    """Check that the defaults of the new table work; a default that fails is not a record's fault.

    Args:
        api: Connection to the API database, in a transaction.
        table: Name of the live table.

    Raises:
        Fatal: A default fails.
    """
    temp = qualified_name(temp_name(table))
    query = """
        select attname, pg_get_expr(adbin, adrelid), format_type(atttypid, atttypmod),
               case when attidentity <> '' then pg_get_serial_sequence(%s, attname) end
          from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
         where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped and attgenerated = ''
           and (atthasdef or attidentity <> '')
    """
    for column, expression, kind, sequence in api.execute(query, [temp, temp]).fetchall():
        value = sql.SQL("nextval({})").format(sql.Literal(sequence)) if sequence else sql.SQL(expression)
        try:
            with api.transaction():
                api.execute(sql.SQL("select ({})::{}").format(value, sql.SQL(kind)))
        except psycopg.OperationalError:
            raise
        except psycopg.DatabaseError as error:
            raise Fatal(
                f"the API's table {table} cannot store new records: the default of column {column}, "
                f"{expression or sequence}, fails: {error.diag.message_primary}. Correct the default (if a "
                "sequence is exhausted, make column and sequence bigint), then trigger a new run."
            ) from None
