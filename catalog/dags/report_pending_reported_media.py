"""Reports the number of reported media that wait for a decision, once a week.

Users of the API report images and audio files as mature, as an infringement or for another reason. For each
media type and reason, the DAG counts the distinct media without a decision, and sends an alert with links to
the admin pages, or a short note if there are none. The environment variable `DJANGO_ADMIN_URL` is the address
of the admin pages (`http://localhost:8000/admin` by default).
"""

from typing import Any

from airflow.sdk import task

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.settings import DJANGO_ADMIN_URL
from catalog.dags.common.connections import api_connection
from catalog.dags.common.context import GIVEN, DagRun, TaskInstance
from catalog.dags.common.settings import environment
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.slack import deliver
from catalog.moderation.reports import pending_reports
from catalog.notifications.alerts import pending_media


def count_pending_reports(media_type: MediaType) -> dict[str, int]:
    with api_connection(autocommit=True) as connection:
        return pending_reports(connection, media_type)


@task
def report_pending_media_reports(
    counts: dict[str, dict[str, int]], dag_run: DagRun = GIVEN, ti: TaskInstance = GIVEN
) -> str:
    admin = environment(DJANGO_ADMIN_URL)
    message = pending_media(dag_run.dag_id, ti.task_id, counts, admin)
    return deliver(message)


with catalog_dag(
    "report_pending_reported_media",
    "database",
    schedule="@weekly",
    doc=(__doc__ or "").strip(),
    media_types=MEDIA_TYPES,
):
    counts: dict[str, Any] = {
        m: task(task_id=f"get_pending_{m}_reports")(count_pending_reports)(m) for m in MEDIA_TYPES
    }
    report_pending_media_reports(counts)
