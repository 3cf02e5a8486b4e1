"""Sequences and other defaults of the API's tables, and whether they have enough values left."""

import msgspec
import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.data_refresh.columns import public, temp_name

_LARGEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1}
# Sequences that the defaults of a table's columns take their values from, where two equal values would be refused.
_SEQUENCES = """
    select a.attname, n.nspname, s.relname, format_type(a.atttypid, null), q.seqincrement, q.seqmin, q.seqmax, q.seqcycle,
           has_sequence_privilege(s.oid, 'usage, update'), has_sequence_privilege(s.oid, 'update')
      from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      join pg_depend p on p.classid = 'pg_attrdef'::regclass and p.objid = d.oid and p.refclassid = 'pg_class'::regclass
                       or p.refclassid = 'pg_class'::regclass and p.refobjid = a.attrelid and p.refobjsubid = a.attnum
                          and p.classid = 'pg_class'::regclass and p.deptype = 'i'
      join pg_class s on s.relkind = 'S' and s.oid = case when p.deptype = 'i' then p.objid else p.refobjid end
      join pg_namespace n on n.oid = s.relnamespace join pg_sequence q on q.seqrelid = s.oid
     where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
       and format_type(a.atttypid, null) in ('smallint', 'integer', 'bigint')
       and (a.attname = 'id' or exists (
                select from pg_index i join pg_attribute l on l.attrelid = i.indrelid and l.attnum = i.indkey[0]
                 where i.indisunique and i.indrelid = to_regclass(%s) and l.attname = a.attname))
"""


class Source(msgspec.Struct):
    """A sequence that gives the values of a column.

    Attributes:
        column: Its name.
        name: Of the sequence, with its schema.
        behind: Whether it would give values that rows of the live table have; then `last` is the one to go on
            after.
        last: The value after which it goes on.
        left: Values that it, and the column's type, have left; None for one that begins again.
        usable, movable: Whether the role may take a value, or set the sequence.
    """

    column: str
    name: str
    behind: bool
    last: int
    left: int | None
    usable: bool
    movable: bool


def sources(api: Connection, table: str, of: str = "") -> list[Source]:
    """The sequences behind the defaults of a table.

    Args:
        api: To the API database.
        table: Name of the live table, whose values are the ones that were given.
        of: Name of the table whose defaults are meant; the live one when it is not given.
    """
    found = []
    for column, schema, name, kind, step, least, most, cycle, usable, movable in api.execute(
        _SEQUENCES, [public(of or table), public(table)]
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
        last, called, given = api.execute(query).fetchone() or (0, False, None)
        last = last if called else last - step  # the next one is a step further
        behind = given is not None and (given > last if step > 0 else given < last)
        if given is not None and behind:
            last = given
        largest = min(most, _LARGEST.get(kind, most)) if step > 0 else max(least, -_LARGEST.get(kind, -least))
        left = None if cycle else max(0, (largest - last) // step)
        found.append(Source(column, sequence.as_string(api), behind, last, left, usable, movable))
    return found


def advance(api: Connection, table: str) -> None:
    """See to it that the defaults of the new table give no value that a row of the live one has.

    A sequence falls behind when rows were inserted with ids of their own, as a restored dump or a bulk load
    does.

    Args:
        api: To the API database, in a transaction.
        table: Name of the live table.

    Raises:
        Fatal: A sequence cannot give larger values.
    """
    for source in sources(api, table, temp_name(table)):
        if source.behind:
            try:
                api.execute("select setval(%s, %s, true)", [source.name, source.last])
            except psycopg.DataError as error:
                raise Fatal(
                    f"sequence {source.name} cannot go on after {source.last:,}, which column {source.column} of {table} has"
                    f" reached: {error.diag.message_primary}. Raise its maximum."
                ) from None


def check_defaults(api: Connection, table: str) -> None:
    """Raise Fatal if a default of the new table fails, which no record is to blame for.

    Args:
        api: To the API database, in a transaction.
        table: Name of the live table.
    """
    temp = temp_name(table)
    query = """
        select attname, pg_get_expr(adbin, adrelid), format_type(atttypid, atttypmod),
               case when attidentity <> '' then pg_get_serial_sequence(%s, attname) end
          from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
         where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped and attgenerated = '' and (atthasdef or attidentity <> '')
    """
    for column, expression, kind, sequence in api.execute(query, [public(temp), public(temp)]).fetchall():
        value = sql.SQL("nextval({})").format(sql.Literal(sequence)) if sequence else sql.SQL(expression)
        try:
            with api.transaction():
                api.execute(sql.SQL("select ({})::{}").format(value, sql.SQL(kind)))
        except psycopg.OperationalError:
            raise
        except psycopg.DatabaseError as error:
            raise Fatal(
                f"the API's table {table} takes no new records: the default of column {column}, {expression or sequence}, fails:"
                f" {error.diag.message_primary}. Correct the default (a sequence that is used up: make column and sequence"
                " bigint), then trigger a new run."
            ) from None
