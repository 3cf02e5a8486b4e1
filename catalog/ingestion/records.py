"""The results of a provider's mapping: an `Image`, an `Audio`, or a `Skip` with its reason."""

from typing import Any

import msgspec

from catalog.core.jsontypes import Json, JsonObject
from catalog.core.licenses import License
from catalog.core.media import MediaType

Raw = Json  # an item of a response, as decoded from JSON; its structure is not trusted


class Media(msgspec.Struct, kw_only=True, gc=False):
    """The fields that images and audio share; the first four are required.

    Values may have any type; they are cleaned when the record is written. A record without a license, or
    without a valid required field, becomes a reject.
    """

    foreign_identifier: Json
    foreign_landing_url: Json
    url: Json
    license: License | None
    thumbnail: Json = None
    filetype: Json = None
    filesize: Json = None  # bytes
    creator: Json = None
    creator_url: Json = None
    title: Json = None
    meta_data: JsonObject | None = None
    tags: Json = None  # list of names, or of {"name", "provider", "accuracy"?}
    category: str | None = None
    watermarked: bool = False
    source: str | None = None  # institution; None stands for the provider itself
    ingestion_type: str | None = None


class Image(Media, kw_only=True, gc=False):
    """One image; width and height in pixels."""

    width: Json = None
    height: Json = None


class Audio(Media, kw_only=True, gc=False):
    """One recording; duration in milliseconds, bit_rate in bit/s, sample_rate in Hz."""

    duration: Json = None
    bit_rate: Json = None
    sample_rate: Json = None
    genres: list[str] | None = None
    # Keys: title, foreign_landing_url, thumbnail, creator, creator_url, foreign_identifier.
    audio_set: JsonObject | None = None
    set_position: Json = None
    alt_files: list[JsonObject] | None = None
    audio_set_foreign_identifier: Json = None


class Skip(msgspec.Struct, frozen=True):
    """An item that the catalog does not want; counted by reason.

    Attributes:
        reason: Why the item is not wanted.
        media_type: The media type to count it under; None for the provider's first one.
    """

    reason: str
    media_type: MediaType | None = None


def missing(**values: Any) -> Skip | None:
    """Return a `Skip` that names the first missing value; None if all values are present.

    >>> missing(identifier=7, landing_url="")
    Skip(reason='no landing URL', media_type=None)
    """
    name = next((name for name, value in values.items() if not value), None)
    return Skip(f"no {name.replace('_', ' ').replace('url', 'URL')}") if name else None


class FailedItem(msgspec.Struct, frozen=True):
    """An item whose details could not be obtained, and the error; becomes a reject."""

    raw: Json
    error: Exception


RecordResult = Media | Skip | list[Media | Skip]


def compact(raw: JsonObject, *keys: str, **renamed: str) -> JsonObject:
    """Return the named keys of `raw` whose value is not None; `date="creation_date"` renames one."""
    wanted = {**{key: key for key in keys}, **renamed}
    return {name: value for name, key in wanted.items() if (value := raw.get(key)) is not None}


def dig(raw: Json, *path: str | int) -> Json:
    """Return the value at a path of keys and indexes; None if a step is missing or has another type."""
    for step in path:
        if isinstance(raw, dict):
            raw = raw.get(step)
        elif isinstance(raw, list) and isinstance(step, int) and -len(raw) <= step < len(raw):
            raw = raw[step]
        else:
            return None
    return raw
