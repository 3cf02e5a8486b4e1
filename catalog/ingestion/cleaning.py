"""Values as a text column can hold them. Ordinary text leaves by the first test, which runs in C; see database_speed in ARCHITECTURE.md."""

import math
import re
from functools import lru_cache
from typing import Any

import orjson

MAX_INTEGER = 2_147_483_647
MAX_TAGS = 2_000  # more is a mistake of the source; what is over is counted, not kept
_DROP = {ord('"'): "'", 0: None, 8: None}
_DEPTH = 100

_IMAGE = {e: e for e in ("avif", "bmp", "gif", "heic", "ico", "jpg", "png", "svg", "tiff", "webp")} | {
    "jpeg": "jpg",
    "tif": "tiff",
}
_AUDIO = {
    e: e
    for e in (
        "aac",
        "aiff",
        "flac",
        "m4a",
        "m4b",
        "mid",
        "mka",
        "mp3",
        "mp4",
        "oga",
        "ogg",
        "opus",
        "wav",
        "wma",
    )
} | {"midi": "mid", "aif": "aiff"}
EXTENSIONS: dict[str, dict[str, str]] = {"image": _IMAGE, "audio": _AUDIO}


def tidy(text: str) -> str:
    """One line: double quotes made single, NUL, backspace and lone surrogates dropped, white space collapsed and trimmed."""
    if text.isprintable() and '"' not in text and "  " not in text and text[:1] != " " and text[-1:] != " ":
        return text
    return " ".join(text.translate(_DROP).encode("utf-8", "ignore").decode().split())


def escape(text: str) -> str:
    """A tidy text as a field of COPY's text format (tabs and line ends are gone by then)."""
    return text.replace("\\", "\\\\") if "\\" in text else text


def integer(value: Any) -> int | None:
    """The whole number in a number or a numeric string, cut towards zero; None when there is none (NaN, infinity, words)."""
    if type(value) is int:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if math.isfinite(number) else None


def scalars(value: Any, depth: int = 0) -> Any:
    """A JSON value whose every scalar is tidy text: popularity metrics and booleans are text in `meta_data`, too."""
    if type(value) is dict and depth < _DEPTH:
        return {tidy(str(key)): scalars(item, depth + 1) for key, item in value.items()}
    if type(value) in (list, tuple) and depth < _DEPTH:
        return [scalars(item, depth + 1) for item in value]
    return value if value is None else tidy(str(value))


def json_field(value: Any) -> str:
    """A JSON value as a field of COPY's text format."""
    return escape(orjson.dumps(scalars(value), option=orjson.OPT_NON_STR_KEYS).decode())


@lru_cache(65_536)
def _tag(name: str, provider: str) -> str:
    return orjson.dumps({"name": name, "provider": provider}).decode()


def _tag_object(tag: Any, provider: str) -> str | None:
    """One tag as JSON, or None when it holds no name. A tag that names its own provider keeps it, and its accuracy."""
    if type(tag) is str:
        name = tidy(tag)
        return _tag(name, provider) if name else None
    if type(tag) is dict and type(tag.get("name")) is str and (name := tidy(tag["name"])):
        owner = tag.get("provider")
        kept: dict[str, Any] = {
            "name": name,
            "provider": tidy(owner) if type(owner) is str and tidy(owner) else provider,
        }
        accuracy = tag.get("accuracy")
        if isinstance(accuracy, int | float) and math.isfinite(accuracy):
            kept["accuracy"] = accuracy
        return orjson.dumps(kept).decode()
    return None


def tags_field(tags: Any, provider: str) -> tuple[str | None, int]:
    """The tags as a COPY field (None: there are none), and how many were malformed or over the limit. Order stays; doubles go."""
    if not tags:
        return None, 0
    if type(tags) not in (list, tuple, set, frozenset):
        return None, 1
    try:
        joined = ",".join(tags)
    except TypeError:
        joined = "\n"
    plain = (
        joined.isprintable() and '"' not in joined and "\\" not in joined and "  " not in joined and ", " not in joined
        and " ," not in joined and ",," not in joined and joined[:1] not in ", " and joined[-1:] not in ", "
    )  # fmt: skip
    if plain and len(tags) <= MAX_TAGS:
        end = '","provider":"' + provider + '"}'
        return '[{"name":"' + (end + ',{"name":"').join(dict.fromkeys(tags)) + end + "]", 0
    objects = [_tag_object(tag, provider) for tag in tags]
    kept = list(dict.fromkeys(o for o in objects if o))
    lost = sum(o is None for o in objects) + max(0, len(kept) - MAX_TAGS)
    return (escape("[" + ",".join(kept[:MAX_TAGS]) + "]") if kept else None), lost


def array_field(values: Any, size: int) -> str | None:
    """A list of names as the text of a PostgreSQL array, itself as a COPY field; names longer than `size` are left out."""
    if values is None:
        return None
    names = [tidy(str(v)) for v in (values if type(values) in (list, tuple) else [values]) if v is not None]
    return escape("{" + ",".join(orjson.dumps(n).decode() for n in names if n and len(n) <= size) + "}")


def filetype(given: Any, url: str, media_type: str) -> str | None:
    """The file type, from the record or from the URL's extension: `jpg`, not `jpeg`; None when neither tells."""
    known = EXTENSIONS[media_type]
    if type(given) is str and given:
        low = tidy(given).lower()
        low = known.get(low, low)
        return low if 0 < len(low) <= 5 and low.isalnum() else None
    if found := known.get(url.rpartition(".")[2]):
        return found
    path = re.split("[?#]", url, maxsplit=1)[0]
    return known.get(path.rpartition(".")[2].lower())
