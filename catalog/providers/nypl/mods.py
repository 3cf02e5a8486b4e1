"""MODS descriptions in JSON: several of a kind are a list, one is an object, a text is under `$`."""

from typing import Any

from catalog.provider_api import Raw, dig


def listed(value: Any) -> list[Any]:
    """The values of a kind: a list as it is, a single one as a list of one, none as an empty list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def text(node: Any, *path: str) -> Any:
    """The text at the end of a path, bare or under `$`; of a list, the first with the next step."""
    for step in path:
        node = next((n[step] for n in listed(node) if isinstance(n, dict) and step in n), None)
    if isinstance(node, str):
        return node
    return next((n["$"] for n in listed(node) if isinstance(n, dict) and "$" in n), None)


def meta_data(mods: Raw) -> dict[str, Any]:
    """What the catalog keeps of a description beside its own columns."""
    kinds, created = listed(mods.get("typeOfResource")), listed(dig(mods, "originInfo", "dateCreated"))
    points = {d.get("point"): d.get("$") for d in created}
    meta = {
        "type_of_resource": next(
            (k.get("$") for k in kinds if len(kinds) == 1 or k.get("usage") == "primary"), None
        ),
        "genre": text(mods, "genre"),
        "date_issued": text(mods, "originInfo", "dateIssued"),
        "date_created": "-".join(points[p] for p in ("start", "end") if points.get(p))
        or text(mods, "originInfo", "dateCreated"),
        "publisher": text(mods, "originInfo", "publisher"),
        "physical_description": text(mods, "physicalDescription", "note"),
    }
    return {key: value for key, value in meta.items() if value}


def creator(mods: Raw) -> Any:
    """The name that the description calls the primary one."""
    return next((text(n, "namePart") for n in listed(mods.get("name")) if n.get("usage") == "primary"), None)


def topics(mods: Raw) -> list[Any]:
    """The topics of all subjects."""
    found = [topic.get("$") for s in listed(mods.get("subject")) for topic in listed(s.get("topic"))]
    return [topic for topic in found if topic]
