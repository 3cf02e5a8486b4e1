"""Whether another filtered index would show what the one behind its alias hides."""

from catalog.core import loss_limits
from catalog.data_refresh.refresh import Hidden
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.mapping import TERMS
from catalog.database.refusals import Finding


def hidden_by(engine: Indexes, index: str, documents: int) -> Hidden:
    """Return what an index that is there hides; earlier releases have not noted the list of terms in it."""
    return Hidden(index, documents, engine.meta(index).get(TERMS) or "")


def revealed(alias: str, before: Hidden, now: Hidden) -> list[Finding]:
    """Return a finding if a filtered index was made with another list of terms and hides far fewer documents.

    By the same list, fewer are hidden because their texts have changed, or because they are gone.

    Args:
        alias: Name of the alias.
        before: What is hidden by the index behind it; if that is lost, what the last one has hidden.
        now: What the other index hides.
    """
    if not loss_limits.hides_too_few(before.documents, now.documents):
        return []
    if before.terms and before.terms == now.terms:
        return []
    numbers = f"{now.documents:,} instead of {before.documents:,} that {before.name} hides"
    unknown = "" if before.terms else f", as {before.name} does not tell by which list it was made"
    text = (
        f"documents that {alias} hides as sensitive: {numbers}, so the list of terms may be a wrong "
        f"one{unknown}"
    )
    # What was reported of one list is not accepted of another.
    return [Finding(now.terms, before.documents, now.documents, text)]
