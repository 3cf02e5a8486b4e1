"""Lists of names in messages: the first ones and how many there are beyond them, or those that were meant."""

import difflib
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


def meant_or_all(given: str, known: Iterable[str]) -> str:
    """Return the names that a mistyped one may mean; if none is like it, all names.

    Args:
        given: The name that is not known; the beginning of one is enough.
        known: The names that there are.

    >>> meant_or_all("flickr", ["flickr_workflow", "nappy_workflow"])
    'did you mean flickr_workflow?'
    >>> meant_or_all("x", ["flickr_workflow", "nappy_workflow"])
    'there are flickr_workflow, nappy_workflow'
    """
    names = sorted(known)
    return meant(given, names) or f"there are {', '.join(names)}"


def meant(given: str, known: Iterable[str]) -> str:
    """Return the names that a mistyped one may mean; "" if none is like it.

    >>> meant("flikr", ["flickr", "nappy"]), meant("x", ["flickr", "nappy"])
    ('did you mean flickr?', '')
    """
    names = sorted(known)
    like = [name for name in names if given and name.startswith(given)]
    like = like or difflib.get_close_matches(given, names)
    return f"did you mean {join_first(like, most=3, separator=' or ')}?" if like else ""
