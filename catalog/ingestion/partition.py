"""Rounds that divide a collection by a list of values or by time, and what is in none of them.

A value that the API renames, or does not have on our list, finds nothing, which looks like a part without
records; so does a part whose count is wrong. So at the end of a pull the parts are compared with a count of
the whole.
"""

from catalog.ingestion.completeness import DRIFT


def uncovered(parts: int, whole: int, divided_by: str, tolerance: float = DRIFT) -> str | None:
    """Describe what the parts of a collection lack; return None if they hold everything.

    Args:
        parts: Items in all parts together; an item that is in two counts twice.
        whole: Items in the collection, counted without the value that divides it.
        divided_by: The value, for the message, such as "hash".
        tolerance: Share of the collection that may be missing, because it changes while it is read.
    """
    if parts >= whole * (1 - tolerance):
        return None
    return f"the parts by {divided_by} hold {parts:,} items, the collection {whole:,}"
