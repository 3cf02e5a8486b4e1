"""Numbers that are written as text, or as any other value of JSON."""

import re
from typing import Any

_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
# Digits in groups of three, all but the first; the mark of a fraction is not the one between groups.
_GROUPED = re.compile(
    "[1-9][0-9]{0,2}(?P<mark>[,. '\u2019\u2009\u00a0\u202f])[0-9]{3}(?P<more>(?:(?P=mark)[0-9]{3})*)"
    "(?P<fraction>(?:(?!(?P=mark))[.,][0-9]+)?)"
)
_DOUBTFUL = ",. "  # marks that may also be that of a fraction, or stand between two numbers


def without_groups(text: str, alone: str = "") -> str | None:
    """Return a number without the marks that group its digits by thousands.

    Args:
        text: The number; a text around it is not part of one.
        alone: Marks that group digits also where there is only one. Otherwise, `1,204` may be a fraction, as
            in many languages, and is not returned.

    Returns:
        The number, with a point before its fraction; None if it has no groups, or may mean another number.

    >>> without_groups("2,345,678"), without_groups("1.234,5"), without_groups("1 234 567")
    ('2345678', '1234.5', '1234567')
    >>> without_groups("1,204", alone=","), without_groups("1,204"), without_groups("1,5")
    ('1204', None, None)
    """
    match = _GROUPED.fullmatch(text.strip())
    if not match:
        return None
    mark, fraction = match["mark"], match["fraction"]
    if mark in _DOUBTFUL and mark not in alone and not (match["more"] or fraction):
        return None
    whole = text.strip().removesuffix(fraction) if fraction else text.strip()
    return whole.replace(mark, "") + fraction.replace(",", ".")


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
