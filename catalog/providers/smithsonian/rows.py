"""Reads rows of the Smithsonian's search, in which values of unexpected types count as missing."""

import re

from catalog.provider_api import Json, JsonObject, Raw, as_list, dig
from catalog.providers.smithsonian.units import DESCRIPTIONS, RANKS

PAGES = {"NZP": "https://nationalzoo.si.edu/object/"}  # unit code → base URL of its records' pages
ANY_PAGE = "https://www.si.edu/object/"
BEST_FILE = "high-resolution jpeg"
_PIXELS = re.compile(r"\((\d+) ?x ?(\d+)\)")


def as_dict(value: Json) -> JsonObject:
    """Return the value, or {} if it has another type."""
    return value if isinstance(value, dict) else {}


def landing_page(described: JsonObject, unit: str) -> Json:
    """Return the page of a record: the one that it names, else the one made from its number."""
    if named := described.get("record_link") or described.get("guid"):
        return named
    record = described.get("record_ID")
    return f"{PAGES.get(unit, ANY_PAGE)}{record}" if record and isinstance(record, str) else None


def pixels(medium: Raw) -> tuple[Json, Json]:
    """Return width and height of an image from its best JPEG file; (None, None) if they are missing.

    They are fields of the file or, in older responses, part of its label, where two equal numbers are the
    length of the longer side.
    """
    for file in map(as_dict, as_list(dig(medium, "resources"))):
        label = str(file.get("label")).lower()
        if not label.startswith(BEST_FILE):
            continue
        if file.get("width") and file.get("height"):
            return file["width"], file["height"]
        match = _PIXELS.search(label)
        if match and match[1] != match[2]:
            return match[1], match[2]
    return None, None


def creator(content: Json) -> str | None:
    """Return all names of the best rank, joined; else the first main personal name of the index."""
    named = [
        n
        for n in as_list(dig(content, "freetext", "name"))
        if isinstance(dig(n, "content"), str) and n["content"].strip()
    ]
    ranked = [
        (RANKS.get(str(n.get("label")).strip().lower()), n["content"])
        for n in named
        if "unknown" not in n["content"].lower()
    ]
    if best := [
        name
        for rank, name in ranked
        if rank is not None and rank == min(r for r, _ in ranked if r is not None)
    ]:
        return " and ".join(("; ".join(best[:-1]), best[-1])) if len(best) > 1 else best[0]
    indexed = as_list(dig(content, "indexedStructured", "name"))
    return next(
        (
            c
            for n in indexed
            if str(dig(n, "type")).lower() == "personal_main"
            and isinstance(c := dig(n, "content"), str)
            and c
        ),
        None,
    )


def tags(indexed: JsonObject) -> list[Json]:
    """Return the dates, types, topics and places under which the record is indexed."""
    return [
        tag for key in ("date", "object_type", "topic", "place") for tag in as_list(indexed.get(key)) if tag
    ]


def meta_data(raw: Raw, described: JsonObject, unit: str) -> JsonObject:
    """Return the unit and the descriptions of a record."""
    notes = [
        n for n in as_list(dig(raw, "content", "freetext", "notes")) if isinstance(dig(n, "content"), str)
    ]

    def joined(*labels: str) -> str:
        return " ".join(n["content"] for n in notes if str(n.get("label")).strip().lower() in labels)

    meta = {
        "unit_code": unit,
        "data_source": described.get("data_source"),
        "description": joined(*DESCRIPTIONS),
        "label_text": joined("label text"),
    }
    return {key: value for key, value in meta.items() if value}
