"""The two search engines, and the database that belongs to each."""

from typing import Literal, NamedTuple

from catalog.dags.common.connections import API_DB, SEARCH, STAGING_DB, STAGING_SEARCH


class Environment(NamedTuple):
    """A search engine and its API database.

    Attributes:
        name: Part of the ids of its DAGs.
        search: Airflow connection of the search engine.
        api: Airflow connection of the API database, which has the decisions of moderators.
    """

    name: Literal["production", "staging"]
    search: str
    api: str


PRODUCTION = Environment("production", SEARCH, API_DB)
STAGING = Environment("staging", STAGING_SEARCH, STAGING_DB)
ENVIRONMENTS: dict[str, Environment] = {
    environment.name: environment for environment in (PRODUCTION, STAGING)
}
