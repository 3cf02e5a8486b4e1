"""Points in time, as they are shown to people; and those that are not believed."""

from datetime import UTC, datetime, timedelta

AHEAD = timedelta(hours=1)  # a moment that is further ahead of the clock was written by a wrong one


def utc(moment: datetime) -> datetime:
    """Convert to UTC for display; databases return timestamps in the time zone of the server."""
    return moment.astimezone(UTC)
