"""What `record` of a provider returns, as the kind that a test expects."""

from typing import TypeVar

from catalog.ingestion.records import Media, RecordResult, Skip

Kind = TypeVar("Kind", bound=Media | Skip)


def record_of(kind: type[Kind], found: RecordResult) -> Kind:
    """Return a result that must be a single one of a kind."""
    assert isinstance(found, kind)
    return found


def records_of(found: RecordResult) -> list[Media | Skip]:
    """Return a result that must be a list."""
    assert isinstance(found, list)
    return found
