"""Popularity metrics and constants."""

from collections.abc import Iterable
from typing import Any

import msgspec
from psycopg import sql

from catalog.core.media import SHOWN
from catalog.core.session import Connection
from catalog.monitoring.rows import rows
from catalog.monitoring.sources import Source


class Popularity(msgspec.Struct, frozen=True):
    """The metric of a provider.

    Attributes:
        media_type: Media type.
        provider: Name of the provider in the catalog.
        metric: Key in `meta_data`.
        percentile: Share of records whose value is at most `val`.
        val: Value of the metric at that percentile; None before it is determined.
        constant: Constant of the score; None before it is determined.
        refreshed_constant: Constant with which all records are scored; None while they are not.
    """

    media_type: str
    provider: str
    metric: str | None
    percentile: float | None
    val: float | None
    constant: float | None
    refreshed_constant: float | None

    @property
    def state(self) -> str:
        """`no values yet`, `up to date`, or `due`."""
        if self.constant is None:
            return "no values yet"
        return "up to date" if self.constant == self.refreshed_constant else "due"


def metrics(connection: Connection) -> list[Popularity]:
    """Return the metrics of all providers."""
    found: list[dict[str, Any]] = []
    for media_type in SHOWN:
        query = sql.SQL(
            "select {} as media_type, provider, metric, percentile, val, constant, refreshed_constant "
            "from {} order by provider"
        ).format(sql.Literal(media_type), sql.Identifier("public", f"{media_type}_popularity_metrics"))
        found += rows(connection, query)
    return [Popularity(**row) for row in found]


def of(found: Iterable[Popularity], source: Source) -> Popularity | None:
    """Return the metric of a source; None if it has none."""
    wanted = source.name, source.media_type
    return next((one for one in found if (one.provider, one.media_type) == wanted), None)
