"""The items that earlier walks through a round have rejected, to recognise those that come again.

The mapping may have been corrected since, or a request for details may succeed now. An item is known by its
form in the list, without details, or by the identifier of a record that was made of it. One that has changed
in the list, and of which no record could be made, is not known: nothing tells it from a new one.
"""

from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b

import orjson

from catalog.core.jsontypes import JsonObject
from catalog.core.media import MediaType
from catalog.ingestion.records import Raw
from catalog.ingestion.round_records import MAX_REMEMBERED

Rejection = tuple[MediaType, str]  # for which medium an item is rejected, and why
Record = tuple[MediaType, str]  # medium and identifier
_FORM = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def item_key(listed: Raw) -> str:
    """Return a short key of an item, made of its form in the list."""
    try:
        form = orjson.dumps(listed, option=_FORM, default=repr)
    except TypeError:  # an integer beyond 64 bits, a lone surrogate
        form = ascii(listed).encode()
    return blake2b(form, digest_size=12).hexdigest()


class RejectedItems:
    """The rejected items of earlier walks through a round, each with the number of its rejects."""

    def __init__(self) -> None:
        self._rejects: dict[str, Counter[Rejection]] = {}
        self._items: dict[Record, str] = {}

    def __bool__(self) -> bool:
        return bool(self._rejects)

    def add(self, lines: Iterable[JsonObject]) -> None:
        """Add lines of files of rejects, as far as there is room; earlier releases did not note the items."""
        for line in lines:
            if len(self._rejects) >= MAX_REMEMBERED:
                return
            if key := line.get("item"):
                self._rejects.setdefault(key, Counter())[line["media_type"], line["reason"]] += 1
                if "record" in line:
                    self._items[line["media_type"], line["record"]] = key

    def take(
        self, listed: Raw, records: Iterable[Record], rejects: set[Rejection]
    ) -> list[tuple[str, *Rejection]]:
        """Return the rejects of an item that it does not have any more, each as often as it counts.

        Args:
            listed: The item, in its form in the list.
            records: The records that were made of it.
            rejects: Its rejects in this walk.
        """
        keys = {item_key(listed), *(self._items[record] for record in records if record in self._items)}
        found = [
            (key, *reject) for key in sorted(keys) for reject in self._rejects.get(key, Counter()).elements()
        ]
        taken = [one for one in found if one[1:] not in rejects]
        self.remove(taken)
        return taken

    def remove(self, taken: Iterable[tuple[str, MediaType, str]]) -> None:
        """Remove rejects that do not count any more."""
        for key, media_type, reason in taken:
            if key in self._rejects:
                self._rejects[key][media_type, reason] -= 1
                self._rejects[key] += Counter()
                if not self._rejects[key]:
                    del self._rejects[key]
