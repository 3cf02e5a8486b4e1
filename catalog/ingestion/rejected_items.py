"""The items that earlier walks through a round have rejected, to recognise those that come again.

The mapping may have been corrected since, or a request for details may succeed now. An item is known by its
form in the list, without details, or by the identifier of a record that was made of it. One that has changed
in the list, and of which no record could be made, is not known: nothing tells it from a new one.

A pull keeps little in memory, however much it rejects: rejects beyond `MAX_REJECTS` are not known either.
"""

from collections.abc import Iterable
from hashlib import blake2b

import orjson

from catalog.core.jsontypes import JsonObject
from catalog.core.media import MediaType
from catalog.ingestion.records import Raw

MAX_REJECTS = 20_000  # that are remembered, the first ones; 4 MB, or 15 MB if each has a reason of its own
Rejection = tuple[MediaType, str]  # for which medium an item is rejected, and why
Record = tuple[MediaType, str]  # medium and identifier
_FORM = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def item_key(listed: Raw) -> str:
    """Return a short key of an item, made of its form in the list."""
    try:
        form = orjson.dumps(listed, option=_FORM, default=repr)
    except TypeError:  # an integer beyond 64 bits, a lone surrogate
        form = ascii(listed).encode()
    return blake2b(form, digest_size=8).hexdigest()


class RejectedItems:
    """The rejected items of earlier walks through a round, each with the number of its rejects."""

    def __init__(self) -> None:
        self._rejects: dict[str, dict[Rejection, int]] = {}  # by item; an inner one is shared, never changed
        self._items: dict[int, str] = {}  # keys of items, by the hash of one of their records
        self._room = MAX_REJECTS

    def __bool__(self) -> bool:
        return bool(self._rejects)

    def add(self, lines: Iterable[JsonObject]) -> None:
        """Add lines of files of rejects, as far as there is room; earlier releases did not note the items."""
        single: dict[Rejection, dict[Rejection, int]] = {}  # most items have one reject, like many others
        for line in lines:
            if not self._room:
                return
            if key := line.get("item"):
                reject = line["media_type"], line["reason"]
                if rejects := self._rejects.get(key):
                    self._rejects[key] = {**rejects, reject: rejects.get(reject, 0) + 1}
                else:
                    self._rejects[key] = single.setdefault(reject, {reject: 1})
                self._room -= 1
                if "record" in line:
                    self._items[hash((line["media_type"], line["record"]))] = key

    def has(self, listed: Raw, reason: str) -> bool:
        """Return whether an item, in its form in the list, was rejected for a reason that begins so."""
        rejects = self._rejects.get(item_key(listed), ()) if self._rejects else ()
        return any(rejection[1].startswith(reason) for rejection in rejects)

    def take(
        self, listed: Raw, records: Iterable[Record], rejects: set[Rejection]
    ) -> list[tuple[str, *Rejection]]:
        """Return the rejects of an item that it does not have any more, each as often as it counts.

        Args:
            listed: The item, in its form in the list.
            records: The records that were made of it.
            rejects: Its rejects in this walk.
        """
        names = [hash(record) for record in records]
        keys = {item_key(listed), *(self._items[name] for name in names if name in self._items)}
        found = [
            (key, *reject)
            for key in sorted(keys)
            for reject, number in self._rejects.get(key, {}).items()
            for _ in range(number)
        ]
        taken = [one for one in found if one[1:] not in rejects]
        self.remove(taken)
        return taken

    def remove(self, taken: Iterable[tuple[str, MediaType, str]]) -> None:
        """Remove rejects that do not count any more."""
        for key, media_type, reason in taken:
            rejects, reject = self._rejects.get(key, {}), (media_type, reason)
            if reject not in rejects:
                continue
            left = {one: number - (one == reject) for one, number in rejects.items()}
            if left[reject] == 0:
                del left[reject]
            if left:
                self._rejects[key] = left
            else:
                del self._rejects[key]
