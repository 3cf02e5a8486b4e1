"""Records are removed whose file is gone for good, and brought back when it answers.

A record is removed when its file was gone in three checks over at least four weeks, each at least five days
after the one before, and has not answered since the first of them. It comes back when its file answers in two
checks at least five days apart, and was not gone between them. Both look at all checks of the record, not
only at those of the run, so that concluding an old run again acts on nothing that newer checks overrule.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, LiteralString

from psycopg import sql
from psycopg.rows import dict_row

from catalog.core.media import MediaType
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.database.suppression import suppressors
from catalog.links.plan import SUSPECT_FOR, Survey
from catalog.loading.columns import same_file
from catalog.loading.load import lock_provider

log = logging.getLogger(__name__)
PERIOD = timedelta(weeks=4)  # between the first and the last of the checks in which the file was gone
# Between two checks of which both count. A week would be too much: one run begins earlier than another.
APART = timedelta(days=5)
ANSWERS, MOVED = "the file answers", "its URL was changed in the catalog"  # why a record is brought back
_CONSTANTS = {"period": PERIOD, "apart": APART, "answers": ANSWERS, "moved": MOVED}
# Open removals that a sample compares with their records, besides those that it has checked.
LOOKED_AT = 20_000
_SAME_FILE = same_file(sql.Identifier("m", "url"), sql.Identifier("r", "url"))


def gone(connection: Connection, survey: Survey, now: datetime) -> list[dict[str, Any]]:
    """Return the records of a survey that have been gone for long enough, and are not removed."""
    query = _gone(survey, survey.statement("found_gone"))
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, {**survey.key, **_CONSTANTS, "now": now}).fetchall()


def count_gone(connection: Connection, survey: Survey, now: datetime, *, of_slice: bool = False) -> int:
    """Return the number of such records of the provider, whichever run has found them to be gone.

    Args:
        connection: Connection to the catalog database.
        survey: The survey, which is judged.
        now: The time.
        of_slice: Only those that the survey has checked, which are all records of its slice.
    """
    own = "identifier in (select identifier from link_check where {of_survey})"
    among = sql.SQL(own if of_slice else "true").format(**survey.names)
    query = sql.SQL("select count(*) from ({}) gone").format(
        _gone(survey, survey.statement("found_gone_by_any", among=among))
    )
    values = {**survey.key, **_CONSTANTS, "now": now, "since": now - SUSPECT_FOR}
    return int(value(connection, query, values))


def remove(
    connection: Connection, survey: Survey, found: list[dict[str, Any]], now: Callable[[], datetime]
) -> int:
    """Mark records that are gone, and return their number. May be repeated at any time.

    Args:
        connection: Connection to the catalog database, in autocommit.
        survey: The survey, which is judged.
        found: What `gone` has returned.
        now: The time.
    """
    statement = survey.statement("remove", evidence=survey.statement("evidence"))
    return _mark_each(connection, survey, found, statement, now, "are gone are not marked")


def answering(
    connection: Connection, survey: Survey, looked_at: list[int], now: datetime
) -> list[dict[str, Any]]:
    """Return the records that answer, if that is newer than the removal.

    One answer may be a placeholder, or a page of a host that is under repair. A record whose URL was changed
    in the catalog comes back, too: of the new one nothing is known.

    Args:
        connection: Connection to the catalog database, in autocommit.
        survey: The survey, which is judged.
        looked_at: What `end_overruled` has returned.
        now: The time.
    """
    query = survey.statement("answering", evidence=survey.statement("answers"))
    values = {**survey.key, **_CONSTANTS, "looked_at": looked_at, "now": now}
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, values).fetchall()


def bring_back(
    connection: Connection, survey: Survey, found: list[dict[str, Any]], now: Callable[[], datetime]
) -> int:
    """Remove the mark of records that answer, and return their number. May be repeated at any time.

    Args:
        connection: Connection to the catalog database, in autocommit.
        survey: The survey, which is judged.
        found: What `answering` has returned.
        now: The time.
    """
    statement = survey.statement("bring_back", evidence=survey.statement("answers"))
    return _mark_each(connection, survey, found, statement, now, "answer stay marked")


def note_checks(connection: Connection, survey: Survey, now: datetime) -> None:
    """Note when the files of removed records were checked; see `plan`."""
    connection.execute(
        sql.SQL("""
            update link_removal r set checked_on = c.checked_on
              from (select identifier, checked_on from link_check where {of_survey}) c
             where r.media_type = %(media)s and r.identifier = c.identifier and r.ended_on is null
               and (r.checked_on is null or r.checked_on < c.checked_on or r.checked_on > %(now)s)
        """).format(**survey.names),
        {**survey.key, "now": now},
    )


def _looked_at(connection: Connection, survey: Survey) -> list[int]:
    """Return the numbers of the open removals that a survey looks at: those of records that it has checked.

    A sample looks at some others of its provider, too, those first whose file was not checked for longest:
    only by this, removals of deleted records end.
    """
    query = sql.SQL("""
        select number from link_removal
         where media_type = %(media)s and ended_on is null
           and identifier in (select identifier from link_check where {of_survey})
         union
        (select number from link_removal
          where provider = %(provider)s and media_type = %(media)s and ended_on is null and %(slice)s = 0
          order by checked_on nulls first limit %(most)s)
    """).format(**survey.names)
    rows = connection.execute(query, {**survey.key, "most": LOOKED_AT})
    return [number for (number,) in rows]


def end_overruled(connection: Connection, survey: Survey, now: datetime) -> list[int]:
    """End removals that others have overruled: the record is deleted or not marked.

    The removal of a record that has passed to another provider passes with it, and so does one whose URL has
    another scheme now: a file that is gone is gone by http and by https, until a check says otherwise.

    Returns:
        The numbers of the removals that were looked at.
    """
    looked_at = _looked_at(connection, survey)
    values = {**survey.key, "looked_at": looked_at, "now": now}
    connection.execute(survey.statement("end_overruled"), values)
    connection.execute(
        sql.SQL("""
            update link_removal r
               set provider = m.provider, url = case when {same_file} then m.url else r.url end
              from {table} m
             where r.number = any(%(looked_at)s) and m.identifier = r.identifier
               and (m.provider <> r.provider or m.url <> r.url and {same_file})
        """).format(same_file=_SAME_FILE, **survey.names),
        {"looked_at": looked_at},
    )
    return looked_at


def _gone(survey: Survey, found: sql.Composable) -> sql.Composed:
    return survey.statement("gone", found=found, evidence=survey.statement("evidence"))


def _mark_each(
    connection: Connection,
    survey: Survey,
    found: list[dict[str, Any]],
    statement: sql.Composed,
    now: Callable[[], datetime],
    failure: str,
) -> int:
    """Change the mark of each record while no load of the provider is at work.

    The statements of a load would not see the change, and overwrite it. There is a transaction for each
    record, since two row locks at once could be part of a deadlock. To wait for a load may take hours, in
    which records change and files are checked; so the statement asks once more whether the change is due.

    Args:
        connection: Connection to the catalog database, in autocommit.
        survey: The survey.
        found: The records; what the query has returned of each.
        statement: Changes the mark of a record if that is still due.
        now: The time.
        failure: What files whose record is not changed do, and what that means for the mark.

    Returns:
        The number of records that were changed.
    """
    number = 0
    for record in found:
        with connection.transaction():
            lock_provider(connection, survey.media_type, survey.provider)
            values = {**survey.key, **_CONSTANTS, **record, "now": now()}
            number += connection.execute(statement, values).rowcount
    if unchanged := len(found) - number:
        names = suppressors(connection, survey.media_type, "update")
        changed = "they have changed, or were checked again, meanwhile"
        log.warning(
            "%s: %s of %s records whose files %s: %s.",
            survey,
            f"{unchanged:,}",
            f"{len(found):,}",
            failure,
            f"{names} changes that back, or {changed}" if names else changed,
        )
    return number


def follow_renamed(connection: Connection, known: Iterable[tuple[MediaType, str]]) -> None:
    """Give removals of providers that have no records any more to the provider that their records have now.

    Args:
        connection: Connection to the catalog database, in autocommit.
        known: All media types and providers in the catalog.
    """
    query: LiteralString = "select distinct media_type, provider from link_removal where ended_on is null"
    for media, provider in set(connection.execute(query).fetchall()) - set(known):
        statement = sql.SQL("""
            update link_removal r set provider = m.provider from {table} m
             where r.media_type = %s and r.provider = %s and r.ended_on is null
               and m.identifier = r.identifier and m.provider <> r.provider
        """).format(table=sql.Identifier("public", media))
        connection.execute(statement, [media, provider])
