"""Sends messages to Slack, or says in the task log why not."""

import logging
from typing import Any

from airflow.sdk import Connection, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from catalog.core.settings import ENVIRONMENT, SILENCED_SLACK_NOTIFICATIONS, SLACK_MESSAGE_OVERRIDE
from catalog.dags.common.secrets import mask
from catalog.dags.common.variables import quietly
from catalog.notifications.delivery import connection_id, reason_not_to_send
from catalog.notifications.messages import Message, escaped, run_problem, task_failure

log = logging.getLogger(__name__)
TIMEOUT = 20  # seconds


class UpstreamFailed(AirflowFailException):
    """A task cannot work because one before it failed, which has sent its own alert."""


def send(message: Message) -> str | None:
    """Send a message, or log it with the reason why not.

    Never fails a task, whatever is wrong with Slack, its connection or the Variables it depends on. A
    malformed one counts as its default and is named in the message.

    Returns:
        The reason why the message was not sent; None if it was.
    """
    try:
        return _send(message)
    except Exception as error:  # the webhook is a secret, and it may be part of the error's text
        why = f"not sent: {type(error).__name__}"
        log.error("%s\n%s\n(%s)", message.username, message.text, why)
        return f"it could not be sent: {type(error).__name__}"


def _send(message: Message) -> str | None:
    environment, override, silenced, problems = _settings(message)
    text = "\n".join([message.text, *(f":warning: {escaped(problem)}" for problem in problems)])
    webhook = _webhook(connection_id(message))
    reason = reason_not_to_send(
        message,
        connection_exists=webhook is not None,
        environment=environment,
        override=override,
        silenced=silenced,
    )
    log.info(
        "%s\n%s\n(%s)",
        message.username,
        text,
        f"not sent: {reason}" if reason else f"to {connection_id(message)}",
    )
    if reason or webhook is None:
        return reason
    block = {"type": "section", "text": {"type": "mrkdwn", "text": text[:3000]}}
    body = {
        "username": message.username,
        "text": text,
        "blocks": [block],
        "unfurl_links": False,
        "unfurl_media": False,
    }
    try:
        response = webhook.send_dict(body)
    except OSError as error:
        log.warning("Slack could not be reached: %s", type(error).__name__)
        return "Slack could not be reached"
    if response.status_code != 200:
        log.warning("Slack refused the message: status %s", response.status_code)
        return f"Slack refused it with status {response.status_code}"
    return None


def _settings(message: Message) -> tuple[str, bool, dict[str, list[Any]], list[str]]:
    """(environment, override, silenced entries, what is malformed about them).

    Somebody set a malformed override to have messages sent, so alerts are.
    """
    environment, problem_1 = quietly(ENVIRONMENT)
    override, problem_2 = quietly(SLACK_MESSAGE_OVERRIDE)
    silenced, problem_3 = quietly(SILENCED_SLACK_NOTIFICATIONS)
    problems = [problem for problem in (problem_1, problem_2, problem_3) if problem]
    for problem in problems:
        log.error("%s", problem)
    return environment, override or bool(problem_2 and message.alert), silenced, problems


def notify(text: str, sender: str, alert: bool = False) -> None:
    """Send a text on behalf of the task that runs."""
    context = get_current_context()
    send(Message(text, sender, context["dag_run"].dag_id, context["ti"].task_id, alert))


def _webhook(conn_id: str) -> Any:
    """Slack's client for a connection; None when there is no such connection.

    A Slack webhook connection (the token is its password) is read by Airflow's own hook, with its extras
    (`proxy`, `timeout`). A plain HTTP connection, whose whole address is the webhook, that hook does not
    take.
    """
    try:
        found = Connection.get(conn_id)
    except AirflowNotFoundException:
        return None
    if found.password:
        from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

        mask(found.password)
        given = "timeout" in (found.extra_dejson or {})
        return SlackWebhookHook(slack_webhook_conn_id=conn_id, timeout=None if given else TIMEOUT).client
    from slack_sdk import WebhookClient

    host = found.host or ""
    if "://" not in host:
        host = f"{found.conn_type if found.conn_type in ('http', 'https') else 'https'}://{host}"
    url = host + (f":{found.port}" if found.port else "") + "/" + (found.schema or "")
    mask(url)
    return WebhookClient(url, timeout=TIMEOUT, proxy=(found.extra_dejson or {}).get("proxy"))


def alert_on_failure(context: Any) -> None:
    """Failure callback of every task. Silent for a task that fails only because one before it has."""
    exception = context.get("exception")
    if isinstance(exception, UpstreamFailed):
        return
    instance, run = context["ti"], context.get("dag_run")
    shown = exception if isinstance(exception, BaseException) else None
    send(
        task_failure(
            instance.dag_id,
            instance.task_id,
            when=run and (run.logical_date or run.run_after),
            exception=shown,
            run_id=run.run_id if run else None,
            attempt=getattr(instance, "try_number", None),
            log_url=getattr(instance, "log_url", None),
        )
    )


def alert_on_run_failure(context: Any) -> None:
    """Failure callback of every DAG, for runs that fail without a failed task, such as by a timeout."""
    reason, run = context.get("reason"), context["dag_run"]
    if reason != "task_failure":
        send(run_problem(run.dag_id, run.run_id, f"The run failed: {reason or 'no reason is given'}."))


async def alert_on_late_run(context: Any, floor: str = "") -> None:
    """Deadline callback of every DAG; Airflow calls it by the name of this module.

    It runs in the triggerer, because a callback that an executor runs may not read connections.

    Args:
        context: The run and the deadline, as plain dictionaries.
        floor: The deadline, in words.
    """
    from asgiref.sync import sync_to_async

    run = context["dag_run"]
    text = f"The run takes longer than usual: more than its average and {floor}. It continues."
    await sync_to_async(send)(run_problem(run["dag_id"], run["dag_run_id"], text))
