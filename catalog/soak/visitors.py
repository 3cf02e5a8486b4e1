"""People who look at media and keep lists of them: what only the API knows, and what every refresh must keep."""

import threading
from collections import Counter
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from catalog.core.media import MEDIA_TYPES, MediaType
from catalog.core.session import Connection
from catalog.soak.journal import Journal
from catalog.soak.world import World, passing

EVERY = 0.2  # seconds between two views
SEEN = 150  # media of each type that are looked at and listed
_LIST = "made by the soak"


class Visits:
    """Views of one media type, by identifier. unsure: the answer to these was lost, so they may count or not."""

    def __init__(self) -> None:
        self.sure: Counter[str] = Counter()
        self.unsure: Counter[str] = Counter()


class Visitors:
    """Makes a list of some media, then looks at one after the other until it is stopped."""

    def __init__(self, world: World, journal: Journal) -> None:
        self._world, self._journal = world, journal
        self.visits: dict[MediaType, Visits] = {m: Visits() for m in MEDIA_TYPES}
        self.listed: dict[MediaType, list[str]] = {m: [] for m in MEDIA_TYPES}
        self._connection: Connection | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Choose media that are never deleted from the catalog, list them, and begin."""
        with self._world.connect("api") as api:
            for media_type in MEDIA_TYPES:
                self.listed[media_type] = make_list(api, media_type)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def looks(self) -> int:
        """Views that count."""
        return sum(visits.sure.total() for visits in self.visits.values())

    def _run(self) -> None:
        number = 0
        while not self._stopped.wait(EVERY):
            number += 1
            media_type = MEDIA_TYPES[number % len(MEDIA_TYPES)]
            among = self.listed[media_type]
            try:
                self._view(media_type, among[number % len(among)])
            except Exception as error:
                if not passing(error):
                    self._journal.violate(
                        "O8", f"a view of {media_type} fails: {type(error).__name__}: {str(error)[:300]}"
                    )

    def _view(self, media_type: MediaType, identifier: str) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = self._world.connect("api")
        visits = self.visits[media_type]
        visits.unsure[identifier] += 1
        try:
            seen = _execute(
                self._connection,
                "update {media} set view_count = coalesce(view_count, 0) + 1 where identifier = %s",
                media_type,
                identifier,
            ).rowcount
        except psycopg.Error:
            self._connection.close()
            raise
        visits.unsure[identifier] -= 1
        visits.sure[identifier] += seen


def make_list(api: Connection, media_type: MediaType) -> list[str]:
    """A list of media that stay in the catalog; their identifiers."""
    _execute(
        api,
        "insert into {list} (created_on, updated_on, title, slug, auth) values (now(), now(), %s, %s, 'x')",
        media_type,
        _LIST,
        f"soak-{media_type}",
    )
    rows = _execute(
        api,
        "insert into {listed} ({list_id}, {id}) select l.id, m.id from {list} l, "
        "(select id from {media} where foreign_identifier like %s order by id limit %s) m where l.title = %s returning {id}",
        media_type,
        "%corex%",
        SEEN,
        _LIST,
    ).fetchall()
    query: LiteralString = "select identifier::text from {media} where id = any(%s) order by id"
    return [i for (i,) in _execute(api, query, media_type, [number for (number,) in rows])]


def on_lists(api: Connection, media_type: MediaType) -> set[str]:
    """Identifiers of the media on the list."""
    query: LiteralString = "select m.identifier::text from {listed} l join {media} m on m.id = l.{id}"
    return {i for (i,) in _execute(api, query, media_type)}


def leave_lists(api: Connection, media_type: MediaType, identifiers: list[str]) -> None:
    """Take media off all lists, as the API does before it deletes them."""
    query: LiteralString = (
        "delete from {listed} l using {media} m where m.id = l.{id} and m.identifier = any(%s::uuid[])"
    )
    _execute(api, query, media_type, identifiers)


def views(api: Connection, media_type: MediaType) -> dict[str, int]:
    """Identifier → views, of all media."""
    query: LiteralString = "select identifier::text, coalesce(view_count, 0) from {media}"
    return dict(_execute(api, query, media_type).fetchall())


def _execute(
    api: Connection, statement: LiteralString, media_type: MediaType, *values: Any
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
