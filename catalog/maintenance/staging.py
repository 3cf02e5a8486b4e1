"""Makes a restored staging database fit for use: no keys of production, and the newest version of the API."""

from catalog.core.errors import Fatal
from catalog.core.session import Connection, is_same_database
from catalog.core.setting_values import Deploy
from catalog.core.settings import STAGING_DB
from catalog.maintenance.github import GitHub

# Tables of API keys; production's must not work in staging.
TRUNCATED = ("api_throttledapplication", "api_oauth2registration")


def forget_applications(connection: Connection, production: Connection | None = None) -> None:
    """Truncate the tables of applications and their API keys.

    Args:
        connection: Connection to the staging database, in autocommit mode.
        production: Connection to the production database of the API, in autocommit mode, if there is one.

    Raises:
        Fatal: Both connections lead to the same database.
    """
    if production and is_same_database(connection, production):
        raise Fatal(
            f"the connection {STAGING_DB} leads to the production database of the API, so no keys were "
            "deleted there; correct it, then clear this task. Until then, production's keys work in staging."
        )
    connection.execute("set statement_timeout = '5min'")
    connection.execute(f"truncate {', '.join(TRUNCATED)} restart identity cascade")


def deploy(target: Deploy, github: GitHub) -> str:
    """Start the deployment of the newest version of the API to staging, which migrates the database.

    Returns:
        The tag that is deployed.

    Raises:
        CatalogError: A request to GitHub failed, or no version has a tag.
    """
    tag = github.newest_tag(target.repository.partition("/")[0], target.package)
    github.dispatch(target.repository, target.workflow, {"tag": tag})
    return tag
