"""Fixtures of all tests; first the environment of Airflow, which must be set before Airflow is imported."""

import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from catalog.core import secrets
from catalog.core.session import Connection
from catalog.data_refresh.search.client import connect
from catalog.data_refresh.search.indexes import Indexes
from catalog.database import schema
from catalog.local.postgres import Postgres
from catalog.local.search import SearchEngine
from catalog.tests import dag_runs, scheduling
from catalog.tests.dag_runs import pytest_testnodedown
from catalog.tests.data_refresh.engine_proxy import Proxy, proxy
from catalog.tests.folders import folder_for_servers
from catalog.tests.plugins import chromium
from catalog.tests.scheduling import pytest_xdist_make_scheduler

__all__ = ["pytest_testnodedown", "pytest_xdist_make_scheduler"]  # hooks

_HOME = Path(tempfile.mkdtemp(prefix="catalog-tests-airflow-"))
os.environ |= {
    "AIRFLOW_HOME": str(_HOME),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME}/airflow.db",
    "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent.parent / "dags"),
    "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
}
# As ./just does: without bytecode each process that a test starts compiles the catalog again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# The duration of an example depends on the machine.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
for name in [n for n in os.environ if n.startswith(("API_KEY_", "AIRFLOW_VAR_", "AIRFLOW_CONN_"))]:
    del os.environ[name]  # keys of the person who runs the tests


def pytest_sessionfinish(session: pytest.Session) -> None:
    dag_runs.send(session.config)
    shutil.rmtree(_HOME, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    dag_runs.summarize(terminalreporter, config)
    chromium.summarize(terminalreporter)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long fault tests out unless they are asked for; the largest groups begin."""
    if "fault_long" not in config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("fault_long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    scheduling.put_largest_first(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Replace what is not Unicode in captured output, which a process could not send to another."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def _secrets_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test hides what an earlier one has called a secret, such as a word that Hypothesis has chosen."""
    monkeypatch.setattr(secrets, "_known", secrets.Redactor(cut=False))
    monkeypatch.setattr(secrets, "_known_words", secrets.Redactor(cut=False, whole=True))


@pytest.fixture(scope="session")
def world_readable() -> Iterator[Path]:
    """A folder for servers."""
    folder = folder_for_servers("catalog-tests-")
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
    """Create a database like another one, and return its address."""
    name = f"{template}_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        # The other strategy writes all blocks to the log as well, which takes three times as long.
        connection.execute(f"create database {name} template {template} strategy file_copy")
    return server.dsn(name)


@contextmanager
def database(server: Postgres, template: str) -> Iterator[str]:
    """Create a database like another one, and drop it at the end; yield its address."""
    address = database_of_its_own(server, template)
    yield address
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(f"drop database if exists {address.rpartition('/')[2]} with (force)")


@pytest.fixture
def dsn(server: Postgres) -> Iterator[str]:
    """Address of a new catalog database."""
    with database(server, "migrated") as address:
        yield address


@pytest.fixture
def api_dsn(server: Postgres) -> Iterator[str]:
    """Address of a new API database."""
    with database(server, "migrated_api") as address:
        yield address


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
