"""Roles of the containers' PostgreSQL, on the test's own server: a new volume, and an earlier one."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from catalog.containers import bootstrap, secrets
from catalog.core.errors import Fatal
from catalog.database import schema
from catalog.local.demote import demotion, make_folders
from catalog.local.ports import free_port
from catalog.local.postgres import Postgres
from catalog.local.processes import dies_with_parent
from catalog.local.stack import ROOT
from catalog.tests.values import present

SCRIPTS = ROOT / "docker" / "postgres"
WILD = "p@s/s w#o'r\"d%$\\ü:?&=[]{}"
ROLES = ("airflow", "catalog", "api", "api_staging", "celery")

pytestmark = pytest.mark.database


class Volume:
    """A cluster as the image makes it: the superuser logs in over the socket, others by TCP."""

    def __init__(self, folder: Path, superuser: str) -> None:
        self.folder, self.port, self.demoted = folder, free_port(), demotion()
        self.secrets, self.data = folder / "secrets", folder / "data"
        make_folders(self.demoted, folder, self.data)
        self.data.chmod(0o700)
        self.secrets.mkdir()
        for number, name in enumerate(n for n in secrets.GENERATORS if n.endswith("password")):
            (self.secrets / name).write_text(f"{WILD}{number}\n")
        other = Postgres(folder / "programs", "")
        self.programs, extensions = other._programs(), other._write_extension()
        self.environment = {
            "PATH": f"{self.programs}:{os.defpath}",
            "PGHOST": str(folder),
            "PGPORT": str(self.port),
            "LC_ALL": "C.UTF-8",
            "SECRETS_FOLDER": str(self.secrets),
        }
        initdb = ["initdb", "-D", self.data, "-U", superuser, "--auth-local=trust"]
        self._run(
            [*initdb, "--auth-host=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
            **self.demoted,
        )
        self.server = subprocess.Popen(
            [
                str(self.programs / "postgres"),
                "-D",
                str(self.data),
                f"--port={self.port}",
                "--listen_addresses=127.0.0.1",
                f"--unix_socket_directories={folder}",
                "--fsync=off",
                f"--extension_control_path=$system:{extensions}",
            ],
            cwd=folder,
            env=self.environment,
            stderr=subprocess.DEVNULL,
            preexec_fn=dies_with_parent(signal.SIGINT),
            **self.demoted,
        )
        self._run(["sh", "-c", "until pg_isready -q; do sleep 0.05; done"], timeout=60)

    def _run(self, command: Sequence[Any], **named: Any) -> str:
        named = {"timeout": 120, "cwd": self.folder, "env": self.environment, **named}
        done = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True, **named)
        return str(done.stdout)

    def script(self, name: str) -> str:
        return self._run([SCRIPTS / name])

    def administer(self, superuser: str, database: str = "postgres"):
        return psycopg.connect(
            host=str(self.folder), port=self.port, user=superuser, dbname=database, autocommit=True
        )

    def address(self, role: str, database: str) -> str:
        password = quote((self.secrets / f"{role}_db_password").read_text().rstrip("\n"), safe="")
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{database}"


@contextmanager
def started(world_readable, name, superuser):
    volume = Volume(world_readable / name, superuser)
    yield volume
    volume.server.send_signal(signal.SIGINT)
    volume.server.wait(30)


@pytest.fixture(scope="module")
def fresh(world_readable):
    with started(world_readable, "fresh-volume", "postgres") as volume:
        volume.script("roles.sh")
        yield volume


@pytest.mark.parametrize("role", ROLES)
def test_a_role_owns_its_database_and_sees_no_other_one(fresh, role):
    with psycopg.connect(fresh.address(role, role), autocommit=True) as connection:
        connection.execute("create schema of_its_own")
        connection.execute("create temporary table t ()")
        rights = connection.execute(
            "select rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls from pg_roles"
            " where rolname = %s",
            [role],
        ).fetchone()
        assert not any(present(rights))
    for other in {*ROLES, "postgres", "template1"} - {role}:
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(fresh.address(role, other))


@pytest.mark.parametrize(
    ("name", "relations"),
    [
        ("catalog", ("image", "whole_pull", "ingestion_report", "audio_popularity_metrics")),
        ("api", ("image", "audio", "api_deletedimage", "nsfw_reports")),
    ],
)
def test_a_reader_reads_what_the_owner_makes_and_changes_nothing(fresh, name, relations):
    assert schema.upgrade(fresh.address(name, name), name).pending == ()
    with psycopg.connect(fresh.address(f"{name}_reader", name), autocommit=True) as connection:
        for relation in relations:
            connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(relation)))
        for statement in ("delete from image", "create table t ()", "create temporary table t ()"):
            with pytest.raises(psycopg.Error, match=r"permission denied|read-only"):
                connection.execute(statement)
        connection.execute("set default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from image")
    for other in {"airflow", "catalog", "api", "api_staging", "celery", "postgres"} - {name}:
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(fresh.address(f"{name}_reader", other))


def test_passwords_are_renewed_by_the_same_script(fresh):
    before = fresh.address("celery", "celery")
    (fresh.secrets / "celery_db_password").write_text("another 'one'\n")
    fresh.script("roles.sh")
    psycopg.connect(fresh.address("celery", "celery")).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(before)


def test_a_dump_comes_back_whole_or_not_at_all(fresh, tmp_path):
    """The commands are the scripts' own, without Docker."""
    with psycopg.connect(fresh.address("api", "api"), autocommit=True) as connection:
        connection.execute("create table kept (n int); insert into kept select generate_series(1, 1000)")
    dump = ["pg_dump", "--username", "postgres", "--format", "custom", "--no-owner", "--no-acl", "api"]
    written = (ROOT / "docker" / "backup.sh").read_text().replace('"${SUPERUSER:-postgres}"', "postgres")
    assert " ".join(dump[:-1]) in written
    whole = subprocess.run(dump, env=fresh.environment, capture_output=True, check=True).stdout
    with psycopg.connect(fresh.address("api", "api"), autocommit=True) as connection:
        connection.execute("delete from kept; create table newer ()")

    def restore(data):
        command = ["sh", str(SCRIPTS / "restore.sh"), "api"]
        return subprocess.run(command, env=fresh.environment, input=data, capture_output=True).returncode

    assert restore(whole[: len(whole) - 500]) != 0
    with psycopg.connect(fresh.address("api", "api")) as connection:
        assert connection.execute("select count(*) from newer").fetchone() == (0,)
    assert restore(whole) == 0
    fresh.script("roles.sh")
    with psycopg.connect(fresh.address("api", "api")) as connection:
        assert connection.execute("select count(*), to_regclass('newer') from kept").fetchone() == (
            1000,
            None,
        )
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(fresh.address("airflow", "api"))
    assert owners(fresh, "api") == {"api"}


MADE_BY_AIRFLOW = """
    create table dag (dag_id text primary key, number serial, other int generated always as identity);
    create table parted (k int) partition by range (k);
    create table parted_1 partition of parted for values from (0) to (10);
    create index on dag (number);
    create sequence alone;
    create view v as select * from dag;
    create materialized view m as select * from dag;
    create type state as enum ('on', 'off');
    create type pair as (a int, b int);
    create domain positive as int check (value > 0);
    create type span as range (subtype = int);
    create function f(int, text) returns int language sql as 'select $1';
    create procedure p() language sql as 'select 1';
    create aggregate most (int) (sfunc = int4larger, stype = int);
    create schema inner_one;
    create table inner_one."Odd name" (x int);
    insert into dag (dag_id) values ('one'), ('two');
"""


@pytest.mark.timeout(300)
def test_an_older_volume_is_carried_over_with_all_that_is_in_it(world_readable, monkeypatch):
    """One superuser `catalog` owned everything; the script is interrupted at each step and run again."""
    with started(world_readable, "older-volume", "catalog") as volume:
        with volume.administer("catalog") as connection:
            for name in ("airflow", "catalog", "api", "api_staging"):
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        schema.upgrade(f"postgresql://catalog@/catalog?host={volume.folder}&port={volume.port}")
        schema.upgrade(f"postgresql://catalog@/api?host={volume.folder}&port={volume.port}", "api")
        with volume.administer("catalog", "airflow") as connection:
            connection.execute(MADE_BY_AIRFLOW)
        with volume.administer("catalog", "catalog") as connection:
            connection.execute(
                """
                insert into image (
                    identifier, created_on, updated_on, foreign_identifier, provider, source, url, license,
                    removed_from_source
                )
                select gen_random_uuid(), now(), now(), n::text, 'p', 'p',
                       'https://a.example/' || n, 'by', false
                from generate_series(1, 500) n
                """
            )

        # `init` names the script.
        monkeypatch.setenv(bootstrap.CONNECTIONS[0], volume.address("airflow", "airflow"))
        problem = r"role airflow cannot use the database airflow.*carry-over\.sh"
        with pytest.raises(Fatal, match=problem) as refusal:
            bootstrap.check_logins()
        assert "p@s" not in str(refusal.value)

        # It is interrupted after the third role was created, and after the superuser was renamed.
        with volume.administer("catalog") as connection:
            connection.execute("create role carrier login superuser")
        (volume.secrets / "api_db_password").rename(volume.secrets / "away")
        with pytest.raises(subprocess.CalledProcessError):
            volume.script("carry-over.sh")
        (volume.secrets / "away").rename(volume.secrets / "api_db_password")
        for _ in range(2):
            volume.script("carry-over.sh")

        bootstrap.check_logins()
        with volume.administer("postgres") as connection:
            [superusers] = connection.execute(
                "select array_agg(rolname::text) from pg_roles where rolsuper"
            ).fetchone()
            assert superusers == ["postgres"]
        for name in ("airflow", "catalog", "api", "api_staging"):
            assert owners(volume, name) == {name}
        with psycopg.connect(volume.address("airflow", "airflow"), autocommit=True) as connection:
            assert connection.execute("select count(*), sum(number) from dag").fetchone() == (2, 3)
            connection.execute("insert into dag (dag_id) values ('three')")
            connection.execute('alter table inner_one."Odd name" add y int')
            connection.execute(
                "alter type state add value 'between'; refresh materialized view m;"
                " drop schema inner_one cascade"
            )
        with psycopg.connect(volume.address("catalog", "catalog")) as connection:
            assert connection.execute("select count(*) from image").fetchone() == (500,)
        assert schema.upgrade(volume.address("catalog", "catalog")).pending == ()
        assert schema.upgrade(volume.address("api", "api"), "api").pending == ()
        with psycopg.connect(volume.address("catalog_reader", "catalog")) as connection:
            assert connection.execute("select count(*) from image").fetchone() == (500,)


def owners(volume, database):
    """Return the owners of all objects in a database, except system schemas and extensions."""
    query = """
        select distinct owner::regrole::text from (
            select oid, relnamespace, relowner from pg_class union all
            select oid, pronamespace, proowner from pg_proc union all
            select oid, typnamespace, typowner from pg_type
        ) t (oid, namespace, owner)
          join pg_namespace n on n.oid = t.namespace
                             and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
         where not exists (select from pg_depend d where d.objid = t.oid and d.deptype = 'e')
         union
        select nspowner::regrole::text from pg_namespace
         where nspname !~ '^pg_' and nspname not in ('information_schema', 'public')
         union
        select datdba::regrole::text from pg_database where datname = current_database()
    """
    with volume.administer("postgres", database) as connection:
        return {row[0] for row in connection.execute(query)}
