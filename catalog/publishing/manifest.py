"""The manifest of a version: its files with checksums, its numbers, and where the state comes from."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

import msgspec
from upath import UPath

from catalog.core.licenses import license_from_pair, license_from_url
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.publishing.columns import SCHEMA_VERSION, columns
from catalog.publishing.files import File
from catalog.publishing.paths import MANIFEST, provider_folder, version_folder
from catalog.publishing.storage import FORMAT, Stored
from catalog.publishing.versions import DECISIONS, Version


class Provider(msgspec.Struct, frozen=True):
    """Numbers of a provider's records of a media type.

    Attributes:
        media_type: Media type of the records.
        provider: Its name; None for records without one.
        folder: Path of its files in the version's folder.
        files: Number of files.
        rows: Number of records.
        bytes: Size of the files.
    """

    media_type: MediaType
    provider: str | None
    folder: str
    files: int
    rows: int
    bytes: int


class Licensed(msgspec.Struct, frozen=True):
    """Number of records of a source with a license."""

    media_type: MediaType
    source: str | None
    license: str
    license_version: str | None
    license_url: str | None
    rows: int


class Snapshot(msgspec.Struct, frozen=True):
    """The state of the catalog.

    Attributes:
        contents: As PostgreSQL writes a snapshot (`xmin:xmax:running`).
        taken_on: Time in UTC, ISO 8601.
        number: How many snapshots the run took; the last one counts.
    """

    contents: str
    taken_on: str
    number: int


class Changes(msgspec.Struct, frozen=True):
    """The change set against an earlier version.

    Attributes:
        against: The earlier version.
        added: Media type → number of records.
        changed: Media type → number of records whose `updated_on` differs.
        removed: Media type → number of records.
        files: Media type → file with the identifiers.
        snapshot_number: Number of the snapshot that was compared.
        lost: A file of the earlier version that is missing or altered, so that nothing is known of its media
            type. Otherwise "".
    """

    against: int
    added: dict[str, int]
    changed: dict[str, int]
    removed: dict[str, int]
    files: dict[str, Stored]
    snapshot_number: int = msgspec.field(default=0, name="state")
    lost: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of a version; see the attributes of its parts.

    Attributes:
        left_out: Media type → number of records that are sensitive, or that moderators have deleted. Versions
            of earlier releases do not have it.
        with_term: Media type → number of records that contain a sensitive term, also of those that are left
            out for another reason as well. Empty if terms were not looked for, or by an earlier release.
    """

    format: str
    schema_version: int
    version: int
    token: str
    published_on: str
    snapshot: Snapshot
    settings: dict[str, Any]
    rows: dict[str, int]
    bytes: int
    columns: dict[str, dict[str, str]]
    providers: list[Provider]
    licenses: list[Licensed]
    files: list[File]
    changes: Changes | None = None
    documents: list[Stored] = []
    left_out: dict[str, int] = {}
    with_term: dict[str, int] = {}

    @property
    def stored(self) -> list[Stored | File]:
        """All files of the version besides the manifest."""
        change_sets = self.changes.files.values() if self.changes else ()
        return [*self.files, *self.documents, *change_sets]


def make(
    version: Version,
    files: list[File],
    changes: Changes | None,
    published_on: str,
    rows_read: Mapping[MediaType, int],
    with_term: Mapping[MediaType, int],
) -> Manifest:
    """Return the manifest of a version whose files are complete; documents are added later.

    Args:
        version: The version.
        files: Its files.
        changes: Its change set; None if there is no version before.
        published_on: Time in UTC, ISO 8601.
        rows_read: Media type → rows that were read, with those that are left out.
        with_term: Media type → those of them that contain a sensitive term.
    """
    rows: dict[str, int] = {m: sum(file.rows for file in files if file.media_type == m) for m in MEDIA_TYPES}
    assert version.taken_on is not None
    assert version.snapshot is not None
    taken_on = version.taken_on.astimezone(UTC).isoformat()
    return Manifest(
        format=FORMAT,
        schema_version=SCHEMA_VERSION,
        version=version.number,
        token=version.token,
        published_on=published_on,
        snapshot=Snapshot(version.snapshot, taken_on, version.snapshot_number),
        settings={name: value for name, value in version.settings.items() if name != DECISIONS},
        rows=rows,
        bytes=sum(file.bytes for file in files),
        columns={m: {column.name: str(column.type) for column in columns(m)} for m in MEDIA_TYPES},
        providers=_providers(files),
        licenses=_licenses(files),
        # The numbers by license are in `licenses`, once.
        files=[msgspec.structs.replace(file, licenses=[]) for file in files],
        changes=changes,
        left_out={m: rows_read.get(m, 0) - rows[m] for m in MEDIA_TYPES},
        with_term={m: with_term[m] for m in MEDIA_TYPES if m in with_term},
    )


def _order(*values: str | None) -> tuple[tuple[bool, str], ...]:
    """Return a key for sorting, with None last."""
    return tuple((value is None, value or "") for value in values)


def _providers(files: Iterable[File]) -> list[Provider]:
    rows, sizes, numbers = (Counter[tuple[MediaType, str | None]]() for _ in range(3))
    for file in files:
        key = (file.media_type, file.provider)
        rows[key] += file.rows
        sizes[key] += file.bytes
        numbers[key] += 1
    return [
        Provider(*key, f"{key[0]}/{provider_folder(key[1])}", numbers[key], rows[key], sizes[key])
        for key in sorted(rows, key=lambda key: _order(*key))
    ]


def _licenses(files: Iterable[File]) -> list[Licensed]:
    rows = Counter[tuple[MediaType, str | None, str, str | None]]()
    for file in files:
        for source, name, edition, number in file.licenses:
            rows[(file.media_type, source, name, edition)] += number
    found = []
    for key in sorted(rows, key=lambda key: _order(*key)):
        media_type, source, name, edition = key
        found.append(Licensed(media_type, source, name, edition, _url_of(name, edition), rows[key]))
    return found


def _url_of(name: str, edition: str | None) -> str | None:
    """Return the URL of a license; None if only another version has one, as of 2.1."""
    known = license_from_pair(name, edition)
    found = license_from_url(known.url) if known else None
    return (
        known.url if known and found and (found.slug, found.version) == (known.slug, known.version) else None
    )


def encode(manifest: Manifest) -> bytes:
    """Return the manifest as JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1)


def read(root: UPath, number: int, sha256: str | None = None) -> Manifest | None:
    """Return the manifest of a version; None if there is none that this release can read.

    Args:
        root: The folder of all versions.
        number: Number of the version.
        sha256: Checksum in hexadecimal; another manifest is none.
    """
    path = root / version_folder(number) / MANIFEST
    path.fs.invalidate_cache()
    try:
        data = path.read_bytes()
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            return None
        return msgspec.json.decode(data, type=Manifest)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
