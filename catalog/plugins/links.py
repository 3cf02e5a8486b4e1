"""The link from a task in Airflow's UI to the dashboard's page about what the task works on."""

from typing import Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.types import TaskInstanceKey

from catalog.core.dashboard_paths import provider_page, refresh_page
from catalog.core.media import MEDIA_TYPES
from catalog.ingestion.registry import dag_ids, provider_classes
from catalog.plugins.airflow_address import base_url


class DashboardLink(BaseOperatorLink):
    """Leads from tasks of provider DAGs to the provider, and from those of data refreshes to the media type.

    The plugin registers it for all operators. The API server asks it whenever a task is shown, so it works
    before and while a task runs, and tasks store nothing for it. Other tasks have no such button.
    """

    name = "Catalog dashboard"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the page; "" if there is none for the DAG of the task."""
        page = pages().get(ti_key.dag_id)
        base = base_url()
        return f"{base}/catalog/{page}" if page else ""


def pages() -> dict[str, str]:
    """Return the page of each DAG that has one, below the dashboard's address."""
    found = {dag_id: provider_page(cls.name) for cls in provider_classes() for dag_id in dag_ids(cls)}
    for media_type in MEDIA_TYPES:
        for dag_id in (f"{media_type}_data_refresh", f"create_filtered_{media_type}_index"):
            found[dag_id] = refresh_page(media_type)
    return found
