"""Moderators of the API: they delete media and mark them as mature, in the database and in the indexes."""

import time

from elasticsearch import NotFoundError

from catalog.core.media import MediaType
from catalog.data_refresh.search.identity import filtered_name
from catalog.soak.journal import Journal
from catalog.soak.model import Model
from catalog.soak.visitors import leave_lists
from catalog.soak.world import World, persist

INDEX_SECONDS = 600  # for which a change of an index is repeated


class Moderators:
    """Decisions of moderators, as the API carries them out: first in the database, then in both indexes."""

    def __init__(self, world: World, journal: Journal, model: Model) -> None:
        self._world, self._journal, self._model = world, journal, model

    def delete(self, media_type: MediaType, pick: float, number: int) -> None:
        """Delete some media.

        Args:
            media_type: Table.
            pick: Number from 0 to 1 that chooses them.
            number: Number of media.
        """
        ids = self._choose(media_type, pick, number)
        self._model.deleted[media_type].update(dict.fromkeys(ids, float("inf")))
        persist(lambda: self._leave_lists(media_type, ids))
        self._world.query(
            f"with noted as (insert into api_deleted{media_type} (created_on, updated_on, identifier)"
            " select now(), now(), unnest(%(ids)s::uuid[]) on conflict do nothing)"
            f" delete from {media_type} where identifier = any(%(ids)s::uuid[])",
            {"ids": ids},
            "api",
        )
        for alias in (media_type, filtered_name(media_type)):
            for identifier in ids:
                persist(lambda a=alias, i=identifier: self._delete_document(a, i), INDEX_SECONDS)  # type: ignore[misc]
        self._model.deleted[media_type].update(dict.fromkeys(ids, time.monotonic()))
        self._journal.note("moderate", f"{media_type} deleted: {', '.join(ids)}")

    def mark_mature(self, media_type: MediaType, pick: float, number: int) -> None:
        """Mark some media as mature.

        Args:
            media_type: Table.
            pick: Number from 0 to 1 that chooses them.
            number: Number of media.
        """
        ids = self._choose(media_type, 1 - pick, number)
        self._model.marked[media_type].update(dict.fromkeys(ids, float("inf")))
        self._world.query(
            f"insert into api_mature{media_type} select now(), unnest(%s::uuid[]) on conflict do nothing",
            [ids],
            "api",
        )
        for alias in (media_type, filtered_name(media_type)):
            for identifier in ids:
                persist(lambda a=alias, i=identifier: self._mark_document(a, i), INDEX_SECONDS)  # type: ignore[misc]
        self._model.marked[media_type].update(dict.fromkeys(ids, time.monotonic()))
        self._journal.note("mark", f"{media_type} mature: {', '.join(ids)}")

    def _choose(self, media_type: MediaType, pick: float, number: int) -> list[str]:
        query = (
            f"select identifier::text as id from {media_type} order by md5(identifier::text || %s) limit %s"
        )
        return [row["id"] for row in self._world.query(query, [str(pick), number], "api")]

    def _leave_lists(self, media_type: MediaType, ids: list[str]) -> None:
        with self._world.connect("api") as api:
            leave_lists(api, media_type, ids)

    def _delete_document(self, alias: str, identifier: str) -> None:
        try:
            self._world.search().client.delete(index=alias, id=identifier)
        except NotFoundError:
            return

    def _mark_document(self, alias: str, identifier: str) -> None:
        try:
            self._world.search().client.update(index=alias, id=identifier, doc={"mature": True})
        except NotFoundError:
            return
