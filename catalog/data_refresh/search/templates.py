"""Checks that templates of the search engine do not change an index: its mapping, access or settings."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from elasticsearch import Elasticsearch, NotFoundError

from catalog.core.errors import Fatal
from catalog.data_refresh.search.client import ask

WINDOW = 2_000  # documents per search of a reader
_ADVICE = "narrow the template's index_patterns (GET _index_template, GET _template)"
_ADDED = {  # settings whose presence changes what is written, who finds it, or how long it stays
    "default_pipeline": "changes or drops documents",
    "final_pipeline": "changes or drops documents",
    "hidden": "hides the index",
    "search.default_pipeline": "changes searches",
    "blocks": "forbids operations of a refresh",
    "lifecycle": "may delete the index",
    "sort": "orders documents",
    "mode": "changes how documents are stored",
    "routing_partition_size": "requires a routing",
}
_MAPPING = ("properties", "_meta")  # compared field by field elsewhere


def template_problems(name: str, about: Mapping[str, Any]) -> list[str]:
    """Return what templates add to an index, as messages.

    Args:
        name: Name of the index.
        about: `settings`, `mappings` and `aliases`, as returned by the engine; `aliases` without our own.
    """
    settings = nested(about.get("settings") or {}).get("index", {})
    problems = [
        f"the alias {alias}, under which it would be searched at once"
        for alias in sorted(about.get("aliases") or {})
    ]
    problems += unwanted_settings(settings)
    if (window := _at(settings, "max_result_window")) is not None and int(window) < WINDOW:
        problems.append(f"index.max_result_window of {window}, below the {WINDOW} that readers request")
    if str(_at(settings, "routing.allocation.enable") or "all").lower() == "none":
        problems.append("index.routing.allocation.enable: none, so no node allocates its shards")
    return [f"a template of the search engine gives {name} {what}; {_ADVICE}" for what in problems]


def unwanted_settings(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings that an index of the catalog must not have, each with its effect.

    Args:
        settings: Settings below `index`, as a tree.
    """
    found = []
    for key, why in _ADDED.items():
        value = _at(settings, key)
        if value not in (None, "", "false", "_none", {}, []) and _is_on(value):
            found.append(f"index.{key}, which {why}")
    return found


def mapping_problems(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the parts of a mapping, other than its fields, that differ from the wanted ones."""
    keys = {*made, *wanted} - {*_MAPPING}
    return sorted(key for key in keys if _text(made.get(key)) != _text(wanted.get(key)))


def foreseen(client: Elasticsearch, name: str) -> list[str]:
    """Return what templates would add to an index of this name; empty if the account may not read them."""
    problems: list[str] = []
    try:
        simulated = ask(client.indices.simulate_index_template, name=name).body.get("template") or {}
        problems += template_problems(name, simulated)
        if not simulated.get("settings") and not simulated.get("mappings") and not simulated.get("aliases"):
            for old in _legacy(client, name):  # these apply if no composable template does
                problems += template_problems(name, old)
    except (Fatal, NotFoundError):
        return problems
    return problems


def _legacy(client: Elasticsearch, name: str) -> Iterator[Mapping[str, Any]]:
    """Yield legacy templates (`_template`), which the engine does not simulate."""
    for about in ask(client.indices.get_template).body.values():
        if any(fnmatchcase(name, pattern) for pattern in about.get("index_patterns", ())):
            yield about


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as a tree, whether their keys are nested or dotted."""
    tree: dict[str, Any] = {}
    for key, value in settings.items():
        *path, last = key.split(".")
        place = tree
        for step in path:
            place = place.setdefault(step, {})
        if isinstance(value, Mapping):
            below = place.setdefault(last, {})
            below.update(nested(value))
        else:
            place[last] = value
    return tree


def _at(settings: Mapping[str, Any], key: str) -> Any:
    value: Any = settings
    for step in key.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _is_on(value: Any) -> bool:
    """Return whether a setting, or one below it, is set to anything but a default."""
    if isinstance(value, Mapping):
        return any(_is_on(one) for one in value.values())
    return str(value).lower() not in ("false", "standard", "1")


def _text(value: Any) -> Any:
    """Return a value for comparison: False equals "false", and empty values equal None."""
    if isinstance(value, Mapping):
        return {key: _text(one) for key, one in value.items()}
    return None if value in (None, [], {}) else str(value).lower() if not isinstance(value, list) else value
