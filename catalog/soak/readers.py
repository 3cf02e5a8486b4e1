"""Readers of the API's tables and the search aliases: each must always see a consistent state, old or new.

Rows leave a table, and documents an index, only when a moderator deletes them. A new table or index has at
least what was in the catalog since before the refresh began.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import psycopg
from elastic_transport import ApiError
from elasticsearch import Elasticsearch, NotFoundError

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.core.wording import join_first
from catalog.data_refresh.search.identity import filtered_name
from catalog.data_refresh.search.queries import words_query
from catalog.data_refresh.search.sensitive import sensitive
from catalog.soak.journal import Journal
from catalog.soak.model import Key, Model
from catalog.soak.world import World, is_passing

GRACE = 20.0  # seconds within which a medium that was deleted during an exchange must disappear
CHECKED = 200  # media that were deleted last
RACING = 10  # media whose deletion may have been in progress when an index was first read
_FINGERPRINT = (
    "select max(tableoid::bigint), count(*), coalesce(sum(hashtext(identifier::text)::bigint), 0) from {0}"
)
_BY_SOURCE = {"sources": {"terms": {"field": "source"}}}  # fails on a mapping that the engine has guessed

RefreshBegan = Callable[[MediaType], float | None]


class Reader(Protocol):
    """A reader of one table, or of the aliases of one media type."""

    media_type: MediaType
    reads: int

    def read(self) -> None: ...


class Readers:
    """Two threads that read until they are stopped."""

    def __init__(
        self, world: World, journal: Journal, model: Model, began: RefreshBegan, terms: list[str]
    ) -> None:
        """Create the readers; `start` starts them.

        Args:
            world: Stack to read from.
            journal: Receives violations.
            model: Reference.
            began: Returns the moment at which the current refresh of a media type began; None without one.
            terms: Sensitive terms.
        """
        self._stopped = threading.Event()
        self._tables = [TableReader(world, journal, model, began, m) for m in MEDIA_TYPES]
        self._aliases = [AliasReader(world, journal, model, m, terms) for m in MEDIA_TYPES]
        self._journal = journal
        self._threads = [
            threading.Thread(target=self._run, args=(readers, interval), daemon=True)
            for readers, interval in ((self._tables, 0.2), (self._aliases, 0.3))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def reads(self) -> dict[str, int]:
        """Return the number of successful reads of each table and alias."""
        tables = {f"table {r.media_type}": r.reads for r in self._tables}
        return {**tables, **{f"alias {r.media_type}": r.reads for r in self._aliases}}

    def _run(self, readers: Sequence[Reader], interval: float) -> None:
        while not self._stopped.wait(interval):
            for reader in readers:
                try:
                    reader.read()
                except Exception as error:
                    if not is_passing(error):
                        name = f"{type(reader).__name__} of {reader.media_type}"
                        self._journal.record_violation(
                            "readers", f"{name}: {type(error).__name__}: {str(error)[:300]}"
                        )


class TableReader:
    """Reader of one table of the API database."""

    def __init__(
        self, world: World, journal: Journal, model: Model, began: RefreshBegan, media_type: MediaType
    ) -> None:
        self._world, self._journal, self._model, self._began = world, journal, model, began
        self.media_type: MediaType = media_type
        self.reads = 0
        self._connection: Connection | None = None
        self._table, self._fingerprint = 0, (0, 0)
        self._seen: dict[str, Key] = {}  # keys by identifier, in the present table
        self._all: dict[str, Key] = {}  # in all tables so far

    def read(self) -> None:
        """Read the table once."""
        if self._connection is None or self._connection.closed:
            self._connection = self._world.connect("api")
        try:
            self._read(self._connection)
        except psycopg.OperationalError:
            self._connection.close()
            raise
        self.reads += 1

    def _read(self, connection: Connection) -> None:
        began, live = self._began(self.media_type), None
        if began is not None:
            live = self._model.certain(self.media_type, True, began)
        with connection.transaction():
            connection.execute("set transaction isolation level repeatable read")
            # Before the snapshot, which would be older than an exchange that the first query waits for.
            connection.execute(f"lock table {self.media_type} in access share mode".encode())
            [(table, number, digest)] = connection.execute(
                _FINGERPRINT.format(self.media_type).encode()
            ).fetchall()
            if table == self._table and (number, digest) == self._fingerprint:
                return
            query = f"select identifier::text, provider, foreign_identifier from {self.media_type}"
            rows = {i: (p, f) for i, p, f in connection.execute(query.encode()).fetchall()}
        if self._seen and (table or 0) == self._table:
            self._check_same_table(rows)
        else:
            self._check_new_table(rows, live)
        self._table, self._fingerprint, self._seen = table or 0, (number, digest), rows

    def _check_same_table(self, rows: dict[str, Key]) -> None:
        deleted = self._model.moderated(self.media_type)
        self._all |= rows
        lost, added = self._seen.keys() - rows.keys() - deleted.keys(), rows.keys() - self._seen.keys()
        if lost or added:
            counts = f"{len(lost):,} rows left the live table {self.media_type} and {len(added):,} came"
            self._journal.record_violation("readers", f"{counts}: {join_first(sorted(lost | added))}")

    def _check_new_table(self, rows: dict[str, Key], live: set[Key] | None) -> None:
        deleted = self._model.moderated(self.media_type)
        self._all |= rows
        self._journal.note("new table", f"{self.media_type}: {len(rows):,} rows")
        now = time.monotonic()
        if back := [i for i in rows if deleted.get(i, now) < now]:
            message = f"the new table {self.media_type} holds moderated media: {join_first(sorted(back))}"
            self._journal.record_violation("readers", message)
        if not self._seen or live is None:
            return
        moderated = {key for identifier, key in self._all.items() if identifier in deleted}
        missing = self._model.keys(self.media_type, live) - set(rows.values()) - moderated
        if missing:
            message = f"the new table {self.media_type} lacks {len(missing):,} of {len(rows):,} records"
            self._journal.record_violation(
                "readers", f"{message}: {join_first(sorted(f'{p} {f}' for p, f in missing))}"
            )


class AliasReader:
    """Reader of the two aliases of a media type; it searches as the API does."""

    def __init__(
        self, world: World, journal: Journal, model: Model, media_type: MediaType, terms: list[str]
    ) -> None:
        self._world, self._journal, self._model, self._terms = world, journal, model, terms
        self.media_type: MediaType = media_type
        self.reads = 0
        # By index: number of documents when it was first read, number of media deleted by then.
        self._counts: dict[str, tuple[int, int]] = {}
        # By alias and identifier of a moderated medium: moment since which it is found.
        self._found: dict[tuple[str, str], float] = {}
        self._reported: set[tuple[str, str]] = set()

    def read(self) -> None:
        """Search both aliases once."""
        for alias in (self.media_type, filtered_name(self.media_type)):
            try:
                self._read(alias)
            except NotFoundError:
                if self._counts:
                    self._journal.record_violation("readers", f"a search of {alias} finds no such alias")
                return
            except ApiError as error:
                if error.meta.status != 400:
                    raise
                self._journal.record_violation(
                    "readers", f"a search of {alias} answers 400: {str(error)[:300]}"
                )
        self.reads += 1

    def _read(self, alias: str) -> None:
        client = self._world.search().client
        deleted = self._model.moderated(self.media_type)
        by_index = {"indexes": {"terms": {"field": "_index", "size": 10}}}
        response = client.search(
            index=alias, size=0, aggs=by_index, track_total_hits=True, allow_partial_search_results=False
        )
        buckets = response["aggregations"]["indexes"]["buckets"]
        if len(buckets) > 1:
            self._journal.record_violation("readers", f"a search of {alias} reads {len(buckets)} indexes")
        for bucket in buckets:
            self._check_count(alias, bucket["key"], bucket["doc_count"], len(deleted))
        client.search(index=alias, size=5, query=words_query("made"), aggs=_BY_SOURCE)
        self._check_moderated(client, alias, deleted)
        if alias != self.media_type and (
            shown := client.count(index=alias, query=sensitive(self._terms))["count"]
        ):
            self._journal.record_violation("readers", f"{alias} shows {shown:,} sensitive documents")

    def _check_count(self, alias: str, index: str, number: int, deleted: int) -> None:
        """Check that a live index gets no documents, and loses only those that moderators delete."""
        if index not in self._counts:
            self._journal.note("new index", f"{alias}: {index}, {number:,} documents")
            self._counts[index] = (number, deleted)
        first, deleted_then = self._counts[index]
        least = first - (deleted - deleted_then) - RACING
        if not least <= number <= first:
            message = f"{alias} ({index}) had {first:,} documents and has {number:,}"
            self._journal.record_violation("readers", message)
            self._counts[index] = (number, deleted)

    def _check_moderated(self, client: Elasticsearch, alias: str, deleted: dict[str, float]) -> None:
        now = time.monotonic()
        done = sorted((i for i, when in deleted.items() if when < now), key=lambda i: deleted[i])[-CHECKED:]
        response = client.search(index=alias, size=CHECKED, query={"ids": {"values": done}}, source=False)
        found = {hit["_id"] for hit in response["hits"]["hits"]}
        for identifier in done:
            key = (alias, identifier)
            if identifier not in found:
                self._found.pop(key, None)
                continue
            since = self._found.setdefault(key, now)
            if now - since > GRACE and key not in self._reported:
                self._reported.add(key)
                seconds = now - deleted[identifier]
                message = f"{alias} shows {identifier}, which was deleted by a moderator {seconds:.0f} s ago"
                self._journal.record_violation("readers", message)
