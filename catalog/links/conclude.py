"""What follows from the checks of a survey: outcomes that are not reliable, the estimate, removals."""

from collections.abc import Callable
from datetime import datetime

import msgspec
from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.queries import value
from catalog.core.session import Connection
from catalog.links.judging import Concluded, judge, store_numbers
from catalog.links.plan import Survey
from catalog.links.removal import change_marks, note_checks
from catalog.links.retention import require_kept


def conclude(
    connection: Connection,
    survey: Survey,
    *,
    now: Callable[[], datetime],
    failing: float = 0.5,
    mark: bool = True,
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
        if mark:
            removed, back = change_marks(connection, survey, locked)
            concluded = msgspec.structs.replace(concluded, removed=removed, back=back)
    finally:
        connection.execute("select pg_advisory_unlock(hashtext(%s))", lock)
    return concluded
