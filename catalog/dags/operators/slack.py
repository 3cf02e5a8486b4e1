"""Sends messages to Slack, or says in the task log why not."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from airflow.sdk import Connection, conf, get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

from catalog.core.airflow_names import FAILURE
from catalog.core.airflow_ui import run_path
from catalog.core.errors import CatalogError, Refused
from catalog.core.secrets import without_secrets
from catalog.core.setting_values import Silencing
from catalog.core.settings import (
    ENVIRONMENT,
    SILENCED_SLACK_NOTIFICATIONS,
    SLACK_DIGEST,
    SLACK_MESSAGE_OVERRIDE,
)
from catalog.core.wording import join_first
from catalog.dags.common.secrets import mask
from catalog.dags.common.settings import value_or_default
from catalog.dags.operators.watcher import failed_tasks
from catalog.notifications.alerts import run_problem, run_url, task_failure
from catalog.notifications.delivery import connection_id, reason_not_to_send
from catalog.notifications.lengths import shortened
from catalog.notifications.message import Message, Origin, escaped

log = logging.getLogger(__name__)
TIMEOUT = 20  # seconds
DIGEST = "daily_digest"  # the DAG that sends the collected reports
REASON = 2_000  # characters of the reason why a task failed
_FOR_PEOPLE = (CatalogError, Refused, AirflowException)  # errors whose text says what to do
FALLBACK = 10_000  # characters of the text for clients that show no blocks


class UpstreamFailed(AirflowFailException):
    """A task cannot work because one before it failed, which has sent its own alert."""


class Unsent(msgspec.Struct, frozen=True):
    """Why a message was not sent.

    Attributes:
        reason: In words.
        temporary: It may be possible to send the message later.
    """

    reason: str
    temporary: bool = False


def send(message: Message) -> str | None:
    """Send a message, or log it with the reason why not; see `try_to_send`.

    Returns:
        The reason why the message was not sent; None if it was.
    """
    unsent = try_to_send(message)
    return unsent.reason if unsent else None


def deliver(message: Message) -> str:
    """Send a message that is the only result of its task, and return its text.

    Raises:
        AirflowException: Slack cannot be reached, or refuses the message; another attempt sends it.
    """
    unsent = try_to_send(message)
    if unsent and unsent.temporary:
        raise AirflowException(f"{unsent.reason}; the next attempt sends the message.")
    return message.text


def try_to_send(message: Message) -> Unsent | None:
    """Send a message, or collect it for the digest, or log it with the reason why not.

    Never fails a task, whatever is wrong with Slack, its connection or the Variables it depends on. A
    malformed one counts as its default and is named in the message.
    """
    try:
        message = _with_origin(message)
        return _send(message)
    except Exception as error:  # the webhook is a secret, and it may be part of the error's text
        why = f"not sent: {type(error).__name__}"
        log.error("%s\n%s\n(%s)", message.username, message.text, why)
        return Unsent(f"it could not be sent: {type(error).__name__}", temporary=True)


def _send(message: Message) -> Unsent | None:
    settings = _settings(message)
    webhook = _webhook(connection_id(message))
    reason = reason_not_to_send(
        message,
        connection_exists=webhook is not None,
        environment=settings.environment,
        override=settings.override,
        silenced=settings.silenced,
    )
    warnings = tuple(f":warning: {escaped(problem)}" for problem in settings.problems)
    message = msgspec.structs.replace(message, lines=(*message.lines, *warnings))
    collected = settings.digest and not reason and _collected(message)
    where = f"kept for {DIGEST}" if collected else f"to {connection_id(message)}"
    log.info("%s\n%s\n(%s)", message.username, message.text, f"not sent: {reason}" if reason else where)
    if reason or webhook is None or collected:
        return Unsent(reason) if reason else None
    from catalog.notifications.blocks import blocks

    body = {
        "username": message.username,
        "text": shortened(message.text, FALLBACK),
        "blocks": blocks(message),
        "unfurl_links": False,
        "unfurl_media": False,
    }
    try:
        response = webhook.send_dict(body)
    except OSError as error:
        log.warning("Slack could not be reached: %s", type(error).__name__)
        return Unsent("Slack could not be reached", temporary=True)
    if response.status_code != 200:
        log.warning("Slack refused the message: status %s", response.status_code)
        return Unsent(f"Slack refused it with status {response.status_code}", temporary=True)
    if not _is_accepted(response.body):
        log.warning("The webhook's address answered, but not as a webhook: %s", response.body[:200])
        return Unsent("the webhook's address answered with a page or an error", temporary=True)
    return None


def _is_accepted(body: str) -> bool:
    """Return whether a webhook's answer with status 200 says that it took the message.

    Slack answers `ok`, compatible services something else. A login page of a proxy is HTML; an object with
    `"ok": false` is an error.
    """
    text = body.strip()
    return not text.startswith("<") and '"ok":false' not in "".join(text.split())


def _with_origin(message: Message) -> Message:
    """Add the run and the log of the task that sends the message."""
    try:
        context = get_current_context()
    except RuntimeError:  # a callback, which knows the run that it is about
        return message
    if message.origin:
        return message
    url = context["ti"].log_url
    return msgspec.structs.replace(message, origin=Origin(context["dag_run"].run_id, run_url(url), url))


def _collected(message: Message) -> bool:
    """Collect a report for the digest, unless the DAG that sends it is paused; return whether it waits."""
    from catalog.dags.common.connections import catalog_connection
    from catalog.notifications.digest import collect

    try:
        if get_current_context()["ti"].get_dag(DIGEST).is_paused:
            log.warning("SLACK_DIGEST is set, but %s is paused; the report is sent now.", DIGEST)
            return False
        with catalog_connection(autocommit=True) as connection:
            collect(connection, message)
    except Exception as error:
        log.warning("The report could not be kept for %s: %s", DIGEST, type(error).__name__)
        return False
    return True


class _Settings(msgspec.Struct, frozen=True):
    """Settings that decide about a message.

    Attributes:
        environment: See `reason_not_to_send`, as the next two.
        override: Somebody set a malformed override to have messages sent, so alerts are.
        silenced: Entries by DAG.
        digest: The message waits for the digest.
        problems: What is malformed about the settings.
    """

    environment: str
    override: bool
    silenced: dict[str, list[Silencing]]
    digest: bool
    problems: list[str]


def _settings(message: Message) -> _Settings:
    environment, problem_1 = value_or_default(ENVIRONMENT)
    override, problem_2 = value_or_default(SLACK_MESSAGE_OVERRIDE)
    silenced, problem_3 = value_or_default(SILENCED_SLACK_NOTIFICATIONS)
    digest, problem_4 = value_or_default(SLACK_DIGEST) if message.completion else (False, None)
    problems = [problem for problem in (problem_1, problem_2, problem_3, problem_4) if problem]
    for problem in problems:
        log.error("%s", problem)
    return _Settings(environment, override or bool(problem_2 and message.alert), silenced, digest, problems)


def notify(
    title: str,
    sender: str,
    summary: str = "",
    *,
    fields: Mapping[str, object] | None = None,
    lines: Sequence[str] = (),
    alert: bool = False,
    completion: bool = False,
) -> str:
    """Send a message on behalf of the task that runs, and return its text; see `Message`."""
    context = get_current_context()
    message = Message(
        title,
        sender,
        context["dag_run"].dag_id,
        context["ti"].task_id,
        alert,
        summary,
        {name: str(value) for name, value in (fields or {}).items()},
        tuple(lines),
        completion=completion,
    )
    send(message)
    return message.text


def notify_end(
    title: str,
    sender: str,
    summary: str,
    *,
    fields: Mapping[str, object] | None = None,
    lines: Sequence[str] = (),
    completion: bool = True,
) -> str:
    """Report the end of a run, whatever happened before; name the tasks that have failed.

    Args:
        title: What has ended.
        sender: Name under which the message is sent.
        summary: What was done.
        fields: Numbers, by name.
        lines: Details.
        completion: Whether everything has been done, if no task has failed.

    Raises:
        UpstreamFailed: Some have. The report fails as well, so that it is repeated when the failed tasks of
            the run are cleared.
    """
    failed, waiting = failed_tasks()
    if not failed and not waiting:
        return notify(title, sender, summary, fields=fields, lines=lines, completion=completion)
    # Somebody may have marked the failed ones as successful.
    begun = f"{waiting} tasks after failed ones did not begin" if waiting else ""
    missing = "; ".join(filter(None, (join_first(failed), begun)))
    line = f"  - *not done*: {escaped(missing)}. Clear the failed tasks to resume."
    notify(f"{title}: not complete", sender, summary, fields=fields, lines=[*lines, line])
    raise UpstreamFailed(f"not done: {missing}. This task reports again after they have been cleared.")


def _webhook(conn_id: str) -> Any:
    """Slack's client for a connection; None when there is no such connection.

    A Slack webhook connection (the token is its password) is read by Airflow's own hook, with its extras
    (`proxy`, `timeout`). A plain HTTP connection, whose whole address is the webhook, that hook does not
    take.
    """
    try:
        connection = Connection.get(conn_id)
    except AirflowNotFoundException:
        return None
    if connection.password:
        from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

        mask(connection.password)
        given = "timeout" in (connection.extra_dejson or {})
        return SlackWebhookHook(slack_webhook_conn_id=conn_id, timeout=None if given else TIMEOUT).client
    from slack_sdk import WebhookClient

    host = connection.host or ""
    if "://" not in host:
        host = f"{connection.conn_type if connection.conn_type in ('http', 'https') else 'https'}://{host}"
    url = host + (f":{connection.port}" if connection.port else "") + "/" + (connection.schema or "")
    mask(url)
    return WebhookClient(url, timeout=TIMEOUT, proxy=(connection.extra_dejson or {}).get("proxy"))


def alert_on_failure(context: Any) -> None:
    """Failure callback of every task. Silent for a task that fails only because one before it has."""
    exception = context.get("exception")
    if isinstance(exception, UpstreamFailed):
        return
    instance, run = context["ti"], context.get("dag_run")
    shown = exception if isinstance(exception, BaseException) else None
    if shown is not None:
        _note_reason(instance, shown)
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


def _note_reason(instance: Any, exception: BaseException) -> None:
    """Note why a task failed where monitoring finds it; the next attempt of the task deletes it."""
    reason = f"{type(exception).__name__}; the log of the task says more"
    if isinstance(exception, _FOR_PEOPLE):
        reason = shortened(" ".join(without_secrets(str(exception)).split()), REASON)
    try:
        instance.xcom_push(FAILURE, reason)
    except Exception as error:
        log.warning("The reason could not be noted: %s", type(error).__name__)


def alert_on_run_failure(context: Any) -> None:
    """Failure callback of every DAG, for runs that fail without a failed task, such as by a timeout."""
    reason, run = context.get("reason"), context["dag_run"]
    if reason != "task_failure":
        problem = f"The run failed: {reason or 'no reason is given'}."
        send(run_problem(run.dag_id, _origin(run.dag_id, run.run_id), "Run failed", problem))


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
    origin = _origin(run["dag_id"], run["dag_run_id"])
    await sync_to_async(send)(run_problem(run["dag_id"], origin, "Run is late", text))


def _origin(dag_id: str, run_id: str) -> Origin:
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    return Origin(run_id, f"{base}{run_path(dag_id, run_id)}" if base else "")
