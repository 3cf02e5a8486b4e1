"""Decisions of moderators, as the API's database has them: since when they count, and about which records.

A decision has the time of the API's clock. A time more than a day to come was written by a clock that was
wrong, and does not tell when the decision was made: it is not made since some moment, which it would be for
years. Less than a day may be a wrong time zone.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from psycopg import sql

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.moderation.tables import Decision, moderated_name

# The time since which moderation counts for an index that may lack any decision.
EVER = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)  # of the database's clock, up to which the time of a decision may be right
PLAUSIBLE = sql.SQL("created_on < now() + {}").format(AHEAD)
MARGIN = timedelta(hours=1)
BATCH = 2_000  # decisions


def made_since(moment: datetime) -> sql.Composable:
    """Return the condition that a decision was made at a moment or later, as far as its time tells.

    Args:
        moment: The moment; EVER for all decisions, whatever their time is.
    """
    if moment == EVER:
        return sql.SQL("true")
    return sql.SQL("(created_on >= {} and {})").format(moment, PLAUSIBLE)


def moderation_moment(api: Connection) -> datetime:
    """Return the time from which decisions count; it is recorded once, before the first row is copied.

    It is the start of the oldest visible transaction, by the database's clock, minus one hour. A decision has
    the time of the application's clock, which may be wrong, and becomes visible when its transaction commits,
    which may be much later.
    """
    moment: datetime = value(
        api,
        "select least(clock_timestamp(), min(xact_start)) - %s from pg_stat_activity "
        "where datname = current_database()",
        [MARGIN],
    )
    return moment


def decided(
    api: Connection, kind: Decision, media_type: MediaType, since: datetime = EVER
) -> Iterator[list[str]]:
    """Yield batches of identifiers of records that moderators have deleted, or marked as mature.

    Args:
        api: Connection to the API database.
        kind: Kind of the decision.
        media_type: Media type of the records.
        since: Result of `moderation_moment`; see `made_since`.
    """
    query = sql.SQL(
        "select identifier from {} where {} and (%s::uuid is null or identifier > %s) "
        "order by identifier limit %s"
    ).format(sql.Identifier("public", moderated_name(kind, media_type)), made_since(since))
    last = None
    while batch := [row[0] for row in api.execute(query, [last, last, BATCH])]:
        yield [str(key) for key in batch]
        last = batch[-1]


def all_decided(
    api: Connection, kinds: Sequence[Decision], since: datetime = EVER
) -> dict[MediaType, frozenset[str]]:
    """Return the identifiers of the records about which moderators have decided, by media type.

    Args:
        api: Connection to the API database, in autocommit.
        kinds: Kinds of decisions.
        since: Only decisions that were made since then; see `made_since`.
    """
    return {
        media_type: frozenset(
            key for kind in kinds for keys in decided(api, kind, media_type, since) for key in keys
        )
        for media_type in MEDIA_TYPES
    }


def number_deleted(api: Connection, media_type: MediaType, since: datetime) -> int:
    """Return how many records moderators have deleted; see `decided`."""
    table = sql.Identifier("public", moderated_name("deleted", media_type))
    return int(value(api, sql.SQL("select count(*) from {} where {}").format(table, made_since(since))))
