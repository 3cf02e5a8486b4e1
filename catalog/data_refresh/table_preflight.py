"""What would end a refresh hours later, looked for in its first task: everything at once, each thing by name and with what to do."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from catalog.data_refresh.building import build_indexes, built_name, make_table
from catalog.data_refresh.columns import Column, progress_name, public, temp_name
from catalog.data_refresh.copy import TableCopy
from catalog.data_refresh.exchange import dress
from catalog.data_refresh.shape import Shape, differences, shape
from catalog.ingestion.errors import Fatal

Connection = psycopg.Connection[Any]
_APART = frozenset(
    ("reference", "foreign key", "sequence", "dependent", "comment on")
)  # that a rehearsal does not try
_LATER = "drop it before the refresh and make it again afterwards"


class Preflight(msgspec.Struct):
    """needed_bytes: about so much disk does the API database need beside what it has, until the refresh is done."""

    needed_bytes: int = 0


def preflight_tables(
    api: Connection, upstream: Connection, tables: Iterable[str], *, connections: int = 4
) -> Preflight:
    """Look at everything that a copy and an exchange need.

    Args:
        api: To the API database, in autocommit.
        upstream: To the catalog database, in autocommit.
        tables: Names of the live tables.
        connections: That the refresh needs to the API database at once.

    Returns:
        What it will need. How much disk is free is not to be seen from within the server.

    Raises:
        Fatal: Something is in the way; the message lists all of it.
    """
    found, needed = _connections(api, connections), 0
    for table in tables:
        live = shape(api, table)
        if not live:
            found.append(f"the API database has no table {table}: its migrations make it")
            continue
        problems = [
            *_hanging(live),
            *_rights(api, table, live),
            *_names(api, table),
            *_reading(api, upstream, table, live),
        ]
        if not problems:
            problems = _rehearsed(api, table, live)
        found += [f"{table}: {problem}" for problem in problems]
        needed += _size(api, table)
    if found:
        raise Fatal(f"a refresh of these tables cannot end well: {'; '.join(found)}.")
    return Preflight(needed)


def _hanging(live: Shape) -> list[str]:
    """What is attached to the table and cannot be recreated."""
    found = [f"{name} depends on it: {_LATER}" for name in live.get("dependent", {})]
    found += [f"{name} is set: remove the security label" for name in live.get("security label", {})]
    facts = live["table"][""]
    if facts["relation kind"] != "r" or facts["partition"]:
        found.append("it is a view, a partition or partitioned, not a plain table")
    found += [
        f"it has {what} {facts[what]}: make it a plain table"
        for what in ("row type", "parents", "extension")
        if facts[what]
    ]
    for name, index in live.get("index", {}).items():
        if not index["valid"]:
            found.append(
                f"index {name} is not valid: wait until nobody makes it any more, then drop it or reindex it"
            )
    for name, key in live.get("foreign key", {}).items():
        if key["to itself"]:
            found.append(f"foreign key {name} points at the table itself: drop it")
    for name, key in {**live.get("reference", {}), **live.get("foreign key", {})}.items():
        if key["triggers enabled"] is False:
            found.append(f"triggers of foreign key {name} are disabled: enable them")
        if key.get("on delete") == "d":
            found.append(f"foreign key {name} sets a default when a medium goes: another action is needed")
    return found


def _rights(api: Connection, table: str, live: Shape) -> list[str]:
    """Whether the role owns what it exchanges and sees all rows."""
    found = []
    children = [(key["schema"], key["child"]) for key in live.get("reference", {}).values()]
    owned = """
        select pg_has_role(relowner, 'member'), pg_get_userbyid(relowner), row_security_active(oid), current_user from pg_class
         where oid = to_regclass(%s)
    """
    for schema, name in [("public", table), *children]:
        row = api.execute(owned, [f'"{schema}"."{name}"']).fetchone()
        assert row is not None
        if not row[0]:
            found.append(f"{name} belongs to {row[1]}: make {row[3]} a member of that role, or the owner")
        if row[2]:
            found.append(f"row security hides rows of {name} from {row[3]}: give that role BYPASSRLS")
    row = api.execute("select has_schema_privilege('public', 'create'), current_user").fetchone()
    if row and not row[0]:
        found.append(f"{row[1]} may not create tables: grant create on schema public to it")
    for name in live.get("publication", {}):
        owner = api.execute(
            "select pg_has_role(pubowner, 'member'), pg_get_userbyid(pubowner) from pg_publication where pubname = %s",
            [name],
        ).fetchone()
        if owner and not owner[0] and live["publication"][name]["by name"]:
            found.append(
                f"publication {name} belongs to {owner[1]}: the refresh's role must be a member of that role"
            )
    if "source" in live["column"] or "identifier" in live["column"]:
        for moderated in (f"api_deleted{table}", f"api_mature{table}"):
            there = api.execute(
                "select has_table_privilege(to_regclass(%s), 'select')", [public(moderated)]
            ).fetchone()
            if there is None or not there[0]:
                found.append(
                    f"{moderated} is missing or cannot be read: the API's migrations make it; grant select on it"
                )
    return found


def _names(api: Connection, table: str) -> list[str]:
    """What has a name that the refresh's own tables need, and is not such a table."""
    found = []
    for name in (temp_name(table), progress_name(table)):
        row = api.execute(
            "select relkind, pg_has_role(relowner, 'member') from pg_class where oid = to_regclass(%s)",
            [public(name)],
        ).fetchone()
        if row and (row[0] != "r" or not row[1]):
            found.append(f"{name} is in the way: rename or drop it")
    return found


def _reading(api: Connection, upstream: Connection, table: str, live: Shape) -> list[str]:
    """Whether the catalog has what the API's columns need, in a form that can be sent."""
    if "id" not in live["column"]:
        return ["it has no column id"]
    job = TableCopy(upstream, api, table, "")
    source = job.source
    if not upstream.execute("select 1 where to_regclass(%s) is not null", [public(source)]).fetchone():
        return [f"the catalog has no {source}: run catalog db upgrade"]
    found = []
    for column in job.columns():
        facts = live["column"][column.name]
        if column.upstream is None:
            needs = facts["not null"] and not facts["default"] and not facts["identity"]
            if needs and column.name not in ("created_on", "updated_on"):
                found.append(
                    f"column {column.name} takes no null, has no default, and the catalog does not have it: give it a default"
                )
            if not _sendable(api, table, column.name):
                found.append(
                    f"column {column.name} of type {column.type} cannot be copied in binary form: use another type"
                )
        elif problem := _castable(upstream, source, column):
            found.append(f"column {column.name}: {problem}: change its type")
    if table != "audioset" and live["column"].get("identifier", {}).get("type") != "uuid":
        found.append("column identifier is no uuid: media are known by it")
    return found


def _castable(upstream: Connection, source: str, column: Column) -> str | None:
    query = sql.SQL("select {}::{} from {} limit 0").format(
        sql.Identifier(column.upstream or column.name), sql.SQL(column.type), sql.Identifier(source)
    )
    try:
        upstream.execute(query)
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
        return str(error.diag.message_primary)
    return None


def _sendable(api: Connection, table: str, column: str) -> bool:
    """Whether a type has a binary form, and the elements of an array."""
    query = """
        select t.typsend <> 0 and t.typreceive <> 0 and coalesce(e.typsend <> 0 and e.typreceive <> 0, true)
          from pg_attribute a join pg_type t on t.oid = a.atttypid left join pg_type e on e.oid = t.typelem and t.typcategory = 'A'
         where a.attrelid = to_regclass(%s) and a.attname = %s
    """
    row = api.execute(query, [public(table), column]).fetchone()
    return bool(row and row[0])


def _connections(api: Connection, needed: int) -> list[str]:
    query = """
        select current_setting('max_connections')::int - (select count(*) from pg_stat_activity where backend_type = 'client backend')
               - current_setting('superuser_reserved_connections')::int
    """
    row = api.execute(query).fetchone()
    if row and row[0] < needed:
        return [
            f"the API database has {max(0, row[0])} connections left, the refresh needs {needed}: raise max_connections"
        ]
    return []


def _size(api: Connection, table: str) -> int:
    row = api.execute("select pg_total_relation_size(to_regclass(%s))", [public(table)]).fetchone()
    return int(row[0]) if row else 0


def _rehearsed(api: Connection, table: str, live: Shape) -> list[str]:
    """What would be different afterwards: all of it is made on an empty table, compared, and rolled back."""
    trial = f"{temp_name(table)}_trial"
    try:
        with api.transaction(force_rollback=True):
            api.execute("set local lock_timeout = '5s'")
            # What a failed refresh has left bears the names that are tried here, and goes when the next one begins.
            api.execute(sql.SQL("drop table if exists {}").format(sql.Identifier("public", temp_name(table))))
            make_table(api, table, trial, live)
            build_indexes(api, table, temp=trial)
            api.execute(
                sql.SQL("alter table {} owner to {}").format(
                    sql.Identifier("public", trial), sql.Identifier(live["owner"][""]["role"])
                )
            )
            indexes = {name: built_name(name, facts) for name, facts in live.get("index", {}).items()}
            dress(api, table, live, trial, indexes)
            text = json.dumps(shape(api, trial)).replace(trial, table)
            for name, ours in indexes.items():
                text = text.replace(json.dumps(ours), json.dumps(name))
            for name, facts in live.get("statistics", {}).items():
                text = text.replace(built_name(name, facts), facts["name"])
            return _unlike(live, json.loads(text))
    except psycopg.errors.LockNotAvailable:
        return []  # somebody changes the table just now; the exchange looks again
    except (
        psycopg.ProgrammingError,
        psycopg.NotSupportedError,
        psycopg.DataError,
        psycopg.OperationalError,
    ) as error:
        return [f"it cannot be made anew: {error.diag.message_primary}"]


def _unlike(live: Shape, made: Shape) -> list[str]:
    def tried(whole: Shape) -> Shape:
        kept = {kind: named for kind, named in whole.items() if kind not in _APART}
        if "index" in kept:
            kept["index"] = {
                name: {**facts, "constraint": bool(facts["constraint"])}
                for name, facts in kept["index"].items()
            }
        kept["constraint"] = {
            name: facts
            for name, facts in whole.get("constraint", {}).items()
            if facts["type"] not in ("p", "u", "x")
        }
        kept["column"] = {
            name: {**facts, "default": None if name == "id" else facts["default"]}
            for name, facts in whole["column"].items()
        }
        kept["publication"] = {
            name: facts for name, facts in whole.get("publication", {}).items() if facts["by name"]
        }
        return kept

    return [
        f"it cannot be made anew exactly: {difference}"
        for difference in differences(tried(live), tried(made))
    ]
