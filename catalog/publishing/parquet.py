"""How the Parquet files of the dataset are encoded."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.publishing.columns import SCHEMA_VERSION

_COMPRESSION = 1  # level of zstd; files are a twentieth larger than at 3, and written a fourth faster
_WRITE_ROWS = 16_384  # that are encoded at a time
# Columns whose values repeat: the others would fill a dictionary and then be written without one.
_REPEATING = (
    *(
        "provider",
        "source",
        "license",
        "license_version",
        "category",
        "filetype",
        "ingestion_type",
        "creator",
    ),
    *("tags.list.element.name", "tags.list.element.provider"),
)
# Columns by whose values queries skip row groups and pages: the others' values are texts of any kind.
_SELECTIVE = (
    *("identifier", "provider", "source", "license", "license_version", "category", "filetype"),
    *("filesize", "width", "height", "duration", "standardized_popularity"),
    *("created_on", "updated_on", "last_synced_with_source"),
)


class _Writer(pq.ParquetWriter):  # type: ignore[misc]  # has no types
    """A writer that may be abandoned: on a full disk, the end of its file cannot be written either."""

    def __del__(self) -> None:
        with suppress(OSError):
            super().__del__()


def parquet_writer(path: Path, of: pa.Schema, sorted_by: str | None = None) -> Any:
    """Return a writer of a Parquet file of the dataset.

    Args:
        path: Path of the file.
        of: Its schema.
        sorted_by: Column by which each row group is sorted, if any.
    """
    return _Writer(
        path,
        of.with_metadata({"schema_version": str(SCHEMA_VERSION)}),
        compression="zstd",
        compression_level=_COMPRESSION,
        use_dictionary=[path for path in _REPEATING if path.partition(".")[0] in of.names],
        write_batch_size=_WRITE_ROWS,
        write_statistics=[name for name in _SELECTIVE if name in of.names],
        write_page_index=True,
        sorting_columns=[pq.SortingColumn(of.names.index(sorted_by))] if sorted_by else None,
    )
