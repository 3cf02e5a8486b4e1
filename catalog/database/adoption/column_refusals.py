"""Obstacles to an adoption in the columns of the catalog's tables, each with its remedy."""

from catalog.database.adoption import first_revision
from catalog.database.adoption.first_revision import Column
from catalog.database.adoption.inventory import DELETED, MEDIA, METRICS, TABLES, ExistingColumn, Inventory

_FILLED = tuple(f"{table}.percentile" for table in METRICS)  # adoption sets a default
_TEXTS = ("varchar", "text")
_WIDER = {"varchar": _TEXTS, "_varchar": ("_varchar", "_text"), "int4": ("int4", "int8"), "text": _TEXTS}
"""Type of the first revision → types that a column may have instead."""


def column_refusals(inventory: Inventory) -> list[str]:
    """Return a sentence for each missing or unsuitable column of the catalog's tables, with its remedy."""
    refusals = []
    for table in TABLES:
        columns = inventory.columns.get(table)
        if columns is None:
            continue
        wanted = first_revision.columns(table)
        keys = (
            {"identifier", "provider", "foreign_identifier", "url"}
            if table in MEDIA + DELETED
            else {"provider", "metric"}
        )
        for name, column in wanted.items():
            if name not in columns:
                if column.required or name in keys:
                    refusals.append(
                        f"{table} has no column {name}, which every older catalog has: check the address of "
                        "the database, or add the column."
                    )
            else:
                refusals += _of_another_type(table, column, columns[name])
        if table in MEDIA + METRICS:
            refusals += [
                f"{table}.{name} is NOT NULL without a default, and no record has it: "
                f"alter table {table} alter {name} set default …, or drop not null."
                for name, column in columns.items()
                if name not in wanted and column.required and not column.has_default
            ]
    return refusals


def _of_another_type(table: str, wanted: Column, column: ExistingColumn) -> list[str]:
    """Refuse a column whose type or constraints do not fit those of the first revision."""
    name = f"{table}.{column.name}"
    alter = f"alter table {table} alter {column.name}"
    if column.generated:
        return [f"{name} is a generated column, which cannot be written: {alter} drop expression."]
    if column.domain or column.type not in _WIDER.get(wanted.type, (wanted.type,)):
        remedy = f"{alter} type {wanted.sql_type}, which rewrites the table"
        return [f"{name} is of type {column.sql_type}, not {wanted.sql_type}: {remedy}."]
    if (
        table in MEDIA + METRICS
        and column.required
        and not wanted.required
        and not column.has_default
        and name not in _FILLED
    ):
        return [f"{name} is NOT NULL, and not every record has a value: {alter} drop not null."]
    return []
