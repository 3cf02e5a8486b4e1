"""Documents of the search index: a pure function from a row of the API database to its document."""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from catalog.core.media import MediaType
from catalog.core.numbers import number_of
from catalog.data_refresh.search.normal_form import normal_form
from catalog.data_refresh.search.tag_policy import TagFilter

DESCRIPTION = 2000  # characters
LONGEST_TERM = 200  # characters of a sensitive term
KEYWORD = 8_000  # characters; the engine's limit is 32,766 bytes
SMALLEST_RANK = 1.17549435e-38  # the engine ranks by normal 32-bit floats
# Words that something joins, and words with `_` at an end. It starts at the start of a word, and its
# quantifiers are possessive, so that the time is linear.
_JOINED = re.compile(
    "(?<!\\w)(?=_*+[^\\W_])(?=[^\\W_]*+(?:_|[:.·'\u2018\u2019]\\w))\\w++(?:[:.·'\u2018\u2019]\\w++)*+"
)
_SPACE = re.compile(r"\s")
# Authority of a provider: social platforms 75, curated collections 85, cultural institutions 90.
_AUTHORITY = {
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
    """A JSON value of the database that Python cannot parse.

    Attributes:
        problem: Why it cannot.
    """

    problem: str


class MediaRow(NamedTuple):
    """A row of either media type, with columns in the order of the query in `document_rows`."""

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
    """Return the document of a row, without keys whose value would be None.

    `sensitive_text` is only searched for sensitive terms. It holds the dropped tags, the part of the
    description that the document does not show, words that the engine's tokenizer does not split (`water's`,
    `geo:water`), and the normal form of texts that differ from it.

    Args:
        media_type: Media type of the row.
        row: The row.
        tags: Filter of the tags.

    Raises:
        ValueError: A JSON value could not be parsed.
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
    unseen = [*dropped, _unseen_description(row.meta_data)]
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
        "sensitive_text": _sensitive_text(unseen, row.title, description, kept) or None,
        **_SPECIFIC[media_type](row),
    }
    return {key: value for key, value in found.items() if value is not None}


def _unseen_description(meta_data: Any) -> str:
    """Return the text of a description that the document does not show.

    It begins between two words before the end of the shown part, so that it holds each term that crosses this
    end. In adopted catalogs, the description may be a list, and `meta_data` a list or a text.
    """
    text = meta_data.get("description") if isinstance(meta_data, dict) else meta_data
    if not isinstance(text, str):
        return "" if text is None else json.dumps(text, ensure_ascii=False)
    if not isinstance(meta_data, dict):
        return text
    rest = text[DESCRIPTION - 2 * LONGEST_TERM :] if len(text) > DESCRIPTION else ""
    space = _SPACE.search(rest, 0, LONGEST_TERM)
    return rest[space.start() :] if space else rest


def _sensitive_text(
    unseen: list[str], title: str | None, description: str | None, kept: list[dict[str, Any]]
) -> list[str]:
    texts = [title or "", description or "", *(tag["name"] for tag in kept)]
    joined = "\n".join(texts)
    found = [normal_form(text) for text in unseen if text]
    if not joined.isascii() and normal_form(joined) != joined.lower():
        normal = {text: text.lower() if text.isascii() else normal_form(text) for text in texts}
        found += [form for text, form in normal.items() if form != text.lower()]
        joined = "\n".join(text for text, form in normal.items() if form == text.lower())
    # The standard tokenizer does not split at these characters (Unicode Standard Annex 29: MidLetter,
    # MidNumLet, ExtendNumLet), so words joined by them would not be found.
    return found + _JOINED.findall(joined)


def keyword(value: Any) -> str | None:
    """Return a non-empty string for a keyword field; None for other values and strings that are too long."""
    return value if isinstance(value, str) and 0 < len(value) <= KEYWORD else None


def rank(value: Any) -> float | None:
    """Return a value for a rank field, at most 100; None for anything but a positive number."""
    number = number_of(value)
    if isinstance(value, bool) or number is None or not number >= SMALLEST_RANK:  # as of NaN
        return None
    return min(number, 100.0)


def scaled_popularity(score: float | None) -> float | None:
    """Scale a score from 0 to 1 to a rank from 0 to 100; None if there is nothing to rank by."""
    return rank(score * 100) if score is not None and score < math.inf else None


def authority_boost(provider: str | None, meta: Mapping[str, Any]) -> float | None:
    """Return the authority of the record, if it has one, otherwise its provider's; None if it is invalid."""
    return rank(meta["authority_boost"]) if "authority_boost" in meta else _AUTHORITY.get(provider or "")


def says_mature(value: Any) -> bool:
    """Return whether the value of the key `mature` in `meta_data` says that the record is mature."""
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
    """Return the class of a duration in milliseconds; None without a duration."""
    if not duration:
        return None
    return next((name for limit, name in LENGTHS if duration < limit), "long")
