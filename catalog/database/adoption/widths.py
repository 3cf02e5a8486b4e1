"""Wider types for columns of limited length, where the change rewrites neither a table nor an index."""

import re

from catalog.core.columns import SIZES
from catalog.database.adoption import first_revision
from catalog.database.adoption.draft import planned, quoted
from catalog.database.adoption.first_revision import Column
from catalog.database.adoption.inventory import DELETED, ExistingColumn, Inventory


class Widths:
    """Widens columns, and collects those that keep their type.

    Args:
        inventory: Inventory of the database; widened columns are entered there.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._kept: dict[str, list[str]] = {}  # reason → columns

    def widen(self, table: str) -> list[str]:
        """Return the actions of ALTER TABLE that widen columns without a change of rows.

        A varchar becomes text, or gets the width of the first revision.
        """
        changes = []
        columns = self._inventory.columns.get(table, {})
        for name, column in columns.items():
            wanted = self._wanted(table, name)
            if wanted is None or not is_narrower(column, wanted):
                continue
            pins = self._inventory.pinned.get((table, name), [])
            if pins and not self._must_widen(table, column, pins):
                self._keep(table, column, pins)
                continue
            changes.append(f"alter column {quoted(name)} type {wanted.sql_type}")
            columns[name] = planned(wanted)
        return changes

    @property
    def notes(self) -> list[str]:
        """A sentence for each group of columns that keep their type."""
        return [
            f"{', '.join(columns)} keep{'s' if len(columns) == 1 else ''} {reason}"
            for reason, columns in self._kept.items()
        ]

    def _wanted(self, table: str, name: str) -> Column | None:
        """Return a column of the required type; of deleted media at least as wide as the media table's."""
        wanted = first_revision.columns(table).get(name)
        if table in DELETED and not name.startswith("deleted_"):
            media = self._media_columns(table).get(name)
            if media and (wanted is None or is_narrower(wanted, media)):
                return media
        return wanted

    def _must_widen(self, table: str, column: Column, pins: list[str]) -> bool:
        """Return whether to widen a column of deleted media, whose few rows are then indexed again."""
        media = self._media_columns(table).get(column.name) if table in DELETED else None
        return (
            media is not None and is_narrower(column, media) and all(pin.startswith("index ") for pin in pins)
        )

    def _media_columns(self, table: str) -> dict[str, ExistingColumn]:
        """Return the columns of the media table of deleted media; empty if it is missing."""
        return self._inventory.columns.get(table.removeprefix("deleted_"), {})

    def _keep(self, table: str, column: Column, pins: list[str]) -> None:
        limit = SIZES.get(column.name)
        if limit is not None and column.width is not None and column.width >= limit:
            consequence = f"Records have at most {limit:,} characters, so nothing is lost"
        else:
            consequence = "Records with a longer value are rejected when they are loaded, and listed"
        kinds = sorted({re.sub(r"\b(deleted_)?(image|audio)_", "…_", pin) for pin in pins})
        reason = (
            f"the type {column.sql_type} because of {', '.join(kinds)}, which would prevent the change, or "
            f"be rebuilt under a lock. {consequence}."
        )
        columns = self._kept.setdefault(reason, [])
        if (name := f"{table}.{column.name}") not in columns:
            columns.append(name)


def is_narrower(column: Column, wanted: Column) -> bool:
    """Return whether a column accepts only shorter texts than the wanted one."""
    if column.type.lstrip("_") != "varchar" or column.width is None:
        return False
    return wanted.width is None or column.width < wanted.width
