"""Sends messages to Slack, or says in the task log why not."""

import logging
from typing import Any

from airflow.sdk import Connection, Variable, get_current_context
from airflow.sdk.exceptions import AirflowNotFoundException

from catalog.dags.operators.settings import json_variable, mask
from catalog.notifications.delivery import connection_id, reason_not_to_send
from catalog.notifications.messages import Message, run_problem, task_failure

log = logging.getLogger(__name__)
UPSTREAM_FAILED = "Upstream task(s) failed"


def send(message: Message) -> str | None:
    """Send, or return the reason why not. Never fails a task: a report that cannot be delivered is logged."""
    webhook = _webhook(connection_id(message))
    reason = reason_not_to_send(
        message,
        connection_exists=webhook is not None,
        environment=Variable.get("ENVIRONMENT", default="local"),
        override=bool(json_variable("SLACK_MESSAGE_OVERRIDE", False)),
        silenced=json_variable("SILENCED_SLACK_NOTIFICATIONS", {}),
    )
    log.info(
        "%s\n%s\n(%s)",
        message.username,
        message.text,
        f"not sent: {reason}" if reason else f"to {connection_id(message)}",
    )
    if reason or webhook is None:
        return reason
    from slack_sdk import WebhookClient

    block = {"type": "section", "text": {"type": "mrkdwn", "text": message.text[:3000]}}
    try:
        response = WebhookClient(webhook, timeout=20).send_dict(
            {
                "username": message.username,
                "text": message.text,
                "blocks": [block],
                "unfurl_links": False,
                "unfurl_media": False,
            }
        )
    except OSError as error:
        log.warning("Slack could not be reached: %s", type(error).__name__)
        return "Slack could not be reached"
    if response.status_code != 200:
        log.warning("Slack refused the message: status %s", response.status_code)
        return f"Slack refused it with status {response.status_code}"
    return None


def say(text: str, sender: str, alert: bool = False) -> None:
    """Send a text on behalf of the task that runs."""
    context: Any = get_current_context()
    send(Message(text, sender, context["dag_run"].dag_id, context["ti"].task_id, alert))


def _webhook(conn_id: str) -> str | None:
    """The webhook's URL, from a Slack webhook connection (token in the password) or a plain HTTP one; None when there is no connection."""
    try:
        found = Connection.get(conn_id)
    except AirflowNotFoundException:
        return None
    if found.password:
        mask(found.password)
        base = (found.host or "hooks.slack.com/services").rstrip("/")
        return f"{base if '://' in base else 'https://' + base}/{found.password.lstrip('/')}"
    host = found.host or ""
    if "://" not in host:
        host = f"{found.conn_type if found.conn_type in ('http', 'https') else 'https'}://{host}"
    url = host + (f":{found.port}" if found.port else "") + "/" + (found.schema or "")
    mask(url)
    return url


def alert_on_failure(context: Any) -> None:
    """Failure callback of every task. Silent for the task that only repeats that others failed."""
    exception = context.get("exception")
    if exception is not None and any(UPSTREAM_FAILED in str(a) for a in getattr(exception, "args", ())):
        return
    instance, run = context["ti"], context.get("dag_run")
    shown = exception if isinstance(exception, BaseException) else None
    send(
        task_failure(
            instance.dag_id, instance.task_id, when=run and (run.logical_date or run.run_after), exception=shown,
            run_id=run.run_id if run else None, attempt=getattr(instance, "try_number", None), log_url=getattr(instance, "log_url", None),
        )
    )  # fmt: skip


def alert_on_run_failure(context: Any) -> None:
    """Failure callback of every DAG, for runs that fail without a task that did (a time-out): failed tasks have been reported."""
    reason, run = context.get("reason"), context["dag_run"]
    if reason != "task_failure":
        send(run_problem(run.dag_id, run.run_id, f"The run failed: {reason or 'no reason is given'}."))


async def alert_on_late_run(context: Any, floor: str = "") -> None:
    """Deadline callback of every DAG; called by the name of this module. context: dag_run and deadline, as plain dictionaries.

    It runs in the triggerer, because a callback that an executor runs may not read connections.
    """
    from asgiref.sync import sync_to_async

    run = context["dag_run"]
    text = f"The run takes longer than usual: more than its average and {floor}. It goes on."
    await sync_to_async(send)(run_problem(run["dag_id"], run["dag_run_id"], text))
