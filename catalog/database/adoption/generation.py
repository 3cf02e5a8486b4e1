"""The generation of an older catalog and its signs, for people; the plan follows from the inventory."""

import msgspec

from catalog.database.adoption.inventory import METRICS, SET_KEY, Inventory
from catalog.database.adoption.uniqueness import KEY, URL


class Generation(msgspec.Struct, frozen=True):
    """name: when its schema came up; signs: what in the database says so."""

    name: str
    signs: tuple[str, ...]


def generation(there: Inventory) -> Generation:
    """The newest generation whose mark the database bears; a table of media is there."""
    image, audio = there.columns.get("image", {}), there.columns.get("audio", {})
    marks = [
        ("2024", "long texts are of type text", _is_text(there)),
        (
            "December 2023",
            "deleted media are unique by provider and identifier",
            there.has("deleted_image") and not there.missing_unique("deleted_image", KEY),
        ),
        ("October 2023", "deleted_image, in its first form", there.has("deleted_image")),
        ("autumn 2023", f"audio.{SET_KEY}", SET_KEY in audio),
        ("mid 2023", "image.standardized_popularity", "standardized_popularity" in image),
        ("2022", f"audio_view with {SET_KEY}", there.audio_view_knows_sets),
        ("December 2021", "url is unique", not there.missing_unique("image", URL)),
    ]
    name = next((name for name, _, found in marks if found), "before December 2021")
    signs = [
        sign for _, sign, found in reversed(marks) if found and sign != "deleted_image, in its first form"
    ]
    if name == "October 2023":
        signs.append("deleted_image, in its first form")
    signs += [
        f"{view} is a materialized view"
        for view in ("image_view", "audio_view", "image_popularity_constants", "audio_popularity_constants")
        if there.has(view) and there.relations[view].kind == "materialized view"
    ]
    signs += [f"{table}.raw_val" for table in METRICS if "raw_val" in there.columns.get(table, {})]
    if there.has("audioset_view"):
        signs.append(f"audioset_view reads {'audio' if there.set_view_reads_table else 'audio_view'}")
    return Generation(name, tuple(signs))


def _is_text(there: Inventory) -> bool:
    column = there.columns.get("image", {}).get("url")
    return column is not None and column.type == "text"
