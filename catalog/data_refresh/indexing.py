"""Indexing of the rows of an API table, in ranges of ids whose documents are counted afterwards.

A record that cannot be indexed does not stop its range: it is rejected and counted with its reason.
"""

import json
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec
import orjson
import psycopg
from elasticsearch import Elasticsearch
from psycopg import sql
from psycopg.types.json import set_json_loads

from catalog.core.errors import Fatal, Interrupted
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.bulk import BulkSender, Rejection, Sent, delete_action, index_action
from catalog.data_refresh.documents import COLUMNS, MediaRow, Unreadable, document
from catalog.data_refresh.search import Indexes
from catalog.data_refresh.tag_policy import TagFilter, TagPolicy

log = logging.getLogger(__name__)
CHUNK = 2_000  # rows per query, and documents per bulk call
SENDERS = 2  # concurrent requests
MAX_RANGES = 64
REJECTED_SHARE, REJECTED_ALWAYS = 0.01, 10  # accepted share of rejected rows, and the number always accepted
LISTED = 100  # rejected records that are listed


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
        examples: The first rejected rows, as "identifier: reason".
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
    number = max(1, min(number, -(-rows // CHUNK)))  # at least one request per task
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
        client: Client of the search engine.
        index: Name of an index of the catalog.
        table: Table with the rows.
        media_type: Media type of the rows.
        policy: Tag policy of the documents.
        part: The range.
        uuid: The engine's uuid of the index; None for the existing one.
        load: Loads the state of an earlier attempt; that of another index, table or range is ignored.
        save: Saves the state.
        progress: Called with the result so far.
        should_stop: Called between two chunks.
        pause: Sleeps for a number of seconds.
    """

    def __init__(
        self,
        api: Connection,
        client: Elasticsearch,
        index: str,
        table: str,
        media_type: MediaType,
        policy: TagPolicy,
        part: IdRange,
        *,
        uuid: str | None = None,
        load: Callable[[], Mapping[str, Any] | None] = lambda: None,
        save: Callable[[dict[str, Any]], None] = lambda _: None,
        progress: Callable[[Indexed], object] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._client, self._index, self._uuid = api, client, index, uuid
        self._table, self._media_type, self._part = table, media_type, part
        self._load, self._save, self._report = load, save, progress
        self._should_stop, self._pause = should_stop, pause
        self._indexes = Indexes(client, pause=pause)
        self._tags = TagFilter(policy)
        set_json_loads(_json, api)
        self._query = sql.SQL("""
            select m.id, m.identifier, m.created_on, m.title, m.creator, m.provider, m.source, m.category,
                   m.license, m.url, m.filetype, m.standardized_popularity, m.meta_data, m.tags,
                   exists (select from {mature} x where x.identifier = m.identifier) as mature,
                   {columns}, m.removed_from_source
              from {table} m where m.id > %s and m.id <= %s order by m.id limit {chunk}
        """).format(
            table=sql.Identifier("public", table),
            mature=sql.Identifier("public", f"api_mature{media_type}"),
            chunk=sql.Literal(CHUNK),
            columns=sql.SQL(", ").join(sql.SQL(c) for c in COLUMNS[media_type]),
        )
        self._keys = sql.SQL(
            "select id, identifier::text, removed_from_source from {} "
            "where id > %s and id <= %s order by id limit {}"
        ).format(sql.Identifier("public", table), sql.Literal(CHUNK))

    def run(self) -> Indexed:
        """Send the documents of all rows of the range.

        Raises:
            Interrupted: `should_stop` returned True; the next attempt resumes.
            Retry: A temporary error of the engine.
            Fatal: The index is missing or was replaced, or too many records are rejected.
        """
        target = self._indexes.require(self._index, self._uuid)
        self._uuid, sender = target.uuid, BulkSender(self._client, target.writer, pause=self._pause)
        done = self._begin()
        read_to, before = done.after, Counter(done.tags)
        under_way: deque[tuple[Future[Sent], _Chunk]] = deque()
        more = True
        with ThreadPoolExecutor(SENDERS) as senders:
            while more and (chunk := self._read(read_to)):
                read_to, chunk.tags = chunk.after, before + self._tags.counts
                under_way.append((senders.submit(_send, sender, chunk.actions), chunk))
                while len(under_way) > SENDERS:
                    self._settle(done, *under_way.popleft())
                more = not self._should_stop()
            while under_way:
                self._settle(done, *under_way.popleft())
        if not more:
            raise Interrupted(
                f"asked to stop at row id {done.after:,} of {self._part.last:,}; the next attempt resumes "
                "there."
            )
        self._bound(done, done.rows)
        self._indexes.require(self._index, self._uuid)
        return done

    def _begin(self) -> Indexed:
        """Return the progress of an earlier attempt at this range of this index and table, or begin."""
        fresh = Indexed(after=self._part.first - 1)
        if not (stored := self._load()):
            return fresh
        try:
            progress = msgspec.convert(stored, _Progress)
        except msgspec.ValidationError:
            progress = None
        if progress is None or (progress.uuid, progress.table, progress.part) != (
            self._uuid,
            self._table,
            self._part,
        ):
            log.warning(
                "the state of an earlier attempt is of another index or range; this range of %s starts over",
                self._index,
            )
            return fresh
        return progress.done

    def _read(self, after: int) -> "_Chunk | None":
        """Return the actions for the next rows; None at the end of the range."""
        try:
            rows = self._api.execute(self._query, [after, self._part.last]).fetchall()
        except psycopg.DataError:  # a value that Python cannot represent, in one of the rows
            return self._read_by_halves(after)
        if not rows:
            return None
        chunk = _Chunk(rows[-1][0])
        for row in rows:
            self._add(chunk, row)
        return chunk

    def _read_by_halves(self, after: int) -> "_Chunk | None":
        """Read rows without the unreadable ones, which are found by bisection."""
        keys = self._api.execute(self._keys, [after, self._part.last]).fetchall()
        if not keys:
            return None
        chunk, parts = _Chunk(keys[-1][0]), [keys]
        while parts:
            part = parts.pop()
            first, key, removed = part[0]
            last = part[-1][0]
            try:
                rows = self._api.execute(self._query, [first - 1, last]).fetchall()
            except psycopg.DataError as error:
                if len(part) == 1 and removed:
                    chunk.removed += 1
                elif len(part) == 1:
                    chunk.reject(key, "the row cannot be read", str(error))
                else:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                continue
            for row in rows:
                self._add(chunk, row)
        return chunk

    def _add(self, chunk: "_Chunk", row: tuple[Any, ...]) -> None:
        if row[-1]:
            chunk.removed += 1
            return
        media = MediaRow(*row[:-1])
        key = str(media.identifier)
        try:
            action = index_action(key, document(self._media_type, media, self._tags))
        except Exception as error:  # whatever a record holds, only that record is rejected
            chunk.reject(key, f"no document can be made: {type(error).__name__}", str(error))
        else:
            chunk.actions.append(action)
            chunk.documents += 1

    def _settle(self, done: Indexed, sent: Future[Sent], chunk: "_Chunk") -> None:
        """Wait for a chunk to be sent, count it, and save the state."""
        rejections = chunk.rejections + sent.result().rejections
        done.after, done.removed, done.tags = chunk.after, done.removed + chunk.removed, dict(chunk.tags)
        done.documents += chunk.documents - len(sent.result().rejections)
        for one in rejections:
            done.rejected[one.kind] = done.rejected.get(one.kind, 0) + 1
            if len(done.examples) < LISTED:
                done.examples.append(f"{one.key}: {one.kind}: {one.reason}"[:200])
                log.warning("%s has no document: %s: %s", one.key, one.kind, one.reason)
        self._bound(done, self._part.last - self._part.first + 1)
        self._save(msgspec.to_builtins(_Progress(self._uuid or "", self._table, self._part, done)))
        self._report(done)

    def _bound(self, done: Indexed, rows: int) -> None:
        """Raise Fatal if too many records are rejected; the range starts over when its task is cleared."""
        rejected = sum(done.rejected.values())
        if rejected > max(REJECTED_ALWAYS, math.floor(rows * REJECTED_SHARE)):
            self._save({})
            reasons = ", ".join(f"{number:,} {kind}" for kind, number in sorted(done.rejected.items()))
            raise Fatal(
                f"{rejected:,} of {rows:,} records of {self._table} have no document, more than "
                f"{REJECTED_SHARE:.0%}: {reasons}; the first: {done.examples[0]}"
            )


class _Chunk:
    """Rows that are sent together, up to the id `after`."""

    def __init__(self, after: int) -> None:
        self.after, self.documents, self.removed = after, 0, 0
        self.actions: list[bytes] = []
        self.rejections: list[Rejection] = []
        self.tags: Counter[str] = Counter()

    def reject(self, key: str, kind: str, reason: str) -> None:
        """Reject a record, and delete the document that an earlier attempt may have created."""
        self.rejections.append(Rejection(key, kind, " ".join(reason.split())[:200]))
        self.actions.append(delete_action(key))


def _send(sender: BulkSender, actions: list[bytes]) -> Sent:
    """Send actions, and delete earlier documents of the records that the engine rejects."""
    sent = sender.send(actions)
    sender.send([delete_action(one.key) for one in sent.rejections])
    return sent


def _json(data: str | bytes) -> Any:
    """Parse a JSON value of the database. Numbers that are too large become infinite."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data, parse_int=lambda text: int(text) if len(text) < 1000 else math.inf)
    except (ValueError, RecursionError) as error:
        return Unreadable(str(error))


def find_count_mismatches(
    api: Connection,
    indexes: Indexes,
    index: str,
    table: str,
    parts: list[IdRange],
    *,
    rejected: Sequence[int] = (),
    uuid: str | None = None,
) -> list[str]:
    """Find ranges whose number of documents does not match their rows. The index must be refreshed.

    Args:
        api: Connection to the API database.
        indexes: Operations on indexes.
        index: Name of an index of the catalog.
        table: Table with the rows.
        parts: Ranges that cover all ids of the table.
        rejected: Number of rejected rows of each range, in their order; empty for none.
        uuid: The engine's uuid of the index.

    Returns:
        One message per mismatch.

    Raises:
        Fatal: The index is missing or was replaced.
    """
    identity = indexes.require(index, uuid)
    wrong, wanted_in_all = [], 0
    query = sql.SQL(
        "select count(*), count(*) filter (where removed_from_source) from {} where id between %s and %s"
    ).format(sql.Identifier("public", table))
    for part, left_out in zip(parts, rejected or [0] * len(parts), strict=True):
        row = api.execute(query, [part.first, part.last]).fetchone()
        rows, removed = row or (0, 0)
        wanted = rows - removed - left_out
        wanted_in_all += wanted
        found = indexes.count(index, {"range": {"id": {"gte": part.first, "lte": part.last}}})
        if wanted != found:
            wrong.append(
                f"ids {part.first:,} to {part.last:,}: {_counted(rows, removed, left_out)}, "
                f"{found:,} documents"
            )
    total = indexes.count(index)
    if not wrong and wanted_in_all != total:
        wrong.append(f"in all: {wanted_in_all:,} documents are expected, {total:,} exist")
    indexes.require(index, identity.uuid)
    return wrong


def _counted(rows: int, removed: int, rejected: int) -> str:
    """Return the number of rows, and why some of them have no document."""
    left_out = [f"{removed:,} removed from their source"] if removed else []
    left_out += [f"{rejected:,} rejected"] if rejected else []
    return f"{rows:,} rows" + (f" ({', '.join(left_out)})" if left_out else "")
