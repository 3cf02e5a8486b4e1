"""Names of folders and files of the dataset."""

import hashlib
import re

from catalog.core.media import MediaType

POINTER = "latest.json"
MANIFEST = "manifest.json"
CROISSANT = "croissant.json"
CARD = "README.md"
_VERSION = re.compile(r"v([1-9][0-9]*)")
_PLAIN = re.compile(r"[a-z0-9_-]")
_LONGEST = 180  # bytes; file systems allow 255


def version_folder(number: int) -> str:
    """Return the name of a version's folder."""
    return f"v{number}"


def version_number(folder: str) -> int | None:
    """Return the version that a folder is named for; None for any other name."""
    match = _VERSION.fullmatch(folder)
    return int(match[1]) if match else None


def provider_folder(provider: str | None) -> str:
    """Return the name of a provider's folder, another one for each provider.

    Lower-case letters, digits, `-` and `_` stand for themselves, but for a `_` in front: tools that read
    folders ignore such names. Each other byte of UTF-8 is `~` and two hexadecimal digits, so names that
    differ only in case differ on every file system, and nothing in a name is a path, a pattern, or an escape
    of a URL. No provider is `~null`, an empty one `~empty`. A long name is cut, and a hash follows.
    """
    if provider is None:
        return "~null"
    if not provider:
        return "~empty"
    name = "".join(
        char if _PLAIN.fullmatch(char) else "".join(f"~{byte:02x}" for byte in char.encode())
        for char in provider
    )
    if name.startswith("_"):
        name = f"~5f{name[1:]}"
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(provider.encode()).hexdigest()[:32]
    return f"{name[: _LONGEST - 40]}~~{digest}"


def data_file(media_type: MediaType, provider: str | None, part: int, number: int, attempt: str) -> str:
    """Return the path of a data file in its version's folder.

    Args:
        media_type: Media type of its records.
        provider: Provider of its records.
        part: The part that it belongs to.
        number: Number of the file in the part.
        attempt: Differs for each attempt, so that no attempt writes to a file of another one.
    """
    return f"{media_type}/{provider_folder(provider)}/{part:05}-{number:03}-{attempt}.parquet"
