"""Rows of an API table as actions for the search engine: a document for each row that has one."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg import sql
from psycopg.types.json import set_json_loads

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.search.bulk import Rejection, delete_action, index_action
from catalog.data_refresh.search.documents import COLUMNS, MediaRow, Unreadable, document
from catalog.data_refresh.search.tag_policy import TagFilter, TagPolicy
from catalog.moderation.tables import moderated_name

CHUNK = 2_000  # rows per query, and documents per bulk call


class Chunk:
    """Rows that are sent together.

    Attributes:
        after: Id of the last row.
        documents: Number of rows that have a document.
        removed: Number of rows without one because they are removed from their source.
        written: Action that writes the document, by identifier.
        actions: Encoded actions, in the order of the rows.
        rejections: Rows for which no document can be built.
        tags: Number of tags by rule, including all earlier chunks.
    """

    def __init__(self, after: int) -> None:
        self.after, self.documents, self.removed = after, 0, 0
        self.written: dict[str, bytes] = {}
        self.actions: list[bytes] = []
        self.rejections: list[Rejection] = []
        self.tags: Counter[str] = Counter()

    def reject(self, key: str, kind: str, reason: str) -> None:
        """Reject a record, and delete the document that an earlier attempt may have created."""
        self.rejections.append(Rejection(key, kind, " ".join(reason.split())[:200]))
        self.actions.append(delete_action(key))


class DocumentRows:
    """Reads rows of a table and builds their documents. A bad row is rejected and does not fail its chunk.

    Args:
        api: Connection to the API database, in autocommit.
        table: Table with the rows.
        media_type: Media type of the rows.
        policy: Tag policy of the documents.
    """

    def __init__(self, api: Connection, table: str, media_type: MediaType, policy: TagPolicy) -> None:
        self._api, self._media_type, self._tags = api, media_type, TagFilter(policy)
        set_json_loads(parse_json, api)
        parts = {
            "table": sql.Identifier("public", table),
            "mature": sql.Identifier("public", moderated_name("mature", media_type)),
            "columns": sql.SQL(", ").join(sql.SQL(c) for c in COLUMNS[media_type]),
            "chunk": sql.Literal(CHUNK),
        }
        rows = sql.SQL("""
            select m.id, m.identifier, m.created_on, m.title, m.creator, m.provider, m.source, m.category,
                   m.license, m.url, m.filetype, m.standardized_popularity, m.meta_data, m.tags,
                   exists (select from {mature} x where x.identifier = m.identifier) as mature,
                   {columns}, m.removed_from_source
              from {table} m where {condition} order by m.id limit {chunk}
        """)
        keys = sql.SQL("""
            select m.id, m.identifier::text, m.removed_from_source
              from {table} m where {condition} order by m.id limit {chunk}
        """)
        by_id, by_key = sql.SQL("m.id > %s and m.id <= %s"), sql.SQL("m.identifier = any(%s)")
        self._by_id, self._by_key = (
            (rows.format(condition=condition, **parts), keys.format(condition=condition, **parts))
            for condition in (by_id, by_key)
        )

    @property
    def tags(self) -> Counter[str]:
        """Number of tags by rule, so far."""
        return self._tags.counts

    def between(self, after: int, last: int) -> Chunk | None:
        """Return the next rows with ids above `after`, up to `last`; None if there are none."""
        return self._read(*self._by_id, [after, last])

    def of_keys(self, keys: Sequence[UUID]) -> Chunk:
        """Return the rows with these identifiers, of which there are at most CHUNK."""
        return self._read(*self._by_key, [list(keys)]) or Chunk(0)

    def _read(self, query: sql.Composed, keys: sql.Composed, values: list[Any]) -> Chunk | None:
        try:
            rows = self._api.execute(query, values).fetchall()
        except psycopg.DataError:  # a value that Python cannot represent, in one of the rows
            return self._read_by_halves(self._api.execute(keys, values).fetchall())
        if not rows:
            return None
        chunk = Chunk(rows[-1][0])
        for row in rows:
            self._add(chunk, row)
        return chunk

    def _read_by_halves(self, keys: list[tuple[int, str, bool]]) -> Chunk | None:
        """Read rows without the unreadable ones, which are found by bisection."""
        if not keys:
            return None
        chunk, parts = Chunk(keys[-1][0]), [keys]
        query, _ = self._by_key
        while parts:
            part = parts.pop()
            try:
                rows = self._api.execute(query, [[UUID(key) for _, key, _ in part]]).fetchall()
            except psycopg.DataError as error:
                _, key, removed = part[0]
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

    def _add(self, chunk: Chunk, row: tuple[Any, ...]) -> None:
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
            chunk.written[key] = action
            chunk.documents += 1


def parse_json(data: str | bytes) -> Any:
    """Parse a JSON value of the database. Numbers that are too large become infinite."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data, parse_int=lambda text: int(text) if len(text) < 1000 else math.inf)
    except (ValueError, RecursionError) as error:
        return Unreadable(str(error))
