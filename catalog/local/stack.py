"""State of the local stack: folders, ports, secrets, and the environment that its processes share."""

import base64
import fcntl
import hashlib
import json
import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from catalog.core.files import write_atomically
from catalog.local.demote import demotion, reachable
from catalog.local.ports import Reservations
from catalog.local.postgres import SUPERUSER, Postgres
from catalog.local.search import SearchEngine

ROOT = Path(__file__).resolve().parent.parent.parent
UI_PORT = 9090
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
AIRFLOW_DB, CATALOG_DB, API_DB, STAGING_DB = "airflow", "catalog", "api", "api_staging"
# The owner of each database has no other rights; see Grants in docs/running_in_production.md.
OWNERS = {AIRFLOW_DB: "airflow", CATALOG_DB: "catalog", API_DB: "api", STAGING_DB: "api_staging"}


class Settings(msgspec.Struct):
    """Secrets and ports of a clone, in .local/settings.json, readable by the owner only.

    Secrets are made once, ports are chosen at each start.
    """

    postgres_password: str
    jwt_secret: str
    fernet_key: str
    postgres_folder: str
    ui_port: int = 0
    postgres_port: int = 0
    search_port: int = 0
    superuser: str = "catalog"  # of stacks that were made before each database had an owner
    quick_search: bool = False  # the search engine starts sooner and indexes slower (tests)


class Stack:
    """The stack of one clone."""

    def __init__(self, folder: Path | None = None) -> None:
        """Describe a stack, running or not.

        Args:
            folder: Folder of its state; default: `.local` of the clone.
        """
        self.folder = (folder or ROOT / ".local").resolve()
        self.logs = self.folder / "logs"
        self.airflow_home = self.folder / "airflow"
        self.storage = self.folder / "storage"
        self.recordings = self.folder / "recordings"  # of APIs, which contributors save here
        self._settings_file = self.folder / "settings.json"
        self.state_file = self.folder / "state.json"
        self.lock_file = self.folder / "supervisor.lock"
        self._ports = Reservations(self.folder)
        # The supervisor that this process has started. A tied one ends when its standard input is closed,
        # which the kernel does when this process ends.
        self.supervisor: subprocess.Popen[bytes] | None = None

    # settings

    def settings(self) -> Settings:
        """Read the settings; on first use, make them."""
        if self._settings_file.exists():
            return msgspec.json.decode(self._settings_file.read_bytes(), type=Settings)
        for folder in (self.folder, self.logs, self.airflow_home, self.storage):
            folder.mkdir(parents=True, exist_ok=True)
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        made = Settings(secrets.token_hex(16), secrets.token_hex(32), fernet, str(self._postgres_folder()))
        made.superuser = SUPERUSER
        self.save(made)
        return made

    def save(self, settings: Settings) -> None:
        write_atomically(self._settings_file, msgspec.json.encode(settings), 0o600)

    def _postgres_folder(self) -> Path:
        """Return a folder below .local, or below /var/lib if `nobody` cannot reach .local (a 0700 home)."""
        if demotion() and not reachable(self.folder):
            name = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
            return Path("/var/lib/media-catalog") / name
        return self.folder / "postgres"

    def choose_ports(self) -> Settings:
        """Choose free ports for this start, and lock them against other stacks until this process ends."""
        settings = self.settings()
        reserve = self._ports.reserve
        settings.ui_port = reserve(settings.ui_port or UI_PORT) or reserve(UI_PORT) or reserve(0)
        settings.postgres_port = reserve(settings.postgres_port) or reserve(0)
        settings.search_port = reserve(settings.search_port) or reserve(0)
        self.save(settings)
        return settings

    # servers

    def postgres(self, settings: Settings) -> Postgres:
        return Postgres(
            Path(settings.postgres_folder),
            settings.postgres_password,
            settings.postgres_port,
            superuser=settings.superuser,
            owners=OWNERS if settings.superuser == SUPERUSER else None,
        )

    def search(self, settings: Settings) -> SearchEngine:
        """Return the search engine; its folder is beside PostgreSQL's."""
        postgres = Path(settings.postgres_folder)
        name = "search" if postgres.name == "postgres" else f"{postgres.name}-search"
        return SearchEngine(postgres.with_name(name), settings.search_port, quick=settings.quick_search)

    def running(self) -> bool:
        """Return True if a supervisor holds the lock, which a crash releases."""
        if not self.lock_file.exists():
            return False
        with self.lock_file.open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def state(self) -> dict[str, Any]:
        """Return what the supervisor last wrote: phase, error, its PID and those of the parts."""
        try:
            return json.loads(self.state_file.read_bytes())  # type: ignore[no-any-return]
        except (OSError, ValueError):
            return {}

    @property
    def ui(self) -> str:
        return f"http://127.0.0.1:{self.settings().ui_port}"

    def dsn(self, database: str = CATALOG_DB) -> str:
        return self.postgres(self.settings()).dsn(database)

    def environment(self) -> dict[str, str]:
        """Return the environment of every Airflow process.

        Addresses and secrets are the stack's; for all others, the caller's environment takes precedence.
        """
        defaults = self._default_environment()
        return {
            **os.environ,
            **{name: value for name, value in defaults.items() if name not in os.environ},
            **self._fixed_environment(),
        }

    def _fixed_environment(self) -> dict[str, str]:
        settings = self.settings()
        server = self.postgres(settings)
        metadata = server.dsn(AIRFLOW_DB).replace("postgresql:", "postgresql+psycopg2:")
        engine = {
            "conn_type": "http",
            "host": "127.0.0.1",
            "port": settings.search_port,
            "extra": {"engine": "opensearch", "shards": 1, "replicas": 0},
        }
        return {
            "AIRFLOW_HOME": str(self.airflow_home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata,
            "AIRFLOW__CORE__FERNET_KEY": settings.fernet_key,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{settings.ui_port}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(settings.ui_port),
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{settings.ui_port}",
            "AIRFLOW__API_AUTH__JWT_SECRET": settings.jwt_secret,
            "AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM": server.dsn(CATALOG_DB),
            "AIRFLOW_CONN_POSTGRES_OPENLEDGER_API": server.dsn(API_DB),
            "AIRFLOW_CONN_POSTGRES_OPENLEDGER_API_STAGING": server.dsn(STAGING_DB),
            # Production and staging share the node: staging indexes have names of their own.
            "AIRFLOW_CONN_ELASTICSEARCH_HTTP_PRODUCTION": json.dumps(engine),
            "AIRFLOW_CONN_ELASTICSEARCH_HTTP_STAGING": json.dumps(engine),
        }

    def _default_environment(self) -> dict[str, str]:
        terms = ROOT / "catalog" / "containers" / "sensitive_terms.txt"
        return {
            "AIRFLOW_VAR_OBJECT_STORAGE": f"file://{self.storage}",
            "AIRFLOW_VAR_SENSITIVE_TERMS_URL": f"file://{terms}",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "catalog" / "dags"),
            "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            # The UI listens on the loopback interface only.
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            # The slot of a task that has ended may stay taken for this long; the default is 5 seconds.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",  # tasks of a scheduler that was killed
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            # A changed DAG file is parsed at once; after a change of a module that it imports, within
            # this time. Parsing all of them takes five seconds of a core, again and again.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "DATA_REFRESH_POKE_INTERVAL": "5",
            "DEFAULT_RETRY_DELAY": "10",  # seconds; minutes are for production
            "PYTHONWARNINGS": "ignore",
        }
