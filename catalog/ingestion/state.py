"""The state that a pull keeps between attempts, and the options of a pull."""

from datetime import datetime
from typing import Protocol

import msgspec

from catalog.core.errors import StopsPull
from catalog.core.jsontypes import JsonObject, Params
from catalog.ingestion.pagination import Cursor
from catalog.ingestion.parts import Counts

STATE_VERSION = 2


class Checkpoint(Protocol):
    """Stores the state of a pull between attempts, as one JSON value."""

    def load(self) -> JsonObject | None: ...
    def save(self, state: JsonObject) -> None: ...
    def clear(self) -> None: ...


class MemoryCheckpoint:
    """A checkpoint for runs that need not survive their process, and for tests."""

    def __init__(self, state: JsonObject | None = None) -> None:
        self.state = state

    def load(self) -> JsonObject | None:
        return self.state

    def save(self, state: JsonObject) -> None:
        self.state = state

    def clear(self) -> None:
        self.state = None


class Options(msgspec.Struct, frozen=True):
    """Options of a pull, from conf and Variables; the DAG's parameters document their meaning."""

    limit: int = 0
    initial_query_params: Params | None = None
    query_params_list: list[Params] | None = None
    additional_query_params: Params = {}
    skip_errors: bool = False
    skip_predicates: tuple[str, ...] = ()
    accept_shortfall: bool = False

    def is_unrestricted(self) -> bool:
        """Return whether the pull covers everything of a provider, or of its window."""
        return self.query_params_list is None and not (
            self.limit or self.initial_query_params or self.additional_query_params
        )

    def skips(self, error: Exception) -> bool:
        """Return whether to skip the page of an error; predicates match parts of its text, in any case."""
        if isinstance(error, StopsPull):
            return False
        text = repr(error).lower()
        return self.skip_errors or any(p.lower() in text for p in self.skip_predicates)


class Round(msgspec.Struct):
    """The pages that share fixed parameters.

    Attributes:
        params: Sent with every request of the round.
        cursor: The first page; None for the beginning of the round.
        single_page: Read only one page.
        rest: Read from `cursor` to the end of the round.
        read: Items before `cursor` that were read in an earlier walk through the round.
        written: Pages [first, end) of this pull that an earlier walk through the round wrote; their items are
            not written again.
    """

    params: JsonObject
    cursor: Cursor | None = None
    single_page: bool = msgspec.field(default=False, name="only")
    rest: bool = False
    read: int = 0
    written: tuple[int, int] | None = None

    def is_complete(self) -> bool:
        """Return whether the end of the round means that all announced items were read."""
        return not self.single_page and (self.cursor is None or self.rest)


class Gap(msgspec.Struct):
    """A gap in a pull that continued: a failed page, the rest of a round, or a round that fell short.

    Attributes:
        again: The round that the next attempt walks to read what is missing.
        error: Describes the gap to people.
        short: The API responded, but with less than it announced: the pull is not whole.
    """

    again: Round
    error: str
    short: bool = False


class Attempt(msgspec.Struct, frozen=True):
    """An attempt, which wrote the pages from `first_page` to the first page of the next attempt."""

    first_page: int
    number: int


class PageSizes(msgspec.Struct, frozen=True):
    """Numbers of items on the pages of a round.

    Attributes:
        largest: Items on the largest page.
        smallest: Items on the smallest page except the last one.
        newest: Items on the page that was read last.
    """

    largest: int = 0
    smallest: int | None = None
    newest: int | None = None

    def after(self, size: int) -> "PageSizes":
        """Return the sizes after one more page of `size` items."""
        inner = [n for n in (self.smallest, self.newest) if n is not None]
        return PageSizes(max(self.largest, size), min(inner, default=None), size)


class State(msgspec.Struct, kw_only=True):
    """The state of a pull: its rounds, its position, and its counts.

    Attributes:
        token: Identifies the pull.
        started: When the pull began.
        rounds: All rounds of the pull.
        attempts: The attempts that wrote pages.
        round: Index of the current round.
        cursor: The next page; None at the beginning of a round.
        read: Items that were read in the current round.
        announced: Lowest and highest total that the API announced for the current round.
        sizes: Sizes of the pages of the current round.
        first_page: Number, within the pull, of the current round's first page.
        failed: A page of the current round was skipped because of an error.
        pages: Number of pages written.
        seconds: Time spent on the pages.
        skipped_in_a_row: Pages that were skipped since the last good one.
        gaps: What is missing.
        accepted: Shortfalls that the run's conf accepts.
        unannounced: Number of finished rounds for which the API announced no total.
        total: Sum of the totals of finished rounds.
        counts: Counts by media type.
        version: Version of this format.
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
    total: int = 0
    counts: dict[str, Counts] = {}
    version: int = STATE_VERSION

    def written(self) -> int:
        """Return the number of rows of all media types."""
        return sum(c.written for c in self.counts.values())

    def fetched(self) -> int:
        """Return the number of items of all media types."""
        return sum(c.fetched for c in self.counts.values())

    def is_sound(self) -> bool:
        """Return whether the state is consistent; it may come from other code or have been edited by hand."""
        sizes = (self.round, self.pages, self.read, self.first_page, self.skipped_in_a_row)
        return min(sizes) >= 0 and self.round <= len(self.rounds) and self.first_page <= self.pages

    def begin_round(self) -> None:
        """Reset the counts of the previous round."""
        current = self.rounds[self.round] if self.round < len(self.rounds) else None
        self.cursor, self.announced, self.first_page, self.failed = None, None, self.pages, False
        self.sizes = PageSizes()
        self.read = current.read if current else 0


def restored(stored: object) -> State:
    """Convert a stored value to a `State`.

    Raises:
        ValueError: The value has another version, or is malformed or inconsistent.
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
