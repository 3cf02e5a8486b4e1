"""Airflow's components, as processes that are forked after Airflow was imported once."""

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from catalog.containers.bootstrap import prepare_airflow_database
from catalog.local.inherited import import_before_forking

# What DAG files and tasks import of other projects. Each task and each parse of a DAG file is a fork, which
# would spend most of its time on these. A fork lacks the threads that libraries have started; numpy and
# Arrow, which the client of the engine imports, start theirs again.
_LIBRARIES_OF_TASKS = (
    "airflow.api.common.trigger_dag",
    "airflow.dag_processing.bundles.local",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.decorators.sensor",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.providers.standard.sensors.python",
    "airflow.sdk.definitions.asset.metadata",
    "airflow.sdk.execution_time.cache",
    "airflow.sdk.execution_time.timeout",
    "authlib.integrations.requests_client",
    "jinja2.ext",
    "pglast",
    "protego",
    "psycopg",
    "requests",
    "tldextract",
    "upath.implementations.local",
)
_PACKAGE = Path(__file__).resolve().parent.parent
# Packages of the layers above DAG files, so no task imports them; see pyproject.toml.
_NOT_OF_TASKS = (
    "benchmarks",
    "containers",
    "dag_docs",
    "local",
    "mutants",
    "plugins",
    "scaffold",
    "soak",
    "tests",
)


def warm_airflow() -> None:
    """Import what the components share, and migrate the metadata database, before forking."""
    import airflow.api_fastapi.app
    import airflow.dag_processing.processor
    import airflow.executors.local_executor
    import airflow.jobs.dag_processor_job_runner
    import airflow.jobs.scheduler_job_runner
    import airflow.jobs.triggerer_job_runner  # noqa: F401
    from airflow import settings
    from airflow.sdk.io.fs import has_fs

    has_fs("file")  # as the first file that a task opens, it imports the file systems of all providers
    for name in _LIBRARIES_OF_TASKS:
        importlib.import_module(name)
    import_before_forking(_PACKAGE, modules_of_tasks(), (*_NOT_OF_TASKS, "__pycache__", "recording"))
    prepare_airflow_database()
    settings.dispose_orm()  # no connection may cross a fork
    # A full collection of garbage visits all that was imported, which takes a quarter of a second, and copies
    # the memory that a process shares with its parent. It leaves out what is frozen.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)  # with 700 objects, an eighth of the time in which Airflow builds its API


def modules_of_tasks() -> Iterator[str]:
    """Yield the names of our own modules that DAG files and tasks import."""
    for file in sorted(_PACKAGE.rglob("*.py")):
        name = file.relative_to(_PACKAGE.parent).with_suffix("").parts
        is_dag_file = file.parent.name == "dags" and file.name != "dag_factory.py"
        if not (name[1] in _NOT_OF_TASKS or "migrations" in name or name[-1].startswith("__") or is_dag_file):
            yield ".".join(name)


def become_component(name: str, log: Path) -> None:
    """Run `airflow <name>` in a child process, with its output in a log file."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    from airflow import settings
    from airflow.__main__ import main

    settings.configure_orm()  # type: ignore[no-untyped-call]
    # Logs are files here. Log servers would open ports to the network, the same ones in every stack.
    sys.argv = ["airflow", name, *(["--skip-serve-logs"] if name in ("scheduler", "triggerer") else [])]
    main()  # type: ignore[no-untyped-call]
