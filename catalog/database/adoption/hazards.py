"""Foreign objects attached to a catalog that a step of adoption would trigger, be blocked by or lose.

They are read from the system catalogs; `refusals.py` and `plan.py` draw the conclusions.
"""

from collections import defaultdict

import msgspec

from catalog.core.session import Connection
from catalog.database.sql_files import sql_file

ASIDE = "Rows that should be unique and are not, moved here by catalog db adopt --duplicates"
"""Comment by which a table of duplicates is recognized as one that adoption created."""


class Hazards(msgspec.Struct, frozen=True):
    """Foreign objects attached to the catalog's objects.

    Attributes:
        event_triggers: Event triggers that fire on statements of adoption, except those of extensions.
        unpublished_keys: Published tables whose rows have no key for it, so that they cannot be changed.
        fired: (table, DELETE, UPDATE or INSERT) → triggers and rules that fire beside the change.
        replacing: Table, INSERT, UPDATE or DELETE, and an enabled rule that does something else instead.
        suppressing: A sentence for each trigger that may suppress changes of rows, or change values back.
        referring: Table → foreign keys of other tables to it.
        unusable_duplicates_tables: Table → why the existing table for its duplicates cannot be used.
        lost: Properties of replaced views and functions that are not recreated, for people.
        constants: Populated materialized view of popularity constants → its columns.
    """

    event_triggers: tuple[str, ...]
    unpublished_keys: tuple[str, ...]
    fired: dict[tuple[str, str], list[str]]
    replacing: tuple[tuple[str, str, str], ...]
    suppressing: tuple[str, ...]
    referring: dict[str, list[str]]
    unusable_duplicates_tables: dict[str, str]
    lost: tuple[str, ...]
    constants: dict[str, list[str]]


def duplicates_table(table: str) -> str:
    """Return the name of the table that the duplicates of a table are moved to."""
    return f"{table}_duplicates"


def read_hazards(
    connection: Connection,
    *,
    tables: tuple[str, ...],
    views: tuple[str, ...],
    functions: tuple[str, ...],
    recreated: tuple[str, ...],
) -> Hazards:
    """Return all hazards of a database, without changing it.

    Args:
        connection: Connection to the database.
        tables: Tables of the catalog.
        views: Views that adoption replaces.
        functions: Functions that adoption replaces.
        recreated: Replaced views on which SELECT is granted again.
    """
    names = {
        "tables": list(tables),
        "views": list(views),
        "functions": list(functions),
        "recreated": list(recreated),
        "comment": ASIDE,
    }
    fired: dict[tuple[str, str], list[str]] = defaultdict(list)
    replacing = []
    for table, event, rule, is_instead in connection.execute(sql_file("adoption/rules"), names):
        if is_instead:
            replacing.append((table, event, rule))
        else:
            fired[table, event].append(f"rule {rule}")
    for table, event, trigger in connection.execute(sql_file("adoption/triggers"), names):
        fired[table, event].append(f"trigger {trigger}")
    referring: dict[str, list[str]] = defaultdict(list)
    for table, key in connection.execute(sql_file("adoption/referring"), names):
        referring[table].append(key)
    unusable = connection.execute(sql_file("adoption/unusable_duplicates_tables"), names).fetchall()
    return Hazards(
        event_triggers=tuple(n for (n,) in connection.execute(sql_file("adoption/event_triggers"))),
        unpublished_keys=tuple(
            n for (n,) in connection.execute(sql_file("adoption/unpublished_keys"), names)
        ),
        fired=dict(fired),
        replacing=tuple(replacing),
        suppressing=tuple(text for (text,) in connection.execute(sql_file("adoption/suppressing"), names)),
        referring=dict(referring),
        unusable_duplicates_tables=dict(unusable),
        lost=tuple(text for (text,) in connection.execute(sql_file("adoption/lost"), names)),
        constants=dict(connection.execute(sql_file("adoption/constants")).fetchall()),
    )
