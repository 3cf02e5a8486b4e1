"""Attached objects of a table: invalid constraints, triggers, rules, policies, publications, privileges."""

from collections.abc import Mapping
from typing import LiteralString

from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import execute, value
from catalog.core.session import Connection
from catalog.core.sql_files import trusted
from catalog.data_refresh.tables.building import revoke_all
from catalog.data_refresh.tables.shape import Facts, Shape, shape

_STATES: dict[str, LiteralString] = {"D": "disable", "R": "enable replica", "A": "enable always"}
_COMMANDS: dict[str, LiteralString] = {"r": "select", "a": "insert", "w": "update", "d": "delete", "*": "all"}
_REPLICA: dict[str, LiteralString] = {"d": "default", "n": "nothing", "f": "full"}


def attach(
    api: Connection, table: str, live: Shape, target: str = "", names: Mapping[str, str] | None = None
) -> None:
    """Attach invalid constraints, triggers, rules, policies, publications and privileges.

    Args:
        api: Connection to the API database, in a transaction.
        table: Name of the live table.
        live: Its definition.
        target: Name of the table to attach them to; by default `table`.
        names: Names of its indexes that differ from those of the live table.
    """
    target, names = target or table, names or {}
    on = sql.Identifier("public", target)
    for name, facts in live.get("constraint", {}).items():
        if not facts["valid"]:
            execute(
                api,
                "alter table {on} add constraint {name} {what}",
                on=on,
                name=sql.Identifier(name),
                what=trusted(facts["definition"]),
            )
    _attach_triggers(api, table, live, target)
    for name, facts in live.get("policy", {}).items():
        _policy(api, on, name, facts)
    _marks(api, on, live, names)
    for name, facts in live.get("publication", {}).items():
        if facts["by name"]:
            _publish(api, on, name, facts)
    rights = live.get("grant", {})
    if shape(api, target).get("grant", {}) != rights:
        grant(api, "table", on, target, live["owner"][""]["role"], list(rights.values()))


def _attach_triggers(api: Connection, table: str, live: Shape, target: str) -> None:
    """Create triggers and rules, enabled as those of the live table are."""
    on = sql.Identifier("public", target)
    for kind, before in (("trigger", f" ON public.{table} "), ("rule", f" TO public.{table}")):
        for name, facts in live.get(kind, {}).items():
            execute(
                api,
                "{definition}",
                definition=trusted(_moved(facts["definition"], name, before, before.replace(table, target))),
            )
            if state := _STATES.get(facts["enabled"]):
                execute(
                    api,
                    "alter table {on} {state} {kind} {name}",
                    on=on,
                    state=sql.SQL(state),
                    kind=trusted(kind),
                    name=sql.Identifier(name),
                )


def _marks(api: Connection, on: sql.Composable, live: Shape, names: Mapping[str, str]) -> None:
    """Set row security, the replica identity, and the index that CLUSTER uses."""
    security = live["row security"][""]
    if security["enabled"]:
        execute(api, "alter table {on} enable row level security", on=on)
    if security["forced"]:
        execute(api, "alter table {on} force row level security", on=on)
    identity = live["replica identity"][""]
    if identity["how"] == "i":
        index = names.get(identity["index"], identity["index"])
        execute(
            api, "alter table {on} replica identity using index {index}", on=on, index=sql.Identifier(index)
        )
    else:
        execute(api, "alter table {on} replica identity {how}", on=on, how=sql.SQL(_REPLICA[identity["how"]]))
    for mark in live.get("cluster mark", {}).values():
        index = names.get(mark["index"], mark["index"])
        execute(api, "alter table {on} cluster on {index}", on=on, index=sql.Identifier(index))


def grant(
    api: Connection, kind: LiteralString, target: sql.Composable, name: str, owner: str, grants: list[Facts]
) -> None:
    """Grant exactly these privileges on a table or sequence, each by the role that granted it before.

    Args:
        api: Connection to the API database, in a transaction.
        kind: `table` or `sequence`.
        target: Its quoted name.
        name: Its name.
        owner: Its owner.
        grants: The privileges, as `shape` returns them.
    """
    revoke_all(api, kind, target, name, owner=True)
    able, waiting = {owner}, list(grants)
    while waiting:
        ready = [facts for facts in waiting if facts["grantor"] in able]
        if not ready:
            break  # the comparison of definitions reports what is missing
        for facts in ready:
            _grant(api, kind, target, owner, facts)
            waiting.remove(facts)
            if facts["grantable"]:
                able.add(facts["grantee"])


def _grant(api: Connection, kind: LiteralString, target: sql.Composable, owner: str, facts: Facts) -> None:
    column = sql.SQL(" ({})").format(sql.Identifier(facts["column"])) if facts.get("column") else sql.SQL("")
    before = value(api, "select current_setting('role')")
    if facts["grantor"] != owner:
        execute(api, "set local role {role}", role=sql.Identifier(facts["grantor"]))
    execute(
        api,
        "grant {privilege}{column} on {kind} {target} to {grantee}{option}",
        privilege=trusted(facts["privilege"]),
        column=column,
        kind=sql.SQL(kind),
        target=target,
        grantee=sql.Identifier(facts["grantee"]) if facts["grantee"] else sql.SQL("public"),
        option=sql.SQL(" with grant option" if facts["grantable"] else ""),
    )
    if facts["grantor"] != owner:
        api.execute("select set_config('role', %s, true)", [before])


def _policy(api: Connection, on: sql.Composable, name: str, facts: Facts) -> None:
    using = (
        sql.SQL(" using ({})").format(trusted(facts["using"])) if facts["using"] is not None else sql.SQL("")
    )
    check = (
        sql.SQL(" with check ({})").format(trusted(facts["check"]))
        if facts["check"] is not None
        else sql.SQL("")
    )
    execute(
        api,
        "create policy {name} on {on} as {manner} for {command} to {roles}{using}{check}",
        name=sql.Identifier(name),
        on=on,
        manner=sql.SQL("permissive" if facts["permissive"] else "restrictive"),
        command=sql.SQL(_COMMANDS[facts["command"]]),
        roles=sql.SQL(", ").join(map(trusted, facts["roles"])),
        using=using,
        check=check,
    )


def _publish(api: Connection, on: sql.Composable, name: str, facts: Facts) -> None:
    columns: sql.Composable = sql.SQL("")
    if facts["columns"] is not None:
        columns = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, facts["columns"])))
    where: sql.Composable = (
        sql.SQL(" where ({})").format(trusted(facts["where"])) if facts["where"] else sql.SQL("")
    )
    execute(
        api,
        "alter publication {name} add table {on}{columns}{where}",
        name=sql.Identifier(name),
        on=on,
        columns=columns,
        where=where,
    )


def _moved(definition: str, name: str, before: str, after: str) -> str:
    """Return the definition of a trigger or rule for another table; its own name is not changed."""
    quoted = '"{}"'.format(name.replace('"', '""'))
    place = next((definition.index(form) + len(form) for form in (quoted, name) if form in definition), 0)
    head, rest = definition[:place], definition[place:]
    if before not in rest:
        raise Fatal(
            f"the definition {definition[:200]!r} cannot be parsed; drop it before the refresh and create it "
            "again afterwards."
        )
    return head + rest.replace(before, after, 1)
