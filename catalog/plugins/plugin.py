"""The plugin that Airflow loads."""

from airflow.plugins_manager import AirflowPlugin

from catalog.plugins.dashboard.app import app


class CatalogPlugin(AirflowPlugin):
    """Adds the dashboard and its entry in the navigation."""

    name = "catalog_dashboard"
    fastapi_apps = [{"app": app, "url_prefix": "/catalog", "name": "Catalog dashboard"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Catalog",
            "href": "/catalog/",
            "destination": "nav",
            "url_route": "catalog_dashboard",
            "nav_top_level": True,
        }
    ]
