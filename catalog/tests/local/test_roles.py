"""Roles of the local stack's server: one per database, without rights on the others."""

import tempfile
from pathlib import Path

import psycopg
import pytest

from catalog.local.postgres import Postgres
from catalog.local.stack import OWNERS, Stack

pytestmark = pytest.mark.database


@pytest.fixture(scope="module")
def owned(world_readable):
    server = Postgres(world_readable / "owned", "test", durable=False, owners=OWNERS)
    server.start(tuple(OWNERS))
    yield server
    server.stop()


@pytest.mark.parametrize("database", OWNERS)
def test_a_role_owns_its_database_and_nothing_else(owned, database):
    with psycopg.connect(owned.dsn(database), autocommit=True) as connection:
        about = """
            select rolname, rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls
              from pg_roles where rolname = current_user
        """
        assert connection.execute(about).fetchone() == (OWNERS[database], False)
        connection.execute("create table own (x int)")
        connection.execute("create temporary table passing (x int)")
        connection.execute("drop table own")
        allowed = """
            select datname from pg_database
             where datname = any(%s) and has_database_privilege(datname, 'CONNECT')
        """
        assert connection.execute(allowed, [list(OWNERS)]).fetchall() == [(database,)]
    for other in OWNERS.keys() - {database}:
        address = psycopg.conninfo.make_conninfo(owned.dsn(database), dbname=other)
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(address)


def test_databases_are_made_once(owned):
    owned._create(tuple(OWNERS))
    with psycopg.connect(owned.dsn("catalog")) as connection:
        assert connection.execute("select current_user").fetchone() == ("catalog",)


def test_an_older_stack_keeps_its_role():
    """Its databases belong to the superuser that made them."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder) / "state")
        made = stack.settings()
        assert stack.postgres(made).dsn("api").startswith("postgresql://api:")
        made.superuser = "catalog"
        assert stack.postgres(made).dsn("api").startswith("postgresql://catalog:")
        assert stack.postgres(made).dsn("postgres").startswith("postgresql://catalog:")
