"""Decisions of moderators are applied to an index, and it is verified that none is missing.

Rows are copied and documents created hours before they are searched. A record that is deleted or marked as
mature in between is unchanged in the new index.
"""

import logging
from collections.abc import Iterator
from datetime import datetime

from psycopg import sql

from catalog.core.errors import Fatal, Retry
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.search.bulk import BulkSender, delete_action, update_action
from catalog.data_refresh.search.document_rows import parse_json
from catalog.data_refresh.search.documents import says_mature
from catalog.data_refresh.search.indexes import Indexes
from catalog.moderation.decisions import BATCH, decided
from catalog.moderation.tables import moderated_name

log = logging.getLogger(__name__)
PASSES = 5  # over all decisions, until none is left
_MATURE = {"term": {"mature": True}}


def follow(
    api: Connection,
    engine: Indexes,
    index: str,
    media_type: MediaType,
    since: datetime,
    *,
    uuid: str | None = None,
) -> int:
    """Apply the decisions of moderators to an index, and verify it.

    Marks as mature are added and removed. A revoked deletion is not applied: the record's row may be a new
    one with other contents, and the next refresh creates its document.

    Call it before an alias is moved to the index, and again afterwards for decisions made in between.

    Args:
        api: Connection to the API database.
        engine: Operations on indexes.
        index: Name of an index of the catalog.
        media_type: Media type of its documents.
        since: Result of `moderation_moment` before the rows were copied.
        uuid: The engine's uuid of the index.

    Returns:
        Number of documents deleted or changed.

    Raises:
        Retry: The engine did not apply everything; the index must not be searched yet.
        Fatal: The index is missing, or the engine rejects a change.
    """
    sender = BulkSender(engine, engine.require(index, uuid).writer, tell=True)
    engine.refresh(index)
    # Removed before marks are added, so that a mark that is made at this moment is not lost.
    changed = sum(_apply(sender, [], batch, False) for batch in taken_back(api, engine, index, media_type))
    changed += sum(_apply(sender, batch, []) for batch in decided(api, "deleted", media_type, since))
    changed += sum(_apply(sender, [], batch) for batch in decided(api, "mature", media_type, since))
    for _ in range(PASSES):
        engine.refresh(index)
        deleted, mature = unmoderated(api, engine, index, media_type)
        if not deleted and not mature:
            return changed
        # Decisions of a wrong clock, or of a very long transaction before `since`, or of this moment.
        log.info("%s: applying %s more decisions", index, len(deleted) + len(mature))
        changed += _apply(sender, deleted, mature)
    raise Retry(f"{index} still shows media as they were before moderation, such as {(deleted + mature)[0]}.")


def taken_back(api: Connection, engine: Indexes, index: str, media_type: MediaType) -> Iterator[list[str]]:
    """Yield batches of identifiers of documents that are mature although their mark was removed.

    A removed mark leaves no trace, so mature documents are compared with the rows. Documents without a row,
    and those whose provider says that they are mature, are not included.

    Args:
        api: Connection to the API database.
        engine: Operations on indexes.
        index: Name of the index.
        media_type: Media type of its documents.
    """
    query = sql.SQL("""
        select m.identifier::text, (m.meta_data -> 'mature')::text from {table} m
         where m.identifier = any(%s::uuid[])
           and not exists (select from {marks} x where x.identifier = m.identifier)
    """).format(
        table=sql.Identifier("public", media_type),
        marks=sql.Identifier("public", moderated_name("mature", media_type)),
    )
    for batch in engine.found(index, _MATURE, BATCH):
        # As documents are made: the usual parser fails on a number of thousands of digits.
        found = [(key, parse_json(own or "null")) for key, own in api.execute(query, [batch])]
        if harmless := [key for key, own in found if not says_mature(own)]:
            yield harmless


def _apply(sender: BulkSender, deleted: list[str], marked: list[str], mature: bool = True) -> int:
    sent = sender.send(
        [delete_action(k) for k in deleted] + [update_action(k, {"mature": mature}) for k in marked]
    )
    for rejection in sent.rejections:
        raise Fatal(
            f"the search engine rejects a moderator's decision about {rejection.key}: "
            f"{rejection.kind}: {rejection.reason}"
        )
    return sent.changed


def unmoderated(
    api: Connection, engine: Indexes, index: str, media_type: MediaType
) -> tuple[list[str], list[str]]:
    """Return identifiers of documents to which decisions were not applied: deleted ones, and mature ones.

    Args:
        api: Connection to the API database.
        engine: Operations on indexes.
        index: Name or alias of the index.
        media_type: Media type of its documents.
    """
    deleted = [key for batch in decided(api, "deleted", media_type) for key in engine.matching(index, batch)]
    mature = [
        key
        for batch in decided(api, "mature", media_type)
        for key in engine.matching(index, batch, but=_MATURE)
    ]
    return deleted, mature
