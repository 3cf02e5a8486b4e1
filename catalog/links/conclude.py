"""What follows from the checks of a survey: outcomes that are not reliable, the estimate, removals."""

from collections.abc import Callable
from datetime import datetime

import msgspec
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.links.judging import Concluded, Losses, judge, store_numbers
from catalog.links.losses import losses, note_accepted, note_left
from catalog.links.plan import Survey
from catalog.links.removal import answering, bring_back, end_overruled, gone, note_checks, remove
from catalog.links.retention import require_kept


def conclude(
    connection: Connection,
    survey: Survey,
    *,
    now: Callable[[], datetime],
    failing: float = 0.5,
    mark: bool = True,
    most_removed: float = 0.1,
    accept: bool = False,
) -> Concluded:
    """Judge the outcomes of a survey, and remove records or bring them back. May be repeated at any time.

    Args:
        connection: Connection to the catalog database, in autocommit.
        survey: The survey; all its links are checked.
        now: The time.
        failing: Share of other records of a host, or of a provider, that may fail without making its gone
            ones unclear.
        mark: Whether records are removed and brought back.
        most_removed: Share of a provider's records that may be removed within a year; if more would be, none
            is, but records are brought back. See `losses`.
        accept: Remove them all the same, if about as many were reported before; needs `mark`.

    Raises:
        Fatal: Links are not planned or checked yet, or their checks are no longer kept.
    """
    require_kept(connection, survey, now())
    query = sql.SQL("select count(*) from link_check where checked_on is null and {of_survey}")
    if unchecked := value(connection, query.format(**survey.names), survey.key):
        raise Fatal(f"{survey}: {unchecked:,} links are not checked; clear the task that checks them.")
    lock = [f"conclude links {survey.media_type} {survey.provider}"]
    connection.execute("select pg_advisory_lock(hashtext(%s))", lock)
    try:
        locked = now()  # checks that have ended while this has waited are not of a time to come
        with connection.transaction():
            judge(connection, survey, failing)
            concluded = store_numbers(connection, survey, locked)
            note_checks(connection, survey, locked)
        looked_at = end_overruled(connection, survey, locked) if mark else []
        found = gone(connection, survey, locked)
        left = losses(connection, survey, concluded, len(found), now=locked, most=most_removed, accept=accept)
        if left.accepted:
            note_accepted(connection, survey, locked)  # a run that is killed then, and goes on, has accepted
        if mark and found and not left.findings:
            removed, left = remove(connection, survey, found, now), Losses(accepted=left.accepted)
            concluded = msgspec.structs.replace(concluded, removed=removed)
        if mark:
            back = bring_back(connection, survey, answering(connection, survey, looked_at, locked), now)
            concluded = msgspec.structs.replace(concluded, back=back)
        note_left(connection, survey, left)
    finally:
        connection.execute("select pg_advisory_unlock(hashtext(%s))", lock)
    return msgspec.structs.replace(concluded, left=left)
