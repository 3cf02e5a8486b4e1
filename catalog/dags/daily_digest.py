"""Sends one Slack message a day with the reports of all runs that completed since the last one.

Unpause this DAG and set the Variable `SLACK_DIGEST` to `true`. Then reports of completed runs, such as loads
and data refreshes, are collected in the catalog database (table `digest_entry`) instead of being sent one by
one. Alerts, and reports of runs that were partial or not whole, are still sent at once; the task log has
every report in full. While this DAG is paused, all reports are sent at once. A digest that is not sent,
whatever the reason, is sent by the next attempt, or by the next run.
"""

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from catalog.dags.common.connections import catalog_connection
from catalog.dags.common.context import GIVEN, TaskInstance
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.slack import DIGEST, try_to_send
from catalog.notifications.digest import digest, waiting


@task
def send_digest(ti: TaskInstance = GIVEN) -> str:
    """Return the text of the digest; skipped if no run has completed."""
    with catalog_connection(autocommit=True) as connection, waiting(connection) as entries:
        if not entries:
            raise AirflowSkipException("no run has completed since the last digest.")
        message = digest(ti.dag_id, ti.task_id, entries)
        unsent = try_to_send(message)
        if unsent:
            kept = f"{unsent.reason}; the {len(entries):,} reports are kept."
            raise AirflowException(kept) if unsent.temporary else AirflowSkipException(kept)
    return message.text


with catalog_dag(DIGEST, "maintenance", schedule="@daily", doc=(__doc__ or "").strip()):
    send_digest()
