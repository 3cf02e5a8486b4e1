"""Geometry of charts that the templates draw as SVG.

A chart library was measured: one sparkline took 12 ms and 30 kB, and a list of providers has thirty.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

MIN_HEIGHT = 1.5  # units of height of a value that is not 0
GAP = 0.2  # share of a bar's width that stays empty


class Part(msgspec.Struct, frozen=True):
    """A value of a bar, as a rectangle.

    Attributes:
        series: Number of the series, from 0; it determines the color.
        y: Its upper edge.
        height: Its height.
    """

    series: int
    y: float
    height: float


class Bar(msgspec.Struct, frozen=True):
    """A bar of stacked values.

    Attributes:
        text: What it says, for its title.
        x: Its left edge.
        width: Its width.
        parts: Its values, from below.
    """

    text: str
    x: float
    width: float
    parts: list[Part]


class Span(msgspec.Struct, frozen=True):
    """A span of time, in percent of a longer one."""

    start: float
    width: float


def bars(rows: Sequence[tuple[str, Sequence[float]]], width: float, height: float) -> list[Bar]:
    """Return the bars of a chart; the highest one fills it.

    Args:
        rows: Text and values of each bar, from left to right.
        width: Width of the chart.
        height: Height of the chart.
    """
    most = max((sum(values) for _, values in rows), default=0) or 1
    step, found = width / max(len(rows), 1), []
    for number, (text, values) in enumerate(rows):
        parts, y = list[Part](), height
        for series, value in enumerate(values):
            if value:
                tall = max(value / most * height, MIN_HEIGHT)
                y = max(y - tall, 0.0)
                parts.append(Part(series, round(y, 2), round(tall, 2)))
        found.append(Bar(text, round(number * step, 2), round(step * (1 - GAP), 2), parts))
    return found


def span(start: datetime, end: datetime, whole_start: datetime, whole_end: datetime) -> Span:
    """Return a span of time within a longer one, at least half a percent wide, so that it is visible."""
    whole = (whole_end - whole_start).total_seconds() or 1.0
    left = min(max((start - whole_start).total_seconds() / whole * 100, 0.0), 99.5)
    width = min(max((end - start).total_seconds() / whole * 100, 0.5), 100.0 - left)
    return Span(round(left, 2), round(width, 2))
