"""Lines of an image service, and the tags that are made of them."""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import IO, Any
from unicodedata import category
from uuid import UUID

import msgspec
import orjson

from catalog.ingestion.cleaning import plain
from catalog.ingestion.fields import MAX_TAGS

MAX_LINE = 1 << 20  # bytes
MAX_NAME = 200  # characters
BLOCK = 4 << 20  # bytes that are read at once

NOT_JSON = "no JSON object"
TOO_LONG = f"longer than {MAX_LINE:,} bytes"
NO_UUID = "no image_uuid"
NO_LABELS = "no labels"
NONE_FOUND = "the service found no labels"
TOO_MANY = f"more than {MAX_TAGS:,} labels"
BAD_LABEL = "a label that is no object"
BAD_NAME = "a label whose name is empty or not text"
UNPRINTABLE = "a label whose name has control characters"
LONG_NAME = f"a label whose name has more than {MAX_NAME} characters"
BAD_CONFIDENCE = "a label whose confidence is not a number from 0 to 100"
SMALL = "no confidence above 1; they should be from 0 to 100, so multiply them by 100"
ALL_LOW = "no label reaches the least confidence"
LOW = "label: below the least confidence"

CORRECTIONS = {
    "Atm": "ATM",
    "Atv": "ATV",
    "Ballerina": "Ballet Dancer",
    "Bmx": "BMX",
    "Cpu": "CPU",
    "Dj": "DJ",
    "Dvd": "DVD",
    "Fireman": "Firefighter",
    "Ipod": "iPod",
    "Pc": "PC",
    "RAM Memory": "RAM",
    "Rv": "RV",
    "Suv": "SUV",
}
"""Name that the service gives → name of the tag."""


class BadLine(ValueError):
    """A line that cannot be used. The message is its reason."""


class Labels(msgspec.Struct, frozen=True):
    """The labels of a line.

    Attributes:
        image: Identifier of the image.
        tags: Its tags, in the order of the line: objects with `name`, `accuracy` and `provider`.
        low: Number of labels below the least confidence, which were left out.
    """

    image: UUID
    tags: list[dict[str, Any]]
    low: int


def labels_of(line: bytes, provider: str, least: float) -> Labels:
    """Return the tags of a line, all of whose labels must be understood: they replace those of the image.

    Args:
        line: A line without its end.
        provider: Provider of the tags.
        least: Least confidence, 0 to 100; labels below it are left out.

    Raises:
        BadLine: A label is not understood, or there is none. Such a line changes nothing; it never means that
            an image has no labels.
    """
    if len(line) > MAX_LINE:
        raise BadLine(TOO_LONG)
    value = _parsed(line)
    image = _uuid(value.get("image_uuid"))
    response = value.get("response")
    labels = response.get("Labels") if isinstance(response, dict) else None
    if not isinstance(labels, list):
        raise BadLine(NO_LABELS)
    if not labels:
        raise BadLine(NONE_FOUND)
    if len(labels) > MAX_TAGS:
        raise BadLine(TOO_MANY)
    found = [_label(label) for label in labels]
    if max(confidence for _, confidence in found) <= 1:
        raise BadLine(SMALL)
    highest: dict[str, float] = {}
    for name, confidence in found:
        if confidence >= least:
            highest[name] = max(confidence, highest.get(name, 0))
    if not highest:
        raise BadLine(ALL_LOW)
    tags = [{"name": n, "accuracy": c / 100, "provider": provider} for n, c in highest.items()]
    return Labels(image, tags, sum(confidence < least for _, confidence in found))


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:  # it accepts NaN, which may be in a part that is not read
            value = json.loads(line.decode())  # of bytes, it would guess the encoding
        except (ValueError, RecursionError):
            raise BadLine(NOT_JSON) from None
    if not isinstance(value, dict):
        raise BadLine(NOT_JSON)
    return value


def _uuid(value: Any) -> UUID:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise BadLine(NO_UUID) from None


def _label(label: Any) -> tuple[str, float]:
    """Return the name, corrected, and the confidence of a label."""
    if not isinstance(label, dict):
        raise BadLine(BAD_LABEL)
    name, confidence = _name(label.get("Name")), label.get("Confidence")
    if isinstance(confidence, bool) or not isinstance(confidence, int | float):
        raise BadLine(BAD_CONFIDENCE)
    if not 0 <= confidence <= 100:  # also refuses NaN
        raise BadLine(BAD_CONFIDENCE)
    return name, confidence


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise BadLine(BAD_NAME)
    return _tag_name(name)


@lru_cache(65_536)
def _tag_name(name: str) -> str:
    """Return the name of the tag for that of a label: as ingestion writes it, and corrected."""
    if not name.isprintable() and any(category(c) in ("Cc", "Cs") for c in name):
        raise BadLine(UNPRINTABLE)
    found = plain(name)
    if not found:
        raise BadLine(BAD_NAME)
    if len(found) > MAX_NAME:
        raise BadLine(LONG_NAME)
    return CORRECTIONS.get(found, found)


def blocks(file: IO[bytes], start: int, size: int = BLOCK) -> Iterator[tuple[list[bytes], int]]:
    """Yield whole lines, block by block, each with the offset at which the next block begins.

    The memory does not depend on the length of a line: of one that is too long, only the beginning is kept.

    Args:
        file: A file that can be read from any offset.
        start: Offset at which a line begins.
        size: Bytes to read at once.
    """
    file.seek(start)
    end, rest, length = start, b"", 0  # of the last whole line; an unfinished line, and its real length
    while data := file.read(size):
        whole, newline, tail = data.rpartition(b"\n")
        if newline:
            end += length + len(whole) + 1
            yield (rest + whole).split(b"\n"), end
            rest, length = tail[: MAX_LINE + 1], len(tail)
        else:
            rest, length = (rest + data)[: MAX_LINE + 1], length + len(data)
    if length:
        yield [rest], end + length
