"""The state that a pull keeps between attempts."""

from datetime import datetime
from typing import Protocol

import msgspec

from catalog.core.jsontypes import JsonObject
from catalog.ingestion.pagination import Cursor, Page
from catalog.ingestion.parts import Counts, earliest, in_order
from catalog.ingestion.tally import Passed, most

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


class Rereading(msgspec.Struct, frozen=True):
    """How a round follows a list whose items move forward, because others are deleted while it is read.

    Attributes:
        total: The total that was announced last.
        pages: Pages that are read again because the total fell.
        pages_to_read: Those of them that are still to be read.
        lost: Items that may have moved past the round, because no more pages were read again.
    """

    total: int | None = None
    pages: int = msgspec.field(default=0, name="again")
    pages_to_read: int = msgspec.field(default=0, name="left")
    lost: int = 0

    def fall(self, total: int | None) -> int:
        """Return by how many items the total of a new page is lower than the one before."""
        return 0 if total is None or self.total is None else max(0, self.total - total)

    def after(self, total: int | None) -> "Rereading":
        """Return the state after one more page. One that is read again may come from a cache."""
        known = [n for n in (total, self.total) if n is not None]
        newest = (min(known) if self.pages_to_read else known[0]) if known else None
        return msgspec.structs.replace(self, total=newest, pages_to_read=max(0, self.pages_to_read - 1))

    def rewound(self, pages: int) -> "Rereading":
        """Return the state before pages are read again, besides those that are still to be read."""
        return msgspec.structs.replace(
            self, pages=self.pages + pages, pages_to_read=self.pages_to_read + pages
        )

    def lose(self, items: int) -> "Rereading":
        """Return the state after a fall for which nothing is read again."""
        return msgspec.structs.replace(self, lost=self.lost + items)


class Walk(msgspec.Struct, frozen=True):
    """What was read of a round, also in several steps if pages of it failed.

    Attributes:
        read: Items that were read.
        announced: Lowest and highest total that the API announced in the first step.
        sizes: Sizes of the pages of the first step.
        pages: Pages [first, end) of this pull, one pair for all that follow each other.
        lost: Items that may have moved past the round; see `Rereading`.
        passed: Items that were skipped or rejected.
    """

    read: int
    announced: tuple[int, int] | None
    sizes: PageSizes
    pages: list[tuple[int, int]]
    lost: int = 0
    passed: Passed = {}

    def and_then(self, later: "Walk") -> "Walk":
        """Return both together; totals and sizes are those of the first step that read a page."""
        first, pages = self if self.pages else later, self.pages + later.pages
        if self.pages and later.pages and self.pages[-1][1] == later.pages[0][0]:
            pages = [*self.pages[:-1], (self.pages[-1][0], later.pages[0][1]), *later.pages[1:]]
        lost = self.lost + later.lost
        read, passed = self.read + later.read, later.passed  # of all steps: see `State.begin_step`
        return Walk(read, first.announced, first.sizes, pages, lost, passed)


class Round(msgspec.Struct, omit_defaults=True):
    """The pages that share fixed parameters.

    Attributes:
        params: Sent with every request of the round.
        cursor: The first page; None for the beginning of the round.
        single_page: Read only one page.
        rest: Read from `cursor` to the end of the round.
        part_of: Index of the round to which the page or the rest belongs, because it failed there.
        walk: What was read of the round so far; only while failed pages of it are to be read.
        written: Pages [first, end) of this pull that an earlier walk through the round wrote; their items are
            not written again.
        passed: Items without a record that an earlier walk through the round counted; they count once.
        away: Items for whose details the page is read again.
        page: The page of this pull that listed them first.
    """

    params: JsonObject
    cursor: Cursor | None = None
    single_page: bool = msgspec.field(default=False, name="only")
    rest: bool = False
    part_of: int | None = msgspec.field(default=None, name="of")
    walk: Walk | None = None
    written: tuple[int, int] | None = None
    passed: Passed = {}
    away: int = 0
    page: int = 0

    def is_complete(self) -> bool:
        """Return whether the end of the round means that all announced items were read."""
        return not self.single_page and self.cursor is None


class Gap(msgspec.Struct):
    """A gap in a pull that continued: a failed page, the rest of a round, or a round that fell short.

    Attributes:
        retry: The round that the next attempt walks to read what is missing.
        error: Describes the gap to people.
        short: The API responded, but with less than it announced: the pull is not whole.
        away: Items of a page for whose details the API did not answer.
        moved: Those of them that the page does not list any more.
    """

    retry: Round = msgspec.field(name="again")
    error: str
    short: bool = False
    away: int = 0
    moved: int = 0


class Attempt(msgspec.Struct, frozen=True):
    """An attempt, which wrote the pages from `first_page` to the first page of the next attempt."""

    first_page: int
    number: int


class State(msgspec.Struct, kw_only=True):
    """The state of a pull: its rounds, its position, and its counts.

    Attributes:
        token: Identifies the pull.
        started: When the pull began.
        stored: When the state was stored; None in states of earlier versions.
        identity: What the pull reads: its window and whatever else decides which requests are sent. None in
            states of earlier versions.
        rounds: All rounds of the pull.
        attempts: The attempts that wrote pages.
        times: (first page, moment) in order: the pages from it on were read at that moment or later.
        round: Index of the current round.
        cursor: The next page; None at the beginning of a round.
        read: Items that were read in the current round.
        announced: Lowest and highest total that the API announced for the current round.
        sizes: Sizes of the pages of the current round.
        passed: Items of the current round that were skipped or rejected, also in its earlier steps.
        rereading: How the current round follows a list whose items move forward.
        first_page: Number, within the pull, of the current round's first page.
        restarted: Number of the page with which a round last began again (`Page.restarted`).
        pages: Number of pages written.
        seconds: Time spent on the pages.
        skipped_in_a_row: Pages that were skipped since the last good one.
        gaps: What is missing.
        accepted: Shortfalls that the run's conf accepts.
        uncovered: The rounds did not cover everything, so the next attempt starts over.
        unannounced: Number of finished rounds for which the API announced no total.
        total: Sum of the totals of finished rounds, at the end with what no round covers.
        counts: Counts by media type.
        version: Version of this format.
    """

    token: str
    started: datetime
    stored: datetime | None = None
    identity: JsonObject | None = msgspec.field(default=None, name="of")
    rounds: list[Round]
    attempts: list[Attempt] = []
    times: list[tuple[int, datetime]] = []
    round: int = 0
    cursor: Cursor | None = None
    read: int = 0
    announced: tuple[int, int] | None = None
    sizes: PageSizes = PageSizes()
    passed: Passed = {}
    rereading: Rereading = msgspec.field(default=Rereading(), name="shift")
    first_page: int = 0
    restarted: int = 0
    pages: int = 0
    seconds: float = 0
    skipped_in_a_row: int = 0
    gaps: list[Gap] = []
    accepted: list[str] = []
    uncovered: bool = False
    unannounced: int = 0
    total: int = 0
    counts: dict[str, Counts] = {}
    version: int = STATE_VERSION

    def note_time(self, now: datetime) -> None:
        """Note that the pages from the next one on are read from now on, and those before it no later."""
        self.times = in_order([*(time for time in self.times if time[0] < self.pages), (self.pages, now)])

    def began(self) -> datetime:
        """Return when the pull began, as far as its times tell."""
        return earliest(self.started, self.times)

    def written(self) -> int:
        """Return the number of rows of all media types."""
        return sum(c.written for c in self.counts.values())

    def fetched(self) -> int:
        """Return the number of items of all media types."""
        return sum(c.fetched for c in self.counts.values())

    def is_sound(self) -> bool:
        """Return whether the state is consistent; it may come from other code or have been edited by hand."""
        sizes = (self.round, self.pages, self.read, self.first_page, self.skipped_in_a_row)
        known = range(len(self.rounds))
        return (
            min(sizes) >= 0
            and self.round <= len(self.rounds)
            and self.first_page <= self.pages
            and all(part.part_of is None or part.part_of in known for part in self._with_retries())
        )

    def lacks_rounds(self) -> bool:
        """Return whether the rest of a round is to be read of which the state does not say what was read."""
        return any(part.rest and part.part_of is None for part in self._with_retries())

    def _with_retries(self) -> list[Round]:
        return [*self.rounds, *(gap.retry for gap in self.gaps)]

    def whole_round(self) -> int:
        """Return the index of the current round, or of the one to which its page or rest belongs."""
        whole = self.rounds[self.round].part_of
        return self.round if whole is None else whole

    def is_announced(self) -> bool:
        """Return whether all rounds have ended, without a failed page, and each with an announced total."""
        ended = self.round == len(self.rounds) and all(gap.retry.part_of is None for gap in self.gaps)
        return ended and not self.unannounced

    def lacks_pages(self, number: int) -> bool:
        """Return whether failed pages of a round are still to be read after the current page.

        Args:
            number: Index of the round.
        """
        later = self.rounds[self.round + 1 :] if number != self.round else []
        return any(part.part_of == number for part in (*later, *(gap.retry for gap in self.gaps)))

    def pages_of_round(self) -> range:
        """Return the pages of the current round that were read, since it last began again."""
        return range(max(self.first_page, self.restarted), self.pages)

    def earlier_pages(self) -> list[range]:
        """Return the pages of earlier walks through the current round."""
        whole = self.rounds[self.whole_round()]
        before = [range(*whole.written)] if whole.written else []
        return [*before, range(self.first_page, self.pages_of_round().start)]

    def walk(self) -> Walk:
        """Return what was read in the current round."""
        read = self.pages_of_round()
        pages = [(read.start, read.stop)] if read else []
        return Walk(self.read, self.announced, self.sizes, pages, self.rereading.lost, self.passed)

    def add_page(self, page: Page, new_items: int, known_items: int, *, reread: bool) -> None:
        """Count a page that was written: its items and its announced total.

        Items without a record, such as those that the provider skips, cannot be recognised; `Tally` says how
        they are counted. On a page that is read again they do not count as read: there are at most as many
        new ones as items were deleted, which count although they are gone.

        Args:
            page: The page.
            new_items: Items of the page with a record that the round had not read before.
            known_items: Those of which the round had read all records before.
            reread: The page was read before, and is read again because the total fell.
        """
        self.pages += 1
        self.skipped_in_a_row = 0
        self.read += new_items if reread else len(page.items) - known_items
        if (page.items or page.next) and not reread:  # an empty page may end a round
            self.sizes = self.sizes.after(len(page.items))
        if page.more_rounds:
            self.rounds += [Round(params) for params in page.more_rounds]
            self.announced = None  # they replace this round
        elif page.total is not None:
            low, high = self.announced or (page.total, page.total)
            self.announced = min(low, page.total), max(high, page.total)

    def begin_round(self) -> None:
        """Reset the counts of the previous round."""
        self.cursor, self.announced, self.first_page = None, None, self.pages
        self.read, self.sizes, self.rereading, self.passed = 0, PageSizes(), Rereading(), {}

    def begin_step(self) -> None:
        """Go on with what earlier steps of the round have passed over, before its first page is read."""
        walk = self.rounds[self.whole_round()].walk
        self.passed = most(walk.passed, {}) if walk else {}

    def forget_away(self, params: JsonObject, cursor: Cursor | None = None) -> int:
        """Remove the gaps of a round that are only details of items, because their pages are read again.

        Args:
            params: Parameters of the round.
            cursor: Only those of this page.

        Returns:
            The number of the items.
        """
        found = [
            gap
            for gap in self.gaps
            if gap.away
            and not gap.error
            and gap.retry.params == params
            and cursor in (None, gap.retry.cursor)
        ]
        self.gaps = [gap for gap in self.gaps if gap not in found]
        return sum(gap.away for gap in found)

    def restart_round(self) -> None:
        """Reset what was read of the current round, which begins again with the next page."""
        number = self.whole_round()
        self.read, self.announced, self.sizes, self.restarted = 0, None, PageSizes(), self.pages
        self.rereading = Rereading()
        self.rounds[number].walk = None
        self.rounds[number].passed, self.passed = most(self.rounds[number].passed, self.passed), {}
        self.gaps = [gap for gap in self.gaps if gap.retry.part_of != number]
        self.forget_away(self.rounds[number].params)


def restored(stored: object) -> State:
    """Convert a stored value to a `State`.

    Raises:
        ValueError: The value has another version, is malformed or inconsistent, or was stored by a release
            that did not note of which round a failed page is.
    """
    values = stored if isinstance(stored, dict) else {}
    version = values.get("version")
    if version != STATE_VERSION:
        raise ValueError(f"it has version {version!r}, not {STATE_VERSION}")
    try:
        state = msgspec.convert(values, State)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    if not state.is_sound():
        raise ValueError(f"round {state.round} of {len(state.rounds)} at page {state.pages} cannot be")
    if values.get("failed") or state.lacks_rounds():
        raise ValueError("it does not say of which round the failed pages are")
    return state
