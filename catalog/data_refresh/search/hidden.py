"""Whether another filtered index would show what the one behind its alias hides."""

from catalog.core import loss_limits
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.mapping import TERMS
from catalog.database.refusals import Finding


def revealed(engine: Indexes, alias: str, live: str, before: int, index: str, now: int) -> list[Finding]:
    """Return a finding if a filtered index was made with another list of terms and hides far fewer documents.

    By the same list, fewer are hidden because their texts have changed, or because they are gone.

    Args:
        engine: Operations on indexes.
        alias: Name of the alias.
        live: The filtered index behind it, or the alias itself.
        before: Number of sensitive documents that the alias hides.
        index: The other index.
        now: Number of those that it hides.
    """
    if not loss_limits.hides_too_few(before, now):
        return []
    terms, others = (engine.meta(name).get(TERMS) for name in (live, index))
    if terms and terms == others:  # earlier releases did not note them
        return []
    numbers = f"{now:,} instead of {before:,} that are hidden now, so the list of terms may be a wrong one"
    unknown = "" if terms else f", as {live} does not tell by which list it was made"
    # What was reported of one list is not accepted of another.
    text = f"documents that {alias} hides as sensitive: {numbers}{unknown}"
    return [Finding(str(others), before, now, text)]
