"""Where the stack on one machine keeps its state, and the environment its processes share."""

import base64
import fcntl
import hashlib
import json
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from catalog.local.demote import demotion, free_port, reachable
from catalog.local.postgres import SUPERUSER, Postgres
from catalog.local.search import SearchEngine

ROOT = Path(__file__).resolve().parent.parent.parent
UI_PORT = 9090
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
AIRFLOW_DB, CATALOG_DB, API_DB, STAGING_DB = "airflow", "catalog", "api", "api_staging"
# Each database belongs to a role that may do nothing else; see Grants in docs/running_in_production.md.
OWNERS = {AIRFLOW_DB: "airflow", CATALOG_DB: "catalog", API_DB: "api", STAGING_DB: "api_staging"}
_SHARED = Path("/tmp")  # noqa: S108 - ports belong to the machine; so do the locks on them, within a folder of ours


class Settings(msgspec.Struct):
    """Made once a clone and kept in .local/settings.json, readable by its owner only. Ports are chosen anew at each start."""

    postgres_password: str
    jwt_secret: str
    fernet_key: str
    postgres_folder: str
    ui_port: int = 0
    postgres_port: int = 0
    search_port: int = 0
    superuser: str = "catalog"  # of stacks that were made before each database had an owner


class Stack:
    """The stack of one clone. folder: its state, `.local` of the clone unless a test gives another."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or ROOT / ".local").resolve()
        self.logs, self.airflow_home, self.storage = (
            self.folder / "logs",
            self.folder / "airflow",
            self.folder / "storage",
        )
        self._settings_file, self.state_file, self.lock_file = (
            self.folder / "settings.json",
            self.folder / "state.json",
            self.folder / "supervisor.lock",
        )
        self._held: list[Any] = []
        self.tie: IO[bytes] | None = None  # what a stack that ends with this process watches

    # settings

    def settings(self) -> Settings:
        """Those on disk, made on first use."""
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
        self._settings_file.touch(0o600)
        self._settings_file.write_bytes(msgspec.json.encode(settings))

    def _postgres_folder(self) -> Path:
        """Below .local, or, when we are root and another user cannot get there (a 0700 home), below /var/lib."""
        if demotion() and not reachable(self.folder):
            name = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
            return Path("/var/lib/media-catalog") / name
        return self.folder / "postgres"

    def choose_ports(self) -> Settings:
        """Free ports for this start, held against other stacks of this machine until this process ends."""
        settings = self.settings()
        settings.ui_port = self._hold(settings.ui_port or UI_PORT) or self._hold(UI_PORT) or self._hold(0)
        settings.postgres_port = self._hold(settings.postgres_port) or self._hold(0)
        settings.search_port = self._hold(settings.search_port) or self._hold(0)
        self.save(settings)
        return settings

    def _hold(self, wanted: int) -> int:
        """The port, if it is free and no other stack is about to take it; 0 otherwise. wanted 0: any."""
        for _ in range(20):
            port = free_port(wanted)
            if wanted and port != wanted:
                return 0
            path = self._lock_folder() / f"port-{port}.lock"
            with suppress(OSError):
                handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(handle)
                    continue
                self._held.append(handle)
                return port
        return 0

    def _lock_folder(self) -> Path:
        """Of this user's stacks; the state folder when somebody else has taken its name."""
        folder = _SHARED / f"media-catalog-{os.geteuid()}"
        with suppress(FileExistsError):
            folder.mkdir(0o700)
        found = folder.lstat()
        private = stat.S_ISDIR(found.st_mode) and not stat.S_IMODE(found.st_mode) & 0o077
        return folder if private and found.st_uid == os.geteuid() else self.folder

    # what runs

    def postgres(self, settings: Settings) -> Postgres:
        return Postgres(
            Path(settings.postgres_folder),
            settings.postgres_password,
            settings.postgres_port,
            superuser=settings.superuser,
            owners=OWNERS if settings.superuser == SUPERUSER else None,
        )

    def search(self, settings: Settings) -> SearchEngine:
        """Beside PostgreSQL's folder, wherever that had to go."""
        beside = Path(settings.postgres_folder)
        return SearchEngine(
            beside.with_name("search" if beside.name == "postgres" else f"{beside.name}-search"),
            settings.search_port,
        )

    def running(self) -> bool:
        """Is a supervisor of this clone alive? Its lock says so, whatever files a crash has left."""
        if not self.lock_file.exists():
            return False
        with self.lock_file.open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def state(self) -> dict[str, Any]:
        """What the supervisor last wrote: phase, error, its pid and those of the parts."""
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
        """Variables of every Airflow process, on top of the caller's. What the caller has set wins, for all but addresses and secrets."""
        settings = self.settings()
        server = self.postgres(settings)
        search = json.dumps(
            {
                "conn_type": "http",
                "host": "127.0.0.1",
                "port": settings.search_port,
                "extra": {"engine": "opensearch", "shards": 1, "replicas": 0},
            }
        )
        fixed = {
            "AIRFLOW_HOME": str(self.airflow_home),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.dsn(AIRFLOW_DB).replace(
                "postgresql:", "postgresql+psycopg2:"
            ),
            "AIRFLOW__CORE__FERNET_KEY": settings.fernet_key,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{settings.ui_port}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(settings.ui_port),
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{settings.ui_port}",
            "AIRFLOW__API_AUTH__JWT_SECRET": settings.jwt_secret,
            "AIRFLOW_CONN_POSTGRES_OPENLEDGER_UPSTREAM": server.dsn(CATALOG_DB),
            "AIRFLOW_CONN_POSTGRES_OPENLEDGER_API": server.dsn(API_DB),
            "AIRFLOW_CONN_POSTGRES_OPENLEDGER_API_STAGING": server.dsn(STAGING_DB),
            "AIRFLOW_CONN_ELASTICSEARCH_HTTP_PRODUCTION": search,
            "AIRFLOW_CONN_ELASTICSEARCH_HTTP_STAGING": search,  # the same node: its staging indexes have names of their own
        }
        defaults = {
            "AIRFLOW_VAR_OBJECT_STORAGE": f"file://{self.storage}",
            "AIRFLOW_VAR_SENSITIVE_TERMS_URL": f"file://{ROOT / 'catalog' / 'containers' / 'sensitive_terms.txt'}",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "catalog" / "dags"),
            "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # it listens on the loopback interface only
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",  # tasks of a scheduler that was killed
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "DATA_REFRESH_POKE_INTERVAL": "5",
            "DEFAULT_RETRY_DELAY": "10",  # seconds; minutes are for production
            "PYTHONWARNINGS": "ignore",
        }
        return {**os.environ, **{k: v for k, v in defaults.items() if k not in os.environ}, **fixed}
