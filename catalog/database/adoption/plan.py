"""Plan of an adoption: the steps that turn a database into a current catalog, or the obstacles to it."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from catalog.database.adoption import first_revision
from catalog.database.adoption.draft import Draft, add_column, alter_table, planned, quoted
from catalog.database.adoption.first_revision import Column
from catalog.database.adoption.inventory import DELETED, MEDIA, METRICS, SET_KEY, Index, Inventory, bare
from catalog.database.adoption.refusals import of_another_kind, refusals
from catalog.database.adoption.replacement import plan_replacement
from catalog.database.adoption.rows import Counts
from catalog.database.adoption.steps import ROWS, SORT, Lock, Step
from catalog.database.adoption.unique_indexes import plan_unique_indexes
from catalog.database.adoption.uniqueness import KEY, UNIQUE
from catalog.database.adoption.widths import Widths, is_narrower


class Plan(NamedTuple):
    """Plan of an adoption.

    Attributes:
        steps: Steps, in order.
        obstacles: A sentence for each obstacle, with its remedy; if there is one, no step is run.
        notes: A sentence for each difference from a current catalog that remains, and its consequence.
    """

    steps: list[Step]
    obstacles: list[str]
    notes: list[str]


def plan_adoption(inventory: Inventory, counts: Counts, *, move_duplicates: bool = False) -> Plan:
    """Return the plan for a database.

    Args:
        inventory: Inventory of the database.
        counts: Facts about its rows.
        move_duplicates: Whether to move older duplicates to other tables instead of refusing them.
    """
    draft = Draft(inventory, counts)
    widths = Widths(draft.inventory)
    draft.obstacles += refusals(inventory)
    if of_another_kind(inventory):
        return Plan([], draft.obstacles, [])  # nothing is known about their columns and indexes
    media_tables = [media for media in MEDIA if inventory.has(media)]
    for media in media_tables:
        _add_columns(draft, media)
    for media in media_tables:
        if draft.inventory.has(f"deleted_{media}"):
            _alter_deleted(draft, widths, media)
        else:
            _create_deleted(draft, media)
    for table in (*DELETED, *MEDIA, *METRICS):
        plan_unique_indexes(draft, table, move_duplicates=move_duplicates)
    for table in ("audio", "deleted_audio"):
        _fill_sets(draft, table)
    plan_replacement(draft, widths)
    return Plan(draft.steps, draft.obstacles, [*widths.notes, *inventory.hazards.suppressing])


def _add_columns(draft: Draft, media: str) -> None:
    wanted, found = first_revision.columns(media), draft.inventory.columns.get(media, {})
    missing = [column for name, column in wanted.items() if name not in found and not column.required]
    if missing:
        draft.add_alteration(f"add {_names(missing)}", media, [add_column(column) for column in missing])
        found |= {column.name: planned(column) for column in missing}


def _create_deleted(draft: Draft, media: str) -> None:
    """Plan the creation of a table of deleted media."""
    table = f"deleted_{media}"
    columns = draft.inventory.columns[media]
    statements = [first_revision.statement("table", table)]
    statements += [s.text for s in first_revision.statements() if s.kind == "index" and s.table == table]
    generated = [column.name for column in columns.values() if column.generated]
    if generated:  # LIKE turns them into plain columns, which no deletion would fill
        statements.append(alter_table(table, [f"drop column {quoted(name)}" for name in generated]))
    draft.add_step(f"create {table}", statements, [Lock(media, "ACCESS SHARE")], table)
    draft.inventory.columns[table] = {
        column.name: planned(column)
        for column in (*columns.values(), *_own_columns(table).values())
        if column.name not in generated
    }
    draft.inventory.relations[table] = msgspec.structs.replace(
        draft.inventory.relations[media], name=table, rows=0, bytes=0, owned=True
    )
    draft.inventory.indexes[table] = [
        Index(name, table, unique=True, valid=True, keys=tuple(map(bare, keys)))
        for name, keys in UNIQUE[table]
    ]
    draft.add_pin(table, f"{table}_provider_fid_idx", KEY)


def _alter_deleted(draft: Draft, widths: Widths, media: str) -> None:
    """Plan the changes of a table of deleted media, so that it accepts each record of the media table."""
    table = f"deleted_{media}"
    existing, wanted, own = (
        draft.inventory.columns[table],
        draft.inventory.columns[media],
        _own_columns(table),
    )
    missing = [planned(c) for name, c in wanted.items() if name not in existing and not c.generated]
    missing += [planned(c) for name, c in own.items() if name not in existing and not c.required]
    nullable = []
    for name, column in existing.items():
        model = own.get(name) or wanted.get(name)
        if column.required and not column.has_default and not (model and model.required):
            nullable.append(name)
    widened = widths.widen(table)
    changes = [*widened, *(add_column(column) for column in missing)]
    changes += [f"alter column {quoted(name)} drop not null" for name in nullable]
    if changes:
        titles = [f"add {_names(missing)}"] if missing else []
        titles += [f"{', '.join(nullable)} may be NULL, as in {media}"] if nullable else []
        titles += [f"as wide as {media}"] if widened else []
        draft.add_alteration("; ".join(titles), table, changes)
        existing |= {column.name: column for column in missing}
        for name in nullable:
            existing[name] = msgspec.structs.replace(existing[name], required=False)
    draft.obstacles += [
        f"{table}.{name} is of type {column.sql_type}, narrower than {media}.{name}, and cannot be widened "
        f"because of {', '.join(draft.inventory.pinned.get((table, name), []))}: drop that, adopt, then "
        "create it again."
        for name, column in existing.items()
        if name in wanted and is_narrower(column, wanted[name])
    ]


def _fill_sets(draft: Draft, table: str) -> None:
    rows = draft.counts.unfilled.get(table, 0)
    if not rows:
        return
    draft.refuse_fired(table, "UPDATE", f"{SET_KEY} of its rows is filled")
    draft.steps.append(
        Step(
            f"fill {SET_KEY} of {rows:,} rows of {table} from audio_set ->> 'foreign_identifier'",
            "fill",
            ("update … where … is null, 10,000 rows at a time",),
            (Lock(table, ROWS, rows / SORT),),
            table,
            rows=rows,
        )
    )


def _own_columns(table: str) -> dict[str, Column]:
    """Return the columns of a table of deleted media that its media table lacks."""
    columns = first_revision.columns(table)
    return {name: column for name, column in columns.items() if name.startswith("deleted_")}


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(column.name for column in columns)
