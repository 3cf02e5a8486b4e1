"""Foreign keys of the new tables and of lists of media: records with dangling references are rejected."""

from collections.abc import Iterator

import msgspec
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import relation_exists, value
from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import equal_columns, key_of, names, qualified_name, temp_name
from catalog.data_refresh.tables.progress import TableProgress
from catalog.data_refresh.tables.rejects import RejectedRecords

_KEYS = """
    select conname, child.relname, cn.nspname, parent.relname, pn.nspname, confmatchtype = 'f',
           (select array_agg(attname::text order by place)
              from unnest(conkey) with ordinality u (number, place)
              join pg_attribute on attrelid = conrelid and attnum = number),
           (select array_agg(attname::text order by place)
              from unnest(confkey) with ordinality u (number, place)
              join pg_attribute on attrelid = confrelid and attnum = number)
      from pg_constraint k
      join pg_class child on child.oid = conrelid join pg_namespace cn on cn.oid = child.relnamespace
      join pg_class parent on parent.oid = confrelid join pg_namespace pn on pn.oid = parent.relnamespace
     where contype = 'f' and conrelid <> confrelid
       and coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true) and
"""


class Key(msgspec.Struct):
    """A foreign key.

    Attributes:
        name: Name of the constraint.
        child: Referencing table.
        child_schema: Its schema.
        parent: Referenced table.
        parent_schema: Its schema.
        full: True for MATCH FULL.
        columns: Columns of the child.
        parents: Columns of the parent, in the same order.
    """

    name: str
    child: str
    child_schema: str
    parent: str
    parent_schema: str
    full: bool
    columns: list[str]
    parents: list[str]

    def same(self, child: str, parent: str) -> sql.Composed:
        """Return the condition that a row of the child refers to a row of the parent.

        Args:
            child: Alias of the child in the query.
            parent: Alias of the parent in the query.
        """
        return equal_columns(child, self.columns, parent, self.parents)


def own_keys(api: Connection, table: str) -> Iterator[Key]:
    """Yield the validated foreign keys of a table."""
    condition = "conrelid = to_regclass(%s) and convalidated"
    for row in api.execute(_KEYS + condition, [qualified_name(table)]).fetchall():
        yield Key(*row)


def keys_to(api: Connection, name: str, *, restrict: bool = False) -> Iterator[Key]:
    """Yield the foreign keys that reference a table.

    Args:
        api: Connection to the API database.
        name: Qualified name of the table.
        restrict: Only those that prevent the deletion of its rows.
    """
    condition = "confrelid = to_regclass(%s)" + (" and confdeltype in ('a', 'r')" if restrict else "")
    for row in api.execute(_KEYS + condition, [name]).fetchall():
        yield Key(*row)


def leave_out_unreferenced(api: Connection, copied: TableProgress) -> None:
    """Remove records with dangling references from a new table, as rejected records.

    Args:
        api: Connection to the API database, in a transaction.
        copied: Progress of a complete copy; its counts are corrected.
    """
    table, rejects = copied.table, RejectedRecords()
    key = sql.SQL(" || ' ' || ").join(
        sql.SQL("{}::text").format(sql.Identifier("t", c)) for c in key_of(table)
    )
    for foreign_key in own_keys(api, table):
        ours = foreign_key.parent_schema == "public" and relation_exists(api, temp_name(foreign_key.parent))
        given = sql.SQL(" or " if foreign_key.full else " and ").join(
            sql.SQL("{} is not null").format(sql.Identifier("t", column)) for column in foreign_key.columns
        )
        query = sql.SQL("""
            delete from {temp} t where ({given}) and not exists (select from {parent} p where {same})
            returning {key}, not exists (select from {live} l where l.id = t.id)
        """).format(
            temp=sql.Identifier("public", temp_name(table)),
            live=sql.Identifier("public", table),
            given=given,
            parent=sql.Identifier(
                foreign_key.parent_schema, temp_name(foreign_key.parent) if ours else foreign_key.parent
            ),
            same=foreign_key.same("t", "p"),
            key=key,
        )
        for identifier, new in api.execute(query):
            rejects.add(
                identifier, f"foreign key {foreign_key.name} of the API names nothing in {foreign_key.parent}"
            )
            copied.rows -= 1
            copied.new -= new
    rejects.note(api, copied)


def detach_sets(api: Connection) -> None:
    """Clear the references of audio files to sets that were rejected, in a transaction of `api`."""
    query = """
        select exists (select from pg_attribute
                        where attrelid = to_regclass(%s) and attname = 'audio_set_foreign_identifier'
                          and not attisdropped)
    """
    refers = value(api, query, [qualified_name(temp_name("audio"))])
    if not refers or not relation_exists(api, temp_name("audioset")):
        return
    statement = """
        update {audio} t set audio_set_foreign_identifier = null
         where audio_set_foreign_identifier is not null and not exists (
             select from {sets} s
              where (s.foreign_identifier, s.provider) = (t.audio_set_foreign_identifier, t.provider))
    """
    api.execute(
        sql.SQL(statement).format(
            audio=sql.Identifier("public", temp_name("audio")),
            sets=sql.Identifier("public", temp_name("audioset")),
        )
    )


def check_restricted(api: Connection, table: str) -> None:
    """Check that entries of lists whose media are missing can be deleted.

    Args:
        api: Connection to the API database.
        table: Name of a live table whose copy is complete.

    Raises:
        Fatal: Rows of another table refer to such entries and prevent their deletion.
    """
    if not relation_exists(api, temp_name(table)):
        return
    for key in keys_to(api, qualified_name(table)):
        child = sql.Identifier(key.child_schema, key.child)
        for other in keys_to(api, child.as_string(api), restrict=True):
            query = sql.SQL("""
                select count(*) from {child} c
                 where ({columns}) is not null and not exists (select from {temp} t where {same})
                   and exists (select from {other} o where {named})
            """).format(
                child=child,
                columns=names(key.columns, "c"),
                temp=sql.Identifier("public", temp_name(table)),
                same=key.same("c", "t"),
                other=sql.Identifier(other.child_schema, other.child),
                named=other.same("o", "c"),
            )
            if rows := value(api, query):
                raise Fatal(
                    f"{rows:,} rows of {key.child} refer to missing media of {table}, and cannot be deleted: "
                    f"{other.child} refers to them by its key {other.name}. Delete those rows of "
                    f"{other.child} or make the key ON DELETE CASCADE, then clear copy_tables."
                )
