"""What a pull lacks: found at the end of a round, and told at the end of the pull."""

from collections.abc import Sequence

import msgspec

from catalog.core.errors import CatalogError, DetailsAway, NotWhole, SkippedErrors
from catalog.ingestion import completeness
from catalog.ingestion.provider import Provider
from catalog.ingestion.shortfalls import Advice, summary
from catalog.ingestion.state import Gap, Walk


def missing(walk: Walk, provider: Provider) -> str | None:
    """Describe what a round lacks, judged by the announced total; or by its pages, if it is not exact."""
    if walk.announced is not None:
        tolerance, surplus = provider.total_tolerance, provider.total_surplus
        if lacks := completeness.shortfall(walk.read, walk.announced, tolerance, surplus):
            return lacks
        if walk.lost:
            return completeness.items_moved(walk.lost)
        if not (tolerance or surplus):
            return None
    if provider.pages.uniform:
        return completeness.short_page(walk.sizes.largest, walk.sizes.smallest)
    return None


def descriptions(gaps: Sequence[Gap]) -> list[str]:
    """Describe gaps; those that are only items without details together, with their number."""
    pages = [gap.away for gap in gaps if gap.away]
    away = f"the API did not answer for the details of {sum(pages):,} item(s), on {len(pages):,} page(s)"
    if moved := sum(gap.moved for gap in gaps):
        away += f"; moved to other pages, which only a new run reads: {moved:,}"
    return [away][: len(pages)] + [gap.error for gap in gaps if gap.error]


def failure(gaps: Sequence[Gap], provider: str, advice: Advice, *, acceptable: bool) -> CatalogError:
    """Return the error of a pull that reached its end with gaps.

    Args:
        gaps: What is missing and not accepted.
        provider: The provider's name.
        advice: What to do.
        acceptable: A person may accept that the API returned less than it should.
    """
    if not acceptable:
        advice = msgspec.structs.replace(advice, accept="")
    short = any(gap.short for gap in gaps)
    text = summary(descriptions(gaps), provider, short=short, advice=advice)
    if all(gap.away and not gap.error for gap in gaps):
        return DetailsAway(text)
    return NotWhole(text) if short else SkippedErrors(text)
