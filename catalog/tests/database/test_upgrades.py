"""Upgrades during running work, of newer schemas, with declared locks and documented rights only."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

import psycopg
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.database import locks, schema
from catalog.database.revision import FOLDERS, require
from catalog.tests.conftest import database_of_its_own
from catalog.tests.database.test_schema import upgrade_to
from catalog.tests.values import present

pytestmark = pytest.mark.database
STRENGTH = ("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE")  # weaker ones stop no load


@pytest.fixture
def older(server):
    """A database of an earlier release, whose next migration locks the reports."""
    dsn = database_of_its_own(server, "template0")
    upgrade_to(dsn, "0003")
    return dsn


@contextmanager
def reader(dsn, name="a report") -> Iterator[psycopg.Connection]:
    """Keep a transaction open that has read the reports."""
    with psycopg.connect(dsn, application_name=name) as connection:
        connection.execute("select count(*) from ingestion_report")
        yield connection


def test_an_upgrade_does_not_block_others(older):
    """It reports which session it waits for, and later sessions do not queue behind it."""
    said: Queue[str] = Queue()
    ended: Queue[schema.SchemaStatus] = Queue()
    with reader(older) as holder:
        work = threading.Thread(target=lambda: ended.put(schema.upgrade(older, notify=said.put)), daemon=True)
        work.start()
        reported = said.get(timeout=60)
        assert f"process {holder.info.backend_pid} of " in reported
        assert "(a report)" in reported
        assert "select count(*) from ingestion_report" in reported
        with psycopg.connect(older) as another:
            for _ in range(3):  # between two attempts, or behind one that is soon given up
                another.execute("set statement_timeout = '20s'")
                another.execute("select count(*) from ingestion_report")
                another.commit()
        assert ended.empty()
        holder.rollback()
        assert ended.get(timeout=60).pending == ()
    work.join(60)


def test_an_upgrade_that_gets_no_lock(older):
    with (
        reader(older) as holder,
        pytest.raises(
            Fatal, match=rf"waited 0 s for process {holder.info.backend_pid} of .*end it: select pg_terminate"
        ),
    ):
        schema.upgrade(older, max_wait=0)
    assert schema.status(older).current == "0003"
    assert schema.upgrade(older).pending == ()


def test_no_session_that_waits_for_an_upgrade_is_terminated(older):
    """The upgrade and a session wait for each other, and PostgreSQL would end one of the two."""
    said: Queue[str] = Queue()
    ended: Queue[schema.SchemaStatus] = Queue()
    with psycopg.connect(older) as holder:
        holder.execute("lock table deleted_audio in row exclusive mode")
        work = threading.Thread(target=lambda: ended.put(schema.upgrade(older, notify=said.put)), daemon=True)
        work.start()
        while said.qsize() < 2:
            with holder.transaction(force_rollback=True):  # a savepoint: its lock goes with it
                holder.execute("select count(*) from ingestion_report")
        holder.rollback()
        assert ended.get(timeout=60).pending == ()
    work.join(60)


def test_the_original_error_is_reported(older):
    """A failed attempt is rolled back, so that it does not cause the next error."""
    with psycopg.connect(older) as holder:
        holder.execute("lock table catalog_version in access exclusive mode")
        with pytest.raises(Fatal, match=rf"waited 0 s for process {holder.info.backend_pid} of "):
            schema.upgrade(older, max_wait=0)


def test_two_upgrades_take_turns(older):
    ended: Queue[schema.SchemaStatus] = Queue()
    threads = [threading.Thread(target=lambda: ended.put(schema.upgrade(older))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [ended.get_nowait().pending for _ in threads] == [()] * 3


def test_another_upgrade_in_progress_is_named(older):
    with psycopg.connect(older, application_name="catalog db upgrade", autocommit=True) as other:
        other.execute("select pg_advisory_lock(hashtext('catalog schema upgrade'))")
        with pytest.raises(Fatal, match=r"for process \d+ of \w+ \(catalog db upgrade\)"):
            schema.upgrade(older, max_wait=0)


def test_a_lock_holder_whose_details_are_hidden(older, server):
    """A role without rights sees that a session holds the lock, but not its statement."""
    with psycopg.connect(older, autocommit=True) as connection:
        connection.execute("create role onlooker login password 'x'")
    seen_by = psycopg.conninfo.make_conninfo(older, user="onlooker", password="x")
    with reader(older) as holder, psycopg.connect(older) as waiting, psycopg.connect(seen_by) as onlooker:
        thread = threading.Thread(target=lambda: waiting.execute("lock table ingestion_report"), daemon=True)
        thread.start()
        found: list[locks.LockHolder] = []
        while not found:
            found = locks.lock_holders(onlooker, waiting.info.backend_pid)
            onlooker.rollback()
        assert [(h.pid, h.since, h.query) for h in found] == [(holder.info.backend_pid, None, "")]
        assert str(found[0]).startswith(f"process {holder.info.backend_pid} of ")
        holder.rollback()
        thread.join(60)


@pytest.mark.parametrize("which", ["catalog", "api"])
def test_a_newer_schema_is_left_as_it_is(server, which):
    dsn = database_of_its_own(server, "migrated" if which == "catalog" else "migrated_api")
    table = FOLDERS[which][1]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("update {} set version_num = '9998'").format(sql.Identifier(table)))
    for found in (schema.status(dsn, which), schema.upgrade(dsn, which), schema.status(dsn, which)):
        assert (found.current, found.pending, found.newer) == ("9998", (), True)
        assert "revision 9998, newer than this release's 00" in str(found)


@pytest.mark.parametrize("revisions", [["base"], ["00"], ["a1b2c3d4e5f6"], ["0001", "0002"]])
def test_a_foreign_revision_is_refused(dsn, catalog, revisions):
    catalog.execute("delete from catalog_version")
    for revision in revisions:
        catalog.execute("insert into catalog_version values (%s)", [revision])
    for ask in (schema.status, schema.upgrade, lambda _: require(catalog)):
        with pytest.raises(Fatal, match=r"which this package does not have"):
            ask(dsn)


REVISIONS = [
    (which, script.revision)
    for which in ("catalog", "api")
    for script in ScriptDirectory.from_config(schema._config(which)).walk_revisions()
]


@pytest.mark.parametrize(("which", "revision"), REVISIONS)
def test_the_locks_that_a_migration_states(server, which, revision):
    """A migration takes exactly the stated locks on tables and views that existed before."""
    dsn = database_of_its_own(server, "template0")
    script = ScriptDirectory.from_config(schema._config(which)).get_revision(revision)
    if script.down_revision:
        upgrade_to(dsn, script.down_revision, which)
    with schema._engine(dsn) as engine, engine.connect() as connection:
        ours = present(connection.connection.driver_connection)
        before = {
            row[0]: row[1]
            for row in ours.execute(
                "select oid, relname from pg_class "
                "where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm', 'S')"
            )
        }
        with Operations.context(MigrationContext.configure(connection)):
            script.module.upgrade()
        taken: dict[str, str] = {}
        for relation, mode in ours.execute(
            "select relation, mode from pg_locks where pid = pg_backend_pid() and locktype = 'relation'"
        ):
            words = "".join(" " + c if c.isupper() else c for c in mode.removesuffix("Lock")).strip().upper()
            if relation in before and words in STRENGTH:
                name = before[relation]
                taken[name] = max(taken.get(name, words), words, key=STRENGTH.index)
    stated = {table: text.partition(",")[0] for table, text in script.module.LOCKS.items()}
    assert taken == stated
    assert all(
        text.partition(", ")[2] in ("an instant", "as long as an index build")
        for text in script.module.LOCKS.values()
    )


def test_no_extension_is_needed(catalog, server):
    names = catalog.execute("select extname from pg_extension where extname <> 'plpgsql'").fetchall()
    assert names == []


@pytest.fixture
def granted(server):
    """A foreign database, and a role with exactly the rights in docs/running_in_production.md."""
    dsn = database_of_its_own(server, "template0")
    name = str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
    role, database = sql.Identifier(f"role_of_{name}"), sql.Identifier(name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in (
            "create role {role} login password 'granted'",
            "revoke all on database {database} from public",
            "revoke all on schema public from public",
            "grant connect, temporary on database {database} to {role}",
            "grant usage, create on schema public to {role}",
        ):
            connection.execute(sql.SQL(statement).format(role=role, database=database))
    return psycopg.conninfo.make_conninfo(dsn, user=f"role_of_{name}", password="granted")


@pytest.mark.parametrize("which", ["catalog", "api"])
def test_migrations_with_the_documented_rights(granted, which):
    assert schema.upgrade(granted, which).pending == ()
    assert schema.upgrade(granted, which).pending == ()
