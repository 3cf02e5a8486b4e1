"""What a rule of cleaning is, and how it judges a row."""

import json
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, LiteralString

import msgspec

from catalog.core.columns import COLUMNS
from catalog.core.media import MediaType

AGAIN = "encoded more than once, perhaps"
UNSTORABLE = "characters that the database cannot store"
_MAX_DIGITS = 300
_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")
JSON_COLUMNS = frozenset(("meta_data", "tags"))


class Cleaned(msgspec.Struct):
    """What a rule makes of a row.

    Attributes:
        changes: Column → value that ingestion would write, for the columns whose value differs.
        left: Why values stay as they are although ingestion would not write them.
    """

    changes: dict[str, Any] = {}
    left: list[str] = []

    def set(self, row: Mapping[str, Any], column: str, value: Any) -> None:
        """Change a column unless it has this value already."""
        if value != row[column]:
            self.changes[column] = value


class Rule(msgspec.Struct, frozen=True):
    """A rule of cleaning.

    Attributes:
        name: Name in confs and reports.
        about: What it changes, for people.
        writes: Columns that it may change; a media type may lack some.
        reads: Further columns that it reads.
        condition: Returns the SQL condition for the columns that a media type has. It is true for every row
            that `clean` changes, and for some that it does not.
        clean: Judges a row of the columns `writes` and `reads`, those of JSON as text.
    """

    name: str
    about: str
    writes: tuple[str, ...]
    reads: tuple[str, ...]
    condition: Callable[[tuple[str, ...]], LiteralString]
    clean: Callable[[Mapping[str, Any]], Cleaned]

    def columns(self, media: MediaType) -> tuple[str, ...]:
        """Return the columns of a media type that the rule writes."""
        return tuple(name for name in self.writes if name in COLUMNS[media])

    def needs(self, media: MediaType) -> tuple[str, ...]:
        """Return all columns of a media type that the rule reads."""
        return (*self.columns(media), *self.reads)

    def where(self, media: MediaType) -> LiteralString:
        """Return the condition for a media type."""
        return self.condition(self.columns(media))

    def judge(self, row: Mapping[str, Any]) -> Cleaned:
        """Judge a row. A value that would be changed once more by cleaning it again is left.

        It cannot be known how often such a value was encoded, as `&amp;amp;` was; and cleaning twice must
        not differ from cleaning once. JSON in a string may hold characters that PostgreSQL refuses.
        """
        try:
            return self._judge(row)
        except RecursionError:
            return Cleaned(left=["JSON that is nested too deeply"])

    def _judge(self, row: Mapping[str, Any]) -> Cleaned:
        cleaned = self.clean(row)
        for column in [name for name, value in cleaned.changes.items() if not _is_storable(value)]:
            del cleaned.changes[column]
            cleaned.left.append(f"{column}: {UNSTORABLE}")
        if cleaned.changes:
            after = {
                **row,
                **{
                    column: json.dumps(value) if column in JSON_COLUMNS and value is not None else value
                    for column, value in cleaned.changes.items()
                },
            }
            for column in self.clean(after).changes:
                cleaned.changes.pop(column, None)
                cleaned.left.append(f"{column}: {AGAIN}")
        return cleaned


def _is_storable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_storable, (*value, *value.values())))
    if isinstance(value, list):
        return all(map(_is_storable, value))
    return not (isinstance(value, str) and _NO_CHARACTER.search(value))


def parsed(text: str) -> Any:
    """Return a stored JSON value; a number that Python cannot hold exactly is its text.

    Raises:
        ValueError: It is no JSON; NaN and Infinity are not.
    """
    return _DECODER.decode(text)


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= _MAX_DIGITS else text


def _number(text: str) -> float | str:
    number = float(text) if len(text) <= _MAX_DIGITS else math.inf
    try:
        return number if math.isfinite(number) and Decimal(repr(number)) == Decimal(text) else text
    except InvalidOperation:  # an exponent beyond that of decimals
        return text


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_number, parse_constant=_refuse)


def any_of(columns: tuple[str, ...], test: LiteralString) -> LiteralString:
    """Return the condition that a test is true for one of several columns, which it calls `{column}`."""
    found: list[LiteralString] = [test.replace("{column}", name) for name in columns]
    return "(" + ") or (".join(found) + ")"
