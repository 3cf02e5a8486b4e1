"""Checked access to an API's response: what is missing is an error, and is not taken for empty.

The errors are `UnexpectedAnswer`, so a request whose answer is checked by these (the `check` of
`Client.get_json`) is sent again before the pull fails.
"""

from typing import Any

from catalog.core.errors import UnexpectedAnswer
from catalog.ingestion.records import Raw, dig

_SHOWN = 10


def steps(path: str) -> list[str]:
    """The keys of a dotted path; none for "", which stands for the body itself."""
    return path.split(".") if path else []


def has(body: Any, path: str) -> bool:
    """Whether the last key of a dotted path is there, be its value null or false."""
    *parents, last = steps(path)
    parent = dig(body, *parents)
    return isinstance(parent, dict) and last in parent


def items_at(body: Any, path: str) -> list[Raw]:
    """The list at a dotted path.

    Args:
        body: An answer, decoded.
        path: Keys joined by dots; "" is the body itself.

    Raises:
        UnexpectedAnswer: There is no list. The text names the path and the keys that are there, because an
            API that renames its list looks like one that has run out of items.
    """
    found = dig(body, *steps(path))
    if isinstance(found, list):
        return found
    where = f"`{path}`" if path else "the body"
    what = "is missing" if path and not has(body, path) else f"is {_kind(found)}, not a list"
    raise UnexpectedAnswer(f"{where} {what}; {seen(body)}")


def values_at(body: Any, path: str) -> dict[str, Any]:
    """The object at a dotted path. Raises UnexpectedAnswer when there is none."""
    found = dig(body, *steps(path))
    if not isinstance(found, dict):
        raise UnexpectedAnswer(f"`{path or 'the body'}` is {_kind(found)}, not an object; {seen(body)}")
    return found


def count_at(body: Any, path: str) -> int:
    """The number of items an API announces at a dotted path.

    Raises:
        UnexpectedAnswer: It announces none, or something that is no whole number of at least 0.
    """
    if (number := as_count(dig(body, *steps(path)))) is None:
        raise UnexpectedAnswer(
            f"`{path}` should be a number of items but is {_kind(dig(body, *steps(path)))}; {seen(body)}"
        )
    return number


def total_of(body: Any, path: str, listed: int) -> int:
    """The number of items an API announces, held against how many the same answer lists.

    Raises:
        UnexpectedAnswer: It announces none, or fewer than it lists.
    """
    total = count_at(body, path)
    if total < listed:
        raise UnexpectedAnswer(f"`{path}` is {total:,}, but the answer lists {listed:,} items")
    return total


def as_count(value: Any) -> int | None:
    """A whole number of at least 0, also as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def seen(body: Any) -> str:
    """What an answer holds instead, in few words."""
    if isinstance(body, dict):
        keys = ", ".join(f"`{str(key)[:40]}`" for key in list(body)[:_SHOWN])
        message = body.get("message")
        said = f", message: {message[:200]!r}" if isinstance(message, str) else ""
        return (f"the answer has {keys}" if keys else "the answer is an empty object") + said
    if isinstance(body, list):
        return f"the answer is a list of {len(body)}"
    return f"the answer is {_kind(body)}"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return f"of type {type(value).__name__}"
