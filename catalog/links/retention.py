"""How long checks are kept, and what is deleted after that."""

from datetime import datetime, timedelta

from psycopg import sql

from catalog.core.errors import Fatal
from catalog.core.session import Connection
from catalog.links.pauses import FORGOTTEN
from catalog.links.plan import Survey
from catalog.links.slots import SLOTS

KEPT = timedelta(days=400)  # for which checks are kept
UNFINISHED_FOR = timedelta(days=60)  # for which checks that were planned and not done are kept
_BATCH = 10_000  # rows of a statement


def require_kept(connection: Connection, survey: Survey, now: datetime) -> None:
    """Refuse to judge a survey that is not planned, or whose checks may be deleted. Raises Fatal."""
    query = sql.SQL("select planned_on, concluded_on is null from link_survey where {of_survey}")
    row = connection.execute(query.format(**survey.names), survey.key).fetchone()
    if row is None:
        raise Fatal(f"{survey}: its links are not checked; clear the task that checks them.")
    if row[0] < now - (UNFINISHED_FOR if row[1] else KEPT):
        raise Fatal(
            f"{survey}: its checks are of {row[0]:%Y-%m-%d} and no longer kept; nothing is changed. "
            "Trigger a new run."
        )


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
