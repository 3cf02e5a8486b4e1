"""Whether an index still has the documents that it had when it was counted."""

from datetime import datetime
from typing import NamedTuple

from catalog.core.media import MediaType
from catalog.core.session import Connection
from catalog.data_refresh.search.indexes import Indexes
from catalog.moderation.decisions import EVER, number_deleted


class Recount(NamedTuple):
    """The documents of an index, counted again.

    Attributes:
        name: Name of the index.
        found: Their number.
        counted: The recorded number.
        deleted: How many records moderators have deleted since; their documents may be missing.
    """

    name: str
    found: int
    counted: int
    deleted: int

    @property
    def explained(self) -> bool:
        """Whether no more documents are missing than moderators have deleted, and there are not too many."""
        return self.counted - self.deleted <= self.found <= self.counted

    @property
    def missing(self) -> int:
        """How many are missing, less those that moderators have deleted; negative if there are too many."""
        missing = self.counted - self.found
        return missing - self.deleted if missing > 0 else missing

    @property
    def text(self) -> str:
        """A sentence about the two numbers."""
        missing = self.found < self.counted
        moderated = f"; moderators have deleted {self.deleted:,} since" if self.deleted and missing else ""
        return (
            f"{self.name} holds {self.found:,} documents, but {self.counted:,} when it was counted{moderated}"
        )


def recount(
    engine: Indexes, api: Connection, media_type: MediaType, name: str, counted: int, since: datetime | None
) -> Recount:
    """Count the documents of an index again.

    Args:
        engine: Operations on indexes.
        api: Connection to the API database.
        media_type: Media type of the documents.
        name: Name of the index, or an alias of one index.
        counted: The recorded number.
        since: Time from which moderators may have deleted some of them; None for all decisions.
    """
    engine.refresh(name)
    return Recount(name, engine.count(name), counted, number_deleted(api, media_type, since or EVER))
