"""The records that a round has read, by which repeated items are recognised."""

from collections import deque
from collections.abc import Iterable, Set
from itertools import islice

MAX_REMEMBERED = 200_000  # records of a round that are remembered, the last ones; 28 MB
Key = tuple[str, int]  # media type, hash of the identifier


class RoundRecords:
    """The keys of the last records of a round; beyond the limit, the oldest ones are forgotten."""

    def __init__(self) -> None:
        self._keys: set[Key] = set()
        self._order: deque[Key] = deque()  # of the keys, the oldest first

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, keys: Set[Key]) -> bool:
        """Remember the records of an item; return whether there are any and all of them were known."""
        known = bool(keys) and keys <= self._keys
        self._remember(keys)
        return known

    def fill(self, keys: Iterable[Key]) -> None:
        """Remember records that the round read before, the newest first, as far as there is room for them."""
        room = max(0, MAX_REMEMBERED - len(self._keys))
        self._remember(reversed([*islice(keys, room)]))

    def clear(self) -> None:
        """Forget all records, because the round begins again or has ended."""
        self._keys.clear()
        self._order.clear()

    def _remember(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if key not in self._keys:
                self._keys.add(key)
                self._order.append(key)
        while len(self._order) > MAX_REMEMBERED:
            self._keys.discard(self._order.popleft())
