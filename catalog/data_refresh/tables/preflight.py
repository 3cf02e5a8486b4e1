"""Checks of what would fail a refresh hours later in the databases, with a fix for each problem."""

import json
from collections.abc import Iterable

import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import relation_exists, value
from catalog.core.session import Connection, is_same_database, settle
from catalog.core.settings import API_DB, CATALOG_DB
from catalog.data_refresh.tables.access import api_rights, catalog_rights, read_only
from catalog.data_refresh.tables.attachments import attach
from catalog.data_refresh.tables.building import built_name, make_table
from catalog.data_refresh.tables.columns import (
    Column,
    api_columns,
    catalog_name,
    key_of,
    qualified_name,
    temp_name,
    temporary_names,
)
from catalog.data_refresh.tables.index_building import build_indexes
from catalog.data_refresh.tables.sequences import sources
from catalog.data_refresh.tables.shape import Shape, differences, shape
from catalog.database.estimates import analyzed_rows

CONNECTIONS = 4  # to the API database that a refresh needs
# Kinds of attached objects that a rehearsal does not create.
_APART = frozenset(("reference", "foreign key", "sequence", "dependent", "comment on", "extension"))
_LATER = "drop it before the refresh and create it again afterwards"


def preflight_tables(api: Connection, upstream: Connection, tables: Iterable[str]) -> int:
    """Check everything that a copy and an exchange need.

    Args:
        api: Connection to the API database, in autocommit.
        upstream: Connection to the catalog database, in autocommit.
        tables: Names of the live tables.

    Returns:
        Estimate of the extra bytes on disk that the API database needs during the refresh. PostgreSQL cannot
        report the free space.

    Raises:
        Fatal: There are problems; the message lists all of them.
    """
    tables = list(tables)
    settle(api)
    settle(upstream)
    try:
        problems, needed = [*_databases(api, upstream), *read_only(api)], 0
        if not problems:
            problems, needed = _problems(api, upstream, tables)
    except psycopg.errors.InsufficientPrivilege as error:
        problems, needed = [f"{error.diag.message_primary}: grant it to the refresh's role"], 0
    if problems:
        raise Fatal(f"a refresh of these tables would fail: {'; '.join(problems)}.")
    return needed


def _problems(api: Connection, upstream: Connection, tables: list[str]) -> tuple[list[str], int]:
    """Return all problems, and the size of the tables in bytes."""
    found, needed = _connections(api), 0
    for table in tables:
        live = shape(api, table)
        if not live:
            found.append(f"the API database has no table {table}: its migrations create it")
            continue
        problems = [
            *_attached(live),
            *api_rights(api, table, live),
            *_names(api, table),
            *_reading(api, upstream, table, live),
        ]
        if not problems:
            problems = _ids(api, upstream, table) + _rehearsed(api, table, live) + _event_triggers(api, table)
        found += [f"{table}: {problem}" for problem in problems]
        needed += _size(api, table)
    return found, needed


def _databases(api: Connection, upstream: Connection) -> list[str]:
    """Return a problem if both connections lead to one database, whose tables a refresh would replace."""
    if is_same_database(api, upstream):
        return [f"the connections {CATALOG_DB} and {API_DB} lead to the same database"]
    return []


def _attached(live: Shape) -> list[str]:
    """Return attached objects that a refresh cannot recreate."""
    problems = [f"{name} depends on it: {_LATER}" for name in live.get("dependent", {})]
    problems += [f"{name} is set: remove the security label" for name in live.get("security label", {})]
    if live.get("type right"):
        problems.append(
            f"privileges on its row type are not the default ({'; '.join(live['type right'])}): grant usage "
            "on type to public, and revoke it from all others"
        )
    facts = live["table"][""]
    if facts["relation kind"] != "r" or facts["partition"]:
        problems.append("it is a view, a partition or partitioned, not a plain table")
    problems += [
        f"it has {what} {facts[what]}: make it a plain table"
        for what in ("row type", "parents", "extension")
        if facts[what]
    ]
    for name, index in live.get("index", {}).items():
        if not index["valid"]:
            problems.append(f"index {name} is not valid: if nobody is creating it, drop it or reindex it")
    for name, key in live.get("foreign key", {}).items():
        if key["to itself"]:
            problems.append(f"foreign key {name} points at the table itself: drop it")
    for name, key in {**live.get("reference", {}), **live.get("foreign key", {})}.items():
        if key["triggers enabled"] is False:
            problems.append(f"triggers of foreign key {name} are disabled: enable them")
        if key.get("on delete") == "d":
            problems.append(f"foreign key {name} is ON DELETE SET DEFAULT: choose another action")
    return problems


def _names(api: Connection, table: str) -> list[str]:
    """Return objects that occupy the names of the refresh's own tables."""
    taken = []
    for name in temporary_names(table):
        row = api.execute(
            "select relkind, pg_has_role(relowner, 'member') from pg_class where oid = to_regclass(%s)",
            [qualified_name(name)],
        ).fetchone()
        if row and (row[0] != "r" or not row[1]):
            taken.append(f"{name} is in the way: rename or drop it")
    return taken


def _reading(api: Connection, upstream: Connection, table: str, live: Shape) -> list[str]:
    """Check that the catalog has the columns that the API needs, in a form that can be copied."""
    if "id" not in live["column"]:
        return ["it has no column id"]
    source = catalog_name(table)
    if not relation_exists(upstream, source):
        return [f"the catalog has no {source}: run catalog db upgrade"]
    columns = api_columns(upstream, api, table)
    if problems := catalog_rights(upstream, table, columns):
        return problems
    for column in columns:
        facts = live["column"][column.name]
        if column.upstream is None:
            needs = facts["not null"] and not facts["default"] and not facts["identity"]
            if needs and column.name not in ("created_on", "updated_on"):
                problems.append(
                    f"column {column.name} is NOT NULL without a default, and the catalog does not have it: "
                    "give it a default"
                )
            if not _sendable(api, table, column.name):
                problems.append(
                    f"column {column.name} of type {column.type} cannot be copied in binary form: use "
                    "another type"
                )
        elif problem := _cast_problem(upstream, source, column):
            problems.append(f"column {column.name}: {problem}: change its type")
    if "identifier" in key_of(table) and live["column"].get("identifier", {}).get("type") != "uuid":
        problems.append("column identifier is not a uuid: it is the key of media")
    return problems


def _cast_problem(upstream: Connection, source: str, column: Column) -> str | None:
    """Return why values of the catalog's column cannot have the type of the API's; None if they can."""
    query = sql.SQL("select {}::{} from {} limit 0").format(
        sql.Identifier(column.upstream or column.name), sql.SQL(column.type), sql.Identifier("public", source)
    )
    try:
        upstream.execute(query)
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
        return str(error.diag.message_primary)
    return None


def _sendable(api: Connection, table: str, column: str) -> bool:
    """Return whether the type of a column, or of its elements if it is an array, has a binary form."""
    query = """
        select t.typsend <> 0 and t.typreceive <> 0 and coalesce(e.typsend <> 0 and e.typreceive <> 0, true)
          from pg_attribute a join pg_type t on t.oid = a.atttypid
          left join pg_type e on e.oid = t.typelem and t.typcategory = 'A'
         where a.attrelid = to_regclass(%s) and a.attname = %s
    """
    return bool(value(api, query, [qualified_name(table), column]))


def _connections(api: Connection) -> list[str]:
    """Check that the server has connections left for the tasks of a refresh."""
    query = """
        select current_setting('max_connections')::int
               - (select count(*) from pg_stat_activity where backend_type = 'client backend')
               - current_setting('superuser_reserved_connections')::int
    """
    if (free := value(api, query)) < CONNECTIONS:
        problem = f"the API database has {max(0, free)} connections left, the refresh needs {CONNECTIONS}"
        return [f"{problem}: raise max_connections"]
    return []


def _size(api: Connection, table: str) -> int:
    return int(value(api, "select pg_total_relation_size(to_regclass(%s))", [qualified_name(table)]))


def _rehearsed(api: Connection, table: str, live: Shape) -> list[str]:
    """Recreate everything on an empty table, in a transaction that is rolled back, and return differences."""
    trial = f"{temp_name(table)}_trial"
    try:
        with api.transaction(force_rollback=True):
            api.execute("set local lock_timeout = '5s'")
            # A failed refresh may have left objects with these names; the next one drops them when it begins.
            api.execute(sql.SQL("drop table if exists {}").format(sql.Identifier("public", temp_name(table))))
            make_table(api, table, trial, live)
            build_indexes(api, table, temp=trial)
            api.execute(
                sql.SQL("alter table {} owner to {}").format(
                    sql.Identifier("public", trial), sql.Identifier(live["owner"][""]["role"])
                )
            )
            indexes = {name: built_name(name, facts) for name, facts in live.get("index", {}).items()}
            attach(api, table, live, trial, indexes)
            text = json.dumps(shape(api, trial)).replace(trial, table)
            for name, ours in indexes.items():
                text = text.replace(json.dumps(ours), json.dumps(name))
            for name, facts in live.get("statistics", {}).items():
                text = text.replace(built_name(name, facts), facts["name"])
            return _unlike(live, json.loads(text))
    except psycopg.errors.LockNotAvailable:
        return []  # somebody is changing the table; the exchange checks it again
    except psycopg.DatabaseError as error:
        if api.closed:
            raise
        where = (error.diag.context or "").partition("\n")[0]
        return [f"it cannot be recreated: {error.diag.message_primary}" + (f" ({where})" if where else "")]


def _event_triggers(api: Connection, table: str) -> list[str]:
    """Check that no event trigger prevents the old table from being dropped.

    If there is such a trigger, the table is dropped in a transaction that is rolled back, which locks it for
    a moment.
    """
    names = value(
        api,
        "select array_agg(quote_ident(evtname) order by evtname) from pg_event_trigger"
        " where evtevent = 'sql_drop' and evtenabled in ('O', 'A')",
    )
    if not names:
        return []
    try:
        with api.transaction(force_rollback=True):
            api.execute("set local lock_timeout = '2s'")
            api.execute(sql.SQL("drop table {} cascade").format(sql.Identifier("public", table)))
    except psycopg.errors.LockNotAvailable:
        return []  # the exchange would report it
    except psycopg.DatabaseError as error:
        if api.closed:
            raise
        remedy = f"disable the event trigger ({', '.join(names)}) until the refresh is done"
        return [f"it cannot be dropped: {error.diag.message_primary}: {remedy}"]
    return []


def _ids(api: Connection, upstream: Connection, table: str) -> list[str]:
    """Check that the sequences of defaults are usable and have enough values left."""
    here, there = analyzed_rows(api, table), analyzed_rows(upstream, table)
    to_come = there - here if here is not None and there is not None else 0
    problems = []
    for source in sources(api, table):
        if source.behind and not source.movable:
            problems.append(
                f"sequence {source.name} is behind the values of column {source.column}, and the role may "
                "not set it: grant update on it"
            )
        elif not source.usable:
            problems.append(f"sequence {source.name} cannot be used: grant usage on it")
        if source.remaining is not None and source.remaining < to_come:
            problems.append(
                f"sequence {source.name} has {source.remaining:,} values left for column {source.column}, "
                f"and about {to_come:,} new records are to come: make both bigint"
            )
    return problems


def _unlike(live: Shape, made: Shape) -> list[str]:
    """Return what of a table could not be recreated, as far as a rehearsal tries it."""

    def tried(definition: Shape) -> Shape:
        kept = {kind: named for kind, named in definition.items() if kind not in _APART}
        if "index" in kept:
            kept["index"] = {
                name: {**facts, "constraint": bool(facts["constraint"])}
                for name, facts in kept["index"].items()
            }
        kept["constraint"] = {
            name: facts
            for name, facts in definition.get("constraint", {}).items()
            if facts["type"] not in ("p", "u", "x")
        }
        kept["column"] = {
            name: {**facts, "default": None if name == "id" else facts["default"]}
            for name, facts in definition["column"].items()
        }
        kept["publication"] = {
            name: facts for name, facts in definition.get("publication", {}).items() if facts["by name"]
        }
        return kept

    return [
        f"it cannot be recreated exactly: {difference}"
        for difference in differences(tried(live), tried(made))
    ]
