"""Maps, encodes, counts and writes the items of a page; a bad item is rejected without failing the page."""

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import msgspec

from catalog.core.errors import CatalogError, HttpStatus
from catalog.core.jsontypes import JsonObject
from catalog.core.media import MediaType
from catalog.ingestion.cleaning import tidy
from catalog.ingestion.client import Client
from catalog.ingestion.pagination import Page
from catalog.ingestion.parts import Manifest, Parts
from catalog.ingestion.provider import Provider
from catalog.ingestion.reasons import OVER_LIMIT
from catalog.ingestion.records import Audio, FailedItem, Image, Media, Raw, Skip
from catalog.ingestion.registry import place_of
from catalog.ingestion.rejected_items import Record, RejectedItems, Rejection, item_key
from catalog.ingestion.round_records import Key, RoundRecords
from catalog.ingestion.tally import Tally
from catalog.ingestion.tsv import Encoder, Reject, Unwanted
from catalog.ingestion.urls import Probe, UrlCleaner

log = logging.getLogger(__name__)
_MESSAGE = 80  # characters of an error message that are kept in a reason
_DETAILS_AWAY = "details away"


class Came(msgspec.Struct, frozen=True):
    """What a page brought, compared with what its round had read before.

    An item whose records have no identifier is neither new nor known.

    Attributes:
        new_items: Items with a record that the round had not read.
        known_items: Items of which the round had read all records. They do not count towards the announced
            total.
        remembered: Records of the round that are remembered, with those of the page.
        met: Of a page that is read for details, items whose details were away before.
        moved: The page does not list all records any more that it has brought.
    """

    new_items: int
    known_items: int
    remembered: int
    met: int
    moved: bool


class _Item(msgspec.Struct):
    """An item of a page.

    Attributes:
        raw: The item, with its details.
        listed: The item as the API lists it.
        records: Its records that have an identifier.
        rejects: What it was rejected for.
        judged: All of it was written, skipped or rejected; not, if the round has only read it before.
    """

    raw: Raw
    listed: Raw
    records: list[Record] = []
    rejects: set[Rejection] = set()
    judged: bool = True


class PageWriter:
    """Writes the pages of one pull."""

    def __init__(
        self,
        provider: Provider,
        client: Client,
        parts: Parts,
        fence: Callable[[], None],
        probe: Probe | None = None,
    ) -> None:
        """Create the encoders of the provider's media types.

        Args:
            provider: Maps the items.
            client: Requests file sizes, if the provider declares `details`.
            parts: Stores rows and rejects.
            fence: Raises Fenced if another attempt has taken over.
            probe: See `UrlCleaner`; None disables probing.
        """
        self._provider, self._client, self._parts, self._fence = provider, client, parts, fence
        urls = UrlCleaner(None if client.replayed else probe, provider.strip_slashes)
        self._encoders = {
            m: Encoder(m, name, urls, provider.category) for m, name in provider.catalog_names.items()
        }
        self._first: MediaType = provider.media_types[0]
        self._written_before: set[Key] | None = set() if provider.deduplicate else None
        self._round, self._rejected = RoundRecords(), RejectedItems()
        self._of_page: set[Key] | None = None  # what a page that is read for details has not listed again
        self._shown: set[str] = set()  # reasons whose traceback was logged

    def remember_written(self, manifest: Manifest, pages: range) -> None:
        """Read the identifiers that earlier attempts wrote, so that they are not written again."""
        self._written_before = self._written_before or set()
        self._written_before.update(self._written(manifest, pages))

    def recognise(self, manifest: Manifest, pages: range) -> None:
        """Read the identifiers that the round read before, so that its records do not count twice."""
        unwritten = ((media, hash(name)) for media, name in self._parts.unwritten(manifest, pages))
        self._round.fill(chain(self._written(manifest, pages), unwritten))

    def remember_rejected(self, manifest: Manifest, pages: Iterable[range]) -> None:
        """Read what earlier walks through the round have rejected, so that each item counts once."""
        self._rejected = RejectedItems()
        for some in filter(None, pages):
            self._rejected.add(self._parts.rejects(manifest, some))
        if self._rejected:
            self._rejected.remove(self._parts.taken_back(manifest))

    def remember_page(self, manifest: Manifest, page: int) -> None:
        """Read the identifiers that a page has brought, to notice if the list has moved since."""
        self._of_page = {*self._written(manifest, range(page, page + 1))}

    def _written(self, manifest: Manifest, pages: range) -> Iterator[Key]:
        """Yield the keys of the records in the parts of some pages, the last page first."""
        for media_type in self._encoders:
            for path in reversed(self._parts.tsv_files(media_type, manifest, pages)):
                with path.open(encoding="utf-8") as lines:
                    for line in lines:
                        identifier = line.split("\t", 1)[0].replace("\\\\", "\\")
                        yield media_type, hash(identifier)

    def begin_round(self) -> None:
        """Forget the identifiers of earlier attempts, unless the provider repeats items."""
        self.forget_round()
        self._rejected, self._of_page = RejectedItems(), None
        if not self._provider.deduplicate:
            self._written_before = None

    def forget_round(self) -> None:
        """Forget the records of the round, because it begins again or has ended."""
        self._round.clear()

    def write(self, page: Page, number: int, tally: Tally, *, room: int | None) -> Came:
        """Write and count the rows and rejects of a page.

        Args:
            page: The page, with its items completed.
            number: Number of the page in this pull.
            tally: Counts its items. If the pull went back to the page, what the round has read is not written
                again.
            room: Number of rows that may still be written; None for no limit.

        Raises:
            Fenced: Another attempt has taken over; nothing is written.
        """
        items, records, came = self._wanted(page, tally, room=room)
        self._ask_sizes([record for _, record in records if record.filesize is None])
        lines, unwritten = self._encode(records, tally)
        taken_back = self._take_back(items, tally)
        self._fence()
        for media_type, written in lines.items():
            tally.write(media_type, len(written), self._encoders[media_type].cleaned)
            if written:
                self._parts.write(media_type, number, written)
        if tally.rejects:
            self._parts.write_rejects(number, tally.rejects, self._client.redact)
        if taken_back:
            self._parts.write_taken_back(number, taken_back)
        if unwritten and page.total is not None:  # otherwise an attempt that resumes does not need them
            self._parts.list_unwritten(number, unwritten)
        return came

    def _wanted(
        self, page: Page, tally: Tally, *, room: int | None
    ) -> tuple[list[_Item], list[tuple[_Item, Media]], Came]:
        """Map the items of a page; count those that are skipped or rejected, or for which there is no room.

        Returns:
            The items; the records that are to be written, each with its item; and what the page brought.
        """
        items: list[_Item] = []
        records: list[tuple[_Item, Media]] = []
        listed = page.listed if len(page.listed) == len(page.items) else page.items
        new, old, met, earlier = 0, 0, 0, len(page.items) - page.earlier
        for place, raw in enumerate(page.items):
            if room is not None and len(records) >= room:
                break
            if place == earlier:
                tally.begin_earlier()
            item = _Item(raw, listed[place])
            items.append(item)
            mapped = self._map(item, tally)
            keys = {self._key(record) for _, record in mapped if _has_identifier(record)}
            if self._of_page is not None:
                self._of_page -= keys
                met += self._rejected.has(item.listed, _DETAILS_AWAY)
            known = self._round.add(keys)
            new, old = new + (bool(keys) and not known), old + known
            if known and (tally.reread or place >= earlier):
                item.judged = False
                for _, record in mapped:
                    tally.repeat(record.media_type)
            else:
                records += mapped
        tally.end_earlier()
        for item, record in records[room:] if room is not None else ():  # of an item with several records
            item.judged = False
            tally.pass_over(record.media_type, OVER_LIMIT)
        return items, records[:room], Came(new, old, len(self._round), met, bool(self._of_page))

    def _key(self, record: Media) -> Key:
        """Return the key of a record within the pull: its media type and the hash of its identifier."""
        return record.media_type, hash(_identifier(record))

    def _map(self, item: _Item, tally: Tally) -> list[tuple[_Item, Media]]:
        raw = item.raw
        if isinstance(raw, FailedItem):
            cause = self._cause(_DETAILS_AWAY if raw.is_away else "details failed", raw.error)
            self._fail(item, cause, tally, raw.raw, _details(raw.error))
            return []
        try:
            mapped = self._provider.record(raw)
        except Exception as error:  # an error of the mapping must not fail the page
            self._fail(item, self._cause("mapping failed", error), tally, raw, _details(error))
            return []
        kept: list[tuple[_Item, Media]] = []
        for one in mapped if isinstance(mapped, list | tuple) else [mapped]:
            if isinstance(one, Skip):
                tally.skip(one.media_type or self._first, one.reason)
            elif not isinstance(one, Image | Audio):
                self._fail(item, f"mapping failed: record() returned {type(one).__name__}", tally, raw)
            else:
                tally.fetched(one.media_type)
                kept.append((item, one))
        if mapped in ([], ()):
            tally.skip(self._first, "nothing usable")
        return kept

    def _fail(
        self, item: _Item, reason: str, tally: Tally, raw: Raw, details: JsonObject | None = None
    ) -> None:
        """Count an item that is rejected without a record."""
        item.rejects.add((self._first, reason))
        tally.fail(self._first, reason, raw, item=item_key(item.listed), **(details or {}))

    def _reject(
        self, item: _Item, record: Media, reason: str, tally: Tally, *, new: bool, **more: str
    ) -> None:
        """Count a record that is rejected; its item was counted before."""
        item.rejects.add((record.media_type, reason))
        names = {"record": _identifier(record)} if _has_identifier(record) else {}
        details = {"item": item_key(item.listed), **names, **more}
        tally.reject(record.media_type, reason, item.raw, details, new=new)

    def _take_back(self, items: list[_Item], tally: Tally) -> list[tuple[str, *Rejection]]:
        """Stop counting the rejects of earlier walks whose items have another outcome now; return them."""
        taken: list[tuple[str, *Rejection]] = []
        if self._rejected and not tally.reread:
            for item in items:
                if item.judged:
                    taken += self._rejected.take(item.listed, item.records, item.rejects)
        for _, media_type, reason in taken:
            tally.take_back(media_type, reason)
        return taken

    def _ask_sizes(self, records: list[Media]) -> None:
        if not self._provider.details:
            return
        sizes = self._client.map(self._size, records, self._provider.details.concurrency)
        for record, size in zip(records, sizes, strict=True):
            record.filesize = size

    def _size(self, record: Media) -> int | None:
        return self._client.file_facts(record.url).size if isinstance(record.url, str) else None

    def _encode(
        self, records: list[tuple[_Item, Media]], tally: Tally
    ) -> tuple[dict[MediaType, list[str]], list[tuple[MediaType, str]]]:
        """Encode records as lines of each media type; count those that are skipped or rejected.

        Returns:
            The lines, and media type and identifier of the records without a line.
        """
        lines: dict[MediaType, list[str]] = {m: [] for m in self._encoders}
        unwritten: list[tuple[MediaType, str]] = []
        for item, record in records:
            media_type = record.media_type
            if self._rejected and _has_identifier(record):
                item.records.append((media_type, _identifier(record)))
            before, key = len(lines[media_type]), None
            new = tally.reread and _has_identifier(record)  # a known one is not among these records
            if self._written_before is not None:
                key = self._key(record)
                if key in self._written_before:
                    tally.repeat(media_type)
                    unwritten.append((media_type, _identifier(record)))
                    continue
            try:
                lines[media_type].append(self._encoders[media_type].line(record))
            except Reject as reject:
                self._reject(item, record, str(reject), tally, new=new)
            except Unwanted as reason:
                tally.pass_over(media_type, str(reason), new=new)
            except Exception as error:  # a value of a type that the encoder does not expect
                cause = self._cause("encoding failed", error)
                self._reject(item, record, cause, tally, new=new, **_details(error))
            else:
                if key and self._written_before is not None:
                    self._written_before.add(key)
            if len(lines[media_type]) == before and _has_identifier(record):
                unwritten.append((media_type, _identifier(record)))
        return lines, unwritten

    def _cause(self, what: str, error: Exception) -> str:
        """Return the reason of a reject; log the traceback of the first one with this reason."""
        cause = _cause(what, error)
        if cause not in self._shown and log.isEnabledFor(logging.DEBUG):
            self._shown.add(cause)
            log.debug("%s", cause, exc_info=error)
        return cause


def _identifier(record: Media) -> str:
    return tidy(str(record.foreign_identifier))


def _has_identifier(record: Media) -> bool:
    return record.foreign_identifier not in (None, "")


def _cause(what: str, error: Exception) -> str:
    """Return the reason of a reject: exception, message and line of a mapping; kind of a failed request.

    Error messages of requests hold URLs, so each would be a separate reason. They are stored with the reject
    instead.
    """
    if isinstance(error, HttpStatus):
        return f"{what}: status {error.status}"
    if isinstance(error, CatalogError):
        return f"{what}: {type(error).__name__}"
    message = " ".join(str(error).split())[:_MESSAGE]
    said = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{what}: {said} ({_place(error)})"


def _details(error: Exception) -> JsonObject:
    details = {"error": f"{type(error).__name__}: {error}"[:1000]}
    return details if isinstance(error, CatalogError) else {**details, "place": _place(error)}


def _place(error: Exception) -> str:
    """Return file and line of the provider's code that raised an error, else of the innermost frame."""
    place = place_of(error)
    return f"{place[0].name}:{place[1]}" if place else "no traceback"
