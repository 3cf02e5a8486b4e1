"""Tags as ingestion writes them, found by the positions of the quotes in PostgreSQL's JSON text.

PostgreSQL writes `jsonb` in one form: shorter keys first, and one space after each colon and comma. A list of
tags is

    [{"name": "owl", "provider": "flickr"}, {"name": "fern", "accuracy": 0.94, "provider": "clarifai"}]

A parser of JSON takes twice the processor time. It gets what has another form: everything that is not a name,
a provider or a number is checked to be exactly what this form has at that place.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from catalog.publishing.columns import TAG

_QUOTE, _BACKSLASH, _BRACE, _END, _BRACKET = b'"\\{}['
_NAME, _ACCURACY, _PROVIDER = b'"name": ', b'"accuracy": ', b'"provider": '
_BEHIND = 32  # bytes of zero behind the texts, so that each position is within bounds

Positions = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


class _Places(NamedTuple):
    """Where the values of each tag are; those of an absent value mean nothing.

    Attributes:
        begin: Of the tag.
        name: First character of its name, and the one behind it; so for the others.
        has_accuracy: Whether it has one.
        accuracy: Its accuracy, a number.
        has_provider: Whether it has one.
        provider: Its provider.
        first: Index of the first tag of each text, and the number of tags.
    """

    begin: Positions
    name: tuple[Positions, Positions]
    has_accuracy: Flags
    accuracy: tuple[Positions, Positions]
    has_provider: Flags
    provider: tuple[Positions, Positions]
    first: Positions


def plain_tags(texts: pa.StringArray) -> pa.ListArray | None:
    """Return the tags of many records.

    Args:
        texts: Texts of valid JSON, or null.

    Returns:
        The tags of each record; None if one text has another form, or if there are no tags at all.
    """
    data, offsets = _buffers(texts)
    escaped = _escaped(data)
    places = _places(data, offsets, np.flatnonzero(_without(data, escaped) == _QUOTE))
    if places is None:
        return None
    try:
        accuracies = _cut(data, places.accuracy, places.has_accuracy).cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    if not pc.all(pc.is_finite(accuracies), min_count=0).as_py():
        return None
    names = _cut(data, places.name, np.full(len(places.begin), True))
    providers = _cut(data, places.provider, places.has_provider)
    if escaped:
        where = np.full(len(places.begin), False)
        where[np.searchsorted(places.begin, escaped) - 1] = True
        names, providers = _unescaped(names, where), _unescaped(providers, where)
    tags = pa.StructArray.from_arrays([names, providers, accuracies], fields=list(TAG))
    return pa.ListArray.from_arrays(pa.array(places.first, pa.int32()), tags, mask=texts.is_null())


def _places(data: Bytes, offsets: Positions, quotes: Positions) -> _Places | None:
    """Return where the tags' values are; None if there are no tags, or something else is in the texts."""
    after_last = np.full(4, offsets[-1])  # so that the last tag has strings behind it, too
    opening, closing = np.append(quotes[0::2], after_last), np.append(quotes[1::2], after_last)

    # The strings of a tag are "name" and its value, perhaps "accuracy", perhaps "provider" and its value.
    name = np.flatnonzero(data[opening - 1] == _BRACE)
    if not len(name) or len(quotes) % 2:
        return None
    accuracy = name + 2
    has_accuracy = _is(_ACCURACY, data, opening[accuracy])
    provider = accuracy + has_accuracy
    has_provider = _is(_PROVIDER, data, opening[provider])
    next_name = provider + 2 * has_provider
    name_end, provider_end = closing[name + 1], closing[provider + 1]

    # A tag ends where the next one, or the end of its text, demands it.
    begin = opening[name] - 1
    first = np.searchsorted(begin, offsets)
    text, size = offsets[:-1], np.diff(offsets)
    tagged = np.diff(first) > 0
    end = np.append(begin[1:], 0) - len("}, ")
    end[first[1:][tagged] - 1] = offsets[1:][tagged] - len("}]")

    as_expected = (
        name[0] == 0,
        next_name == np.append(name[1:], len(quotes) // 2),
        data[text[tagged]] == _BRACKET,
        begin[first[:-1][tagged]] == text[tagged] + 1,
        _is(_NAME, data, opening[name]),
        opening[name + 1] == opening[name] + len(_NAME),
        (opening[accuracy] == name_end + len('", ')) | ~(has_accuracy | has_provider),
        (opening[provider + 1] == opening[provider] + len(_PROVIDER)) | ~has_provider,
        (end == np.where(has_provider, provider_end, name_end) + 1) | (has_accuracy & ~has_provider),
        data[end] == _END,
        tagged | (size == 0) | (size == len("[]")) & (data[text] == _BRACKET),
    )
    if not all(map(np.all, as_expected)):
        return None
    return _Places(
        begin=begin,
        name=(opening[name + 1] + 1, name_end),
        has_accuracy=has_accuracy,
        accuracy=(
            opening[accuracy] + len(_ACCURACY),
            np.where(has_provider, opening[provider] - len(", "), end),
        ),
        has_provider=has_provider,
        provider=(opening[provider + 1] + 1, provider_end),
        first=first,
    )


def _buffers(texts: pa.StringArray) -> tuple[Bytes, Positions]:
    """Return the bytes of the texts, with zeros behind them, and where each text begins and the last ends."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    text = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
    return np.append(text, np.zeros(_BEHIND, np.uint8)), ends - ends[0]


def _escaped(data: Bytes) -> list[int]:
    """Return the positions of the characters behind a backslash that is not itself escaped."""
    found = list[int]()
    for position in np.flatnonzero(data == _BACKSLASH).tolist():
        if not found or found[-1] != position:
            found.append(position + 1)
    return found


def _without(data: Bytes, positions: list[int]) -> Bytes:
    """Return the data with zeros at these positions."""
    if not positions:
        return data
    changed = data.copy()
    changed[positions] = 0
    return changed


def _unescaped(texts: pa.StringArray, where: Flags) -> pa.StringArray:
    """Return texts, which are the inside of JSON strings, with some of them decoded."""
    mask = pa.array(where)
    values = [text and orjson.loads(f'"{text}"') for text in texts.filter(mask).to_pylist()]
    return pc.replace_with_mask(texts, mask, pa.array(values, pa.string()))


def _is(key: bytes, data: Bytes, positions: Positions) -> Flags:
    """Return whether a key of 8 to 16 bytes is at these positions."""
    eight_bytes = np.ndarray(len(data) - 7, "<u8", data, strides=1)  # that begin at each position
    found: Flags = eight_bytes[positions] == int.from_bytes(key[:8], "little")
    if len(key) > 8:
        found &= eight_bytes[positions + len(key) - 8] == int.from_bytes(key[-8:], "little")
    return found


def _cut(data: Bytes, places: tuple[Positions, Positions], wanted: Flags) -> pa.StringArray:
    """Return the texts at these places, which rise; null where none is wanted."""
    begin, end = places
    bounds = np.empty(2 * np.count_nonzero(wanted) + 1, np.int32)
    bounds[0:-1:2], bounds[1::2], bounds[-1] = begin[wanted], end[wanted], len(data)
    pieces = pa.StringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(data))
    return pieces.take(pa.array(2 * (np.cumsum(wanted) - 1), mask=~wanted))
