"""A snapshot of the catalog that all sessions of a copy share, so that no row is missed or read twice.

A row that is updated moves to another page. Sessions that read different pages at different moments might
therefore miss it, or copy it twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from catalog.core.session import Connection
from catalog.data_refresh.tables import progress
from catalog.database.snapshots import snapshot


@contextmanager
def shared_snapshot(upstream: Connection, api: Connection, table: str) -> Iterator[str]:
    """Read the catalog in the snapshot of another session of the copy, or in a new one if none is left.

    Args:
        upstream: Connection to the catalog database, in autocommit.
        api: Connection to the API database, in autocommit.
        table: Name of the live table.

    Yields:
        What the snapshot contains. Sessions for which this is the same see the same rows.
    """
    with snapshot(upstream, progress.snapshots(api, table)) as found:
        progress.add_snapshot(api, table, found.exported)
        yield found.contents
