"""Inspection of a database that may be an older catalog: what adoption would do, and what prevents it."""

from collections.abc import Callable
from typing import Literal

import msgspec
import psycopg

from catalog.core.session import Connection, raise_memory, settle
from catalog.database import locks
from catalog.database.adoption.generation import Generation, generation
from catalog.database.adoption.inventory import (
    DROPPED_VIEWS,
    MEDIA,
    REPLACED_FUNCTIONS,
    REPLACED_VIEWS,
    TABLES,
    Inventory,
    Relation,
)
from catalog.database.adoption.plan import plan_adoption
from catalog.database.adoption.reading import read_inventory
from catalog.database.adoption.refusals import unreadable
from catalog.database.adoption.rows import Counts, Unexpected, count_rows, find_unexpected
from catalog.database.adoption.steps import Step
from catalog.database.adoption.unmanaged import unmanaged_objects


class Object(msgspec.Struct, frozen=True):
    """An object of an older catalog.

    Attributes:
        name: Name without the schema; of a function with the types of its arguments.
        kind: Kind, such as "materialized view".
        rows: Estimate of its rows.
        bytes: Size with indexes.
        outcome: What adoption does with it, for people.
    """

    name: str
    kind: str
    rows: int
    bytes: int
    outcome: str


class Inspection(msgspec.Struct):
    """Result of an inspection.

    Attributes:
        state: "older": a catalog that can be adopted if there is no obstacle. "current": it names a revision.
            "none": it has no media table.
        generation: Generation of an older catalog.
        objects: Tables, views and functions of an older catalog.
        steps: Steps of an adoption, in order.
        obstacles: A sentence for each obstacle to an adoption, with its remedy.
        notes: Differences from a current catalog that would remain.
        unmanaged: Objects that belong neither to an older nor to a current catalog, and are not changed.
        unexpected: Unexpected values, which are kept, and which the catalog's operations accept.
        revision: Revision of a current catalog.
        lost: Grants, comments, triggers and options of replaced views and functions that are not recreated.
    """

    state: Literal["older", "current", "none"]
    generation: Generation | None = None
    objects: list[Object] = []
    steps: list[Step] = []
    obstacles: list[str] = []
    notes: list[str] = []
    unmanaged: list[str] = []
    unexpected: list[Unexpected] = []
    revision: str | None = None
    lost: list[str] = []


def inspect(
    connection: Connection,
    *,
    move_duplicates: bool = False,
    notify: Callable[[str], None] = lambda _: None,
    max_wait: float = locks.MAX_WAIT,
) -> Inspection:
    """Inspect a database without changing it.

    Reads whole tables only to find duplicates where a unique index is missing, and those of audio; otherwise
    system catalogs and a sample.

    Args:
        connection: Connection to the database, in autocommit.
        move_duplicates: Whether to plan the move of older duplicates instead of refusing them.
        notify: Called with a sentence for each table that is read completely, and each session that the
            inspection waits for.
        max_wait: Seconds to wait for a lock.

    Raises:
        Fatal: Another session locks a table against readers for that long.
    """
    settle(connection)
    locks.limit_lock_wait(connection)
    return locks.retry_while_locked(
        lambda: psycopg.connect(
            connection.info.dsn, password=connection.info.password or None, autocommit=True
        ),
        connection.info.backend_pid,
        lambda: _inspect(connection, move_duplicates, notify),
        what="the inspection",
        notify=notify,
        max_wait=max_wait,
    )


def _inspect(connection: Connection, move_duplicates: bool, notify: Callable[[str], None]) -> Inspection:
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        raise_memory(connection, "work_mem", "256MB")
        inventory = read_inventory(connection)
        if inventory.revision:
            return Inspection("current", revision=inventory.revision)
        if not any(inventory.has(media) for media in MEDIA):
            return Inspection("none", unmanaged=unmanaged_objects(inventory))
        readable = not unreadable(inventory)
        counts = count_rows(connection, inventory, notify) if readable else Counts()
        plan = plan_adoption(inventory, counts, move_duplicates=move_duplicates)
        return Inspection(
            "older",
            generation(inventory),
            _objects(inventory, counts),
            plan.steps,
            plan.obstacles,
            plan.notes,
            unmanaged_objects(inventory),
            find_unexpected(connection, inventory, counts.rows) if readable else [],
            lost=list(inventory.hazards.lost),
        )


def _objects(inventory: Inventory, counts: Counts) -> list[Object]:
    objects = []
    for name in (*TABLES, *REPLACED_VIEWS):
        if relation := inventory.relations.get(name):
            rows = counts.rows.get(name, max(0, relation.rows))
            objects.append(Object(name, relation.kind, rows, relation.bytes, _outcome(relation)))
    for name in REPLACED_FUNCTIONS:
        objects += [
            Object(f"{name}({f.arguments})", "function", 0, 0, "replaced")
            for f in inventory.functions
            if f.name == name
        ]
    return objects


def _outcome(relation: Relation) -> str:
    if relation.name in TABLES:
        return "kept"
    return "dropped" if relation.name in DROPPED_VIEWS else "replaced by a view"
