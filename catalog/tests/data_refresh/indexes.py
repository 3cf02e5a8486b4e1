"""Indexes for tests, created as a refresh creates them, and a store for the progress of tasks."""

from typing import Any, TypedDict

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.search.attempts import Attempt
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.indexing import IdRange, RangeIndexer
from catalog.data_refresh.search.mapping import index_body, index_meta
from catalog.data_refresh.search.tag_policy import DEFAULT, TagPolicy


def make(
    search: Indexes, name: str, media_type: MediaType = "image", policy: TagPolicy = DEFAULT, dag_id: str = ""
) -> str:
    """Create an index, wait until it can be searched, and return its UUID."""
    meta = index_meta(media_type, dag_id or f"{media_type}_data_refresh", "run", policy)
    uuid = search.create(name, index_body(media_type, meta, shards=1))
    # A new index is yellow before its shard has started.
    search.client.cluster.health(index=name, wait_for_active_shards="1", timeout="60s")
    return uuid


def image_indexer(api: Connection, engine: Indexes, **options: Any) -> RangeIndexer:
    """Return the task that fills `image-a` with all documents of the tests' table."""
    return RangeIndexer(api, engine, "image-a", "image", "image", DEFAULT, IdRange(1, 500), **options)


Progress = dict[str, dict[str, Any]]


class Keep(TypedDict):
    """Option of the tasks that keep their progress between attempts."""

    attempt: Attempt


def keep(state: Progress, **more: Any) -> Keep:
    """Return an attempt that keeps progress in the entry `at` of a dictionary."""
    attempt = Attempt(lambda: state.get("at"), lambda progress: state.update(at=progress), **more)
    return {"attempt": attempt}
