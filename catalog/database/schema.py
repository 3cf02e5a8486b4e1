"""Schemas of the databases: upgrade one, or say how far it is. Migrations are SQL files run by Alembic.

That of the API database is for one machine and for tests: in production the API makes its tables itself.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec
import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, create_engine, make_url

from catalog.ingestion.errors import Fatal

Which = Literal["catalog", "api"]
_FOLDERS: dict[Which, tuple[str, str]] = {
    "catalog": ("versions", "catalog_version"),
    "api": ("api_versions", "catalog_api_version"),
}
_MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaStatus(msgspec.Struct, frozen=True):
    """current: revision of the database, None when it has none; head: the newest one here; pending: revisions to apply, in order."""

    current: str | None
    head: str
    pending: tuple[str, ...]


def _config(which: Which) -> Config:
    folder, version_table = _FOLDERS[which]
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("version_locations", str(_MIGRATIONS / folder))
    config.attributes["version_table"] = version_table
    config.set_main_option("path_separator", "os")
    return config


def _engine_url(dsn: str) -> str:
    url = make_url(dsn.replace("postgres://", "postgresql://", 1))
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def upgrade(dsn: str, which: Which = "catalog") -> SchemaStatus:
    """Apply what is pending; two at the same time take turns. dsn: a postgresql:// URL. Returns the status afterwards."""
    engine = create_engine(_engine_url(dsn))
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("select pg_advisory_lock(hashtext('catalog schema upgrade'))")
            connection.commit()
            config = _config(which)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            return _status(connection, which)
    finally:
        engine.dispose()


def status(dsn: str, which: Which = "catalog") -> SchemaStatus:
    """How far the database is. Raises sqlalchemy's OperationalError when it cannot be reached."""
    engine = create_engine(_engine_url(dsn))
    try:
        with engine.connect() as connection:
            return _status(connection, which)
    finally:
        engine.dispose()


def require(connection: psycopg.Connection[Any], which: Which = "catalog") -> None:
    """Look whether the database has the schema that this release needs, or a newer one: migrations only add.

    One small query, so it may be asked wherever work begins. Ends no transaction that is open.

    Raises:
        Fatal: The schema is older, or there is none; says what to do.
    """
    folder, table = _FOLDERS[which]
    needed = max(file.stem.partition("_")[0] for file in (_MIGRATIONS / folder).glob("[0-9]*.py"))
    exists = connection.execute("select to_regclass(%s)", [table]).fetchone()
    found = None
    if exists and exists[0]:
        query = sql.SQL("select max(version_num) from {}").format(sql.Identifier(table))
        found = (connection.execute(query).fetchone() or [None])[0]
    if found is None or found < needed:
        is_at = f"is at revision {found}" if found else "has no revision"
        raise Fatal(
            f"the schema of the {which} database {is_at}; this release needs {needed}. Upgrade it with `catalog db upgrade`, "
            "then clear this task, or repeat the command."
        )


def _status(connection: Connection, which: Which) -> SchemaStatus:
    scripts = ScriptDirectory.from_config(_config(which))
    current = MigrationContext.configure(
        connection, opts={"version_table": _FOLDERS[which][1]}
    ).get_current_revision()
    head = scripts.get_current_head() or ""
    pending = tuple(reversed([s.revision for s in scripts.iterate_revisions(head, current or "base")]))
    return SchemaStatus(current, head, pending)
