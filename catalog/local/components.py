"""Airflow's components, as processes that are forked after Airflow was imported once."""

import importlib
import os
import sys
from pathlib import Path

from catalog.containers.bootstrap import prepare_airflow_database

# What DAG files import of other projects. Every task and every parse of a DAG file is a fork, which would
# spend most of its time on these. Our own modules are not among them, so that an edit takes effect with the
# next task; nor are libraries that start threads, which a fork lacks (elasticsearch imports numpy).
_LIBRARIES_OF_TASKS = (
    "airflow.api.common.trigger_dag",
    "airflow.providers.standard.operators.python",
    "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.providers.standard.sensors.python",
    "authlib.integrations.requests_client",
    "pglast",
    "protego",
    "psycopg",
    "requests",
    "tldextract",
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

    for name in _LIBRARIES_OF_TASKS:
        importlib.import_module(name)
    prepare_airflow_database()
    settings.dispose_orm()  # no connection may cross a fork


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
