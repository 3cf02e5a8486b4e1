"""The history of data refreshes, as the catalog database has it."""

from datetime import datetime
from typing import Any

import msgspec
from psycopg import sql

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.core.settings import STAGING_SEARCH
from catalog.monitoring.rows import numbers, rows, statement


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


def refreshes(connection: Connection, media_type: MediaType, limit: int) -> list[Refreshed]:
    """Return the newest refreshes of production of a media type, newest first."""
    query = sql.SQL("{} order by number desc limit %(limit)s").format(statement("refreshes"))
    return _refreshed(connection, query, {"media_type": media_type, "limit": limit})


def promoted(connection: Connection, media_type: MediaType, since: datetime) -> list[Refreshed]:
    """Return the promoted refreshes of a media type since a moment, or else the last one; newest first."""
    query = sql.SQL("""
        with promoted as ({} and stage = 'promoted')
        select * from promoted
         where begun_on >= %(since)s or number = (select max(number) from promoted)
         order by number desc
    """).format(statement("refreshes"))
    return _refreshed(connection, query, {"media_type": media_type, "since": since})


def unpromoted(connection: Connection, media_type: MediaType) -> Refreshed | None:
    """Return the newest refresh of a media type whose tables are live, if no later one has live indexes.

    Later ones that have failed, or have only made a filtered index from another one, change nothing of that.
    """
    query = sql.SQL("""
        with of_rows as ({} and plan ->> 'table' is distinct from '')
        select * from of_rows
         where stage in ('tables', 'promoted')
         order by number desc
         limit 1
    """).format(statement("refreshes"))
    found = _refreshed(connection, query, {"media_type": media_type})
    return next((refresh for refresh in found if refresh.stage == "tables"), None)


def _refreshed(connection: Connection, query: sql.Composed, values: dict[str, Any]) -> list[Refreshed]:
    found = []
    for row in rows(connection, query, {**values, "staging": STAGING_SEARCH}):
        before = row.pop("documents")
        found.append(Refreshed(**row, documents=numbers(before) if isinstance(before, dict) else None))
    return found
