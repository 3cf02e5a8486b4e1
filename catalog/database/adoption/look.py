"""The check of a database that may be an older catalog: what adoption would do, and what prevents it."""

import re
from collections.abc import Callable
from typing import Literal

import msgspec
import psycopg

from catalog.core.session import Connection, settle
from catalog.database import locks
from catalog.database.adoption import first_revision
from catalog.database.adoption.generation import Generation, generation
from catalog.database.adoption.hazards import aside_name
from catalog.database.adoption.inventory import (
    DELETED,
    MEDIA,
    METRICS,
    REPLACED_FUNCTIONS,
    REPLACED_VIEWS,
    TABLES,
    Inventory,
    Relation,
    bare,
    take,
)
from catalog.database.adoption.plan import Plan
from catalog.database.adoption.refusals import unreadable
from catalog.database.adoption.rows import Counts, Odd, count, odd
from catalog.database.adoption.steps import Step
from catalog.database.adoption.uniqueness import UNIQUE

_LEFT_BY_WORK = (
    (
        re.compile(r"load_(image|audio)_\w+"),
        "loading table of the older catalog; drop it when no load of it runs",
    ),
    (
        re.compile(r"\w+_rows_to_update"),
        "rows that a batched update of the older catalog selected; drop it when that is done",
    ),
    (re.compile(r"old_(image|audio)"), "a legacy copy"),
)


class Object(msgspec.Struct, frozen=True):
    """Something that is there. becomes: what adoption makes of it."""

    name: str
    kind: str
    rows: int
    bytes: int
    becomes: str


class Look(msgspec.Struct):
    """What was seen.

    Attributes:
        state: older: a catalog that can be adopted, unless something is refused. ours: it has a revision.
            none: no media tables.
        generation: Of an older one.
        objects: Tables, views, functions of the older catalog.
        steps: What adoption would run, in order.
        refused: Why it would not begin; one sentence each.
        notes: What would stay as it is although ours is different.
        left: What is neither the older catalog's nor ours; it is not touched.
        lost: What replaced views and functions have that is not made again: grants, comments, triggers,
            options.
        odd: Values that stay as they are, and that our operations are made for.
        revision: Of one that is ours.
    """

    state: Literal["older", "ours", "none"]
    generation: Generation | None = None
    objects: list[Object] = []
    steps: list[Step] = []
    refused: list[str] = []
    notes: list[str] = []
    left: list[str] = []
    odd: list[Odd] = []
    revision: str | None = None
    lost: list[str] = []


def look(
    connection: Connection,
    *,
    move_duplicates: bool = False,
    notify: Callable[[str], None] = lambda _: None,
    max_wait: float = locks.MAX_WAIT,
) -> Look:
    """Look at a database; nothing is changed.

    Reads whole tables only where a unique index is missing (for duplicates), and those of audio; otherwise
    system catalogs and a sample.

    Args:
        connection: In autocommit.
        move_duplicates: Plan to move older duplicates aside instead of refusing them.
        notify: Told which table is read as a whole, and whom a look waits for.
        max_wait: Seconds after which no further attempt is made to get a lock.

    Raises:
        Fatal: Somebody holds a table against readers for that long.
    """
    settle(connection)
    locks.limit_lock_wait(connection)
    return locks.retry_while_locked(
        lambda: psycopg.connect(
            connection.info.dsn, password=connection.info.password or None, autocommit=True
        ),
        connection.info.backend_pid,
        lambda: _look(connection, move_duplicates, notify),
        what="the look",
        notify=notify,
        max_wait=max_wait,
    )


def _look(connection: Connection, move_duplicates: bool, notify: Callable[[str], None]) -> Look:
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        connection.execute("set local work_mem = '256MB'")
        there = take(connection)
        if there.revision:
            return Look("ours", revision=there.revision)
        if not any(there.has(media) for media in MEDIA):
            return Look("none", left=_left(there))
        in_the_way = unreadable(there)
        counts = Counts() if in_the_way else count(connection, there, notify)
        plan = Plan(there, counts, move_duplicates=move_duplicates)
        return Look(
            "older",
            generation(there),
            _objects(there, counts),
            plan.steps,
            plan.refused,
            plan.notes,
            _left(there),
            [] if in_the_way else odd(connection, there, counts.rows),
            lost=list(there.hazards.lost),
        )


def _objects(there: Inventory, counts: Counts) -> list[Object]:
    found = []
    for name in (*TABLES, *REPLACED_VIEWS):
        if relation := there.relations.get(name):
            rows = counts.rows.get(name, max(0, relation.rows))
            found.append(Object(name, relation.kind, rows, relation.bytes, _becomes(relation)))
    for name in REPLACED_FUNCTIONS:
        found += [
            Object(f"{name}({f.arguments})", "function", 0, 0, "replaced")
            for f in there.functions
            if f.name == name
        ]
    return found


def _becomes(relation: Relation) -> str:
    if relation.name in TABLES:
        return "kept"
    return "dropped" if relation.name in ("image_view", "audio_view") else "replaced by a view"


def _left(there: Inventory) -> list[str]:
    """Everything else, named."""
    ours = {
        *TABLES,
        *REPLACED_VIEWS,
        "catalog_version",
        "catalog_version_pkc",
        *map(aside_name, (*MEDIA, *DELETED)),
    }
    indexes = {i.name for found in there.indexes.values() for i in found}
    needed = {
        i.name for table, found in there.indexes.items() for i in found if _is_needed(table, i.keys, i.unique)
    }
    left = []
    for relation in there.relations.values():
        if relation.name in ours or relation.name in needed:
            continue
        if relation.kind == "index" and relation.name not in indexes:
            continue  # of a table that is listed itself
        why = next(
            (text for pattern, text in _LEFT_BY_WORK if pattern.fullmatch(relation.name)), "not the catalog's"
        )
        left.append(f"{relation.kind} {relation.name}: {why}")
    left += [
        f"column {table}.{name}: not the catalog's"
        for table in TABLES
        for name in there.columns.get(table, {})
        if name not in first_revision.columns(table)
    ]
    left += [
        f"function {f.name}({f.arguments}): not the catalog's"
        for f in there.functions
        if f.name not in REPLACED_FUNCTIONS
    ]
    left += [f"type {name}: not the catalog's" for name in there.types]
    left += [f"{text}: stays" for text in there.attached]
    left += [f"{text}: stays" for text in there.schemas]
    left += [f"extension {name}: stays" for name in there.extensions]
    left += [
        f"metric of {provider} in {table}: stays"
        for table in METRICS
        for provider in there.providers.get(table, [])
        if provider not in _our_providers(table)
    ]
    return left


def _is_needed(table: str, keys: tuple[str, ...], unique: bool) -> bool:
    return unique and any(sorted(keys) == sorted(map(bare, wanted)) for _, wanted in UNIQUE[table])


def _our_providers(table: str) -> set[str]:
    text = next(s.text for s in first_revision.statements() if s.kind == "rows" and s.table == table)
    return set(re.findall(r"\('(\w+)', '", text))
