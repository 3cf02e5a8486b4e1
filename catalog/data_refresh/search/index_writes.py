"""Whether others have written to an index since it was counted.

The engine numbers all writes to a shard, by any program; restarts, replicas and merges write nothing.
The API writes to the live indexes, too: it deletes the documents of deleted media and marks documents as
mature. Therefore documents that were written since are compared with the rows of the live table.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from elasticsearch import NotFoundError
from psycopg import sql

from catalog.core.errors import Fatal, Retry
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.search.client import complete_answer
from catalog.data_refresh.search.document_rows import CHUNK, DocumentRows
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.tag_policy import TagPolicy
from catalog.moderation.tables import moderated_name

MOST = 100_000  # documents that are compared; moderators write fewer between two refreshes
MARKED = "mature"  # moderators change it, and `moderation.follow` verifies it

_WHOLE = ("STARTED", "RELOCATING")  # states of a copy of a shard; where it moves to is INITIALIZING

Writes = dict[str, int]  # shard → number of the last write to it


class Contents(NamedTuple):
    """What an index holds at a moment.

    Attributes:
        documents: Number of its documents.
        writes: Last write to each shard, read before the documents were counted.
    """

    documents: int
    writes: Writes


def last_writes(engine: Indexes, name: str) -> Writes:
    """Return the number of the last write to each shard of an index; -1 for a shard without any.

    Args:
        engine: Operations on indexes.
        name: Name of the index, or an alias of one index.

    Raises:
        Retry: The engine does not know it of all shards.
        Fatal: There is no such index.
    """
    stats = engine.client.indices.stats
    try:
        answer = complete_answer(engine.ask(stats, index=name, metric="docs", level="shards"))
    except NotFoundError:
        raise Fatal(f"there is no index {name}.") from None
    [about] = answer["indices"].values()
    writes = {
        number: int(copy["seq_no"]["max_seq_no"])
        for number, copies in about["shards"].items()
        for copy in copies
        if copy["routing"]["primary"] and copy["routing"]["state"] in _WHOLE and "seq_no" in copy
    }
    if len(writes) < len(about["shards"]):
        raise Retry(f"the search engine shows only {len(writes)} of the shards of {name}")
    return writes


def contents_of(engine: Indexes, name: str) -> Contents:
    """Count the documents of an index. Writes that the number may lack count as later ones."""
    writes = last_writes(engine, name)
    engine.refresh(name)
    return Contents(engine.count(name), writes)


def changed_by_others(
    engine: Indexes, api: Connection, media_type: MediaType, name: str, policy: TagPolicy, before: Writes
) -> str | None:
    """Return a sentence if an index has documents that others have written, besides moderators.

    Whose documents others have deleted, only their number tells.

    Args:
        engine: Operations on indexes.
        api: Connection to the API database.
        media_type: Media type of the documents.
        name: Name of the index, or an alias of one index.
        policy: Tag policy of the documents.
        before: Last writes when the documents were right.
    """
    now = last_writes(engine, name)
    if now == before:
        return None
    if now.keys() != before.keys() or any(now[shard] < before[shard] for shard in now):
        return f"the index behind {name} has lost writes"
    engine.refresh(name)
    written = {shard: number for shard, number in before.items() if now[shard] > number}
    found = sum(engine.count(name, _later(number), shard=shard) for shard, number in written.items())
    if found > MOST:
        return f"another program has written {found:,} documents of the index behind {name}"
    rows = DocumentRows(api, media_type, media_type, policy)
    unknown = {MARKED, *engine.unkept(name)}
    for shard, number in written.items():
        for documents in _written(engine, name, shard, number):
            if wrong := _different(api, rows, media_type, documents, unknown):
                return (
                    f"another program has written documents of the index behind {name}, such as {wrong}, "
                    f"which its row does not explain ({found:,} were written, also by moderators)"
                )
    return None


def _later(number: int) -> dict[str, Any]:
    return {"range": {"_seq_no": {"gt": number}}}


def _written(engine: Indexes, name: str, shard: str, number: int) -> Iterator[dict[str, Any]]:
    """Yield the documents of a shard that were written after a number, by their ids."""
    while True:
        answer = engine.ask(
            engine.client.search,
            index=name,
            **engine.newest(name, shard),
            query=_later(number),
            size=CHUNK,
            sort=[{"_seq_no": "asc"}],
            track_total_hits=False,
        )
        hits = complete_answer(answer)["hits"]["hits"]
        if not hits:
            return
        yield {hit["_id"]: hit["_source"] for hit in hits}
        [number] = hits[-1]["sort"]


def _different(
    api: Connection,
    rows: DocumentRows,
    media_type: MediaType,
    documents: Mapping[str, Any],
    unknown: Collection[str],
) -> str | None:
    """Return the id of a document that is not the one of its row, but for fields; None if there is none."""
    keys = {key: parsed for key in documents if (parsed := _uuid(key))}
    expected = rows.of_keys(list(keys.values())).written
    query = sql.SQL("select identifier::text from {} where identifier = any(%s)").format(
        sql.Identifier("public", moderated_name("deleted", media_type))
    )
    # A moderator deletes the row before its document.
    deleted = {key for (key,) in api.execute(query, [list(keys.values())])}
    for key, found in documents.items():
        wanted = orjson.loads(expected[key].partition(b"\n")[2]) if key in expected else None
        if key not in deleted and (wanted is None or without(unknown, wanted) != without(unknown, found)):
            return key
    return None


def _uuid(key: str) -> UUID | None:
    try:
        return UUID(key)
    except ValueError:
        return None


def without(fields: Collection[str], document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without some of its fields."""
    return {name: value for name, value in document.items() if name not in fields}
