"""What a pull keeps between its tries, and what it may be asked for."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from catalog.core.errors import StopsPull
from catalog.ingestion.pagination import Cursor
from catalog.ingestion.parts import Counts

STATE_VERSION = 2


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
    accept_shortfall: bool = False

    def whole(self) -> bool:
        """Whether everything of a provider, or of its window, is asked for."""
        return not (
            self.limit or self.initial_query_params or self.query_params_list or self.additional_query_params
        )

    def skips(self, error: Exception) -> bool:
        """Return whether to skip the page of this error. Predicates match parts of its text, in any case."""
        if isinstance(error, StopsPull):
            return False
        text = repr(error).lower()
        return self.skip_errors or any(p.lower() in text for p in self.skip_predicates)


class Round(msgspec.Struct):
    """Fixed parameters whose pages are walked.

    Attributes:
        params: Sent with every page of the round.
        cursor: Where to begin; None for the round's own beginning.
        only: Read one page and no more.
        rest: Read from `cursor` to the round's end.
        read: Items that an earlier walk of the round has read before `cursor`.
        written: Pages [first, end) of this pull that an earlier walk of the round wrote; their items are
            known.
    """

    params: dict[str, Any]
    cursor: Cursor | None = None
    only: bool = False
    rest: bool = False
    read: int = 0
    written: tuple[int, int] | None = None

    def is_complete(self) -> bool:
        """Whether everything that the API announces for it has been read at its end."""
        return not self.only and (self.cursor is None or self.rest)


class Gap(msgspec.Struct):
    """A gap in a pull that continued: a failed page, the rest of a round, or a round that fell short.

    Attributes:
        again: The round to walk when the pull is tried again, to read what is missing.
        error: What happened, to be read by people.
        short: The API answered, but with less than it announced: the pull is not whole.
    """

    again: Round
    error: str
    short: bool = False


class Attempt(msgspec.Struct, frozen=True):
    """Pages from `first_page` on were written by this attempt, up to the next attempt's first page."""

    first_page: int
    number: int


class PageSizes(msgspec.Struct, frozen=True):
    """Items on the pages of a round: on the largest, the smallest that is not the last, and the newest."""

    largest: int = 0
    smallest: int | None = None
    newest: int | None = None

    def after(self, size: int) -> "PageSizes":
        """With one page more."""
        inner = [n for n in (self.smallest, self.newest) if n is not None]
        return PageSizes(max(self.largest, size), min(inner, default=None), size)


class State(msgspec.Struct, kw_only=True):
    """The checkpoint: rounds of fixed parameters, where in which of them, and what was counted.

    Attributes:
        read: Items of the round at hand that the API has given so far.
        announced: Lowest and highest total that the API has announced for the round at hand.
        sizes: Of the pages of the round at hand, where they tell something.
        first_page: Page of the pull with which the round at hand began.
        failed: A page of the round at hand was passed over.
        accepted: Shortfalls that the run's conf accepts.
        unannounced: Rounds that ended without the API having said how many items they hold.
    """

    token: str
    started: datetime
    rounds: list[Round]
    attempts: list[Attempt] = []
    round: int = 0
    cursor: Cursor | None = None
    read: int = 0
    announced: tuple[int, int] | None = None
    sizes: PageSizes = PageSizes()
    first_page: int = 0
    failed: bool = False
    pages: int = 0
    seconds: float = 0
    skipped_in_a_row: int = 0
    gaps: list[Gap] = []
    accepted: list[str] = []
    unannounced: int = 0
    counts: dict[str, Counts] = {}
    version: int = STATE_VERSION

    def written(self) -> int:
        """Rows of all media types."""
        return sum(c.written for c in self.counts.values())

    def fetched(self) -> int:
        """Items of all media types."""
        return sum(c.fetched for c in self.counts.values())

    def is_sound(self) -> bool:
        """Whether a pull can go on from it: a state may come from other code, or have been edited by hand."""
        sizes = (self.round, self.pages, self.read, self.first_page, self.skipped_in_a_row)
        return min(sizes) >= 0 and self.round <= len(self.rounds) and self.first_page <= self.pages

    def begin_round(self) -> None:
        """Forget what was counted for the round before."""
        at_hand = self.rounds[self.round] if self.round < len(self.rounds) else None
        self.cursor, self.announced, self.first_page, self.failed = None, None, self.pages, False
        self.sizes = PageSizes()
        self.read = at_hand.read if at_hand else 0


def restored(stored: object) -> State:
    """A stored state as a `State`.

    Raises:
        ValueError: It is of another version, malformed, or contradicts itself; the text says what is wrong.
    """
    version = stored.get("version") if isinstance(stored, dict) else None
    if version != STATE_VERSION:
        raise ValueError(f"it has version {version!r}, not {STATE_VERSION}")
    try:
        state = msgspec.convert(stored, State)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    if not state.is_sound():
        raise ValueError(f"round {state.round} of {len(state.rounds)} at page {state.pages} cannot be")
    return state
