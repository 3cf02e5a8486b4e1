"""Creation of an index by the engine: the documents of another index that match a query."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import orjson

from catalog.core.errors import Fatal, Retry
from catalog.data_refresh.refresh import Copy
from catalog.data_refresh.search.index_writes import Writes, contents_of
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.reindexing import reindex


class Copied(NamedTuple):
    """A complete copy.

    Attributes:
        documents: Number of documents.
        uuid: The engine's uuid of the index.
        writes: Last write to each shard before the documents were counted.
    """

    documents: int
    uuid: str
    writes: Writes


class _Progress(msgspec.Struct):
    """State between attempts, valid for one index and one copy.

    Attributes:
        uuid: The engine's uuid of the new index.
        what: Digest of the origin's uuid and the query.
        matched: Documents of the origin that matched before the copy began.
        task: The engine's task.
        done: The copy is complete.
    """

    uuid: str
    what: str
    matched: int
    task: str | None = None
    done: bool = False


class CopiedIndex:
    """Creates a copy of an index.

    Args:
        engine: Operations on indexes.
        name: Name of the new index.
        copy: What is copied.
        make: Creates the empty index and returns its uuid; not called if an earlier attempt's index can be
            completed.
        per_second: Limit of documents per second; -1 for no limit.
        load: Loads the state of an earlier attempt.
        save: Saves the state.
        should_stop: Called each second.
        progress: Called with the number of copied documents.
    """

    def __init__(
        self,
        engine: Indexes,
        name: str,
        copy: Copy,
        make: Callable[[], str],
        *,
        per_second: float = -1,
        load: Callable[[], Mapping[str, Any] | None] = lambda: None,
        save: Callable[[dict[str, Any]], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._engine, self._name, self._copy, self._make = engine, name, copy, make
        query = orjson.dumps(copy.query, option=orjson.OPT_SORT_KEYS)
        self._what = hashlib.sha256(copy.uuid.encode() + query).hexdigest()
        self._per_second, self._should_stop, self._report = per_second, should_stop, progress
        self._load, self._save = load, save

    def run(self) -> Copied:
        """Copy, and compare the number of documents with that of the origin, and with that of all writes.

        Documents that are deleted from the origin meanwhile may or may not be in the copy.

        Raises:
            Interrupted: `should_stop` returned True. The engine continues, and the next attempt waits for it.
            Retry: A temporary error of the engine, documents are missing, or others wrote to the index.
            Fatal: The origin or the new index was deleted or replaced, or documents do not fit the mapping.
        """
        at = self._begin()
        if not at.done:
            self._fill(at)
        found, writes = contents_of(self._engine, self._name)
        now = matching(self._engine, self._copy)
        least, most = sorted((at.matched, now))
        if not least <= found <= most:
            self._save({})
            wanted = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            raise Retry(
                f"{self._name} holds {found:,} documents instead of {wanted}; another attempt recreates it."
            )
        # The copy writes each document once, and the engine numbers writes from 0.
        if (made := sum(number + 1 for number in writes.values())) != found:
            self._save({})
            raise Retry(
                f"{self._name} holds {found:,} documents after {made:,} writes, so the engine or "
                "another program repeated some; another attempt recreates it."
            )
        self._engine.require(self._name, at.uuid)
        return Copied(found, at.uuid, writes)

    def _begin(self) -> _Progress:
        """Return the state of an earlier attempt if its index exists and the copy is the same, or begin."""
        if stored := self._load():
            try:
                at = msgspec.convert(stored, _Progress)
            except msgspec.ValidationError:
                at = None
            there = self._engine.identity(self._name)
            if at and there and (there.uuid, self._what) == (at.uuid, at.what):
                return at
        matched = matching(self._engine, self._copy)
        return _Progress(self._make(), self._what, matched)

    def _fill(self, at: _Progress) -> None:
        def started(task: str) -> None:
            at.task = task
            self._save(msgspec.to_builtins(at))

        def copied(done: int, _: int) -> None:
            self._report(done)

        try:
            reindex(
                self._engine,
                self._copy.origin,
                self._name,
                self._copy.query,
                uuid=at.uuid,
                per_second=self._per_second,
                task=at.task,
                started=started,
                should_stop=self._should_stop,
                progress=copied,
            )
        except (Retry, Fatal):
            self._save({})  # the progress is unknown: the next attempt recreates the index
            matching(self._engine, self._copy)  # the engine does not say that the origin was deleted
            raise
        at.done, at.task = True, None
        self._save(msgspec.to_builtins(at))


def matching(engine: Indexes, copy: Copy) -> int:
    """Return the number of documents to copy; raises Fatal if the origin is missing, or was replaced."""
    origin = engine.identity(copy.origin)
    if origin is None or origin.uuid != copy.uuid:
        raise Fatal(f"the index {copy.origin} is missing, or was replaced; trigger a new run.")
    return engine.count(copy.origin, copy.query)
