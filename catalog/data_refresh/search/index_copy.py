"""Creation of an index by the engine: the documents of another index that match a query."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import orjson

from catalog.core.errors import Fatal, Retry
from catalog.data_refresh.refresh import Copy
from catalog.data_refresh.search.attempts import ONLY, Attempt
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
        attempt: Resumes an earlier one; asked each second whether to stop, and told of copied documents.
    """

    def __init__(
        self,
        engine: Indexes,
        name: str,
        copy: Copy,
        make: Callable[[], str],
        *,
        per_second: float = -1,
        attempt: Attempt = ONLY,
    ) -> None:
        self._engine, self._name, self._copy, self._make = engine, name, copy, make
        query = orjson.dumps(copy.query, option=orjson.OPT_SORT_KEYS)
        self._what = hashlib.sha256(copy.uuid.encode() + query).hexdigest()
        self._per_second, self._attempt = per_second, attempt

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
            self._attempt.save({})
            wanted = f"{least:,}" if least == most else f"{least:,} to {most:,}"
            raise Retry(
                f"{self._name} holds {found:,} documents instead of {wanted}; another attempt recreates it."
            )
        # The copy writes each document once, and the engine numbers writes from 0.
        if (made := sum(number + 1 for number in writes.values())) != found:
            self._attempt.save({})
            raise Retry(
                f"{self._name} holds {found:,} documents after {made:,} writes, so the engine or "
                "another program repeated some; another attempt recreates it."
            )
        self._engine.require(self._name, at.uuid)
        return Copied(found, at.uuid, writes)

    def _begin(self) -> _Progress:
        """Return the state of an earlier attempt if its index exists and the copy is the same, or begin."""
        if at := self._attempt.resumed(_Progress):
            there = self._engine.identity(self._name)
            if there and (there.uuid, self._what) == (at.uuid, at.what):
                return at
        matched = matching(self._engine, self._copy)
        return _Progress(self._make(), self._what, matched)

    def _fill(self, at: _Progress) -> None:
        origin, query = self._copy.origin, self._copy.query
        try:
            reindex(self._engine, origin, self._name, query, at, self._attempt, self._per_second)
        except (Retry, Fatal):
            matching(self._engine, self._copy)  # the engine does not say that the origin was deleted
            raise
        at.done, at.task = True, None
        self._attempt.save(msgspec.to_builtins(at))


def matching(engine: Indexes, copy: Copy) -> int:
    """Return the number of documents to copy; raises Fatal if the origin is missing, or was replaced."""
    origin = engine.identity(copy.origin)
    if origin is None or origin.uuid != copy.uuid:
        raise Fatal(f"the index {copy.origin} is missing, or was replaced; trigger a new run.")
    return engine.count(copy.origin, copy.query)
