"""Replacement of the live table by the new one, with everything that is attached to the live one."""

from collections.abc import Callable, Mapping
from typing import Any, LiteralString

from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.data_refresh.building import built_name, revoke_all
from catalog.data_refresh.catch_up import leave_out_deleted
from catalog.data_refresh.columns import temp_name
from catalog.data_refresh.shape import Shape, differences, shape

Facts = Mapping[str, Any]
_STATES: dict[str, LiteralString] = {"D": "disable", "R": "enable replica", "A": "enable always"}
_COMMANDS: dict[str, LiteralString] = {"r": "select", "a": "insert", "w": "update", "d": "delete", "*": "all"}
_REPLICA: dict[str, LiteralString] = {"d": "default", "n": "nothing", "f": "full"}


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
    live, temp = sql.Identifier("public", table), sql.Identifier("public", temp_name(table))
    parts = {"live": live, "temp": temp}
    leave_out_deleted(api, table)
    _do(api, "alter table {temp} owner to {role}", role=sql.Identifier(now["owner"][""]["role"]), **parts)
    references = list(now.get("reference", {}).values())
    orphans = {key["name"]: _orphans(api, key, parts) for key in references}
    _do(api, "set constraints all immediate")
    for reference in references:
        child, name = (
            sql.Identifier(reference["schema"], reference["child"]),
            sql.Identifier(reference["name"]),
        )
        _do(api, "alter table {child} drop constraint {name}", child=child, name=name)
    finish = [_sequence(api, table, facts) for facts in now.get("sequence", {}).values()]
    _do(api, "drop table {live}", **parts)
    _do(api, "alter table {temp} rename to {name}", name=sql.Identifier(table), **parts)
    _rename(api, now)
    for step in finish:
        step()
    if not now["column"]["id"]["default"] and not now["column"]["id"]["identity"]:
        _do(api, "alter table {live} alter id drop default", **parts)
        _do(
            api, "drop sequence if exists {name}", name=sql.Identifier("public", f"{temp_name(table)}_id_seq")
        )
    for reference in references:
        child, name = (
            sql.Identifier(reference["schema"], reference["child"]),
            sql.Identifier(reference["name"]),
        )
        _do(
            api,
            "alter table {child} add constraint {name} {definition}",
            child=child,
            name=name,
            definition=_given(reference["definition"]),
        )
    for key, facts in now.get("foreign key", {}).items():
        _do(
            api,
            "alter table {live} add constraint {name} {what}",
            name=sql.Identifier(key),
            what=_given(facts["definition"]),
            **parts,
        )
    dress(api, table, now)
    for target, facts in now.get("comment on", {}).items():
        _do(
            api, "comment on {target} is {comment}", target=_given(target), comment=sql.Literal(facts["text"])
        )
    for facts in now.get("extension", {}).values():
        _do(
            api,
            "alter {target} depends on extension {name}",
            target=_given(facts["target"]),
            name=sql.Identifier(facts["name"]),
        )
    if different := differences(now, shape(api, table)):
        raise Fatal(
            f"the exchange of {table} would change more than its rows: {'; '.join(different)}. Nothing was "
            "changed."
        )
    return orphans


def dress(
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
            _do(
                api,
                "alter table {on} add constraint {name} {what}",
                on=on,
                name=sql.Identifier(name),
                what=_given(facts["definition"]),
            )
    for kind, before in (("trigger", f" ON public.{table} "), ("rule", f" TO public.{table}")):
        for name, facts in live.get(kind, {}).items():
            _do(
                api,
                "{definition}",
                definition=_given(_moved(facts["definition"], name, before, before.replace(table, target))),
            )
            if state := _STATES.get(facts["enabled"]):
                _do(
                    api,
                    "alter table {on} {state} {kind} {name}",
                    on=on,
                    state=sql.SQL(state),
                    kind=_given(kind),
                    name=sql.Identifier(name),
                )
    for name, facts in live.get("policy", {}).items():
        _policy(api, on, name, facts)
    _marks(api, on, live, names)
    for name, facts in live.get("publication", {}).items():
        if facts["by name"]:
            _publish(api, on, name, facts)
    rights = live.get("grant", {})
    if shape(api, target).get("grant", {}) != rights:
        grant(api, "table", on, target, live["owner"][""]["role"], list(rights.values()))


def _marks(api: Connection, on: sql.Composable, live: Shape, names: Mapping[str, str]) -> None:
    """Set row security, the replica identity, and the index that CLUSTER uses."""
    security = live["row security"][""]
    if security["enabled"]:
        _do(api, "alter table {on} enable row level security", on=on)
    if security["forced"]:
        _do(api, "alter table {on} force row level security", on=on)
    identity = live["replica identity"][""]
    if identity["how"] == "i":
        index = names.get(identity["index"], identity["index"])
        _do(api, "alter table {on} replica identity using index {index}", on=on, index=sql.Identifier(index))
    else:
        _do(api, "alter table {on} replica identity {how}", on=on, how=sql.SQL(_REPLICA[identity["how"]]))
    for mark in live.get("cluster mark", {}).values():
        index = names.get(mark["index"], mark["index"])
        _do(api, "alter table {on} cluster on {index}", on=on, index=sql.Identifier(index))


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
    before = api.execute("select current_setting('role')").fetchone()
    if facts["grantor"] != owner:
        _do(api, "set local role {role}", role=sql.Identifier(facts["grantor"]))
    _do(
        api,
        "grant {privilege}{column} on {kind} {target} to {grantee}{option}",
        privilege=_given(facts["privilege"]),
        column=column,
        kind=sql.SQL(kind),
        target=target,
        grantee=sql.Identifier(facts["grantee"]) if facts["grantee"] else sql.SQL("public"),
        option=sql.SQL(" with grant option" if facts["grantable"] else ""),
    )
    if facts["grantor"] != owner:
        api.execute("select set_config('role', %s, true)", [before[0] if before else "none"])


def _orphans(api: Connection, key: Facts, parts: Mapping[str, sql.Composable]) -> int:
    """Delete rows that refer to missing media, or clear the reference (SET NULL), and return their number."""
    pairs = [
        (sql.Identifier("c", a), sql.Identifier("t", b))
        for a, b in zip(key["columns"], key["parents"], strict=True)
    ]
    same = sql.SQL(" and ").join(sql.SQL("{} = {}").format(*pair) for pair in pairs)
    given = sql.SQL(" and ").join(sql.SQL("{} is not null").format(column) for column, _ in pairs)
    where = sql.SQL("where {given} and not exists (select from {temp} t where {same})").format(
        given=given, same=same, **parts
    )
    if not key["valid"]:  # keep rows that violated the key before the refresh
        where += sql.SQL(" and exists (select from {live} t where {same})").format(same=same, **parts)
    child = sql.Identifier(key["schema"], key["child"])
    if key["on delete"] == "n":
        nulls = sql.SQL(", ").join(
            sql.SQL("{} = null").format(sql.Identifier(column)) for column in key["columns"]
        )
        return _do(api, "update {child} c set {nulls} {where}", child=child, nulls=nulls, where=where)
    return _do(api, "delete from {child} c {where}", child=child, where=where)


def _sequence(api: Connection, table: str, facts: Facts) -> Callable[[], None]:
    """Detach a sequence from the live table, so that it is kept; return a function that attaches it again."""
    theirs = sql.Identifier(facts["schema"], facts["name"])
    if not facts["identity"]:
        _do(
            api,
            "alter sequence {theirs} owned by {column}",
            theirs=theirs,
            column=sql.Identifier("public", temp_name(table), facts["column"]),
        )
        return lambda: None
    ours = api.execute(
        "select c.relname, n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.oid = pg_get_serial_sequence(%s, %s)::regclass",
        [f"public.{temp_name(table)}", facts["column"]],
    ).fetchone()
    stood = api.execute(_sql("select last_value, is_called from {theirs}", theirs=theirs)).fetchone()
    assert ours is not None and stood is not None  # noqa: PT018 - an identity column has a sequence

    def finish() -> None:
        name = sql.Identifier(ours[1], ours[0])
        ahead = sql.SQL("max(last_value)" if facts["step"] > 0 else "min(last_value)")
        query = _sql(
            "select {ahead}, bool_or(is_called) "
            "from (select last_value, is_called from {name} union all select %s, %s) s",
            ahead=ahead,
            name=name,
        )
        value = api.execute(query, list(stood)).fetchone()
        _do(
            api,
            "alter sequence {name} as {type} minvalue {least} maxvalue {most}",
            name=name,
            type=_given(facts["type"]),  # LIKE creates a bigint
            least=sql.Literal(facts["least"]),
            most=sql.Literal(facts["most"]),
        )
        _do(api, "alter sequence {name} rename to {its}", name=name, its=sql.Identifier(facts["name"]))
        api.execute("select setval(%s, %s, %s)", [theirs.as_string(api), *(value or stood)])
        role = api.execute(
            "select pg_get_userbyid(relowner) from pg_class where oid = %s::regclass", [theirs.as_string(api)]
        ).fetchone()
        # Default privileges are not stored in the system catalogs.
        has = [
            key["grants"] for key in shape(api, table)["sequence"].values() if key["name"] == facts["name"]
        ]
        if has != [facts["grants"]]:
            grant(api, "sequence", theirs, facts["name"], role[0] if role else "", facts["grants"] or [])

    return finish


def _rename(api: Connection, now: Shape) -> None:
    """Rename indexes, their constraints and extended statistics to the names of the live table's."""
    for name, facts in now.get("index", {}).items():
        ours = sql.Identifier("public", built_name(name, facts))
        _do(api, "alter index {ours} rename to {name}", ours=ours, name=sql.Identifier(name))
    for name, facts in now.get("statistics", {}).items():
        ours = sql.Identifier(facts["schema"], built_name(name, facts))
        _do(api, "alter statistics {ours} rename to {name}", ours=ours, name=sql.Identifier(facts["name"]))
        _do(
            api,
            "alter statistics {its} owner to {role}",
            its=sql.Identifier(facts["schema"], facts["name"]),
            role=sql.Identifier(facts["owner"]),
        )


def _policy(api: Connection, on: sql.Composable, name: str, facts: Facts) -> None:
    using = (
        sql.SQL(" using ({})").format(_given(facts["using"])) if facts["using"] is not None else sql.SQL("")
    )
    check = (
        sql.SQL(" with check ({})").format(_given(facts["check"]))
        if facts["check"] is not None
        else sql.SQL("")
    )
    _do(
        api,
        "create policy {name} on {on} as {manner} for {command} to {roles}{using}{check}",
        name=sql.Identifier(name),
        on=on,
        manner=sql.SQL("permissive" if facts["permissive"] else "restrictive"),
        command=sql.SQL(_COMMANDS[facts["command"]]),
        roles=sql.SQL(", ").join(map(_given, facts["roles"])),
        using=using,
        check=check,
    )


def _publish(api: Connection, on: sql.Composable, name: str, facts: Facts) -> None:
    columns: sql.Composable = sql.SQL("")
    if facts["columns"] is not None:
        columns = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, facts["columns"])))
    where: sql.Composable = (
        sql.SQL(" where ({})").format(_given(facts["where"])) if facts["where"] else sql.SQL("")
    )
    _do(
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


def _do(api: Connection, text: LiteralString, **parts: sql.Composable) -> int:
    return api.execute(_sql(text, **parts)).rowcount


def _sql(text: LiteralString, **parts: sql.Composable) -> sql.Composed:
    return sql.SQL(text).format(**parts)


def _given(text: Any) -> sql.Composable:
    """Return a part of a definition that the server itself has generated."""
    return sql.SQL(text)
