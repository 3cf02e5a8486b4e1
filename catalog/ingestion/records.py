"""What a provider's mapping returns: an `Image`, an `Audio`, or a `Skip` with its reason."""

from typing import Any

import msgspec

from catalog.core.licenses import License
from catalog.core.media import MediaType

Raw = Any  # one item of a provider's answer, as JSON gave it; a mapping trusts none of it


class Media(msgspec.Struct, kw_only=True, gc=False):
    """Fields that images and audio share; the first four are required. Values are cleaned when written.

    license None, or a required field that does not survive cleaning, makes the row a reject, never an
    exception.
    """

    foreign_identifier: Any
    foreign_landing_url: Any
    url: Any
    license: License | None
    thumbnail: Any = None
    filetype: Any = None
    filesize: Any = None  # bytes
    creator: Any = None
    creator_url: Any = None
    title: Any = None
    meta_data: dict[str, Any] | None = None
    tags: Any = None  # list of names, or of {"name", "provider", "accuracy"?}
    category: str | None = None
    watermarked: bool = False
    source: str | None = None  # a sub-provider; the provider itself when None
    ingestion_type: str | None = None


class Image(Media, kw_only=True, gc=False):
    """One image; width and height in pixels."""

    width: Any = None
    height: Any = None


class Audio(Media, kw_only=True, gc=False):
    """One recording; duration in milliseconds, bit_rate in bit/s, sample_rate in Hz."""

    duration: Any = None
    bit_rate: Any = None
    sample_rate: Any = None
    genres: list[str] | None = None
    audio_set: dict[str, Any] | None = (
        None  # title, foreign_landing_url, thumbnail, creator, creator_url, foreign_identifier
    )
    set_position: Any = None
    alt_files: list[dict[str, Any]] | None = None
    audio_set_foreign_identifier: Any = None


class Skip(msgspec.Struct, frozen=True):
    """An item that the catalog does not want, and why; counted by reason."""

    reason: str
    media_type: MediaType | None = None  # None: counted under the provider's first media type


def missing(**values: Any) -> Skip | None:
    """Return the Skip for the first missing value; None if there is none.

    >>> missing(identifier=7, landing_url="")
    Skip(reason='no landing URL', media_type=None)
    """
    name = next((name for name, value in values.items() if not value), None)
    return Skip(f"no {name.replace('_', ' ').replace('url', 'URL')}") if name else None


class FailedItem(msgspec.Struct, frozen=True):
    """An item whose details could not be had, and the error that this met; becomes a reject."""

    raw: Any
    error: Exception


Mapped = Media | Skip | list[Media | Skip]


def compact(raw: dict[str, Any], *keys: str, **renamed: str) -> dict[str, Any]:
    """Return the named keys of `raw` whose value is not None; `date="creation_date"` renames one."""
    wanted = {**{key: key for key in keys}, **renamed}
    return {name: value for name, key in wanted.items() if (value := raw.get(key)) is not None}


def dig(raw: Any, *path: str | int) -> Any:
    """The value at a path of keys and indexes, or None as soon as a step is missing or of another type."""
    for step in path:
        if isinstance(raw, dict):
            raw = raw.get(step)
        elif isinstance(raw, list) and isinstance(step, int) and -len(raw) <= step < len(raw):
            raw = raw[step]
        else:
            return None
    return raw
