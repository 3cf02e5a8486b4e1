"""Whether a message is sent, and if not, why. The whole text goes to the task log in any case."""

import re
from collections.abc import Mapping, Sequence

from catalog.core.setting import Silencing
from catalog.notifications.messages import Message

NOTIFICATIONS, ALERTS = "slack_notifications", "slack_alerts"


def connection_id(message: Message) -> str:
    return ALERTS if message.alert else NOTIFICATIONS


def silencing_issue(message: Message, silenced: Mapping[str, Sequence[Silencing]]) -> str | None:
    """The issue that silences this message, if any does.

    An entry of the message's DAG does when its predicate is part of user name and text (in any case of
    letters) and its task_id_pattern, if it has one and the message a task, is found in the task's id.
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
    """None when the message is to be sent."""
    if not connection_exists:
        return f"there is no connection {connection_id(message)}"
    if issue := silencing_issue(message, silenced):
        return f"silenced by SILENCED_SLACK_NOTIFICATIONS, see {issue}"
    if environment.lower() != "production" and not override:
        return f"ENVIRONMENT is {environment}, not production, and SLACK_MESSAGE_OVERRIDE is not set"
    return None
