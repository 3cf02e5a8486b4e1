"""Earlier loads of a provider: for comparison with a new load, and to find out which data are fresh.

The view `whole_pull` of the catalog database defines which pulls count as whole.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import dict_row

from catalog.core.dates import utc
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.ingestion.completeness import Outcome

PULLS = 5  # pulls of everything to compare with
WINDOWS = 30  # pulls of a time window to compare with
NEAR = timedelta(days=60)  # windows further apart are not comparable, because catalogs grow


def usual(
    connection: Connection,
    provider: str,
    media_type: MediaType,
    window: tuple[datetime, datetime] | None,
    *,
    excluding: tuple[str, str, int],
) -> list[Outcome]:
    """Return the whole loads that a load is compared with; a replay is compared with real pulls, too.

    Args:
        connection: To the catalog database.
        provider: Its name in the catalog.
        media_type: Media type of the load.
        window: Time window of the load, to compare it with loads of windows nearby. None to compare it with
            loads of everything.
        excluding: DAG id, run id and day shift of the load itself, which an earlier attempt may have made.

    Returns:
        At most 30 loads of windows, the nearest first, or 5 loads of everything, the newest first.
    """
    query = """
        select fetched, inserted + updated + unchanged as kept, skipped_reasons, rejected, window_start,
               finished_on
          from whole_pull
         where provider = %(provider)s and media_type = %(media_type)s
           and (dag_id, run_id, day_shift) is distinct from (%(dag_id)s, %(run_id)s, %(day_shift)s)
           and case when %(start)s::timestamptz is null then window_start is null
                    else window_start between %(start)s - %(near)s and %(start)s + %(near)s end
         order by case when %(start)s::timestamptz is not null
                       then abs(extract(epoch from window_start - %(start)s)) end, finished_on desc
         limit %(most)s
    """
    dag_id, run_id, day_shift = excluding
    values = {
        "provider": provider,
        "media_type": media_type,
        "dag_id": dag_id,
        "run_id": run_id,
        "day_shift": day_shift,
        "start": window[0] if window else None,
        "near": NEAR,
        "most": WINDOWS if window else PULLS,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, values).fetchall()
    return [
        Outcome.of(
            row["fetched"],
            row["kept"],
            row["skipped_reasons"],
            row["rejected"],
            f"{utc(row['window_start'] or row['finished_on']):%Y-%m-%d}",
        )
        for row in rows
    ]


def last_whole(connection: Connection, providers: Sequence[str]) -> datetime | None:
    """Return when the newest whole pull of everything was loaded, or None.

    Args:
        connection: To the catalog database.
        providers: Names in the catalog.
    """
    query = "select max(finished_on) from whole_pull where provider = any(%s) and window_start is null"
    row = connection.execute(query, [list(providers)]).fetchone()
    return row[0] if row else None


def reports_of(connection: Connection, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """Return the rows of `ingestion_report` that a DAG run wrote, ordered by day shift and media type."""
    query = "select * from ingestion_report where dag_id = %s and run_id = %s order by day_shift, media_type"
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, [dag_id, run_id]).fetchall()
