"""A trial of an update on a few rows, to find out whether a trigger of an adopted table changes them back.

The same statement updates the rows and a copy of them, which has no triggers. Its transaction is rolled back.
"""

import logging
from typing import LiteralString

from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.core.sql_files import trusted
from catalog.database.statements import Update

log = logging.getLogger(__name__)
_ROWS = 100
_STAMP = "updated_on"  # the triggers of many tables set it
_STATEMENTS: tuple[LiteralString, ...] = (
    """
    create temp table trial_old on commit drop as
    select {table}.* from {table} join {rows} on {table}.identifier = row_identifier
     where row_id = any({tried}) for no key update of {table} skip locked
    """,
    "create temp table trial_set on commit drop as table trial_old",
    "update trial_set as {table} set {set}",
    "update {table} set {set} where identifier in (select identifier from trial_old)",
)


def changed_columns(update: Update) -> list[str]:
    """Return the columns that an update is about; without the stamp, which many triggers set."""
    return [name for name in update.columns if name != _STAMP]


def require_effect(
    connection: Connection, update: Update, names: str, rows: sql.Composable, total: int
) -> None:
    """Check that an update has an effect, if the table has triggers that may change its values back.

    Args:
        connection: Connection to the catalog database, in a transaction that is rolled back, and that sets
            how long the statements may take and wait.
        update: The update.
        names: The triggers, as `suppressors` names them.
        rows: The table of the selected rows.
        total: Their number.

    Raises:
        Fatal: Triggers change the values of all tried rows back.
    """
    columns = changed_columns(update)
    parts: dict[str, sql.Composable] = {
        "table": sql.Identifier(update.table),
        "rows": rows,
        "tried": sql.Literal(sorted({1 + n * total // _ROWS for n in range(_ROWS)})),
        "set": trusted(update.assignments),
        "kept": sql.SQL(" or ").join(
            sql.SQL("(now.{0} is not distinct from old.{0} and wanted.{0} is distinct from old.{0})").format(
                sql.Identifier(name)
            )
            for name in columns
        ),
    }
    for statement in _STATEMENTS:
        connection.execute(sql.SQL(statement).format(**parts))
    [(tried, kept)] = connection.execute(
        sql.SQL(
            "select count(*), count(*) filter (where {kept}) from trial_old old"
            " join trial_set wanted using (identifier) join {table} now using (identifier)"
        ).format(**parts)
    ).fetchall()
    if not kept:
        return
    found = (
        f"{kept:,} of {tried:,} rows in a trial keep old values of {', '.join(columns)}, because {names} "
        "changes them back."
    )
    if kept == tried:
        raise Fatal(f"{found} Nothing is updated. Disable it, then clear this task.")
    log.warning("%s The update goes on, and counts such rows as updated.", found)
