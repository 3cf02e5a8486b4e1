"""The TSV parts of a pull in object storage, and the manifest that lists the valid ones.

A part holds the rows of one media type of one page. Its name contains the page number and the number of the
attempt that wrote it, so an attempt that was presumed dead cannot overwrite files of the attempt that has
taken over. The manifest says which attempt wrote which pages. Files are written atomically.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import orjson
from upath import UPath

from catalog.core.columns import VERSIONS
from catalog.core.dates import AHEAD
from catalog.core.files import write_atomically
from catalog.core.jsontypes import JsonObject
from catalog.core.media import MediaType
from catalog.ingestion.windows import Window

_TSV, _REJECTS, _TAKEN, _UNWRITTEN, _MANIFEST = (
    "tsv",
    "rejects.jsonl",
    "rejects-taken-back.jsonl",
    "unwritten.jsonl",
    "manifest",
)
# page, attempt, kind
_OF_A_PAGE = re.compile(r"_(\d{6,})(?:-(\d+))?\.(tsv|rejects(?:-taken-back)?\.jsonl|unwritten\.jsonl)$")
_OF_ALL_PAGES = re.compile(r"manifest(?:-(\d+))?\.json$")  # attempt

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # when a pull began of which it is not known


class Counts(msgspec.Struct):
    """Counts of one media type: fetched = written + skipped + rejected.

    Attributes:
        fetched: Items, or records of items with several.
        written: Rows in the parts.
        skipped: Reason → number of items that the catalog does not want.
        rejected: Reason → number of records that cannot be stored.
        cleaned: Reason → number of values (not records) that were changed or dropped in written records.
    """

    fetched: int = 0
    written: int = 0
    skipped: dict[str, int] = {}
    rejected: dict[str, int] = {}
    cleaned: dict[str, int] = {}


class Manifest(msgspec.Struct):
    """The state of a pull, stored beside its parts and updated with each page.

    Attributes:
        provider: Name of the provider.
        run_id: Id of the DAG run.
        window: Start and end of the window; None if the pull covers everything.
        replayed: The responses came from a recording.
        started: When the pull began.
        token: Identifies the pull; a run whose finished pull was cleared gets a new one.
        pages: Number of pages read.
        seconds: Time spent on the pages.
        counts: Counts by media type.
        complete: The pull has reached its end.
        whole: The pull was not limited to some records or requests.
        error: The error that ended the pull, if any.
        shortfalls: Descriptions of what is missing compared with the announced totals.
        accepted: A person has accepted the shortfalls.
        attempts: (first page, attempt) in order; if empty, attempt 0 wrote all pages.
        times: (first page, moment) in order: the pages from it on were read at that moment or later. If
            empty, nothing but `started` is known.
        announced: Items that the API announced for all rounds; None if it did not for each of them, or before
            the last one has ended.
    """

    provider: str
    run_id: str
    window: tuple[datetime, datetime] | None
    replayed: bool
    started: datetime
    token: str
    pages: int = 0
    seconds: float = 0
    counts: dict[str, Counts] = {}
    complete: bool = False
    whole: bool = False
    error: str | None = None
    shortfalls: list[str] = []
    accepted: bool = False
    attempts: list[tuple[int, int]] = []
    announced: int | None = None
    times: list[tuple[int, datetime]] = []

    def first_page_since(self, moment: datetime) -> int | None:
        """Return the first page that was surely read at a moment or later; None if there is none."""
        return next((page for page, read in self.times if read >= moment and page < self.pages), None)

    def without_times_to_come(self, now: datetime) -> "Manifest":
        """Return the manifest without times that a clock which was ahead has written.

        Such a time does not tell when a page was read: it counts with the pages before it. If the start is to
        come, too, nothing is known of them, and they count as older than whatever has a time.

        Args:
            now: The time by the clock that is believed.
        """
        times = in_order([(page, read) for page, read in self.times if read <= now + AHEAD])
        started = earliest(self.started, times) if self.started <= now + AHEAD else LONG_AGO
        return msgspec.structs.replace(self, started=started, times=times)

    def attempt_of(self, page: int) -> int:
        """Return the number of the attempt that wrote a page."""
        return next((number for first, number in reversed(self.attempts) if first <= page), 0)


def in_order(times: list[tuple[int, datetime]]) -> list[tuple[int, datetime]]:
    """Return when pages were read, none later than the pages after it: a clock may have been set back."""
    found: list[tuple[int, datetime]] = []
    for page, read in reversed(times):
        found.append((page, min(read, found[-1][1]) if found else read))
    return found[::-1]


def earliest(started: datetime, times: list[tuple[int, datetime]]) -> datetime:
    """Return when a pull began: not after a page was read, so a clock that was ahead does not count."""
    return min([started, *(read for _, read in times)])


def pull_key(dag_id: str, run_id: str, day_shift: int) -> str:
    """Return what distinguishes a pull from others of its provider and time; the same for all attempts."""
    return sha256(f"{dag_id}/{run_id}/{day_shift}".encode()).hexdigest()[:8]


def page_of(part: UPath) -> int:
    """Return the number of the page in the name of a part; 0 if there is none."""
    found = _OF_A_PAGE.search(part.name)
    return int(found[1]) if found else 0


class _File(NamedTuple):
    """A file of a pull, as its name describes it; a manifest has no page."""

    path: UPath
    kind: str
    attempt: int
    page: int = -1


class Parts:
    """The folder of a pull, as used by one attempt.

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
        """Derive the folder's name.

        Args:
            root: The folder of all pulls.
            provider: The provider's name.
            started: When the run began; part of the folder's name.
            window: The window of the pull, if it does not cover everything; part of the folder's name.
            key: Distinguishes pulls of the same provider and time.
            attempt: Number of the writing attempt, greater than that of any earlier one; 0 if there is only
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
        """Return the path to which this attempt writes the rows of a page."""
        return self._path(number, _TSV, f"_{media_type}_v{VERSIONS[media_type]}")

    def write(self, media_type: MediaType, number: int, lines: Iterable[str]) -> None:
        """Write the rows of a page; `number` is that of the page."""
        write_atomically(self.part(media_type, number), "".join(lines).encode())

    def write_rejects(
        self, number: int, rejects: list[JsonObject], redact: Callable[[str], str] = str
    ) -> None:
        """Write the rejects of a page as JSON lines: media_type, reason, details and the redacted item."""
        text = b"".join(json_line(r) for r in rejects).decode()
        write_atomically(self._path(number, _REJECTS), redact(text).encode())

    def rejects(self, manifest: Manifest, pages: range) -> Iterator[JsonObject]:
        """Yield the rejects of some pages, as `write_rejects` has written them."""
        for file in self._valid(manifest, _REJECTS, pages):
            yield from read_rejects(file.path)

    def write_taken_back(self, number: int, rejects: list[tuple[str, MediaType, str]]) -> None:
        """Write the rejects that do not count any more since a page: item, media type and reason."""
        self._write_lines(number, _TAKEN, rejects)

    def taken_back(self, manifest: Manifest) -> Iterator[tuple[str, MediaType, str]]:
        """Yield what `write_taken_back` has written for all pages."""
        yield from self._lines(manifest, _TAKEN, range(manifest.pages))

    def list_unwritten(self, number: int, records: list[tuple[MediaType, str]]) -> None:
        """Write media type and identifier of the records of a page that were read, but not written."""
        self._write_lines(number, _UNWRITTEN, records)

    def unwritten(self, manifest: Manifest, pages: range) -> Iterator[tuple[MediaType, str]]:
        """Yield the records of `list_unwritten` of some pages, of the attempts that wrote these pages."""
        yield from self._lines(manifest, _UNWRITTEN, pages)

    def _write_lines(self, number: int, kind: str, values: Iterable[tuple[str, ...]]) -> None:
        lines = b"".join(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE) for value in values)
        write_atomically(self._path(number, kind), lines)

    def _lines(self, manifest: Manifest, kind: str, pages: range) -> Iterator[tuple[Any, ...]]:
        for file in self._valid(manifest, kind, pages):
            yield from (tuple(orjson.loads(line)) for line in file.path.read_bytes().splitlines())

    def discard_from(self, number: int) -> None:
        """Delete this and earlier attempts' parts from page `number` on, and earlier attempts' manifests."""
        for file in list(self._listed()):
            late = file.page >= number and file.attempt <= self.attempt
            if late or (file.kind == _MANIFEST and file.attempt < self.attempt):
                file.path.unlink()

    def save(self, manifest: Manifest) -> None:
        """Write this attempt's manifest, and a copy under a fixed name, for watching the pull."""
        text = msgspec.json.encode(manifest)
        write_atomically(self.folder / f"manifest{self._by}.json", text)
        if self.attempt:
            write_atomically(self.folder / "manifest.json", text)

    def newest_attempt(self) -> int:
        """Return the greatest attempt number in the names of existing files; 0 if there are none."""
        return max((file.attempt for file in self._listed()), default=0)

    def load(self) -> Manifest | None:
        """Read the newest attempt's manifest; return None if the pull never began."""
        found = [file for file in self._listed() if file.kind == _MANIFEST]
        if not found:
            return None
        newest = max(found, key=lambda file: file.attempt)
        return msgspec.json.decode(newest.path.read_bytes(), type=Manifest)

    def reject_files(self) -> list[UPath]:
        """Return the files of rejects, those of the pull in the order of their pages, then those of loads."""
        found = [path for path in self._files() if path.name.endswith(f".{_REJECTS}")]
        return sorted(found, key=lambda path: (path.name.startswith("load_"), path.name))

    def tsv_files(self, media_type: MediaType, manifest: Manifest, pages: range | None = None) -> list[UPath]:
        """Return the valid parts in the order of their pages.

        Args:
            media_type: The media type of the parts.
            manifest: Says which attempt wrote which pages.
            pages: Only parts of these pages; None for all pages.
        """
        among = range(manifest.pages) if pages is None else pages
        wanted = f"{self._prefix}_{media_type}_v"
        valid = self._valid(manifest, _TSV, among)
        files = {file.page: file.path for file in valid if file.path.name.startswith(wanted)}
        return [files[page] for page in sorted(files)]

    def _path(self, number: int, kind: str, rows_of: str = "") -> UPath:
        """Return the path to which this attempt writes a file of a page."""
        return self.folder / f"{self._prefix}{rows_of}_{self._suffix}_{number:06}{self._by}.{kind}"

    def _valid(self, manifest: Manifest, kind: str, pages: range) -> Iterator[_File]:
        """Yield the files of some pages, of the attempts that wrote these pages."""
        for file in self._listed():
            if file.kind == kind and file.page in pages and file.attempt == manifest.attempt_of(file.page):
                yield file

    def _listed(self) -> Iterator[_File]:
        """Yield the files of all attempts; those of loads have other names."""
        for path in self._files():
            if found := _OF_A_PAGE.search(path.name):
                yield _File(path, found[3], int(found[2] or 0), int(found[1]))
            elif found := _OF_ALL_PAGES.fullmatch(path.name):
                yield _File(path, _MANIFEST, int(found[1] or 0))

    def _files(self) -> list[UPath]:
        return list(self.folder.iterdir()) if self.folder.exists() else []


def read_rejects(path: UPath) -> Iterator[JsonObject]:
    """Yield the rejects in a file, without lines that are no JSON because a number in them was masked."""
    with path.open("rb") as lines:
        for line in lines:
            try:
                reject = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(reject, dict):
                yield reject


def json_line(value: JsonObject) -> bytes:
    """Return a line of a rejects file; if JSON cannot represent a value, all of them are written as text."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE, default=repr)
    except TypeError:  # an integer beyond 64 bits, a lone surrogate; in the item, or quoted by an error
        told = {key: _utf8(str(field)) for key, field in value.items() if key != "raw"}
        return orjson.dumps(
            {**told, "raw_text": ascii(value.get("raw"))[:100_000]}, option=orjson.OPT_APPEND_NEWLINE
        )


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
