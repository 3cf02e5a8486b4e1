"""Structured values (metadata, tags, genres, audio sets, alternative files) as fields of COPY's text format.

What cannot be stored is left out and counted in `cleaned`, by what was done. `plain_meta` and `plain_tags`
are the fast path for ordinary values; what they return is what `meta_field` and `tags_field` would.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import orjson

from catalog.ingestion.cleaning import NUMBERS, creators, escape, number_for, plain, tidy
from catalog.ingestion.filetypes import kind_of

MAX_TAGS = 2_000  # more is a mistake of the source; what is over is counted, not kept
MAX_GENRE = 80  # characters
MAX_DEPTH = 100  # of arrays and objects in each other
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//[^\s<>]+", re.IGNORECASE)
_NO_DATE = re.compile(r"0000[-:]00[-:]00(?:[T ]00:00(?::00(?:\.0+)?)?)?Z?")

_LEFT_OUT = object()
_TEXT, _SCALARS = {str}, {str, int, float, bool}
_LICENSE_KEYS = frozenset(("license_url", "raw_license_url"))
_LOST_TAG = "tag malformed or over the limit"

CleanUrl = Callable[[object], str | None]


def json_field(value: Any) -> str:
    """A JSON value, its texts tidy, as a field."""
    return escape(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode())


def plain_meta(meta: dict[str, Any]) -> str | None:
    """Metadata as a field when it is all scalars that need no cleaning; None when something may need it."""
    try:
        types = set(map(type, meta.values()))
        if types != _TEXT:
            if not types <= _SCALARS:
                return None
            meta = {key: str(value) for key, value in meta.items()}
        text = orjson.dumps(meta).decode()
    except (orjson.JSONEncodeError, TypeError):  # a lone surrogate, a key that is no text
        return None
    if (
        "\\" not in text
        and "<" not in text
        and "&" not in text
        and "  " not in text
        and '" ' not in text
        and ' "' not in text
        and '"0000' not in text
        and _LICENSE_KEYS.isdisjoint(meta)
        # JSON has control characters as escapes, but for DEL; an ASCII text need not be searched for others.
        and ("\x7f" not in text if text.isascii() else text.isprintable())
    ):
        return text
    return None


def meta_field(meta: dict[str, Any], cleaned: Counter[str]) -> str:
    """Metadata as a field; all its scalars, numbers and booleans included, become plain text.

    HTML is kept below keys that end in `_html`, and so are addresses, which stand below keys that end in
    `_url` or look like one. Dates of zeros, by which some sources say that they do not know, are left out,
    and so are the keys of the license, which a provider does not set.
    """
    theirs = {key: value for key, value in meta.items() if key not in _LICENSE_KEYS}
    return json_field(_Texts("meta_data", cleaned).of_object(theirs))


class _Texts:
    """Turns all scalars of a column's JSON values into text."""

    def __init__(self, column: str, cleaned: Counter[str]) -> None:
        self._column = column
        self._cleaned = cleaned

    def of_object(self, values: dict[Any, Any], as_given: bool = False, depth: int = 1) -> dict[str, Any]:
        """The object with its values as text.

        Args:
            values: The object.
            as_given: Its texts are HTML or addresses: they become tidy and keep their markup.
            depth: The number of arrays and objects around its values.
        """
        found = {}
        for key, value in values.items():
            name = tidy(str(key))
            text = self.of(value, as_given or name.endswith(("_html", "_url")), depth)
            if text is not _LEFT_OUT:
                found[name] = text
        return found

    def of(self, value: Any, as_given: bool = False, depth: int = 0) -> Any:
        """The value as text, or `_LEFT_OUT`."""
        if isinstance(value, str):
            return self._text(value, as_given)
        if value is None:
            return None
        if not isinstance(value, dict | list | tuple):
            return tidy(str(value))
        if depth >= MAX_DEPTH:
            return self._left_out("is nested too deeply")
        if isinstance(value, dict):
            return self.of_object(value, as_given, depth + 1)
        items = (self.of(item, as_given, depth + 1) for item in value)
        return [item for item in items if item is not _LEFT_OUT]

    def _text(self, text: str, as_given: bool) -> Any:
        if ("<" in text or "&" in text) and not as_given and not _URL.fullmatch(text.strip()):
            return plain(text) or None  # nothing but markup says nothing
        if "0000" in text and _NO_DATE.fullmatch(text.strip()):
            return self._left_out("holds a date of zeros")
        return tidy(text)

    def _left_out(self, fault: str) -> object:
        self._cleaned[f"{self._column} {fault}"] += 1
        return _LEFT_OUT


@lru_cache(65_536)
def _tag(name: str, provider: str) -> str:
    return orjson.dumps({"name": name, "provider": provider}).decode()


def _tag_object(tag: Any, provider: str) -> str | None:
    """One tag as JSON, or None when it holds no name.

    A tag that names its own provider keeps it, and its accuracy.
    """
    if type(tag) is str:
        name = plain(tag)
        return _tag(name, provider) if name else None
    if type(tag) is dict and type(tag.get("name")) is str and (name := plain(tag["name"])):
        owner = tag.get("provider")
        kept: dict[str, Any] = {
            "name": name,
            "provider": tidy(owner) if type(owner) is str and tidy(owner) else provider,
        }
        accuracy = tag.get("accuracy")
        if isinstance(accuracy, int | float) and 0 <= accuracy <= 100:
            kept["accuracy"] = accuracy
        return orjson.dumps(kept).decode()
    return None


def plain_tags(tags: Any, provider: str) -> str | None:
    """A list of tags as a field, when all are names that need no cleaning; None when one may need some."""
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


def tags_field(tags: Any, provider: str, cleaned: Counter[str]) -> str | None:
    """Tags as a field, in their order and without duplicates; None when there are none."""
    if not tags:
        return None
    if type(tags) not in (list, tuple, set, frozenset):
        cleaned[_LOST_TAG] += 1
        return None
    objects = [_tag_object(tag, provider) for tag in tags]
    kept = list(dict.fromkeys(o for o in objects if o))
    if lost := sum(o is None for o in objects) + max(0, len(kept) - MAX_TAGS):
        cleaned[_LOST_TAG] += lost
    return escape("[" + ",".join(kept[:MAX_TAGS]) + "]") if kept else None


def array_field(names: list[str]) -> str:
    """Names as the text of a PostgreSQL array, itself as a field."""
    quoted = ('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names)
    return escape("{" + ",".join(quoted) + "}")


def _listed(value: Any) -> list[Any] | tuple[Any, ...]:
    return value if isinstance(value, list | tuple) else [value]


def genres_field(genres: Any, cleaned: Counter[str]) -> str | None:
    """Genres as a field, or None when there is no list of them; a single name is a list of one."""
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


def _kept(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {tidy(key): value for key, value in pairs if value is not _LEFT_OUT}


def audio_set_field(audio_set: Any, clean: CleanUrl, cleaned: Counter[str]) -> str | None:
    """The set (album, pack) that a recording belongs to, as a field; None when there is none."""
    if not audio_set:
        return None
    if type(audio_set) is not dict:
        cleaned["audio_set is no object"] += 1
        return None
    texts = _Texts("audio_set", cleaned)

    def value_of(key: str, value: Any) -> Any:
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


def alt_files_field(files: Any, clean: CleanUrl, cleaned: Counter[str]) -> str | None:
    """Other files of the same recording, as a field; None when there are none.

    Each URL is kept once, with what was said about it last.
    """
    if not files:
        return None
    texts, kept = _Texts("alt_files", cleaned), {}

    def value_of(key: str, value: Any, url: str) -> Any:
        if key == "url":
            return url
        if key == "filetype":
            return kind_of(value, url, "audio").filetype
        if key not in NUMBERS:
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
