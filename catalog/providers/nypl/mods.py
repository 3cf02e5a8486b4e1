"""Reads MODS descriptions in JSON, where a single value is not in a list, and text is under the key `$`."""

from catalog.provider_api import Json, JsonObject, Raw, dig


def listed(value: Json) -> list[Json]:
    """Return a list unchanged, a single value as a list of one, and None as an empty list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def text(node: Json, *path: str) -> Json:
    """Return the text at a path, either a string or under `$`; in lists, use the first match of each step."""
    for step in path:
        node = next((n[step] for n in listed(node) if isinstance(n, dict) and step in n), None)
    if isinstance(node, str):
        return node
    return next((n["$"] for n in listed(node) if isinstance(n, dict) and "$" in n), None)


def meta_data(mods: Raw) -> JsonObject:
    """Return the parts of a description that have no column of their own."""
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


def creator(mods: Raw) -> Json:
    """Return the name that is marked as primary."""
    return next((text(n, "namePart") for n in listed(mods.get("name")) if n.get("usage") == "primary"), None)


def topics(mods: Raw) -> list[Json]:
    """Return the topics of all subjects."""
    found = [topic.get("$") for s in listed(mods.get("subject")) for topic in listed(s.get("topic"))]
    return [topic for topic in found if topic]
