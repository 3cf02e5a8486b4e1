"""Visitors of the API: they view media and keep lists of them. Every refresh must keep these data."""

import threading
from collections import Counter
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.soak.journal import Journal
from catalog.soak.world import World, is_passing

INTERVAL = 0.2  # seconds between two views
LISTED = 150  # media of each type that are listed and viewed
_LIST = "made by the soak"


class Visits:
    """Numbers of views of one media type, by identifier."""

    def __init__(self) -> None:
        self.sure: Counter[str] = Counter()
        self.unsure: Counter[str] = Counter()  # the response was lost, so they may be counted or not


class Visitors:
    """Thread that lists some media, then views one after the other until it is stopped."""

    def __init__(self, world: World, journal: Journal) -> None:
        self._world, self._journal = world, journal
        self.visits: dict[MediaType, Visits] = {m: Visits() for m in MEDIA_TYPES}
        self.listed: dict[MediaType, list[str]] = {m: [] for m in MEDIA_TYPES}
        self._connection: Connection | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """List media that are never deleted from the catalog, and begin to view them."""
        with self._world.connect("api") as api:
            for media_type in MEDIA_TYPES:
                self.listed[media_type] = make_list(api, media_type)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def count(self) -> int:
        """Return the number of views that were counted."""
        return sum(visits.sure.total() for visits in self.visits.values())

    def _run(self) -> None:
        number = 0
        while not self._stopped.wait(INTERVAL):
            number += 1
            media_type = MEDIA_TYPES[number % len(MEDIA_TYPES)]
            listed = self.listed[media_type]
            try:
                self._view(media_type, listed[number % len(listed)])
            except Exception as error:
                if not is_passing(error):
                    message = f"a view of {media_type} fails: {type(error).__name__}: {str(error)[:300]}"
                    self._journal.record_violation("readers", message)

    def _view(self, media_type: MediaType, identifier: str) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = self._world.connect("api")
        visits = self.visits[media_type]
        visits.unsure[identifier] += 1
        try:
            updated = _execute(
                self._connection,
                "update {media} set view_count = coalesce(view_count, 0) + 1 where identifier = %s",
                media_type,
                identifier,
            ).rowcount
        except psycopg.Error:
            self._connection.close()
            raise
        visits.unsure[identifier] -= 1
        visits.sure[identifier] += updated


def make_list(api: Connection, media_type: MediaType) -> list[str]:
    """Make a list of media that are never deleted from the catalog, and return their identifiers."""
    _execute(
        api,
        "insert into {list} (created_on, updated_on, title, slug, auth) values (now(), now(), %s, %s, 'x')",
        media_type,
        _LIST,
        f"soak-{media_type}",
    )
    rows = _execute(
        api,
        "insert into {listed} ({list_id}, {id}) select l.id, m.id from {list} l,"
        " (select id from {media} where foreign_identifier like %s order by id limit %s) m"
        " where l.title = %s returning {id}",
        media_type,
        "%corex%",
        LISTED,
        _LIST,
    ).fetchall()
    query: LiteralString = "select identifier::text from {media} where id = any(%s) order by id"
    return [i for (i,) in _execute(api, query, media_type, [number for (number,) in rows])]


def on_lists(api: Connection, media_type: MediaType) -> set[str]:
    """Return the identifiers of the media on lists."""
    query: LiteralString = "select m.identifier::text from {listed} l join {media} m on m.id = l.{id}"
    return {i for (i,) in _execute(api, query, media_type)}


def leave_lists(api: Connection, media_type: MediaType, identifiers: list[str]) -> None:
    """Remove media from all lists, as the API does before it deletes them."""
    query: LiteralString = (
        "delete from {listed} l using {media} m where m.id = l.{id} and m.identifier = any(%s::uuid[])"
    )
    _execute(api, query, media_type, identifiers)


def views(api: Connection, media_type: MediaType) -> dict[str, int]:
    """Return the numbers of views of all media, by identifier."""
    query: LiteralString = "select identifier::text, coalesce(view_count, 0) from {media}"
    return dict(_execute(api, query, media_type).fetchall())


def _execute(
    api: Connection, statement: LiteralString, media_type: MediaType, *values: object
) -> psycopg.Cursor[Any]:
    names = {
        "media": media_type,
        "list": f"{media_type}list",
        "listed": f"{media_type}list_{media_type}s",
        "list_id": f"{media_type}list_id",
        "id": f"{media_type}_id",
    }
    parts = {key: sql.Identifier(name) for key, name in names.items()}
    return api.execute(sql.SQL(statement).format(**parts), values or None)
