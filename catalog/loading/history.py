"""Earlier loads of a provider: for comparison with a new load, and to find out which data are fresh.

The view `whole_pull` of the catalog database defines which pulls count as whole.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import msgspec
from psycopg import sql
from psycopg.rows import dict_row

from catalog.core.dates import AHEAD, utc
from catalog.core.loss_limits import tolerable
from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.core.sql_files import read_sql
from catalog.ingestion.completeness import Outcome
from catalog.ingestion.parts import Counts, Manifest
from catalog.ingestion.reasons import READ_TWICE
from catalog.loading.report import LoadKey

PULLS = 100  # pulls of everything to compare with: of eight years, if they are monthly
WINDOWS = 30  # windows to compare with
NEAR = timedelta(days=60)  # windows further apart are not comparable, because catalogs grow
_LATER_LOADS = Path(__file__).parent / "sql/later_loads.sql"


def comparable_loads(
    connection: Connection,
    provider: str,
    media_type: MediaType,
    window: tuple[datetime, datetime] | None,
    *,
    excluding: LoadKey,
    token: str,
) -> list[Outcome]:
    """Return the whole loads that a load is compared with; a replay is compared with real pulls, too.

    If its run was cleared, they include the load of the pull before, whose report it replaces. A window that
    was pulled several times is one window, of which the newest load counts.

    Args:
        connection: Connection to the catalog database.
        provider: Its name in the catalog.
        media_type: Media type of the load.
        window: Time window of the load, to compare it with loads of windows nearby. None to compare it with
            loads of everything.
        excluding: The load itself, which an earlier attempt may have made.
        token: Token of its pull.

    Returns:
        The loads of at most 30 windows, the nearest first, or 100 loads of everything, the newest first.
    """
    query = """
        with comparable as (
            select fetched, inserted + updated + unchanged as kept, skipped_reasons, rejected, window_start,
                   finished_on, accepted and shortfalls <> '[]' as accepted,
                   coalesce((window_start, window_end) = (%(start)s, %(end)s), false) as same,
                   row_number() over (partition by window_start, window_end order by finished_on desc) as n
              from whole_pull
             where provider = %(provider)s and media_type = %(media_type)s
               and unchanged is not null -- an earlier release did not keep it when a report was replaced
               and (dag_id, run_id, day_shift, manifest_token)
                   is distinct from (%(dag_id)s, %(run_id)s, %(day_shift)s, %(token)s)
               and case when %(start)s::timestamptz is null then window_start is null
                        else window_start between %(start)s - %(near)s and %(start)s + %(near)s end
        )
        select * from comparable where n = 1 or window_start is null
         order by case when %(start)s::timestamptz is not null
                       then abs(extract(epoch from window_start - %(start)s)) end, finished_on desc
         limit %(most)s
    """
    values = {
        **msgspec.structs.asdict(excluding),
        "token": token,
        "provider": provider,
        "media_type": media_type,
        "start": window[0] if window else None,
        "end": window[1] if window else None,
        "near": NEAR,
        "most": WINDOWS if window else PULLS,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query, values).fetchall()
    return [_outcome(row, row["window_start"] or row["finished_on"]) for row in rows]


def load_before(
    connection: Connection, provider: str, media_type: MediaType, manifest: Manifest, *, excluding: LoadKey
) -> tuple[Outcome, bool] | None:
    """Return the last load of the same window, or of everything, and whether it fell short.

    Replays, pulls that were limited without falling short, and those that an error ended, do not count.

    Args:
        connection: Connection to the catalog database.
        provider: Its name in the catalog.
        media_type: Media type of the load.
        manifest: Manifest of the pull that is loaded.
        excluding: The load itself, which an earlier attempt may have made.
    """
    query = """
        with before as (
            select dag_id, run_id, day_shift, manifest_token,
                   fetched, inserted + updated + unchanged as kept, skipped_reasons, rejected, finished_on,
                   accepted, true as same, shortfalls <> '[]' as short, announced
              from every_load
             where provider = %(provider)s and media_type = %(media_type)s and not replayed
               and window_start is not distinct from %(start)s and window_end is not distinct from %(end)s
               and (complete and whole or shortfalls <> '[]') and unchanged is not null
               and (dag_id, run_id, day_shift, manifest_token)
                   is distinct from (%(dag_id)s, %(run_id)s, %(day_shift)s, %(token)s)
             order by finished_on desc limit 1
        )
        select *, (select jsonb_object_agg(media_type, jsonb_build_array(fetched, skipped_reasons)
                                           order by finished_on) -- of a pull that was resumed, the last
                     from every_load l
                    where (l.dag_id, l.run_id, l.day_shift, l.manifest_token)
                          = (before.dag_id, before.run_id, before.day_shift, before.manifest_token)) as pull
          from before
    """
    start, end = manifest.window or (None, None)
    values = {
        **msgspec.structs.asdict(excluding),
        "token": manifest.token,
        "provider": provider,
        "media_type": media_type,
        "start": start,
        "end": end,
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query, values).fetchone()
    if row is None:
        return None
    came = {name: items_that_came(fetched, skipped) for name, (fetched, skipped) in row["pull"].items()}
    before = _outcome(row, row["finished_on"])
    return msgspec.structs.replace(before, announced=row["announced"], came=came), row["short"]


def items_that_came(fetched: int, skipped: Mapping[str, int]) -> int:
    """Return how many items a pull has brought; what it read twice counts once."""
    return Outcome.of(fetched, 0, skipped, 0).fetched


def _outcome(row: Mapping[str, Any], when: datetime) -> Outcome:
    return Outcome.of(
        row["fetched"],
        row["kept"],
        row["skipped_reasons"],
        row["rejected"],
        f"{utc(when):%Y-%m-%d}",
        row["accepted"],
        row["same"],
    )


class LaterLoad(msgspec.Struct, frozen=True):
    """A load of a pull that began later than another one.

    Attributes:
        began: When its pull began.
        moment: `last_synced_with_source` of the rows that it has written.
        since: The same of the first load of its complete pull; None if the pull was not complete.
        unwritten: Items that its pull has read and that were not written, such as unchanged ones, if it may
            have read about all records of the other one; else None.
    """

    began: datetime
    moment: datetime
    since: datetime | None
    unwritten: int | None


def later_loads(
    connection: Connection, provider: str, media_type: MediaType, manifest: Manifest
) -> list[LaterLoad]:
    """Return the loads of pulls that began later; usually there is none.

    A later pull counts by its start. What it has written is newer, also if its run was cleared and another
    pull of it was loaded since. A load is not compared with an earlier one of the same pull, nor with
    replays.

    What a later pull has read and left unchanged is newer, too, but no row tells that, because unchanged rows
    are not written. So a whole pull of everything, or of the same time, may have read all records of this
    one, unless it has read fewer than totals may drift while a list is read (of short lists, five records or
    half), or lacks what somebody has accepted: what it has not read may be older than this pull. What a pull
    read twice counts once. `has_read_all` decides with the stored rows.

    Args:
        connection: Connection to the catalog database, in the transaction of the load.
        provider: Its name in the catalog.
        media_type: Media type of the load.
        manifest: Manifest of the pull that is loaded, without times to come.
    """
    start, end = manifest.window or (None, None)
    values = {
        "provider": provider,
        "media_type": media_type,
        "token": manifest.token,
        "began": manifest.started,
        "least": _least(manifest, media_type),
        "read_twice": [*READ_TWICE],
        "start": start,
        "end": end,
        "ahead": AHEAD,
    }
    found = connection.execute(read_sql(_LATER_LOADS), values).fetchall()
    return [
        LaterLoad(began, moment, since, None if unwritten is None else int(unwritten))
        for began, moment, since, unwritten in found
    ]


def has_read_all(later: LaterLoad, manifest: Manifest, media_type: MediaType, written: int) -> bool:
    """Return whether the pull of a later load counts as having read about all records of another pull.

    It has read records of the other one as far as they were written by its load or later, and at most as many
    others as it has left unwritten. So a later pull that lists as many, but other, records does not count if
    it has brought those. It does if the catalog had them before, unchanged: two lists of equal length then
    leave the same numbers and the same rows behind. Only the identifiers of all that a pull has read would
    tell them apart. They are in its parts, which may be gone, and in no table: to mark unchanged rows as
    read would write most of the catalog in each pull.

    Args:
        later: The later load.
        manifest: Manifest of the other pull.
        media_type: Media type of both.
        written: Rows of the other pull whose stored record was written since the later load.
    """
    return later.unwritten is not None and later.unwritten + written >= _least(manifest, media_type)


def _least(manifest: Manifest, media_type: MediaType) -> float:
    """Return how many items a later pull has read at least if it has read about all of this one."""
    counts = manifest.counts.get(media_type, Counts())
    fetched = items_that_came(counts.fetched, counts.skipped)
    return fetched - tolerable(fetched)


def last_whole(connection: Connection, names: Mapping[MediaType, str]) -> datetime | None:
    """Return when the newest whole pull of everything began; None if a media type has none.

    Args:
        connection: Connection to the catalog database.
        names: The provider's name in the catalog, by media type.
    """
    return _whole_in_all(connection, names, "window_start is null")


def fresh_until(connection: Connection, names: Mapping[MediaType, str]) -> datetime | None:
    """Return the moment until which all media types of a provider are whole; None if one never was.

    Args:
        connection: Connection to the catalog database.
        names: The provider's name in the catalog, by media type.
    """
    return _whole_in_all(connection, names, "isfinite(fresh_on)")


def _whole_in_all(
    connection: Connection, names: Mapping[MediaType, str], among: LiteralString
) -> datetime | None:
    """Return the least of the newest moments of all media types of a provider."""
    query = sql.SQL("""
        select min(newest)
          from (select max(fresh_on) as newest from whole_pull
                 where (media_type, provider) in (select * from unnest(%s::text[], %s::text[])) and {among}
                 group by media_type) w
        having count(*) = %s
    """).format(among=sql.SQL(among))
    row = connection.execute(query, [list(names), list(names.values()), len(names)]).fetchone()
    return row[0] if row else None


def reports_of(connection: Connection, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """Return the rows of `ingestion_report` that a DAG run wrote, ordered by day shift and media type."""
    query = "select * from ingestion_report where dag_id = %s and run_id = %s order by day_shift, media_type"
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, [dag_id, run_id]).fetchall()
