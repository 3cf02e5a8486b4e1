"""Schemas of the databases: upgrade one, or say how far it is. Migrations are SQL files run by Alembic.

That of the API database is for one machine and for tests: in production the API makes its tables itself.
Migrations only add, so a release works with a schema that is newer than its own.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec
import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from catalog.core.conninfo import conninfo
from catalog.core.errors import Fatal
from catalog.core.session import Connection, settle
from catalog.database import locks
from catalog.database.revision import FOLDERS, MIGRATIONS, OLDER, Which, current_revision, media_table

log = logging.getLogger(__name__)


class SchemaStatus(msgspec.Struct, frozen=True):
    """How far a database is.

    Attributes:
        current: Its revision; None when it has none.
        head: The newest revision of this package.
        pending: Revisions to apply, in order.
        locks: Pending revision → table → the strongest lock that it takes there, and for how long.
        applied: Revisions that an upgrade has just applied.
        before: The revision before that upgrade.
    """

    current: str | None
    head: str
    pending: tuple[str, ...]
    locks: Mapping[str, Mapping[str, str]] = {}
    applied: tuple[str, ...] = ()
    before: str | None = None

    @property
    def newer(self) -> bool:
        """Was the database upgraded by a later release? This one works with it as it is."""
        return self.current is not None and self.current > self.head

    def __str__(self) -> str:
        if self.newer:
            return f"revision {self.current}, newer than this release's {self.head}, which works with it as it is"
        return f"revision {self.current or 'none'}, newest {self.head}, pending: {', '.join(self.pending) or 'nothing'}"


def upgrade(
    dsn: str,
    which: Which = "catalog",
    *,
    say: Callable[[str], None] = log.info,
    patience: float = locks.PATIENCE,
) -> SchemaStatus:
    """Apply pending migrations beside running work. Two upgrades at once take turns.

    Each migration is one transaction. What was applied stays when a later one fails.

    Args:
        dsn: Address of the database.
        which: Whose schema it is.
        say: Told whom a migration waits for.
        patience: Seconds after which no further attempt is made to get a lock.

    Returns:
        The status afterwards; of a newer schema, which is left as it is, too.

    Raises:
        Fatal: A lock was not to be had, or the revision is none of ours.
    """
    with _engine(dsn) as engine, engine.connect() as connection:
        ours: Connection = connection.connection.driver_connection  # type: ignore[assignment]
        settle(ours)
        locks.give_up_soon(ours)
        ours.commit()
        config = _config(which)
        config.attributes["connection"] = connection

        def back_to_the_start() -> None:
            """Roll back what SQLAlchemy has begun, and what we have."""
            connection.rollback()
            ours.rollback()

        # The table whose lock was not to be had. It is locked first, because only the first one is waited for.
        occupied: set[str] = set()

        def migrate(revision: str, stated: Mapping[str, str]) -> None:
            """Apply one migration in one transaction, which begins with the locks that it states."""
            modes = {
                table: stated[table].partition(",")[0]
                for table in sorted(stated, key=lambda t: t not in occupied)
            }
            with connection.begin():
                try:
                    locks.lock_tables(ours, modes)
                except locks.Occupied as error:
                    occupied.clear()
                    occupied.add(error.table)
                    raise
                command.upgrade(config, revision)

        def work() -> SchemaStatus:
            back_to_the_start()
            locks.lock_schema(ours)
            ours.commit()
            try:
                if (before := _status(ours, which)).pending:
                    _require_rights(ours)
                    if which == "catalog":
                        _refuse_an_older_catalog(ours, before)
                    ours.commit()
                    for revision in before.pending:
                        migrate(revision, before.locks.get(revision, {}))
                return msgspec.structs.replace(
                    _status(ours, which), applied=before.pending, before=before.current
                )
            finally:
                back_to_the_start()
                locks.unlock_schema(ours)
                ours.commit()

        return locks.attempts(
            lambda: psycopg.connect(conninfo(dsn)),
            ours.info.backend_pid,
            work,
            what=f"the upgrade of the {which} database",
            say=say,
            patience=patience,
        )


def _refuse_an_older_catalog(connection: Connection, found: SchemaStatus) -> None:
    """Refuse media tables without a revision, on which the first migration would fail half-way."""
    if found.current is None and (table := media_table(connection)):
        raise Fatal(f"there is a table {table}, and no revision: {OLDER}")


def is_older_catalog(dsn: str) -> bool:
    """Return whether a database without a revision has media tables."""
    with psycopg.connect(conninfo(dsn)) as connection:
        settle(connection)
        return media_table(connection) is not None


def status(dsn: str, which: Which = "catalog") -> SchemaStatus:
    """How far the database is.

    Raises:
        psycopg.OperationalError: It cannot be reached, or somebody locks its version table.
        Fatal: The revision is none of ours.
    """
    with psycopg.connect(conninfo(dsn)) as connection:
        settle(connection)
        locks.give_up_soon(connection)
        return _status(connection, which)


def _require_rights(connection: Connection) -> None:
    """Raise Fatal when what migrations make would go to another schema than `public`, or nowhere."""
    query = "select current_user, has_schema_privilege('public', 'USAGE') and has_schema_privilege('public', 'CREATE')"
    role, granted = connection.execute(query).fetchone() or ("", False)
    if not granted:
        raise Fatal(
            f"role {role} may not make anything in the schema public; as its owner: "
            f"grant usage, create on schema public to {role};"
        )


def _status(connection: Connection, which: Which) -> SchemaStatus:
    scripts = ScriptDirectory.from_config(_config(which))
    current, head = current_revision(connection, which), scripts.get_current_head() or ""
    if current is not None and current > head:
        return SchemaStatus(current, head, ())
    pending = list(reversed([*scripts.iterate_revisions(head, current or "base")]))
    return SchemaStatus(
        current,
        head,
        tuple(script.revision for script in pending),
        {script.revision: script.module.LOCKS for script in pending if script.module.LOCKS},
    )


def _config(which: Which) -> Config:
    folder, version_table = FOLDERS[which]
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("version_locations", str(MIGRATIONS / folder))
    config.attributes["version_table"] = version_table
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _engine(dsn: str) -> Iterator[Engine]:
    """What Alembic works with; libpq reads the address, as everywhere else."""
    address = conninfo(dsn)
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(address), poolclass=NullPool
    )
    try:
        yield engine
    finally:
        engine.dispose()
