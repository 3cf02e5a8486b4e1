"""Creation of the indexes of a new table, after it has been filled.

Several sessions may share the work. A constraint is attached to its index when all indexes exist, because
that locks the table, so it would wait until the other sessions have created theirs.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import psycopg
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import execute, value
from catalog.core.session import Connection, raise_memory, settle
from catalog.core.sql_files import trusted
from catalog.data_refresh.tables.building import built_name
from catalog.data_refresh.tables.columns import qualified_name, temp_name
from catalog.data_refresh.tables.duplicates import make_unique
from catalog.data_refresh.tables.oversized import leave_out_oversized
from catalog.data_refresh.tables.shape import Shape, check_shape, shape

Facts = Mapping[str, Any]


def build_indexes(
    api: Connection,
    table: str,
    progress: Callable[[str], None] = lambda _: None,
    *,
    temp: str = "",
    expected: Mapping[str, Shape] | None = None,
) -> bool:
    """Create the indexes, keys, constraints with an index, and extended statistics of the live table.

    Sessions that call this at the same time share the work. Indexes that an earlier attempt created are kept.

    Args:
        api: Connection to the API database, in autocommit or in a transaction.
        table: Name of the live table.
        progress: Called with a message for each index.
        temp: Name of the new table; by default that of a refresh.
        expected: Definition of the live table when the refresh began; raises Fatal if it has changed.

    Returns:
        True if everything exists; False if another session is still creating an index.
    """
    settle(api)
    temp = temp or temp_name(table)
    check_shape(api, [table], expected or {})
    raise_memory(api, "maintenance_work_mem", "256MB", transaction_only=False)
    live = shape(api, table)
    indexes = {name: facts for name, facts in live.get("index", {}).items() if facts["valid"]}
    for number, (name, facts) in enumerate(indexes.items(), 1):

        def build(name: str = name, facts: Facts = facts, number: int = number) -> None:
            built = built_name(name, facts)
            with api.transaction():
                if _alone(api, temp, built) and not _exists(api, built):
                    progress(f"{table}: index {number} of {len(indexes)}, {name}")
                    _create_index(api, temp, built, facts)

        if not _is_made_by_constraint(facts):
            _without_refused(api, table, name, facts, build)
    if not all(_exists(api, built_name(*one)) or _is_made_by_constraint(one[1]) for one in indexes.items()):
        return False
    with api.transaction():
        api.execute("select pg_advisory_xact_lock(hashtext(%s))", [f"complete {temp}"])
        _complete(api, temp, live, indexes)
    return True


def _without_refused(api: Connection, table: str, name: str, facts: Facts, build: Callable[[], None]) -> None:
    """Build an index, and reject the records that it refuses: each kind of them at once."""
    tried = set[type[psycopg.Error]]()
    while True:
        try:
            return build()
        except (psycopg.errors.UniqueViolation, psycopg.errors.ProgramLimitExceeded) as error:
            if type(error) in tried:
                raise
            tried.add(type(error))
            if isinstance(error, psycopg.errors.UniqueViolation):
                make_unique(api, table, name, error)
            else:
                leave_out_oversized(api, table, name, facts, error)


def _alone(api: Connection, temp: str, built: str) -> bool:
    """Return whether no other session creates this index, and keep others from it in this transaction."""
    query = "select pg_try_advisory_xact_lock(hashtext(%s))"
    return bool(value(api, query, [f"index {built} of {temp}"]))


def _exists(api: Connection, built: str) -> bool:
    query = "select 1 from pg_index where indexrelid = to_regclass(%s) and indisvalid"
    return bool(api.execute(query, [qualified_name(built)]).fetchone())


def _is_made_by_constraint(facts: Facts) -> bool:
    """Return whether an index can only be created together with its constraint."""
    constraint = facts["constraint"]
    return bool(constraint and (constraint["type"] == "x" or "WITHOUT OVERLAPS" in constraint["definition"]))


def _create_index(api: Connection, temp: str, built: str, facts: Facts) -> None:
    before = value(api, "select current_setting('default_tablespace')")
    if facts["tablespace"]:
        api.execute("select set_config('default_tablespace', %s, true)", [facts["tablespace"]])
    table, index = sql.Identifier("public", temp), sql.Identifier(built)
    if _is_made_by_constraint(facts):
        api.execute(
            sql.SQL("alter table {table} add constraint {index} ").format(table=table, index=index)
            + trusted(facts["constraint"]["definition"])
        )
    else:
        unique = sql.SQL("unique" if facts["unique"] else "")
        statement = sql.SQL("create {unique} index {index} on {table} using ").format(
            unique=unique, index=index, table=table
        )
        api.execute(statement + trusted(facts["using"]))
    for number, target in (facts["statistics targets"] or {}).items():
        execute(
            api,
            "alter index {index} alter column {number} set statistics {target}",
            index=sql.Identifier("public", built),
            number=sql.Literal(int(number)),
            target=sql.Literal(target),
        )
    if facts["tablespace"]:
        api.execute("select set_config('default_tablespace', %s, true)", [before])


def _complete(api: Connection, temp: str, live: Shape, indexes: Mapping[str, Facts]) -> None:
    """Add the missing constraints and statistics."""
    there = shape(api, temp)
    for name, facts in indexes.items():
        built = built_name(name, facts)
        if not (constraint := facts["constraint"]) or built in there.get("constraint", {}):
            continue
        if _is_made_by_constraint(facts):
            try:
                _create_index(api, temp, built, facts)
            except (psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded) as error:
                said = error.diag.message_detail or f"{error.diag.message_primary}."
                raise Fatal(
                    f"the constraint {name} cannot be added to the new table: {said} Correct the rows in the "
                    "catalog, or drop the constraint, then trigger a new run."
                ) from None
        else:
            _attach(api, temp, built, "primary key" if facts["primary"] else "unique", constraint)
    for name, facts in live.get("statistics", {}).items():
        built = built_name(name, facts)
        if f"{facts['schema']}.{built}" not in there.get("statistics", {}):
            _build_statistics(api, sql.Identifier("public", temp), built, facts)
    execute(api, "analyze {temp}", temp=sql.Identifier("public", temp))


def _attach(
    api: Connection, temp: str, built: str, kind: Literal["primary key", "unique"], constraint: Facts
) -> None:
    deferral = (
        ("deferrable initially deferred" if constraint["deferred"] else "deferrable")
        if constraint["deferrable"]
        else ""
    )
    execute(
        api,
        "alter table {table} add constraint {index} {kind} using index {index} {deferral}",
        table=sql.Identifier("public", temp),
        index=sql.Identifier(built),
        kind=sql.SQL(kind),
        deferral=sql.SQL(deferral),
    )


def _build_statistics(api: Connection, temp: sql.Composable, name: str, facts: Mapping[str, Any]) -> None:
    ours = sql.Identifier(facts["schema"], name)
    execute(
        api, "create statistics {name}{what} from {temp}", name=ours, what=trusted(facts["what"]), temp=temp
    )
    if facts["target"] is not None:
        target = sql.Literal(facts["target"])
        execute(api, "alter statistics {name} set statistics {target}", name=ours, target=target)
