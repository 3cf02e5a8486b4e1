"""For how long hosts are left alone: what they ask for, and what a survey has met itself.

What a host asks for (429, or 503 with Retry-After) holds for all tasks; a host that fails pauses only the
survey that has met it, since others may check files of it that work. Both are stored, so that a task that was
killed or rescheduled does not ask again too early, and does not count from the beginning.
"""

from collections.abc import Callable, Iterator, MutableMapping
from datetime import datetime, timedelta
from typing import LiteralString

import msgspec

from catalog.core.connections import Reconnecting
from catalog.core.session import Connection

LENGTHS = (60.0, 300.0, 600.0, 1200.0, 2400.0, 3600.0)  # seconds, since the last answer
PATIENCE = 9000.0  # seconds of pauses without an answer, after which a host is given up
LONGEST = 86_400.0  # seconds; a host that asks for more is tried again after that
TOO_LONG = timedelta(seconds=LONGEST, hours=1)  # some time for clocks that differ
FORGOTTEN = timedelta(days=1)  # after its end, a pause says nothing about the host any more
ALL = ""  # in place of a survey: all of them keep the pause

Key = tuple[str, str]  # host, and the survey that keeps the pause


class Pause(msgspec.Struct, frozen=True):
    """A pause of a host.

    Attributes:
        until: When it ends.
        number: Pauses since the last answer, with this one.
        seconds: Seconds of all of these.
    """

    until: datetime
    number: int
    seconds: float


class Pauses:
    """Pauses of hosts, of one survey and of all; thread-safe if what keeps them is.

    Args:
        kept: What keeps them: `PauseTable`, or a dictionary.
        survey: Names the survey. No other process changes its own pauses.
        now: The time.
    """

    def __init__(self, kept: MutableMapping[Key, Pause], survey: str, now: Callable[[], datetime]) -> None:
        self._kept, self._survey, self._now = kept, survey, now
        self._own = {host: pause for (host, owner), pause in kept.items() if owner == survey}
        self._asked: set[str] = set()  # hosts with a pause for all that an answer ends

    def own(self) -> dict[str, float]:
        """Return the hosts that this survey has met in trouble → seconds that are left of the pause."""
        return {host: self.rest_of(pause) for host, pause in self._own.items()}

    def remaining(self, host: str) -> float:
        """Return the seconds for which a host is not to be requested; 0 if it may be."""
        return self.remaining_of(host, self._kept.get((host, ALL)))

    def remaining_of(self, host: str, asked: Pause | None) -> float:
        """Do the same, where the pause that the host asks for has just been read; None: there is none."""
        return max(self.rest_of(self._known(host, asked)), self.rest_of(self._get(host, asked=False)))

    def begin(self, host: str, *, asked: bool, least: float = 0.0) -> Pause:
        """Begin a pause, each longer than the one before; one that is not over goes on, or is prolonged.

        Args:
            host: The host.
            asked: Whether the host asks for it, so that it holds for all surveys.
            least: Seconds that it asks for.
        """
        before, now, least = self._get(host, asked), self._now(), min(least, LONGEST)
        if before and before.until > now:
            more = max(0.0, least - self.rest_of(before))
            pause = Pause(before.until + timedelta(seconds=more), before.number, before.seconds + more)
        else:
            number, seconds = (before.number, before.seconds) if before else (0, 0.0)
            length = max(LENGTHS[min(number, len(LENGTHS) - 1)], least)
            pause = Pause(now + timedelta(seconds=length), number + 1, seconds + length)
        if asked:
            self._asked.add(host)
        else:
            self._own[host] = pause
        self._kept[host, ALL if asked else self._survey] = pause
        return pause

    def answered(self, host: str) -> None:
        """Forget the pauses of a host, except one that has begun since the request was sent."""
        if self._own.pop(host, None):
            self._kept.pop((host, self._survey), None)
        if host in self._asked and not self.rest_of(self._get(host, asked=True)):
            self._kept.pop((host, ALL), None)
            self._asked.discard(host)

    def rest_of(self, pause: Pause | None) -> float:
        """Return the seconds that are left of a pause."""
        pause = self._unless_forgotten(pause)
        return max(0.0, (pause.until - self._now()).total_seconds()) if pause else 0.0

    def _get(self, host: str, asked: bool) -> Pause | None:
        if asked:
            return self._known(host, self._kept.get((host, ALL)))
        return self._unless_forgotten(self._own.get(host))

    def _known(self, host: str, pause: Pause | None) -> Pause | None:
        """Remember that a host has asked for a pause."""
        if pause := self._unless_forgotten(pause):
            self._asked.add(host)
        return pause

    def _unless_forgotten(self, pause: Pause | None) -> Pause | None:
        """Return a pause; None if it has long ended, or ends so late that a clock was wrong when it began."""
        now = self._now()
        return pause if pause and now - FORGOTTEN <= pause.until <= now + TOO_LONG else None


class PauseTable(MutableMapping[Key, Pause]):
    """The pauses in the table `link_pause` that concern a survey.

    Args:
        connect: Returns a connection in autocommit, which threads may share.
        survey: Names the survey.
    """

    def __init__(self, connect: Callable[[], Connection], survey: str) -> None:
        self._connection, self._survey = Reconnecting(connect), survey  # all statements may be repeated

    def __getitem__(self, key: Key) -> Pause:
        query: LiteralString = (
            "select paused_until, number, seconds from link_pause where host = %s and survey = %s"
        )
        row = self._connection.execute(query, [*key]).fetchone()
        if row is None:
            raise KeyError(key)
        return Pause(*row)

    def __setitem__(self, key: Key, pause: Pause) -> None:
        # Of two tasks that a host answers at the same time, the longer pause counts, unless it is no pause.
        self._connection.execute(
            """
            insert into link_pause as p (host, survey, paused_until, number, seconds)
            values (%s, %s, %s, %s, %s)
            on conflict (host, survey) do update
               set paused_until = case when p.paused_until <= excluded.paused_until + %s
                                       then greatest(p.paused_until, excluded.paused_until)
                                       else excluded.paused_until end,
                   number = excluded.number, seconds = excluded.seconds
            """,
            [*key, pause.until, pause.number, pause.seconds, TOO_LONG],
        )

    def __delitem__(self, key: Key) -> None:
        self._connection.execute("delete from link_pause where host = %s and survey = %s", [*key])

    def __iter__(self) -> Iterator[Key]:
        query: LiteralString = "select host, survey from link_pause where survey = %s"
        return iter([(host, survey) for host, survey in self._connection.execute(query, [self._survey])])

    def __len__(self) -> int:
        return sum(1 for _ in self)
