"""Encodes structured values (metadata, tags, genres, audio sets, alternative files) as fields of COPY text.

Values that cannot be stored are dropped and counted in `cleaned` by reason. `plain_meta` and `plain_tags` are
the fast path for ordinary values; they return what `meta_field` and `tags_field` would.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache

import orjson

from catalog.core.columns import INTEGERS
from catalog.core.jsontypes import Json, JsonObject
from catalog.core.numbers import number_in
from catalog.ingestion.cleaning import UNDECODED, creators, escape, is_undecoded, number_for, plain, tidy
from catalog.ingestion.filetypes import kind_of

MAX_TAGS = 2_000  # more indicate an error at the source; the rest is counted, not stored
MAX_GENRE = 80  # characters
MAX_DEPTH = 100  # of nested arrays and objects
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//[^\s<>]+", re.IGNORECASE)
_NO_DATE = re.compile(r"0000[-:]00[-:]00(?:[T ]00:00(?::00(?:\.0+)?)?)?Z?")

_DROPPED = object()
_TEXT, _SCALARS = {str}, {str, int, float, bool}
LICENSE_KEYS = frozenset(("license_url", "raw_license_url"))
_LOST_TAG = "tag malformed or over the limit"

CleanUrl = Callable[[object], str | None]


def json_field(value: Json) -> str:
    """Encode a JSON value whose strings are tidy."""
    return escape(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode())


def plain_meta(meta: JsonObject) -> str | None:
    """Encode metadata that consists of scalars without need for cleaning; return None for anything else."""
    try:
        types = set(map(type, meta.values()))
        if types != _TEXT:
            if not types <= _SCALARS:
                return None
            meta = {key: str(value) for key, value in meta.items()}
        text = orjson.dumps(meta).decode()
    except (orjson.JSONEncodeError, TypeError):  # a lone surrogate, a key that is not a string
        return None
    if (
        "\\" not in text
        and "<" not in text
        and "&" not in text
        and "  " not in text
        and '" ' not in text
        and ' "' not in text
        and '"0000' not in text
        and LICENSE_KEYS.isdisjoint(meta)
        # orjson escapes all ASCII control characters but DEL; only non-ASCII text can hold others.
        and ("\x7f" not in text if text.isascii() else text.isprintable())
    ):
        return text
    return None


def meta_field(meta: JsonObject, cleaned: Counter[str]) -> str:
    """Encode metadata, cleaned by `clean_meta`."""
    return json_field(clean_meta(meta, cleaned))


def clean_meta(meta: JsonObject, cleaned: Counter[str]) -> JsonObject:
    """Return metadata as it is stored; all scalars, including numbers and booleans, become plain text.

    HTML is kept under keys that end in `_html`. URLs are kept, whether the key ends in `_url` or the value
    looks like one. Dates of zeros, which some sources use for "unknown", are dropped, and so are the keys of
    the license, which are not for a provider to set.
    """
    own = {key: value for key, value in meta.items() if key not in LICENSE_KEYS}
    return _Texts("meta_data", cleaned).of_object(own)


class _Texts:
    """Converts all scalars in the JSON values of a column to text."""

    def __init__(self, column: str, cleaned: Counter[str]) -> None:
        self._column = column
        self._cleaned = cleaned

    def of_object(self, values: dict[Json, Json], as_given: bool = False, depth: int = 1) -> JsonObject:
        """Return the object with its values as text.

        Args:
            values: The object.
            as_given: The strings are HTML or URLs: make them tidy but keep their markup.
            depth: The number of arrays and objects around the values.
        """
        found = {}
        for key, value in values.items():
            name = tidy(str(key))
            text = self.of(value, as_given or name.endswith(("_html", "_url")), depth)
            if text is not _DROPPED:
                found[name] = text
        return found

    def of(self, value: Json, as_given: bool = False, depth: int = 0) -> Json:
        """Return the value as text, or `_DROPPED`."""
        if isinstance(value, str):
            return self._text(value, as_given)
        if value is None:
            return None
        if not isinstance(value, dict | list | tuple):
            return tidy(str(value))
        if depth >= MAX_DEPTH:
            return self._drop("is nested too deeply")
        if isinstance(value, dict):
            return self.of_object(value, as_given, depth + 1)
        items = (self.of(item, as_given, depth + 1) for item in value)
        return [item for item in items if item is not _DROPPED]

    def _text(self, text: str, as_given: bool) -> Json:
        if is_undecoded(text):
            self._cleaned[f"{self._column} {UNDECODED}"] += 1
        if ("<" in text or "&" in text) and not as_given and not _URL.fullmatch(text.strip()):
            return plain(text) or None  # empty if there was only markup
        if "0000" in text and _NO_DATE.fullmatch(text.strip()):
            return self._drop("holds a date of zeros")
        return tidy(text)

    def _drop(self, fault: str) -> object:
        self._cleaned[f"{self._column} {fault}"] += 1
        return _DROPPED


@lru_cache(65_536)
def _tag(name: str, provider: str) -> str:
    return orjson.dumps({"name": name, "provider": provider}).decode()


def accuracy_of(value: Json) -> int | float | None:
    """Return the accuracy of a tag, also of a numeric string; None if it is not a number from 0 to 100."""
    if type(value) is str:
        value = number_in(value)
    return value if type(value) in (int, float) and 0 <= value <= 100 else None


def _tag_object(tag: Json, provider: str) -> str | None:
    """Encode a tag as JSON; return None if it has no name. Its own provider and accuracy are kept."""
    if type(tag) is str:
        name = plain(tag)
        return _tag(name, provider) if name else None
    if type(tag) is dict and type(tag.get("name")) is str and (name := plain(tag["name"])):
        owner = tag.get("provider")
        kept: JsonObject = {
            "name": name,
            "provider": tidy(owner) if type(owner) is str and tidy(owner) else provider,
        }
        if (accuracy := accuracy_of(tag.get("accuracy"))) is not None:
            kept["accuracy"] = accuracy
        return orjson.dumps(kept).decode()
    return None


def plain_tags(tags: Json, provider: str) -> str | None:
    """Encode a list of tag names that need no cleaning; return None for anything else."""
    if type(tags) is not list or len(tags) > MAX_TAGS:
        return None
    try:
        joined = ",".join(tags)
    except TypeError:
        return None
    if (
        '"' not in joined
        and "\\" not in joined
        and "<" not in joined
        and "&" not in joined
        and ",," not in joined
        and (" " not in joined or ("  " not in joined and ", " not in joined and " ," not in joined))
        and joined[:1] not in ", "
        and joined[-1:] not in ", "
        and joined.isprintable()
    ):
        end = '","provider":"' + provider + '"}'
        return '[{"name":"' + (end + ',{"name":"').join(dict.fromkeys(tags)) + end + "]"
    return None


def tags_field(tags: Json, provider: str, cleaned: Counter[str]) -> str | None:
    """Encode tags, cleaned by `clean_tags`; return None if there are none."""
    text = clean_tags(tags, provider, cleaned)
    return escape(text) if text else None


def clean_tags(tags: Json, provider: str, cleaned: Counter[str]) -> str | None:
    """Return tags as JSON, in order and without duplicates; None if there are none."""
    if not tags:
        return None
    if type(tags) not in (list, tuple, set, frozenset):
        cleaned[_LOST_TAG] += 1
        return None
    if undecoded := sum(type(tag) is str and is_undecoded(tag) for tag in tags):
        cleaned[f"tags {UNDECODED}"] += undecoded
    objects = [_tag_object(tag, provider) for tag in tags]
    kept = list(dict.fromkeys(o for o in objects if o))
    if lost := sum(o is None for o in objects) + max(0, len(kept) - MAX_TAGS):
        cleaned[_LOST_TAG] += lost
    return "[" + ",".join(kept[:MAX_TAGS]) + "]" if kept else None


def array_field(names: list[str]) -> str:
    """Encode names as a PostgreSQL array literal."""
    quoted = ('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names)
    return escape("{" + ",".join(quoted) + "}")


def _listed(value: Json) -> list[Json] | tuple[Json, ...]:
    return value if isinstance(value, list | tuple) else [value]


def genres_field(genres: Json, cleaned: Counter[str]) -> str | None:
    """Encode genres, given as a list or a single name; return None if the value is None."""
    if genres is None:
        return None
    names = [
        plain(str(genre)) if type(genre) in (str, int, float) else ""
        for genre in _listed(genres)
        if genre is not None
    ]
    kept = [name for name in names if 0 < len(name) <= MAX_GENRE]
    if lost := len(names) - len(kept):
        cleaned["genre malformed or too long"] += lost
    return array_field(list(dict.fromkeys(kept)))


def _kept(pairs: Iterable[tuple[str, Json]]) -> JsonObject:
    return {tidy(key): value for key, value in pairs if value is not _DROPPED}


def audio_set_field(audio_set: Json, clean: CleanUrl, cleaned: Counter[str]) -> str | None:
    """Encode the set (album, pack) that a recording belongs to; return None if there is none."""
    if not audio_set:
        return None
    if type(audio_set) is not dict:
        cleaned["audio_set is not an object"] += 1
        return None
    texts = _Texts("audio_set", cleaned)

    def value_of(key: str, value: Json) -> Json:
        if value is None or value == "":
            return value
        if key.endswith("url") or key == "thumbnail":
            url = clean(value)
            if url is None:
                cleaned[f"audio_set {key} is not a URL"] += 1
            return url
        if key == "creator" and type(value) is str:
            return creators(value)
        return texts.of(value, key != "title")

    return json_field(_kept((str(key), value_of(str(key), value)) for key, value in audio_set.items()))


def alt_files_field(files: Json, clean: CleanUrl, cleaned: Counter[str]) -> str | None:
    """Encode other files of the same recording; return None if there are none.

    Each URL is kept once, with its last description.
    """
    if not files:
        return None
    texts, kept = _Texts("alt_files", cleaned), {}

    def value_of(key: str, value: Json, url: str) -> Json:
        if key == "url":
            return url
        if key == "filetype":
            return kind_of(value, url, "audio").filetype
        if key not in INTEGERS:
            return texts.of(value, True)
        number, fault = number_for(key, value)
        if fault:
            cleaned[f"alternative file: {fault}"] += 1
        return None if number is None else str(number)

    for file in _listed(files):
        url = clean(file.get("url")) if isinstance(file, dict) else None
        if url:
            kept[url] = _kept((str(key), value_of(str(key), value, url)) for key, value in file.items())
        else:
            cleaned["alternative file without a URL"] += 1
    return json_field(list(kept.values())) if kept else None
