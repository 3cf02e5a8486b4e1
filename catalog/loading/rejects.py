"""Rejected rows of a load, counted by reason; the first ones are listed in a file of JSON lines.

Each line holds `media_type`, `reason` and the `record`, or the `line` of the part if it holds no readable
record. If not all rejects are listed, the last line counts the others by reason.
"""

import logging
from collections import Counter
from types import TracebackType
from typing import Any, Self

from upath import UPath

from catalog.core.files import StreamedFile
from catalog.core.media import MediaType
from catalog.ingestion.parts import json_line

log = logging.getLogger(__name__)
LIMIT = 100_000  # listed rejects


class Rejects:
    """Counts and lists the rejects of one load; as a context manager, it removes the file after an error.

    Args:
        path: The file; None to count only.
        media_type: Media type of the load.
        limit: Maximum number of listed rejects.
    """

    def __init__(self, path: UPath | None, media_type: MediaType, limit: int = LIMIT) -> None:
        self.counts: Counter[str] = Counter()
        self._path, self._media_type = path, media_type
        self._room = limit if path is not None else 0
        self._unlisted: Counter[str] = Counter()
        self._file: StreamedFile | None = None
        self._published = False

    @property
    def room(self) -> int:
        """Number of rejects that can still be listed."""
        return self._room

    def add(self, reason: str, **what: Any) -> None:
        """Count one reject, and list it if there is room.

        Args:
            reason: The same string for all rejects of a kind.
            what: The other fields of the JSON object.
        """
        self.counts[reason] += 1
        if self._room:
            self._room -= 1
            self._write({"media_type": self._media_type, "reason": reason, **what})
        else:
            self._unlisted[reason] += 1

    def add_unlisted(self, reason: str, number: int) -> None:
        """Count rejects that are not listed."""
        if number:
            self.counts[reason] += number
            self._unlisted[reason] += number

    def publish(self) -> None:
        """Publish the list in place of that of an earlier load; without rejects there is no list."""
        if self._path is None:
            return
        if self._unlisted:
            number = sum(self._unlisted.values())
            self._write(
                {
                    "media_type": self._media_type,
                    "reason": f"{number:,} more rejects are not listed",
                    "not_listed": dict(self._unlisted),
                }
            )
        if self._file is not None:
            self._file.publish()
        elif self._path.exists():
            self._path.unlink()
        self._published = True

    def _write(self, line: dict[str, Any]) -> None:
        if self._path is None:
            return
        if self._file is None:
            self._file = StreamedFile(self._path)
        self._file.write(json_line(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None or (kind is None and self._published):
            return
        try:
            self._file.withdraw()
        except Exception:  # do not hide the error that led here
            log.warning("The list of rejects %s could not be removed.", self._path, exc_info=True)
