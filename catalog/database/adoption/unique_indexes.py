"""Plans unique indexes, and the moves of duplicates that precede them."""

from catalog.database.adoption.draft import Draft
from catalog.database.adoption.duplicates import Duplicates
from catalog.database.adoption.hazards import duplicates_table
from catalog.database.adoption.inventory import MEDIA, METRICS
from catalog.database.adoption.rows import LONGEST_ENTRY
from catalog.database.adoption.steps import BESIDE_WRITERS, ROWS, SCAN, SORT, Lock, Step
from catalog.database.adoption.uniqueness import UNIQUE, URL, column_of


def plan_unique_indexes(draft: Draft, table: str, *, move_duplicates: bool) -> None:
    """Plan the unique indexes that a table lacks.

    Args:
        draft: Plan to extend.
        table: Name of the table, which may be missing.
        move_duplicates: Whether to move older duplicates to other tables instead of refusing them.
    """
    inventory = draft.inventory
    columns = inventory.columns.get(table)
    if not inventory.has(table) or not columns:
        return
    missing = [
        (name, keys)
        for name, keys in UNIQUE[table]
        if inventory.lacks_unique(table, keys) and all(column_of(key) in columns for key in keys)
    ]
    _plan_duplicates(draft, table, [keys for _, keys in missing], move=move_duplicates)
    for name, keys in missing:
        drop = _free_name(draft, table, name, keys)
        rows, size = draft.counts.rows.get(table, 0), inventory.relations[table].bytes
        shown = ", ".join(keys)
        create = f"create unique index concurrently {name} on public.{table} ({shown})"
        draft.steps.append(
            Step(
                f"make {shown} unique in {table}, beside readers and writers",
                "index",
                (*drop, create),
                (Lock(table, BESIDE_WRITERS, 2 * size / SCAN + rows / SORT),),
                table,
                rows=rows,
            )
        )
        draft.add_pin(table, name, keys)


def _free_name(draft: Draft, table: str, name: str, keys: tuple[str, ...]) -> list[str]:
    """Return statements that drop an invalid index of a killed run; refuse another object of that name."""
    if not draft.inventory.has(name):
        return []
    if any(i.name == name and not i.valid for i in draft.inventory.indexes.get(table, [])):
        return [f"drop index concurrently public.{name}"]
    draft.obstacles.append(
        f"{name} exists, but is not a unique index of {table} ({', '.join(keys)}) that ON CONFLICT can use: "
        f"rename it (alter index {name} rename to …), or drop it."
    )
    return []


def _plan_duplicates(draft: Draft, table: str, missing: list[tuple[str, ...]], *, move: bool) -> None:
    duplicates = [d for d in draft.counts.duplicates if d.table == table and d.keys in missing and d.rows]
    if shared := draft.counts.shared.get(table):
        draft.obstacles.append(
            f"{table}: different records share {shared:,} identifier{'s' * (shared > 1)}, so none is a copy: "
            "give all but one of each a new identifier with gen_random_uuid()."
        )
    if rows := draft.counts.too_long.get(table):
        draft.obstacles.append(
            f"{table}: {rows:,} row{'s have' if rows > 1 else ' has'} a url that is too long for an index: "
            f"shorten the url, or delete the rows, where pg_column_size(url) > {LONGEST_ENTRY}."
        )
    if not duplicates:
        return
    if table in METRICS or not move:
        draft.obstacles += [_refusal(found) for found in duplicates]
        return
    to_deleted = table in MEDIA and URL in {found.keys for found in duplicates}
    _refuse_hazards(draft, table, to_deleted=to_deleted)
    destination = duplicates_table(table)
    if to_deleted:
        destination += f"; other records with the URL of one that stays to deleted_{table}"
    shown = " or the same ".join(", ".join(found.keys) for found in duplicates)
    rows = sum(found.rows for found in duplicates)
    draft.steps.append(
        Step(
            f"move older rows with the same {shown}, at most {rows:,}, from {table} to {destination}",
            "duplicates",
            ("delete … returning *, and insert what it returns",),
            (Lock(table, ROWS, rows / SORT),),
            table,
            keys=tuple(found.keys for found in duplicates),
            rows=rows,
        )
    )


def _refusal(duplicates: Duplicates) -> str:
    remedy = (
        "delete the wrong rows"
        if duplicates.table in METRICS
        else "check them; --duplicates newest keeps the newest of each and moves the others to another table"
    )
    return (
        f"{duplicates.table}: {duplicates.rows:,} duplicate row{'s have' if duplicates.rows > 1 else ' has'} "
        f"the same {', '.join(duplicates.keys)}, in {duplicates.groups:,} "
        f"group{'s' * (duplicates.groups > 1)}, such as {'; '.join(duplicates.examples)}: {remedy}."
    )


def _refuse_hazards(draft: Draft, table: str, *, to_deleted: bool) -> None:
    """Refuse foreign objects that would change other rows, or block the move of duplicates."""
    hazards = draft.inventory.hazards
    draft.obstacles += [
        f"foreign key {key} refers to {table}, and a move of duplicates would fail, or change or delete rows "
        "that refer to them: drop the foreign key, adopt, then create it again."
        for key in hazards.referring.get(table, ())
    ]
    draft.refuse_fired(table, "DELETE", "duplicates are moved out of it")
    if to_deleted:
        draft.refuse_fired(f"deleted_{table}", "INSERT", "duplicates are moved to it")
    if reason := hazards.unusable_duplicates_tables.get(table):
        name = duplicates_table(table)
        draft.obstacles.append(
            f"table {name} {reason}; duplicates are moved to a table of that name: rename it "
            f"(alter table {name} rename to …)."
        )
