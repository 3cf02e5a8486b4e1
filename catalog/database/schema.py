"""Upgrades and reports the schema of a database. Migrations are SQL files, run by Alembic.

The schema of the API database is for local stacks and tests: in production the API's own migrations create
its tables. Migrations only add, so that a release works with a newer schema than its own.

A migration is one transaction, which begins with the locks that its `LOCKS` declare. Indexes of large tables
are built before it, beside readers and writers: `INDEXES` maps the name of an index to its `create index
concurrently …`. An index on a column that the migration adds belongs in the next migration.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec
import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SQLAlchemyConnection
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from catalog.core.conninfo import conninfo
from catalog.core.errors import Fatal
from catalog.core.session import Connection, settle
from catalog.database import locks
from catalog.database.index_builds import build_concurrently, statements_for
from catalog.database.revision import FOLDERS, MIGRATIONS, OLDER, Which, current_revision, media_table

log = logging.getLogger(__name__)


class SchemaStatus(msgspec.Struct, frozen=True):
    """Revision of a database.

    Attributes:
        current: Its revision, or None.
        head: The newest revision of this package.
        pending: Revisions to apply, in order.
        locks: Pending revision → table → the strongest lock that it takes there, and for how long.
        indexes: Pending revision → name of an index → the statement that creates it.
        applied: Revisions that the upgrade has just applied.
        before: The revision before the upgrade.
    """

    current: str | None
    head: str
    pending: tuple[str, ...]
    locks: Mapping[str, Mapping[str, str]] = {}
    indexes: Mapping[str, Mapping[str, str]] = {}
    applied: tuple[str, ...] = ()
    before: str | None = None

    @property
    def newer(self) -> bool:
        """True if a later release has upgraded the database; this release works with it unchanged."""
        return self.current is not None and self.current > self.head

    def __str__(self) -> str:
        if self.newer:
            return (
                f"revision {self.current}, newer than this release's {self.head}, "
                "which works with it as it is"
            )
        pending = ", ".join(self.pending) or "nothing"
        return f"revision {self.current or 'none'}, newest {self.head}, pending: {pending}"


def upgrade(
    dsn: str,
    which: Which = "catalog",
    *,
    notify: Callable[[str], None] = log.info,
    max_wait: float = locks.MAX_WAIT,
) -> SchemaStatus:
    """Apply pending migrations beside running work. Concurrent upgrades wait for each other.

    Each migration is one transaction, after its indexes have been built. Applied migrations stay when a later
    one fails. A newer schema is left unchanged.

    Args:
        dsn: Address of the database.
        which: Whose schema it is.
        notify: Called with a sentence when a migration waits for a lock, and when it builds an index.
        max_wait: Seconds after which no further attempt is made to get a lock.

    Returns:
        The status after the upgrade.

    Raises:
        Fatal: A lock was not obtained, a privilege is missing, or the revision is unknown.
    """
    with _engine(dsn) as engine, engine.connect() as connection:
        work = _Upgrade(connection, dsn, which, notify, max_wait)
        return locks.retry_while_locked(
            lambda: psycopg.connect(conninfo(dsn)),
            work.session.info.backend_pid,
            work.run,
            what=f"the upgrade of the {which} database",
            notify=notify,
            max_wait=max_wait,
        )


class _Upgrade:
    """An upgrade of one database, in one session; see `upgrade`."""

    def __init__(
        self,
        connection: SQLAlchemyConnection,
        dsn: str,
        which: Which,
        notify: Callable[[str], None],
        max_wait: float,
    ) -> None:
        self._connection, self._dsn, self._which = connection, dsn, which
        self._notify, self._max_wait = notify, max_wait
        self.session: Connection = connection.connection.driver_connection  # type: ignore[assignment]
        settle(self.session)
        locks.limit_lock_wait(self.session)
        self.session.commit()
        self._config = _config(which)
        self._config.attributes["connection"] = connection
        # The table whose lock was not obtained. It is locked first, because only the first lock waits long.
        self._occupied = ""

    def run(self) -> SchemaStatus:
        """Apply the pending migrations; after a LockTimeout, the next call resumes."""
        self._roll_back()
        locks.lock_schema(self.session)
        self.session.commit()
        try:
            if (before := _status(self.session, self._which)).pending:
                _require_rights(self.session)
                if self._which == "catalog":
                    _refuse_an_older_catalog(self.session, before)
                self.session.commit()
                for revision in before.pending:
                    self._build_indexes(before.indexes.get(revision, {}))
                    self._migrate(revision, before.locks.get(revision, {}))
            after = _status(self.session, self._which)
            return msgspec.structs.replace(after, applied=before.pending, before=before.current)
        finally:
            self._roll_back()
            locks.unlock_schema(self.session)
            self.session.commit()

    def _roll_back(self) -> None:
        """Roll back SQLAlchemy's transaction and that of the session."""
        self._connection.rollback()
        self.session.rollback()

    def _build_indexes(self, indexes: Mapping[str, str]) -> None:
        """Build the indexes of a migration that are missing or invalid."""
        self.session.autocommit = True
        try:
            for name, create in indexes.items():
                if statements := statements_for(self.session, name, create):
                    self._notify(f"building the index {name}, beside readers and writers")
                    build_concurrently(
                        self.session,
                        lambda: psycopg.connect(conninfo(self._dsn), autocommit=True),
                        f"the index {name}",
                        statements,
                        notify=self._notify,
                        max_wait=self._max_wait,
                    )
        finally:
            self.session.autocommit = False
        locks.limit_lock_wait(self.session)
        self.session.commit()

    def _migrate(self, revision: str, stated: Mapping[str, str]) -> None:
        """Apply one migration in one transaction, which begins with the locks that it declares."""
        tables = sorted(stated, key=lambda table: table != self._occupied)
        with self._connection.begin():
            try:
                locks.lock_tables(self.session, {table: stated[table].partition(",")[0] for table in tables})
            except locks.LockTimeout as error:
                self._occupied = error.table
                raise
            command.upgrade(self._config, revision)


def _refuse_an_older_catalog(connection: Connection, before: SchemaStatus) -> None:
    """Refuse a database with media tables but no revision, where the first migration would fail half-way."""
    if before.current is None and (table := media_table(connection)):
        raise Fatal(f"the database has a table {table} but no revision: {OLDER}")


def is_older_catalog(dsn: str) -> bool:
    """Return whether a database without a revision has media tables."""
    with psycopg.connect(conninfo(dsn)) as connection:
        settle(connection)
        return media_table(connection) is not None


def status(dsn: str, which: Which = "catalog") -> SchemaStatus:
    """Return the revision of a database and the pending ones.

    Args:
        dsn: Address of the database.
        which: Whose schema it is.

    Raises:
        psycopg.OperationalError: The database cannot be reached, or its version table is locked.
        Fatal: The revision is unknown.
    """
    with psycopg.connect(conninfo(dsn)) as connection:
        settle(connection)
        locks.limit_lock_wait(connection)
        return _status(connection, which)


def _require_rights(connection: Connection) -> None:
    """Raise Fatal if the role cannot create objects in the schema `public`."""
    [(role, granted, encoding, read_only)] = connection.execute(
        "select current_user,"
        " has_schema_privilege('public', 'USAGE') and has_schema_privilege('public', 'CREATE'),"
        " current_setting('server_encoding'),"
        " pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool"
    ).fetchall()
    if encoding != "UTF8":
        raise Fatal(
            f"the encoding of the database is {encoding}, which cannot hold all texts: "
            "create a database with the encoding UTF8."
        )
    if read_only:
        raise Fatal(
            "the database is read-only (a standby, or default_transaction_read_only is on): connect to the "
            "primary, or turn default_transaction_read_only off."
        )
    if not granted:
        raise Fatal(
            f"role {role} may not create objects in the schema public; as its owner: "
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
        {script.revision: script.module.INDEXES for script in pending if hasattr(script.module, "INDEXES")},
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
    """Return an engine for Alembic; libpq parses the address, as for all other connections."""
    parsed = conninfo(dsn)
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(parsed), poolclass=NullPool
    )
    try:
        yield engine
    finally:
        engine.dispose()
