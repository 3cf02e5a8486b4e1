"""The change set of a version: which identifiers were added, changed or removed since the one before.

Both versions are read once; a file that is not, byte for byte, the one that was written is not believed.
Identifiers are distributed to buckets on the local disk by their last digits, which are random, and each
bucket is compared in memory. So memory does not grow with the number of records, up to 128 million in both
versions; with more, the buckets grow, to 0.6 GB for twice 700 million.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from catalog.core.errors import Fatal
from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.publishing.files import File
from catalog.publishing.manifest import Changes, Manifest
from catalog.publishing.parquet import parquet_writer
from catalog.publishing.paths import version_folder
from catalog.publishing.scratch import scratch_folder
from catalog.publishing.storage import (
    Altered,
    Stored,
    new_attempt,
    open_stored,
    require_unaltered,
    store_file,
)

log = logging.getLogger(__name__)
BUCKET_ROWS = 500_000  # records of both versions in a bucket, about
_MAX_BUCKETS = 256  # buckets: two hexadecimal digits
_DIGITS = pa.array([f"{number:02x}" for number in range(_MAX_BUCKETS)])
_COLUMNS = ("identifier", "updated_on")
SCHEMA = pa.schema(
    [
        pa.field("identifier", pa.string(), metadata={"description": "the record"}),
        pa.field("change", pa.string(), metadata={"description": "`added`, `changed` or `removed`"}),
    ]
)


class Damaged(Exception):
    """Files of a version are missing, or are not those that were written.

    Attributes:
        number: Number of the version.
        files: Path → what is wrong with it.
    """

    def __init__(self, number: int, files: dict[str, str]) -> None:
        super().__init__(number, files)
        self.number, self.files = number, files


class _Side(NamedTuple):
    """The files of a media type in one of the two versions."""

    number: int
    folder: UPath
    files: list[File]

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)


def compare(
    root: UPath, before: Manifest, number: int, files: list[File], bucket_rows: int = BUCKET_ROWS
) -> Changes:
    """Write the change sets of a version.

    Args:
        root: The folder of all versions.
        before: Manifest of the version before.
        number: Number of the new version.
        files: Files of the new version.
        bucket_rows: Records of both versions in a bucket, about.

    Raises:
        Damaged: Files of the new version are missing or altered.
        Retry: A file cannot be read now.
        Fatal: The numbers contradict each other.

    Returns:
        The numbers and files. Of a media type of which files of the version before are missing or altered,
        nothing is known; `lost` names the first of them.
    """
    counts: dict[str, dict[str, int]] = {"added": {}, "changed": {}, "removed": {}}
    stored: dict[str, Stored] = {}
    damaged: dict[int, dict[str, str]] = {}
    for media_type in MEDIA_TYPES:
        sides = [
            _Side(of, root / version_folder(of), [file for file in those if file.media_type == media_type])
            for of, those in ((before.version, before.files), (number, files))
        ]
        try:
            found, stored[media_type] = _compare(media_type, sides, bucket_rows)
        except Damaged as error:
            damaged[error.number] = damaged.get(error.number, {}) | error.files
            if error.number != number:
                damaged[number] = damaged.get(number, {}) | damaged_files(*sides[1][1:])
            continue
        for change, rows in found.items():
            counts[change][media_type] = rows
    if damaged.get(number):
        raise Damaged(number, damaged[number])
    lost = next(iter(damaged.get(before.version, {})), "")
    return Changes(before.version, counts["added"], counts["changed"], counts["removed"], stored, lost=lost)


def damaged_files(folder: UPath, files: list[File]) -> dict[str, str]:
    """Return the files that are not, byte for byte, the ones that were written, with what is wrong.

    Args:
        folder: The version's folder.
        files: Its files.

    Raises:
        Retry: A file cannot be read now.
    """
    damaged = {}
    for file in files:
        try:
            require_unaltered(folder, file.stored)
        except Altered as error:
            log.warning("%s %s", folder / file.path, error)
            damaged[file.path] = str(error)
    return damaged


def _compare(media_type: MediaType, sides: list[_Side], bucket_rows: int) -> tuple[dict[str, int], Stored]:
    before, now = sides
    rows = before.rows + now.rows
    buckets = min(_MAX_BUCKETS, 1 << (rows // bucket_rows).bit_length())
    counts = dict.fromkeys(("added", "changed", "removed"), 0)
    with scratch_folder() as local:
        for place, side in enumerate(sides):
            _distribute(side, local, place, buckets)
        path = local / "changes.parquet"
        writer = parquet_writer(path, SCHEMA, sorted_by="identifier")
        with writer:
            for bucket in range(buckets):
                for change, identifiers in _differences(local, bucket):
                    counts[change] += len(identifiers)
                    if len(identifiers):
                        changes = pa.array([change], pa.string()).take(
                            pa.array([0] * len(identifiers), pa.int8())
                        )
                        writer.write_table(pa.table([identifiers, changes], schema=SCHEMA))
        if before.rows + counts["added"] - counts["removed"] != now.rows:
            raise Fatal(
                f"the change set contradicts itself: {media_type} had {before.rows:,} records in version "
                f"{before.number}; {counts['added']:,} were added and {counts['removed']:,} removed, but it "
                f"has {now.rows:,} now. Nothing was published. Clear compare_versions with its downstream "
                "tasks; if it happens again, please report it."
            )
        return counts, store_file(path, now.folder, f"changes/{media_type}-{new_attempt()}.parquet")


def _distribute(side: _Side, local: Path, place: int, buckets: int) -> None:
    """Write the rows of a version to buckets.

    Raises:
        Damaged: Files are missing or altered; all of them are named.
    """
    schema = pa.schema([("identifier", pa.string()), ("updated_on", pa.timestamp("us", tz="UTC"))])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sinks = [
        pa.ipc.new_stream(str(local / f"{place}-{bucket}.arrows"), schema, options=options)
        for bucket in range(buckets)
    ]
    damaged: dict[str, str] = {}
    try:
        for file in side.files:
            try:
                stream = open_stored(side.folder, file.stored)
            except Altered as error:
                log.warning("%s %s", side.folder / file.path, error)
                damaged[file.path] = str(error)
                continue
            with stream:
                for batch in pq.ParquetFile(stream).iter_batches(columns=list(_COLUMNS)):
                    for bucket, rows in _by_bucket(batch, buckets):
                        sinks[bucket].write_batch(rows)
    finally:
        for sink in sinks:
            sink.close()
    if damaged:
        raise Damaged(side.number, damaged)


def _by_bucket(batch: pa.RecordBatch, buckets: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield each bucket, of a power of two of them, with its rows of a batch."""
    digits = pc.index_in(pc.utf8_slice_codeunits(batch["identifier"], -2), _DIGITS)
    numbers = pc.bit_wise_and(digits, pa.scalar(buckets - 1, pa.int32()))
    order = pc.sort_indices(numbers)
    runs = pc.run_end_encode(numbers.take(order))
    batch, first = batch.take(order), 0
    for bucket, end in zip(runs.values.to_pylist(), runs.run_ends.to_pylist(), strict=True):
        yield bucket, batch.slice(first, end - first)
        first = end


def _differences(local: Path, bucket: int) -> Iterator[tuple[str, Any]]:
    """Yield each kind of change with the sorted identifiers of a bucket."""
    before, now = (_read(local / f"{place}-{bucket}.arrows") for place in (0, 1))
    index = pc.index_in(now["identifier"], before["identifier"])
    known = pc.is_valid(index)
    times = before["updated_on"].take(index.filter(known))
    same = pc.fill_null(pc.equal(now["updated_on"].filter(known), times), fill_value=False)
    same = pc.or_(same, pc.and_(pc.is_null(times), pc.is_null(now["updated_on"].filter(known))))
    gone = pc.invert(pc.is_in(before["identifier"], now["identifier"]))
    for change, identifiers in (
        ("added", now["identifier"].filter(pc.invert(known))),
        ("changed", now["identifier"].filter(known).filter(pc.invert(same))),
        ("removed", before["identifier"].filter(gone)),
    ):
        yield change, identifiers.take(pc.sort_indices(identifiers))


def _read(path: Path) -> pa.Table:
    with pa.ipc.open_stream(str(path)) as reader:
        return reader.read_all().combine_chunks()
