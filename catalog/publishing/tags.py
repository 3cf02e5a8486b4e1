"""Tags from JSON text to Arrow's nested type, in bulk."""

import json
import math
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from catalog.publishing.columns import TYPES
from catalog.publishing.plain_tags import plain_tags

_ROW = pa.schema([("tags", TYPES["tags"])])
_BLOCK = 1 << 20  # bytes that a thread parses at a time
_FEW = 64  # values, which are parsed one by one faster


def parse_tags(texts: pa.StringArray) -> pa.ListArray:
    """Parse the tags of many records.

    Tags as ingestion writes them need no parser. Arrow's, which reads all lines in C++, also accepts other
    keys. It refuses them all for a value of another form, which an adopted catalog may contain. Then each
    half is tried, and a few values are parsed one by one; what is not a tag with a name is left out.

    Args:
        texts: JSON texts, or null.
    """
    found = plain_tags(texts)
    return _parse(texts) if found is None else found


def _parse(texts: pa.StringArray) -> pa.ListArray:
    if not len(texts):
        return pa.array([], TYPES["tags"])
    found = _in_bulk(texts)
    return _by_halves(texts) if found is None else found


def _in_bulk(texts: pa.StringArray) -> pa.ListArray | None:
    """Parse the tags of many records; None if one of them has another form or an infinite number."""
    lines = pc.binary_join_element_wise('{"tags":', pc.fill_null(texts, "null"), "}\n", "")
    offsets, data = lines.buffers()[1:]
    ends = pa.Array.from_buffers(pa.int32(), len(lines) + 1, [None, offsets], offset=lines.offset)
    first, last = ends[0].as_py(), ends[-1].as_py()
    longest = pc.max(pc.binary_length(lines)).as_py()
    try:
        found = arrow_json.read_json(
            pa.BufferReader(data.slice(first, last - first)),
            arrow_json.ReadOptions(block_size=max(_BLOCK, 2 * longest)),
            arrow_json.ParseOptions(explicit_schema=_ROW, unexpected_field_behavior="ignore"),
        )["tags"].combine_chunks()
    except pa.ArrowInvalid:
        return None
    tags = found.flatten()
    usable = (
        len(found) == len(texts)
        and not tags.null_count
        and not tags.field("name").null_count
        and pc.all(pc.is_finite(tags.field("accuracy")), min_count=0).as_py()
    )
    return found if usable else None


def _by_halves(texts: pa.StringArray) -> pa.ListArray:
    half = len(texts) // 2
    if half < _FEW:
        return _one_by_one(texts)
    return pa.concat_arrays([_parse(texts.slice(0, half)), _parse(texts.slice(half))])


def _one_by_one(texts: pa.StringArray) -> pa.ListArray:
    return pa.array([_tags(text) for text in texts.to_pylist()], TYPES["tags"])


def _tags(text: str | None) -> list[dict[str, Any]] | None:
    value = _loads(text) if text else None
    if not isinstance(value, list):
        return None
    return [tag for item in value if (tag := _tag(item))]


def _loads(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # a number of more digits than it reads, or deep nesting
        try:
            return json.loads(text, parse_int=float)
        except (ValueError, RecursionError):
            return None


def _tag(item: Any) -> dict[str, Any] | None:
    if isinstance(item, str):
        item = {"name": item}
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        return None
    provider, accuracy = item.get("provider"), item.get("accuracy")
    confidence = math.nan
    if isinstance(accuracy, int | float) and not isinstance(accuracy, bool):
        confidence = float(accuracy)
    return {
        "name": item["name"],
        "provider": provider if isinstance(provider, str) else None,
        "accuracy": confidence if math.isfinite(confidence) else None,
    }
