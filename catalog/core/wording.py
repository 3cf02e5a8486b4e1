"""Lists in messages, which name the first items and say how many there are beyond them."""

from collections.abc import Iterable

MAX_NAMED = 10  # items that a message names


def join_first(items: Iterable[str], most: int = MAX_NAMED, separator: str = ", ") -> str:
    """Join the first items, and say how many more there are.

    Args:
        items: In the order in which they are named.
        most: Number of items that are named.
        separator: Between two items.

    >>> join_first(["a", "b"]), join_first("abcd", most=2), join_first("abcd", most=2, separator="; ")
    ('a, b', 'a, b and 2 more', 'a; b; and 2 more')
    """
    named = list(items)
    if (more := len(named) - most) <= 0:
        return separator.join(named)
    last = " and" if separator == ", " else f"{separator}and"
    return f"{separator.join(named[:most])}{last} {more:,} more"
