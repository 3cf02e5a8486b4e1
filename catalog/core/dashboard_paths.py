"""Paths of the dashboard's pages, below its own address."""

from uuid import UUID

from catalog.core.media import MediaType


def provider_page(name: str) -> str:
    """Return the path of a provider's page.

    Args:
        name: Name of the provider's folder.
    """
    return f"providers/{name}"


def refresh_page(media_type: MediaType) -> str:
    """Return the path of the page about the data refreshes of a media type."""
    return f"refresh?media={media_type}"


def record_page(media_type: MediaType, key: UUID | str) -> str:
    """Return the path of a record's page."""
    return f"records/{media_type}/{key}"
