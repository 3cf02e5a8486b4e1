"""Texts and numbers as a column can hold them.

Ordinary text is recognized by tests that run in C; see "Database speed" in ARCHITECTURE.md.
"""

import math
from typing import Any

from catalog.core.columns import MAX_INTEGER, MIN_INTEGER
from catalog.ingestion.html import text_of

# The least value of a column. A size or rate of zero means "unknown"; a position counts from zero, and a
# length can round to zero.
_LEAST = {
    "width": 1,
    "height": 1,
    "filesize": 1,
    "bit_rate": 1,
    "sample_rate": 1,
    "duration": 0,
    "set_position": 0,
}
NUMBERS = frozenset(_LEAST)
# Control characters that are not white space mean nothing in a text, and PostgreSQL refuses NUL.
_DROP = {ord('"'): "'", **dict.fromkeys((*range(0x09), *range(0x0E, 0x1C), 0x7F))}


def tidy(text: str) -> str:
    """One line of text, trimmed.

    Double quotes become single ones, control characters and lone surrogates are dropped, white space
    collapses.
    """
    if text.isprintable() and '"' not in text and "  " not in text and text[:1] != " " and text[-1:] != " ":
        return text
    return " ".join(text.translate(_DROP).encode("utf-8", "ignore").decode().split())


def plain(text: str, between: str = " ") -> str:
    """The tidy text of what may hold HTML; `between` separates paragraphs, lines, cells and list items."""
    return tidy(text_of(text, between) or "") if "<" in text or "&" in text else tidy(text)


def creators(text: str) -> str:
    """As `plain`, for names: several of them are separated by semicolons."""
    return plain(text, "; ")


def escape(text: str) -> str:
    """A tidy text as a field of COPY's text format (tabs and line ends are gone by then)."""
    return text.replace("\\", "\\\\") if "\\" in text else text


def integer(value: Any) -> int | None:
    """The whole number in a number or a numeric string, rounded down.

    None when there is none (NaN, infinity, words).
    """
    if type(value) is int:
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return math.floor(number) if math.isfinite(number) else None


def number_for(column: str, value: Any) -> tuple[int | None, str | None]:
    """The number that a column stores for a value.

    Args:
        column: One of `NUMBERS`.
        value: As the provider gave it: a number, a numeric string, anything.

    Returns:
        The number, or None when there is none that can be true; and why a value that was given is not stored.
    """
    if value is None or value == "":
        return None, None
    number = integer(value)
    if number is None or not MIN_INTEGER <= number <= MAX_INTEGER:
        return None, f"{column} is no number of the column's range"
    if number < _LEAST[column]:
        return None, f"{column} is {'not positive' if _LEAST[column] else 'negative'}"
    return number, None
