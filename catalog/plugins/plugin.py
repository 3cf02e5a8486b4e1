"""The plugin that Airflow loads."""

from airflow.plugins_manager import AirflowPlugin

from catalog.plugins import restarts
from catalog.plugins.airflow_address import base_path
from catalog.plugins.dashboard.app import app
from catalog.plugins.links import DashboardLink


class CatalogPlugin(AirflowPlugin):
    """Adds the dashboard, its entry in the navigation, links from tasks to its pages, and a listener."""

    name = "catalog_dashboard"
    listeners = [restarts]  # noqa: RUF012
    global_operator_extra_links = [DashboardLink()]  # noqa: RUF012
    fastapi_apps = [{"app": app, "url_prefix": "/catalog", "name": "Catalog dashboard"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Catalog",
            "href": f"{base_path()}/catalog/",
            "destination": "nav",
            "url_route": "catalog_dashboard",
            "nav_top_level": True,
        }
    ]
