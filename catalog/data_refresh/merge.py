"""Join of the catalog's rows with the API's own columns, in the binary format of COPY."""

import struct
from collections.abc import Iterator
from uuid import UUID

HELD = 50_000  # new rows that are held back at most
NULL = b"\xff\xff\xff\xff"
_KEY = b"\0\0\0\x10"  # the length of a uuid


class Merge:
    """Joins rows of the catalog with the API's columns, as bytes. This is the inner loop of a refresh.

    Rows that the API has and new ones have different columns, so they need separate COPY statements.

    Args:
        known: Identifier → the fields that only the API has, encoded.
        deleted: Identifiers of records that moderators deleted.
        fields: Number of fields of a known row.
        fields_of_new: Number of fields of a new row.

    Attributes:
        copied: Rows yielded or held back.
        found_new: New rows among them.
        deleted: Rows left out because moderators deleted them.
        too_wide: Reason and identifier of each row that does not fit.
        done: True when all rows have been read.
    """

    def __init__(
        self, known: dict[bytes, bytes], deleted: set[bytes], fields: int, fields_of_new: int
    ) -> None:
        self._known, self._deleted = known, deleted
        self._head, self._head_of_new = (
            struct.pack("!h", number) + _KEY for number in (fields, fields_of_new)
        )
        self._new: list[bytes] = []
        self.copied = self.found_new = self.deleted = 0
        self.too_wide: list[tuple[str, str]] = []
        self.done = False

    def rows(self, rows: Iterator[bytes]) -> Iterator[bytes]:
        """Yield encoded rows until the end, or until enough new ones are held back for their own COPY.

        Args:
            rows: Each with: the number of fields; the name of the field that is too wide, or null; the
                identifier; all other fields.
        """
        known, deleted, head, head_of_new, held = (
            self._known,
            self._deleted,
            self._head,
            self._head_of_new,
            self._new,
        )
        number = 0
        for row in rows:
            if row[2:6] != NULL:
                (size,) = struct.unpack_from("!i", row, 2)
                reason = f"{row[6 : 6 + size].decode()} is too long for the API's table"
                self.too_wide.append((reason, str(UUID(bytes=row[10 + size : 26 + size]))))
                continue
            key = row[10:26]
            if key in deleted:
                self.deleted += 1
                continue
            number += 1
            if not known:
                yield head_of_new + row[10:]
            elif key in known:
                yield head + key + known[key] + row[26:]
            else:
                held.append(head_of_new + row[10:])
                if len(held) >= HELD:
                    break
        else:
            self.done = True
        self.copied += number
        self.found_new += len(held) if known else number

    def take_new(self) -> Iterator[bytes]:
        """Yield the rows that were held back, and forget them."""
        yield from self._new
        self._new.clear()
