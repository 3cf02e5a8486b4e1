"""Moments as people read them."""

from datetime import UTC, datetime


def utc(moment: datetime) -> datetime:
    """The same moment, to be shown: databases give moments in the time zone of the server."""
    return moment.astimezone(UTC)
