"""The pull: reads an API page by page into TSV parts, counts every item, and can be resumed.

After each page, the parts, the manifest and the checkpoint are written, in this order. A pull that was killed
resumes at its checkpoint, so at most one page is fetched again. At the end of a round, the number of items is
compared with the announced total. A shortfall is a gap; a pull with gaps fails at its end, after everything
else was read.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from catalog.core.dates import AHEAD
from catalog.core.errors import CatalogError, Fatal, Fenced, Interrupted, Retry
from catalog.core.jsontypes import JsonObject, Params, as_json
from catalog.ingestion import completeness
from catalog.ingestion.client import Client
from catalog.ingestion.gaps import descriptions, failure, missing
from catalog.ingestion.loop_guard import LoopGuard
from catalog.ingestion.options import Options
from catalog.ingestion.page_writer import Came, PageWriter
from catalog.ingestion.pagination import Cursor, Page, once_more
from catalog.ingestion.parts import Manifest, Parts
from catalog.ingestion.provider import Provider
from catalog.ingestion.records import FailedItem
from catalog.ingestion.round_records import MAX_REMEMBERED
from catalog.ingestion.scope import Scope
from catalog.ingestion.shortfalls import IN_A_TASK, Advice
from catalog.ingestion.state import Attempt, Checkpoint, Gap, MemoryCheckpoint, Round, State, Walk, restored
from catalog.ingestion.tally import Tally, most
from catalog.ingestion.urls import Probe
from catalog.ingestion.windows import Window

log = logging.getLogger(__name__)
TIME_STEP = timedelta(hours=1)  # how exactly it is noted when pages were read
MAX_SKIPPED_IN_A_ROW = 10
MAX_PAGES = 200_000  # of a round
MAX_GAPS = 1000  # gaps are part of the state, which is written after each page

Progress = Callable[[Manifest, int | None], None]


class Pull:
    """One pull of one provider; `run()` executes it."""

    def __init__(
        self,
        provider: Provider,
        client: Client,
        parts: Parts,
        *,
        run_id: str,
        window: Window | None = None,
        options: Options | None = None,
        checkpoint: Checkpoint | None = None,
        progress: Progress = lambda *_: None,
        fence: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        should_stop: Callable[[], bool] = lambda: False,
        probe: Probe | None = None,
        advice: Advice = IN_A_TASK,
    ) -> None:
        """Prepare a pull.

        Args:
            provider: An instance that only this pull uses.
            client: Sends the requests.
            parts: Stores this attempt's rows, rejects and manifest.
            run_id: Id of the DAG run, for the manifest.
            window: The window to pull; required for a dated provider.
            options: Options from conf and Variables.
            checkpoint: Stores the state between attempts.
            progress: Called after each page with the manifest and the announced number of items, if any.
            fence: Raises Fenced if another attempt has taken over; called before every write.
            clock: Returns the time by which it is noted when pages were read. Loads compare it with that of
                the database.
            should_stop: Called after each page; True ends the pull with Interrupted.
            probe: See `UrlCleaner`; None disables probing.
            advice: What the error of a pull with gaps says about what to do.

        Raises:
            Fatal: The provider is dated and there is no window.
        """
        if provider.dated and window is None:
            raise Fatal(f"{provider.name} needs a day; give `date`.")
        self.provider, self.client, self.parts = provider, client, parts
        self.run_id, self.window = run_id, window
        self._options, self._checkpoint = options or Options(), checkpoint or MemoryCheckpoint()
        self._progress, self._fence, self._should_stop, self._clock = progress, fence, should_stop, clock
        self._writer = PageWriter(provider, client, parts, fence, probe)
        self._guard = LoopGuard(MAX_PAGES, provider.pages.own_params)
        self._advice = advice
        self._scope = Scope(provider, client, window, self._options)
        self._state: State | None = None
        self._recognised: int | None = None  # index of the round whose records the writer recognises
        self._shortfalls: list[str] = []

    def run(self) -> Manifest:
        """Read all rounds to their end, or up to the limit.

        After an error, the parts and the manifest of what was read remain.

        Returns:
            The manifest of the complete pull.

        Raises:
            NotWhole: The API returned less than it announced.
            DetailsAway: Nothing is missing but the details of some items.
            SkippedErrors: Pages were skipped, as the options allow.
            Fatal: The window has not begun.
            CatalogError: The pull cannot continue now, or at all.
        """
        try:
            self._fence()
            state = self._state = self._resume() or self._begin()
            state.attempts = [a for a in state.attempts if a.first_page < state.pages]
            state.attempts.append(Attempt(state.pages, self.parts.attempt))
            state.note_time(self._clock())
            self._save_manifest(state)  # first: from here on, files of older manifests may be deleted
            self.parts.discard_from(state.pages)
            self._remember(state)
            while state.round < len(state.rounds) and not self._limit_reached(state):
                self._one_page(state)
            self._conclude(state)
        except CatalogError as error:
            self._close(error)
            raise
        except BaseException as error:
            with contextlib.suppress(Exception):
                self._close(error)
            raise
        self._fence()
        manifest = self._save_manifest(state, complete=True)
        self._checkpoint.clear()
        return manifest

    # State

    def _begin(self) -> State:
        now = self._clock()
        if self.window and not self.client.replayed:
            if self.window.start > now:
                raise Fatal(f"{self.window} has not begun; it is {now:%Y-%m-%d %H:%M} in UTC.")
            if self.provider.dated and not self._scope.is_over(now):
                log.warning("%s is not over, so this pull does not count as whole.", self.window)
        return State(
            token=uuid.uuid4().hex, started=now, identity=self._scope.identity(), rounds=self._scope.rounds()
        )

    def _resume(self) -> State | None:
        try:
            stored = self._checkpoint.load()
            if stored is None:
                return None
            state = restored(stored)
            _require_same(state.identity, self._scope.identity())
            self._require_recent(state)
        except ValueError as error:
            text = self._printable(str(error))
            log.warning("STARTING OVER: the stored state of this pull cannot be used: %s.", text)
            return None
        if state.uncovered:
            log.info("The rounds of the last attempt did not cover everything; starting over.")
            return None
        if state.round >= len(state.rounds):  # the pull had reached its end
            if not state.gaps and not state.written():
                log.info("The last attempt wrote nothing; starting over.")
                return None
            state.rounds += [gap.retry for gap in state.gaps]
            state.gaps = []
            state.begin_round()
        log.info(
            "Resuming after page %d, round %d of %d, at %s.",
            state.pages,
            state.round + 1,
            len(state.rounds),
            state.cursor,
        )
        return state

    def _require_recent(self, state: State) -> None:
        """Raise ValueError if a state was stored so long ago that the records it has read are old."""
        stored, patience, now = state.stored or state.started, self.provider.patience(), self._clock()
        if stored > now + AHEAD:
            raise ValueError(f"it was stored on {stored:%Y-%m-%d}, which is to come: its clock was wrong")
        if now - stored > patience:
            raise ValueError(
                f"it was stored on {stored:%Y-%m-%d}, more than {patience.days} days ago, so it is too old"
            )

    def _store(self, state: State) -> None:
        state.stored = self._clock()
        self._checkpoint.save(as_json(state))

    def _remember(self, state: State) -> None:
        """Remember what earlier attempts wrote, if this one may read it again."""
        if self.provider.deduplicate:
            self._writer.remember_written(self._manifest(state), range(state.pages))
        if state.cursor is None:  # a round begins
            return
        if (written := state.rounds[state.whole_round()].written) and not self.provider.deduplicate:
            self._writer.remember_written(self._manifest(state), range(written[0], state.pages))
        self._writer.remember_rejected(self._manifest(state), state.earlier_pages())
        self._recognise(state)

    def _recognise(self, state: State) -> None:
        """Let the writer recognise what was read of the current round, if it has a total to compare with."""
        self._recognised = state.whole_round()
        for walk in (state.rounds[self._recognised].walk, state.walk()):
            for first, end in walk.pages if walk and walk.announced else ():
                self._writer.recognise(self._manifest(state), range(first, end))

    def _limit_reached(self, state: State) -> bool:
        return bool(self._options.limit) and state.written() >= self._options.limit

    # Pages

    def _one_page(self, state: State) -> None:
        began, now = time.monotonic(), self._clock()
        if not timedelta() <= now - state.times[-1][1] < TIME_STEP:  # or the clock was set back
            state.note_time(now)
        round_ = state.rounds[state.round]
        fixed = {**self.provider.params, **round_.params, **self._options.additional_query_params}
        pages = self.provider.pages
        if state.cursor is None:
            self._begin_round(state, round_)
        cursor = state.cursor or round_.cursor or self._scope.first_cursor(round_.params)
        sent = {k: v for k, v in fixed.items() if k not in pages.own_params}
        page = self._fetch(state, cursor, sent)
        if page is not None:
            announced = state.announced
            self._take(state, page, cursor)
            following = self._rewind(state, page, cursor, announced) or page.next
        else:
            following = pages.skip(cursor)
        if following is None or round_.single_page:
            self._end_round(state)
        else:
            state.cursor = following
        state.seconds += time.monotonic() - began
        self._fence()
        manifest = self._save_manifest(state)
        self._fence()
        self._store(state)
        self._progress(manifest, page.total if page else None)
        if self._should_stop():
            raise Interrupted(f"asked to stop after page {state.pages}; the next attempt resumes there.")

    def _begin_round(self, state: State, round_: Round) -> None:
        self._guard.new_round()
        state.begin_step()
        if round_.part_of is not None and round_.part_of == self._recognised:
            return  # the next failed page of the same round
        self._writer.begin_round()
        if written := state.rounds[state.whole_round()].written:
            first, end = written if round_.part_of is None else (written[0], state.pages)
            self._writer.remember_written(self._manifest(state), range(first, end))
        self._writer.remember_rejected(self._manifest(state), state.earlier_pages())
        if round_.away:
            self._writer.remember_page(self._manifest(state), round_.page)
        self._recognise(state)

    def _fetch(self, state: State, cursor: Cursor, params: Params) -> Page | None:
        """Fetch a page and complete its items; return None if the page is skipped because of its error."""
        try:
            page = self._page(state, cursor, params)
            page.listed, page.items = page.items, self.provider.complete(page.items, self.client)
            if state.rounds[state.whole_round()].written:
                failed = [isinstance(item, FailedItem) for item in page.items]
                if not all(failed):  # the API works for others
                    page.items = [i.after_rereading() if isinstance(i, FailedItem) else i for i in page.items]
        except (Retry, Fatal) as error:
            if not self._options.skips(error):
                raise
            if state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
                raise Fatal(f"{MAX_SKIPPED_IN_A_ROW} pages in a row failed; last: {error}") from None
            log.warning("Skipping the page at %s: %s", cursor, error)
            state.skipped_in_a_row += 1
            self._note_failure(state, cursor, error)
            return None
        return page

    def _page(self, state: State, cursor: Cursor, params: Params) -> Page:
        """Fetch a page; again if a round begins with nothing at all, as while an index is exchanged."""

        def ask() -> Page:
            return self.provider.pages.fetch(self.client, cursor, params)

        page = ask()
        is_only_page = state.announced is None and page.next is None
        if is_only_page and not page.items and not page.more_rounds and page.total == 0:
            page = once_more(ask) or page
        return page

    def _note_failure(self, state: State, cursor: Cursor, error: Exception) -> None:
        """Record a gap: the failed page, with the rest of the round if only that page names the next one."""
        round_ = state.rounds[state.round]
        rest = self.provider.pages.skip(cursor) is None and not round_.single_page
        text = f"at {cursor}: {type(error).__name__}: {error}"[:500]
        if rest:
            text += " (and what follows in this round, which only that page names)"
        whole = state.whole_round()
        retry = Round(round_.params, cursor, single_page=not rest, rest=rest, part_of=whole)
        self._add_gap(state, Gap(retry, text))

    def _add_gap(self, state: State, gap: Gap) -> None:
        gap.error = self._printable(gap.error)
        if len(state.gaps) >= MAX_GAPS:
            raise Fatal(f"more than {MAX_GAPS:,} gaps in one pull; last: {gap.error}")
        state.gaps.append(gap)

    def _take(self, state: State, page: Page, cursor: Cursor) -> None:
        """Write a page and count its items and its announced total."""
        reread = state.rereading.pages_to_read > 0
        if not reread:
            self._guard.check_page(cursor, page.items)
        room = self._options.limit - state.written() if self._options.limit else None
        if page.restarted:
            state.restart_round()
            self._writer.forget_round()
            self._writer.remember_rejected(self._manifest(state), state.earlier_pages())
        whole = state.rounds[state.whole_round()]
        tally = Tally(state.counts, state.passed, whole.passed, reread=reread)
        came = self._writer.write(page, state.pages, tally, room=room)
        if page.next is not None and not reread:
            self._guard.require_news(
                cursor,
                items=len(page.items),
                new=came.new_items,
                known=came.known_items,
                tolerated=self._repeatable(page, came),
                total=page.total,
            )
        state.add_page(page, came.new_items, came.known_items, reread=reread)
        round_ = state.rounds[state.round]
        away = sum(isinstance(item, FailedItem) and item.is_away for item in page.items)
        moved = max(0, round_.away - came.met) if came.moved else 0
        if page.withheld or away or moved:
            written = (whole.written[0] if whole.written else state.pages - 1, state.pages)
            passed = most(tally.of_page, whole.passed) if round_.single_page else tally.of_page
            retry = Round(round_.params, cursor, single_page=True, written=written, passed=passed)
            retry.away, retry.page = away + moved, round_.page if round_.away else state.pages - 1
            state.forget_away(round_.params, cursor)
            self._add_gap(state, Gap(retry, page.withheld or "", short=True, away=retry.away, moved=moved))

    def _rewind(
        self, state: State, page: Page, cursor: Cursor, announced: tuple[int, int] | None
    ) -> Cursor | None:
        """Return an earlier page to go on with, if items may have moved onto pages that were read before.

        Args:
            state: The state after the page was written.
            page: The page.
            cursor: Its cursor.
            announced: The lowest and the highest total before the page.
        """
        fell = state.rereading.fall(page.total) or int(page.gone and not state.rereading.pages_to_read)
        state.rereading = state.rereading.after(page.total)
        round_ = state.rounds[state.round]
        if not fell or announced is None or page.more_rounds or not self._scope.is_whole_list(round_):
            return None
        if completeness.collapses(page.total, announced):
            return None
        size, read = max(state.sizes.largest, 1), len(state.pages_of_round())
        earlier = self.provider.pages.rewind(cursor, fell, size)
        if earlier is None:
            return None
        pages = min(-(-fell // size) + 1, read)
        if completeness.may_reread(state.rereading.pages + pages, read):
            state.rereading = state.rereading.rewound(pages)
            state.sizes = msgspec.structs.replace(state.sizes, newest=None)  # this page was the last one
            log.info("The announced total fell by %s: reading again from %s.", f"{fell:,}", earlier)
            return earlier
        if page.total is not None and completeness.is_lost(page.total, announced):
            state.rereading = state.rereading.lose(fell)
        return None

    def _repeatable(self, page: Page, came: Came) -> int:
        """Return how many known items in a row may come from an API that does not only repeat itself.

        A provider that declares `deduplicate` may list the same record many times in a row, as often as it
        announces.
        """
        if not self.provider.deduplicate:
            return came.remembered
        return max(came.remembered, MAX_REMEMBERED if page.total is None else page.total)

    def _end_round(self, state: State) -> None:
        """Compare a round with its announced total once no page of it is missing, and begin the next one."""
        number = state.whole_round()
        round_, walk = state.rounds[number], state.walk()
        if round_.walk is not None:
            walk = round_.walk.and_then(walk)
        lacks_pages = state.lacks_pages(number)
        round_.walk = walk if lacks_pages else None
        if not lacks_pages and self._scope.is_whole_list(round_):
            self._compare(state, round_, walk)
        state.round += 1
        state.begin_round()

    def _compare(self, state: State, round_: Round, walk: Walk) -> None:
        """Record a gap if a round that was read completely lacks items."""
        state.unannounced += walk.announced is None
        if walk.announced is not None and not round_.written:
            state.total += completeness.announced_total(*walk.announced)
        if lacks := missing(walk, self.provider):
            written = (round_.written[0] if round_.written else walk.pages[0][0], state.pages)
            passed = most(round_.passed, walk.passed)
            retry = Round(round_.params, written=written, passed=passed)
            away = state.forget_away(round_.params)  # their pages are read with the round
            self._add_gap(state, Gap(retry, f"{lacks} ({_named(round_.params)})", short=True, away=away))

    # End

    def _conclude(self, state: State) -> None:
        """Raise an error if something is missing and not accepted.

        A collection without any item is never accepted: the API is at fault.
        """
        gaps, acceptable = [*state.gaps], self.provider.dated or state.fetched() > 0
        if self._scope.is_everything(state.began()):
            dated, proved = self.provider.dated, not state.unannounced
            if text := completeness.too_empty(
                state.fetched(), state.written(), windows=dated, proved=proved, said=bool(state.rounds)
            ):
                gaps.append(Gap(Round({}), text, short=True))
            if not gaps and (found := self._scope.uncovered(state)):
                gaps.append(Gap(Round({}), found.text, short=True))
                state.uncovered = True
                state.total += found.items
                self._fence()
                self._store(state)
        if self._options.accept_shortfall and acceptable:
            state.accepted = descriptions([gap for gap in gaps if gap.short])
            gaps = [gap for gap in gaps if not gap.short]
        if gaps:
            self._shortfalls = descriptions([gap for gap in gaps if gap.short])
            raise failure(gaps, self.provider.name, self._advice, acceptable=acceptable)

    def _manifest(
        self, state: State, *, complete: bool = False, error: BaseException | None = None
    ) -> Manifest:
        text = None if error is None else self._printable(f"{type(error).__name__}: {error}")[:1000]
        shortfalls = state.accepted or self._shortfalls
        return Manifest(
            provider=self.provider.name,
            run_id=self.run_id,
            window=(self.window.start, self.window.end) if self.window else None,
            replayed=self.client.replayed,
            whole=self._scope.is_everything(state.began()),
            started=state.began(),
            token=state.token,
            pages=state.pages,
            seconds=round(state.seconds, 3),
            counts=state.counts,
            announced=state.total if state.is_announced() else None,
            complete=complete,
            error=text,
            shortfalls=[self._printable(text) for text in shortfalls[: completeness.SHOWN]],
            accepted=self._options.accept_shortfall,
            attempts=[(attempt.first_page, attempt.number) for attempt in state.attempts],
            times=state.times,
        )

    def _printable(self, text: str) -> str:
        """Remove secrets, and characters of the API's responses that UTF-8 cannot encode."""
        return self.client.redact(text).encode("utf-8", "replace").decode()

    def _save_manifest(
        self, state: State, *, complete: bool = False, error: BaseException | None = None
    ) -> Manifest:
        manifest = self._manifest(state, complete=complete, error=error)
        self.parts.save(manifest)
        return manifest

    def _close(self, error: BaseException) -> None:
        """Write a manifest with the error that ended the pull, unless this attempt is fenced."""
        if self._state is None or isinstance(error, Fenced):
            return
        # After a failed write, the state may be half a page ahead of the checkpoint, which is authoritative.
        state = State(token=self._state.token, started=self._state.started, rounds=self._state.rounds)
        with contextlib.suppress(ValueError):  # until a page is read, a state that is not resumed is stored
            stored = restored(self._checkpoint.load())
            state = stored if stored.token == state.token else state
        state.attempts, state.times = self._state.attempts, self._state.times
        with contextlib.suppress(Fenced):
            self._fence()
            self._save_manifest(state, error=error)


def _require_same(stored: JsonObject | None, own: JsonObject) -> None:
    """Raise ValueError if a stored state is of another pull; one of an earlier version does not say."""
    if stored is None:
        return
    if other := [key for key in {**stored, **own} if stored.get(key) != own.get(key)]:
        told = ", ".join(f"{key}: {stored.get(key)}, not {own.get(key)}" for key in other)
        raise ValueError(f"it is of another pull ({told[:500]})")


def _named(params: Params) -> str:
    """Describe a round in a message: its parameters, or "the whole list"."""
    text = ", ".join(f"{key}={value}" for key, value in params.items())
    return f"{text[:200]} …" if len(text) > 200 else text or "the whole list"
