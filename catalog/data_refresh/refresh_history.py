"""What earlier refreshes have left: indexes, numbers of documents, and moderators' decisions."""

from datetime import datetime
from typing import Any

import msgspec

from catalog.core.media import MediaType
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.data_refresh.refresh import Counted, Hidden
from catalog.moderation.remembered import Decisions, Remembered
from catalog.moderation.tables import Decision


def promoted(catalog: Connection) -> set[str]:
    """Return the uuids of the indexes of all promoted refreshes, with or without an alias now."""
    rows = catalog.execute(
        "select made ->> 'uuid' from refresh, jsonb_each(indexes) as i(name, made) where stage = 'promoted'"
    )
    return {uuid for (uuid,) in rows}


def is_complete(catalog: Connection, uuid: str) -> bool | None:
    """Return whether an index was complete when it was made, and its tables are live; None if unknown.

    Args:
        catalog: Connection to the catalog database.
        uuid: The engine's uuid of the index.
    """
    row = catalog.execute(
        "select bool_or(stage <> 'working' and made ->> 'documents' is not null)"
        "  from refresh, jsonb_each(indexes) as i(name, made)"
        " where made ->> 'uuid' = %s and plan ->> 'mode' is distinct from 'alias'",
        [uuid],
    ).fetchone()
    return row[0] if row else None


def made_before(catalog: Connection, uuid: str, media_type: MediaType, search: str) -> datetime | None:
    """Return when a data refresh has changed documents of a media type since an index was made; None if not.

    An index that is made from another one is as old as that one was then. One of an earlier release, whose
    making is not recorded, is at least as old as the first record of it.

    Args:
        catalog: Connection to the catalog database.
        uuid: The engine's uuid of the index.
        media_type: Media type of the documents.
        search: Airflow connection of the search engine.
    """
    number = _made_by(catalog, uuid)
    return None if number is None else last_begun(catalog, media_type, search, after=number)


def rows_marked_by(catalog: Connection, uuid: str) -> int | None:
    """Return the mark of the rows of which an index was made, or the one that it is a copy of.

    Args:
        catalog: Connection to the catalog database.
        uuid: The engine's uuid of the index.

    Returns:
        `marked` of the plan; None if it is not known.
    """
    query = "select (plan ->> 'marked')::bigint from refresh where number = %s"
    row = catalog.execute(query, [_made_by(catalog, uuid)]).fetchone()
    return row[0] if row else None


def _made_by(catalog: Connection, uuid: str) -> int | None:
    """Return the number of the refresh whose rows an index has; that of the first record of it otherwise."""
    number: int | None = value(
        catalog,
        """
        with recursive
        made as (
            select number, name, made ->> 'uuid' uuid, plan ->> 'table' <> '' from_rows,
                   case when plan ->> 'mode' = 'alias' then null
                        when plan ->> 'mode' = 'copy' and name = plan ->> 'index' then plan #>> '{copy,uuid}'
                        when plan ->> 'table' = '' and name = plan ->> 'filtered'
                        then indexes -> (plan ->> 'index') ->> 'uuid' end origin
              from refresh, jsonb_each(indexes) as i(name, made)
        ),
        origins (uuid, until) as (
            select %(uuid)s::text, 'infinity'::numeric
             union
            select m.origin, m.number from origins o join made m using (uuid)
             where m.origin is not null
        )
        select coalesce(max(number) filter (where from_rows), min(number))
          from made join origins using (uuid) where number < until
        """,
        {"uuid": uuid},
    )
    return number


def last_begun(
    catalog: Connection, media_type: MediaType, search: str, *, after: int = 0, before: int | None = None
) -> datetime | None:
    """Return when the last promoted data refresh began; None if there is none.

    Args:
        catalog: Connection to the catalog database.
        media_type: Media type of the refresh.
        search: Airflow connection of the search engine.
        after: Only refreshes with a higher number.
        before: Only refreshes with a lower number; None for all.
    """
    began: datetime | None = value(
        catalog,
        """
        select max(begun_on) from refresh
         where stage = 'promoted' and plan ->> 'media_type' = %(media_type)s
           and plan ->> 'search' = %(search)s and plan ->> 'table' <> ''
           and coalesce(plan ->> 'mode', 'full') in ('full', 'incremental')
           and number > %(after)s and (number < %(before)s) is not false
        """,
        {"media_type": media_type, "search": search, "after": after, "before": before},
    )
    return began


def last_behind(catalog: Connection, alias: str, search: str) -> str | None:
    """Return the uuid of the index at which a run has last pointed an alias; None if none has.

    Args:
        catalog: Connection to the catalog database.
        alias: Name of the alias.
        search: Airflow connection of the search engine.
    """
    row = catalog.execute(
        "select indexes -> (plan -> 'aliases' ->> %(alias)s) ->> 'uuid' from refresh"
        " where stage = 'promoted' and plan ->> 'search' = %(search)s"
        "   and plan -> 'aliases' ->> %(alias)s is not null order by number desc limit 1",
        {"alias": alias, "search": search},
    ).fetchone()
    return row[0] if row else None


def last_hidden(catalog: Connection, alias: str, search: str) -> Hidden | None:
    """Return what the filtered index has hidden at which a run has last pointed an alias; None if unknown.

    Args:
        catalog: Connection to the catalog database.
        alias: Name of the alias.
        search: Airflow connection of the search engine.
    """
    row = catalog.execute(
        """
        with made as (
            select number, plan ->> 'filtered' as name, coalesce(plan ->> 'terms', '') as terms,
                   (indexes -> (plan ->> 'index') ->> 'documents')::bigint as everything,
                   (indexes -> (plan ->> 'filtered') ->> 'documents')::bigint as shown
              from refresh
             where stage = 'promoted' and plan ->> 'search' = %(search)s
               and plan -> 'aliases' ->> %(alias)s = plan ->> 'filtered'
               and plan ->> 'mode' is distinct from 'alias'
        )
        select name, everything - shown, terms from made
         where everything is not null and shown is not null
         order by number desc limit 1
        """,
        {"alias": alias, "search": search},
    ).fetchone()
    return Hidden(*row) if row else None


def last_decisions(catalog: Connection, media_type: MediaType, api: str) -> Decisions:
    """Return what is remembered of moderators' decisions since the last promoted refresh began.

    Args:
        catalog: Connection to the catalog database.
        media_type: Media type of the records.
        api: Airflow connection of the API database.
    """
    row = catalog.execute(
        "select plan -> 'remembered' from refresh"
        " where stage = 'promoted' and plan ->> 'media_type' = %s and plan ->> 'api' = %s"
        "   and jsonb_typeof(plan -> 'remembered') = 'object' order by number desc limit 1",
        [media_type, api],
    ).fetchone()
    return msgspec.convert(row[0], dict[Decision, Remembered]) if row else {}


def last_count(catalog: Connection, uuid: str) -> Counted | None:
    """Return the number of documents with which an index became live, or was finished; None if unknown.

    Args:
        catalog: Connection to the catalog database.
        uuid: The engine's uuid of the index.
    """
    row = _last_counted(catalog, uuid)
    return Counted.of(row[0], msgspec.convert(row[1], datetime), row[2]) if row else None


def last_writes(catalog: Connection, uuid: str) -> dict[str, int]:
    """Return the last write to each shard of an index when `last_count` was recorded; empty if unknown."""
    row = _last_counted(catalog, uuid)
    return msgspec.convert(row[3] or {}, dict[str, int]) if row else {}


def _last_counted(catalog: Connection, uuid: str) -> tuple[Any, ...] | None:
    return catalog.execute(
        "select (made ->> 'documents')::bigint, plan ->> 'since', begun_on, made -> 'writes'"
        "  from refresh, jsonb_each(indexes) as i(name, made)"
        " where made ->> 'uuid' = %s and made ->> 'documents' is not null and stage <> 'working'"
        " order by number desc limit 1",
        [uuid],
    ).fetchone()
