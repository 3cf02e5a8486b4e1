"""The data files of a version, as its parts record them."""

from typing import NamedTuple

import msgspec

from catalog.core.media import MediaType
from catalog.publishing.storage import Stored


class File(msgspec.Struct, frozen=True):
    """A data file.

    Attributes:
        path: Relative to the version's folder.
        media_type: Media type of its records.
        provider: Provider of its records.
        rows: Number of records.
        bytes: Size.
        sha256: Checksum, in hexadecimal.
        licenses: Source, license and version → number of records, as a list of four.
    """

    path: str
    media_type: MediaType
    provider: str | None
    rows: int
    bytes: int
    sha256: str
    licenses: list[tuple[str | None, str, str | None, int]] = []

    @property
    def stored(self) -> Stored:
        """What tells that the file is as it was written."""
        return Stored(self.path, self.bytes, self.sha256)


class Written(NamedTuple):
    """A part that was written.

    Attributes:
        files: Its files.
        rows_read: Rows that meet the part's condition, with those that are left out.
        with_term: Those of them that contain a sensitive term; None if terms are not looked for.
    """

    files: list[File]
    rows_read: int
    with_term: int | None = None
