"""The size of a sample, and the interval that it gives for the share of files that are gone."""

import math
from typing import NamedTuple

Z = 1.959964  # of a normal distribution, for 95 %


class Estimate(NamedTuple):
    """A share with its 95 % interval; all between 0 and 1."""

    share: float
    low: float
    high: float


def sample_size(margin: float) -> int:
    """Return how many records to draw, so that a 95 % interval is at most `margin` to both sides.

    The worst case is a share of one half. The size of the provider does not matter: fewer records would do
    for a small one, whose interval is then narrower than wanted.

    Args:
        margin: Half the width of the interval, as a share: 0.03 for 3 percentage points.

    Raises:
        ValueError: The margin is not between 0 and 0.5.
    """
    if not 0 < margin < 0.5:
        raise ValueError(f"a margin of {margin} is not between 0 and 0.5.")
    return math.ceil(Z * Z * 0.25 / (margin * margin))


def wilson(hits: int, drawn: int) -> Estimate | None:
    """Return the share of hits with its Wilson interval; None without any draw.

    Unlike the usual normal interval, it covers shares near 0 and 1, as most providers have, and is never
    empty: no hit in 1,000 draws means 0 % to 0.4 %.

    Args:
        hits: Records of the sample that are gone.
        drawn: Records of the sample with a clear outcome.
    """
    if drawn == 0:
        return None
    share, weight = hits / drawn, Z * Z / drawn
    center = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / drawn + weight / (4 * drawn)) / (1 + weight)
    # At the ends, rounding would leave a tiny number beside 0 or 1.
    low = max(0.0, center - half) if hits else 0.0
    return Estimate(share, low, min(1.0, center + half) if hits < drawn else 1.0)
