"""What follows from the checks of a survey: outcomes that are not trusted, the estimate, removals.

A record is removed when its file was gone in three checks on different days over at least four weeks, and has
not answered since the first of them. It comes back when its file answers after that. Both look at all checks
of the record, not only at those of the run, so that concluding an old run again acts on nothing that newer
checks overrule.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, LiteralString

import msgspec
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.database.suppression import suppressors
from catalog.links.answers import INVALID, LONG_ROBOTS, PRIVATE, ROBOTS, SLOW_ROBOTS
from catalog.links.estimate import Estimate, wilson
from catalog.links.pauses import FORGOTTEN
from catalog.links.plan import Survey
from catalog.links.slots import SLOTS
from catalog.loading.load import lock_provider
from catalog.loading.statements import same_file

log = logging.getLogger(__name__)
CHECKS = 3  # on different days, in which the file was gone
PERIOD = timedelta(weeks=4)  # between the first and the last of them
MIN_CONTROLS = 3  # other records without which nothing is known of a host or provider
SHARED_TARGET = "redirects to what other records redirect to"
HOST_FAILS, PROVIDER_FAILS = "too few controls of its host answer", "its provider fails as a whole"
DISTRUSTED = [SHARED_TARGET, HOST_FAILS, PROVIDER_FAILS]  # such outcomes may hide files that are gone
MAX_DISTRUSTED = 0.05  # share of a sample; with more of them there is no estimate
UNFINISHED_FOR = timedelta(days=60)  # for which checks that were planned and not done are kept
ANSWERS, MOVED = "the file answers", "its URL was changed in the catalog"  # why a record is brought back
_BATCH = 10_000  # rows of a statement
# Open removals that a sample compares with their records, besides those that it has checked.
LOOKED_AT = 20_000
_SAME_FILE = same_file(sql.Identifier("m", "url"), sql.Identifier("r", "url"))
NOT_ASKED = [ROBOTS, SLOW_ROBOTS, LONG_ROBOTS, PRIVATE, INVALID]  # such records say nothing about their host
KEPT = timedelta(days=400)  # for which checks are kept


class Concluded(msgspec.Struct, frozen=True):
    """What a survey found.

    Attributes:
        there: Links of the sample whose file is there.
        gone: Links of the sample whose file is gone.
        unclear: Links of the sample that say neither.
        resized: Files of any purpose whose size is not the stored one.
        estimate: Share of gone ones among the clear ones; None if none is clear, or too many are distrusted.
        removed: Records that were removed by this call.
        back: Records that were brought back by this call.
    """

    there: int
    gone: int
    unclear: int
    resized: int
    estimate: Estimate | None
    removed: int = 0
    back: int = 0


def conclude(
    connection: Connection, survey: Survey, *, now: datetime, failing: float = 0.5, mark: bool = True
) -> Concluded:
    """Judge the outcomes of a survey, and remove records or bring them back. May be repeated at any time.

    Args:
        connection: Connection to the catalog database, in autocommit.
        survey: The survey; all its links are checked.
        now: The time.
        failing: Share of other records of a host, or of a provider, that may fail without making its gone
            ones unclear.
        mark: Whether records are removed and brought back.

    Raises:
        Fatal: Links are not checked yet, or their checks are no longer kept.
    """
    _check_kept(connection, survey, now)
    query = sql.SQL("select count(*) from link_check where checked_on is null and {of_survey}")
    left = connection.execute(query.format(**survey.names), survey.key).fetchone()
    if left and left[0]:
        raise Fatal(f"{survey}: {left[0]:,} links are not checked; clear the task that checks them.")
    lock = [f"conclude links {survey.media_type} {survey.provider}"]
    connection.execute("select pg_advisory_lock(hashtext(%s))", lock)
    try:
        with connection.transaction():
            _distrust(connection, survey, failing)
            concluded = _count(connection, survey, now)
            _note_checks(connection, survey)
        if mark:
            concerned = _concerned(connection, survey)
            _end_stale(connection, survey, concerned, now)
            removed = _remove(connection, survey, now)
            back = _bring_back(connection, survey, concerned, now)
            concluded = msgspec.structs.replace(concluded, removed=removed, back=back)
    finally:
        connection.execute("select pg_advisory_unlock(hashtext(%s))", lock)
    return concluded


def _check_kept(connection: Connection, survey: Survey, now: datetime) -> None:
    """Refuse to judge a survey of which checks may have been deleted; see `forget`."""
    query = sql.SQL("select planned_on, concluded_on is null from link_survey where {of_survey}")
    row = connection.execute(query.format(**survey.names), survey.key).fetchone()
    if row and row[0] < now - (UNFINISHED_FOR if row[1] else KEPT):
        raise Fatal(
            f"{survey}: its checks are of {row[0]:%Y-%m-%d} and no longer kept; nothing is changed. "
            "Trigger a new run."
        )


def _distrust(connection: Connection, survey: Survey, failing: float) -> None:
    """Make outcomes unclear that say less than they seem to, then mark all outcomes as judged."""
    connection.execute(
        sql.SQL("""
        update link_check c set outcome = 'unclear', reason = %(reason)s
         where {of_survey} and outcome = 'there' and redirect is not null and not judged
           and exists (select from link_check other where md5(other.redirect) = md5(c.redirect)
                          and other.redirect = c.redirect and other.url <> c.url)
        """).format(**survey.names),
        {**survey.key, "reason": SHARED_TARGET},
    )
    for reason, group in ((HOST_FAILS, "host"), (PROVIDER_FAILS, "provider")):
        # The controls of a record are other ones of its group that were not chosen because they were gone.
        connection.execute(
            sql.SQL(
                """
                with asked as materialized (
                    select {group}, count(*) as number, count(*) filter (where outcome = 'there') as there
                      from link_check
                     where {of_survey} and purpose <> 'again'
                       and not coalesce(reason = any(%(not_asked)s), false)
                     group by {group}
                )
                update link_check c set outcome = 'unclear', reason = %(reason)s
                 where {of_survey} and outcome = 'gone' and not judged
                   and not exists (
                       select from asked a
                        where a.{group} = c.{group}
                          and a.number - (c.purpose <> 'again')::integer >= %(least)s
                          and a.number - (c.purpose <> 'again')::integer - a.there
                              <= %(failing)s * (a.number - (c.purpose <> 'again')::integer)
                   )
            """
            ).format(group=sql.Identifier(group), **survey.names),
            {
                **survey.key,
                "reason": reason,
                "not_asked": NOT_ASKED,
                "least": MIN_CONTROLS,
                "failing": failing,
            },
        )
    connection.execute(
        sql.SQL("update link_check set judged = true where not judged and {of_survey}").format(
            **survey.names
        ),
        survey.key,
    )


def _count(connection: Connection, survey: Survey, now: datetime) -> Concluded:
    """Store the numbers of a survey, and its estimate."""
    query = sql.SQL("""
        select count(*) filter (where outcome = 'there' and purpose = 'sample'),
               count(*) filter (where outcome = 'gone' and purpose = 'sample'),
               count(*) filter (where outcome = 'unclear' and purpose = 'sample'),
               count(*) filter (where outcome = 'there' and size <> known_size),
               count(*) filter (where outcome = 'unclear' and purpose = 'sample'
                                  and reason = any(%(distrusted)s))
          from link_check where {of_survey}
    """).format(**survey.names)
    row = connection.execute(query, {**survey.key, "distrusted": DISTRUSTED}).fetchone()
    assert row
    there, gone, unclear, resized, distrusted = row
    found = Concluded(there, gone, unclear, resized, _estimate(there, gone, distrusted))
    share, low, high = found.estimate or (None, None, None)
    statement = sql.SQL("""
        update link_survey
           set concluded_on = coalesce(concluded_on, %(now)s), there = %(there)s, gone = %(gone)s,
               unclear = %(unclear)s, resized = %(resized)s, share = %(share)s, low = %(low)s, high = %(high)s
         where {of_survey}
    """).format(**survey.names)
    numbers = {"there": there, "gone": gone, "unclear": unclear, "resized": resized}
    estimated = {"share": share, "low": low, "high": high}
    connection.execute(statement, {**survey.key, **numbers, **estimated, "now": now})
    return found


def _estimate(there: int, gone: int, distrusted: int) -> Estimate | None:
    """Estimate the share of gone files; outcomes that are not trusted may all be of gone ones."""
    links = there + gone + distrusted
    if distrusted > MAX_DISTRUSTED * links:
        return None
    low, high = wilson(gone, links), wilson(gone + distrusted, links)
    return Estimate(low.share, low.low, high.high) if low and high else None


def _note_checks(connection: Connection, survey: Survey) -> None:
    """Note when the files of removed records were checked; see `plan`."""
    connection.execute(
        sql.SQL("""
            update link_removal r set checked_on = c.checked_on
              from (select identifier, checked_on from link_check where {of_survey}) c
             where r.media_type = %(media)s and r.identifier = c.identifier and r.ended_on is null
               and (r.checked_on is null or r.checked_on < c.checked_on)
        """).format(**survey.names),
        survey.key,
    )


def _concerned(connection: Connection, survey: Survey) -> list[int]:
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


def _end_stale(connection: Connection, survey: Survey, concerned: list[int], now: datetime) -> None:
    """End removals that others have overruled: the record is deleted or not marked.

    The removal of a record that has passed to another provider passes with it, and so does one whose URL has
    another scheme now: a file that is gone is gone by http and by https, until a check says otherwise.
    """
    connection.execute(
        sql.SQL("""
            update link_removal r
               set ended_on = %(now)s, ended_by = %(run_id)s,
                   ended_because = case when m.identifier is null then 'the record is deleted'
                                        when m.url <> r.url then 'the record has another URL'
                                        else 'the mark was removed' end
              from link_removal o left join {table} m on m.identifier = o.identifier
             where r.number = any(%(concerned)s) and o.number = any(%(concerned)s) and o.number = r.number
               and r.ended_on is null
               and (m.identifier is null or not m.removed_from_source)
        """).format(**survey.names),
        {**survey.key, "concerned": concerned, "now": now},
    )
    connection.execute(
        sql.SQL("""
            update link_removal r
               set provider = m.provider, url = case when {same_file} then m.url else r.url end
              from {table} m
             where r.number = any(%(concerned)s) and m.identifier = r.identifier
               and (m.provider <> r.provider or m.url <> r.url and {same_file})
        """).format(same_file=_SAME_FILE, **survey.names),
        {"concerned": concerned},
    )


def _remove(connection: Connection, survey: Survey, now: datetime) -> int:
    """Mark the records of a survey that have been gone long enough; return their number."""
    query = sql.SQL(
        """
        select m.identifier, m.url, evidence.first, evidence.last, evidence.checks
          from (select distinct identifier, url from link_check
                 where {of_survey} and outcome = 'gone' and judged) c
          join {table} m on m.identifier = c.identifier and m.url = c.url and not m.removed_from_source
         cross join lateral (
            select greatest(
                (select max(checked_on) from link_check a
                  where a.media_type = %(media)s and a.identifier = c.identifier and a.url = c.url
                    and a.outcome = 'there'),
                (select max(ended_on) from link_removal r
                  where r.media_type = %(media)s and r.identifier = c.identifier)
            ) as since
         ) overruled
         cross join lateral (
            select min(checked_on) as first, max(checked_on) as last, count(*) as checks,
                   count(distinct (checked_on at time zone 'UTC')::date) as days
              from link_check a
             where a.media_type = %(media)s and a.identifier = c.identifier and a.url = c.url
               and a.outcome = 'gone' and a.judged
               and checked_on > coalesce(overruled.since, '-infinity')
         ) evidence
         where evidence.days >= %(least)s and evidence.last - evidence.first >= %(period)s
         order by m.identifier
    """
    ).format(**survey.names)
    found = connection.execute(query, {**survey.key, "least": CHECKS, "period": PERIOD}).fetchall()
    statement = sql.SQL("""
        with marked as (
            update {table} set removed_from_source = true, updated_on = now()
             where identifier = %(identifier)s and url = %(url)s and not removed_from_source
            returning identifier, url, removed_from_source
        )
        insert into link_removal (media_type, provider, identifier, url, first_gone_on, last_gone_on,
                                  checked_on, checks, run_id, removed_on)
        select %(media)s, %(provider)s, identifier, url, %(first)s, %(last)s, %(last)s, %(checks)s,
               %(run_id)s, %(now)s
          from marked where removed_from_source -- a trigger may have taken the mark away
    """).format(**survey.names)
    number = 0
    for identifier, url, first, last, checks in found:
        values = {"identifier": identifier, "url": url, "first": first, "last": last, "checks": checks}
        number += _beside_no_load(connection, survey, statement, {**survey.key, **values, "now": now})
    if left := len(found) - number:
        names = suppressors(connection, survey.media_type, "update")
        log.warning(
            "%s: %s of %s records whose files are gone are not marked: %s.",
            survey,
            f"{left:,}",
            f"{len(found):,}",
            f"{names} changes that back, or they have changed" if names else "they have changed meanwhile",
        )
    return number


def _bring_back(connection: Connection, survey: Survey, concerned: list[int], now: datetime) -> int:
    """Remove the mark of records that answer, if that is newer than the removal; return their number.

    A redirect may lead to a placeholder, so it counts only on a second day. A record whose URL was changed in
    the catalog comes back, too: of the new one nothing is known.
    """
    query = sql.SQL("""
        select r.number, %(moved)s, m.identifier
          from link_removal r
          join {table} m on m.identifier = r.identifier and m.url <> r.url and m.removed_from_source
         where r.number = any(%(concerned)s) and r.ended_on is null and m.provider = %(provider)s
         union all
        select r.number, %(answers)s, m.identifier
          from link_removal r
          join {table} m on m.identifier = r.identifier and m.url = r.url and m.removed_from_source
         cross join lateral (
            select checked_on, outcome, redirect from link_check a
             where a.media_type = r.media_type and a.identifier = r.identifier and a.url = r.url
               and a.judged and a.outcome in ('there', 'gone')
             order by checked_on desc limit 1
         ) newest
         where r.number = any(%(concerned)s) and m.provider = %(provider)s
           and newest.outcome = 'there' and newest.checked_on > r.removed_on
           and (newest.redirect is null or exists (
               select from link_check a
                where a.media_type = r.media_type and a.identifier = r.identifier and a.url = r.url
                  and a.judged and a.outcome = 'there' and a.checked_on > r.removed_on
                  and a.checked_on < newest.checked_on - interval '12 hours'))
         order by identifier
    """).format(**survey.names)
    statement = sql.SQL("""
        with back as (
            update {table} m set removed_from_source = false, updated_on = now()
              from link_removal r
             where r.number = %(number)s and r.ended_on is null
               and m.identifier = r.identifier and m.removed_from_source
            returning m.identifier, m.removed_from_source as still
        )
        update link_removal r set ended_on = %(now)s, ended_by = %(run_id)s, ended_because = %(why)s
          from back where r.number = %(number)s and r.ended_on is null and not back.still
    """).format(**survey.names)
    number = 0
    reasons = {"moved": MOVED, "answers": ANSWERS, "concerned": concerned}
    found = connection.execute(query, {**survey.key, **reasons}).fetchall()
    for removal, why, _ in found:
        values = {**survey.key, "number": removal, "why": why, "now": now}
        number += _beside_no_load(connection, survey, statement, values)
    names = suppressors(connection, survey.media_type, "update") if number < len(found) else ""
    if names:
        log.warning(
            "%s of %s records whose files answer stay marked: %s may keep the mark.",
            f"{len(found) - number:,}",
            f"{len(found):,}",
            names,
        )
    return number


def _beside_no_load(
    connection: Connection, survey: Survey, statement: sql.Composed, values: dict[str, Any]
) -> int:
    """Change the mark of one record while no load of the provider is at work; return the number of rows.

    The statements of a load would not see the change, and overwrite it. There is a transaction for each
    record, since two row locks at once could be part of a deadlock.
    """
    with connection.transaction():
        lock_provider(connection, survey.media_type, survey.provider)
        return connection.execute(statement, values).rowcount


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


def forget(connection: Connection, now: datetime) -> None:
    """Delete what is not needed any more: old checks, slots and pauses of hosts.

    Args:
        connection: Connection to the catalog database, in autocommit.
        now: The time.
    """
    old = "select number from link_check where checked_on < %s limit %s"
    unfinished = """
        select c.number from link_survey s join link_check c using (run_id, media_type, provider, slice)
         where c.checked_on is null and s.planned_on < %s limit %s
    """
    for selected, before in ((old, now - KEPT), (unfinished, now - UNFINISHED_FOR)):
        statement = sql.SQL("delete from link_check where number in ({})").format(sql.SQL(selected))
        while connection.execute(statement, [before, _BATCH]).rowcount:
            pass
    connection.execute("delete from link_pause where paused_until < %s", [now - FORGOTTEN])
    connection.execute(
        "delete from rate_limit where starts_with(key, %s) and next_slot < now() - interval '1 day'", [SLOTS]
    )
