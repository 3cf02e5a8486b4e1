"""Airflow's API server with the dashboard, in a process of its own, with login switched on."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import requests
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

from catalog.local.stack import ROOT
from catalog.tests.waiting import until

USER, PASSWORD = "viewer", "secret"
PREPARE = """
import json, sys
from datetime import UTC, datetime, timedelta
from airflow.utils import db
db.initdb()
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.variable import Variable
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import insert, select
given = json.load(sys.stdin)
moment = lambda text: datetime.fromisoformat(text) if text else None
with create_session() as session:
    session.merge(DagBundleModel(name="dags-folder"))
    for name in given["variables"]:
        session.add(Variable(name, "{}"))
    session.flush()
    for dag in given["dags"]:
        session.execute(insert(DagModel).values(
            dag_id=dag["dag_id"], is_paused=dag["paused"], is_stale=dag["stale"], bundle_name="dags-folder",
            max_active_tasks=1, max_consecutive_failed_dag_runs=0, has_task_concurrency_limits=False,
            next_dagrun_create_after=moment(dag["next_run"]),
        ))
    for run in given["runs"]:
        values = dict(dag_id=run["dag_id"], run_id=run["run_id"], run_type="manual", state=run["state"],
            conf=run.get("conf"),
            run_after=moment(run["start"]), start_date=moment(run["start"]), end_date=moment(run["end"]))
        session.execute(insert(DagRun).values(**values))
        for number, (task_id, state) in enumerate(run["tasks"]):
            session.execute(insert(TaskInstance).values(
                dag_id=run["dag_id"], run_id=run["run_id"], task_id=task_id, map_index=-1, state=state,
                pool="default_pool", start_date=moment(run["start"]) + timedelta(seconds=10 * number),
                end_date=moment(run["start"]) + timedelta(seconds=10 * (number + 1)), executor_config={},
            ))
        if run.get("waits_for"):
            number = session.scalar(select(DagRun.id).where(DagRun.run_id == run["run_id"]))
            session.execute(insert(XComModel).values(dag_run_id=number, task_id=run["tasks"][0][0],
                map_index=-1, key="waits_for", dag_id=run["dag_id"], run_id=run["run_id"],
                value=run["waits_for"], timestamp=moment(run["start"])))
        if run["held"]:
            number = session.scalar(select(DagRun.id).where(DagRun.run_id == run["run_id"]))
            session.execute(insert(XComModel).values(dag_run_id=number, task_id=run["tasks"][0][0],
                map_index=-1, key="held", dag_id=run["dag_id"], run_id=run["run_id"], value="held",
                timestamp=moment(run["start"])))
        if run["failure"]:
            number = session.scalar(select(DagRun.id).where(DagRun.run_id == run["run_id"]))
            failed = next(task_id for task_id, state in run["tasks"] if state == "failed")
            session.execute(insert(XComModel).values(dag_run_id=number, task_id=failed,
                map_index=-1, key="failure", dag_id=run["dag_id"], run_id=run["run_id"],
                value=run["failure"], timestamp=moment(run["end"])))
"""


class Site(msgspec.Struct, frozen=True):
    """A running website.

    Attributes:
        base: Address of Airflow's UI.
        token: Token of the user.
    """

    base: str
    token: str

    def get(self, path: str, **options: Any) -> requests.Response:
        """Request a page of the dashboard as the user."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "text/html"}
        return requests.get(f"{self.base}/catalog{path}", headers=headers, timeout=60, **options)


class PartialAccess(SimpleAuthManager):
    """Airflow's simple auth manager, which knows no rights to single DAGs, with DAGs that nobody may read."""

    def get_authorized_dag_ids(self, **options: Any) -> set[str]:
        return super().get_authorized_dag_ids(**options) - set(os.environ.get("HIDDEN_DAGS", "").split())


def dag(
    dag_id: str, *, paused: bool = False, stale: bool = False, next_run: datetime | None = None
) -> dict[str, Any]:
    due = next_run and next_run.isoformat()
    return {"dag_id": dag_id, "paused": paused, "stale": stale, "next_run": due}


def run(
    dag_id: str,
    run_id: str,
    state: str,
    start: datetime,
    end: datetime,
    held: bool = False,
    failure: str = "",
    **tasks: str,
) -> dict[str, Any]:
    """Describe a run, with the states of its tasks, which ran one after the other.

    Args:
        dag_id: Its DAG.
        run_id: Its id.
        state: Its state.
        start: When it started.
        end: When it ended.
        held: Whether its schedule was held.
        failure: Why its first failed task failed; "" if that is not noted.
        **tasks: State by task.
    """
    moments = {"start": start.astimezone(UTC).isoformat(), "end": end.astimezone(UTC).isoformat()}
    about = {"dag_id": dag_id, "run_id": run_id, "state": state, "held": held, **moments}
    about["failure"] = failure
    return {**about, "tasks": list(tasks.items())}


def fill_metadata(
    environment: Mapping[str, str],
    dags: list[dict[str, Any]],
    runs: list[dict[str, Any]],
    variables: Sequence[str] = (),
) -> None:
    """Create Airflow's database.

    Args:
        environment: Environment of Airflow, with the address of the database.
        dags: DAGs, from `dag`.
        runs: Runs, from `run`.
        variables: Names of Variables that are stored.
    """
    subprocess.run(
        [sys.executable, "-c", PREPARE],
        input=json.dumps({"dags": dags, "runs": runs, "variables": variables}),
        env=environment,
        text=True,
        check=True,
        capture_output=True,
        timeout=120,
    )


@contextmanager
def website(
    folder: Path,
    connections: dict[str, str],
    dags: list[dict[str, Any]],
    runs: list[dict[str, Any]],
    more: Mapping[str, str] = MappingProxyType({}),
    variables: Sequence[str] = (),
) -> Iterator[Site]:
    """Start the API server on a metadata database of its own.

    Args:
        folder: An empty folder.
        connections: Airflow connections, by their id.
        dags: DAGs, from `dag`.
        runs: Runs, from `run`.
        more: More environment variables.
        variables: Names of Variables that are stored.
    """
    (folder / "passwords.json").write_text(json.dumps({USER: PASSWORD}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "AIRFLOW__CORE__AUTH_MANAGER": f"{__name__}.PartialAccess",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(folder / "passwords.json"),
        "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
        "AIRFLOW__API__BASE_URL": base,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        "AIRFLOW_VAR_OBJECT_STORAGE": f"file://{folder}/storage",
        **{f"AIRFLOW_CONN_{name.upper()}": value for name, value in connections.items()},
        **more,
    }
    fill_metadata(environment, dags, runs, variables)
    command = [sys.executable, "-m", "airflow", "api-server", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            until(lambda: _answers(base), 120)
            login = {"username": USER, "password": PASSWORD}
            token = requests.post(f"{base}/auth/token", json=login, timeout=30).json()["access_token"]
            yield Site(base, token)
        finally:
            server.terminate()
            server.wait(60)


def _answers(base: str) -> bool:
    try:
        return requests.get(f"{base}/api/v2/monitor/health", timeout=5).ok
    except requests.ConnectionError:
        return False
