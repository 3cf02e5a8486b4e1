"""Reads JSON as APIs really send it.

A strict reader goes first. What it refuses is repaired where only a value is odd, so that one odd value does
not cost its page: a byte order mark, bytes that are not UTF-8, lone surrogates, raw control characters,
invalid escapes, numbers no strict reader takes, trailing commas. What is no whole JSON value stays refused: a
body that was cut, a web page, an empty body, text after the value.
"""

import json
import math
import re
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import orjson

MAX_DEPTH = 512  # of nested lists and objects in a body that needs repair; the strict reader takes 1 024
_SMALLEST, _LARGEST = -(1 << 63), (1 << 64) - 1  # integers that the strict reader keeps exact

# Strings and words are matched as a whole, so that nothing inside them is taken for something else. A string
# that does not end is matched to the end of the text: it is left alone, and refused.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_TOKEN = re.compile(
    rf"""
    (?P<string>{_STRING})
    | (?P<word>[-+.\w]+)
    | [\[{{,:][ \t\r\n]*+,             # a comma that follows no value is no trailing comma
    | (?P<comma>,)(?=[ \t\r\n]*+[\]}}])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_NOT_BRACKETS = re.compile(rf"{_STRING}|[^\[\]{{}}\"]+", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES_OF_JSON = frozenset('"\\/bfnrtu')
_ESCAPES_OF_JAVASCRIPT = {"0": r"\u0000", "v": r"\u000b"}
_LEADING_ZEROS = re.compile(r"^(-?)0+(?=\d)", re.ASCII)
_NO_NUMBER = re.compile(r"[-+]?(?:nan|inf(?:inity)?)", re.IGNORECASE)


def read_json(body: bytes, repaired: Callable[[str], None] | None = None) -> Any:
    """The value that a body holds.

    Text that is not UTF-8, and lone surrogates, are kept as lone surrogates, which no encoder writes. Numbers
    beyond what a double holds, NaN and infinities are None. For strict JSON the result is that of `orjson`.

    Args:
        body: JSON in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.
        repaired: Called with the strict reader's complaint when the body needed repair.

    Raises:
        ValueError: The body is no JSON value, not a whole one, or nested deeper than `MAX_DEPTH`.
    """
    try:
        return orjson.loads(body)
    except ValueError as error:
        value = read_leniently(body)
        if repaired:
            repaired(str(error))
        return value


def read_leniently(body: bytes) -> Any:
    """What `read_json` does with a body that the strict reader refuses."""
    encoding = json.detect_encoding(body)
    text = body.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "surrogatepass")
    text = _TOKEN.sub(_repair, text.lstrip("\ufeff \t\r\n"))
    if _depth(text) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    try:
        return json.loads(text, strict=False, parse_int=_integer, parse_float=_float)
    except RecursionError:  # our caller's stack is nearly used up
        raise ValueError("nested too deeply") from None


def _repair(match: re.Match[str]) -> str:
    token = match.group()
    if match["string"]:
        return _ESCAPE.sub(_escape, token) if "\\" in token else token
    if match["word"]:
        return "null" if _NO_NUMBER.fullmatch(token) else _LEADING_ZEROS.sub(r"\1", token)
    return "" if match["comma"] else token


def _escape(match: re.Match[str]) -> str:
    """An escape that JSON knows. Unknown ones mean what they mean in JavaScript: the character itself."""
    code = match[1]
    if len(code) == 5 or code in _ESCAPES_OF_JSON - {"u"}:
        return match[0]
    if len(code) == 3:
        return f"\\u00{code[1:]}"
    return _ESCAPES_OF_JAVASCRIPT.get(code, code)


def _depth(text: str) -> int:
    """How deep lists and objects are nested."""
    return max(accumulate(1 if c in "[{" else -1 for c in _NOT_BRACKETS.sub("", text)), default=0)


def _integer(digits: str) -> int | float | None:
    if len(digits) <= len(str(_SMALLEST)) and _SMALLEST <= (number := int(digits)) <= _LARGEST:
        return number
    return _float(digits)


def _float(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None
