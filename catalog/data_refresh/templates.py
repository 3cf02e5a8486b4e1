"""Checks that templates of the search engine change neither the mapping nor the access to an index."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

from catalog.core.errors import Fatal
from catalog.data_refresh.client import ask

WINDOW = 2_000  # documents that one search is asked for
_ADVICE = "narrow the template's index_patterns (GET _index_template, GET _template)"
_ADDED = {  # settings whose presence changes what is written, who finds it, or how long it stays
    "default_pipeline": "changes or drops documents",
    "final_pipeline": "changes or drops documents",
    "hidden": "hides the index",
    "search.default_pipeline": "changes searches",
    "blocks": "forbids what a refresh does",
    "lifecycle": "may delete the index",
    "sort": "orders documents",
    "mode": "changes how documents are kept",
    "routing_partition_size": "asks for a routing",
}
_MAPPING = ("properties", "_meta")  # compared field by field; ours to say


def template_problems(name: str, about: Mapping[str, Any]) -> list[str]:
    """What an index has that it was not made with, in words.

    Args:
        name: of the index, as templates know it.
        about: `settings`, `mappings` and `aliases`, as the engine shows them; `aliases` without our own.
    """
    settings = _nested(about.get("settings") or {}).get("index", {})
    found = [
        f"the alias {alias}, by which it would be searched at once"
        for alias in sorted(about.get("aliases") or {})
    ]
    for key, why in _ADDED.items():
        value = _at(settings, key)
        if value not in (None, "", "false", "_none", {}, []) and _is_on(value):
            found.append(f"index.{key}, which {why}")
    if (window := _at(settings, "max_result_window")) is not None and int(window) < WINDOW:
        found.append(f"index.max_result_window of {window}, below the {WINDOW} that are asked for")
    if str(_at(settings, "routing.allocation.enable") or "all").lower() == "none":
        found.append("index.routing.allocation.enable: none, so no node takes it")
    return [f"a template of the search engine gives {name} {what}; {_ADVICE}" for what in found]


def mapping_problems(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Parts of a mapping, beside its fields, that are not as wanted."""
    keys = ({*made, *wanted}) - {*_MAPPING}
    return sorted(key for key in keys if _text(made.get(key)) != _text(wanted.get(key)))


def foreseen(client: Elasticsearch, name: str) -> list[str]:
    """Return what templates would do to an index of this name; [] if the account may not read them."""
    problems: list[str] = []
    try:
        simulated = ask(client.indices.simulate_index_template, name=name).body.get("template") or {}
        problems += template_problems(name, simulated)
        if not simulated.get("settings") and not simulated.get("mappings") and not simulated.get("aliases"):
            for old in _older(client, name):  # these count where no newer one does
                problems += template_problems(name, old)
    except (Fatal, NotFoundError):
        return problems
    return problems


def _older(client: Elasticsearch, name: str) -> Iterator[Mapping[str, Any]]:
    """Templates of the older kind, which the engine does not simulate."""
    for about in ask(client.indices.get_template).body.values():
        if any(fnmatchcase(name, pattern) for pattern in about.get("index_patterns", ())):
            yield about


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a tree, whichever way they were written."""
    tree: dict[str, Any] = {}
    for key, value in settings.items():
        *path, last = key.split(".")
        place = tree
        for step in path:
            place = place.setdefault(step, {})
        if isinstance(value, Mapping):
            below = place.setdefault(last, {})
            below.update(_nested(value))
        else:
            place[last] = value
    return tree


def _at(settings: Mapping[str, Any], key: str) -> Any:
    value: Any = settings
    for step in key.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _is_on(value: Any) -> bool:
    """Whether a setting, or one below it, says something."""
    if isinstance(value, Mapping):
        return any(_is_on(one) for one in value.values())
    return str(value).lower() not in ("false", "standard", "1")


def _text(value: Any) -> Any:
    """False and "false" are the same; what is empty is none."""
    if isinstance(value, Mapping):
        return {key: _text(one) for key, one in value.items()}
    return None if value in (None, [], {}) else str(value).lower() if not isinstance(value, list) else value
