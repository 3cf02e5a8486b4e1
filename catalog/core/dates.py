"""Points in time, as they are shown to people."""

from datetime import UTC, datetime


def utc(moment: datetime) -> datetime:
    """Convert to UTC for display; databases return timestamps in the time zone of the server."""
    return moment.astimezone(UTC)
