"""Join of the catalog's rows with the API's own columns, in the binary format of COPY."""

import struct
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

ROWS, BYTES = 10_000, 16 << 20  # of a batch, at most
_NULL = b"\xff\xff\xff\xff"
_KEY = b"\0\0\0\x10"  # the length of a uuid
_T = TypeVar("_T")
Batch = list[tuple[bytes, bytes]]  # the identifier of each row, and its other fields


class Merge:
    """Joins rows of the catalog with the API's columns, as bytes. This is the inner loop of a refresh.

    Rows that the API has and new ones have different columns, so they need separate COPY statements.

    Args:
        fields: Number of fields of a row that the API has.
        fields_of_new: Number of fields of a new row.

    Attributes:
        copied: Rows to write.
        found_new: New rows among them.
        deleted: Rows left out because moderators deleted them.
        too_wide: Reason and identifier of each row that does not fit.
    """

    def __init__(self, fields: int, fields_of_new: int) -> None:
        self._head, self._head_of_new = (
            struct.pack("!h", number) + _KEY for number in (fields, fields_of_new)
        )
        self.copied = self.found_new = self.deleted = 0
        self.too_wide: list[tuple[str, str]] = []

    def batches(self, rows: Iterator[bytes]) -> Iterator[Batch]:
        """Yield the rows that fit.

        Args:
            rows: Each with: the number of fields; the name of the field that is too wide, or null; the
                identifier; all other fields.
        """
        batch: Batch = []
        size = 0
        for row in rows:
            if row[2:6] != _NULL:
                (length,) = struct.unpack_from("!i", row, 2)
                reason = f"{row[6 : 6 + length].decode()} is too long for the API's table"
                self.too_wide.append((reason, str(UUID(bytes=row[10 + length : 26 + length]))))
                continue
            batch.append((row[10:26], row[26:]))
            size += len(row)
            if len(batch) >= ROWS or size >= BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def join(
        self, batch: Batch, known: dict[bytes, bytes], deleted: set[bytes]
    ) -> tuple[list[bytes], list[bytes]]:
        """Return the encoded rows that the API has, and the new ones.

        Args:
            batch: Rows of the catalog.
            known: Identifier → the fields that only the API has, encoded.
            deleted: Identifiers of records that moderators deleted.
        """
        head, head_of_new = self._head, self._head_of_new
        if deleted:
            whole, batch = batch, [row for row in batch if row[0] not in deleted]
            self.deleted += len(whole) - len(batch)
        old = [head + key + known[key] + fields for key, fields in batch if key in known]
        new = (
            [head_of_new + key + fields for key, fields in batch if key not in known]
            if len(old) < len(batch)
            else []
        )
        self.copied += len(batch)
        self.found_new += len(new)
        return old, new


def read_ahead(items: Iterator[_T]) -> Generator[_T]:
    """Yield items, and get the next one in a thread while the consumer processes the last one."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item
