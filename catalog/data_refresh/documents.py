"""What the search index holds of a medium: one row of the API database in, one document out. Pure."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from catalog.core.media import MediaType
from catalog.data_refresh.normal_form import normal_form
from catalog.data_refresh.tag_policy import TagFilter

DESCRIPTION = 2000  # characters
KEYWORD = 8_000  # characters; the engine takes terms of 32 766 bytes
SMALLEST_RANK = 1.17549435e-38  # the engine ranks by normal 32-bit numbers
# begins where a word does and gives nothing back, so that a long word is looked at once
_JOINED = re.compile("(?<![^\\W_])[^\\W_]++(?:[:.·'\u2018\u2019_][^\\W_]++)++")
_AUTHORITY = {  # how far a provider's word counts: social 75, curated 85, cultural institutions 90
    **dict.fromkeys(("flickr", "behance", "thingiverse", "sketchfab", "deviantart"), 75.0),
    **dict.fromkeys(("stocksnap", "rawpixel"), 85.0),
    **dict.fromkeys(
        (
            "thorvaldsensmuseum",
            "svgsilh",
            "smithsonian",
            "rijksmuseum",
            "museumsvictoria",
            "met",
            "mccordsmuseum",
            "digitaltmuseum",
            "clevelandmuseum",
            "brooklynmuseum",
        ),
        90.0,
    ),
}
SMALL, MEDIUM = 640 * 480, 1600 * 900  # pixels
LENGTHS = ((30_000, "shortest"), (120_000, "short"), (600_000, "medium"))  # milliseconds


class Unreadable(NamedTuple):
    """A JSON value of the database that Python cannot read. problem: why."""

    problem: str


class MediaRow(NamedTuple):
    """Columns that images and audio files share, in the order of the query in `indexing`."""

    id: int
    identifier: UUID
    created_on: datetime
    title: str | None
    creator: str | None
    provider: str | None
    source: str | None
    category: str | None
    license: str
    url: str | None
    filetype: str | None
    standardized_popularity: float | None
    meta_data: Any
    tags: Any
    mature: bool
    width: int | None = None
    height: int | None = None
    duration: int | None = None
    alt_files: Any = None


COLUMNS: dict[MediaType, tuple[str, ...]] = {
    "image": ("width", "height", "null::integer", "null::jsonb"),
    "audio": ("null::integer", "null::integer", "duration", "alt_files"),
}


def document(media_type: MediaType, row: MediaRow, tags: TagFilter) -> dict[str, Any]:
    """The document of a row. Keys whose value would be none are left out.

    `sensitive_text` is searched for sensitive terms only and is never shown: the tags that were dropped,
    words that the engine's tokenizer does not split (`water's`, `geo:water`), and texts that are other
    characters in their normal form, in that form.

    Raises:
        ValueError: a JSON value could not be read, so nobody knows what it would have said.
    """
    for value in (row.meta_data, row.tags, row.alt_files):
        if isinstance(value, Unreadable):
            raise ValueError(value.problem)
    meta = row.meta_data if isinstance(row.meta_data, dict) else {}
    kept, dropped = tags(row.tags)
    popularity = scaled_popularity(row.standardized_popularity)
    authority = authority_boost(row.provider, meta)
    text = meta.get("description")
    description = text[:DESCRIPTION] if isinstance(text, str) and text else None
    found: dict[str, Any] = {
        "id": row.id,
        "identifier": str(row.identifier),
        "created_on": row.created_on,
        "title": row.title,
        "creator": row.creator,
        "url": row.url,
        "provider": keyword(row.provider),
        "source": keyword(row.source),
        "category": keyword(row.category),
        "license": keyword(row.license.lower()),
        "description": description,
        "mature": row.mature or says_mature(meta.get("mature")),
        "standardized_popularity": popularity,
        "authority_boost": authority,
        "max_boost": max(popularity or 1, authority or 1),
        "min_boost": min(popularity or 1, authority or 1),
        "tags": kept,
        "sensitive_text": _sensitive_text(dropped, row.title, description, kept) or None,
        **_SPECIFIC[media_type](row),
    }
    return {key: value for key, value in found.items() if value is not None}


def _sensitive_text(
    dropped: list[str], title: str | None, description: str | None, kept: list[dict[str, Any]]
) -> list[str]:
    texts = [title or "", description or "", *(tag["name"] for tag in kept)]
    whole = "\n".join(texts)
    found = [normal_form(name) for name in dropped]
    if not whole.isascii() and normal_form(whole) != whole.lower():
        normal = {text: text.lower() if text.isascii() else normal_form(text) for text in texts}
        found += [form for text, form in normal.items() if form != text.lower()]
        whole = "\n".join(text for text, form in normal.items() if form == text.lower())
    # joined by what the standard tokenizer does not split at (Unicode's annex 29: MidLetter, MidNumLet, ExtendNumLet)
    return found + _JOINED.findall(whole)


def keyword(value: Any) -> str | None:
    """A text that is searched as a whole; none for what is none, or too long to be one."""
    return value if isinstance(value, str) and 0 < len(value) <= KEYWORD else None


def rank(value: Any) -> float | None:
    """Return a number to rank by, at most 100; None for what is not a positive number."""
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        return None
    return min(number, 100.0) if number >= SMALLEST_RANK else None  # not a number compares as false


def scaled_popularity(score: float | None) -> float | None:
    """0 to 100 for 0 to 1; none where there is nothing to rank by."""
    return rank(score * 100) if score is not None and score < math.inf else None


def authority_boost(provider: str | None, meta: Mapping[str, Any]) -> float | None:
    """The record's own, if it has one, else its provider's; a bad one is none."""
    return rank(meta["authority_boost"]) if "authority_boost" in meta else _AUTHORITY.get(provider or "")


def says_mature(value: Any) -> bool:
    """Whether a record's own `meta_data` says that it is mature. value: of its key `mature`."""
    return bool(value) and str(value).lower() != "false"


def _image(row: MediaRow) -> dict[str, Any]:
    return {
        "aspect_ratio": aspect_ratio(row.width, row.height),
        "size": size(row.width, row.height),
        "extension": extension(row.url),
        "filetype": keyword(row.filetype),
    }


def _audio(row: MediaRow) -> dict[str, Any]:
    files = row.alt_files if isinstance(row.alt_files, list) else []
    alternatives = [kind for f in files if isinstance(f, dict) and (kind := keyword(f.get("filetype")))]
    return {
        "length": length(row.duration),
        "extension": alternatives or keyword(row.filetype),
        "filetype": keyword(row.filetype),
    }


_SPECIFIC: dict[MediaType, Callable[[MediaRow], dict[str, Any]]] = {"image": _image, "audio": _audio}


def aspect_ratio(width: int | None, height: int | None) -> str | None:
    if width is None or height is None:
        return None
    return "tall" if height > width else "wide" if width > height else "square"


def size(width: int | None, height: int | None) -> str | None:
    if width is None or height is None:
        return None
    pixels = width * height
    return "small" if pixels < SMALL else "medium" if pixels < MEDIUM else "large"


def extension(url: str | None) -> str | None:
    """Return the file extension of a URL, in lower case; None if it has none."""
    if not url:
        return None
    try:
        path = urlsplit(url).path
    except ValueError:
        return None
    _, dot, ending = path.rpartition(".")
    return keyword(ending.lower()) if dot and "/" not in ending else None


def length(duration: int | None) -> str | None:
    """duration: milliseconds."""
    if not duration:
        return None
    return next((name for limit, name in LENGTHS if duration < limit), "long")
