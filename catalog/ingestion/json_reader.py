"""Reads JSON as APIs really send it, so that one malformed value does not fail its page.

A strict parser goes first. What it refuses is repaired: a byte order mark, bytes that are not UTF-8, lone
surrogates, raw control characters, invalid escapes, non-standard numbers, trailing commas. A body that is not
one complete JSON value is still refused: truncated or empty bodies, web pages, text after the value.
"""

import codecs
import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate

import orjson

from catalog.core.jsontypes import Json

MAX_DEPTH = 512  # of nested lists and objects in a body that needs repair; the strict parser allows 1,024
_SMALLEST, _LARGEST = -(1 << 63), (1 << 64) - 1  # integers that the strict parser keeps exact

# Strings and words are matched as a whole, so that their contents are not mistaken for other tokens. A string
# without an end is matched to the end of the body, left unchanged, and refused.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_TOKEN = re.compile(
    rf"""
    (?P<string>{_STRING})
    | (?P<word>[-+.\w]+)
    | [\[{{,:][ \t\r\n]*+,             # a comma that follows no value is not a trailing comma
    | (?P<comma>,)(?=[ \t\r\n]*+[\]}}])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_NOT_BRACKETS = re.compile(rf"{_STRING}|[^\[\]{{}}\"]+", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES_OF_JSON = frozenset('"\\/bfnrtu')
_ESCAPES_OF_JAVASCRIPT = {"0": r"\u0000", "v": r"\u000b"}
_LEADING_ZEROS = re.compile(r"^(-?)0+(?=\d)", re.ASCII)
# Bytes that are not UTF-8, as `surrogateescape` decodes them, and characters that it has decoded.
_UNDECODED = re.compile("[\udc80-\udcff]")
_NOT_ASCII = re.compile("[^\x00-\x7f\udc80-\udcff]")
_OF_SEVERAL_BYTES = ("euc_", "big5", "gb", "cp949")  # names of codecs begin so
_LARGER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "shift_jis": "cp932",
    "cp932": "cp932",
    "euc_kr": "cp949",
    "cp949": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
}
_NO_NUMBER = re.compile(r"[-+]?(?:nan|inf(?:inity)?)", re.IGNORECASE)


def read_json(body: bytes, repaired: Callable[[str], None] | None = None, charset: str | None = None) -> Json:
    """Decode a JSON body.

    Bytes that cannot be decoded become lone surrogates, which the encoder removes and counts. Numbers out of
    the range of a double, NaN and infinities become None. For strict JSON the result is that of `orjson`.

    Args:
        body: JSON in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.
        repaired: Called with the error of the strict parser if the body needed repair.
        charset: Encoding of a body that is not in Unicode, as its header says.

    Raises:
        ValueError: The body is not a complete JSON value, or is nested deeper than `MAX_DEPTH`.
    """
    try:
        return orjson.loads(body)
    except ValueError as error:
        value = read_leniently(body, charset)
        if repaired:
            repaired(str(error))
        return value


def read_leniently(body: bytes, charset: str | None = None) -> Json:
    """Repair and decode a body that the strict parser refuses; see `read_json`."""
    text = _TOKEN.sub(_repair, _text(body, charset).lstrip("\ufeff \t\r\n"))
    if _depth(text) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    try:
        return json.loads(text, strict=False, parse_int=_integer, parse_float=_float)
    except RecursionError:  # the stack of the caller is nearly exhausted
        raise ValueError("nested too deeply") from None


def _text(body: bytes, charset: str | None) -> str:
    """Decode a body. JSON is in Unicode, whatever a header says, unless most of its letters are not.

    A text that was cut in the middle of a character does not change how the others are read.
    """
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        return body.decode(encoding, "surrogatepass")
    text = body.decode(encoding, "surrogateescape")
    undecoded, others = len(_UNDECODED.findall(text)), len(_NOT_ASCII.findall(text))
    if undecoded and (named := _codec(charset)):
        # Some characters of several bytes are valid in UTF-8 by chance.
        if named.startswith(_OF_SEVERAL_BYTES) and 3 * undecoded >= others:
            with suppress(UnicodeDecodeError):
                return body.decode(named)
        if undecoded > others:
            return body.decode(named, "surrogateescape")
    return text


def _codec(charset: str | None) -> str | None:
    """Return the codec of a charset; None if it is unknown, or one of Unicode.

    Some names stand for a larger charset, as in browsers: https://encoding.spec.whatwg.org/#names-and-labels
    """
    with suppress(LookupError, ValueError):
        name = codecs.lookup(charset or "").name
        if name in _LARGER:
            return _LARGER[name]
        if name.startswith(("iso8859", "cp125", "koi8", "mac", *_OF_SEVERAL_BYTES)):
            return name
    return None


def _repair(match: re.Match[str]) -> str:
    token = match.group()
    if match["string"]:
        return _ESCAPE.sub(_escape, token) if "\\" in token else token
    if match["word"]:
        return "null" if _NO_NUMBER.fullmatch(token) else _LEADING_ZEROS.sub(r"\1", token)
    return "" if match["comma"] else token


def _escape(match: re.Match[str]) -> str:
    """Return a valid JSON escape; an unknown one stands for the character itself, as in JavaScript."""
    code = match[1]
    if len(code) == 5 or code in _ESCAPES_OF_JSON - {"u"}:
        return match[0]
    if len(code) == 3:
        return f"\\u00{code[1:]}"
    return _ESCAPES_OF_JAVASCRIPT.get(code, code)


def _depth(text: str) -> int:
    """Return the nesting depth of lists and objects."""
    return max(accumulate(1 if c in "[{" else -1 for c in _NOT_BRACKETS.sub("", text)), default=0)


def _integer(digits: str) -> int | float | None:
    if len(digits) <= len(str(_SMALLEST)) and _SMALLEST <= (number := int(digits)) <= _LARGEST:
        return number
    return _float(digits)


def _float(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None
