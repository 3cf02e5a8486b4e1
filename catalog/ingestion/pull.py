"""The loop of every pull: page after page from the API into TSV parts, resumable at any page, every item accounted for.

After each page its parts, then the manifest, then the checkpoint are written, in this order. A pull that was killed goes on at its
checkpoint, so at most one page is fetched again and overwrites its own part.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from catalog.ingestion.cleaning import tidy
from catalog.ingestion.client import Client
from catalog.ingestion.errors import Fatal, Fenced, IngestionError, Interrupted, Retry, SkippedErrors
from catalog.ingestion.pagination import Cursor, LoopGuard, Page
from catalog.ingestion.parts import Manifest, Parts
from catalog.ingestion.provider import Provider
from catalog.ingestion.records import Media, MediaType, Poison, Raw, Skip
from catalog.ingestion.state import STATE_VERSION, Checkpoint, MemoryCheckpoint, Options, State
from catalog.ingestion.tally import Tally
from catalog.ingestion.tsv import Encoder, Reject
from catalog.ingestion.urls import UrlCleaner
from catalog.ingestion.windows import Window

log = logging.getLogger(__name__)
MAX_SKIPPED_IN_A_ROW = 10
REPEATED = "page was a repetition"
SEEN = "seen before in this pull"
OVER_LIMIT = "over the limit of this run"
SHAPE_ERRORS = (AttributeError, IndexError, KeyError, TypeError, ValueError)


Progress = Callable[[Manifest, int | None], None]


class Pull:
    """One pull of one provider. `run()` does it; `manifest` says how far it got, also after an error.

    fence: raises Fenced when another try has taken over; called before anything is written. should_stop: asked after each page.
    progress: called after each page with the manifest and the number of items the API announces, if it does.
    """

    def __init__(
        self, provider: Provider, client: Client, parts: Parts, *, run_id: str, window: Window | None = None,
        options: Options | None = None, checkpoint: Checkpoint | None = None, progress: Progress = lambda *_: None,
        fence: Callable[[], None] = lambda: None, should_stop: Callable[[], bool] = lambda: False,
        probe: Callable[[str], bool] | None = None,
    ) -> None:  # fmt: skip
        if provider.dated and window is None:
            raise Fatal(f"{provider.name} needs a day; give `date`.")
        self.provider, self.client, self.parts, self.run_id, self.window = (
            provider,
            client,
            parts,
            run_id,
            window,
        )
        self._options, self._checkpoint = options or Options(), checkpoint or MemoryCheckpoint()
        self._progress, self._fence, self._should_stop = progress, fence, should_stop
        urls = UrlCleaner(None if client.replayed else probe, provider.strip_slashes)
        self._encoders = {
            m: Encoder(m, string, urls, provider.category) for m, string in provider.strings.items()
        }
        self._guard = LoopGuard(provider.repeats)
        self._seen: set[tuple[str, int]] = (
            set()
        )  # media type and hash of identifier, of providers that repeat items
        self._state: State | None = None

    def run(self) -> Manifest:
        """Pull until the end. Raises IngestionError; what was read until then is kept, and listed in the manifest."""
        try:
            self._fence()
            state = self._state = self._resume() or self._begin()
            self.parts.discard_from(state.pages)
            self._remember(state)
            while state.round < len(state.rounds) and not self._limit_reached(state):
                self._one_page(state)
            if state.errors:
                raise SkippedErrors(_summary(state.errors))
        except IngestionError as error:
            self._close(error)
            raise
        except BaseException as error:
            with contextlib.suppress(Exception):
                self._close(error)
            raise
        self._checkpoint.clear()
        return self._save_manifest(state, complete=True)

    def _begin(self) -> State:
        options = self._options
        if options.query_params_list is not None:
            rounds: list[dict[str, Any]] = [
                {"only": True, "params": dict(p)} for p in options.query_params_list
            ]
        else:
            with _known_shapes():
                fixed = self.provider.rounds(self.client, self.window)
            first = dict(options.initial_query_params or {})
            begin = (
                next((n for n, f in enumerate(fixed) if f and f.items() <= first.items()), 0) if first else 0
            )
            rounds = [{"params": f} for f in fixed[begin:]]
            if first:
                rounds = rounds or [{"params": {}}]
                rounds[0] = {"params": {**rounds[0]["params"], **first}}
        return State(token=uuid.uuid4().hex, started=datetime.now(UTC), rounds=rounds)

    def _resume(self) -> State | None:
        stored = self._checkpoint.load()
        if stored is None:
            return None
        if stored.get("version") != STATE_VERSION:
            log.warning(
                "The stored state has version %s, not %s; starting from the beginning.",
                stored.get("version"),
                STATE_VERSION,
            )
            return None
        state = msgspec.convert(stored, State)
        if state.errors and state.round >= len(
            state.rounds
        ):  # it had come to its end; take up the pages that were passed over
            state.rounds += [
                {"only": True, "params": e["params"], "cursor": e["cursor"]} for e in state.errors
            ]
            state.errors = []
        log.info(
            "Going on after page %d, round %d of %d, at %s.",
            state.pages,
            state.round + 1,
            len(state.rounds),
            state.cursor,
        )
        return state

    def _limit_reached(self, state: State) -> bool:
        return bool(self._options.limit) and state.written() >= self._options.limit

    def _one_page(self, state: State) -> None:
        began = time.monotonic()
        round_ = state.rounds[state.round]
        fixed = {**self.provider.params, **round_["params"], **self._options.additional_query_params}
        pages = self.provider.pages
        if state.cursor is None:
            self._guard.new_round()
        cursor = state.cursor or round_.get("cursor") or pages.start(round_["params"])
        sent = {k: v for k, v in fixed.items() if k not in pages.own_params}
        page = self._fetch(state, cursor, sent)
        if page is not None:
            self._write(state, page, self._guard.repeated(cursor, page.items))
            state.pages += 1
            state.skipped_in_a_row = 0
            state.rounds += [{"params": p} for p in page.more_rounds]
            if page.left_out:
                state.errors.append({"cursor": cursor, "params": round_["params"], "error": page.left_out})
        following = page.next if page is not None else pages.skip(cursor)
        if following is None or round_.get("only"):
            state.round, state.cursor = state.round + 1, None
        else:
            state.cursor = following
        state.seconds += time.monotonic() - began
        manifest = self._save_manifest(state)
        self._checkpoint.save(msgspec.to_builtins(state))
        self._progress(manifest, page.total if page else None)
        if self._should_stop():
            raise Interrupted(f"asked to stop after page {state.pages}; the next try goes on there.")

    def _fetch(self, state: State, cursor: Cursor, params: Mapping[str, Any]) -> Page | None:
        """The page at the cursor with its items completed, or None when its error is one to pass over."""
        try:
            with _known_shapes():
                page = self.provider.pages.fetch(self.client, cursor, params)
                page.items = self.provider.complete(page.items, self.client)
        except (Retry, Fatal) as error:
            if isinstance(error, Fenced) or not self._options.skips(error):
                raise
            if state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
                raise Fatal(f"{MAX_SKIPPED_IN_A_ROW} pages in a row failed; last: {error}") from None
            log.warning("Passing over the page at %s: %s", cursor, error)
            state.skipped_in_a_row += 1
            round_ = state.rounds[state.round]["params"]
            state.errors.append(
                {"cursor": cursor, "params": round_, "error": f"{type(error).__name__}: {error}"[:500]}
            )
            return None
        return page

    def _write(self, state: State, page: Page, repeated: bool) -> None:
        tally = Tally(state.counts)
        records: list[tuple[Raw, Media]] = []
        room = self._options.limit - state.written() if self._options.limit else None
        for raw in page.items:
            if room is not None and len(records) >= room:
                break
            if repeated:
                tally.skip(self.provider.media_types[0], REPEATED)
            else:
                records += self._map(raw, tally)
        for _, record in records[room:] if room is not None else ():  # the last item had several
            tally.pass_over(self.provider.media_type(record), OVER_LIMIT)
        records = records[:room]
        if self.provider.details:
            missing = [r for _, r in records if r.filesize is None]
            for record, size in zip(
                missing, self.client.map(self._size, missing, self.provider.details.concurrency), strict=True
            ):
                record.filesize = size
        lines = self._encode(records, tally)
        self._fence()
        for media_type, written in lines.items():
            tally.write(media_type, len(written), self._encoders[media_type].cleaned)
            if written:
                self.parts.write(media_type, state.pages, written)
        if tally.rejects:
            self.parts.write_rejects(state.pages, tally.rejects)

    def _encode(self, records: list[tuple[Raw, Media]], tally: Tally) -> dict[MediaType, list[str]]:
        """Lines of each media type; what is no line is counted."""
        lines: dict[MediaType, list[str]] = {m: [] for m in self._encoders}
        for raw, record in records:
            media_type = self.provider.media_type(record)
            key = (media_type, hash(tidy(str(record.foreign_identifier)))) if self.provider.unique else None
            if key in self._seen:
                tally.pass_over(media_type, SEEN)
                continue
            try:
                lines[media_type].append(self._encoders[media_type].line(record))
            except Reject as reject:
                tally.reject(media_type, str(reject), raw)
            else:
                if key:
                    self._seen.add(key)
        return lines

    def _remember(self, state: State) -> None:
        """The identifiers that earlier tries of this pull wrote, from their parts."""
        if not self.provider.unique:
            return
        for media_type in self._encoders:
            for path in self.parts.tsv_files(media_type, state.pages):
                with path.open(encoding="utf-8") as lines:
                    for line in lines:
                        identifier = line.split("\t", 1)[0].replace("\\\\", "\\")
                        self._seen.add((media_type, hash(identifier)))

    def _map(self, raw: Raw, tally: Tally) -> list[tuple[Raw, Media]]:
        first = self.provider.media_types[0]
        try:
            if isinstance(raw, Poison):
                raise raw.error
            mapped = self.provider.record(raw)
        except Exception as error:  # a poison item: whatever the mapping tripped over, the page goes on
            tally.reject(
                first, f"mapping failed: {type(error).__name__}", raw.raw if isinstance(raw, Poison) else raw
            )
            return []
        kept: list[tuple[Raw, Media]] = []
        for one in mapped if isinstance(mapped, list) else [mapped]:
            if isinstance(one, Skip):
                tally.skip(one.media_type or first, one.reason)
            else:
                tally.fetched(self.provider.media_type(one))
                kept.append((raw, one))
        if mapped == []:
            tally.skip(first, "nothing usable")
        return kept

    def _size(self, record: Media) -> int | None:
        return self.client.file_size(record.url) if isinstance(record.url, str) else None

    def _save_manifest(
        self, state: State, complete: bool = False, error: BaseException | None = None
    ) -> Manifest:
        window = (self.window.start, self.window.end) if self.window else None
        text = None if error is None else self.client.redact(f"{type(error).__name__}: {error}")[:1000]
        manifest = Manifest(
            provider=self.provider.name, run_id=self.run_id, window=window, replayed=self.client.replayed,
            whole=self._options.whole(), started=state.started,
            token=state.token, pages=state.pages, seconds=round(state.seconds, 3), counts=state.counts, complete=complete, error=text,
        )  # fmt: skip
        self.parts.save(manifest)
        return manifest

    def _close(self, error: BaseException) -> None:
        """Leave a manifest that tells why the pull ended early; one that was fenced off must not touch it."""
        if self._state is not None and not isinstance(error, Fenced):
            # The state may be half a page ahead of the checkpoint when writing failed; what counts is what was saved.
            stored = self._checkpoint.load()
            state = msgspec.convert(stored, State) if stored else None
            if state is not None:
                self._save_manifest(state, error=error)


@contextlib.contextmanager
def _known_shapes() -> Iterator[None]:
    """An answer that is built otherwise than a provider's code expects is the API's error, not a crash; the log has the place."""
    try:
        yield
    except SHAPE_ERRORS as error:
        log.warning("An answer has an unknown shape.", exc_info=True)
        raise Fatal(f"an answer has an unknown shape: {type(error).__name__}: {error}") from None


def _summary(errors: list[dict[str, Any]]) -> str:
    shown = "; ".join(f"at {e['cursor']}: {e['error']}" for e in errors[:5])
    more = f" and {len(errors) - 5} more" if len(errors) > 5 else ""
    return f"{len(errors)} page(s) were passed over: {shown}{more}. The rest was read; clear this task to try just these pages again."
