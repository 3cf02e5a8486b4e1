"""Generation of an older catalog, for people. The plan does not depend on it."""

import msgspec

from catalog.database.adoption.inventory import METRICS, SET_KEY, Inventory
from catalog.database.adoption.uniqueness import KEY, URL

_FIRST_DELETED = "deleted_image, in its first form"


class Generation(msgspec.Struct, frozen=True):
    """A generation of the catalog's schema.

    Attributes:
        name: When its schema was introduced.
        evidence: Properties of the database from which it follows.
    """

    name: str
    evidence: tuple[str, ...]


def generation(inventory: Inventory) -> Generation:
    """Return the newest generation that the database shows evidence of.

    Args:
        inventory: Inventory of a database that has a media table.
    """
    image, audio = inventory.columns.get("image", {}), inventory.columns.get("audio", {})
    marks = [
        ("2024", "long texts are of type text", _has_text(inventory)),
        (
            "December 2023",
            "deleted media are unique by provider and identifier",
            inventory.has("deleted_image") and not inventory.lacks_unique("deleted_image", KEY),
        ),
        ("October 2023", _FIRST_DELETED, inventory.has("deleted_image")),
        ("autumn 2023", f"audio.{SET_KEY}", SET_KEY in audio),
        ("mid 2023", "image.standardized_popularity", "standardized_popularity" in image),
        ("2022", f"audio_view with {SET_KEY}", inventory.audio_view_knows_sets),
        ("December 2021", "url is unique", not inventory.lacks_unique("image", URL)),
    ]
    name = next((name for name, _, found in marks if found), "before December 2021")
    evidence = [mark for _, mark, found in reversed(marks) if found and mark != _FIRST_DELETED]
    if name == "October 2023":
        evidence.append(_FIRST_DELETED)
    evidence += [
        f"{view} is a materialized view"
        for view in ("image_view", "audio_view", "image_popularity_constants", "audio_popularity_constants")
        if inventory.has(view) and inventory.relations[view].kind == "materialized view"
    ]
    evidence += [f"{table}.raw_val" for table in METRICS if "raw_val" in inventory.columns.get(table, {})]
    if inventory.has("audioset_view"):
        source = "audio" if inventory.set_view_reads_table else "audio_view"
        evidence.append(f"audioset_view reads {source}")
    return Generation(name, tuple(evidence))


def _has_text(inventory: Inventory) -> bool:
    column = inventory.columns.get("image", {}).get("url")
    return column is not None and column.type == "text"
