"""Looks whether what is silenced still has a reason to be.

Messages to Slack may be silenced (Variable `SILENCED_SLACK_NOTIFICATIONS`) and errors of an ingestion passed over
(`SKIPPED_INGESTION_ERRORS`); each entry names the GitHub issue that is its reason. Once a week the issues are looked up, and an alert names
the entries whose issue is closed or gone: remove these, or give them another issue. A task is skipped when there is nothing to report. The
token for private repositories is the Variable `GITHUB_API_KEY`.
"""

from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.setting import Setting
from catalog.core.settings import SILENCED_SLACK_NOTIFICATIONS, SKIPPED_INGESTION_ERRORS
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.github import github
from catalog.dags.operators.running import task_failures
from catalog.dags.operators.slack import send
from catalog.dags.operators.variables import value_of
from catalog.notifications.messages import stale_entries


def check(setting: Setting[Any]) -> str:
    """The text of the alert."""
    from catalog.maintenance.silenced import closed_issues

    context: Any = get_current_context()
    with task_failures():
        found = closed_issues(github(), value_of(setting))
    if not found:
        raise AirflowSkipException(f"{setting.name} holds no entry whose issue is closed.")
    message = stale_entries(context["dag_run"].dag_id, context["ti"].task_id, setting.name, found)
    send(message)
    return message.text


with catalog_dag("check_silenced_dags", "maintenance", schedule="@weekly", doc=(__doc__ or "").strip()):

    @task
    def check_silenced_slack_notifications() -> str:
        return check(SILENCED_SLACK_NOTIFICATIONS)

    @task
    def check_skipped_ingestion_errors() -> str:
        return check(SKIPPED_INGESTION_ERRORS)

    check_silenced_slack_notifications()
    check_skipped_ingestion_errors()
