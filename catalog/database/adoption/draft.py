"""A plan that is being drafted: the steps so far, and the inventory as it will be after them."""

import copy
from collections.abc import Iterable

from psycopg import sql

from catalog.database.adoption.first_revision import Column
from catalog.database.adoption.inventory import ExistingColumn, Inventory
from catalog.database.adoption.rows import Counts
from catalog.database.adoption.steps import EXCLUSIVE, Lock, Step
from catalog.database.adoption.uniqueness import KEY


class Draft:
    """Steps and obstacles so far.

    The result of each step is entered in the inventory, so that the next steps are planned for the database
    as it will be then.

    Args:
        inventory: Inventory of the database; a copy is changed.
        counts: Facts about its rows.

    Attributes:
        inventory: Inventory after the steps.
        counts: Facts about the rows.
        steps: Steps, in order.
        obstacles: A sentence for each obstacle, with its remedy.
    """

    def __init__(self, inventory: Inventory, counts: Counts) -> None:
        self.inventory = copy.deepcopy(inventory)
        self.counts = counts
        self.steps: list[Step] = []
        self.obstacles: list[str] = []

    def add_step(self, title: str, statements: Iterable[str], locks: Iterable[Lock], table: str = "") -> None:
        """Add a step that is one transaction."""
        self.steps.append(Step(title, "transaction", tuple(statements), tuple(locks), table))

    def add_alteration(self, title: str, table: str, changes: Iterable[str]) -> None:
        """Add a step that alters a table.

        Args:
            title: What it changes, for people.
            table: Name of the table.
            changes: Actions of ALTER TABLE.
        """
        self.add_step(f"{table}: {title}", [alter_table(table, changes)], [Lock(table, EXCLUSIVE)], table)

    def add_pin(self, table: str, index: str, keys: tuple[str, ...]) -> None:
        """Enter that a new index, if it has an expression, keeps its columns from a change of type."""
        if keys == KEY:
            pinned = self.inventory.pinned
            pinned.setdefault((table, "foreign_identifier"), []).append(f"index {index}")

    def refuse_fired(self, table: str, event: str, reason: str) -> None:
        """Refuse triggers and rules of a table that a step would fire.

        Args:
            table: Name of the table.
            event: DELETE, UPDATE or INSERT.
            reason: Clause that says what the step does.
        """
        self.obstacles += [
            f"{trigger} of {table} fires on {event}, and {reason}: alter table {table} disable {trigger}, "
            "adopt, then enable it."
            for trigger in self.inventory.hazards.fired.get((table, event), ())
        ]


def alter_table(table: str, changes: Iterable[str]) -> str:
    """Return the statement that alters a table by several actions."""
    return f"alter table public.{table} {', '.join(changes)}"


def add_column(column: Column) -> str:
    """Return the action of ALTER TABLE that adds a column."""
    declared = column.declared_type if isinstance(column, ExistingColumn) else ""
    return f"add column {quoted(column.name)} {declared or column.sql_type}"


def planned(column: Column) -> ExistingColumn:
    """Return a column as it exists once a step has added it."""
    required = column.required and not column.name.startswith("deleted_")
    declared = column.declared_type if isinstance(column, ExistingColumn) else ""
    return ExistingColumn(column.name, column.type, column.width, required, declared_type=declared)


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return sql.Identifier(name).as_string(None)
