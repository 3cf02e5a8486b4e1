"""The reference in memory: what the catalog must hold, and what the API may show, after what the workload asked for.

Records are known by group. What is under way is not known: a group is certain only when nothing changes it.
"""

import threading
import time
from collections.abc import Iterable

import msgspec

from catalog.core.media import MediaType
from catalog.soak.made_up import SOURCES, Source, generation_of, group_of

Key = tuple[str, str]  # provider string, group
_BY_STRING = {source.string: source for source in SOURCES.values()}


class Group(msgspec.Struct):
    """Records that live and die together.

    Attributes:
        live: Whether they are in the catalog; None while that is not certain.
        since: The moment since which that is so.
        generations: Those that the records may be of.
        changes: Deletions and restores of the group that are under way.
    """

    live: bool | None = False
    since: float = 0.0
    generations: set[int] = msgspec.field(default_factory=set)
    changes: int = 0


class Update(msgspec.Struct):
    """A batched update that counts itself in each record that it changes.

    Attributes:
        passes: How often it changes each record: once, whatever is cleared.
        again: New runs of it, which select anew and may change again what an earlier run had changed.
    """

    source: Source
    digit: int
    passes: int = 1
    again: int = 0
    settled: bool = False


class Model:
    """Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._groups: dict[Key, Group] = {}
        self._deleted_groups: set[Key] = set()
        self._touched: dict[str, set[str]] = {}  # groups that were changed beside a pull, by provider
        self.updates: dict[str, Update] = {}
        self.deleted: dict[MediaType, dict[str, float]] = {"image": {}, "audio": {}}
        self.marked: dict[MediaType, dict[str, float]] = {"image": {}, "audio": {}}

    # pulls

    def pull_begins(self, source: Source, groups: Iterable[str], generation: int) -> None:
        """From now on the records may be of this generation, and those that are new may appear."""
        with self._lock:
            changing = {
                name for (string, name), g in self._groups.items() if string == source.string and g.changes
            }
            self._touched[source.string] = changing
            for name in groups:
                group = self._groups.setdefault((source.string, name), Group())
                group.generations.add(generation)
                if group.live is False and not self._is_deleted(source, name):
                    group.live = None

    def pull_ends(self, source: Source, groups: Iterable[str], generation: int) -> None:
        """All records that nobody deleted are there now. Those that nothing else changed are of this generation."""
        now = time.monotonic()
        with self._lock:
            for name in groups:
                group = self._groups[source.string, name]
                if group.changes or self._is_deleted(source, name):
                    continue
                if group.live is not True:
                    group.live, group.since = True, now
                if name not in self._touched.get(source.string, set()):
                    group.generations = {generation}
            self._touched.pop(source.string, None)

    def _is_deleted(self, source: Source, name: str) -> bool:
        return (source.string, name) in self._deleted_groups

    # deletions

    def change_begins(self, source: Source, name: str) -> None:
        """A deletion or a restore of a group."""
        with self._lock:
            group = self._groups[source.string, name]
            group.changes += 1
            group.live = None
            self._touched.setdefault(source.string, set()).add(name)

    def change_ends(self, source: Source, name: str, live: bool | None) -> None:
        """live: what the change made of the group; None when it did nothing."""
        with self._lock:
            key = (source.string, name)
            group = self._groups[key]
            group.changes -= 1
            if live is True:
                self._deleted_groups.discard(key)
            elif live is False:
                self._deleted_groups.add(key)
            if group.changes == 0:
                group.live, group.since = key not in self._deleted_groups, time.monotonic()

    # what is certain

    def is_free(self, source: Source, name: str) -> bool:
        """Whether nothing changes a group at present."""
        with self._lock:
            return self._groups[source.string, name].changes == 0

    def is_deleted(self, source: Source, name: str) -> bool:
        """Whether a group was deleted, as far as that has ended."""
        with self._lock:
            return self._is_deleted(source, name)

    def certain(self, media_type: MediaType, live: bool, before: float | None = None) -> set[Key]:
        """Groups that are in the catalog, or are not. before: since earlier than that moment."""
        with self._lock:
            return {
                key
                for key, group in self._groups.items()
                if group.live is live
                and _BY_STRING[key[0]].media_type == media_type
                and (before is None or group.since < before)
            }

    def generations(self, key: Key) -> set[int]:
        with self._lock:
            return set(self._groups[key].generations)

    def keys(self, media_type: MediaType, groups: Iterable[Key]) -> set[tuple[str, str]]:
        """(provider string, foreign identifier) of the records of groups."""
        return {
            (string, identifier)
            for string, name in groups
            if _BY_STRING[string].media_type == media_type
            for identifier in _BY_STRING[string].identifiers(name)
        }

    def wrong_titles(self, rows: Iterable[tuple[str, str, str | None]]) -> list[str]:
        """Of rows (provider, foreign identifier, title), those whose title is of no generation that it may be of."""
        wrong, allowed = [], dict[Key, set[int]]()
        for string, identifier, title in rows:
            key = (string, group_of(identifier))
            if key not in allowed:
                allowed[key] = self.generations(key) if key in self._groups else set()
            if generation_of(title) not in allowed[key]:
                wrong.append(f"{string} {identifier}: {title!r}, not of {sorted(allowed[key])}")
        return wrong

    # moderation

    def moderated(self, media_type: MediaType) -> dict[str, float]:
        """Identifiers that moderators deleted, and when that was done everywhere."""
        with self._lock:
            return dict(self.deleted[media_type])
