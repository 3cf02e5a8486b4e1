"""Says how many reported media wait for a decision, once a week.

Users of the API report images and audio files as mature, as an infringement or for another reason. The DAG counts, for each kind of media
and each reason, the distinct media whose reports nobody has decided yet, and posts an alert with links to the admin pages; when none waits,
a short note. Where the admin pages are, the environment's `DJANGO_ADMIN_URL` says (`http://localhost:8000/admin` if it is not set).
"""

from typing import Any

from airflow.sdk import get_current_context, task

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.settings import DJANGO_ADMIN_URL
from catalog.dags.dag_factory import catalog_dag
from catalog.dags.operators.settings import api_connection
from catalog.dags.operators.slack import send
from catalog.dags.operators.variables import environment
from catalog.notifications.messages import pending_media


def count_pending_reports(media_type: MediaType) -> dict[str, int]:
    from catalog.database.reports import pending_reports

    with api_connection(autocommit=True) as connection:
        return pending_reports(connection, media_type)


@task
def report_pending_media_reports(counts: dict[str, dict[str, int]]) -> str:
    context: Any = get_current_context()
    admin = environment(DJANGO_ADMIN_URL)
    message = pending_media(context["dag_run"].dag_id, context["ti"].task_id, counts, admin)
    send(message)
    return message.text


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
