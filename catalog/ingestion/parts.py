"""TSV parts of one pull in object storage, and the manifest that says which of them count.

A part is the rows of one media type of one page. Its number is the page's, from the cursor's count, so a page that is fetched again
overwrites its own part. A file becomes visible only when it is whole.
"""

import os
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
import orjson
from upath import UPath

from catalog.ingestion.records import MediaType
from catalog.ingestion.tsv import VERSIONS
from catalog.ingestion.windows import Window

MANIFEST = "manifest.json"
_NUMBER = re.compile(r"_(\d{6,})\.(?:tsv|rejects\.jsonl)$")


def write_whole(path: UPath, data: bytes) -> None:
    """Write a file so that a reader sees nothing or all of it, on a file system and in an object store alike."""
    if path.protocol in ("", "file", "local"):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(data)
        os.replace(str(partial.path), str(path.path))  # noqa: PTH105 - UPath.rename copies
    else:
        path.fs.pipe_file(path.path, data)  # one PUT, or a multipart upload completed only at the end


class Counts(msgspec.Struct):
    """What became of the items of one media type: fetched = written + skipped + rejected. Reasons map to numbers."""

    fetched: int = 0
    written: int = 0
    skipped: dict[str, int] = {}
    rejected: dict[str, int] = {}
    cleaned: dict[str, int] = {}  # values, not records, that did not survive in records that were written


class Manifest(msgspec.Struct):
    """State of a pull beside its parts, renewed with each page; `complete` once the pull reached its end."""

    provider: str
    run_id: str
    window: tuple[datetime, datetime] | None
    replayed: bool
    started: datetime
    token: str  # of this pull; another one after the run's pull was cleared and fetched anew
    pages: int = 0
    seconds: float = 0
    counts: dict[str, Counts] = {}
    complete: bool = False
    whole: bool = False  # neither limited nor only certain requests
    error: str | None = None


class Parts:
    """The folder of one pull.

    root: where all pulls lie. provider, started, window: make up names. Example of a part:
    `<root>/flickr/year=2024/month=02/flickr_20240210T000312/flickr_image_v001_20240210T000312_2024-02-09_000012.tsv`.
    """

    def __init__(
        self, root: UPath, provider: str, started: datetime, window: Window | None, key: str = ""
    ) -> None:
        stamp = f"{started:%Y%m%dT%H%M%S}" + (f"_{key}" if key else "")
        covers = f"_{window}".replace(":", "") if window else ""
        month = f"/month={started:%m}" if window else ""
        self.folder = root / f"{provider}/year={started:%Y}{month}/{provider}_{stamp}{covers}"
        self._prefix, self._suffix = provider, f"{stamp}{covers}"

    def part(self, media_type: MediaType, number: int) -> UPath:
        return (
            self.folder
            / f"{self._prefix}_{media_type}_v{VERSIONS[media_type]}_{self._suffix}_{number:06}.tsv"
        )

    def write(self, media_type: MediaType, number: int, lines: Iterable[str]) -> None:
        write_whole(self.part(media_type, number), "".join(lines).encode())

    def write_rejects(self, number: int, rejects: list[dict[str, Any]]) -> None:
        """One JSON object a line: media_type, reason, and the raw record."""
        path = self.folder / f"{self._prefix}_{self._suffix}_{number:06}.rejects.jsonl"
        write_whole(path, b"".join(json_line(r) for r in rejects))

    def discard_from(self, number: int) -> None:
        """Remove parts of pages that were not accounted for (a pull was killed between writing and saving its state)."""
        if not self.folder.exists():
            return
        for path in list(self.folder.iterdir()):
            if (match := _NUMBER.search(path.name)) and int(match.group(1)) >= number:
                path.unlink()

    def save(self, manifest: Manifest) -> None:
        write_whole(self.folder / MANIFEST, msgspec.json.encode(manifest))

    def load(self) -> Manifest | None:
        """The manifest, or None when the pull never got to its first page."""
        path = self.folder / MANIFEST
        return msgspec.json.decode(path.read_bytes(), type=Manifest) if path.exists() else None

    def tsv_files(self, media_type: MediaType, pages: int) -> list[UPath]:
        """The parts of the first `pages` pages, in order."""
        if not self.folder.exists():
            return []
        wanted = f"{self._prefix}_{media_type}_v"
        found = [p for p in self.folder.iterdir() if p.name.startswith(wanted) and p.name.endswith(".tsv")]
        return sorted(
            (p for p in found if (m := _NUMBER.search(p.name)) and int(m.group(1)) < pages),
            key=lambda p: p.name,
        )


def json_line(value: Any) -> bytes:
    """A line of a rejects file. What JSON cannot hold (a lone surrogate, NaN) is written as text, so that a reject is never lost."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE, default=repr)
    except (TypeError, orjson.JSONEncodeError):
        shown = ascii(value)
        return orjson.dumps(
            {"reason": str(value.get("reason")), "raw_text": shown[:100_000]},
            option=orjson.OPT_APPEND_NEWLINE,
        )
