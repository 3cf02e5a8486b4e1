"""Checks which relations, functions, operators and types a statement uses, as the server resolves them.

Names alone are not reliable: a common table expression, a schema earlier in the search path, an overload or a
cast can change their meaning. So the statement is stored as the action of a rule, in a transaction that is
rolled back. The server resolves every name and executes nothing, and the stored rule holds the objects, which
are compared with those allowed in `allowlist.py`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from catalog.core.errors import Refused
from catalog.core.session import Connection, settle
from catalog.database.allowlist import CURRENT_MOMENT, FUNCTIONS, NODE_NAMES, NODES, OWN_FUNCTIONS, TYPES

SCHEMA = "public"
BUILT_IN = 16384  # objects with a lower OID come with PostgreSQL

# Names in a stored rule have their spaces and braces escaped, so these patterns match no user-written text.
_NODE = re.compile(r"(?<!\\)\{(\w+)")
_FIELD = re.compile(r"(?<!\\) :(\w+) (?:\(o ([\d ]+)\)|(\d+)(?=[ )}]))")
_FUNCTION = {"funcid", "aggfnoid", "winfnoid", "startInRangeFunc", "endInRangeFunc", "tsmhandler"}
_OPERATOR = {"opno", "opnos", "eqop", "sortop", "cycle_mark_neop"}
_TYPE = re.compile(r"(?i).*(type|types|typeid|typid)")
_FIRST_TYPE = 16  # lower numbers in such fields are kinds of a join, a sub-select or a test


class Uses:
    """The OIDs of the objects that stored rules use, and the kinds of their nodes.

    Args:
        trees: Actions of rules, as the server stores them.
    """

    def __init__(self, trees: Iterable[str]) -> None:
        self.nodes: set[str] = set()
        self.relations: list[int] = []  # one entry for each reference
        self.functions: set[int] = set()
        self.operators: set[int] = set()
        self.types: set[int] = set()
        self.moments: set[int] = set()  # which of CURRENT_DATE, CURRENT_USER, …
        for tree in trees:
            self.nodes |= set(_NODE.findall(tree))
            for key, several, one in _FIELD.findall(tree):
                self._note(key, [int(n) for n in (several or one).split()], tree)
            self.relations += [int(n) for n in re.findall(r"(?<!\\) :rtekind 0 :relid (\d+)", tree)]
            self.moments |= {int(n) for n in re.findall(r"(?<!\\)\{SQLVALUEFUNCTION :op (\d+)", tree)}

    def _note(self, key: str, numbers: list[int], _tree: str) -> None:
        if key in _FUNCTION:
            self.functions |= {n for n in numbers if n}
        elif key in _OPERATOR:
            self.operators |= {n for n in numbers if n}
        elif _TYPE.fullmatch(key):
            self.types |= {n for n in numbers if n >= _FIRST_TYPE}


def check(connection: Connection, field: str, statement: sql.Composable) -> set[str]:
    """Refuse a statement that uses objects which are not allowed. The statement is not executed.

    Args:
        connection: Connection to the catalog database, in autocommit.
        field: The conf key that the statement comes from, for messages.
        statement: An UPDATE or DELETE, as `statements.py` wrote it.

    Returns:
        Names of the relations that it reads, directly or through views and functions. The changed table is
        included only if it is read again.

    Raises:
        Refused: The statement is not allowed; names the field and the reason.
    """
    with connection.transaction(force_rollback=True):
        settle(connection)
        tree, stand_in = _resolved(connection, field, statement)
        uses = Uses([tree])
        uses.relations.remove(stand_in)  # OLD
        uses.relations.remove(stand_in)  # NEW
        try:
            return set(_refusals_or_reads(connection, uses))
        except Refused as error:
            raise Refused(f"{field}: {error}") from None


def _resolved(connection: Connection, field: str, statement: sql.Composable) -> tuple[str, int]:
    """Return the stored rule and the OID of the table that it belongs to."""
    connection.execute("create temporary table statement_guard ()")
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL("create rule guard as on insert to pg_temp.statement_guard do instead ") + statement
            )
    except psycopg.Error as error:
        raise Refused(f"{field}: PostgreSQL refuses it: {error.diag.message_primary}.") from None
    [(tree, view)] = connection.execute(
        "select ev_action::text, ev_class::oid::bigint from pg_rewrite"
        " where ev_class = 'pg_temp.statement_guard'::regclass"
    ).fetchall()
    return tree, view


def _refusals_or_reads(connection: Connection, uses: Uses) -> Iterator[str]:
    yield from _relations(connection, uses.relations)
    for node in sorted(uses.nodes - NODES):
        raise Refused(f"{NODE_NAMES.get(node, node)} is not allowed.")
    if any(number > CURRENT_MOMENT for number in uses.moments):
        raise Refused("CURRENT_USER and the like are not allowed; only the current date and time are.")
    yield from _functions(connection, uses.functions)
    _operators(connection, uses.operators)
    _types(connection, uses.types)


def _relations(connection: Connection, numbers: list[int]) -> Iterator[str]:
    """Yield the names of all relations but the first, and of those that views read; refuse foreign ones."""
    found = _looked_up(
        connection,
        numbers,
        """
        select c.oid, n.nspname, c.relname, c.relkind::text,
               exists (select from pg_inherits i join pg_class child on child.oid = i.inhrelid
                        where i.inhparent = c.oid
                          and (child.relkind not in ('r', 'p') or child.relnamespace <> c.relnamespace)),
               (select ev_action::text from pg_rewrite
                 where ev_class = c.oid and c.relkind in ('v', 'm') and ev_type = '1')
          from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = any(%s)
        """,
    )
    for place, number in enumerate(numbers):
        schema, name, kind, foreign_parts, definition = found[number]
        if schema != SCHEMA or kind not in "rpvm" or foreign_parts:
            raise Refused(f"{schema}.{name} cannot be read; only tables of the catalog can.")
        if definition is not None:
            inside = Uses([definition])
            inside.relations = [n for n in inside.relations if n != number]  # OLD and NEW, on older servers
            try:
                yield from _refusals_or_reads(connection, _without_target(inside))
            except Refused as error:
                raise Refused(f"the view {name} cannot be read: {error}") from None
        if place or definition is not None:
            yield name


def _without_target(uses: Uses) -> Uses:
    """Count the first relation as read, because a view changes none."""
    uses.relations = uses.relations[:1] + uses.relations
    return uses


def _functions(connection: Connection, numbers: set[int]) -> Iterator[str]:
    """Yield the names of tables that the catalog's own functions read; refuse functions on no list."""
    found = _looked_up(
        connection,
        numbers,
        """
        select p.oid, n.nspname, p.proname, p.proname || '(' || oidvectortypes(p.proargtypes) || ')',
               p.provolatile = 'v',
               exists (select from pg_cast where castfunc = p.oid)
          from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.oid = any(%s)
        """,
    )
    for number in sorted(numbers):
        schema, name, signature, volatile, is_cast = found[number]
        if volatile:
            raise Refused(
                f"function {name} is volatile: it may change something, or return another value each time."
            )
        if schema == SCHEMA and signature in OWN_FUNCTIONS:
            yield from OWN_FUNCTIONS[signature]
        elif schema != "pg_catalog" or number >= BUILT_IN:
            raise Refused(f"function {schema}.{signature} is not one of the catalog's functions.")
        elif name not in FUNCTIONS and not is_cast:
            raise Refused(f"function {name} is not on the list of functions that only compute.")


def _operators(connection: Connection, numbers: set[int]) -> None:
    found = _looked_up(
        connection,
        numbers,
        """
        select o.oid, o.oprname, p.oid >= %s or p.provolatile = 'v'
          from pg_operator o join pg_proc p on p.oid = o.oprcode where o.oid = any(%s)
        """,
        BUILT_IN,
    )
    for number in sorted(numbers):
        name, odd = found[number]
        if odd or number >= BUILT_IN:
            raise Refused(f"operator {name} is not a built-in operator of PostgreSQL.")


def _types(connection: Connection, numbers: set[int]) -> None:
    found = _looked_up(
        connection,
        numbers,
        """
        select t.oid, coalesce(e.typname, t.typname), n.nspname, coalesce(e.oid, t.oid) >= %s,
               exists (select from pg_class c
                        where c.oid = coalesce(e.typrelid, t.typrelid) and c.relkind in ('r', 'p')
                          and c.relnamespace = %s::regnamespace)
          from pg_type t left join pg_type e on e.oid = t.typelem and t.typlen = -1
          join pg_namespace n on n.oid = coalesce(e.typnamespace, t.typnamespace) where t.oid = any(%s)
        """,
        BUILT_IN,
        SCHEMA,
    )
    for number in sorted(numbers):
        name, schema, later, row_of_ours = found[number]
        if not row_of_ours and (schema != "pg_catalog" or later or name not in TYPES):
            raise Refused(f"type {name} is not allowed.")


def _looked_up(
    connection: Connection, numbers: Iterable[int], query: LiteralString, *more: int | str
) -> dict[int, tuple[Any, ...]]:
    rows = connection.execute(query, [*more, list(set(numbers))]).fetchall()
    return {int(row[0]): row[1:] for row in rows}
