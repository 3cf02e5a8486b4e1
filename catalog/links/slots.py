"""The slots of hosts: when the next request may be sent, and whether a host asks for none."""

import time
from collections.abc import Callable
from typing import LiteralString

from catalog.core.connections import Reconnecting
from catalog.core.session import Connection
from catalog.ingestion.rate import TAKE_SLOT, Rate, take_slot
from catalog.links.pauses import ALL, Pause, Pauses

SLOTS = "links of "  # keys of the rate limits of hosts begin with it
_TAKE: LiteralString = f"""
    with slot as ({TAKE_SLOT})
    select slot.wait, p.paused_until, p.number, p.seconds
      from slot left join link_pause p on p.host = %(host)s and p.survey = %(all)s
"""  # noqa: S608 - constants


class SharedSlots:
    """Slots that all tasks share, through the catalog database; for `Web`. Thread-safe.

    One statement takes the slot and reads the pause, since most requests wait for neither.

    Args:
        connect: Returns a connection in autocommit, which threads may share.
        per_second: Requests per second for a host that asks for no longer pauses.
        pauses: The pauses of hosts.
        sleep: Waits the given number of seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        per_second: float,
        pauses: Pauses,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = Reconnecting(connect)
        self._per_second, self._pauses, self._sleep = per_second, pauses, sleep

    def __call__(self, host: str, least: float) -> float:
        """Wait for the next slot of a host.

        Args:
            host: The host.
            least: Seconds that the host asks to leave between two requests.

        Returns:
            The seconds for which it is not to be requested; 0 if it may be.
        """
        rate = Rate(per_second=min(self._per_second, 1 / least) if least else self._per_second)
        wait, *pause = take_slot(self._connection, f"{SLOTS}{host}", rate, _TAKE, host=host, all=ALL)
        remaining = self._pauses.remaining_of(host, Pause(*pause) if pause[0] else None)
        if remaining > 0 or wait <= 0:
            return remaining
        self._sleep(wait)
        return self._pauses.remaining(host)  # another task may know by now that the host asks to wait
