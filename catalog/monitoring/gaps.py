"""Days of dated providers that no pull covers, although later ones were pulled.

Airflow catches up on no day that it missed (unless CATCHUP_ENABLED is set), and a day whose pull ended before
its first page has no report. The newest whole pull says nothing about such days.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from catalog.core.dates import utc
from catalog.core.session import Connection
from catalog.ingestion.windows import Window
from catalog.monitoring.loads import AHEAD, FELL_SHORT, KEPT, allowed_age
from catalog.monitoring.rows import rows
from catalog.monitoring.sources import Source, columns_of

# What covers time: whole pulls, and those that fell short, which are reported themselves. A whole pull
# without a window covers all before it. `since` bounds what is read; a gap may begin where the last whole
# pull before it ends.
_COVERED = f"""
    select coalesce(window_start, '-infinity') as start, fresh_on as until from whole_pull w
     where w.provider = s.provider and w.media_type = s.media_type
       and fresh_on > %(since)s and fresh_on <= %(until)s
       and (window_start is null or window_start < window_end)
    union all
    (select coalesce(window_start, '-infinity'), fresh_on from whole_pull w
      where w.provider = s.provider and w.media_type = s.media_type and fresh_on <= %(since)s
        and (window_start is null or window_start < window_end)
      order by fresh_on desc limit 1)
    union all
    select window_start, window_end from ingestion_report i
     where i.provider = s.provider and i.media_type = s.media_type
       and finished_on >= %(since)s and window_end <= %(until)s
       and window_start < window_end and {FELL_SHORT}
"""  # noqa: S608 - literals of this module and its neighbor
# In the year before a gap, the schedule was on: one of its runs pulled a window whole, soon after its end.
# The DAG may have had another name. No run had to pull the days before the first such run: a catch-up or a
# reingestion pulls the past in any order, people pull single days. No `exists`, whose order PostgreSQL
# ignores: mostly, the run just before the gap is such a run.
_BEGUN = r"""
    select true from whole_pull w
     where w.provider = s.provider and w.media_type = s.media_type and fresh_on <= g.start
       and fresh_on > g.start - interval '1 year'
       and w.dag_id not like '%%\_reingestion\_workflow'
       and run_id like 'scheduled\_\_%%' and finished_on <= window_end + s.allowed
     order by fresh_on desc limit 1
"""


def gaps(connection: Connection, wanted: Sequence[Source], now: datetime) -> dict[Source, list[Window]]:
    """Return the times between pulled windows that no pull covers, oldest first.

    Only dated sources have such times. A gap is looked at for a month after its end. It begins to count when
    its first day would make the source late, so that a run that takes its time, or is tried again, is none.

    Args:
        connection: Connection to the catalog database.
        wanted: The sources.
        now: The current time.
    """
    dated = [source for source in wanted if source.declaration.dated]
    query = f"""
        select s.n, g.start, g.until
          from unnest(%(names)s::text[], %(types)s::text[], %(allowed)s::interval[])
               with ordinality s (provider, media_type, allowed, n)
         cross join lateral (
             select max(until) over (order by start, until rows between unbounded preceding and 1 preceding)
                        as start, start as until
               from ({_COVERED}) c
         ) g
         where g.start < g.until and g.start < %(now)s - s.allowed and ({_BEGUN})
         order by s.n, g.start
    """  # noqa: S608 - literals of this module
    names, types = columns_of(dated)
    values = {
        "names": names,
        "types": types,
        "allowed": [allowed_age(source.declaration) for source in dated],
        "since": now - KEPT,
        "until": now + timedelta(days=AHEAD),
        "now": now,
    }
    found: dict[Source, list[Window]] = {}
    for row in rows(connection, query, values):
        found.setdefault(dated[row["n"] - 1], []).append(Window(utc(row["start"]), utc(row["until"])))
    return found
