"""Indexes for tests, made as a refresh makes them."""

from catalog.core.media import MediaType
from catalog.data_refresh.mapping import index_body, index_meta
from catalog.data_refresh.search import Indexes
from catalog.data_refresh.tag_policy import DEFAULT, TagPolicy


def make(
    search: Indexes, name: str, media_type: MediaType = "image", policy: TagPolicy = DEFAULT, dag_id: str = ""
) -> str:
    """Its uuid."""
    meta = index_meta(media_type, dag_id or f"{media_type}_data_refresh", "run", policy)
    return search.create(name, index_body(media_type, meta, shards=1))
