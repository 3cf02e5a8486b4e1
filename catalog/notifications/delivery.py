"""Decides whether a message is sent to Slack. The task log has every message in full."""

import re
from collections.abc import Mapping, Sequence

from catalog.core.setting_values import Silencing
from catalog.core.settings import SLACK_ALERTS, SLACK_NOTIFICATIONS
from catalog.notifications.message import Message


def connection_id(message: Message) -> str:
    """Return the id of the Airflow connection that a message is sent to."""
    return SLACK_ALERTS if message.alert else SLACK_NOTIFICATIONS


def silencing_issue(message: Message, silenced: Mapping[str, Sequence[Silencing]]) -> str | None:
    """Return the issue of the first entry that silences a message; None if no entry does.

    An entry silences a message of its DAG if the user name and the text contain its predicate, in upper or
    lower case, and its `task_id_pattern` matches a part of the task id. An entry without a pattern, and a
    message without a task id, match any.

    Args:
        message: The message.
        silenced: Entries of `SILENCED_SLACK_NOTIFICATIONS`, by DAG id.
    """
    haystack = (message.username + message.text).lower()
    for entry in silenced.get(message.dag_id, ()):
        pattern = entry.task_id_pattern
        task_fits = not pattern or not message.task_id or re.search(pattern, message.task_id)
        if task_fits and entry.predicate.lower() in haystack:
            return entry.issue or "an entry without an issue"
    return None


def reason_not_to_send(
    message: Message,
    *,
    connection_exists: bool,
    environment: str,
    override: bool,
    silenced: Mapping[str, Sequence[Silencing]],
) -> str | None:
    """Return the reason not to send a message; None if it is to be sent.

    Args:
        message: The message.
        connection_exists: True if the message's connection is defined.
        environment: Value of the Variable `ENVIRONMENT`.
        override: True if messages are sent in every environment.
        silenced: Entries of `SILENCED_SLACK_NOTIFICATIONS`, by DAG id.
    """
    if not connection_exists:
        return f"there is no connection {connection_id(message)}"
    if issue := silencing_issue(message, silenced):
        return f"silenced by SILENCED_SLACK_NOTIFICATIONS, see {issue}"
    if environment.lower() != "production" and not override:
        return f"ENVIRONMENT is {environment}, not production, and SLACK_MESSAGE_OVERRIDE is not set"
    return None
