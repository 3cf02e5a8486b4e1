"""Reference in memory: what the catalog must hold and the API may show, after the actions of the workload.

The model knows groups of records. While an action changes a group, its state is uncertain and is not judged.
"""

import threading
import time
from collections.abc import Iterable

import msgspec

from catalog.core.media import MediaType
from catalog.soak.made_up import SOURCES, Source, generation_of, group_of

Key = tuple[str, str]  # name of the provider in the catalog, and group or foreign identifier
_BY_CATALOG_NAME = {source.catalog_name: source for source in SOURCES.values()}


class Group(msgspec.Struct):
    """Records that are added, deleted and restored together.

    Attributes:
        live: Whether they are in the catalog; None while that is uncertain.
        since: Moment since which `live` has its value.
        generations: Possible generations of the records.
        changes: Number of deletions and restores of the group in progress.
    """

    live: bool | None = False
    since: float = 0.0
    generations: set[int] = msgspec.field(default_factory=set)
    changes: int = 0


class Update(msgspec.Struct):
    """A batched update that increments a counter in each record that it changes.

    Attributes:
        source: Provider of the records.
        digit: Last digit of the foreign identifiers of the records.
        passes: Number of times that it changes each record: once, whatever is cleared.
        again: Number of further runs. They select again, and may change what an earlier run has changed.
        settled: Whether its run has succeeded.
    """

    source: Source
    digit: int
    passes: int = 1
    again: int = 0
    settled: bool = False


class Model:
    """Reference of catalog and API; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._groups: dict[Key, Group] = {}
        self._deleted_groups: set[Key] = set()
        self._touched: dict[str, set[str]] = {}  # groups that were changed during a pull, by provider
        self.updates: dict[str, Update] = {}
        self.deleted: dict[MediaType, dict[str, float]] = {"image": {}, "audio": {}}
        self.marked: dict[MediaType, dict[str, float]] = {"image": {}, "audio": {}}

    # pulls

    def pull_begins(self, source: Source, groups: Iterable[str], generation: int) -> None:
        """Record that a pull has begun: records may be of this generation, and new ones may appear."""
        with self._lock:
            self._touched[source.catalog_name] = {
                name
                for (provider, name), group in self._groups.items()
                if provider == source.catalog_name and group.changes
            }
            for name in groups:
                group = self._groups.setdefault((source.catalog_name, name), Group())
                group.generations.add(generation)
                if group.live is False and not self._is_deleted(source, name):
                    group.live = None

    def pull_ends(self, source: Source, groups: Iterable[str], generation: int) -> None:
        """Record that a pull has succeeded: all records that are not deleted are there.

        Those that no other action has changed are of this generation.
        """
        now = time.monotonic()
        with self._lock:
            for name in groups:
                group = self._groups[source.catalog_name, name]
                if group.changes or self._is_deleted(source, name):
                    continue
                if group.live is not True:
                    group.live, group.since = True, now
                if name not in self._touched.get(source.catalog_name, set()):
                    group.generations = {generation}
            self._touched.pop(source.catalog_name, None)

    def _is_deleted(self, source: Source, name: str) -> bool:
        return (source.catalog_name, name) in self._deleted_groups

    # deletions

    def change_begins(self, source: Source, name: str) -> None:
        """Record that a deletion or restore of a group has begun."""
        with self._lock:
            group = self._groups[source.catalog_name, name]
            group.changes += 1
            group.live = None
            self._touched.setdefault(source.catalog_name, set()).add(name)

    def change_ends(self, source: Source, name: str, live: bool | None) -> None:
        """Record that a deletion or restore of a group has ended.

        Args:
            source: Provider of the group.
            name: Group.
            live: Whether the group is in the catalog now; None if nothing was changed.
        """
        with self._lock:
            key = (source.catalog_name, name)
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
        """Return True if no action changes a group at present."""
        with self._lock:
            return self._groups[source.catalog_name, name].changes == 0

    def is_deleted(self, source: Source, name: str) -> bool:
        """Return True if a group was deleted by an action that has ended."""
        with self._lock:
            return self._is_deleted(source, name)

    def certain(self, media_type: MediaType, live: bool, before: float | None = None) -> set[Key]:
        """Return the groups that certainly are in the catalog, or certainly are not.

        Args:
            media_type: Media type of the groups.
            live: Whether they are in the catalog.
            before: Return only those for which that has been so since before this moment.
        """
        with self._lock:
            return {
                key
                for key, group in self._groups.items()
                if group.live is live
                and _BY_CATALOG_NAME[key[0]].media_type == media_type
                and (before is None or group.since < before)
            }

    def generations(self, key: Key) -> set[int]:
        with self._lock:
            return set(self._groups[key].generations)

    def keys(self, media_type: MediaType, groups: Iterable[Key]) -> set[tuple[str, str]]:
        """Return provider and foreign identifier of all records of groups."""
        return {
            (provider, identifier)
            for provider, name in groups
            if _BY_CATALOG_NAME[provider].media_type == media_type
            for identifier in _BY_CATALOG_NAME[provider].identifiers(name)
        }

    def wrong_titles(self, rows: Iterable[tuple[str, str, str | None]]) -> list[str]:
        """Describe the rows whose titles are of no possible generation.

        Args:
            rows: Provider, foreign identifier and title.
        """
        wrong, allowed = [], dict[Key, set[int]]()
        for provider, identifier, title in rows:
            key = (provider, group_of(identifier))
            if key not in allowed:
                allowed[key] = self.generations(key) if key in self._groups else set()
            if generation_of(title) not in allowed[key]:
                wrong.append(f"{provider} {identifier}: {title!r}, not of {sorted(allowed[key])}")
        return wrong

    # moderation

    def moderated(self, media_type: MediaType) -> dict[str, float]:
        """Return when media were deleted by moderators, by identifier; infinity while that is in progress."""
        with self._lock:
            return dict(self.deleted[media_type])
