"""Reasons of skips, rejects and cleaned values that the pull and the load give themselves.

Manifests and reports store them, also those of earlier releases.
"""

from collections import Counter
from collections.abc import Mapping

# Skips by the pull.
REPEATED = "page was a repetition"  # of earlier releases
SEEN = "seen before in this pull"
OVER_LIMIT = "over the limit of this run"
OTHER_MEDIA_TYPE = "file of another medium"

# Skips, cleaned values and rejects by the load.
DELETED = "deleted from the catalog"
SUPERSEDED = "superseded by a later pull"
SUPPRESSED = "left unchanged by a trigger or rule of the table"
ALTERED = "changed back by a trigger of the table"  # a cleaned value
URL_TAKEN = "URL belongs to another record"  # a reject
URL_TAKEN_HINT = (
    "Each of these items has the URL of another record and is rejected until that record has another URL. "
    "The load's rejects name that record (`belongs_to`). If the provider no longer lists it, it is the same "
    "record under its earlier identifier. Do not delete it: the URL of a deleted record stays deleted."
)

OTHER = "other reasons"  # beyond the limit of distinct ones

READ_TWICE = frozenset((OVER_LIMIT, REPEATED, SEEN))  # read again, or only to find the end
LEFT_ALONE = frozenset((DELETED, SUPERSEDED, SUPPRESSED))  # good items that the load does not write
OWN_SKIPS = READ_TWICE | LEFT_ALONE  # skips that say nothing about the API


def added_up(*counts: Mapping[str, int]) -> Counter[str]:
    """Return the numbers by reason of several counts, in their order; some reasons are in more than one."""
    total: Counter[str] = Counter()
    for numbers in counts:
        total.update(numbers)
    return total
