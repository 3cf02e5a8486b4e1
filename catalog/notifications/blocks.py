"""Slack's form of a message: blocks, within Slack's limits."""

from collections.abc import Iterable, Sequence
from typing import Any

from slack_sdk.models.blocks import (
    Block,
    ContextBlock,
    HeaderBlock,
    MarkdownTextObject,
    PlainTextObject,
    SectionBlock,
)

from catalog.notifications.lengths import divided, shortened
from catalog.notifications.message import Message

HEADER, SECTION, FIELD = 150, 3000, 2000  # characters
FIELDS, BLOCKS = 10, 50  # fields of a section, blocks of a message
# Characters of a message. Slack documents no limit for all blocks together, but refuses about 12,000.
TOTAL = 10_000


def blocks(message: Message) -> list[dict[str, Any]]:
    """Return the blocks of a message: what happened, numbers, details, and where to read on.

    If not all fits, the last block before the run says how many lines are only in the log.
    """
    header = HeaderBlock(text=PlainTextObject(text=shortened(message.title, HEADER), emoji=False))
    origin = [_markdown(part, FIELD) for part in (message.origin.parts if message.origin else ())]
    details: list[str | list[str]] = [
        message.summary,
        *_fields(message),
        *divided(list(message.lines), SECTION),
    ]
    end: list[Block] = [ContextBlock(elements=origin)] if origin else []
    room = TOTAL - len(header.text.text) - sum(len(part.text) for part in origin)  # type: ignore[union-attr]
    return [block.to_dict() for block in (header, *_sections(details, room, BLOCKS - 2), *end)]


def _fields(message: Message) -> list[list[str]]:
    """Return the fields, a list for each section."""
    shown = [f"*{name}*\n{value}" for name, value in message.fields.items()]
    return [shown[n : n + FIELDS] for n in range(0, len(shown), FIELDS)]


def _sections(details: Sequence[str | list[str]], room: int, most: int) -> Iterable[Block]:
    """Yield at most `most` sections of at most `room` characters together, the note included."""
    details = [detail for detail in details if "".join(detail).strip()]
    room -= 100  # for the note
    for number, detail in enumerate(details):
        fields = [_markdown(field, FIELD) for field in detail] if isinstance(detail, list) else []
        text = "" if isinstance(detail, list) else shortened(detail, SECTION)
        room -= len(text) + sum(len(field.text) for field in fields)
        if room < 0 or (number == most - 1 and number < len(details) - 1):
            left = sum(len(d) if isinstance(d, list) else d.count("\n") + 1 for d in details[number:])
            yield ContextBlock(elements=[_markdown(f"{left:,} more lines are in the log.", FIELD)])
            return
        yield SectionBlock(fields=fields) if fields else SectionBlock(text=_markdown(text, SECTION))


def _markdown(text: str, limit: int) -> MarkdownTextObject:
    return MarkdownTextObject(text=shortened(text, limit))
