"""The newest estimate of each provider's share of files that are gone."""

from datetime import datetime

import msgspec

from catalog.core.session import Connection
from catalog.monitoring.loads import Source
from catalog.monitoring.rows import rows


class Links(msgspec.Struct, frozen=True):
    """What the newest sample of a source says.

    Attributes:
        checked_on: When it was concluded.
        drawn: Links with a clear outcome.
        unclear: Links without one.
        share: Estimated share of files that are gone, from 0 to 1; None if no outcome is clear, or too many
            are not trusted.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
        removed: Records that are removed because their file is gone.
    """

    checked_on: datetime
    drawn: int
    unclear: int
    share: float | None
    low: float | None
    high: float | None
    removed: int


def newest(connection: Connection, source: Source) -> Links | None:
    """Return the newest estimate of a source; None if no sample was checked yet."""
    found = rows(
        connection,
        """
        select concluded_on as checked_on, there + gone as drawn, unclear, share, low, high,
               (select count(*) from link_removal r where r.provider = s.provider
                   and r.media_type = s.media_type and r.ended_on is null) as removed
          from link_survey s
         where provider = %s and media_type = %s and slices = 0 and concluded_on is not null
         order by planned_on desc limit 1
        """,
        [source.name, source.media_type],
    )
    return Links(**found[0]) if found else None
