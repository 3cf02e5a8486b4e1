"""What is wrong with the local stack and how to mend it, as one table."""

import os
import shutil
from collections.abc import Container, Iterator, Mapping

import psycopg
import requests

from catalog.core.setting import Malformed
from catalog.core.settings import SETTINGS
from catalog.database import schema
from catalog.ingestion.provider import provider_class, provider_names
from catalog.local.airflow_api import AirflowApi, ApiError
from catalog.local.stack import COMPONENTS, Stack

Finding = tuple[str, str, str]  # what was looked at; "ok", "note" or "wrong"; what is so, and how to mend it


def examine(stack: Stack) -> Iterator[Finding]:
    """All findings, good ones included."""
    free = shutil.disk_usage(stack.folder if stack.folder.exists() else stack.folder.parent).free / 2**30
    yield (
        "disk",
        "ok" if free > 2 else "wrong",
        f"{free:.0f} GiB free" + ("" if free > 2 else "; make room, PostgreSQL stops without"),
    )
    if not stack.running():
        state = stack.state()
        why = f" (it ended: {state['error']})" if state.get("error") else ""
        yield "stack", "wrong", f"not running{why}; start it with ./just up"
        yield from _keys({})
        return
    yield "stack", "ok", f"running, UI {stack.ui}"
    yield from _database(stack)
    yield from _airflow(stack)


def _database(stack: Stack) -> Iterator[Finding]:
    try:
        found = schema.status(stack.dsn())
    except psycopg.OperationalError as error:
        yield (
            "catalog database",
            "wrong",
            f"cannot be reached: {str(error).splitlines()[0]}; see ./just logs supervisor",
        )
        return
    mend = "; run ./just catalog db upgrade" if found.pending else ""
    yield "catalog schema", "wrong" if found.pending else "note" if found.newer else "ok", f"{found}{mend}"


def _airflow(stack: Stack) -> Iterator[Finding]:
    api = AirflowApi(stack.ui)
    try:
        health = api.call("GET", "/api/v2/monitor/health")
        errors = api.call("GET", "/api/v2/importErrors")["import_errors"]
        dags = api.dags()
        variables = {v["key"]: v for v in api.call("GET", "/api/v2/variables", limit=1000)["variables"]}
        connections = {
            c["connection_id"] for c in api.call("GET", "/api/v2/connections", limit=1000)["connections"]
        }
    except (requests.RequestException, ApiError) as error:
        yield (
            "Airflow",
            "wrong",
            f"its API does not answer ({type(error).__name__}); see ./just logs api-server",
        )
        return
    sick = [
        p
        for p in ("scheduler", "triggerer", "dag_processor")
        if (health.get(p) or {}).get("status") != "healthy"
    ]
    yield (
        "Airflow",
        "wrong" if sick else "ok",
        f"not healthy: {', '.join(sick)}; see ./just logs" if sick else ", ".join(COMPONENTS),
    )
    for broken in errors:
        yield "DAG file", "wrong", f"{broken['filename']}: {broken['stack_trace'].strip().splitlines()[-1]}"
    paused = sorted(d for d, dag in dags.items() if dag["is_paused"])
    yield "DAGs", "ok", f"{len(dags)} DAGs, {len(errors)} import errors"
    if paused:
        yield (
            "schedules",
            "note",
            f"{len(paused)} DAGs with a schedule are paused and do not run by themselves: {', '.join(paused)}",
        )
    if "HELD_SCHEDULES" in variables:
        held = variables["HELD_SCHEDULES"]["value"]
        advice = (
            "when no ./just trigger or demo runs, one was killed: pause these DAGs "
            "(./just airflow dags pause ID), then ./just airflow variables delete HELD_SCHEDULES"
        )
        yield "schedules", "note", f"held: {held}; {advice}"
    yield from _malformed({name: str(found["value"]) for name, found in variables.items()})
    for connection, use in (("slack_notifications", "reports"), ("slack_alerts", "alerts")):
        if connection not in connections and f"AIRFLOW_CONN_{connection.upper()}" not in os.environ:
            yield f"connection {connection}", "note", f"not set; {use} go to the task logs only"
    yield from _keys(variables)


def _malformed(variables: Mapping[str, str]) -> Iterator[Finding]:
    """Settings that cannot be read. variables: name → text of those in Airflow's database; the environment comes first."""
    for setting in SETTINGS:
        text = os.environ.get(
            setting.name if setting.kind == "environment" else f"AIRFLOW_VAR_{setting.name}",
            variables.get(setting.name),
        )
        try:
            _, problem = setting.decode(text)
        except Malformed as error:
            problem = f"{error} What needs it does not work."
        if problem:
            yield f"{setting.kind} {setting.name}", "wrong", problem


def _keys(variables: Container[str]) -> Iterator[Finding]:
    def is_set(variable: str) -> bool:
        return variable in variables or f"AIRFLOW_VAR_{variable}" in os.environ

    for name in provider_names():
        key = provider_class(name).key
        if key and not is_set(key.variable):
            yield (
                f"key {key.variable}",
                "note",
                f"not set; {name} runs on recordings only. Get one at {key.get_at}, set the Variable",
            )
    if not is_set("CONTACT_EMAIL"):
        asking = ", ".join(name for name in provider_names() if provider_class(name).needs_contact)
        yield "CONTACT_EMAIL", "note", f"not set; {asking} asks for the operator's address in each request"
