"""Time windows of runs, and slices of busy days. Windows are half-open, [start, end), in UTC."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import msgspec

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FIRST_DAY = date(1970, 1, 1)  # that can be pulled; some APIs count time from it


class Window(msgspec.Struct, frozen=True, order=True):
    """The time [start, end) in UTC."""

    start: datetime
    end: datetime

    @property
    def day(self) -> date:
        return self.start.date()

    def __str__(self) -> str:
        """`2024-02-10` for a whole day, `2024-02-10T05:00-2024-02-10T05:05` otherwise."""
        if self == day_window(self.day):
            return f"{self.day}"
        return f"{self.start:%Y-%m-%dT%H:%M}-{self.end:%Y-%m-%dT%H:%M}"

    def divide(self, parts: int) -> list["Window"]:
        """Divide the window into equal parts.

        Raises:
            ValueError: The parts would not be whole seconds.
        """
        span, rest = divmod((self.end - self.start) // timedelta(seconds=1), parts)
        if rest:
            raise ValueError(f"{self} does not divide into {parts} equal parts of whole seconds")
        step = timedelta(seconds=span)
        return [Window(self.start + step * n, self.start + step * (n + 1)) for n in range(parts)]


def day_window(day: date) -> Window:
    """Return the window of a UTC day."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return Window(start, start + DAY)


def run_window(
    run_after: datetime,
    day: date | None = None,
    interval: tuple[datetime | None, datetime | None] = (None, None),
    days_back: int = 0,
) -> Window:
    """Return the window of a run: its day, else its interval, else the last full UTC day before it.

    Args:
        run_after: When the run is due.
        day: The day in the run's conf.
        interval: The data interval of the run; ignored if empty, as with a trigger timetable.
        days_back: Shift into the past, in days, for a reingestion.
    """
    start, end = interval
    if day is not None:
        window = day_window(day)
    elif start is not None and end is not None and start < end:
        window = Window(start.astimezone(UTC), end.astimezone(UTC))
    else:
        window = day_window(run_after.astimezone(UTC).date() - DAY)
    return Window(window.start - DAY * days_back, window.end - DAY * days_back)


class Slicing(msgspec.Struct, frozen=True):
    """Divides a day into slices that are small enough for an API.

    A day with fewer than `max_records` records is one slice. Otherwise the records of each hour are counted:
    below `max_records`, the hour is one slice; below `division_threshold`, it is divided into
    `min_divisions`, else into `max_divisions`. A count of 0 may be a temporary error, so such a slice is
    there, too: its page confirms it.
    """

    max_records: int
    division_threshold: int
    min_divisions: int = 4
    max_divisions: int = 12

    def slices(self, window: Window, count: Callable[[Window], int]) -> list[Window]:
        """Return the slices of a window, in order; `count` requests the total of a window."""
        if count(window) < self.max_records:
            return [window]
        windows: list[Window] = []
        for hour in window.divide(max(1, (window.end - window.start) // HOUR)):
            records = count(hour)
            if records < self.max_records:
                windows.append(hour)
            else:
                few = records < self.division_threshold
                windows += hour.divide(self.min_divisions if few else self.max_divisions)
        return windows


def narrowed(window: Window, count: Callable[[Window], int], most: int) -> list[Window]:
    """Halve a window until no part holds more records than an API shows.

    Args:
        window: The window to divide.
        count: Requests the total of a window.
        most: Records that the API shows of one search.

    Returns:
        The parts, in order, also those that hold no records by their count, which may be a temporary error.
        A part of one second may still hold more than `most`.
    """
    if count(window) <= most or window.end - window.start < 2 * SECOND:
        return [window]
    middle = window.start + (window.end - window.start) // SECOND // 2 * SECOND
    halves = Window(window.start, middle), Window(middle, window.end)
    return [part for half in halves for part in narrowed(half, count, most)]


def day_lists(*steps: tuple[int, int]) -> list[list[int]]:
    """Return lists of days to go back in a reingestion: [0], then one for each (step, count).

    >>> day_lists((2, 3), (3, 2), (4, 4))
    [[0], [2, 4, 6], [9, 12], [16, 20, 24, 28]]
    """
    lists, last = [[0]], 0
    for step, count in steps:
        if count:
            lists.append([last + step * n for n in range(1, count + 1)])
            last = lists[-1][-1]
    return lists
