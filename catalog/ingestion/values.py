"""Conversions of values that APIs express in different ways: durations, sizes, tags.

A value that cannot be converted is returned as it is. The column does not store it, and the run counts it as
cleaned.
"""

import math
import re

from catalog.core.jsontypes import Json
from catalog.core.numbers import number_in

_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", re.ASCII)  # h:mm:ss, m:ss
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]?)i?B", re.ASCII | re.IGNORECASE)
_PIXELS = re.compile(r"(\d+)\s*(?:px)?\s*[x*\u00d7]\s*(\d+)\s*(?:px|pixels)?", re.ASCII | re.IGNORECASE)
_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def milliseconds(duration: Json) -> Json:
    """Convert a duration in seconds, or of the form `h:mm:ss`, to milliseconds.

    >>> milliseconds(61.5), milliseconds("346"), milliseconds("5:46"), milliseconds("1:05:46.5")
    (61500, 346000, 346000, 3946500)
    >>> milliseconds(None), milliseconds("long")
    (None, 'long')
    """
    if isinstance(duration, str) and (clock := _CLOCK.fullmatch(duration.strip())):
        hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        duration_in_seconds: Json = hours * 3600 + minutes * 60 + seconds
    else:
        duration_in_seconds = number_in(duration) if isinstance(duration, str) else duration
    try:
        return math.floor(float(duration_in_seconds) * 1000)
    except (OverflowError, TypeError, ValueError):
        return duration


def size_in_bytes(size: Json) -> Json:
    """Convert a size such as `1.5 MB` to bytes; a number is one of bytes.

    >>> size_in_bytes("27.31849kB"), size_in_bytes("1.5 MB"), size_in_bytes(10), size_in_bytes("large")
    (27318, 1500000, 10, 'large')
    """
    found = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    return round(float(found[1]) * _FACTORS[found[2].lower()]) if found else size


def width_and_height(size: Json) -> tuple[Json, Json]:
    """Divide a size in pixels such as `4000 x 3000` into width and height; a single number is neither.

    >>> width_and_height("4000 x 3000"), width_and_height("640*480 px"), width_and_height(None)
    ((4000, 3000), (640, 480), (None, None))
    >>> width_and_height("30 x 40 cm")
    ('30 x 40 cm', '30 x 40 cm')
    """
    found = _PIXELS.fullmatch(size.strip()) if isinstance(size, str) else None
    if found:
        return int(found[1]), int(found[2])
    return (None, None) if re.fullmatch(r"[\d.,\s]*", str(size or "")) else (size, size)


def tags_of(*values: Json, separator: str = ",") -> list[Json]:
    """Return the tags of lists and of strings that separate them.

    Args:
        values: Lists, strings, and None in any order.
        separator: Separates the tags within a string; the strings of a list are not divided.

    >>> tags_of("storm, evening", ["sky", "London, England", None], None)
    ['storm', 'evening', 'sky', 'London, England']
    """
    tags: list[Json] = []
    for value in values:
        found = value.split(separator) if isinstance(value, str) else value
        for tag in found if isinstance(found, list) else [found]:
            tag = tag.strip() if isinstance(tag, str) else tag
            tags += [tag] if tag else []
    return tags
