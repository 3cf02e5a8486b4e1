"""Creation of the new table like the live one, without its indexes."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, LiteralString

from psycopg import sql

from catalog.core.queries import execute
from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import qualified_name
from catalog.data_refresh.tables.shape import Shape


def make_table(api: Connection, table: str, temp: str, live: Shape) -> None:
    """Create an empty table with the columns and settings of the live one, without indexes and triggers.

    Args:
        api: Connection to the API database, in a transaction.
        table: Name of the live table.
        temp: Name of the new table.
        live: Definition of the live table.
    """
    facts = live["table"][""]
    name = sql.Identifier("public", temp)
    execute(
        api,
        "create {unlogged} table {temp} "
        "(like {live} including all excluding indexes excluding comments excluding statistics) "
        "using {method} {tablespace}",
        temp=name,
        live=sql.Identifier("public", table),
        method=sql.Identifier(facts["access method"]),
        unlogged=sql.SQL("unlogged" if facts["persistence"] == "u" else ""),
        tablespace=_tablespace(facts["tablespace"]),
    )
    # If the table is published, it needs a replica identity until it has the live table's key.
    execute(api, "alter table {temp} replica identity full", temp=name)
    for constraint, about in live.get("constraint", {}).items():
        if not about["valid"]:  # existing rows need not satisfy it, so it is added after the copy
            execute(
                api,
                "alter table {temp} drop constraint if exists {name}",
                temp=name,
                name=sql.Identifier(constraint),
            )
    for column, about in live["column"].items():
        place = sql.SQL("alter table {temp} alter column {column} ").format(
            temp=name, column=sql.Identifier(column)
        )
        if about["statistics target"] is not None:
            api.execute(
                place
                + sql.SQL("set statistics {target}").format(target=sql.Literal(about["statistics target"]))
            )
        if about["options"]:
            api.execute(place + _options(about["options"]))
    if facts["options"]:
        api.execute(sql.SQL("alter table {temp} ").format(temp=name) + _options(facts["options"]))
    if facts["toast options"]:
        api.execute(
            sql.SQL("alter table {temp} ").format(temp=name)
            + _options([f"toast.{o}" for o in facts["toast options"]])
        )
    revoke_all(api, "table", name, temp)


def revoke_all(
    api: Connection, kind: LiteralString, target: sql.Composable, name: str, *, owner: bool = False
) -> None:
    """Revoke all privileges on a table or sequence, which default privileges may have granted.

    Args:
        api: Connection to the API database.
        kind: `table` or `sequence`.
        target: Its quoted name.
        name: Its name.
        owner: Also revoke those of the owner.
    """
    query = """
        select distinct case grantee when 0 then null else pg_get_userbyid(grantee) end
          from pg_class,
               aclexplode(coalesce(
                   relacl, acldefault(case relkind when 'S' then 's'::"char" else 'r' end, relowner)))
         where oid = to_regclass(%s) and (grantee <> relowner or %s)
    """
    for (grantee,) in api.execute(query, [qualified_name(name), owner]).fetchall():
        execute(
            api,
            "revoke all on {kind} {target} from {grantee} cascade",
            kind=sql.SQL(kind),
            target=target,
            grantee=sql.Identifier(grantee) if grantee else sql.SQL("public"),
        )


def built_name(name: str, facts: Mapping[str, Any]) -> str:
    """Return the name of an index or statistics object until the exchange; it depends on the definition."""
    text = json.dumps([name, facts], sort_keys=True)
    return f"temp_import_{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _options(options: list[str]) -> sql.Composed:
    """Return `set (…)` for options in the form of the system catalogs, `name=value`."""
    pairs = (option.partition("=") for option in options)
    settings = (
        sql.SQL(".").join(map(sql.Identifier, name.split("."))) + sql.SQL(" = ") + sql.Literal(value)
        for name, _, value in pairs
    )
    return sql.SQL("set (") + sql.SQL(", ").join(settings) + sql.SQL(")")


def _tablespace(name: str | None) -> sql.Composable:
    return sql.SQL("tablespace ") + sql.Identifier(name) if name else sql.SQL("")
