"""Conversions of values that APIs express in different ways: durations, sizes, tags.

A value that cannot be converted is returned as it is. The column does not store it, and the run counts it as
cleaned.
"""

import math
import re

from catalog.core.jsontypes import Json
from catalog.core.numbers import number_in, without_groups

_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", re.ASCII)  # h:mm:ss, m:ss
_SIZE = re.compile(
    r"(?P<number>.*?\d)\s*(?P<prefix>[kMGT]?)(?P<binary>i?)(?:B|bytes?)", re.ASCII | re.IGNORECASE
)
_PIXELS = re.compile(
    r"(\d[\d,]*)\s*(?:px)?\s*[x*\u00d7]\s*(\d[\d,]*)\s*(px|pixels)?", re.ASCII | re.IGNORECASE
)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def milliseconds(duration: Json) -> Json:
    """Convert a duration in seconds, or of the form `h:mm:ss`, to milliseconds.

    A text such as `1,204`, which may be a fraction or thousands, is returned as it is.

    >>> milliseconds(61.5), milliseconds("346"), milliseconds("5:46"), milliseconds("1:05:46.5")
    (61500, 346000, 346000, 3946500)
    >>> milliseconds(None), milliseconds("long")
    (None, 'long')
    """
    if isinstance(duration, str) and (clock := _CLOCK.fullmatch(duration.strip())):
        hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        duration_in_seconds: Json = hours * 3600 + minutes * 60 + seconds
    else:
        duration_in_seconds = _number(duration) if isinstance(duration, str) else duration
    try:
        return math.floor(float(duration_in_seconds) * 1000)
    except (OverflowError, TypeError, ValueError):
        return duration


def size_in_bytes(size: Json) -> Json:
    """Convert a size such as `1.5 MB` to bytes; a number is one of bytes.

    A text that may mean two numbers, such as `2,345 MB`, is returned as it is. `2,345` and `2,345 kB` are
    taken for thousands: a byte has no fractions, and a kB hardly three decimals.

    >>> size_in_bytes("27.31849kB"), size_in_bytes("1.5 MB"), size_in_bytes(10), size_in_bytes("large")
    (27318, 1500000, 10, 'large')
    >>> [size_in_bytes(size) for size in ("2,345,678", "2,345 KB", "2.4 MiB", "1,5 MB")]
    [2345678, 2345000, 2516582, '1,5 MB']
    """
    if not isinstance(size, str):
        return size
    match = _SIZE.fullmatch(size.strip())
    text, prefix = (match["number"], match["prefix"].lower()) if match else (size, "")
    number = _number(text, alone=", " if prefix in ("", "k") else "")
    if number is None or number < 0:
        return size
    return round(number * (1024 if match and match["binary"] else 1000) ** _POWERS[prefix])


def _number(text: str, alone: str = "") -> float | None:
    """Return the number that a text is, whose digits may be grouped; see `without_groups`."""
    number = number_in(without_groups(text, alone) or text)
    return number if number is not None and math.isfinite(number) else None


def width_and_height(size: Json) -> tuple[Json, Json]:
    """Divide a size in pixels such as `4000 x 3000` into width and height; a single number is neither.

    >>> width_and_height("4000 x 3000"), width_and_height("640*480 px"), width_and_height(None)
    ((4000, 3000), (640, 480), (None, None))
    >>> width_and_height("30 x 40 cm")
    ('30 x 40 cm', '30 x 40 cm')
    >>> width_and_height("4,000 x 3,000 px"), width_and_height("1,250 x 2,500")  # the latter may be inches
    ((4000, 3000), ('1,250 x 2,500', '1,250 x 2,500'))
    """
    match = _PIXELS.fullmatch(size.strip()) if isinstance(size, str) else None
    sides = [_number(side, alone="," if match[3] else "") for side in match.group(1, 2)] if match else [None]
    if None not in sides:
        width, height = (int(side) for side in sides if side is not None)
        return width, height
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
