"""Settings and mappings of an index that differ from the catalog's own, as a JSON merge patch (RFC 7386).

What the catalog's own requests need stays: an index without it could not be moderated, counted or promoted.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

from elasticsearch import NotFoundError

from catalog.core.errors import Refused
from catalog.core.media import MediaType
from catalog.data_refresh.search.identity import preflight_prefix
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.mapping import index_body
from catalog.data_refresh.search.templates import nested, unwanted_settings

# Fields by which documents are counted, moderated and read in order.
_NEEDED = ("id", "identifier", "mature", "source")
_OWN_MAPPING = {
    "_meta": "says which run made the index",
    "_routing": "would keep decisions of moderators from documents",
    "_source": "is what decisions of moderators are written to",
}
_OWN_SETTINGS = {
    "number_of_replicas": "comes from the extra `replicas` of the connection",
    "refresh_interval": "is the engine's default once the index is filled",
}


def customized(
    body: Mapping[str, Any], settings: Mapping[str, Any], mappings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the body of an index with changes.

    Args:
        body: Result of `index_body`.
        settings: Changes of its settings; keys may be nested or dotted, and begin with `index` or not.
        mappings: Changes of its mapping.
    """
    return {
        "settings": {"index": _merged(_tree(body["settings"]), _tree(settings))},
        "mappings": _merged(body["mappings"], mappings),
    }


def require_customizable(
    media_type: MediaType, settings: Mapping[str, Any], mappings: Mapping[str, Any]
) -> None:
    """Check that changes leave what the catalog needs. Raises Refused, naming the fields."""
    own, changed = _tree(index_body(media_type, {}, 1)["settings"]), _tree(settings)
    problems = [f"settings: index.{key} {why}" for key, why in _OWN_SETTINGS.items() if key in changed]
    problems += [f"settings: {text}" for text in unwanted_settings(_merged(own, changed))]
    problems += [f"mapping: {key} {why}" for key, why in _OWN_MAPPING.items() if key in mappings]
    body = index_body(media_type, {}, 1)["mappings"]
    fields, wanted = body["properties"], _merged(body, mappings).get("properties") or {}
    if lost := [name for name in _NEEDED if wanted.get(name) != fields[name]]:
        problems.append(f"mapping: {', '.join(lost)} must stay as they are; the catalog's requests need them")
    if problems:
        raise Refused("; ".join(problems) + ".")


def rehearse(engine: Indexes, media_type: MediaType, body: Mapping[str, Any]) -> None:
    """Let the engine accept the settings and the mapping, on an empty index that is deleted at once.

    Args:
        engine: Operations on indexes.
        media_type: Media type of the index.
        body: Settings and mapping.

    Raises:
        Fatal: The engine refuses them; the message is the engine's.
    """
    scratch = f"{preflight_prefix(media_type)}{uuid4().hex}"
    try:
        engine.create(scratch, body)
    finally:
        with suppress(NotFoundError):
            engine.client.indices.delete(index=scratch)


def _tree(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as a tree below `index`."""
    tree = nested(settings)
    index = tree.pop("index", {})
    return _merged(index, tree) if tree else dict(index)


def _merged(own: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a JSON merge patch: objects are merged, null removes a key, everything else replaces it."""
    result = dict(own) if isinstance(own, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = _merged(result.get(key), value)
        else:
            result[key] = value
    return result
