"""Whether an index still has the documents that it had when it was counted."""

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.refresh import Counted
from catalog.data_refresh.search.indexes import Indexes
from catalog.data_refresh.search.moderation import number_deleted


def difference(
    engine: Indexes, api: Connection, media_type: MediaType, name: str, before: Counted
) -> tuple[int, str] | None:
    """Count the documents of an index again, and compare the number with the recorded one.

    Args:
        engine: Operations on indexes.
        api: Connection to the API database.
        media_type: Media type of the documents.
        name: Name of the index.
        before: The recorded number.

    Returns:
        How many documents are missing, less those that moderators have deleted since, or too many if the
        number is negative, and a sentence about it. None if neither is so.
    """
    engine.refresh(name)
    found = engine.count(name)
    deleted = number_deleted(api, media_type, before.since)
    if before.documents - deleted <= found <= before.documents:
        return None
    missing = before.documents - found
    moderated = f"; moderators have deleted {deleted:,} since" if deleted and missing > 0 else ""
    said = f"{name} holds {found:,} documents, but {before.documents:,} when it was counted{moderated}"
    return missing - deleted if missing > 0 else missing, said
