"""Definition of a table with everything attached to it, as data: to compare, store and recreate."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.core.sql_files import read_sql
from catalog.core.wording import join_first
from catalog.data_refresh.tables.columns import qualified_name

# Facts about one object, as plain JSON: their names are those of shape.sql.
Facts: TypeAlias = dict[str, Any]
# Kind ("column", "index", "policy", …) → name → facts.
Shape: TypeAlias = dict[str, dict[str, Facts]]
# Kinds that an exchange reads when it holds the lock, and attaches to the new table as they are then. A
# change of them during a refresh is kept.
LATE = frozenset(
    (
        "owner",
        "row security",
        "replica identity",
        "cluster mark",
        "trigger",
        "rule",
        "policy",
        "publication",
        "grant",
        "comment on",
        "extension",
    )
)
_QUERY = read_sql(Path(__file__).with_name("shape.sql"))
_SHOWN = 20  # differences in a message


def shape(api: Connection, table: str) -> Shape:
    """Return the definition of a table of the schema `public`.

    Operations that only rewrite the table or its indexes, or collect statistics, do not change it.

    Args:
        api: Connection to the API database.
        table: Name of the table.

    Returns:
        Its definition; empty if the table does not exist.
    """
    definition: Shape = {}
    with qualified(api):
        rows = api.execute(sql.SQL(_QUERY).format(table=sql.Literal(qualified_name(table)))).fetchall()
    for kind, name, facts in sorted(rows, key=lambda row: row[:2]):
        definition.setdefault(kind, {})[name] = facts
    return definition


@contextmanager
def qualified(api: Connection) -> Iterator[None]:
    """Open a transaction in which the server qualifies every name with its schema."""
    with api.transaction():
        before = value(api, "select current_setting('search_path')")
        api.execute("select set_config('search_path', '', true)")
        yield
        api.execute("select set_config('search_path', %s, true)", [before])


def differences(before: Shape, now: Shape) -> list[str]:
    """Return the changes between two definitions of a table, as messages."""
    if not now:
        return ["the table was dropped or renamed"] if before else []
    messages = []
    for kind in sorted(before.keys() | now.keys()):
        old, new = before.get(kind, {}), now.get(kind, {})
        for name in sorted(old.keys() | new.keys()):
            what = f"{kind} {name}".strip()
            if name not in new:
                messages.append(f"{what} was dropped")
            elif name not in old:
                messages.append(f"{what} was added")
            elif old[name] != new[name]:
                messages.append(f"{what} was changed ({_changes(old[name], new[name])})")
    return messages


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{fact}: {_said(old.get(fact))} → {_said(new.get(fact))}"
        for fact in sorted(old.keys() | new.keys())
        if old.get(fact) != new.get(fact)
    )


def _said(value: Any) -> str:
    return "none" if value is None else str(value)[:200]


def early(shape: Shape) -> Shape:
    """Return the kinds on which the copy and its indexes are based."""
    return {kind: named for kind, named in shape.items() if kind not in LATE}


def check_shape(
    api: Connection, tables: Iterable[str], expected: Mapping[str, Shape], *, locked: bool = False
) -> None:
    """Check that tables have not been changed since the refresh began.

    Args:
        api: Connection to the API database.
        tables: Names of tables; those without an entry in `expected` are skipped.
        expected: Definition of each table when the refresh began.
        locked: The tables are locked. Otherwise invalid indexes are ignored, because somebody may be
            creating or rebuilding one.

    Raises:
        Fatal: A table has changed; names the differences.
    """
    changed = []
    for table in tables:
        if table in expected:
            before, now = early(expected[table]), early(shape(api, table))
            if not locked:
                before, now = _without_invalid(before), _without_invalid(now)
            changed += [f"{table}: {difference}" for difference in differences(before, now)]
    if changed:
        changes = join_first(changed, most=_SHOWN, separator="; ")
        raise Fatal(
            f"the API's tables were changed since the refresh began: {changes}. "
            "The refresh has changed nothing, and the old tables are live. Trigger a new run."
        )


def _without_invalid(shape: Shape) -> Shape:
    valid = {name: facts for name, facts in shape.get("index", {}).items() if facts["valid"]}
    return {**shape, "index": valid}
