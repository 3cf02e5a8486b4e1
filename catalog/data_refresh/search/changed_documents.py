"""Update of the live indexes after the rows of some records have changed."""

import logging
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar
from uuid import UUID

import msgspec
import orjson

from catalog.core import loss_limits
from catalog.core.errors import Fatal, Interrupted, Retry
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.search import document_rows
from catalog.data_refresh.search.attempts import ONLY, Attempt
from catalog.data_refresh.search.bulk import BulkSender, Rejection, delete_action
from catalog.data_refresh.search.document_rows import Chunk, DocumentRows
from catalog.data_refresh.search.index_writes import MARKED, without
from catalog.data_refresh.search.indexes import Indexes, of_keys
from catalog.data_refresh.search.indexing import SENDERS, send
from catalog.data_refresh.search.sensitive import sensitive_groups
from catalog.data_refresh.search.tag_policy import TagPolicy
from catalog.data_refresh.tables.changes import batch
from catalog.data_refresh.tables.merge import read_ahead

log = logging.getLogger(__name__)
_T = TypeVar("_T")
COMPARED = 100  # documents of a batch whose content is read back
BATCH = 10_000  # keys between two refreshes of the indexes; Indexes.matching accepts as many


class Updated(msgspec.Struct):
    """Progress of the update.

    Attributes:
        after: Last key that is done.
        documents: Changed records that have a document.
        hidden: Those of them that contain a sensitive term.
        removed: Records whose row says that they are removed from their source.
        rejected: Identifiers of records without a document, with the reason.
    """

    after: UUID | None = None
    documents: int = 0
    hidden: int = 0
    removed: int = 0
    rejected: dict[str, str] = {}


class ChangedDocuments:
    """Writes the documents of changed records to an index and to the filtered index.

    Args:
        api: Connection to the API database, in autocommit.
        engine: Operations on indexes.
        media_type: Media type of the records.
        index: Name of the index with all documents.
        filtered: Name of the index without sensitive media.
        policy: Tag policy of the documents.
        terms: Sensitive terms.
        records: Number of records of the media type; a share of them may be rejected.
        attempt: Resumes an earlier one; asked after each batch whether to stop.
    """

    def __init__(
        self,
        api: Connection,
        engine: Indexes,
        media_type: MediaType,
        index: str,
        filtered: str,
        policy: TagPolicy,
        terms: Sequence[str],
        *,
        records: int,
        attempt: Attempt = ONLY,
    ) -> None:
        self._api, self._engine, self._media_type = api, engine, media_type
        self._index, self._filtered = index, filtered
        self._groups, self._records = sensitive_groups(terms), records
        self._rows = DocumentRows(api, media_type, media_type, policy)
        self._senders = {name: BulkSender(engine, engine.require(name).writer) for name in (index, filtered)}
        self._unkept = {name: engine.unkept(name) for name in self._senders}
        self._attempt = attempt

    def run(self) -> Updated:
        """Update the documents of all changed keys. Repeating it is harmless.

        Raises:
            Interrupted: `should_stop` returned True; the next attempt resumes.
            Retry: The engine does not show what was written.
            Fatal: Too many records have no document. It is raised before the documents of the last ones are
                deleted.
        """
        done = self._attempt.resumed(Updated) or Updated()
        with closing(read_ahead(self._batches(done.after))) as batches:
            for keys, chunks in batches:
                self._update(keys, chunks, done)
                done.after = keys[-1]
                self._attempt.save(msgspec.to_builtins(done))
                if self._attempt.should_stop():
                    raise Interrupted(
                        f"asked to stop after {done.documents:,} documents; the next attempt resumes there."
                    )
        return done

    def _batches(self, after: UUID | None) -> Iterator[tuple[list[UUID], list[Chunk]]]:
        """Yield keys and their documents, while the engine is writing those before."""
        while keys := batch(self._api, self._media_type, after, BATCH):
            yield keys, [self._rows.of_keys(part) for part in _chunks(keys)]
            after = keys[-1]

    def _update(self, keys: list[UUID], chunks: list[Chunk], done: Updated) -> None:
        texts = [str(key) for key in keys]
        documents = {key: action for chunk in chunks for key, action in chunk.written.items()}
        rejected = _reasons(chunk.rejections for chunk in chunks)
        self._bound(done.rejected | rejected)
        rejected |= self._write(self._index, texts, documents)
        self._bound(done.rejected | rejected)
        documents = {key: action for key, action in documents.items() if key not in rejected}
        sensitive: set[str] = set()
        for group in self._groups:
            sensitive |= set(self._engine.matching(self._index, texts, only=group))
        shown = {key: action for key, action in documents.items() if key not in sensitive}
        self._write(self._filtered, texts, shown)
        for name, wanted in ((self._index, documents), (self._filtered, shown)):
            self._count(name, texts, wanted)
            self._compare(name, wanted)
        for key, reason in rejected.items():
            log.warning("%s has no document: %s", key, reason)
        done.rejected |= rejected
        done.documents += len(documents)
        done.hidden += len(documents) - len(shown)
        done.removed += sum(chunk.removed for chunk in chunks)

    def _count(self, name: str, keys: list[str], wanted: Mapping[str, bytes]) -> None:
        """Check that exactly the wanted ones of these keys have a document.

        Counting takes a third of the time of reading the keys back, which only a difference is worth.

        Raises:
            Retry: They have not.
        """
        unwanted = [key for key in keys if key not in wanted]
        numbers = [_visible(self._engine, name, some) for some in ([*wanted], unwanted)]
        if numbers != [len(wanted), 0]:
            different = set(self._engine.matching(name, keys)) ^ set(wanted)
            raise Retry(
                f"{name} does not show {len(different):,} of {len(keys):,} changes"
                f"{f', such as {min(different)}' if different else ''}; the next attempt writes them again."
            )

    def _compare(self, name: str, wanted: Mapping[str, bytes]) -> None:
        """Compare some documents with those that were written. To read all takes a sixth as long again.

        Raises:
            Retry: One is another, as after an ingest pipeline, or a write of another program.
        """
        if not wanted:
            return
        keys = random.sample(sorted(wanted), min(len(wanted), COMPARED))
        unknown = {MARKED, *self._unkept[name]}
        for key, found in self._engine.documents(name, keys).items():
            sent = orjson.loads(wanted[key].partition(b"\n")[2])
            if without(unknown, sent) != without(unknown, found):
                fields = sorted(f for f in {*sent, *found} - unknown if sent.get(f) != found.get(f))
                raise Retry(
                    f"the document {key} of {name} is not the one that was written: {', '.join(fields)} "
                    f"differ, in one of {len(keys):,} documents that were compared. Another program has "
                    "changed it: the next attempt writes it again. Or an ingest pipeline has: remove "
                    "`index.default_pipeline` and `index.final_pipeline` from the index's settings."
                )

    def _bound(self, rejected: Mapping[str, str]) -> None:
        """Raise Fatal if too many records are rejected."""
        if len(rejected) > loss_limits.allowed_rejects(self._records):
            kinds = Counter(reason.partition(":")[0] for reason in rejected.values())
            reasons = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items()))
            key, reason = min(rejected.items())
            raise Fatal(
                f"{len(rejected):,} of {self._records:,} records of {self._media_type} have no document, "
                f"more than {loss_limits.REJECTS:.0%}: {reasons}; the first: {key}: {reason}. Correct the "
                "records in the catalog, then trigger a new run, which is a full refresh."
            )

    def _write(self, name: str, keys: list[str], documents: Mapping[str, bytes]) -> dict[str, str]:
        """Write documents, delete those of other keys, and return the rejected ones with their reasons."""
        sender = self._senders[name]
        actions = [documents.get(key) or delete_action(key) for key in keys]
        with ThreadPoolExecutor(SENDERS) as senders:
            sent = list(senders.map(lambda part: send(sender, part), _chunks(actions)))
        self._engine.refresh(name)
        return _reasons(part.rejections for part in sent)


def _chunks(items: list[_T]) -> Iterator[list[_T]]:
    """Split a list into parts of at most CHUNK items."""
    size = document_rows.CHUNK
    return (items[first : first + size] for first in range(0, len(items), size))


def _reasons(rejections: Iterable[Iterable[Rejection]]) -> dict[str, str]:
    """Return why documents are rejected, by their keys."""
    return {one.key: f"{one.kind}: {one.reason}" for some in rejections for one in some}


def _visible(engine: Indexes, index: str, keys: list[str]) -> int:
    """Return how many of these keys have a visible document."""
    return engine.count(index, of_keys(keys)) if keys else 0


def count_documents(api: Connection, engine: Indexes, media_type: MediaType, index: str) -> int:
    """Return the number of documents of changed records that an index has.

    Args:
        api: Connection to the API database.
        engine: Operations on indexes.
        media_type: Media type of the records.
        index: Name or alias of the index.
    """
    number, after = 0, None
    while keys := batch(api, media_type, after, BATCH):
        number += _visible(engine, index, [str(key) for key in keys])
        after = keys[-1]
    return number
