"""The time of checks and removals: the database's, since the clocks of workers may differ by days."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from catalog.core.queries import database_time
from catalog.core.session import Connection


def database_clock(
    connection: Connection, seconds: Callable[[], float] = time.monotonic
) -> Callable[[], datetime]:
    """Return a clock that is set by the database once; each check would be one more statement otherwise.

    Args:
        connection: Connection to the catalog database, in autocommit.
        seconds: A clock that never goes back.
    """
    set_to, set_at = database_time(connection), seconds()
    return lambda: set_to + timedelta(seconds=seconds() - set_at)
