"""Days of dated providers that no pull covers, although later ones were pulled.

Airflow catches up on no day that it missed (unless CATCHUP_ENABLED is set), and a day whose pull ended before
its first page has no report. The newest whole pull says nothing about such days.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from catalog.core.dates import utc
from catalog.core.session import Connection
from catalog.ingestion.windows import DAY, Window
from catalog.monitoring.loads import AHEAD, FELL_SHORT, KEPT, allowed_age
from catalog.monitoring.rows import rows, statement
from catalog.monitoring.sources import Source, columns_of


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
    for row in rows(connection, statement("gaps", fell_short=FELL_SHORT), values):
        found.setdefault(dated[row["n"] - 1], []).append(Window(utc(row["start"]), utc(row["until"])))
    return found


def days(missed: Iterable[Window]) -> int:
    """Return how many days gaps contain, also those of which only a part is missing."""
    return sum(-((one.start - one.end) // DAY) for one in missed)
