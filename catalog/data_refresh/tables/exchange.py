"""Replacement of the live table by the new one, with everything that is attached to the live one."""

from collections.abc import Callable, Mapping

from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import execute, value
from catalog.core.session import Connection
from catalog.core.sql_files import trusted
from catalog.data_refresh.tables.attachments import attach, grant
from catalog.data_refresh.tables.building import built_name
from catalog.data_refresh.tables.catch_up import leave_out_deleted
from catalog.data_refresh.tables.columns import equal_columns, set_to_null, temp_name
from catalog.data_refresh.tables.shape import Facts, Shape, differences, shape


def exchange(api: Connection, table: str, now: Shape) -> dict[str, int]:
    """Drop the live table, and give its name and everything attached to it to the new one.

    Args:
        api: Connection to the API database, in a transaction with an ACCESS EXCLUSIVE lock on the table.
        table: Name of the live table.
        now: Its definition under the lock.

    Returns:
        By foreign key, the number of deleted rows that referred to missing media.

    Raises:
        Fatal: The new table would differ from the live one; the caller must roll back.
    """
    parts = {
        "live": sql.Identifier("public", table),
        "temp": sql.Identifier("public", temp_name(table)),
        "name": sql.Identifier(table),
    }
    leave_out_deleted(api, table)
    execute(api, "alter table {temp} owner to {role}", role=sql.Identifier(now["owner"][""]["role"]), **parts)
    references = list(now.get("reference", {}).values())
    orphans = {key["name"]: _orphans(api, key, parts) for key in references}
    execute(api, "set constraints all immediate")
    for key in references:
        execute(api, "alter table {child} drop constraint {name}", **_reference(key))
    attach_sequences = [_detach_sequence(api, table, facts) for facts in now.get("sequence", {}).values()]
    execute(api, "drop table {live}", **parts)
    execute(api, "alter table {temp} rename to {name}", **parts)
    _rename(api, now)
    for attach_sequence in attach_sequences:
        attach_sequence()
    _drop_default_of_id(api, table, now)
    for key in references:
        execute(
            api,
            "alter table {child} add constraint {name} {definition}",
            definition=trusted(key["definition"]),
            **_reference(key),
        )
    for name, facts in now.get("foreign key", {}).items():
        execute(
            api,
            "alter table {live} add constraint {name} {definition}",
            live=parts["live"],
            name=sql.Identifier(name),
            definition=trusted(facts["definition"]),
        )
    attach(api, table, now)
    _describe(api, now)
    if different := differences(now, shape(api, table)):
        raise Fatal(
            f"the exchange of {table} would change more than its rows: {'; '.join(different)}. Nothing was "
            "changed."
        )
    return orphans


def _reference(key: Facts) -> dict[str, sql.Composable]:
    """Return the quoted names of a foreign key that refers to the table: its table and its own."""
    return {"child": sql.Identifier(key["schema"], key["child"]), "name": sql.Identifier(key["name"])}


def _drop_default_of_id(api: Connection, table: str, now: Shape) -> None:
    """Drop the temporary default of `id` if the live table has none."""
    column = now["column"]["id"]
    if not column["default"] and not column["identity"]:
        sequence = sql.Identifier("public", f"{temp_name(table)}_id_seq")
        execute(api, "alter table {live} alter id drop default", live=sql.Identifier("public", table))
        execute(api, "drop sequence if exists {sequence}", sequence=sequence)


def _describe(api: Connection, now: Shape) -> None:
    """Add comments and dependencies on extensions."""
    for target, facts in now.get("comment on", {}).items():
        execute(
            api,
            "comment on {target} is {comment}",
            target=trusted(target),
            comment=sql.Literal(facts["text"]),
        )
    for facts in now.get("extension", {}).values():
        execute(
            api,
            "alter {target} depends on extension {name}",
            target=trusted(facts["target"]),
            name=sql.Identifier(facts["name"]),
        )


def _orphans(api: Connection, key: Facts, parts: Mapping[str, sql.Composable]) -> int:
    """Delete rows that refer to missing media, or clear the reference (SET NULL), and return their number."""
    same = equal_columns("c", key["columns"], "t", key["parents"])
    given = sql.SQL(" and ").join(
        sql.SQL("{} is not null").format(sql.Identifier("c", column)) for column in key["columns"]
    )
    where = sql.SQL("where {given} and not exists (select from {temp} t where {same})").format(
        given=given, same=same, **parts
    )
    if not key["valid"]:  # keep rows that violated the key before the refresh
        where += sql.SQL(" and exists (select from {live} t where {same})").format(same=same, **parts)
    child = sql.Identifier(key["schema"], key["child"])
    if key["on delete"] == "n":
        nulls = set_to_null(key["columns"])
        return execute(api, "update {child} c set {nulls} {where}", child=child, nulls=nulls, where=where)
    return execute(api, "delete from {child} c {where}", child=child, where=where)


def _detach_sequence(api: Connection, table: str, facts: Facts) -> Callable[[], None]:
    """Detach a sequence from the live table, so that it is kept; return a function that attaches it again."""
    live = sql.Identifier(facts["schema"], facts["name"])
    if not facts["identity"]:
        column = sql.Identifier("public", temp_name(table), facts["column"])
        execute(api, "alter sequence {live} owned by {column}", live=live, column=column)
        return lambda: None
    # The sequence of an identity column is dropped with its table: the new table's takes its place.
    [new] = api.execute(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.oid = pg_get_serial_sequence(%s, %s)::regclass",
        [f"public.{temp_name(table)}", facts["column"]],
    ).fetchall()
    [last] = api.execute(sql.SQL("select last_value, is_called from {live}").format(live=live)).fetchall()
    return lambda: _replace_sequence(api, table, facts, sql.Identifier(*new), last)


def _replace_sequence(
    api: Connection, table: str, facts: Facts, new: sql.Identifier, last: tuple[int, bool]
) -> None:
    """Give an identity column's new sequence the name, value, type, bounds and privileges of the live one's.

    Args:
        api: Connection to the API database, in a transaction.
        table: Name of the live table.
        facts: Definition of the live sequence.
        new: Name of the new sequence.
        last: `last_value` and `is_called` of the live sequence.
    """
    further = sql.SQL("max(last_value)" if facts["step"] > 0 else "min(last_value)")
    query = sql.SQL(
        "select {further}, bool_or(is_called) "
        "from (select last_value, is_called from {new} union all select %s, %s) s"
    ).format(further=further, new=new)
    [reached] = api.execute(query, list(last)).fetchall()
    execute(
        api,
        "alter sequence {new} as {type} minvalue {least} maxvalue {most}",
        new=new,
        type=trusted(facts["type"]),  # LIKE creates a bigint
        least=sql.Literal(facts["least"]),
        most=sql.Literal(facts["most"]),
    )
    live = sql.Identifier(facts["schema"], facts["name"])
    execute(api, "alter sequence {new} rename to {name}", new=new, name=sql.Identifier(facts["name"]))
    api.execute("select setval(%s, %s, %s)", [live.as_string(api), *reached])
    # Default privileges are not stored in the system catalogs.
    has = [key["grants"] for key in shape(api, table)["sequence"].values() if key["name"] == facts["name"]]
    if has != [facts["grants"]]:
        owner = value(
            api,
            "select pg_get_userbyid(relowner) from pg_class where oid = %s::regclass",
            [live.as_string(api)],
        )
        grant(api, "sequence", live, facts["name"], owner, facts["grants"] or [])


def _rename(api: Connection, now: Shape) -> None:
    """Rename indexes, their constraints and extended statistics to the names of the live table's."""
    for name, facts in now.get("index", {}).items():
        ours = sql.Identifier("public", built_name(name, facts))
        execute(api, "alter index {ours} rename to {name}", ours=ours, name=sql.Identifier(name))
    for name, facts in now.get("statistics", {}).items():
        ours = sql.Identifier(facts["schema"], built_name(name, facts))
        execute(
            api, "alter statistics {ours} rename to {name}", ours=ours, name=sql.Identifier(facts["name"])
        )
        execute(
            api,
            "alter statistics {its} owner to {role}",
            its=sql.Identifier(facts["schema"], facts["name"]),
            role=sql.Identifier(facts["owner"]),
        )
