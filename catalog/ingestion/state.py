"""What a pull keeps between its tries, and what it may be asked for."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from catalog.ingestion.pagination import Cursor
from catalog.ingestion.parts import Counts

STATE_VERSION = 1


class Checkpoint(Protocol):
    """Where a pull keeps its state between tries: JSON, one value."""

    def load(self) -> dict[str, Any] | None: ...
    def save(self, state: dict[str, Any]) -> None: ...
    def clear(self) -> None: ...


class MemoryCheckpoint:
    """For runs that need not survive their process, and for tests."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.state = state

    def load(self) -> dict[str, Any] | None:
        return self.state

    def save(self, state: dict[str, Any]) -> None:
        self.state = state

    def clear(self) -> None:
        self.state = None


class Options(msgspec.Struct, frozen=True):
    """What conf and Variables may ask of a pull; see the DAG's parameters for their meaning."""

    limit: int = 0
    initial_query_params: Mapping[str, Any] | None = None
    query_params_list: list[Mapping[str, Any]] | None = None
    additional_query_params: Mapping[str, Any] = {}
    skip_errors: bool = False
    skip_predicates: tuple[str, ...] = ()

    def whole(self) -> bool:
        return not (
            self.limit or self.initial_query_params or self.query_params_list or self.additional_query_params
        )

    def skips(self, error: Exception) -> bool:
        """Is this error one to note and pass over? Predicates are parts of the error's text, case-insensitive."""
        text = repr(error).lower()
        return self.skip_errors or any(p.lower() in text for p in self.skip_predicates)


class State(msgspec.Struct):
    """The checkpoint: rounds of fixed parameters, where in which of them, and what was counted."""

    token: str
    started: datetime
    rounds: list[dict[str, Any]]
    round: int = 0
    cursor: Cursor | None = None
    pages: int = 0
    seconds: float = 0
    skipped_in_a_row: int = 0
    errors: list[dict[str, Any]] = []
    counts: dict[str, Counts] = {}
    version: int = STATE_VERSION

    def written(self) -> int:
        """Rows of all media types."""
        return sum(c.written for c in self.counts.values())
