"""The rule of `meta_data`: an object of texts."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, LiteralString

from catalog.cleaning.rule import Cleaned, Rule, parsed
from catalog.cleaning.texts import MARKUP, UNTIDY_JSON
from catalog.core.jsontypes import keys_in
from catalog.ingestion.fields import LICENSE_KEYS, clean_meta

NO_OBJECT = "meta_data that is not an object"
SAME_KEYS = "keys of meta_data that differ in white space only"


def object_of(text: str | None) -> dict[str, Any] | None:
    """Return the object that a stored JSON value stands for.

    A string may hold the JSON of an object. An array of objects stands for all of them, merged, later ones
    win, as the loader has it.

    Returns:
        The object; None if the value stands for no object.
    """
    if text is None:
        return {}
    value = parsed(text)
    if isinstance(value, str):
        try:
            value = parsed(value) if value.strip() else None
        except (ValueError, RecursionError):
            return None
    if isinstance(value, list) and all(part is None or isinstance(part, dict) for part in value):
        value = {key: field for part in value if part for key, field in part.items()}
    if value is None:
        return {}
    return value if isinstance(value, dict) else None


def _clean(row: Mapping[str, Any]) -> Cleaned:
    stored = row["meta_data"]
    if stored is None:
        return Cleaned()
    meta = object_of(stored)
    if meta is None:
        return Cleaned(left=[NO_OBJECT])
    own = {key: value for key, value in meta.items() if key not in LICENSE_KEYS}
    lost = Counter[str]()
    value = clean_meta(own, lost)
    if lost:
        return Cleaned(left=sorted(lost))
    if len(list(keys_in(value))) < len(list(keys_in(own))) or LICENSE_KEYS & value.keys():
        return Cleaned(left=[SAME_KEYS])
    value |= {key: meta[key] for key in meta.keys() & LICENSE_KEYS}
    before = parsed(stored)
    return Cleaned() if _same(value, before) else Cleaned({"meta_data": value})


def _same(one: Any, other: Any) -> bool:
    """Return whether JSON values are equal; Python's own comparison takes true for 1."""
    return bool(one == other) and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _condition(_columns: tuple[str, ...]) -> LiteralString:
    return (
        "jsonb_typeof(meta_data) <> 'object'"
        " or jsonb_path_exists(meta_data,"
        ' \'strict $.** ? (@.type() == "number" || @.type() == "boolean")\')'
        ' or meta_data::text collate "C" ~ \'' + UNTIDY_JSON + "|" + MARKUP + "|0000[-:]'"
    )


META_DATA = Rule(
    "meta_data",
    "metadata that is JSON in a string or an array of objects; numbers, booleans, HTML and white space "
    "in its values",
    ("meta_data",),
    (),
    _condition,
    _clean,
)
