"""The filtered index: the documents of another one without the sensitive ones, made on the server.

A long list of terms is more than one query may hold. So what the first group of terms does not find is
copied, and what each further group finds in the copy is deleted from it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from elasticsearch import NotFoundError

from catalog.core.errors import Fatal, Retry
from catalog.data_refresh.client import ask
from catalog.data_refresh.search import Indexes
from catalog.data_refresh.sensitive import sensitive_groups


class Filtered(NamedTuple):
    """documents: of the filtered index; hidden: those it leaves out; uuid: which index it is."""

    documents: int
    hidden: int
    uuid: str


class _Progress(msgspec.Struct):
    """What is kept between attempts. It counts for this index, origin and list of terms only.

    group: at which group of terms the work is; task: what the engine does about it; copied: -1 before the
    copy has ended.
    """

    uuid: str
    origin: str
    terms: str
    hidden: int
    group: int = 0
    task: str | None = None
    copied: int = -1


class FilteredIndex:
    """Makes a filtered index.

    Args:
        indexes: of the search engine.
        origin: index or alias that is copied from.
        name: of the filtered index.
        terms: the sensitive ones.
        make: makes the filtered index, empty, and returns its uuid; called unless an earlier attempt's can be
            gone on with.
        per_second: documents copied or deleted; -1 for no limit.
        load, save: where progress is kept between attempts.
        should_stop: asked each second.
        progress: is told documents copied.
    """

    def __init__(
        self,
        indexes: Indexes,
        origin: str,
        name: str,
        terms: Sequence[str],
        make: Callable[[], str],
        *,
        per_second: float = -1,
        load: Callable[[], Mapping[str, Any] | None] = lambda: None,
        save: Callable[[dict[str, Any]], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._indexes, self._origin, self._name, self._make = indexes, origin, name, make
        self._groups = sensitive_groups(terms)
        self._terms = hashlib.sha256("\n".join(sorted(terms)).encode()).hexdigest()
        self._per_second, self._should_stop, self._report = per_second, should_stop, progress
        self._load, self._save = load, save

    def run(self) -> Filtered:
        """Copy, delete, and prove that no sensitive document is left.

        Raises:
            Interrupted: asked to stop; the engine goes on and the next attempt waits for it.
            Retry: the engine could not do it now.
            Fatal: there are no terms, the filtered index is gone or another one, or it does not hold what it
                should.
        """
        if not self._groups:
            raise Fatal("there are no sensitive terms; the filtered index would hide nothing.")
        total = self._indexes.count(self._origin)
        at = self._begin()
        if at.copied < 0:
            self._copy(at)
        while at.group < len(self._groups):
            self._delete(at)
        self._indexes.refresh(self._name)
        found = self._indexes.count(self._name)
        if found != (wanted := total - at.hidden) and found != self._indexes.count(self._origin) - at.hidden:
            self._save({})
            raise Retry(
                f"{self._name} holds {found:,} documents instead of {wanted:,}; it is made once more, and must not be searched."
            )
        if left := [group for group in self._groups if self._indexes.count(self._name, group)]:
            self._save({})
            raise Retry(
                f"{self._name} still holds documents that {len(left):,} groups of sensitive terms find."
            )
        self._indexes.require(self._name, at.uuid)
        return Filtered(found, at.hidden, at.uuid)

    def _begin(self) -> _Progress:
        """Return the state of an earlier attempt, if its index exists and had the same input; else create an index."""
        if stored := self._load():
            try:
                at = msgspec.convert(stored, _Progress)
            except msgspec.ValidationError:
                at = None
            there = self._indexes.identity(self._name)
            if at and there and (there.uuid, self._origin, self._terms) == (at.uuid, at.origin, at.terms):
                return at
        hidden = self._indexes.count(self._origin, self._groups[0])
        return _Progress(self._make(), self._origin, self._terms, hidden)

    def _note(self, at: _Progress) -> None:
        self._save(msgspec.to_builtins(at))

    def _copy(self, at: _Progress) -> None:
        def started(task: str) -> None:
            at.task = task
            self._note(at)

        try:
            at.copied = self._indexes.reindex(
                self._origin,
                self._name,
                {"bool": {"must_not": [self._groups[0]]}},
                uuid=at.uuid,
                per_second=self._per_second,
                task=at.task,
                started=started,
                should_stop=self._should_stop,
                progress=self._copied,
            )
        except Retry:
            self._save({})  # how far it came, nobody knows: the next attempt recreates the index
            raise
        at.group, at.task = 1, None
        self._note(at)

    def _copied(self, done: int, _: int) -> None:
        self._report(done)

    def _delete(self, at: _Progress) -> None:
        """Delete from the copy what a group of terms finds. Done twice, it changes nothing."""
        self._indexes.require(self._name, at.uuid)
        if at.task is None:
            self._indexes.refresh(self._name)
            before = self._indexes.count(self._name, self._groups[at.group])
            if before:
                try:
                    at.task = str(
                        ask(
                            self._indexes.client.delete_by_query,
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
                found = self._indexes.wait_for(at.task, self._should_stop)
            except Retry:
                at.task = None
                self._note(at)
                raise
            response = found.get("response", {})
            at.task = None
            if problem := found.get("error") or response.get("failures") or response.get("canceled"):
                self._note(at)
                raise Retry(f"{self._name} keeps sensitive documents, says the engine: {str(problem)[:500]}")
            at.hidden += int(response["deleted"])
        at.group += 1
        self._note(at)
