"""Indexing of the rows of an API table, in ranges of ids whose documents are counted afterwards.

A record that cannot be indexed does not stop its range: it is rejected and counted with its reason.
"""

import logging
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
from psycopg import sql

from catalog.core import loss_limits
from catalog.core.errors import Fatal, Interrupted
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.search import document_rows
from catalog.data_refresh.search.attempts import ONLY, Attempt
from catalog.data_refresh.search.bulk import BulkSender, Sent, delete_action
from catalog.data_refresh.search.document_rows import Chunk, DocumentRows
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.tag_policy import TagPolicy
from catalog.moderation.tables import moderated_name

log = logging.getLogger(__name__)
SENDERS = 2  # concurrent requests
MAX_RANGES = 64
LISTED = 100  # rejected records of a range that are listed with the reason
KEYS = 2_000  # of which the key is kept at all: if there are more, the next refresh is a full one


class IdRange(msgspec.Struct, frozen=True):
    """A range of row ids, inclusive."""

    first: int
    last: int


class Indexed(msgspec.Struct):
    """Result of a range.

    Attributes:
        after: Id of the last row that is done.
        documents: Rows that have a document.
        removed: Rows without a document because they are removed from their source.
        rejected: Number of rejected rows by reason.
        examples: The first rejected rows, as "identifier: reason"; only the identifier of those after LISTED.
        tags: Number of tags by rule that dropped them; `kept` for the others.
    """

    after: int = 0
    documents: int = 0
    removed: int = 0
    rejected: dict[str, int] = {}
    examples: list[str] = []
    tags: dict[str, int] = {}

    @property
    def rows(self) -> int:
        return self.documents + self.removed + sum(self.rejected.values())


class _Progress(msgspec.Struct):
    """State between attempts, valid for one index, table and range."""

    uuid: str
    table: str
    part: IdRange
    done: Indexed


def ranges(api: Connection, table: str, number: int) -> list[IdRange]:
    """Split all ids of a table into ranges with about equal numbers of rows.

    Args:
        api: Connection to the API database.
        table: Name of the table.
        number: Maximum number of ranges, at most MAX_RANGES.
    """
    number = max(1, min(number, MAX_RANGES))
    found = api.execute(
        sql.SQL("select min(id), max(id), count(*) from {}").format(sql.Identifier("public", table))
    ).fetchone()
    if not found or found[0] is None:
        return []
    first, last, rows = found
    number = max(1, min(number, -(-rows // document_rows.CHUNK)))  # at least one request per task
    bounds = [first]
    if number > 1:
        places = [i / number for i in range(1, number)]
        cut = api.execute(
            sql.SQL("select percentile_disc(%s::float8[]) within group (order by id) from {}").format(
                sql.Identifier("public", table)
            ),
            [places],
        ).fetchone()
        assert cut
        bounds += [b for b in cut[0] if b > first]
    bounds = sorted(set(bounds))
    return [IdRange(a, b - 1) for a, b in zip(bounds, [*bounds[1:], last + 1], strict=True)]


class RangeIndexer:
    """Indexes one range. A killed range resumes at its saved state; sending a document twice is harmless.

    Args:
        api: Connection to the API database.
        engine: Operations on indexes.
        index: Name of an index of the catalog.
        table: Table with the rows.
        media_type: Media type of the rows.
        policy: Tag policy of the documents.
        part: The range.
        uuid: The engine's uuid of the index; None for the existing one.
        attempt: Resumes an earlier one of the same index, table and range; asked after each chunk whether to
            stop.
    """

    def __init__(
        self,
        api: Connection,
        engine: Indexes,
        index: str,
        table: str,
        media_type: MediaType,
        policy: TagPolicy,
        part: IdRange,
        *,
        uuid: str | None = None,
        attempt: Attempt = ONLY,
    ) -> None:
        self._engine, self._index, self._uuid = engine, index, uuid
        self._table, self._part = table, part
        self._attempt = attempt
        self._rows = DocumentRows(api, table, media_type, policy)

    def run(self) -> Indexed:
        """Send the documents of all rows of the range.

        Raises:
            Interrupted: `should_stop` returned True; the next attempt resumes.
            Retry: A temporary error of the engine.
            Fatal: The index is missing or was replaced, or too many records are rejected.
        """
        target = self._engine.require(self._index, self._uuid)
        self._uuid, sender = target.uuid, BulkSender(self._engine, target.writer)
        done = self._begin()
        read_to, before = done.after, Counter(done.tags)
        under_way: deque[tuple[Future[Sent], Chunk]] = deque()
        more = True
        with ThreadPoolExecutor(SENDERS) as senders:
            while more and (chunk := self._rows.between(read_to, self._part.last)):
                read_to, chunk.tags = chunk.after, before + self._rows.tags
                under_way.append((senders.submit(send, sender, chunk.actions), chunk))
                while len(under_way) > SENDERS:
                    self._settle(done, *under_way.popleft())
                more = not self._attempt.should_stop()
            while under_way:
                self._settle(done, *under_way.popleft())
        if not more:
            raise Interrupted(
                f"asked to stop at row id {done.after:,} of {self._part.last:,}; the next attempt resumes "
                "there."
            )
        self._bound(done, done.rows)
        self._engine.require(self._index, self._uuid)
        return done

    def _begin(self) -> Indexed:
        """Return the progress of an earlier attempt at this range of this index and table, or begin."""
        fresh = Indexed(after=self._part.first - 1)
        progress = self._attempt.resumed(_Progress)
        mine = self._uuid, self._table, self._part
        if progress and (progress.uuid, progress.table, progress.part) == mine:
            return progress.done
        if self._attempt.load():
            log.warning(
                "the state of an earlier attempt is of another index or range; this range of %s starts over",
                self._index,
            )
        return fresh

    def _settle(self, done: Indexed, sent: Future[Sent], chunk: Chunk) -> None:
        """Wait for a chunk to be sent, count it, and save the state."""
        rejections = chunk.rejections + sent.result().rejections
        done.after, done.removed, done.tags = chunk.after, done.removed + chunk.removed, dict(chunk.tags)
        done.documents += chunk.documents - len(sent.result().rejections)
        for one in rejections:
            done.rejected[one.kind] = done.rejected.get(one.kind, 0) + 1
            if len(done.examples) < LISTED:
                done.examples.append(f"{one.key}: {one.kind}: {one.reason}"[:200])
                log.warning("%s has no document: %s: %s", one.key, one.kind, one.reason)
            elif len(done.examples) < KEYS:
                done.examples.append(one.key)
        self._bound(done, self._part.last - self._part.first + 1)
        self._attempt.save(msgspec.to_builtins(_Progress(self._uuid or "", self._table, self._part, done)))
        self._attempt.report(done.documents)

    def _bound(self, done: Indexed, rows: int) -> None:
        """Raise Fatal if too many records are rejected; the range starts over when its task is cleared."""
        rejected = sum(done.rejected.values())
        if rejected > loss_limits.allowed_rejects(rows):
            self._attempt.save({})
            reasons = ", ".join(f"{number:,} {kind}" for kind, number in sorted(done.rejected.items()))
            raise Fatal(
                f"{rejected:,} of {rows:,} records of {self._table} have no document, more than "
                f"{loss_limits.REJECTS:.0%}: {reasons}; the first: {done.examples[0]}"
            )


def send(sender: BulkSender, actions: list[bytes]) -> Sent:
    """Send actions, and delete earlier documents of the records that the engine rejects."""
    sent = sender.send(actions)
    sender.send([delete_action(one.key) for one in sent.rejections])
    return sent


def find_count_mismatches(
    api: Connection,
    engine: Indexes,
    index: str,
    table: str,
    parts: list[IdRange],
    *,
    rejected: Sequence[int] = (),
    moderated: MediaType | None = None,
    uuid: str | None = None,
) -> list[str]:
    """Find ranges whose number of documents does not match their rows, and rows that are in no range.

    The index must be refreshed.

    Args:
        api: Connection to the API database.
        engine: Operations on indexes.
        index: Name of an index of the catalog.
        table: Table with the rows.
        parts: The ranges into which the table was split.
        rejected: Number of rejected rows of each range, in their order; empty for none.
        moderated: Media type of the moderators' decisions that were applied to the index: what they have
            deleted may still have rows, as after a restore. None if none were.
        uuid: The engine's uuid of the index.

    Returns:
        One message per mismatch.

    Raises:
        Fatal: The index is missing or was replaced.
    """
    identity = engine.require(index, uuid)
    wrong, wanted_in_all = [], 0
    decided: sql.Composable = sql.SQL("false")
    if moderated:
        decided = sql.SQL("identifier in (select identifier from {})").format(
            sql.Identifier("public", moderated_name("deleted", moderated))
        )
    query = sql.SQL("""
        select count(*), count(*) filter (where removed_from_source),
               count(*) filter (where not removed_from_source and {decided})
          from {table} where id between %s and %s
    """).format(table=sql.Identifier("public", table), decided=decided)
    for part, left_out in zip(parts, rejected or [0] * len(parts), strict=True):
        row = api.execute(query, [part.first, part.last]).fetchone()
        rows, removed, deleted = row or (0, 0, 0)
        wanted = rows - removed - deleted - left_out
        wanted_in_all += wanted
        found = engine.count(index, {"range": {"id": {"gte": part.first, "lte": part.last}}})
        if wanted != found:
            wrong.append(
                f"ids {part.first:,} to {part.last:,}: {_counted(rows, removed, deleted, left_out)}, "
                f"{found:,} documents"
            )
    # The ranges are an earlier task's, and the table may have been copied again since.
    query = sql.SQL("select count(*) from {} where id < %s or id > %s").format(
        sql.Identifier("public", table)
    )
    bounds = [min((part.first for part in parts), default=1), max((part.last for part in parts), default=0)]
    row = api.execute(query, bounds).fetchone()
    if row and row[0]:
        wrong.append(f"{row[0]:,} rows outside all ranges; clear split_ranges and all tasks after it instead")
    total = engine.count(index)
    if not wrong and wanted_in_all != total:
        wrong.append(f"in all: {wanted_in_all:,} documents are expected, {total:,} exist")
    engine.require(index, identity.uuid)
    return wrong


def _counted(rows: int, removed: int, deleted: int, rejected: int) -> str:
    """Return the number of rows, and why some of them have no document."""
    left_out = [f"{removed:,} removed from their source"] if removed else []
    left_out += [f"{deleted:,} deleted by moderators"] if deleted else []
    left_out += [f"{rejected:,} rejected"] if rejected else []
    return f"{rows:,} rows" + (f" ({', '.join(left_out)})" if left_out else "")
