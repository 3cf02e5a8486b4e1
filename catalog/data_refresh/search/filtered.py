"""Creation of a filtered index by the engine: the documents of another index without the sensitive ones.

A long list of terms does not fit into one query. Therefore the documents that the first group of terms does
not match are copied, and those that each further group matches are deleted from the copy.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from elasticsearch import NotFoundError

from catalog.core.errors import Fatal, Refused, Retry
from catalog.data_refresh.search.attempts import ONLY, Attempt
from catalog.data_refresh.search.client import ask
from catalog.data_refresh.search.index_writes import Writes, contents_of
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.reindexing import reindex, wait_for
from catalog.data_refresh.search.sensitive import TEXT, sensitive_groups


class Filtered(NamedTuple):
    """A complete filtered index.

    Attributes:
        documents: Number of documents.
        hidden: Number of documents that it omits.
        uuid: The engine's uuid of the index.
        writes: Last write to each shard before the documents were counted.
    """

    documents: int
    hidden: int
    uuid: str
    writes: Writes


class _Progress(msgspec.Struct):
    """State between attempts, valid for one index, origin and list of terms.

    Attributes:
        uuid: The engine's uuid of the filtered index.
        origin: Index or alias from which documents are copied.
        terms: Hash of the terms.
        hidden: Documents omitted so far.
        group: The current group of terms.
        task: The engine's task for this group.
        copied: Copied documents; -1 until the copy is complete.
        left: Documents of the copy before the current group was deleted; -1 until they are counted.
    """

    uuid: str
    origin: str
    terms: str
    hidden: int
    group: int = 0
    task: str | None = None
    copied: int = -1
    left: int = -1


def require_text(engine: Indexes, origin: str) -> None:
    """Check that the documents of an index keep the text in which sensitive terms are searched.

    Otherwise a document loses it when the API marks it as mature, which is a partial update, and its copies
    lack it anyway.

    Args:
        engine: Operations on indexes.
        origin: Index or alias from which a filtered index is to be made.

    Raises:
        Refused: They do not, as an earlier release has made the index.
    """
    if TEXT in engine.unkept(origin):
        raise Refused(
            f"the documents of {origin}, which an earlier release has made, lose the field {TEXT} when a "
            "moderator marks them, so that its filtered index would show sensitive media. Trigger a data "
            'refresh with {"index_only": true}, which makes both indexes; in a data refresh, clear '
            "create_index and all tasks after it."
        )


class FilteredIndex:
    """Creates a filtered index.

    Args:
        engine: Operations on indexes.
        origin: Index or alias from which documents are copied.
        name: Name of the filtered index.
        terms: Sensitive terms.
        make: Creates the empty filtered index and returns its uuid; not called if an earlier attempt's index
            can be completed.
        per_second: Limit of documents copied or deleted per second; -1 for no limit.
        attempt: Resumes an earlier one; asked each second whether to stop, and told of copied documents.
    """

    def __init__(
        self,
        engine: Indexes,
        origin: str,
        name: str,
        terms: Sequence[str],
        make: Callable[[], str],
        *,
        per_second: float = -1,
        attempt: Attempt = ONLY,
    ) -> None:
        self._engine, self._origin, self._name, self._make = engine, origin, name, make
        self._groups = sensitive_groups(terms)
        self._terms = hashlib.sha256("\n".join(sorted(terms)).encode()).hexdigest()
        self._per_second, self._attempt = per_second, attempt

    def run(self) -> Filtered:
        """Copy, delete, and verify that no sensitive document is left.

        Raises:
            Interrupted: `should_stop` returned True. The engine continues, and the next attempt waits for it.
            Retry: A temporary error of the engine.
            Fatal: There are no terms, or the filtered index was deleted or replaced.
            Refused: See `require_text`.
        """
        if not self._groups:
            raise Fatal("there are no sensitive terms; the filtered index would hide nothing.")
        require_text(self._engine, self._origin)
        total = self._engine.count(self._origin)
        at = self._begin()
        if at.copied < 0:
            self._copy(at)
        while at.group < len(self._groups):
            self._delete(at)
        found, writes = contents_of(self._engine, self._name)
        if found != (wanted := total - at.hidden) and found != self._engine.count(self._origin) - at.hidden:
            self._attempt.save({})
            raise Retry(
                f"{self._name} holds {found:,} documents instead of {wanted:,}; another attempt recreates it."
            )
        if left := [group for group in self._groups if self._engine.count(self._name, group)]:
            self._attempt.save({})
            raise Retry(
                f"{self._name} still holds documents that match {len(left):,} groups of sensitive terms."
            )
        self._engine.require(self._name, at.uuid)
        return Filtered(found, at.hidden, at.uuid, writes)

    def _begin(self) -> _Progress:
        """Return the state of an earlier attempt if its index exists and its input is the same, or begin."""
        if at := self._attempt.resumed(_Progress):
            there = self._engine.identity(self._name)
            if there and (there.uuid, self._origin, self._terms) == (at.uuid, at.origin, at.terms):
                return at
        hidden = self._engine.count(self._origin, self._groups[0])
        return _Progress(self._make(), self._origin, self._terms, hidden)

    def _note(self, at: _Progress) -> None:
        self._attempt.save(msgspec.to_builtins(at))

    def _copy(self, at: _Progress) -> None:
        harmless = {"bool": {"must_not": [self._groups[0]]}}
        at.copied = reindex(
            self._engine, self._origin, self._name, harmless, at, self._attempt, self._per_second
        )
        at.group, at.task = 1, None
        self._note(at)

    def _delete(self, at: _Progress) -> None:
        """Delete the documents that a group of terms matches from the copy. It is idempotent."""
        self._engine.require(self._name, at.uuid)
        if at.left < 0:
            self._engine.refresh(self._name)
            at.left = self._engine.count(self._name)
            self._note(at)
        if at.task is None:
            self._engine.refresh(self._name)
            before = self._engine.count(self._name, self._groups[at.group])
            if before:
                try:
                    at.task = str(
                        ask(
                            self._engine.client.delete_by_query,
                            index=self._name,
                            query=self._groups[at.group],
                            conflicts="proceed",
                            slices="auto",
                            wait_for_completion=False,
                            requests_per_second=self._per_second,
                        )["task"]
                    )
                except NotFoundError:
                    raise Retry(f"the engine does not find {self._name}.") from None
                self._note(at)
        if at.task is not None:
            try:
                found = wait_for(self._engine, at.task, self._attempt.should_stop)
            except Retry:
                at.task = None
                self._note(at)
                raise
            response = found.get("response", {})
            at.task = None
            if problem := found.get("error") or response.get("failures") or response.get("canceled"):
                self._note(at)
                raise Retry(
                    f"the engine failed to delete sensitive documents from {self._name}: {str(problem)[:500]}"
                )
        self._engine.refresh(self._name)
        at.hidden += at.left - self._engine.count(self._name)
        at.group, at.left = at.group + 1, -1
        self._note(at)
