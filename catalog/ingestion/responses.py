"""Checked access to the JSON of an API: a missing list is an error instead of an empty list.

All functions raise `UnexpectedResponse`, which is a `Retry`: used in the `check` of `Client.get_json`, they
make the client repeat the request before the pull fails.
"""

import re

from catalog.core.errors import UnexpectedResponse
from catalog.core.jsontypes import Json, JsonObject
from catalog.core.numbers import without_groups
from catalog.core.wording import join_first
from catalog.ingestion.records import Raw, dig


def steps(path: str) -> list[str]:
    r"""Split a dotted path into its keys; "" stands for the body itself and has none.

    A dot within a key, and a backslash before a dot, have a backslash before them.

    >>> steps("meta.next"), steps(r"@odata\.nextLink")
    (['meta', 'next'], ['@odata.nextLink'])
    """
    if "\\" not in path:
        return path.split(".") if path else []
    found = re.findall(r"(?:^|\.)((?:\\[.\\]|[^.])*)", path, re.DOTALL)
    return [re.sub(r"\\([.\\])", r"\1", key) for key in found]


def dotted(*keys: str) -> str:
    r"""Join keys to a path, which `steps` splits again.

    >>> print(dotted("meta", "a.b"))
    meta.a\.b
    """
    return ".".join(re.sub(r"[.\\]", r"\\\g<0>", key) for key in keys)


def value_at(body: Json, path: str) -> Json:
    """Return the value at a dotted path; None if it is missing."""
    return dig(body, *steps(path))


def has(body: Json, path: str) -> bool:
    """Return whether the last key of a dotted path is present, even if its value is null or false."""
    *parents, last = steps(path)
    parent = dig(body, *parents)
    return isinstance(parent, dict) and last in parent


def items_at(body: Json, path: str) -> list[Raw]:
    """Return the list at a dotted path.

    Args:
        body: A decoded response.
        path: Keys joined by dots; "" is the body itself.

    Raises:
        UnexpectedResponse: There is no list. Without this check, an API that renames its list would look like
            one that has run out of items.
    """
    value = value_at(body, path)
    if isinstance(value, list):
        return value
    there = join_first(f"`{name or 'the body'}`" for name in lists_in(body))
    text = missing_text(body, path, f"is {_kind(value)}, not a list")
    raise UnexpectedResponse(f"{text}{f'; lists: {there}' if there else ''}")


def lists_in(body: Json, path: str = "", depth: int = 3) -> list[str]:
    """Return the dotted paths of the lists in a response, except those within its items."""
    if isinstance(body, list):
        return [path]
    if not isinstance(body, dict) or not depth:
        return []
    # No path names the key "" of the body itself.
    keys = [key for key in body if path or key]
    below = ((f"{path}.{dotted(key)}" if path else dotted(key), body[key]) for key in keys)
    return [found for key, value in below for found in lists_in(value, key, depth - 1)]


def values_at(body: Json, path: str) -> JsonObject:
    """Return the object at a dotted path.

    Raises:
        UnexpectedResponse: There is no object.
    """
    value = value_at(body, path)
    if not isinstance(value, dict):
        raise UnexpectedResponse(missing_text(body, path, f"is {_kind(value)}, not an object"))
    return value


def missing_text(body: Json, path: str, instead: str) -> str:
    """Say what is wrong with a path of a response, and what is there at the level that it fails.

    Args:
        body: A decoded response.
        path: Dotted path of a value that is missing, or not what it should be.
        instead: What the value is, if it is there, and should not be.

    >>> missing_text({"meta": {"pages": 3}, "hits": []}, "meta.total", "is null")
    '`meta.total` is missing: `meta` has `pages`; the response has `meta`, `hits`'
    """
    keys, at = steps(path), body
    for number, key in enumerate(keys):
        if not isinstance(at, dict) or key not in at:
            where = dotted(*keys[:number])
            there = f": `{where}` {_holds(at)}" if number else ""
            return f"`{path}` is missing{there}; {describe(body)}"
        at = at[key]
    return f"{f'`{path}`' if path else 'the body'} {instead}; {describe(body)}"


def _holds(value: Json) -> str:
    """Say which keys a value has, or what it is instead of an object."""
    if not isinstance(value, dict):
        return f"is {_kind(value)}"
    return f"has {join_first(f'`{str(key)[:40]}`' for key in value)}" if value else "is an empty object"


def count_at(body: Json, path: str) -> int:
    """Return the number of items that an API announces at a dotted path.

    Raises:
        UnexpectedResponse: The value is missing or not a non-negative integer.
    """
    found = value_at(body, path)
    if (number := as_count(found, grouped=True)) is None:
        number_like = isinstance(found, int | float) and not isinstance(found, bool)
        shown = str(found)[:40] if number_like else _kind(found)
        raise UnexpectedResponse(missing_text(body, path, f"should be a number of items but is {shown}"))
    return number


def total_of(body: Json, path: str, listed: int) -> int:
    """Return the announced number of items after comparing it with the number that is listed.

    Args:
        body: A decoded response.
        path: Dotted path of the total.
        listed: Number of items in the same response.

    Raises:
        UnexpectedResponse: The total is missing, malformed, or smaller than `listed`.
    """
    total = count_at(body, path)
    if total < listed:
        raise UnexpectedResponse(f"`{path}` is {total:,}, but the response lists {listed:,} items")
    return total


def as_count(value: Json, *, grouped: bool = False) -> int | None:
    """Return a non-negative integer, given as a number or a string; None for anything else.

    Args:
        value: Any value.
        grouped: Digits may be grouped, as in `1,204`. Not for headers, which join two values by a comma.

    >>> as_count("1204"), as_count("1,204"), as_count("1,204", grouped=True), as_count("1.204", grouped=True)
    (1204, None, 1204, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).strip()
    text = (grouped and without_groups(text, alone=",")) or text
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def describe(body: Json) -> str:
    """Describe a response for an error message: its keys, length or type."""
    if isinstance(body, dict):
        keys = join_first(f"`{str(key)[:40]}`" for key in body)
        message = body.get("message")
        said = f", message: {message[:200]!r}" if isinstance(message, str) else ""
        return (f"the response has {keys}" if keys else "the response is an empty object") + said
    if isinstance(body, list):
        return f"the response is a list of {len(body)}"
    return f"the response is {_kind(body)}"


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    return f"of type {type(value).__name__}"
