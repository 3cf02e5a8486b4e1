"""Diagnosis of the local stack: checks, each with its result and the fix."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import psycopg
import requests

from catalog.core.setting import Malformed
from catalog.core.settings import SETTINGS, SLACK_ALERTS, SLACK_NOTIFICATIONS, connection_variable
from catalog.core.wording import join_first
from catalog.database import schema
from catalog.ingestion.registry import broken_providers, provider_classes
from catalog.local.airflow_api import AirflowApi, ApiError
from catalog.local.keys import answers
from catalog.local.lifecycle import StackError
from catalog.local.stack import COMPONENTS, Stack
from catalog.local.variables import stored_variables, value_of

Grade = Literal["ok", "note", "wrong"]


class Check(NamedTuple):
    """One check and its result."""

    name: str
    grade: Grade
    message: str  # what was found, and how to fix it


def examine(stack: Stack, *, ask_keys: bool = False) -> Iterator[Check]:
    """Run all checks.

    Args:
        stack: A stack, running or not.
        ask_keys: Ask each API whose key is set whether it accepts the key; by default, nobody is asked.
    """
    free = shutil.disk_usage(stack.folder if stack.folder.exists() else stack.folder.parent).free / 2**30
    if free > 2:
        yield Check("disk", "ok", f"{free:.0f} GiB free")
    else:
        yield Check("disk", "wrong", f"{free:.0f} GiB free; delete files, PostgreSQL stops on a full disk")
    for name, error in broken_providers().items():
        yield Check(f"provider {name}", "wrong", f"{error}; its DAG is missing until that is corrected")
    if not stack.running():
        state = stack.state()
        why = f" (it ended: {state['error']})" if state.get("error") else ""
        yield Check("stack", "wrong", f"not running{why}; start it with ./just up")
        yield from _keys({})
        if ask_keys:
            yield from _answers({})
        return
    yield Check("stack", "ok", f"running, UI {stack.ui}")
    yield from _database(stack)
    yield from _airflow(stack)
    if ask_keys:
        yield from _asked(stack)


def _database(stack: Stack) -> Iterator[Check]:
    try:
        status = schema.status(stack.dsn())
    except psycopg.OperationalError as error:
        message = f"not reachable: {str(error).splitlines()[0]}; see ./just logs supervisor"
        yield Check("catalog database", "wrong", message)
        return
    fix = "; run ./just catalog db upgrade" if status.pending else ""
    grade: Grade = "wrong" if status.pending else "note" if status.newer else "ok"
    yield Check("catalog schema", grade, f"{status}{fix}")


def _airflow(stack: Stack) -> Iterator[Check]:
    api = AirflowApi(stack.ui)
    try:
        health = api.call("GET", "/api/v2/monitor/health")
        errors = api.all("/api/v2/importErrors", "import_errors")
        dags = api.dags()
        variables = {v["key"]: v for v in api.all("/api/v2/variables", "variables")}
        connections = {c["connection_id"] for c in api.all("/api/v2/connections", "connections")}
    except (requests.RequestException, ApiError) as error:
        message = f"its API does not answer ({type(error).__name__}); see ./just logs api-server"
        yield Check("Airflow", "wrong", message)
        return
    yield _components(health)
    for broken in errors:
        yield Check("DAG file", "wrong", f"{broken['filename']}: {raised_in(broken['stack_trace'])}")
    number = "1 file" if len(errors) == 1 else f"{len(errors)} files"
    unread = f", {number} that cannot be imported" if errors else ""
    yield Check("DAGs", "wrong" if errors else "ok", f"{len(dags)} DAGs{unread}")
    paused = sorted(d for d, dag in dags.items() if dag["is_paused"])
    if paused:
        message = f"{len(paused)} DAGs are paused and do not run on schedule: {join_first(paused)}"
        yield Check("schedules", "note", message)
    if "HELD_SCHEDULES" in variables:
        held = variables["HELD_SCHEDULES"]["value"]
        advice = (
            "if no ./just trigger or demo is running, one was killed: pause these DAGs "
            "(./just airflow dags pause ID), then ./just airflow variables delete HELD_SCHEDULES"
        )
        yield Check("schedules", "note", f"held: {held}; {advice}")
    stored = {name: str(found["value"]) for name, found in variables.items()}
    yield from _malformed(stored)
    for connection, use in ((SLACK_NOTIFICATIONS, "reports"), (SLACK_ALERTS, "alerts")):
        if connection not in connections and connection_variable(connection) not in os.environ:
            yield Check(f"connection {connection}", "note", f"not set; {use} go to the task logs only")
    yield from _keys(stored)


def raised_in(trace: str) -> str:
    """Return the line of a trace that names the exception; lines of its message may follow it.

    Args:
        trace: A trace as Python writes it, or only a message.

    >>> raised_in('''Traceback (most recent call last):
    ...   File "dag.py", line 2, in <module>
    ...     parse()
    ... TimeoutError: not parsed after 30 s
    ... * see the documentation''')
    'TimeoutError: not parsed after 30 s'
    """
    after_frames = re.split(r'^ +File ".*\n(?: {4,}.*\n)*', trace.strip("\n"), flags=re.MULTILINE)[-1]
    return after_frames.partition("\n")[0].strip()


def _components(health: Mapping[str, Mapping[str, object] | None]) -> Check:
    unhealthy = [
        p
        for p in ("scheduler", "triggerer", "dag_processor")
        if (health.get(p) or {}).get("status") != "healthy"
    ]
    if unhealthy:
        return Check("Airflow", "wrong", f"not healthy: {', '.join(unhealthy)}; see ./just logs")
    return Check("Airflow", "ok", ", ".join(COMPONENTS))


def _malformed(stored: Mapping[str, str]) -> Iterator[Check]:
    """Check the settings.

    Args:
        stored: The stored Variables by name; see `value_of`.
    """
    for setting in SETTINGS:
        name = setting.name
        value = os.environ.get(name) if setting.kind == "environment" else value_of(name, stored)
        try:
            _, problem = setting.decode(value)
        except Malformed as error:
            problem = f"{error} What needs it does not work."
        if problem:
            yield Check(f"{setting.kind} {setting.name}", "wrong", problem)


def _keys(stored: Mapping[str, str]) -> Iterator[Check]:
    for cls in provider_classes():
        key = cls.key
        if key and not value_of(key.variable, stored):
            message = f"not set; {cls.name} runs on recordings only. Get one at {key.get_at}, "
            message += _to_set(key.variable)
            yield Check(f"key {key.variable}", "note", message)
    if not value_of("CONTACT_EMAIL", stored):
        asking = ", ".join(cls.name for cls in provider_classes() if cls.needs_contact)
        message = f"not set; {asking} requires the operator's address in each request"
        yield Check("CONTACT_EMAIL", "note", message)


def _to_set(variable: str) -> str:
    return f"set AIRFLOW_VAR_{variable} in .env, or the Variable"


def _asked(stack: Stack) -> Iterator[Check]:
    try:
        stored = stored_variables(stack)
    except StackError as error:
        yield Check("keys", "wrong", f"{error}; only keys of the environment are tried")
        stored = {}
    yield from _answers(stored)


def _answers(stored: Mapping[str, str]) -> Iterator[Check]:
    """Say what the API of each provider whose key is set answers.

    Args:
        stored: The stored Variables by name; see `value_of`.
    """
    for key, cls, answer in answers(stored):
        name = f"key {key.variable}"
        match answer.verdict:
            case "accepted":
                yield Check(name, "ok", f"accepted by {cls.name}")
            case "refused":
                fix = f"get another one at {key.get_at}, {_to_set(key.variable)}"
                yield Check(name, "wrong", f"refused by {cls.name}; {fix}. {answer.reason}")
            case "not asked":
                yield Check(name, "note", f"{cls.name} could not be asked: {answer.reason}")
            case "unclear":
                yield Check(name, "note", f"{cls.name} says neither yes nor no: {answer.reason}")
