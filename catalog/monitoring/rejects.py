"""Examples of rejected records, from the files beside the TSV parts."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec
import orjson

from catalog.ingestion.parts import Parts, read_rejects

LONGEST = 2_000  # characters of a raw record that are shown
LINES = 200  # of a file that are read
FILES = 20  # of a pull; a page must not wait for thousands of requests


class Example(msgspec.Struct, frozen=True):
    """A rejected record.

    Attributes:
        media_type: Media type; "" if it is unknown.
        reason: Why it was rejected.
        raw: The item, the record or the line, as JSON; shortened.
    """

    media_type: str
    reason: str
    raw: str


def examples(pulls: Iterable[Parts], number: int) -> list[Example]:
    """Return examples of rejects of different reasons, the newest first.

    Args:
        pulls: Folders of pulls, newest first.
        number: Maximum number of examples.
    """
    found: dict[tuple[str, str], Example] = {}
    for line in (line for parts in pulls for line in _lines(parts)):
        example = Example(
            str(line.pop("media_type", "") or ""), str(line.pop("reason", "")), _shortened(line)
        )
        found.setdefault((example.media_type, example.reason), example)
        if len(found) == number:
            break
    return list(found.values())


def _lines(parts: Parts) -> Iterator[dict[str, Any]]:
    for path in islice(parts.reject_files(), FILES):
        for value in islice(read_rejects(path), LINES):
            if "not_listed" not in value:
                yield value


def _shortened(value: dict[str, Any]) -> str:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
