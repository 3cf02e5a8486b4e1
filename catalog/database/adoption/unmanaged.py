"""Objects of a database that belong neither to an older nor to a current catalog."""

import re

from catalog.database.adoption import first_revision
from catalog.database.adoption.hazards import duplicates_table
from catalog.database.adoption.inventory import (
    DELETED,
    MEDIA,
    METRICS,
    REPLACED_FUNCTIONS,
    REPLACED_VIEWS,
    TABLES,
    Index,
    Inventory,
    bare,
)
from catalog.database.adoption.uniqueness import UNIQUE

_LEFTOVERS = (
    (
        re.compile(r"load_(image|audio)_\w+"),
        "loading table of the older catalog; drop it when no load uses it",
    ),
    (
        re.compile(r"\w+_rows_to_update"),
        "rows that a batched update of the older catalog selected; drop it when the update is done",
    ),
    (re.compile(r"old_(image|audio)"), "a legacy copy"),
)


def unmanaged_objects(inventory: Inventory) -> list[str]:
    """Return a description of each object that adoption does not change, for people."""
    objects = _relations(inventory)
    objects += [
        f"column {table}.{name}: not the catalog's"
        for table in TABLES
        for name in inventory.columns.get(table, {})
        if name not in first_revision.columns(table)
    ]
    objects += [
        f"function {f.name}({f.arguments}): not the catalog's"
        for f in inventory.functions
        if f.name not in REPLACED_FUNCTIONS
    ]
    objects += [f"type {name}: not the catalog's" for name in inventory.types]
    objects += [f"{text}: kept" for text in inventory.attached]
    objects += [f"{text}: kept" for text in inventory.schemas]
    objects += [f"extension {name}: kept" for name in inventory.extensions]
    objects += [
        f"metric of {provider} in {table}: kept"
        for table in METRICS
        for provider in inventory.providers.get(table, [])
        if provider not in _providers(table)
    ]
    return objects


def _relations(inventory: Inventory) -> list[str]:
    managed = {
        *TABLES,
        *REPLACED_VIEWS,
        "catalog_version",
        "catalog_version_pkc",
        *map(duplicates_table, (*MEDIA, *DELETED)),
    }
    of_tables = {index.name: index for indexes in inventory.indexes.values() for index in indexes}
    managed |= {name for name, index in of_tables.items() if _is_required(index)}
    objects = []
    for relation in inventory.relations.values():
        if relation.name in managed:
            continue
        if relation.kind == "index" and relation.name not in of_tables:
            continue  # it belongs to a table that is listed itself
        texts = (text for pattern, text in _LEFTOVERS if pattern.fullmatch(relation.name))
        description = next(texts, "not the catalog's")
        objects.append(f"{relation.kind} {relation.name}: {description}")
    return objects


def _is_required(index: Index) -> bool:
    return index.unique and any(
        sorted(index.keys) == sorted(map(bare, wanted)) for _, wanted in UNIQUE[index.table]
    )


def _providers(table: str) -> set[str]:
    """Return the providers whose metrics the first revision inserts."""
    text = next(s.text for s in first_revision.statements() if s.kind == "rows" and s.table == table)
    return set(re.findall(r"\('(\w+)', '", text))
