"""How many records checks of links have removed; for messages about tables and indexes that shrink."""

from catalog.core.session import Connection
from catalog.data_refresh.refresh import Refresh
from catalog.data_refresh.refresh_history import last_begun

MAX_NAMED = 10  # providers that are named


def removed_by_checks(catalog: Connection, refresh: Refresh) -> str:
    """Return how many records `check_links` has removed since the refresh that is live began; "" for none.

    Args:
        catalog: Connection to the catalog database.
        refresh: The refresh that would make the loss live.
    """
    plan = refresh.plan
    since = last_begun(catalog, plan.media_type, plan.search, before=refresh.number)
    rows = catalog.execute(
        """
        select provider, count(*) from link_removal
         where media_type = %(media)s and ended_on is null
           and removed_on > coalesce(%(since)s, '-infinity'::timestamptz)
         group by 1 order by 2 desc, 1
        """,
        {"media": plan.media_type, "since": since},
    ).fetchall()
    if not rows:
        return ""
    total = sum(number for _, number in rows)
    named = [f"{number:,} of {provider}" for provider, number in rows[:MAX_NAMED]]
    named += [f"{sum(number for _, number in rows[MAX_NAMED:]):,} of others"] if len(rows) > MAX_NAMED else []
    return (
        f"Since the last refresh, check_links has removed {total:,} records whose files are gone "
        f"({', '.join(named)}); the table link_removal of the catalog has them."
    )
