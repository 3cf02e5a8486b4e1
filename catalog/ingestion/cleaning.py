"""Cleans strings and numbers so that a column can store them.

Ordinary strings are recognized by tests that run in C; see "Encoding" in ARCHITECTURE.md.
"""

import math
import re

from catalog.core.columns import MAX_INTEGER, MIN_INTEGER
from catalog.core.jsontypes import Json
from catalog.core.numbers import number_of
from catalog.ingestion.html import text_of

# Minimum of each column. A size or rate of zero means "unknown". Positions count from zero, and a duration
# can be rounded to zero.
MINIMUM = {
    "width": 1,
    "height": 1,
    "filesize": 1,
    "bit_rate": 1,
    "sample_rate": 1,
    "duration": 0,
    "set_position": 0,
}
UNDECODED = "with characters that cannot be decoded"
_SURROGATE = re.compile("[\ud800-\udfff]")
# Control characters other than white space carry no meaning, and PostgreSQL refuses NUL.
_DROP = {ord('"'): "'", **dict.fromkeys((*range(0x09), *range(0x0E, 0x1C), 0x7F))}


def tidy(text: str) -> str:
    """Return a string as one trimmed line.

    Double quotes become single quotes, control characters and lone surrogates are removed, and runs of white
    space become one space.
    """
    if text.isprintable() and '"' not in text and "  " not in text and text[:1] != " " and text[-1:] != " ":
        return text
    return " ".join(text.translate(_DROP).encode("utf-8", "ignore").decode().split())


def is_undecoded(text: str) -> bool:
    """Return whether a string has lone surrogates, which stand for what could not be decoded."""
    return not text.isprintable() and _SURROGATE.search(text) is not None


def plain(text: str, between: str = " ") -> str:
    """Return the tidy text of a string that may hold HTML; `between` separates its blocks."""
    return tidy(text_of(text, between) or "") if "<" in text or "&" in text else tidy(text)


def creators(text: str) -> str:
    """Return the plain text of one or more names, separated by semicolons."""
    return plain(text, "; ")


def escape(text: str) -> str:
    """Escape a tidy string, which has no tabs or line breaks, as a field of COPY's text format."""
    return text.replace("\\", "\\\\") if "\\" in text else text


def integer(value: Json) -> int | None:
    """Convert a number or numeric string to an integer, rounding down; None for NaN, infinity and words."""
    if type(value) is int:
        return value
    number = number_of(value)
    return math.floor(number) if number is not None and math.isfinite(number) else None


def number_for(column: str, value: Json) -> tuple[int | None, str | None]:
    """Return the number that a column stores for a value.

    Args:
        column: One of `INTEGERS`.
        value: The provider's value, of any type.

    Returns:
        The number, or None if the value is missing or implausible; and the reason why a value that was given
        is not stored, or None.
    """
    if value is None or value == "":
        return None, None
    number = integer(value)
    if number is None or not MIN_INTEGER <= number <= MAX_INTEGER:
        return None, f"{column} is not a number, or is out of range"
    if number < MINIMUM[column]:
        return None, f"{column} is {'not positive' if MINIMUM[column] else 'negative'}"
    return number, None
