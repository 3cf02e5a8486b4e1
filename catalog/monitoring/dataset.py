"""The newest version of the published dataset, as the catalog database records it.

The storage is not looked at: only the tasks of `publish_dataset` are sure to have access to it.
"""

from datetime import datetime

import msgspec

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.monitoring.rows import rows

DAG_ID = "publish_dataset"  # which runs each month


class Published(msgspec.Struct, frozen=True):
    """A version of the dataset.

    Attributes:
        number: Its number.
        published_on: When it became the newest one.
        root: The folder of all versions.
        records: Media type → number of records.
        files: Number of data files.
        bytes: Their size.
        writing: Number of the version that is being written; None if there is none.
    """

    number: int
    published_on: datetime
    root: str
    records: dict[MediaType, int]
    files: int
    bytes: int
    writing: int | None


def newest(connection: Connection) -> Published | None:
    """Return the newest version that was published; None before the first one."""
    found = rows(
        connection,
        """
        select number, published_on, root, summary -> 'rows' as records, (summary ->> 'files')::int as files,
               (summary ->> 'bytes')::bigint as bytes,
               (select max(w.number) from dataset_version w where w.stage = 'writing') as writing
          from dataset_version
         where stage = 'published' and published_on is not null and summary is not null
         order by number desc limit 1
        """,
    )
    if not found:
        return None
    counted = found[0].pop("records")
    records = {media_type: counted[media_type] for media_type in MEDIA_TYPES if media_type in counted}
    return Published(**found[0], records=records)
