"""Columns, keys and names of the tables that a copy reads and writes."""

from collections.abc import Iterable

import msgspec
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection

# Columns that identify a record in both databases, of tables that have no `identifier`.
KEYS: dict[str, tuple[str, ...]] = {"audioset": ("provider", "foreign_identifier")}
_RENAMED = {"audio_set_position": "set_position"}  # API column → catalog column
_NEVER_COPIED = ("view_count",)  # the API counts views, even if an adopted catalog has such a column


class Column(msgspec.Struct, frozen=True):
    """A column of the API's table and its source.

    Attributes:
        name: Name in the API's table.
        type: Its type there, as SQL.
        upstream: Type in the catalog; None for a column that only the API has.
        widest: Maximum length, in characters; None without a limit.
    """

    name: str
    type: str
    upstream: str | None
    widest: int | None


def api_columns(catalog: Connection, api: Connection, table: str) -> list[Column]:
    """Return the columns of a live table, without `id` and generated ones.

    Args:
        catalog: Connection to the catalog database.
        api: Connection to the API database.
        table: Name of the live table.

    Raises:
        Fatal: There is no such table.
    """
    # The catalog does not have the API's own types: an enum is sent as text, a domain as its base type.
    query = """
        with recursive base as (
            select attnum, attname, atttypid as type, atttypmod as modifier
              from pg_attribute
             where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
               and (attgenerated = '' or %s)
             union all
            select attnum, attname, typbasetype, typtypmod
              from base join pg_type on oid = type where typtype = 'd'
        )
        select attname, case typtype when 'e' then 'text' else format_type(type, modifier) end,
               case when type = 'varchar'::regtype and modifier > 4 then modifier - 4 end
          from base join pg_type on oid = type where typtype <> 'd' order by attnum
    """
    theirs = api.execute(query, [qualified_name(table), False]).fetchall()
    if not theirs:
        raise Fatal(f"the API database has no table {table}; its migrations create it.")
    ours = {name for name, _, _ in catalog.execute(query, [qualified_name(catalog_name(table)), True])}
    sources = {
        name: source
        for name, _, _ in theirs
        if name not in _NEVER_COPIED and (source := _RENAMED.get(name, name)) in ours
    }
    return [Column(name, kind, sources.get(name), width) for name, kind, width in theirs if name != "id"]


def key_of(table: str) -> tuple[str, ...]:
    """Return the columns that identify a record of a live table in both databases."""
    return KEYS.get(table, ("identifier",))


def row_key(table: str) -> sql.Identifier:
    """Return the column by which one row of a table is found; that of media is the same in the catalog."""
    return sql.Identifier("id" if table in KEYS else "identifier")


def names(columns: Iterable[str], table: str = "") -> sql.Composed:
    """Return quoted column names separated by commas, qualified with `table` if it is given."""
    return sql.SQL(", ").join(
        sql.Identifier(table, column) if table else sql.Identifier(column) for column in columns
    )


def equal_columns(table: str, columns: Iterable[str], other: str, its_columns: Iterable[str]) -> sql.Composed:
    """Return the condition that columns of one table equal those of another, as a join or a key means it."""
    return sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(table, column), sql.Identifier(other, its_column))
        for column, its_column in zip(columns, its_columns, strict=True)
    )


def set_to_null(columns: Iterable[str]) -> sql.Composed:
    """Return the assignments that clear columns in an UPDATE."""
    return sql.SQL(", ").join(sql.SQL("{} = null").format(sql.Identifier(column)) for column in columns)


def catalog_name(table: str) -> str:
    """Return the name of the catalog's table or view whose records a live table has."""
    return "audioset_view" if table == "audioset" else table


def temp_name(table: str) -> str:
    return f"temp_import_{table}"


def progress_name(table: str) -> str:
    return f"temp_import_{table}_progress"


def ranges_name(table: str) -> str:
    return f"temp_import_{table}_ranges"


def own_name(table: str) -> str:
    return f"temp_import_{table}_own"


def changes_name(table: str) -> str:
    return f"temp_import_{table}_changes"


def temporary_names(table: str) -> list[str]:
    """Return the names of all tables that a refresh creates for a live table."""
    return [name(table) for name in (temp_name, progress_name, ranges_name, own_name, changes_name)]


def qualified_name(name: str) -> str:
    """Return the qualified, quoted name of a table, as `to_regclass` expects it."""
    return f'public."{name}"'
