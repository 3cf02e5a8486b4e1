"""The history of data refreshes, as the catalog database has it."""

from datetime import datetime
from typing import Any

import msgspec

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.core.settings import STAGING_SEARCH
from catalog.monitoring.rows import numbers, rows


class Refreshed(msgspec.Struct, frozen=True):
    """A refresh of the past, or one that is running.

    Attributes:
        number: Number of its turn.
        dag_id: DAG of its run.
        run_id: Id of its run.
        media_type: Media type.
        mode: What it replaces or changes.
        reason: Why it is full although `auto` was asked for; "" otherwise.
        stage: `promoted` once everything of it is live; an older or newer release may write others.
        begun_on: When its first task recorded it.
        ended_for: Run that began after this one had ended without promoting; None if there is none.
        documents: Source → number of documents in the main alias before it; None if it is not known.
    """

    number: int
    dag_id: str
    run_id: str
    media_type: MediaType
    mode: str
    reason: str
    stage: str
    begun_on: datetime
    ended_for: str | None
    documents: dict[str, int] | None


_REFRESHES = """
    select number, t.dag_id, t.run_id, plan ->> 'media_type' as media_type,
           coalesce(plan ->> 'mode', 'full') as mode, coalesce(plan ->> 'reason', '') as reason,
           stage, begun_on, t.given_up_for as ended_for,
           plan -> 'documents' -> (plan ->> 'media_type') as documents
      from refresh r join turn t using (number)
     where plan ->> 'media_type' = %(media_type)s
       and plan ->> 'search' is distinct from %(staging)s
       and coalesce(plan ->> 'mode', 'full') not in ('copy', 'alias')
"""


def refreshes(connection: Connection, media_type: MediaType, limit: int) -> list[Refreshed]:
    """Return the newest refreshes of production of a media type, newest first."""
    query = f"{_REFRESHES} order by number desc limit %(limit)s"
    return _refreshed(connection, query, {"media_type": media_type, "limit": limit})


def promoted(connection: Connection, media_type: MediaType, since: datetime) -> list[Refreshed]:
    """Return the promoted refreshes of a media type since a moment, or else the last one; newest first."""
    query = f"""
        with promoted as ({_REFRESHES} and stage = 'promoted')
        select * from promoted
         where begun_on >= %(since)s or number = (select max(number) from promoted)
         order by number desc
    """  # noqa: S608 - a literal of this module
    return _refreshed(connection, query, {"media_type": media_type, "since": since})


def _refreshed(connection: Connection, query: str, values: dict[str, Any]) -> list[Refreshed]:
    found = []
    for row in rows(connection, query, {**values, "staging": STAGING_SEARCH}):
        before = row.pop("documents")
        found.append(Refreshed(**row, documents=numbers(before) if isinstance(before, dict) else None))
    return found
