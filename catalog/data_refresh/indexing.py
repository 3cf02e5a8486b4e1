"""Indexes the rows of an API table, split into ranges of ids that are counted afterwards.

One bad record never stops a range: it has no document, and is counted with its reason.
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
CHUNK = 2_000  # rows read, and documents sent, at a time
SENDERS = 2  # requests under way beside each other
MAX_RANGES = 64
REJECTED_SHARE, REJECTED_ALWAYS = 0.01, 10  # of a range's rows, and rows, that may have no document
LISTED = 100  # rejected records that are listed by name


class IdRange(msgspec.Struct, frozen=True):
    """Row ids, both ends included."""

    first: int
    last: int


class Indexed(msgspec.Struct):
    """What became of the rows of a range.

    Attributes:
        after: id of the last row that is done.
        documents: rows that have a document.
        removed: rows that are gone at their source, and have none.
        rejected: reason → rows of which no document could be made, or none that the engine takes.
        examples: the first of them: "identifier: reason".
        tags: rule → tags dropped, and kept.
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
    """What is kept of a range between attempts. It counts for this index, table and range only."""

    uuid: str
    table: str
    part: IdRange
    done: Indexed


def ranges(api: Connection, table: str, number: int) -> list[IdRange]:
    """At most `number` ranges that hold about as many rows each; together all ids of the table."""
    number = max(1, min(number, MAX_RANGES))
    found = api.execute(
        sql.SQL("select min(id), max(id), count(*) from {}").format(sql.Identifier("public", table))
    ).fetchone()
    if not found or found[0] is None:
        return []
    first, last, rows = found
    number = max(
        1, min(number, -(-rows // CHUNK))
    )  # a task for less than a request's worth of rows would not pay
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
    """Fills one range of an index.

    Args:
        api: the API database.
        client: of the search engine.
        index: that the catalog made; what it must not be, is found out before anything is sent.
        table: where the rows are.
        media_type: what they are, and whose moderation tables count.
        policy: which tags a document gets.
        part: the range.
        uuid: of the index, as it was made; None takes the one that is there.
        load, save: where this range's progress is kept; a range that was killed goes on there. Sending a
            document twice changes nothing. Progress of another index, table or range is left aside.
        progress: is told what has been done.
        should_stop: asked between two chunks.
        pause: sleeps for a number of seconds.
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
            select m.id, m.identifier, m.created_on, m.title, m.creator, m.provider, m.source, m.category, m.license, m.url, m.filetype,
                   m.standardized_popularity, m.meta_data, m.tags,
                   exists (select from {mature} x where x.identifier = m.identifier) as mature, {columns}, m.removed_from_source
              from {table} m where m.id > %s and m.id <= %s order by m.id limit {chunk}
        """).format(
            table=sql.Identifier("public", table),
            mature=sql.Identifier("public", f"api_mature{media_type}"),
            chunk=sql.Literal(CHUNK),
            columns=sql.SQL(", ").join(sql.SQL(c) for c in COLUMNS[media_type]),
        )
        self._keys = sql.SQL(
            "select id, identifier::text, removed_from_source from {} where id > %s and id <= %s order by id limit {}"
        ).format(sql.Identifier("public", table), sql.Literal(CHUNK))

    def run(self) -> Indexed:
        """Send the documents of all rows of the range.

        Raises:
            Interrupted: asked to stop; the next attempt goes on there.
            Retry: the engine takes no more now.
            Fatal: it never will: the index is gone or not ours, or too many records are rejected.
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
                f"asked to stop at row id {done.after:,} of {self._part.last:,}; the next try goes on there."
            )
        self._bound(done, done.rows)
        self._indexes.require(self._index, self._uuid)
        return done

    def _begin(self) -> Indexed:
        """Where an earlier attempt stopped, if it filled this range of this index from this table."""
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
                "what an earlier attempt did belongs to another index or range; this range of %s starts over",
                self._index,
            )
            return fresh
        return progress.done

    def _read(self, after: int) -> "_Chunk | None":
        """The next rows as actions; None at the end of the range."""
        try:
            rows = self._api.execute(self._query, [after, self._part.last]).fetchall()
        except (
            psycopg.DataError
        ):  # a value that Python cannot hold; which row's, only reading fewer of them tells
            return self._read_by_halves(after)
        if not rows:
            return None
        chunk = _Chunk(rows[-1][0])
        for row in rows:
            self._add(chunk, row)
        return chunk

    def _read_by_halves(self, after: int) -> "_Chunk | None":
        """Read rows without the unreadable ones, which are found by halving."""
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
        except Exception as error:  # whatever one record holds, it costs itself only
            chunk.reject(key, f"no document can be made: {type(error).__name__}", str(error))
        else:
            chunk.actions.append(action)
            chunk.documents += 1

    def _settle(self, done: Indexed, sent: Future[Sent], chunk: "_Chunk") -> None:
        """A chunk that has been sent counts; its place is noted."""
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
        """Raise Fatal if more than a few records were rejected; the range then starts over when it is cleared."""
        rejected = sum(done.rejected.values())
        if rejected > max(REJECTED_ALWAYS, math.floor(rows * REJECTED_SHARE)):
            self._save({})
            reasons = ", ".join(f"{number:,} {kind}" for kind, number in sorted(done.rejected.items()))
            raise Fatal(
                f"{rejected:,} of {rows:,} records of {self._table} have no document, more than {REJECTED_SHARE:.0%}: {reasons}; "
                f"the first: {done.examples[0]}"
            )


class _Chunk:
    """Rows that are sent together. after: id of the last one."""

    def __init__(self, after: int) -> None:
        self.after, self.documents, self.removed = after, 0, 0
        self.actions: list[bytes] = []
        self.rejections: list[Rejection] = []
        self.tags: Counter[str] = Counter()

    def reject(self, key: str, kind: str, reason: str) -> None:
        """An earlier attempt may have made a document of what the row was then; it is deleted."""
        self.rejections.append(Rejection(key, kind, " ".join(reason.split())[:200]))
        self.actions.append(delete_action(key))


def _send(sender: BulkSender, actions: list[bytes]) -> Sent:
    """A document that the engine does not take leaves none of the record's behind."""
    sent = sender.send(actions)
    sender.send([delete_action(one.key) for one in sent.rejections])
    return sent


def _json(data: str | bytes) -> Any:
    """A JSON value of the database, whatever it holds: numbers beyond all bounds are infinite."""
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
    """Find ranges whose documents are not as many as their rows. The index must be refreshed.

    Args:
        api: the API database.
        indexes: of the search engine.
        index: that the catalog made.
        table: where the rows are.
        parts: together all ids of the table.
        rejected: of each part, in their order, the rows that were rejected; empty for none.
        uuid: of the index, as it was made.

    Returns:
        Each such range in words; [] when all is well.

    Raises:
        Fatal: the index is gone, or not the one that was filled.
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
                f"ids {part.first:,} to {part.last:,}: {_counted(rows, removed, left_out)}, {found:,} documents"
            )
    total = indexes.count(index)
    if not wrong and wanted_in_all != total:
        wrong.append(f"in all: {wanted_in_all:,} documents are wanted, {total:,} are there")
    indexes.require(index, identity.uuid)
    return wrong


def _counted(rows: int, removed: int, rejected: int) -> str:
    """Rows, and why some of them have no document."""
    left_out = [f"{removed:,} gone at their source"] if removed else []
    left_out += [f"{rejected:,} rejected"] if rejected else []
    return f"{rows:,} rows" + (f" ({', '.join(left_out)})" if left_out else "")
