"""Settings of tasks: Airflow Variables, read by their declaration.

A malformed setting does no further harm. Its default is used, an error in the log names it, and an alert is
sent once a day until it is corrected. A setting without a possible default fails the task that needs it.
"""

import logging
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeVar

from airflow.sdk import Variable, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from catalog.core.airflow_names import LIMITED
from catalog.core.setting import Malformed, Setting
from catalog.dags.common.settings import parse_problems
from catalog.dags.operators.slack import send
from catalog.notifications.alerts import malformed_setting

log = logging.getLogger(__name__)
T = TypeVar("T")


def value_of(setting: Setting[T]) -> T:
    """Return the value of a Variable, in a task.

    Raises:
        AirflowFailException: The setting is strict and malformed.
    """
    try:
        value, problem = setting.decode(Variable.get(setting.name, default=None))
    except Malformed as error:
        raise AirflowFailException(f"{error} This task does not work without it.") from None
    if problem:
        alert_once_a_day(setting.name, problem)
    return value


def limit_of(setting: Setting[T]) -> T:
    """Return the value of a Variable that limits runs, and note that it limits this one.

    Such a run makes up for no failed one; see `monitoring/failed_runs.py`.
    """
    value = value_of(setting)
    if value:
        get_current_context()["ti"].xcom_push(LIMITED, setting.name)
    return value


def alert_once_a_day(name: str, problem: str) -> None:
    """Log a problem, and send an alert unless the same was sent today. Never fails a task."""
    log.error("%s", problem)
    try:
        _alert(name, problem)
    except Exception as error:
        log.warning("the alert about %s could not be sent: %s", name, type(error).__name__)


def complain_of_parsing() -> None:
    """Complain about the settings that were malformed when this task's DAG file was parsed."""
    for name, problem in list(parse_problems.items()):
        alert_once_a_day(name, problem)


def _alert(name: str, problem: str) -> None:
    marker = f"malformed_setting_{name}"
    now = f"{datetime.now(UTC):%Y-%m-%d} {sha256(problem.encode()).hexdigest()[:12]}"
    if Variable.get(marker, default=None) == now:
        return
    context = get_current_context()
    if send(malformed_setting(context["dag_run"].dag_id, context["ti"].task_id, problem)) is None:
        Variable.set(marker, now, description="the last alert about this setting; written by tasks")
