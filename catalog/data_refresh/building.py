"""Creation of the new table like the live one, and of its indexes after it has been filled."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from catalog.core.session import Connection, raise_memory, settle
from catalog.data_refresh.columns import public, temp_name
from catalog.data_refresh.ddl import compose, execute, generated
from catalog.data_refresh.duplicates import make_unique
from catalog.data_refresh.shape import Shape, check_shape, shape


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
        place = compose("alter table {temp} alter column {column} ", temp=name, column=sql.Identifier(column))
        if about["statistics target"] is not None:
            api.execute(
                place + compose("set statistics {target}", target=sql.Literal(about["statistics target"]))
            )
        if about["options"]:
            api.execute(place + _options(about["options"]))
    if facts["options"]:
        api.execute(compose("alter table {temp} ", temp=name) + _options(facts["options"]))
    if facts["toast options"]:
        api.execute(
            compose("alter table {temp} ", temp=name)
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
    for (grantee,) in api.execute(query, [public(name), owner]).fetchall():
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


def build_indexes(
    api: Connection,
    table: str,
    progress: Callable[[str], None] = lambda _: None,
    *,
    temp: str = "",
    expected: Mapping[str, Shape] | None = None,
    again: Callable[[list[UUID]], None] | None = None,
) -> int:
    """Create the indexes, keys, constraints with an index, and extended statistics of the live table.

    Those that an earlier attempt created are kept.

    Args:
        api: Connection to the API database, in autocommit or in a transaction.
        table: Name of the live table.
        progress: Called with a message for each index.
        temp: Name of the new table; by default that of a refresh.
        expected: Definition of the live table when the refresh began; raises Fatal if it has changed.
        again: Copies records again (`TableCopy.again`) if a unique value moved from one record to another
            during the copy. Without it, one of the two is rejected.

    Returns:
        Number of indexes.
    """
    settle(api)
    temp = temp or temp_name(table)
    check_shape(api, [table], expected or {})
    raise_memory(api, "maintenance_work_mem", "256MB", transaction_only=False)
    live = shape(api, table)
    there = shape(api, temp)
    indexes = {name: facts for name, facts in live.get("index", {}).items() if facts["valid"]}
    for number, (name, facts) in enumerate(indexes.items(), 1):
        found = there.get("index", {}).get(built_name(name, facts))
        if not found or not found["valid"]:
            progress(f"{table}: index {number} of {len(indexes)}, {name}")
            where = sql.Identifier("public", temp), built_name(name, facts), facts
            try:
                with api.transaction():
                    _build_index(api, *where)
            except psycopg.errors.UniqueViolation as error:
                make_unique(api, table, name, error, again)
                with api.transaction():
                    _build_index(api, *where)
    for name, facts in live.get("statistics", {}).items():
        if f"{facts['schema']}.{built_name(name, facts)}" not in there.get("statistics", {}):
            with api.transaction():
                _build_statistics(api, sql.Identifier("public", temp), built_name(name, facts), facts)
    execute(api, "analyze {temp}", temp=sql.Identifier("public", temp))
    return len(indexes)


def _build_index(api: Connection, temp: sql.Composable, name: str, facts: Mapping[str, Any]) -> None:
    constraint, parts = facts["constraint"], {"temp": temp, "name": sql.Identifier(name)}
    before = api.execute("select current_setting('default_tablespace')").fetchone()
    if facts["tablespace"]:
        api.execute("select set_config('default_tablespace', %s, true)", [facts["tablespace"]])
    if constraint and (constraint["type"] == "x" or "WITHOUT OVERLAPS" in constraint["definition"]):
        api.execute(
            compose("alter table {temp} add constraint {name} ", **parts)
            + generated(constraint["definition"])
        )
    else:
        unique = sql.SQL("unique" if facts["unique"] else "")
        api.execute(
            compose("create {unique} index {name} on {temp} using ", unique=unique, **parts)
            + generated(facts["using"])
        )
        if constraint:
            kind = sql.SQL("primary key" if facts["primary"] else "unique")
            deferral = sql.SQL(
                ("deferrable initially deferred" if constraint["deferred"] else "deferrable")
                if constraint["deferrable"]
                else ""
            )
            execute(
                api,
                "alter table {temp} add constraint {name} {kind} using index {name} {deferral}",
                kind=kind,
                deferral=deferral,
                **parts,
            )
    for number, target in (facts["statistics targets"] or {}).items():
        execute(
            api,
            "alter index {name} alter column {number} set statistics {target}",
            name=sql.Identifier("public", name),
            number=sql.Literal(int(number)),
            target=sql.Literal(target),
        )
    if facts["tablespace"]:
        api.execute("select set_config('default_tablespace', %s, true)", [before[0] if before else ""])


def _build_statistics(api: Connection, temp: sql.Composable, name: str, facts: Mapping[str, Any]) -> None:
    ours = sql.Identifier(facts["schema"], name)
    execute(
        api, "create statistics {name}{what} from {temp}", name=ours, what=generated(facts["what"]), temp=temp
    )
    if facts["target"] is not None:
        target = sql.Literal(facts["target"])
        execute(api, "alter statistics {name} set statistics {target}", name=ours, target=target)


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
