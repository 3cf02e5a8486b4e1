"""The file of labels in object storage: what it is, and whether it is still the same."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from upath import UPath

from catalog.core.errors import Refused
from catalog.labels.lines import MAX_LINE, NONE_FOUND, BadLine, labels_of

FIRST_LINES = 20
COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd")  # gz, zip, bz2, xz, zstd
_SHOWN = 100  # characters


class FileVersion(msgspec.Struct, frozen=True):
    """What identifies the content of a file.

    Attributes:
        size: In bytes.
        version: Its tag, or the time of its last change where the storage has no tags.
        changed_on: Time of its last change; None if the storage does not tell it.
    """

    size: int
    version: str
    changed_on: datetime | None = None


def version_of(path: UPath) -> FileVersion:
    """Return the identity of a file.

    Args:
        path: The file.

    Raises:
        Refused: There is no such file, or it is a folder.
    """
    path.fs.invalidate_cache()  # listings are cached, and the file may have been replaced
    try:
        info = path.fs.info(path.path)
    except FileNotFoundError:
        raise Refused(f"file: there is no {path}.") from None
    if info["type"] == "directory":
        raise Refused(f"file: {path} is a folder; name one file of JSON lines.")
    facts = (info.get(key) for key in ("ETag", "LastModified", "mtime"))
    return FileVersion(info["size"], str(next((fact for fact in facts if fact), "")), _changed_on(info))


def _changed_on(info: Mapping[str, Any]) -> datetime | None:
    """Return when a file was last changed, from what object storage or the file system says of it."""
    if isinstance(moment := info.get("LastModified"), datetime):
        return moment
    return datetime.fromtimestamp(seconds, UTC) if (seconds := info.get("mtime")) else None


def check_file(path: UPath) -> FileVersion:
    """Refuse a file that cannot be one of labels, by its size and its first lines.

    Args:
        path: The file.

    Raises:
        Refused: The file is missing, empty or compressed, or none of its first lines can be used.
    """
    found = version_of(path)
    if not found.size:
        raise Refused(f"file: {path} is empty.")
    with path.open("rb") as file:
        start = file.read(2 * MAX_LINE)
    if start.startswith(COMPRESSED):
        raise Refused(f"file: {path} is compressed; upload the JSON lines themselves.")
    first = [line for line in start.split(b"\n") if line.strip()][:FIRST_LINES]
    if not first:
        raise Refused(f"file: {path} begins with blank lines only.")
    reasons = []
    for line in first:
        try:
            labels_of(line, "", 0)
        except BadLine as fault:
            reasons.append(str(fault))
    if len(reasons) < len(first) or NONE_FOUND in reasons:
        return found
    shown = ascii(first[0][:_SHOWN].decode(errors="replace"))
    raise Refused(
        f"file: none of the first {len(first)} lines of {path} can be used "
        f"({', '.join(dict.fromkeys(reasons))}); the first is {shown}. A line should be "
        '{"image_uuid": "…", "response": {"Labels": [{"Name": "Dog", "Confidence": 97.3}]}}.'
    )
