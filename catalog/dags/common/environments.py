"""The two search engines: the database that belongs to each, and the DAGs that change its indexes."""

from typing import Literal, NamedTuple

from catalog.core.media import MEDIA_TYPES
from catalog.core.settings import API_DB, SEARCH, STAGING_DB, STAGING_SEARCH


class Environment(NamedTuple):
    """A search engine and its API database.

    Attributes:
        name: Part of the ids of its DAGs.
        search: Airflow connection of the search engine.
        api: Airflow connection of the API database, which has the decisions of moderators.
        upkeep: Ids of the DAGs, triggered by people, that change indexes or aliases.
        others: Ids of the other DAGs that change them, or that database.
    """

    name: Literal["production", "staging"]
    search: str
    api: str
    upkeep: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def dags(self) -> tuple[str, ...]:
        """Ids of all DAGs that change its indexes."""
        return (*self.upkeep, *self.others)

    def conflicts(self, dag_id: str) -> tuple[str, ...]:
        """Return the DAGs that must not run beside one of the upkeep."""
        return tuple(other for other in self.dags if other != dag_id)


PRODUCTION = Environment(
    "production",
    SEARCH,
    API_DB,
    ("create_new_production_es_index", "point_production_es_alias"),
    tuple(f"{m}_data_refresh" for m in MEDIA_TYPES)
    + tuple(f"create_filtered_{m}_index" for m in MEDIA_TYPES),
)
STAGING = Environment(
    "staging",
    STAGING_SEARCH,
    STAGING_DB,
    ("create_new_staging_es_index", "create_proportional_by_source_staging_index", "point_staging_es_alias"),
    ("recreate_full_staging_index", "staging_database_restore"),
)
ENVIRONMENTS: dict[str, Environment] = {
    environment.name: environment for environment in (PRODUCTION, STAGING)
}
