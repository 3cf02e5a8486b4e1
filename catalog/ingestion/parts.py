"""TSV parts of one pull in object storage, and the manifest that says which of them count.

A part is the rows of one media type of one page. Its name holds the page's number and the attempt that wrote
it: an attempt that was taken for dead and goes on writing touches no file of the one that has taken over, and
the manifest says which attempt wrote which pages. A file becomes visible only when it is whole.
"""

import os
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec
import orjson
from upath import UPath

from catalog.core.columns import VERSIONS
from catalog.core.media import MediaType
from catalog.ingestion.windows import Window

_PART = re.compile(r"_(\d{6,})(?:-(\d+))?\.(?:tsv|rejects\.jsonl)$")  # page, attempt
_MANIFEST = re.compile(r"manifest(?:-(\d+))?\.json$")


def write_whole(path: UPath, data: bytes) -> None:
    """Write a file atomically, on a file system and in an object store."""
    if path.protocol in ("", "file", "local"):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(data)
        os.replace(str(partial.path), str(path.path))  # noqa: PTH105 - UPath.rename copies
    else:
        path.fs.pipe_file(path.path, data)  # one PUT, or a multipart upload completed only at the end


class Counts(msgspec.Struct):
    """Counts of one media type: fetched = written + skipped + rejected. Reasons map to numbers."""

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
    shortfalls: list[str] = []  # what came less than was announced
    accepted: bool = False  # shortfalls are right, a person says
    attempts: list[tuple[int, int]] = []  # (first page, attempt), in order; none: all pages are of attempt 0

    def attempt_of(self, page: int) -> int:
        """The attempt that wrote a page."""
        return next((number for first, number in reversed(self.attempts) if first <= page), 0)


class Parts:
    """The folder of one pull, as one attempt writes into it.

    Example of a part:
    `<root>/flickr/year=2024/month=02/flickr_20240210T000312/flickr_image_v001_20240210T000312_2024-02-09_000012-7.tsv`.
    """

    def __init__(
        self,
        root: UPath,
        provider: str,
        started: datetime,
        window: Window | None,
        key: str = "",
        attempt: int = 0,
    ) -> None:
        """Name the folder.

        Args:
            root: Where all pulls lie.
            provider: The provider's name.
            started: When the run began; with the window it makes up the folder's name.
            window: The time that the pull covers, if it does not cover everything.
            key: Tells pulls of the same provider and time apart.
            attempt: Number of the attempt that writes, greater than that of any before; 0 when there is only
                one.
        """
        stamp = f"{started:%Y%m%dT%H%M%S}" + (f"_{key}" if key else "")
        covers = f"_{window}".replace(":", "") if window else ""
        month = f"/month={started:%m}" if window else ""
        self.folder = root / f"{provider}/year={started:%Y}{month}/{provider}_{stamp}{covers}"
        self.attempt = attempt
        self._prefix, self._suffix = provider, f"{stamp}{covers}"
        self._by = f"-{attempt}" if attempt else ""

    def part(self, media_type: MediaType, number: int) -> UPath:
        """Where this attempt writes the rows of a page."""
        name = f"{self._prefix}_{media_type}_v{VERSIONS[media_type]}_{self._suffix}_{number:06}{self._by}.tsv"
        return self.folder / name

    def write(self, media_type: MediaType, number: int, lines: Iterable[str]) -> None:
        """Write the rows of a page."""
        write_whole(self.part(media_type, number), "".join(lines).encode())

    def write_rejects(
        self, number: int, rejects: list[dict[str, Any]], redact: Callable[[str], str] = str
    ) -> None:
        """Write rejects, one JSON object a line: media_type, reason, details, and the redacted raw record."""
        path = self.folder / f"{self._prefix}_{self._suffix}_{number:06}{self._by}.rejects.jsonl"
        text = b"".join(json_line(r) for r in rejects).decode()
        write_whole(path, redact(text).encode())

    def discard_from(self, number: int) -> None:
        """Remove parts of pages that no manifest counts, and older manifests."""
        for path in self._files():
            part, manifest = _PART.search(path.name), _MANIFEST.fullmatch(path.name)
            late = part and int(part.group(1)) >= number and int(part.group(2) or 0) <= self.attempt
            if late or (manifest and int(manifest.group(1) or 0) < self.attempt):
                path.unlink()

    def save(self, manifest: Manifest) -> None:
        """Write this attempt's manifest, and a copy under a name that does not change, to watch a pull by."""
        text = msgspec.json.encode(manifest)
        write_whole(self.folder / f"manifest{self._by}.json", text)
        if self.attempt:
            write_whole(self.folder / "manifest.json", text)

    def newest_attempt(self) -> int:
        """The greatest number by which an attempt has written; 0 when none has."""
        found = (_PART.search(path.name) or _MANIFEST.fullmatch(path.name) for path in self._files())
        return max((int(match.groups()[-1] or 0) for match in found if match), default=0)

    def load(self) -> Manifest | None:
        """The newest attempt's manifest; None when the pull never began."""
        found = [
            (int(m.group(1) or 0), path) for path in self._files() if (m := _MANIFEST.fullmatch(path.name))
        ]
        if not found:
            return None
        _, newest = max(found, key=lambda pair: pair[0])
        return msgspec.json.decode(newest.read_bytes(), type=Manifest)

    def tsv_files(self, media_type: MediaType, manifest: Manifest, pages: range | None = None) -> list[UPath]:
        """The parts that a manifest counts, in the order of their pages; only those of `pages`, if given."""
        among = range(manifest.pages) if pages is None else pages
        wanted = f"{self._prefix}_{media_type}_v"
        found: dict[int, UPath] = {}
        for path in self._files():
            match = _PART.search(path.name)
            if not match or not path.name.startswith(wanted) or not path.name.endswith(".tsv"):
                continue
            page, attempt = int(match.group(1)), int(match.group(2) or 0)
            if page in among and attempt == manifest.attempt_of(page):
                found[page] = path
        return [found[page] for page in sorted(found)]

    def _files(self) -> list[UPath]:
        return list(self.folder.iterdir()) if self.folder.exists() else []


def json_line(value: Any) -> bytes:
    """Return a line of a rejects file. What JSON cannot hold (a lone surrogate, NaN) is written as text."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE, default=repr)
    except (TypeError, orjson.JSONEncodeError):
        shown = ascii(value)
        return orjson.dumps(
            {"reason": str(value.get("reason")), "raw_text": shown[:100_000]},
            option=orjson.OPT_APPEND_NEWLINE,
        )
