"""The newest estimate of each provider's share of files that are gone."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from catalog.core.session import Connection
from catalog.links.estimate import Estimate
from catalog.monitoring.rows import rows
from catalog.monitoring.sources import Source


class Links(msgspec.Struct, frozen=True):
    """What the newest sample of a source says.

    Attributes:
        checked_on: When it was concluded.
        drawn: Links with a clear outcome.
        unclear: Links without one.
        estimate: Estimated share of files that are gone; None if no outcome is clear, or too many are not
            trusted.
        removed: Records that are removed because their file is gone.
    """

    checked_on: datetime
    drawn: int
    unclear: int
    estimate: Estimate | None
    removed: int


class HeldBack(msgspec.Struct, frozen=True):
    """Records whose files are gone, and that are not removed until somebody accepts it.

    Attributes:
        provider: Name of the provider in the catalog.
        media_type: Media type.
        run_id: Run of `check_links` that has found them.
        conf: The conf of a run that checks them again.
        records: Their number.
    """

    provider: str
    media_type: str
    run_id: str
    conf: dict[str, Any]
    records: int


def held_back(connection: Connection) -> list[HeldBack]:
    """Return what the newest sample, and the newest check of each slice, of each provider have not removed.

    Checks are looked at for a month: only another check of the same slices tells that the files are there, or
    accepts that they are gone. The slices of a run that wait are one decision.
    """
    found = rows(
        connection,
        """
        select provider, media_type, run_id,
               sum(case when slices = 0 then greatest(left_gone, left_due) else left_gone end) as records,
               coalesce(conf, '{}')
               || case when slices = 0 then '{}' else jsonb_build_object(
                      'slices', slices, 'first_slice', min(slice), 'last_slice', max(slice)) end as conf
          from (select distinct on (provider, media_type, slices, slice) *
                  from link_survey
                 where concluded_on is not null and too_many is not null
                   and planned_on between now() - interval '31 days' and now()
                 order by provider, media_type, slices, slice, planned_on desc) newest
         where too_many and left_gone > 0
           and not exists (select from link_survey accepted
                            where accepted.provider = newest.provider
                              and accepted.media_type = newest.media_type
                              and accepted.slices = newest.slices and accepted.slice = newest.slice
                              and accepted.accepted_on > newest.planned_on)
         group by provider, media_type, run_id, slices, conf
         order by provider, media_type, slices, min(slice)
        """,
        {},
    )
    return [HeldBack(**{**row, "records": int(row["records"])}) for row in found]


def newest(connection: Connection, sources: Iterable[Source]) -> dict[Source, Links]:
    """Return the newest estimate of each source; those without a sample that was checked are missing."""
    wanted = {(source.name, source.media_type): source for source in sources}
    found = rows(
        connection,
        """
        select distinct on (provider, media_type) provider, media_type,
               concluded_on as checked_on, there + gone as drawn, unclear, share, low, high,
               (select count(*) from link_removal r where r.provider = s.provider
                   and r.media_type = s.media_type and r.ended_on is null) as removed
          from link_survey s
         where (provider, media_type) in (select * from unnest(%s::text[], %s::text[])) and slices = 0
           and concluded_on is not null and planned_on <= now()
         order by provider, media_type, planned_on desc
        """,
        [[name for name, _ in wanted], [media_type for _, media_type in wanted]],
    )
    return {wanted[row.pop("provider"), row.pop("media_type")]: _links(row) for row in found}


def _links(row: dict[str, Any]) -> Links:
    share, low, high = (row.pop(name) for name in Estimate._fields)
    return Links(**row, estimate=None if share is None else Estimate(share, low, high))
