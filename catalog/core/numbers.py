"""Numbers that are written as text, or as any other value of JSON."""

import re
from typing import Any

_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")


def number_in(text: str) -> float | None:
    """Return the decimal number that a text is; None for any other text.

    Python's `float` also takes `1_0`, which a provider does not mean as 10, other digits than those of ASCII,
    and words such as `infinity`.

    >>> number_in(" 1.5e3 "), number_in("1_0"), number_in("nan")
    (1500.0, None, None)
    """
    return float(text) if _NUMBER.fullmatch(text) else None


def number_of(value: Any) -> float | None:
    """Return a value of JSON as a number: also a boolean, and of a text what `number_in` returns.

    Returns:
        The number, which may be NaN or infinite; None for any other value, and for one that is too large.
    """
    try:
        return number_in(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
