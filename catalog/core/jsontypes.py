"""Decoded JSON: types, whose structure the type checker does not know, and what any value holds."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

Json = Any  # any decoded value
JsonObject = dict[str, Any]
Params = Mapping[str, Any]  # query parameters of a request; lists are repeated


def keys_in(value: Json) -> Iterator[str]:
    """Yield the keys of all objects within a value, also of nested ones.

    >>> list(keys_in([{"a": {"b": 1}}, {"a": []}]))
    ['a', 'b', 'a']
    """
    if isinstance(value, dict):
        for key, below in value.items():
            yield key
            yield from keys_in(below)
    elif isinstance(value, list):
        for below in value:
            yield from keys_in(below)


def as_json(value: object) -> JsonObject:
    """Convert a structure to JSON types, which are all that Airflow's store accepts: no tuples, no times."""
    return msgspec.json.decode(msgspec.json.encode(value))  # type: ignore[no-any-return]
