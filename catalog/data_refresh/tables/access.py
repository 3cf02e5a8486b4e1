"""Checks of the privileges that a refresh needs in both databases: ownership, grants, row security."""

from collections.abc import Iterable

from psycopg import sql

from catalog.core.queries import relation_exists
from catalog.core.session import Connection
from catalog.data_refresh.tables.columns import Column, catalog_name, key_of, qualified_name
from catalog.data_refresh.tables.references import keys_to, own_keys
from catalog.data_refresh.tables.shape import Shape
from catalog.moderation.tables import moderated_name


def read_only(api: Connection) -> list[str]:
    """Return why the API database cannot be written to; empty if it can."""
    [(standby, reads_only, role, database)] = api.execute(
        "select pg_is_in_recovery(), current_setting('transaction_read_only')::boolean, current_user, "
        "current_database()"
    ).fetchall()
    if standby:
        return ["the API database is a standby, which cannot be written to: connect to its primary server"]
    if reads_only:
        off = f"alter role {role} in database {database} set default_transaction_read_only = off"
        return [f"the API database is read-only (default_transaction_read_only): if it need not be, {off}"]
    return []


def api_rights(api: Connection, table: str, live: Shape) -> list[str]:
    """Check that the role owns the tables it exchanges, may read the others it needs, and sees all rows.

    Args:
        api: Connection to the API database.
        table: Name of the live table.
        live: Its definition.

    Returns:
        One message per missing privilege.
    """
    keys = list(keys_to(api, qualified_name(table)))
    owned = [qualified_name(table), *(_name(api, key.child_schema, key.child) for key in keys)]
    problems = _owned(api, owned)
    query = "select has_schema_privilege('public', 'create'), current_user"
    [(may_create, role)] = api.execute(query).fetchall()
    if not may_create:
        problems.append(f"{role} may not create tables: grant create on schema public to it")
    for name in live.get("publication", {}):
        owner = api.execute(
            "select pg_has_role(pubowner, 'member'), pg_get_userbyid(pubowner) from pg_publication "
            "where pubname = %s",
            [name],
        ).fetchone()
        if owner and not owner[0] and live["publication"][name]["by name"]:
            problems.append(
                f"publication {name} belongs to {owner[1]}: the refresh's role must be a member of that role"
            )
    others = {
        _name(api, key.parent_schema, key.parent): ["select", "references"] for key in own_keys(api, table)
    }
    for child in owned[1:]:
        for key in keys_to(api, child, restrict=True):
            others.setdefault(_name(api, key.child_schema, key.child), ["select"])
    problems += _allowed(api, {name: rights for name, rights in others.items() if name not in owned})
    if "source" in live["column"] or "identifier" in live["column"]:
        moderated = [moderated_name("deleted", table), moderated_name("mature", table)]
        for name in moderated:
            if not relation_exists(api, name):
                problems.append(f"{name} is missing: the API's migrations make it")
        problems += _allowed(api, {qualified_name(name): ["select"] for name in moderated})
    return list(dict.fromkeys(problems))


def catalog_rights(upstream: Connection, table: str, columns: Iterable[Column]) -> list[str]:
    """Check that the role may read the records of a table in the catalog, and sees all of them.

    Args:
        upstream: Connection to the catalog database.
        table: Name of the live table.
        columns: Columns of the API's table.

    Returns:
        One message per missing privilege.
    """
    source = catalog_name(table)
    wanted = {*key_of(table), *(c.upstream for c in columns if c.upstream)}
    [(missing, role)] = upstream.execute(
        "select array_agg(name order by name), current_user from unnest(%s::text[]) name"
        " where not has_column_privilege(to_regclass(%s), name, 'select')",
        [sorted(wanted), qualified_name(source)],
    ).fetchall()
    found = []
    if missing:
        those = "" if len(missing) == len(wanted) else f" ({', '.join(missing)})"
        found.append(
            f"{role} may not read the catalog's {source}{those}: grant select on it to {role} in the catalog "
            "database"
        )
    return found + [f"catalog: {hidden}" for hidden in _hidden(upstream, qualified_name(source))]


def _owned(api: Connection, names: list[str]) -> list[str]:
    problems = []
    for name in names:
        row = api.execute(
            "select pg_has_role(relowner, 'member'), pg_get_userbyid(relowner), current_user from pg_class "
            "where oid = to_regclass(%s)",
            [name],
        ).fetchone()
        if row and not row[0]:
            problems.append(
                f"{_short(name)} belongs to {row[1]}: make {row[2]} a member of that role, or the owner"
            )
        problems += _hidden(api, name)
    return problems


def _allowed(api: Connection, wanted: dict[str, list[str]]) -> list[str]:
    """Return messages about missing privileges, by qualified table, and about hidden rows."""
    problems = []
    for name, rights in wanted.items():
        for right in rights:
            [(allowed, role)] = api.execute(
                "select has_table_privilege(to_regclass(%s), %s), current_user", [name, right]
            ).fetchall()
            if allowed is False:  # NULL if there is no such table
                what = {"select": "cannot be read", "references": "cannot be named by a foreign key"}[right]
                problems.append(f"{_short(name)} {what}: grant {right} on it to {role}")
        problems += _hidden(api, name)
    return problems


def _hidden(connection: Connection, name: str) -> list[str]:
    """Check that row security hides no rows of a table, which would be taken for missing ones."""
    [(active, role)] = connection.execute(
        "select row_security_active(to_regclass(%s)::oid), current_user", [name]
    ).fetchall()
    if active:
        return [f"row security hides rows of {_short(name)} from {role}: give that role BYPASSRLS"]
    return []


def _name(connection: Connection, schema: str, name: str) -> str:
    return sql.Identifier(schema, name).as_string(connection)


def _short(name: str) -> str:
    return name.removeprefix("public.").removeprefix('"public".').strip('"')
