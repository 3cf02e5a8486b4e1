"""Readers of the API's tables and of the search aliases, all the time: each sees a whole state, the old one or the new one.

Within one table, or one index, media only go when a moderator deletes them. A new one holds at least what was
in the catalog since before the refresh began.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from elastic_transport import ApiError
from elasticsearch import NotFoundError

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.data_refresh.queries import words_query
from catalog.data_refresh.sensitive import sensitive
from catalog.soak.journal import Journal
from catalog.soak.model import Model
from catalog.soak.world import World, identifiers_in, passing

GRACE = 20.0  # seconds in which a medium that was deleted during an exchange must go
LOOKED_FOR = 200  # media deleted last
RACING = 10  # media whose deletion was under way when an index was first seen
_FINGERPRINT = (
    "select max(tableoid::bigint), count(*), coalesce(sum(hashtext(identifier::text)::bigint), 0) from {0}"
)
_BY_SOURCE = {"sources": {"terms": {"field": "source"}}}  # a mapping that the engine guessed refuses it

Began = Callable[[MediaType], float | None]


class Readers:
    """Two threads that read until they are stopped. began: when the refresh of a medium that is under way has begun."""

    def __init__(self, world: World, journal: Journal, model: Model, began: Began, terms: list[str]) -> None:
        self._stopped = threading.Event()
        self._tables = [TableReader(world, journal, model, began, m) for m in MEDIA_TYPES]
        self._aliases = [AliasReader(world, journal, model, m, terms) for m in MEDIA_TYPES]
        self._journal = journal
        self._threads = [
            threading.Thread(target=self._run, args=(readers, every), daemon=True)
            for readers, every in ((self._tables, 0.2), (self._aliases, 0.3))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def looks(self) -> dict[str, int]:
        """Reads that were answered, by what was read."""
        tables = {f"table {r.media_type}": r.looks for r in self._tables}
        return {**tables, **{f"alias {r.media_type}": r.looks for r in self._aliases}}

    def _run(self, readers: list[Any], every: float) -> None:
        while not self._stopped.wait(every):
            for reader in readers:
                try:
                    reader.look()
                except Exception as error:
                    if not passing(error):
                        name = type(reader).__name__
                        text = f"{name} of {reader.media_type}: {type(error).__name__}: {str(error)[:300]}"
                        self._journal.violate("O8", text)


class TableReader:
    """Reads one table of the API database."""

    def __init__(
        self, world: World, journal: Journal, model: Model, began: Began, media_type: MediaType
    ) -> None:
        self._world, self._journal, self._model, self._began = world, journal, model, began
        self.media_type, self.looks = media_type, 0
        self._connection: Connection | None = None
        self._table, self._print = 0, (0, 0)
        self._seen: dict[str, tuple[str, str]] = {}  # identifier → key, in the table at hand
        self._all: dict[str, tuple[str, str]] = {}  # in all tables so far

    def look(self) -> None:
        """Read once."""
        if self._connection is None or self._connection.closed:
            self._connection = self._world.connect("api")
        try:
            self._look(self._connection)
        except psycopg.OperationalError:
            self._connection.close()
            raise
        self.looks += 1

    def _look(self, connection: Connection) -> None:
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
            if table == self._table and (number, digest) == self._print:
                return
            query = f"select identifier::text, provider, foreign_identifier from {self.media_type}"
            rows = {i: (p, f) for i, p, f in connection.execute(query.encode()).fetchall()}
        self._compare(table or 0, rows, live)
        self._table, self._print, self._seen = table or 0, (number, digest), rows

    def _compare(
        self, table: int, rows: dict[str, tuple[str, str]], live: set[tuple[str, str]] | None
    ) -> None:
        gone = self._model.moderated(self.media_type)
        self._all |= rows
        if self._seen and table == self._table:
            lost, found = self._seen.keys() - rows.keys() - gone.keys(), rows.keys() - self._seen.keys()
            if lost or found:
                text = f"{len(lost):,} rows left the live table {self.media_type} and {len(found):,} came"
                self._journal.violate("O8", f"{text}: {identifiers_in(lost | found)}")
            return
        self._journal.note("new table", f"{self.media_type}: {len(rows):,} rows")
        now = time.monotonic()
        if back := [i for i in rows if gone.get(i, now) < now]:
            self._journal.violate(
                "O8", f"the new table {self.media_type} holds moderated media: {identifiers_in(back)}"
            )
        if not self._seen or live is None:
            return
        moderated = {key for identifier, key in self._all.items() if identifier in gone}
        lacks = self._model.keys(self.media_type, live) - set(rows.values()) - moderated
        if lacks:
            text = f"the new table {self.media_type} lacks {len(lacks):,} of {len(rows):,} records"
            self._journal.violate("O8", f"{text}: {identifiers_in(f'{p} {f}' for p, f in lacks)}")


class AliasReader:
    """Reads the two aliases of a medium, as a search does."""

    def __init__(
        self, world: World, journal: Journal, model: Model, media_type: MediaType, terms: list[str]
    ) -> None:
        self._world, self._journal, self._model, self._terms = world, journal, model, terms
        self.media_type, self.looks = media_type, 0
        self._counts: dict[str, tuple[int, int]] = {}  # index → documents at first, media deleted by then
        self._found: dict[tuple[str, str], float] = {}  # (alias, moderated medium) → since when it is found
        self._said: set[tuple[str, str]] = set()

    def look(self) -> None:
        """Read once."""
        for alias in (self.media_type, f"{self.media_type}-filtered"):
            try:
                self._look(alias)
            except NotFoundError:
                if self._counts:
                    self._journal.violate("O8", f"a search of {alias} finds no such alias")
                return
            except ApiError as error:
                if error.meta.status != 400:
                    raise
                self._journal.violate("O8", f"a search of {alias} answers 400: {str(error)[:300]}")
        self.looks += 1

    def _look(self, alias: str) -> None:
        client = self._world.search().client
        gone = self._model.moderated(self.media_type)
        by_index = {"indexes": {"terms": {"field": "_index", "size": 10}}}
        answer = client.search(
            index=alias, size=0, aggs=by_index, track_total_hits=True, allow_partial_search_results=False
        )
        buckets = answer["aggregations"]["indexes"]["buckets"]
        if len(buckets) > 1:
            self._journal.violate("O8", f"a search of {alias} reads {len(buckets)} indexes")
        for bucket in buckets:
            self._count(alias, bucket["key"], bucket["doc_count"], len(gone))
        client.search(index=alias, size=5, query=words_query("made"), aggs=_BY_SOURCE)
        self._look_for_moderated(client, alias, gone)
        if alias != self.media_type and (
            hidden := client.count(index=alias, query=sensitive(self._terms))["count"]
        ):
            self._journal.violate("O8", f"{alias} shows {hidden:,} sensitive documents")

    def _count(self, alias: str, index: str, number: int, gone: int) -> None:
        """Documents of an index that is live: never more than at first, and fewer only by those moderators deleted."""
        if index not in self._counts:
            self._journal.note("new index", f"{alias}: {index}, {number:,} documents")
            self._counts[index] = (number, gone)
        first, gone_then = self._counts[index]
        least = first - (gone - gone_then) - RACING
        if not least <= number <= first:
            self._journal.violate("O8", f"{alias} ({index}) had {first:,} documents and has {number:,}")
            self._counts[index] = (number, gone)

    def _look_for_moderated(self, client: Any, alias: str, gone: dict[str, float]) -> None:
        now = time.monotonic()
        done = sorted((i for i, when in gone.items() if when < now), key=lambda i: gone[i])[-LOOKED_FOR:]
        hits = client.search(index=alias, size=LOOKED_FOR, query={"ids": {"values": done}}, source=False)[
            "hits"
        ]
        found = {hit["_id"] for hit in hits["hits"]}
        for identifier in done:
            key = (alias, identifier)
            if identifier not in found:
                self._found.pop(key, None)
                continue
            since = self._found.setdefault(key, now)
            if now - since > GRACE and key not in self._said:
                self._said.add(key)
                text = f"{alias} shows {identifier}, which was deleted by a moderator {now - gone[identifier]:.0f} s ago"
                self._journal.violate("O8", text)
