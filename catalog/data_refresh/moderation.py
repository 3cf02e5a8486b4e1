"""What moderators decide while an index is made: found in the API database, followed in the index, proved.

A row is copied, or a document made, hours before it is searched. A medium that is deleted, or marked as
mature, in between is in the new index as it was.
"""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from elasticsearch import Elasticsearch
from psycopg import sql

from catalog.core.errors import Fatal, Retry
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.bulk import BulkSender, delete_action, update_action
from catalog.data_refresh.documents import says_mature
from catalog.data_refresh.search import Indexes

log = logging.getLogger(__name__)
MARGIN = timedelta(hours=1)
BATCH = 2_000  # decisions
PASSES = 5  # over all decisions, until none is left
_MATURE = {"term": {"mature": True}}


def moderation_moment(api: Connection) -> datetime:
    """Return the moment from which moderation counts; to be recorded once, before the first row is copied.

    It is of the database's clock, at the latest when the oldest transaction that can be seen began, minus one
    hour: the rows bear the application's clock, which may go wrong, and the moment at which a transaction
    wrote them, which may be long before others see them.
    """
    row = api.execute(
        "select least(clock_timestamp(), min(xact_start)) - %s from pg_stat_activity where datname = current_database()",
        [MARGIN],
    ).fetchone()
    assert row
    moment: datetime = row[0]
    return moment


def decided(
    api: Connection, kind: str, media_type: MediaType, since: datetime | None = None
) -> Iterator[list[str]]:
    """Identifiers of media that moderators have deleted, or marked as mature, in batches.

    Args:
        api: the API database.
        kind: `deleted` or `mature`.
        media_type: of the media.
        since: as `moderation_moment` gave it; None for all that ever were.
    """
    query = sql.SQL(
        "select identifier from {} where created_on >= coalesce(%s, '-infinity'::timestamptz) "
        "and (%s::uuid is null or identifier > %s) order by identifier limit %s"
    ).format(sql.Identifier("public", f"api_{kind}{media_type}"))
    last = None
    while batch := [row[0] for row in api.execute(query, [since, last, last, BATCH])]:
        yield [str(key) for key in batch]
        last = batch[-1]


def follow(
    api: Connection,
    client: Elasticsearch,
    index: str,
    media_type: MediaType,
    since: datetime,
    *,
    uuid: str | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Bring an index up to what moderators have decided, and prove it. Marks are followed both ways.

    A deletion that is taken back is not: the medium's row may be a new one, with other contents. The next
    refresh has its document.

    To be called before an alias is pointed at the index, and once more afterwards, for what was decided in
    between.

    Args:
        api: the API database.
        client: of the search engine.
        index: that the catalog made.
        media_type: of its media.
        since: as `moderation_moment` gave it before the rows were copied.
        uuid: of the index, as it was made.
        pause: sleeps for a number of seconds.

    Returns:
        Number of documents deleted or marked.

    Raises:
        Retry: the engine did not take all of it; the index must not be searched yet.
        Fatal: the index is gone, or refuses a change.
    """
    indexes = Indexes(client, pause=pause)
    sender = BulkSender(client, indexes.require(index, uuid).writer, tell=True, pause=pause)
    indexes.refresh(index)
    # before the marks, so that one which is made this very moment is not lost
    changed = sum(_apply(sender, [], batch, False) for batch in taken_back(api, indexes, index, media_type))
    changed += sum(_apply(sender, batch, []) for batch in decided(api, "deleted", media_type, since))
    changed += sum(_apply(sender, [], batch) for batch in decided(api, "mature", media_type, since))
    for _ in range(PASSES):
        indexes.refresh(index)
        deleted, mature = _left(api, indexes, index, media_type, None)
        if not deleted and not mature:
            return changed
        # decided before `since`, by a wrong clock or in a very long transaction; or this very moment
        log.info("%s: %s more decisions are followed", index, len(deleted) + len(mature))
        changed += _apply(sender, deleted, mature)
    raise Retry(f"{index} still shows media as they were before moderation, such as {(deleted + mature)[0]}.")


def taken_back(api: Connection, indexes: Indexes, index: str, media_type: MediaType) -> Iterator[list[str]]:
    """Identifiers of media that an index shows as mature although nobody says so any more, in batches.

    A mark that is taken back leaves no trace, so the documents that are mature are compared with the rows.
    Media without a row are left alone, and so are those whose record itself says that they are mature.
    """
    query = sql.SQL("""
        select m.identifier::text, m.meta_data -> 'mature' from {table} m
         where m.identifier = any(%s::uuid[]) and not exists (select from {marks} x where x.identifier = m.identifier)
    """).format(
        table=sql.Identifier("public", media_type), marks=sql.Identifier("public", f"api_mature{media_type}")
    )
    for batch in indexes.marked(index, BATCH):
        if harmless := [key for key, own in api.execute(query, [batch]) if not says_mature(own)]:
            yield harmless


def _apply(sender: BulkSender, deleted: list[str], marked: list[str], mature: bool = True) -> int:
    sent = sender.send(
        [delete_action(k) for k in deleted] + [update_action(k, {"mature": mature}) for k in marked]
    )
    for one in sent.rejections:
        raise Fatal(
            f"the search engine refuses what moderators decided about {one.key}: {one.kind}: {one.reason}"
        )
    return sent.changed


def unmoderated(
    api: Connection, client: Elasticsearch, index: str, media_type: MediaType, since: datetime | None = None
) -> list[str]:
    """Return media that an index shows although they are deleted, or as harmless although they are mature.

    Args:
        api: the API database.
        client: of the search engine.
        index: name or alias.
        media_type: of its media.
        since: only what was decided since then; None for all that ever was.
    """
    deleted, mature = _left(api, Indexes(client), index, media_type, since)
    return sorted({*deleted, *mature})


def _left(
    api: Connection, indexes: Indexes, index: str, media_type: MediaType, since: datetime | None
) -> tuple[list[str], list[str]]:
    deleted = [
        key for batch in decided(api, "deleted", media_type, since) for key in indexes.matching(index, batch)
    ]
    mature = [
        key
        for batch in decided(api, "mature", media_type, since)
        for key in indexes.matching(index, batch, but=_MATURE)
    ]
    return deleted, mature
