"""The checks of a survey: those that are planned and not done, then those of controls."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql

from catalog.core.errors import Later
from catalog.core.session import Connection
from catalog.links.answers import Verdict
from catalog.links.pauses import Pauses
from catalog.links.plan import Survey, add_controls
from catalog.links.visits import Link, OnlyPauses, Visits

log = logging.getLogger(__name__)


def check_links(
    connection: Connection,
    survey: Survey,
    check: Callable[[str], Verdict],
    pauses: Pauses,
    *,
    now: Callable[[], datetime],
    progress: Callable[[int, int], object] = lambda done, total: None,
    **options: Any,
) -> None:
    """Check what a survey has planned, or what earlier attempts have left. Each result is stored at once.

    Args:
        connection: To the catalog database, in autocommit.
        survey: The survey, which is planned.
        check: Checks a URL.
        pauses: The pauses of hosts.
        now: The time.
        progress: Called after each check with the number of checks done and planned.
        options: Of `Visits`.

    Raises:
        Interrupted: See `Visits.run`.
        Later: All hosts that are left are paused; another call checks the others.
    """
    done, total = _numbers(connection, survey)

    def save(link: Link, found: Verdict) -> None:
        nonlocal done
        connection.execute(
            """
            update link_check set checked_on = %s, outcome = %s, reason = %s, status = %s, redirect = %s,
                                  size = %s
             where number = %s and checked_on is null
            """,
            [now(), found.outcome, found.reason, found.status, found.redirect, found.size, link.number],
        )
        done += 1
        progress(done, total)

    while True:
        try:
            Visits(check, save, pauses, **options).run(_left(connection, survey))
        except OnlyPauses as error:
            left = total - done
            raise Later(
                f"{survey}: {error}; {left:,} links wait.", now() + timedelta(seconds=error.seconds)
            ) from None
        if not (number := add_controls(connection, survey)):
            break
        log.info("%s: %s controls", survey, f"{number:,}")
        total += number


def _numbers(connection: Connection, survey: Survey) -> tuple[int, int]:
    query = sql.SQL("select count(checked_on), count(*) from link_check where {of_survey}")
    row = connection.execute(query.format(**survey.names), survey.key).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def _left(connection: Connection, survey: Survey) -> list[Link]:
    query = sql.SQL(
        "select number, url, host from link_check where checked_on is null and {of_survey} order by number"
    ).format(**survey.names)
    return [Link(*row) for row in connection.execute(query, survey.key)]
