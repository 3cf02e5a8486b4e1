"""Rows of an API table → documents of an index: split into ranges of ids, each filled by a task of its own, and counted afterwards."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import msgspec
import orjson
import psycopg
from elastic_transport import ApiError, TransportError
from elasticsearch import Elasticsearch
from psycopg import sql
from psycopg.types.json import set_json_loads

from catalog.data_refresh.documents import COLUMNS, MediaRow, document
from catalog.data_refresh.search import Indexes
from catalog.data_refresh.tag_policy import TagFilter, TagPolicy
from catalog.ingestion.errors import Fatal, Interrupted, Retry
from catalog.ingestion.records import MediaType

log = logging.getLogger(__name__)
Connection = psycopg.Connection[Any]
CHUNK = 2_000  # rows read, and documents sent, at a time
SENDERS = 2  # requests under way beside each other
TRIES, BACKOFF = (
    6,
    1.0,
)  # of a request, or of the documents in it that the engine had no room for; seconds, doubled each time
MAX_RANGES = 64


class IdRange(msgspec.Struct, frozen=True):
    """Row ids, both ends included."""

    first: int
    last: int


class Indexed(msgspec.Struct):
    """What became of the rows of a range. removed: rows that are gone at their source; tags: rule → tags dropped, and kept."""

    after: int = 0
    documents: int = 0
    removed: int = 0
    tags: dict[str, int] = {}


def ranges(api: Connection, table: str, number: int) -> list[IdRange]:
    """At most `number` ranges that hold about as many rows each; together all ids of the table."""
    number = max(1, min(number, MAX_RANGES))
    found = api.execute(
        sql.SQL("select min(id), max(id), count(*) from {}").format(sql.Identifier(table))
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
                sql.Identifier(table)
            ),
            [places],
        ).fetchone()
        assert cut
        bounds += [b for b in cut[0] if b > first]
    bounds = sorted(set(bounds))
    return [IdRange(a, b - 1) for a, b in zip(bounds, [*bounds[1:], last + 1], strict=True)]


class RangeIndexer:
    """Fills one range of an index. table: where the rows are; media_type: what they are, and whose moderation tables count.

    load, save: where this range's progress is kept; a range that was killed goes on there. Sending a document twice changes nothing.
    """

    def __init__(
        self, api: Connection, client: Elasticsearch, index: str, table: str, media_type: MediaType, policy: TagPolicy, part: IdRange, *,
        load: Callable[[], Mapping[str, Any] | None] = lambda: None, save: Callable[[dict[str, Any]], None] = lambda _: None,
        progress: Callable[[Indexed], object] = lambda _: None, should_stop: Callable[[], bool] = lambda: False,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._api, self._client, self._index, self._media_type, self._part = (
            api,
            client,
            index,
            media_type,
            part,
        )
        self._load, self._save, self._report, self._should_stop, self._pause = (
            load,
            save,
            progress,
            should_stop,
            pause,
        )
        self._tags = TagFilter(policy)
        set_json_loads(orjson.loads, api)
        self._query = sql.SQL("""
            select m.id, m.identifier, m.created_on, m.title, m.creator, m.provider, m.source, m.category, m.license, m.url, m.filetype,
                   m.standardized_popularity, m.meta_data, m.tags,
                   exists (select from {mature} x where x.identifier = m.identifier) as mature, {columns}, m.removed_from_source
              from {table} m where m.id > %s and m.id <= %s order by m.id limit {chunk}
        """).format(
            table=sql.Identifier(table), mature=sql.Identifier(f"api_mature{media_type}"), chunk=sql.Literal(CHUNK),
            columns=sql.SQL(", ").join(sql.SQL(c) for c in COLUMNS[media_type]),
        )  # fmt: skip

    def run(self) -> Indexed:
        """All rows of the range. Raises Interrupted when asked to stop, Retry when the engine takes no more, Fatal if it never will."""
        stored = self._load()
        done = msgspec.convert(stored, Indexed) if stored else Indexed(after=self._part.first - 1)
        read_to, before = done.after, Counter(done.tags)
        under_way: deque[tuple[Future[None], int, int, int, Counter[str]]] = deque()
        with ThreadPoolExecutor(SENDERS) as senders:
            while rows := self._api.execute(self._query, [read_to, self._part.last]).fetchall():
                read_to = rows[-1][0]
                lines, removed = self._lines(rows)
                tags = before + self._tags.counts
                under_way.append((senders.submit(self._send, lines), read_to, len(lines) // 2, removed, tags))
                while len(under_way) > SENDERS:
                    self._settle(done, *under_way.popleft())
                if self._should_stop():
                    break
            while under_way:
                self._settle(done, *under_way.popleft())
        if rows:
            raise Interrupted(
                f"asked to stop at row id {done.after:,} of {self._part.last:,}; the next try goes on there."
            )
        return done

    def _lines(self, rows: list[tuple[Any, ...]]) -> tuple[list[bytes], int]:
        """Actions and documents, and how many rows have none because they are gone at their source."""
        lines: list[bytes] = []
        removed = 0
        for row in rows:
            if row[-1]:
                removed += 1
                continue
            media = MediaRow(*row[:-1])
            lines.append(b'{"index":{"_id":"%s"}}' % str(media.identifier).encode())
            lines.append(orjson.dumps(document(self._media_type, media, self._tags)))
        return lines, removed

    def _settle(
        self, done: Indexed, sent: Future[None], after: int, documents: int, removed: int, tags: Counter[str]
    ) -> None:
        """A chunk that has been sent counts; its place is noted."""
        sent.result()
        done.after, done.documents, done.removed, done.tags = (
            after,
            done.documents + documents,
            done.removed + removed,
            dict(tags),
        )
        self._save(msgspec.to_builtins(done))
        self._report(done)

    def _send(self, lines: list[bytes]) -> None:
        """Until the engine has taken every document."""
        problem = ""
        for attempt in range(TRIES if lines else 0):
            if attempt:
                self._pause(BACKOFF * 2 ** (attempt - 1))
            try:
                operations = cast(Any, lines)  # encoded already
                answer = self._client.bulk(
                    index=self._index, operations=operations, filter_path=None if problem else "errors"
                )
            except TransportError as error:
                problem = f"the search engine does not answer ({type(error).__name__})"
                continue
            except ApiError as error:
                if error.meta.status not in (408, 429) and error.meta.status < 500:
                    raise Fatal(f"the search engine refused a request: {str(error)[:500]}") from None
                problem = f"the search engine answered {error.meta.status}"
                continue
            if not answer["errors"]:
                return
            if (
                "items" not in answer
            ):  # which ones, the short answer does not say: sending all once more is harmless
                problem = "the search engine did not take some documents"
                continue
            lines, problem = self._not_taken(lines, answer["items"])
            if not lines:
                return
        if lines:
            raise Retry(f"{problem}; tried {TRIES} times.")

    def _not_taken(self, lines: list[bytes], items: list[dict[str, Any]]) -> tuple[list[bytes], str]:
        """The documents to send once more. Raises Fatal for one that the engine will never take."""
        again, problem = [], ""
        for number, item in enumerate(items):
            result = item["index"]
            if result["status"] < 300:
                continue
            text = f"{result['_id']}: {str(result.get('error'))[:400]}"
            if result["status"] != 429 and result["status"] < 500:
                raise Fatal(f"the search engine cannot take the document of record {text}")
            problem = text
            again += lines[2 * number : 2 * number + 2]
        return again, problem


def mismatches(api: Connection, indexes: Indexes, index: str, table: str, parts: list[IdRange]) -> list[str]:
    """Ranges whose number of documents is not their number of rows, in words; [] when all is well. The index must be refreshed.

    parts: together all ids of the table.
    """
    wrong, rows = [], 0
    query = sql.SQL("select count(*) from {} where id between %s and %s and not removed_from_source").format(
        sql.Identifier(table)
    )
    for part in parts:
        row = api.execute(query, [part.first, part.last]).fetchone()
        wanted = row[0] if row else 0
        rows += wanted
        found = indexes.count(index, {"range": {"id": {"gte": part.first, "lte": part.last}}})
        if wanted != found:
            wrong.append(f"ids {part.first:,} to {part.last:,}: {wanted:,} rows, {found:,} documents")
    total = indexes.count(index)
    if not wrong and rows != total:
        wrong.append(f"in all: {rows:,} rows, {total:,} documents")
    return wrong


def moderated_since(api: Connection, media_type: MediaType, since: Any) -> tuple[list[str], list[str]]:
    """Identifiers of media that moderators have deleted, and marked as mature, since a moment. An index made meanwhile misses that."""
    found = []
    for kind in ("deleted", "mature"):
        query = sql.SQL("select identifier::text from {} where created_on >= %s").format(
            sql.Identifier(f"api_{kind}{media_type}")
        )
        found.append([row[0] for row in api.execute(query, [since])])
    return found[0], found[1]


def follow_moderation(client: Elasticsearch, index: str, deleted: list[str], mature: list[str]) -> int:
    """Bring an index up to what moderators have decided meanwhile: number of documents deleted or marked."""
    actions: list[dict[str, Any]] = []
    for identifier in deleted:
        actions.append({"delete": {"_id": identifier}})
    for identifier in mature:
        actions += [{"update": {"_id": identifier}}, {"doc": {"mature": True}}]
    changed = 0
    for start in range(0, len(actions), CHUNK * 2):
        answer = client.bulk(index=index, operations=actions[start : start + CHUNK * 2])
        changed += sum(1 for item in answer["items"] for result in item.values() if result["status"] < 300)
    return changed
