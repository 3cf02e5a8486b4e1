"""Checks that every silenced alert and skipped error still refers to an open issue.

Slack messages can be silenced (Variable `SILENCED_SLACK_NOTIFICATIONS`), and ingestion errors can be skipped
(`SKIPPED_INGESTION_ERRORS`). Each entry names the GitHub issue that is its reason. Once a week the issues are
looked up, and an alert names the entries whose issue is closed or missing: remove these, or give them another
issue. Entries whose issue could not be looked up are named apart from them. A task with nothing to report is
skipped. The Variable `GITHUB_API_KEY` holds the token for private repositories: a
fine-grained one with *Issues: read*, or a classic one with `repo`.
"""

from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from catalog.core.setting import Setting
from catalog.core.settings import SILENCED_SLACK_NOTIFICATIONS, SKIPPED_INGESTION_ERRORS
from catalog.dags.common.github import github
from catalog.dags.common.variables import value_of
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.slack import deliver
from catalog.maintenance.silenced import closed_issues
from catalog.notifications.alerts import stale_entries


def _check(setting: Setting[Any]) -> str:
    found = closed_issues(github(), value_of(setting))
    if not found:
        raise AirflowSkipException(f"{setting.name} holds no entry whose issue is closed.")
    ti = get_current_context()["ti"]
    message = stale_entries(ti.dag_id, ti.task_id, setting.name, found)
    return deliver(message)


@task
def check_silenced_slack_notifications() -> str:
    return _check(SILENCED_SLACK_NOTIFICATIONS)


@task
def check_skipped_ingestion_errors() -> str:
    return _check(SKIPPED_INGESTION_ERRORS)


with catalog_dag("check_silenced_dags", "maintenance", schedule="@weekly", doc=(__doc__ or "").strip()):
    check_silenced_slack_notifications()
    check_skipped_ingestion_errors()
