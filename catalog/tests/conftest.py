"""Fixtures of all tests; first the environment of Airflow, which must be set before Airflow is imported."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from catalog.core.session import Connection
from catalog.data_refresh.client import connect
from catalog.data_refresh.search import Indexes
from catalog.database import schema
from catalog.local.postgres import Postgres
from catalog.local.search import SearchEngine
from catalog.tests.data_refresh.engine_proxy import Proxy, proxy

_HOME = Path(tempfile.mkdtemp(prefix="catalog-tests-airflow-"))
os.environ |= {
    "AIRFLOW_HOME": str(_HOME),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME}/airflow.db",
    "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent.parent / "dags"),
    "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
}
# The duration of an example depends on the machine.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
for name in [n for n in os.environ if n.startswith(("API_KEY_", "AIRFLOW_VAR_", "AIRFLOW_CONN_"))]:
    del os.environ[name]  # keys of the person who runs the tests


def pytest_sessionfinish() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def world_readable() -> Iterator[Path]:
    """A folder that servers demoted to another user can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="catalog-tests-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(world_readable: Path) -> Iterator[Postgres]:
    """One PostgreSQL for all tests, with a migrated template database."""
    server = Postgres(world_readable / "postgres", "test", durable=False)
    server.start(("empty", "migrated", "migrated_api"))
    schema.upgrade(server.dsn("migrated"))
    schema.upgrade(server.dsn("migrated_api"), "api")
    yield server
    server.stop()


def database_of_its_own(server: Postgres, template: str) -> str:
    name = f"{template}_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name} template {template}")
    return server.dsn(name)


@pytest.fixture
def dsn(server: Postgres) -> str:
    """Address of a new catalog database."""
    return database_of_its_own(server, "migrated")


@pytest.fixture
def api_dsn(server: Postgres) -> str:
    """Address of a new API database."""
    return database_of_its_own(server, "migrated_api")


@pytest.fixture
def api(api_dsn: str) -> Iterator[Connection]:
    with psycopg.connect(api_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def catalog(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def engine(world_readable: Path) -> Iterator[SearchEngine]:
    """One OpenSearch for all tests."""
    engine = SearchEngine(world_readable / "search", quick=True)
    engine.start()
    engine.wait()
    yield engine
    engine.stop()


@pytest.fixture
def search(engine: SearchEngine) -> Iterator[Indexes]:
    """The engine, empty before and after."""
    client = connect(engine.url, engine="opensearch")
    yield Indexes(client)
    client.indices.delete(index="image-*,audio-*", ignore_unavailable=True)
    client.close()


@pytest.fixture
def faulty(engine: SearchEngine, search: Indexes) -> Iterator[tuple[Proxy, Indexes]]:
    """A proxy that injects faults of the engine, and indexes that use it without pauses."""
    with proxy(engine.url) as (between, url):
        client = connect(url, engine="opensearch")
        yield between, Indexes(client, patience=5, pause=lambda _: None)
        client.close()
