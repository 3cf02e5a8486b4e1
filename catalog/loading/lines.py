"""Finds the faults in lines of TSV parts that would stop a COPY.

The encoder writes lines without such faults, so this runs only after a COPY has failed.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import orjson

from catalog.core.columns import COLUMNS, INTEGERS, JSON_COLUMNS, MAX_INTEGER, MIN_INTEGER, WIDTHS
from catalog.core.media import MediaType

_ESCAPE = re.compile(rb"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|.)", re.DOTALL)
_INTEGER = re.compile(r"\s*[-+]?[0-9]+\s*", re.ASCII)
_NUL_IN_JSON = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # the backslash is not itself escaped
_NAMED = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def _unescaped(match: re.Match[bytes]) -> bytes:
    escape = match.group(1)
    if escape[:1] == b"x" and len(escape) > 1:
        return bytes([int(escape[1:], 16)])
    if escape.isdigit() and escape[0] < 0x38:
        return bytes([int(escape, 8) & 0xFF])
    return _NAMED.get(escape, escape)


def _bad_integer(text: str) -> str | None:
    if not _INTEGER.fullmatch(text):
        return "not an integer"
    try:
        return None if MIN_INTEGER <= int(text) <= MAX_INTEGER else "integer out of range"
    except ValueError:  # more digits than Python reads
        return "integer out of range"


def _bad_json(text: str) -> str | None:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return "not JSON"
    return "NUL in JSON" if _NUL_IN_JSON.search(text) else None


def _check_of(column: str, width: int | None) -> Callable[[str], str | None] | None:
    if column in INTEGERS:
        return _bad_integer
    if column in JSON_COLUMNS:
        return _bad_json
    if column == "watermarked":
        return lambda text: None if text in ("t", "f", "true", "false") else "not a boolean"
    if width:
        return lambda text: None if len(text) <= width else f"longer than {width} characters"
    return None


class LineCheck:
    """Finds faults in lines of one media type.

    Args:
        media_type: Media type of the lines.
        widths: Column → maximum number of characters, where an adopted database differs from our schema.
    """

    def __init__(
        self, media_type: MediaType, widths: Mapping[str, int | None] = MappingProxyType({})
    ) -> None:
        self._columns = COLUMNS[media_type]
        limits = {**WIDTHS, **widths}
        self._checks = [_check_of(column, limits.get(column)) for column in self._columns]

    def fault(self, line: bytes) -> str | None:
        """Return the fault of a line (without line end), or None if none is found."""
        fields = line.split(b"\t")
        if len(fields) != len(self._columns):
            return f"{len(fields)} fields instead of {len(self._columns)}"
        for column, check, field in zip(self._columns, self._checks, fields, strict=True):
            if field == rb"\N":
                continue
            raw = _ESCAPE.sub(_unescaped, field) if b"\\" in field else field
            if b"\0" in raw:
                return f"{column}: NUL"
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                return f"{column}: not UTF-8"
            if check and (problem := check(text)):
                return f"{column}: {problem}"
        return None
