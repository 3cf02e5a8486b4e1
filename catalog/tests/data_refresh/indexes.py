"""Indexes for tests, created as a refresh creates them, and a store for the progress of tasks."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from catalog.core.media import MediaType
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.mapping import index_body, index_meta
from catalog.data_refresh.search.tag_policy import DEFAULT, TagPolicy


def make(
    search: Indexes, name: str, media_type: MediaType = "image", policy: TagPolicy = DEFAULT, dag_id: str = ""
) -> str:
    """Create an index and return its UUID."""
    meta = index_meta(media_type, dag_id or f"{media_type}_data_refresh", "run", policy)
    return search.create(name, index_body(media_type, meta, shards=1))


Progress = dict[str, dict[str, Any]]


class Keep(TypedDict):
    """Options of the tasks that keep their progress between attempts."""

    load: Callable[[], Mapping[str, Any] | None]
    save: Callable[[dict[str, Any]], None]


def keep(state: Progress) -> Keep:
    """Return options that keep progress in the entry `at` of a dictionary."""
    return {"load": lambda: state.get("at"), "save": lambda progress: state.update(at=progress)}
