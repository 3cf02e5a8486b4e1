"""The schema revision of a database, read without Alembic, whose import takes longer than a short task."""

import re
from pathlib import Path
from typing import Literal

from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import value
from catalog.core.session import Connection

Which = Literal["catalog", "api"]
FOLDERS: dict[Which, tuple[str, str]] = {
    "catalog": ("versions", "catalog_version"),
    "api": ("api_versions", "catalog_api_version"),
}
MIGRATIONS = Path(__file__).parent / "migrations"
OLDER = "it may be a catalog of an older generation. `catalog db adopt --check` describes it."
_REVISION = re.compile(r"[0-9]{4}\Z")


def require(connection: Connection, which: Which = "catalog") -> None:
    """Check that a database has the schema that this release needs, or a newer one.

    A newer schema is compatible, because migrations only add. Every task that opens the database calls this;
    it is one small query. A transaction that is open stays open.

    Args:
        connection: Connection to the database.
        which: Whose schema it is.

    Raises:
        Fatal: The schema is older or missing.
    """
    folder, _ = FOLDERS[which]
    needed = max(file.stem.partition("_")[0] for file in (MIGRATIONS / folder).glob("[0-9]*.py"))
    current = current_revision(connection, which)
    if current is None and which == "catalog" and (table := media_table(connection)):
        raise Fatal(f"the database has a table {table} but no revision: {OLDER}")
    if current is None or current < needed:
        is_at = f"is at revision {current}" if current else "has no revision"
        raise Fatal(
            f"the schema of the {which} database {is_at}; this release needs {needed}. Upgrade it with "
            "`catalog db upgrade`, then clear this task, or repeat the command."
        )


def current_revision(connection: Connection, which: Which) -> str | None:
    """Return the revision of a database, or None.

    Args:
        connection: Connection to the database.
        which: Whose schema it is.

    Raises:
        Fatal: The version table holds something else than one revision of this package.
    """
    _, table = FOLDERS[which]
    if not value(connection, "select to_regclass(%s)", [table]):
        return None
    rows = connection.execute(sql.SQL("select version_num from {}").format(sql.Identifier(table))).fetchall()
    if len(rows) > 1 or (rows and not _REVISION.match(rows[0][0])):
        shown = ", ".join(str(row[0]) for row in rows)
        raise Fatal(
            f"table {table} of the {which} database holds revision {shown}, which this package does not have."
        )
    return rows[0][0] if rows else None


def media_table(connection: Connection) -> str | None:
    """Return the name of a media table, or None if there is none."""
    query = "select coalesce(to_regclass('public.image'), to_regclass('public.audio'))::text"
    found: str | None = value(connection, query)
    return found
