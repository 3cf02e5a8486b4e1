"""Everything attached to a table, as data: to compare, to store as JSON, to recreate on another table."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.data_refresh.columns import public

Shape: TypeAlias = dict[str, dict[str, dict[str, Any]]]
"""Kind ("column", "index", "policy", …) → name → facts; plain JSON."""

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
"""Kinds that an exchange attaches to the new table as they are when it holds the lock; a change of them during a refresh is kept."""
_QUERY = Path(__file__).with_name("shape.sql").read_text(encoding="utf-8")
_SHOWN = 20  # differences in a message


def shape(api: Connection, table: str) -> Shape:
    """Everything attached to a table of the schema public.

    Args:
        api: To the API database.
        table: Its name.

    Returns:
        The table's shape; an empty one when there is no such table. What only rewrites the table or its
        indexes, or collects statistics, does not change it.
    """
    found: Shape = {}
    with qualified(api):
        rows = api.execute(sql.SQL(_QUERY).format(table=sql.Literal(public(table)))).fetchall()
    for kind, name, facts in sorted(rows, key=lambda row: row[:2]):
        found.setdefault(kind, {})[name] = facts
    return found


@contextmanager
def qualified(api: Connection) -> Iterator[None]:
    """A transaction in which the server writes every name with its schema."""
    with api.transaction():
        before = api.execute(
            "select current_setting('search_path'), set_config('search_path', '', true)"
        ).fetchone()
        yield
        api.execute("select set_config('search_path', %s, true)", [before[0] if before else "public"])


def differences(before: Shape, now: Shape) -> list[str]:
    """What has changed between two shapes of a table, in words; empty when nothing has."""
    if not now:
        return ["the table was dropped or renamed"] if before else []
    found = []
    for kind in sorted(before.keys() | now.keys()):
        old, new = before.get(kind, {}), now.get(kind, {})
        for name in sorted(old.keys() | new.keys()):
            what = f"{kind} {name}".strip()
            if name not in new:
                found.append(f"{what} was dropped")
            elif name not in old:
                found.append(f"{what} was added")
            elif old[name] != new[name]:
                found.append(f"{what} was changed ({_changes(old[name], new[name])})")
    return found


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{fact}: {_said(old.get(fact))} → {_said(new.get(fact))}"
        for fact in sorted(old.keys() | new.keys())
        if old.get(fact) != new.get(fact)
    )


def _said(value: Any) -> str:
    return "none" if value is None else str(value)[:200]


def early(shape: Shape) -> Shape:
    """Those kinds that a copy and its indexes are made after."""
    return {kind: named for kind, named in shape.items() if kind not in LATE}


def check_shape(
    api: Connection, tables: Iterable[str], expected: Mapping[str, Shape], *, locked: bool = False
) -> None:
    """Raise Fatal, with what differs, when a table is no longer of the shape that the refresh began with.

    Args:
        api: To the API database.
        tables: Names; those that `expected` does not have are not looked at.
        expected: Table → its shape when the refresh began.
        locked: Nobody can be changing the tables. Otherwise an index that is not valid, which somebody may
            just be creating or rebuilding, does not count.
    """
    found = []
    for table in tables:
        if table in expected:
            before, now = early(expected[table]), early(shape(api, table))
            if not locked:
                before, now = _without_invalid(before), _without_invalid(now)
            found += [f"{table}: {difference}" for difference in differences(before, now)]
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise Fatal(
            f"the API's tables were changed since the refresh began: {'; '.join(found[:_SHOWN])}{more}. Nothing was changed by the"
            " refresh, and the old tables are live. Trigger a new run."
        )


def _without_invalid(shape: Shape) -> Shape:
    valid = {name: facts for name, facts in shape.get("index", {}).items() if facts["valid"]}
    return {**shape, "index": valid}
