"""The results of a provider's mapping: an `Image`, an `Audio`, or a `Skip` with its reason."""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import UNSET

from catalog.core.errors import HttpStatus, Retry, UnexpectedResponse
from catalog.core.jsontypes import Json, JsonObject
from catalog.core.licenses import License
from catalog.core.media import Category, MediaType

_SERVERS_OWN_ERROR = 500
Raw = Json  # an item of a response, as decoded from JSON; its structure is not trusted


class Media(msgspec.Struct, kw_only=True, gc=False):
    """The fields that images and audio share; the first four are required.

    Values may have any type; they are cleaned when the record is written. A record without a license, or
    without a valid required field, becomes a reject.

    Attributes:
        foreign_identifier: The provider's identifier of the item; it never changes.
        foreign_landing_url: The page that shows the item to people.
        url: The file.
        license: From `license_from_url`, `license_from_pair`, or a constant such as `CC0`.
        thumbnail: URL of a small picture.
        filetype: Extension or MIME type; None: from the URL.
        filesize: In bytes.
        creator: Name of the person; several are separated by semicolons.
        creator_url: Page of the person.
        title: Title of the item.
        meta_data: Everything else that has a meaning; values are stored as strings.
        tags: List of names, or of {"name": ..., "accuracy": ...}; see `tags_of`.
        category: Kind of the content; None stands for the provider's own.
        watermarked: Whether the file shows a watermark.
        source: Institution; None stands for the provider itself.
        ingestion_type: None for an API.
    """

    foreign_identifier: Json
    foreign_landing_url: Json
    url: Json
    license: License | None
    thumbnail: Json = None
    filetype: Json = None
    filesize: Json = None
    creator: Json = None
    creator_url: Json = None
    title: Json = None
    meta_data: JsonObject | None = None
    tags: Json = None
    category: Category | None = None
    watermarked: bool = False
    source: str | None = None
    ingestion_type: str | None = None

    media_type: ClassVar[MediaType]


class Image(Media, kw_only=True, gc=False):
    """One image; width and height in pixels."""

    media_type: ClassVar[MediaType] = "image"

    width: Json = None
    height: Json = None


class _Part(msgspec.Struct, kw_only=True):
    """A part of a record that is stored as a JSON object with the fields that were given."""

    def given(self) -> JsonObject:
        """Return the fields that were given, None among them."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}


class AudioSet(_Part, kw_only=True):
    """The set that a recording belongs to: an album, a pack, a series."""

    title: Json
    foreign_landing_url: Json = UNSET
    thumbnail: Json = UNSET
    creator: Json = UNSET
    creator_url: Json = UNSET
    foreign_identifier: Json


class AudioFile(_Part, kw_only=True):
    """A file of a recording; units as in `Audio`, size in bytes."""

    url: Json
    filetype: Json = UNSET
    filesize: Json = UNSET
    duration: Json = UNSET
    bit_rate: Json = UNSET
    sample_rate: Json = UNSET


class Audio(Media, kw_only=True, gc=False):
    """One recording.

    Attributes:
        duration: In milliseconds; see `milliseconds`.
        bit_rate: In bit/s.
        sample_rate: In Hz.
        genres: Names of genres.
        audio_set: The album, pack or series that it belongs to.
        set_position: Its position in the set.
        alt_files: Other files of the same recording; see `audio_files`.
    """

    media_type: ClassVar[MediaType] = "audio"

    duration: Json = None
    bit_rate: Json = None
    sample_rate: Json = None
    genres: list[str] | None = None
    audio_set: AudioSet | None = None
    set_position: Json = None
    alt_files: Sequence[AudioFile] | None = None


def audio_files(main: AudioFile, *others: AudioFile) -> JsonObject:
    """Return the arguments of `Audio` for a recording with several files.

    Args:
        main: The file that is played.
        others: The alternatives.
    """
    return {**main.given(), "alt_files": others or None}


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

    @property
    def is_away(self) -> bool:
        """Whether the API did not answer for the details; odd ones are an answer."""
        return isinstance(self.error, Retry) and not isinstance(self.error, UnexpectedResponse)

    def after_rereading(self) -> "FailedItem":
        """Return the item for a later attempt, which has requested the details again.

        Once, status 500 may say that the API is down. If it comes again, while the details of other items
        come, it is about this item, which must not keep each pull from being whole.
        """
        if isinstance(self.error, Retry) and self.error.status == _SERVERS_OWN_ERROR:
            return FailedItem(self.raw, HttpStatus(str(self.error), _SERVERS_OWN_ERROR))
        return self


RecordResult = Media | Skip | Sequence[Media | Skip]


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


def as_list(value: Json) -> list[Json]:
    """Return a list as it is; [] for a value of another type."""
    return value if isinstance(value, list) else []
