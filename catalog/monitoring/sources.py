"""Sources of records: each provider with each of its media types."""

from collections.abc import Sequence

import msgspec

from catalog.core.dashboard_paths import provider_page
from catalog.core.media import MediaType
from catalog.ingestion.provider import Provider
from catalog.ingestion.registry import dag_id_of, provider_class, provider_classes


class Source(msgspec.Struct, frozen=True):
    """A provider and one of its media types.

    Attributes:
        provider: Name of the provider's folder and DAG.
        media_type: Media type.
        name: Name of the provider in the catalog, for this media type.
    """

    provider: str
    media_type: MediaType
    name: str

    @property
    def declaration(self) -> type[Provider]:
        return provider_class(self.provider)

    @property
    def page(self) -> str:
        """Path of its page on the dashboard."""
        return provider_page(self.provider)

    @property
    def dag_id(self) -> str:
        return dag_id_of(self.provider)


def all_sources() -> list[Source]:
    """Return all providers that can be imported, with each of their media types."""
    return [
        Source(cls.name, media_type, name)
        for cls in provider_classes()
        for media_type, name in cls.catalog_names.items()
    ]


def columns_of(wanted: Sequence[Source]) -> list[list[str]]:
    """Return the names and the media types of sources, for `unnest`."""
    return [[source.name for source in wanted], [source.media_type for source in wanted]]
